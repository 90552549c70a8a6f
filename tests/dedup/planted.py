"""An evaluation set of which some pictures leaked into a dataset, edited as the web edits them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, ImageOps

import openwit
from core.tables import read_table
from dedup.hashes import fingerprints
from dedup.tables import OVERLAP
from pipeline.ids import image_id
from shards.reader import Shards
from tests.dedup.made import scene, table
from tests.pipeline.upstream import Project

N = 120  # pictures of the evaluation set; a twentieth of them leaked
LEAKED = range(0, N, 20)


def jpeg(picture: Image.Image, quality: int = 90) -> bytes:
    to = io.BytesIO()
    picture.save(to, "JPEG", quality=quality)
    return to.getvalue()


def edited(i: int) -> Image.Image:
    """A leaked picture as the web has it: smaller, saved roughly, mirrored, framed, or two of these."""
    picture = scene(1000 + i)
    return [
        picture.resize((160, 120)),
        Image.open(io.BytesIO(jpeg(picture, 20))),
        ImageOps.mirror(picture),
        ImageOps.expand(picture, 30, "white"),
        ImageOps.expand(ImageOps.mirror(picture), 30, "black"),
        ImageOps.mirror(picture.resize((200, 150))),
    ][list(LEAKED).index(i)]


def url_of(i: int) -> str:
    return f"http://leak.test/{i}.jpg"


def prints(bodies: dict[str, bytes]) -> Any:
    urls = sorted(bodies, key=image_id)
    ids = np.frombuffer(b"".join(map(image_id, urls)), np.uint8).reshape(-1, 16)
    found = fingerprints([Image.open(io.BytesIO(bodies[url])) for url in urls])
    return table(found | {"image_id": ids, "sha256": np.repeat(ids, 2, axis=1)})


def overlap(made: Project, *more: str) -> list[dict[str, Any]]:
    words = ["--pictures", str(made.folder.parent / "set.tar"), *more]
    assert openwit.main(["overlap", *made.words(), *words]) == 0
    return list(read_table(str(made.folder / "overlap.parquet"), OVERLAP).to_pylist())


def packed(made: Project) -> dict[str, bytes]:
    return {sample.meta["url"]: sample.image for sample in Shards(str(made.of("pack"))).iterate()}
