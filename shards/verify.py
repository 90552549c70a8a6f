"""Is every byte of a pack there? Every file against the manifest, every tar against its table, sample by sample."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow.compute as pc
import xxhash

from core.errors import Failure
from core.files import join, open_input
from core.manifest import Manifest, Part
from core.tables import open_table
from shards.format import BLOCK, SAMPLE, Row, as_ids, end_of_archive, header, key_of, shards_of
from shards.reader import finished

_COLUMNS = ["key", "image_id", *SAMPLE.names[SAMPLE.names.index("ext") :]]
_READ = 1 << 20  # bytes


def verify(folder: str) -> Iterator[tuple[Part, list[str]]]:
    """Each file of a finished pack, with a sentence for each thing that is wrong with it: none where all is well.

    UsageError where the folder is not a finished pack.
    """
    manifest = finished(folder)
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # hashing runs outside Python's lock
        yield from threads.map(lambda part: (part, list(_troubles(manifest, part))), manifest.parts)


def _troubles(manifest: Manifest, part: Part) -> Iterator[str]:
    rows: list[Row] | None = None
    if part.table == "shard":
        try:
            rows = _rows_of(manifest, part)
        except Failure as failure:
            yield str(failure)
        else:
            yield from _misplaced(manifest, part, rows)
    try:
        sha256, size, damaged = _walk(join(manifest.folder, part.name), rows or [])
    except Failure:
        yield "is missing"
        return
    except OSError as error:
        yield f"cannot be read ({error})"
        return
    if size != part.bytes:
        yield f"has {size} bytes, the manifest says {part.bytes}"
    elif sha256 != part.sha256:
        yield f"has sha256 {sha256}, the manifest says {part.sha256}"
    if rows is None:
        return
    if damaged:
        yield f"{len(damaged)} of {len(rows)} samples are damaged or missing, the first is {damaged[0]}"
    elif size == part.bytes != _length_of(rows):
        yield f"is {size} bytes long, its samples end it at {_length_of(rows)}"


def _rows_of(manifest: Manifest, shard: Part) -> list[Row]:
    """The rows of a shard's table that have an image in its tar: where it is, and its digests."""
    with open_table(join(manifest.folder, f"{shard.name.removesuffix('.tar')}.parquet"), SAMPLE) as file:
        table = file.read(columns=_COLUMNS)
    table = table.filter(pc.is_valid(table["offset"]))
    if any(column.null_count for column in table.columns):
        raise Failure("its table has samples that it does not give a whole place")
    rows: list[Row] = table.to_pylist()
    return rows


def _misplaced(manifest: Manifest, shard: Part, rows: list[Row]) -> Iterator[str]:
    """What is wrong with a shard's table."""
    if len(rows) != shard.rows:
        yield f"its table has {len(rows)} samples, the manifest says {shard.rows}"
    ids = as_ids(row["image_id"] for row in rows)
    if (ids[1:] <= ids[:-1]).any():
        yield "its table is not sorted by image_id"
    strangers = int((shards_of(ids, len(manifest.of("shard"))) != int(shard.name.removesuffix(".tar"))).sum())
    if strangers:
        yield f"{strangers} of its samples belong to other shards"


def _walk(path: str, rows: list[Row]) -> tuple[str, int, list[str]]:
    """A file read once: its sha256, its length, and the keys of the samples that are not there as `rows` say."""
    hashed = hashlib.sha256()
    size, at, damaged = 0, 0, []
    with open_input(path) as file:
        for row in rows:
            span = file.read(row["length"])
            hashed.update(span)
            size += len(span)
            if row["offset"] != at or not _is_whole(row, span):
                damaged.append(key_of(row["image_id"]))
            at += row["length"]
        while piece := file.read(_READ):
            hashed.update(piece)
            size += len(piece)
    return hashed.hexdigest(), size, damaged


def _is_whole(row: Row, span: bytes) -> bool:
    """Whether the bytes of a sample are its three members, where its row says and with the digests it says."""
    made = bytearray()
    for member, suffix in (("image", row["ext"]), ("text", "txt"), ("json", "json")):
        start, size = row[f"{member}_offset"] - row["offset"], row[f"{member}_size"]
        made += header(f"{row['key']}.{suffix}", size)
        made += span[start : start + size]
        made += bytes(-size % BLOCK)
    image_at = row["image_offset"] - row["offset"]
    image = span[image_at : image_at + row["image_size"]]
    return (
        span == made
        and row["key"] == key_of(row["image_id"])
        and xxhash.xxh3_64_intdigest(span) == row["xxh3"]
        and hashlib.sha256(image).digest() == row["stored_sha256"]
    )


def _length_of(rows: list[Row]) -> int:
    """The bytes of a tar that holds these rows and nothing else."""
    end: int = sum(row["length"] for row in rows)
    return end + len(end_of_archive(end))
