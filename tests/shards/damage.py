"""The ways in which shards were seen to be damaged, each a change of a tar at its middle sample."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

Damage = Callable[[bytes, int, int], bytes]  # of a tar's bytes, given where its middle sample and that one's image are


def _with(raw: bytes, at: int, new: bytes) -> bytes:
    return raw[:at] + new + raw[at + len(new) :]


def _flip(raw: bytes, at: int) -> bytes:
    return _with(raw, at, bytes([raw[at] ^ 1]))


CUTS: dict[str, Damage] = {
    "cut inside a body": lambda raw, sample, image: raw[: image + 5],
    "cut inside a header": lambda raw, sample, image: raw[: sample + 100],
    "cut at a member's end": lambda raw, sample, image: raw[:sample],
    "cut inside the archive's end": lambda raw, sample, image: raw[:-512],
    "empty": lambda raw, sample, image: b"",
}
CHANGES: dict[str, Damage] = {
    "checksum zeroed": lambda raw, sample, image: _with(raw, sample + 148, bytes(8)),
    "byte of a name flipped": lambda raw, sample, image: _flip(raw, sample),
    "byte of an image flipped": lambda raw, sample, image: _flip(raw, image),
    "byte of a json flipped": lambda raw, sample, image: _flip(raw, raw.index(b"captions_total", sample)),
}


def damage(folder: str, shard: str, how: Damage) -> int:
    """Damage a shard of a pack; which of its samples is the first to suffer."""
    table = pq.read_table(f"{folder}/{shard}.parquet", columns=["offset", "image_offset"]).drop_null()
    middle: int = table.num_rows // 2
    tar, sample = Path(folder, f"{shard}.tar"), table.slice(middle).to_pylist()[0]
    tar.write_bytes(how(tar.read_bytes(), sample["offset"], sample["image_offset"]))
    return middle
