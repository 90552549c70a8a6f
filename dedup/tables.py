"""The tables of near-duplicate detection: fingerprint, group, caption, overlap."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.tables import ID, declare

FINGERPRINT = declare(
    "fingerprint",
    2,
    {
        "image_id": (ID, "sorted by it within a part"),
        "sha256": (pa.binary(32), "of the body as fetched: equal bytes are equal images"),
        "ph64": (pa.uint64(), "imagehash.phash of the stored pixels, row-major, first bit highest"),
        "ph256": (pa.binary(32), "imagehash.phash(hash_size=16), row-major"),
        "mirror": (pa.uint64(), "ph64 of the image mirrored left to right"),
        "mirror256": (pa.binary(32), "ph256 of the same"),
        "inner64": (pa.uint64(), "ph64 of what lies within the plain border; 0: no border, or too little within it"),
        "inner256": (pa.binary(32), "ph256 of the same"),
        "border_left": (pa.uint8(), "the plain border, hundredths of the width, rounded up; 0: none"),
        "border_top": (pa.uint8(), "hundredths of the height"),
        "border_right": (pa.uint8(), "hundredths of the width"),
        "border_bottom": (pa.uint8(), "hundredths of the height"),
        "gradient": (pa.float32(), "mean |dx| + mean |dy| of the 32 × 32 luma (0 to 510): small is flat"),
        "flags": (
            pa.uint8(),
            "1: ph64's weight is not 32; 2: gradient below the gate; either: no near-duplicates sought",
        ),
        "width": (pa.int32(), "pixels, before resizing"),
        "height": (pa.int32(), "pixels, before resizing"),
        "bytes": (pa.int64(), "length of the body as fetched"),
    },
)

GROUP = declare(
    "group",
    2,
    {
        "image_id": (ID, "sorted by it; images without a duplicate have no row"),
        "group_id": (ID, "the smallest image_id of the group"),
        "keep": (pa.bool_(), "whether the image stays in the set"),
        "kept_by": (
            ID,
            "the image that it duplicates, which stays unless it is a placeholder; its own id if it is best",
        ),
        "d64": (pa.uint8(), "differing bits of 64 to kept_by, as they are, within borders or mirrored; 0 to itself"),
        "d256": (pa.uint16(), "differing bits of 256, likewise"),
        "same_bytes": (pa.bool_(), "whether both were fetched as the same bytes"),
        "reason": (pa.string(), "same_bytes | near_duplicate | mirrored | placeholder (the whole group goes) | null"),
    },
)

OVERLAP = declare(
    "overlap",
    2,
    {
        "eval_set": (pa.string(), "the evaluation set's name; sorted by it, then by key, d256 and image_id"),
        "key": (pa.string(), "the picture's name in it"),
        "image_id": (ID, "an image that was fetched, kept or not, that may be the same picture"),
        "kept_by": (ID, "the image that stands for it in the shards, mostly itself | null"),
        "packed": (pa.bool_(), "whether that one is in the shards; null: nothing is packed yet | null"),
        "detector": (pa.string(), "what found it: ph256, by distance of the 256-bit hashes"),
        "d64": (pa.uint8(), "differing bits of 64 of the two views that are nearest by 256"),
        "d256": (pa.uint16(), "and of 256"),
        "mirrored": (pa.bool_(), "whether one of those views is mirrored"),
        "bordered": (pa.bool_(), "whether one of them is what lies within a plain border"),
        "leak": (
            pa.bool_(),
            "whether it counts as the same picture: by the verdict, else by the threshold or dedup's rule",
        ),
        "verdict": (pa.string(), "a person's: same | different | null"),
        "image_url": (pa.string(), "as asked for, where the recipe's fetch is there | null"),
        "caption": (pa.string(), "the first of the image that stands for it | null"),
    },
)

CAPTION = declare(
    "caption",
    2,
    {
        "image_id": (ID, "the keeper; sorted by it, then by own (own captions first), then by pair_id"),
        "pair_id": (ID, "of the pair that the caption came with"),
        "own": (pa.bool_(), "whether it was found with the keeper itself, not with a duplicate of it"),
        "text": (pa.string(), "the caption"),
        "page_url": (pa.string(), "the page it was found on"),
        "text_source": (pa.string(), "alt | title | figcaption …"),
        "image_source": (pa.string(), "src | srcset | …"),
        "licence": (pa.string(), "as the page states it | null"),
        "lang": (pa.string(), "ISO 639 code | null"),
        "queries": (pa.list_(pa.int32()), "ids of the queries found in it, ascending"),
        "crawl_id": (pa.string(), "as the recipe names the crawl"),
        "warc_file": (pa.string(), "where the pair was found"),
        "warc_offset": (pa.int64(), "bytes from its start"),
        "total": (pa.int32(), "captions the keeper had before the cap"),
        "uid": (pa.string(), "the smallest that URL tables give the keeper; on its first row | null"),
        "columns": (pa.string(), "the other columns of the row with that uid, or of its first: JSON; likewise | null"),
    },
)


def binary_column(rows: NDArray[np.uint8]) -> pa.Array:
    """Bytes [n, width] as a column of fixed-size binary values."""
    rows = np.ascontiguousarray(rows)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(rows.shape[1]), len(rows), [None, pa.py_buffer(rows)])
