"""A small valid pack, made with the functions that the stage is made with; other rooms' tests use it too."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from core.files import Hashed, join, publishing, to_json
from core.manifest import Part, Receipt, write_manifest
from pipeline.ids import image_id, pair_id
from pipeline.tables import FETCH_REASONS, OUTCOME
from shards.format import (
    CHUNK,
    SAMPLE,
    TarWriter,
    range_of,
    sample_json,
    sample_row,
    shard_name,
    stats_json,
    write_rows,
)
from shards.merge import Run

QUERIES = {0: "dog", 1: "cat"}


def made_images(n: int, size: int = 900) -> list[tuple[str, bytes, list[str]]]:
    """n samples (url, image bytes, captions) with bodies of about `size` bytes that are no pictures."""
    return [
        (f"http://site.test/{i}.jpg", hashlib.shake_256(b"%d" % i).digest(size + i % 700), [f"ein Bild № {i}", "a dog"])
        for i in range(n)
    ]


def outcome(url: str, image: bytes | None, reason: str = "") -> dict[str, Any]:
    """A row of the table outcome for an image that was fetched as the given bytes, or failed for a reason."""
    row: dict[str, Any] = dict.fromkeys(OUTCOME.names)
    status = FETCH_REASONS[reason] if reason else "success"
    row |= {"image_id": image_id(url), "image_url": url, "status": status, "reason": reason, "attempts": 1}
    if image is not None:
        width, height = _size(image)
        row |= {"width": width, "height": height, "original_width": width, "original_height": height}
        row |= {"bytes": len(image), "sha256": hashlib.sha256(image).digest(), "format": "JPEG", "final_url": url}
    return row


def caption_rows(url: str, texts: Sequence[str]) -> list[dict[str, Any]]:
    """The image's rows of the table caption: the first text is its own, the others are pooled."""
    page = f"{url}.html"
    return [
        {
            "image_id": image_id(url),
            "pair_id": pair_id(url, text),
            "own": i == 0,
            "text": text,
            "page_url": page,
            "text_source": "alt",
            "image_source": "src",
            "licence": None,
            "lang": "en",
            "queries": [number for number, query in QUERIES.items() if query in text],
            "crawl_id": "test",
            "warc_file": "test.warc.gz",
            "warc_offset": 1000 + i,
            "total": len(texts),
            "uid": None,
            "columns": None,
        }
        for i, text in enumerate(texts)
    ]


def make_pack(
    folder: str | Path,
    samples: Sequence[tuple[str, bytes, Sequence[str]]],
    shards: int = 3,
    failed: Mapping[str, str] | None = None,
) -> str:
    """Write a finished pack of samples (url, image bytes, captions), and of failed urls with their reasons."""
    folder = str(folder)
    found = {image_id(url): (url, image, texts) for url, image, texts in samples}
    lost = {image_id(url): (url, reason) for url, reason in (failed or {}).items()}
    parts, sizes = [], {}
    for shard in range(shards):
        lo, hi = range_of(shard, shards)
        ids = [i for i in sorted(found | lost) if lo <= i and (hi is None or i < hi)]
        name, rows = shard_name(shard, shards), []
        with publishing(join(folder, f"{name}.tar")) as file, TarWriter(file) as tar:
            for id_ in ids:
                if id_ in lost:
                    rows.append(sample_row(outcome(lost[id_][0], None, lost[id_][1]), [], None))
                    continue
                url, image, texts = found[id_]
                got, captions = outcome(url, image), caption_rows(url, texts)
                stored = tar.add(id_, _ext(image), image, texts[0], sample_json(got, captions, QUERIES))
                rows.append(sample_row(got, captions, stored))
        sizes[f"{name}.tar"] = len(set(ids) & set(found))
        parts.append(_part("shard", f"{name}.tar", sizes[f"{name}.tar"], file))
        with publishing(join(folder, f"{name}.parquet")) as file:
            write_rows(file, SAMPLE, rows)
        parts.append(_part("sample", f"{name}.parquet", len(rows), file))
        with publishing(join(folder, f"{name}_stats.json")) as file:
            file.write(stats_json(rows))
        parts.append(_part("stats", f"{name}_stats.json", 1, file))
    with publishing(join(folder, "sizes.json")) as file:
        file.write(to_json(sizes))
    parts.append(_part("sizes", "sizes.json", len(sizes), file))
    counts = {"images": {"in": len(samples), "kept": len(samples), "dropped": {}}}
    write_manifest(folder, {"stage": "pack"}, [Receipt("shards", "all", "", tuple(parts), counts)])
    return folder


def write_run(folder: str | Path, name: str, images: Mapping[bytes, bytes]) -> Run:
    """Write a chunk of images by their ids."""
    run = Run(join(str(folder), f"{name}.tar"), join(str(folder), f"{name}.parquet"))
    with publishing(run.tar) as tar, publishing(run.index) as index, TarWriter(tar) as writer:
        write_rows(index, CHUNK, (writer.add(id_, "jpg", images[id_]) for id_ in sorted(images)))
    return run


def _part(table: str, name: str, rows: int, file: Hashed) -> Part:
    return Part(table, "all", name, rows, file.length, file.sha256)


def _ext(image: bytes) -> str:
    if image.startswith(b"\x89PNG"):
        return "png"
    return "webp" if image[8:12] == b"WEBP" else "jpg"


def _size(image: bytes) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(image)) as picture:
            return picture.size
    except UnidentifiedImageError:
        return 1, 1
