"""The shard format: plain WebDataset tars sorted by image_id, each beside a Parquet table that knows every sample.

A shard is a range of ids, so a sample's place is a function of its id alone. A sample is `{key}.jpg|png|webp`,
`{key}.txt` (its first caption) and `{key}.json`, adjacent and in this order; key = image_id in hex, without dots.
The tar is USTAR with fixed times, owners and modes: the same samples make the same bytes.

    00000.tar   00000.parquet (table "sample": failed rows too)   00000_stats.json   …   sizes.json   _manifest.json
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from core.errors import Failure
from core.files import Hashed, to_json
from core.tables import ID, declare

# ── ids and ranges ────────────────────────────────────────────────────────────────────────────────

Ids = npt.NDArray[
    np.bytes_
]  # S16 [n]; sorts as the bytes do, but an element taken out loses its trailing zeros: `id_at`
_SPACE = 1 << 128  # ids there are


def key_of(image_id: bytes) -> str:
    """The name of a sample in its tar: 32 hex characters."""
    return image_id.hex()


def as_ids(ids: Iterable[bytes]) -> Ids:
    """Ids of 16 bytes as one array: S16 [n]."""
    return np.frombuffer(b"".join(ids), dtype="S16")


def ids_in(column: pa.ChunkedArray) -> Ids:
    """A column of ids without nulls as one array, in its own memory: S16 [n]."""
    values = column.combine_chunks()
    return np.frombuffer(values.buffers()[1], dtype="S16")[values.offset : values.offset + len(values)].copy()


def id_at(ids: Ids, i: int) -> bytes:
    """The 16 bytes of the i-th id."""
    return bytes(ids[i]).ljust(16, b"\0")


def shard_of(image_id: bytes, shards: int) -> int:
    """The shard that an id belongs to among `shards`: floor(id · shards / 2^128)."""
    return int.from_bytes(image_id, "big") * shards >> 128


def shards_of(ids: Ids, shards: int) -> npt.NDArray[np.int64]:
    """`shard_of` for many ids: int64 [n]. `shards` is below 2^32."""
    limbs = np.frombuffer(ids.tobytes(), dtype=">u4").reshape(-1, 4).astype(np.uint64)
    carry = np.zeros(len(ids), dtype=np.uint64)
    for limb in limbs.T[::-1]:  # as by hand: the product's digits below 2^128 only matter for what they carry
        carry = (limb * np.uint64(shards) + carry) >> np.uint64(32)
    return carry.astype(np.int64)


def range_of(shard: int, shards: int) -> tuple[bytes, bytes | None]:
    """The ids of a shard: from the first (inclusive) to the second (exclusive, None after the last shard)."""
    lo, hi = (-(-s * _SPACE // shards) for s in (shard, shard + 1))  # the smallest ids of this and of the next shard
    return lo.to_bytes(16, "big"), None if hi == _SPACE else hi.to_bytes(16, "big")


def shard_name(shard: int, shards: int) -> str:
    """The number of a shard as its files bear it: five digits, or as many as the last one needs."""
    return f"{shard:0{max(5, len(str(shards - 1)))}}"


# ── tables ────────────────────────────────────────────────────────────────────────────────────────

INDEX: dict[str, tuple[pa.DataType, str]] = {
    "image_id": (ID, "sorted by it"),
    "ext": (pa.string(), "jpg | png | webp: the stored image's format"),
    "offset": (pa.int64(), "bytes from the tar's start to the sample's first header"),
    "length": (pa.int64(), "bytes to the next sample's first header"),
    "image_offset": (pa.int64(), "bytes from the tar's start to the image"),
    "image_size": (pa.int64(), "bytes of the image"),
    "text_offset": (pa.int64(), "bytes from the tar's start to the text; null in a chunk | null"),
    "text_size": (pa.int64(), "bytes of the text | null"),
    "json_offset": (pa.int64(), "bytes from the tar's start to the json; null in a chunk | null"),
    "json_size": (pa.int64(), "bytes of the json | null"),
    "sha256": (pa.binary(32), "of the image as stored"),
    "xxh3": (pa.uint64(), "xxh3_64 of the sample's `length` bytes, headers and padding too: what a reader checks"),
}

CHUNK = declare("chunk", 1, INDEX)

# The columns that img2dataset 1.47 writes, with its names, order and types (downloader.py, download_shard).
_IMG2DATASET = {
    "caption": (pa.string(), "the first caption | null"),
    "url": (pa.string(), "the image's"),
    "key": (pa.string(), "image_id in hex"),
    "status": (pa.string(), "success | failed_to_download | failed_to_resize"),
    "error_message": (pa.string(), "the reason; null on success | null"),
    "width": (pa.int32(), "pixels, as stored | null"),
    "height": (pa.int32(), "pixels, as stored | null"),
    "original_width": (pa.int32(), "pixels, as fetched | null"),
    "original_height": (pa.int32(), "pixels, as fetched | null"),
    "exif": (pa.string(), "always null: cameras and places are nobody's business | null"),
    "sha256": (pa.string(), "of the body as fetched, hex | null"),
}

SAMPLE = declare(
    "sample",
    1,
    {
        **_IMG2DATASET,
        "image_id": (ID, "first 16 bytes of sha256(url); sorted by it"),
        "uid": (pa.string(), "the URL table's, else the smallest pair_id of the captions, hex | null"),
        "reason": (pa.string(), "empty on success, else why there is no image"),
        "licence": (pa.string(), "of the first caption's page, as it states it | null"),
        "captions_total": (pa.int32(), "captions the image had before the cap | null"),
        "warc_file": (pa.string(), "where the first caption was found | null"),
        "warc_offset": (pa.int64(), "bytes from its start | null"),
        **{
            {"sha256": "stored_sha256"}.get(name, name): (kind, f"{meaning.removesuffix(' | null')} | null")
            for name, (kind, meaning) in INDEX.items()
            if name != "image_id"
        },
    },
)

_ROW_GROUP = 4096  # rows: what a reader of a few hundred rows loads, against a footer of 1 KiB a group


def write_rows(file: BinaryIO | Hashed, schema: pa.Schema, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows as Parquet, row group by row group, so that a range of ids is read alone. How many there were."""
    remaining, count = iter(rows), 0
    options = {"compression": "zstd", "write_statistics": ["image_id"], "write_page_checksum": True}
    with pq.ParquetWriter(file, schema, **options) as writer:
        while batch := list(islice(remaining, _ROW_GROUP)):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
            count += len(batch)
    return count


