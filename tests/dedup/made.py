"""Pictures and fingerprints made for tests, all from a seed."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from dedup.tables import FINGERPRINT
from dedup.views import AS_IS, HASHES

Column = dict[str, NDArray[Any]]
KINDS = ("uniform", "fixed_weight", "clustered", "same_prefix", "identical")


def scene(seed: int, width: int = 320, height: int = 240) -> Image.Image:
    """A picture of soft blobs, drawn from the bytes of a hash; another seed is another picture."""
    data = b"".join(hashlib.sha256(f"{seed}/{i}".encode()).digest() for i in range(4))
    return Image.frombytes("L", (16, 8), data).resize((width, height), Image.Resampling.BICUBIC).convert("RGB")


def degenerate() -> dict[str, Image.Image]:
    """Pictures whose transform is mostly zero: where rounding, not content, would decide bits."""
    y, x = np.mgrid[0:90, 0:120]
    logo = np.full((90, 120), 255)
    logo[8:16, 10:40] = 0
    dot = np.zeros((90, 120))
    dot[45, 60] = 255
    drawn = {
        "black": np.zeros((90, 120)),
        "white": np.full((90, 120), 255),
        "grey": np.full((90, 120), 127),
        "gradient_x": x * 255 / 119,
        "gradient_y": y * 255 / 89,
        "gradient_xy": (x + y) * 255 / 208,
        "checker_1": (x + y) % 2 * 255,
        "checker_8": (x // 8 + y // 8) % 2 * 255,
        "stripes_x": x // 5 % 2 * 255,
        "stripes_y": y // 5 % 2 * 255,
        "logo": logo,
        "dot": dot,
        "ring": np.clip(4 * np.abs(np.hypot(x - 59.5, y - 44.5) - 30), 0, 255),
    }
    images = {name: Image.fromarray(pixels.astype(np.uint8)) for name, pixels in drawn.items()}
    return images | {"one_pixel": images["grey"].crop((0, 0, 1, 1)), "black_rgb": images["black"].convert("RGB")}


def hashes(kind: str, n: int, seed: int) -> NDArray[np.uint64]:
    """64-bit hashes, uint64 [n]."""
    rng = np.random.default_rng(seed)
    uniform = rng.integers(0, 2**64, n, dtype=np.uint64)
    if kind == "uniform":
        return uniform
    if kind == "identical":
        return np.full(n, 0x8F0F_1234_5678_9ABC, np.uint64)
    if kind == "same_prefix":  # all differences in the lowest bits
        return uniform & np.uint64(0xFFF) | np.uint64(0xABCD << 40)
    if kind == "fixed_weight":
        bits = np.zeros((n, 64), np.uint8)
        for row in bits:
            row[0] = 1
            row[1 + rng.permutation(63)[:31]] = 1
        return np.packbits(bits, axis=1).view(">u8").astype(np.uint64)[:, 0]
    centres = rng.integers(0, 2**64, 1 + n // 20, dtype=np.uint64)
    return centres[rng.integers(0, len(centres), n)] ^ flips(rng, n, 0, 4)


def flips(rng: np.random.Generator, n: int, least: int, most: int) -> NDArray[np.uint64]:
    """n masks of `least` to `most` random bits."""
    masks = np.zeros(n, np.uint64)
    for i, count in enumerate(rng.integers(least, most + 1, n)):
        masks[i] = sum(1 << int(bit) for bit in rng.permutation(64)[:count])
    return masks


def crawl(n: int, seed: int) -> Column:
    """Fingerprints of n images.

    Among them are near-duplicates (as they are, mirrored, within borders), pictures that are their own mirror image,
    copies of bytes, equal hashes, and flagged images.
    """
    rng = np.random.default_rng(seed)
    ph64 = hashes("clustered", n, seed)
    others = [ph64[rng.permutation(n)] ^ flips(rng, n, 0, 4) for _ in range(2)]
    column: Column = {
        "image_id": rng.integers(0, 256, (n, 16), dtype=np.uint8),
        "sha256": rng.integers(0, 256, (n, 32), dtype=np.uint8),
        "ph64": ph64,
        "mirror": np.select([rng.random(n) < 0.2, rng.random(n) < 0.5], [ph64, others[0]], hashes("uniform", n, seed)),
        "inner64": np.where(rng.random(n) < 0.4, others[1], np.uint64(0)),
        "gradient": np.full(n, 20, np.float32),
        "flags": rng.choice(np.array([0, 0, 0, 0, 1, 2, 3], np.uint8), n),
        "border_left": rng.choice(np.array([0, 0, 10], np.uint8), n),
        "width": rng.integers(1, 4, n, dtype=np.int32) * 100,
        "height": np.full(n, 100, np.int32),
        "bytes": rng.integers(1, 3, n, dtype=np.int64) * 1000,
    }
    for name in ("ph256", "mirror256", "inner256"):  # so that many distances are about 40
        bits = rng.random((n, 256)) < rng.choice([0.0, 0.05, 0.08, 0.1], (n, 1))
        column[name] = np.packbits(bits, axis=1)
    for names in ((*AS_IS, "flags"), (*HASHES, "flags"), OF_BYTES) if n else ():
        for row in rng.integers(0, n, n // 5):
            original = rng.integers(0, n)
            for name in names:
                column[name][row] = column[name][original]
    _agree(column)
    return column


OF_BYTES = ("sha256", *HASHES, "flags", "border_left", "width", "height", "bytes")


def _agree(column: Column) -> None:
    """Equal bytes are one picture: what later copying took apart is made equal again."""
    first: dict[bytes, int] = {}
    for row, sha256 in enumerate(column["sha256"]):
        original = first.setdefault(sha256.tobytes(), row)
        for name in OF_BYTES:
            column[name][row] = column[name][original]


def table(column: Column) -> pa.Table:
    """A fingerprint table; what is missing is zero."""
    n = len(column["image_id"])
    arrays = []
    for field in FINGERPRINT:
        width = field.type.byte_width if pa.types.is_fixed_size_binary(field.type) else 0
        values = column.get(field.name, np.zeros((n, width), np.uint8) if width else np.zeros(n))
        arrays.append(pa.array([row.tobytes() for row in values] if width else values, field.type))
    return pa.table(arrays, schema=FINGERPRINT)
