"""Which pictures of an evaluation set are in the dataset? The near-duplicate index is asked about each of them.

The index holds all images that were fetched, also those dropped as duplicates: of what looks like one of them, another
copy is in the shards. (Placeholders are not; a picture of a test set is hardly one.)
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL.Image import Image

from core.errors import Failure
from core.tables import ID, declare, read_batches
from core.tars import tar_members
from dedup.hashes import fingerprints
from dedup.index import Index
from dedup.pictures import read_picture
from dedup.tables import OVERLAP

PICTURES = 256  # decoded and looked up together
MAX_BYTES = 64 << 20  # of one of them
EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".avif", ".tif", ".tiff", ".svg")

# What is read here of the table that fetch writes.
OUTCOME = declare("outcome", 1, {"image_id": (ID, "of the image"), "image_url": (pa.string(), "as asked")})


class Overlap(NamedTuple):
    """What was found of one evaluation set."""

    table: pa.Table  # OVERLAP
    asked: int  # pictures
    found: int  # of them, that are in the dataset
    flat: int  # of them, too flat to be told from others
    others: int  # files of the tar that are no pictures, and are not called so: README, class numbers


def overlap(pictures: str, index: Index, distance: int, outcomes: Sequence[str]) -> Overlap:
    """Ask an index about every picture of a tar; `outcomes` are parts of fetch's table, which know URLs.

    Failure where the tar is damaged, or what is called a picture cannot be decoded.
    """
    rows: list[dict[str, Any]] = []
    asked = found = flat = others = 0

    def opened() -> Iterator[tuple[str, Image]]:
        nonlocal others
        for name, body in tar_members(pictures, MAX_BYTES):
            try:
                yield name, read_picture(io.BytesIO(body), f"{name} in {pictures}")
            except Failure:
                if name.lower().endswith(EXTENSIONS) and not name.rpartition("/")[2].startswith("._"):  # macOS' notes
                    raise
                others += 1

    files = opened()
    while some := list(islice(files, PICTURES)):
        prints = fingerprints([picture for _, picture in some])
        for (name, _), matches in zip(some, index.query_prints(prints, distance), strict=True):
            rows += [{**match._asdict(), "key": name, "image_id": bytes.fromhex(match.image_id)} for match in matches]
            found += bool(matches)
        asked += len(some)
        flat += int(np.count_nonzero(prints["flags"]))
    if not asked:
        raise Failure(f"{pictures} holds no pictures: give the tar of the evaluation set")
    url_of = dict(_urls({row["image_id"] for row in rows}, outcomes))
    rows = [{**row, "image_url": url_of.get(row["image_id"])} for row in rows]
    rows.sort(key=lambda row: (row["key"], row["image_id"]))
    return Overlap(pa.Table.from_pylist(rows, schema=OVERLAP), asked, found, flat, others)


def _urls(ids: set[bytes], outcomes: Sequence[str]) -> Iterator[tuple[bytes, str]]:
    wanted = pa.array(sorted(ids), ID)
    for path in outcomes if ids else ():
        for rows in read_batches(path, OUTCOME, OUTCOME.names):
            some = rows.filter(pc.is_in(rows["image_id"], wanted))
            yield from zip(some["image_id"].to_pylist(), some["image_url"].to_pylist(), strict=True)