# ── tars ──────────────────────────────────────────────────────────────────────────────────────────

EXTENSIONS = ("jpg", "png", "webp")
BLOCK = tarfile.BLOCKSIZE  # bytes: a tar is made of these

_TEMPLATE = tarfile.TarInfo().tobuf(tarfile.USTAR_FORMAT)  # no name, no size, time 0, owner 0, mode 0644
_NAME, _SIZE, _SUM = slice(0, 100), slice(124, 135), slice(148, 154)  # fields of a header; numbers in octal digits


def header(name: str, size: int) -> bytes:
    """The 512 bytes before a member of less than 8 GiB, as `tarfile` writes them for USTAR, in a tenth of its time."""
    block = bytearray(_TEMPLATE)
    block[: len(name)] = name.encode("ascii")
    block[_SIZE] = b"%011o" % size
    block[_SUM] = b"%06o" % (int(_TEMPLATE[_SUM], 8) + sum(block[_NAME]) + sum(block[_SIZE]) - sum(_TEMPLATE[_SIZE]))
    return bytes(block)


def end_of_archive(length: int) -> bytes:
    """What closes a tar of so many bytes: two blocks of zeros or more, up to a whole record of 10,240 bytes."""
    return bytes(2 * BLOCK + -(length + 2 * BLOCK) % tarfile.RECORDSIZE)


def members(span: bytes) -> Iterator[tuple[str, bytes]]:
    """The members (name, body) of one sample, out of its bytes; these must be proven by their xxh3 first."""
    at = 0
    while at < len(span):
        name, size = span[at : at + 100].rstrip(b"\0").decode("ascii"), int(span[at + 124 : at + 135], 8)
        at += BLOCK
        yield name, span[at : at + size]
        at += size + -size % BLOCK


class TarWriter:
    """Writes samples by ascending image_id: a chunk, a run or a shard. The same samples make the same bytes."""

    def __init__(self, file: BinaryIO | Hashed) -> None:
        self._file = file
        self._at = 0
        self._last = b""

    def add(
        self, image_id: bytes, ext: str, image: bytes, text: str | None = None, json: bytes | None = None
    ) -> dict[str, Any]:
        """Write one sample and return its row of INDEX. Failure where its id does not come after the last one."""
        key = key_of(image_id)
        if image_id <= self._last:
            raise Failure(f"sample {key} comes after {key_of(self._last)}: a tar is written in ascending order of ids")
        if ext not in EXTENSIONS:
            raise Failure(f"sample {key} has an image named .{ext}: a shard holds {', '.join(EXTENSIONS)}")
        span = bytearray()
        places: dict[str, int | None] = {}
        body_of_text = None if text is None else text.encode()
        for member, suffix, body in (("image", ext, image), ("text", "txt", body_of_text), ("json", "json", json)):
            if body is None:
                places |= {f"{member}_offset": None, f"{member}_size": None}
                continue
            span += header(f"{key}.{suffix}", len(body))
            places |= {f"{member}_offset": self._at + len(span), f"{member}_size": len(body)}
            span += body
            span += bytes(-len(body) % BLOCK)
        self._file.write(span)
        start, self._at, self._last = self._at, self._at + len(span), image_id
        digests = {"sha256": hashlib.sha256(image).digest(), "xxh3": xxhash.xxh3_64_intdigest(span)}
        return {"image_id": image_id, "ext": ext, "offset": start, "length": len(span), **places, **digests}

    def close(self) -> None:
        """Write the end of the archive. The file itself is left open."""
        self._file.write(end_of_archive(self._at))

    def __enter__(self) -> TarWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self.close()


