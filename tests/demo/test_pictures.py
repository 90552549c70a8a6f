"""Pictures that differ are told apart by their hashes, and copies are known by them; nothing else is near-duplicate."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from core.tars import tar_members
from dedup.allpairs import edges
from dedup.hashes import FLAT, fingerprints
from demo.copies import KINDS
from demo.pictures import CLASSES, COLOURS, SHAPES, imagine, paint
from demo.web import Web, draw


def test_a_picture_is_a_function_of_its_seed_and_name() -> None:
    one = imagine(1, "one", CLASSES[0])
    assert imagine(1, "one", CLASSES[0]) == one
    assert paint(one).tobytes() == paint(one).tobytes()
    others = [imagine(2, "one", CLASSES[0]), imagine(1, "two", CLASSES[0]), imagine(1, "one", CLASSES[1])]
    assert len({paint(picture).tobytes() for picture in (one, *others)}) == 4


@pytest.mark.parametrize("shape", SHAPES)
def test_the_colour_of_a_thing_is_its_own(shape: str) -> None:
    """Where the thing is, its colour is nearer to that of its name than to any other."""
    for i, thing in enumerate(thing for thing in CLASSES if thing.shape == shape):
        picture = imagine(1, f"{shape} {i}", thing)._replace(number=1, size="large", place="middle", texture="plain")
        image = paint(picture)
        middle = np.asarray(image)[int(image.height * 0.52), image.width // 2].astype(int)
        distance = {name: np.abs(middle - rgb).sum() for name, rgb in COLOURS.items()}
        assert min(distance, key=distance.__getitem__) == thing.colour


def near_duplicates(web: Web) -> tuple[dict[frozenset[str], bool], float]:
    """All pairs of files that hashes take for one picture, and whether mirrored; the share of flat pictures."""
    files = {
        image.url: (web.sites / urlsplit(image.url).netloc / urlsplit(image.url).path.lstrip("/")).read_bytes()
        for image in web.truth.images
        if image.kind in ("picture", "copy", "leak")
    }
    leaks = {leak.name for leak in web.truth.leaks}
    files |= {
        name: data for name, data in tar_members(str(web.folder / "eval/pictures.tar"), 1 << 20) if name not in leaks
    }
    names = sorted(files)
    found: list[dict[str, NDArray[Any]]] = []
    for name in names:
        with Image.open(io.BytesIO(files[name])) as opened:
            found.append(fingerprints([opened.convert("RGB")]))
    table = {key: np.concatenate([row[key] for row in found]) for key in found[0]}
    table["image_id"] = sha256s([name.encode() for name in names])[:, :16].copy()
    table["sha256"] = sha256s([files[name] for name in names])
    pairs = {frozenset((names[edge["i"]], names[edge["j"]])): bool(edge["mirrored"]) for edge in edges(table)}
    return pairs, float((table["flags"] & FLAT > 0).mean())


def sha256s(data: list[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(hashlib.sha256(one).digest() for one in data), np.uint8).reshape(-1, 32)


def check(web: Web) -> None:
    pairs, flat = near_duplicates(web)
    assert pairs == {frozenset((copy.original, copy.copy)): copy.kind == "mirrored" for copy in web.truth.copies}
    assert {copy.kind for copy in web.truth.copies} == set(KINDS)
    assert flat < 0.02


def test_hashes_know_the_copies_and_nothing_else(drawn: Web) -> None:
    check(drawn)


@pytest.mark.slow
def test_hashes_know_the_copies_and_nothing_else_in_the_whole_web(tmp_path: Path) -> None:
    check(draw(tmp_path / "web"))