# ── samples ───────────────────────────────────────────────────────────────────────────────────────

Row = Mapping[str, Any]
EXTRA = "extra"  # where columns of a URL table stand whose names are ours
_NO_COLUMNS: Mapping[str, Any] = {}


def sample_row(outcome: Row, captions: Sequence[Row], stored: Row | None) -> dict[str, Any]:
    """A row of SAMPLE.

    `outcome` is a row of the table outcome, `captions` are the image's rows of the table caption in their order (own
    captions first), `stored` is what `TarWriter.add` returned, None for a row without an image.
    """
    first: Row = captions[0] if captions else {}
    place = {} if stored is None else {**stored, "stored_sha256": stored["sha256"]}
    return {
        **place,
        **_img2dataset(outcome, captions),
        "image_id": outcome["image_id"],
        "uid": _uid(captions),
        "reason": outcome["reason"],
        "captions_total": first.get("total"),
        **{name: first.get(name) for name in ("licence", "warc_file", "warc_offset")},
    }


def sample_json(
    outcome: Row,
    captions: Sequence[Row],
    queries: Sequence[str] | Mapping[int, str],
    columns: Mapping[str, Any] = _NO_COLUMNS,
) -> bytes:
    """The .json of a sample, in one form for one value; arguments as for `sample_row`, `queries` the texts by id.

    `columns` are values that a URL table has of the image: they stand under their names, but below `extra` where the
    name is ours. Of the outcome it holds what a second fetch of an unchanged web would find again, hence no times and
    no attempts. A value has the same type in every sample, as readers that infer types want it: a text that is missing
    is "", a caption without queries has one, "".
    """
    first = captions[0]
    said = {
        **_img2dataset(outcome, captions),
        "uid": _uid(captions),
        "captions": [
            {
                "pair_id": caption["pair_id"].hex(),
                "queries": [queries[i] for i in caption["queries"]] or [""],
                **{name: caption[name] for name in ("text", "own", "page_url", "text_source")},
                **{name: caption[name] or "" for name in ("lang", "licence")},
            }
            for caption in captions
        ],
        "captions_total": first["total"],
        **{name: first[name] for name in ("page_url", "warc_file", "warc_offset", "crawl_id")},
        "licence": first["licence"] or "",
        **{name: outcome[name] or "" for name in ("final_url", "format", "etag", "last_modified")},
    }
    said |= {name: "" for name in ("error_message", "exif", "sha256") if said[name] is None}
    taken = {name: value for name, value in columns.items() if name in said or name == EXTRA}
    said |= {name: value for name, value in columns.items() if name not in taken}
    if taken:
        said[EXTRA] = taken
    return json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def stats_json(rows: Iterable[Row]) -> bytes:
    """The `_stats.json` of a shard with img2dataset's keys, from its rows of SAMPLE.

    The times are 0: a shard is byte-identical on a rerun, and how long it took stands in `_run.json`.
    """
    statuses: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for row in rows:
        statuses[row["status"]] += 1
        reasons[row["reason"] or "success"] += 1
    return to_json(
        {
            "count": statuses.total(),
            "successes": statuses["success"],
            "failed_to_download": statuses["failed_to_download"],
            "failed_to_resize": statuses["failed_to_resize"],
            "duration": 0.0,
            "start_time": 0.0,
            "end_time": 0.0,
            "status_dict": reasons,
        }
    )


def _img2dataset(outcome: Row, captions: Sequence[Row]) -> dict[str, Any]:
    sha256 = outcome["sha256"]
    return {
        "caption": captions[0]["text"] if captions else None,
        "url": outcome["image_url"],
        "key": key_of(outcome["image_id"]),
        "error_message": outcome["reason"] or None,
        "exif": None,
        "sha256": sha256.hex() if sha256 else None,
        **{name: outcome[name] for name in ("status", "width", "height", "original_width", "original_height")},
    }


def _uid(captions: Sequence[Row]) -> str | None:
    if not captions:
        return None
    theirs: str | None = captions[0]["uid"]
    return theirs or min(caption["pair_id"] for caption in captions).hex()
