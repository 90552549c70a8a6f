"""Fingerprints of pictures: perceptual hashes, bit for bit those of `imagehash.phash`, for many images at once.

Two facts shape what is stored (measured on 3,600 web photos). A median split gives a ph64 the weight 32, so distances
are even, and another weight marks a picture without content of its own: one colour, a gradient, stripes. Such pictures,
and flat ones, are the bulk of chance collisions, so they are flagged. And 64 bits are enough to find near-duplicates
among 400 million images but not to prove them: that is what ph256 is for.

A picture is hashed as it is, mirrored left to right, and within its plain border where it has one (see `border`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import PIL
import pyarrow as pa
import scipy.fftpack
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from dedup.border import MOST, NOISE, SPECKS, Box, within_border

GATE = 9.6  # smallest gradient of a picture worth comparing: drops the flattest 5 % of web photos
ODD_WEIGHT, FLAT = 1, 2  # the bits of `flags`
BORDERS = ("border_left", "border_top", "border_right", "border_bottom")

Hashes = NDArray[np.uint64]
Bits = Sequence[int]  # numbers of bits of a 64-bit value, 0 the lowest
# The bits of a ph64 in row-major order, but the first: bit 63, the mean brightness, is set in every picture that is not
# black. It is in no band, and counts in distances.
INFORMATIVE = tuple(range(62, -1, -1))
_CACHED = 1 << 16  # hashes handled together, so that they stay in the processor's cache

# What a stored hash was made by. Pillow's version is in it because its resampling decides bits; indexes and tables made
# under another definition are refused, never mixed.
HASH_DEF = (
    f"imagehash.phash 8 and 16, gate {GATE}, mirrored, within borders {NOISE} {SPECKS} {MOST}, pillow {PIL.__version__}"
)


def fingerprints(images: Sequence[Image.Image]) -> dict[str, NDArray[Any]]:
    """The pixel columns of the table FINGERPRINT for decoded images.

    ph64 uint64 [n], equal to imagehash.phash(image), row-major, first bit highest; ph256 uint8 [n, 32], equal to
    imagehash.phash(image, hash_size=16); mirror and mirror256, the same of the image mirrored left to right; inner64
    and inner256, the same of what lies within its plain border, 0 where it has none or holds too little to be compared;
    border_left, _top, _right, _bottom uint8 [n], that border in hundredths of the width or height, rounded up; gradient
    float32 [n], mean |dx| + mean |dy| of the 32 × 32 luma (0 to 510); flags uint8 [n], 1 where the weight of ph64 is
    not 32, 2 where the gradient is below GATE.
    """
    greys = [image.convert("L") for image in images]
    boxes = [within_border(grey) for grey in greys]
    inner = [grey.crop(box) for grey, box in zip(greys, boxes, strict=True) if box]
    within = _hashed(inner)
    usable = np.flatnonzero(within["flags"] == 0)
    bordered = np.flatnonzero([box is not None for box in boxes])[usable]
    found = _hashed(greys)
    found["inner64"], found["inner256"] = np.zeros_like(found["ph64"]), np.zeros_like(found["ph256"])
    found["inner64"][bordered] = within["ph64"][usable]
    found["inner256"][bordered] = within["ph256"][usable]
    return found | _borders(greys, boxes)


def hamming(a: ArrayLike, b: ArrayLike) -> NDArray[np.uint8]:
    """Differing bits of 64-bit hashes: two uint64 that broadcast → uint8."""
    return np.bitwise_count(np.bitwise_xor(np.asarray(a, np.uint64), np.asarray(b, np.uint64)))


def hamming256(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Differing bits of 256-bit hashes: two uint8 [..., 32] that broadcast → uint16 [...]."""
    differ = np.ascontiguousarray(a).view(np.uint64) ^ np.ascontiguousarray(b).view(np.uint64)
    return np.asarray(np.bitwise_count(differ).sum(axis=-1), np.uint16)


def cut(bits: Bits, m: int) -> list[Bits]:
    """m bands of bits, interleaved."""
    return [bits[band::m] for band in range(m)]


def permuted(values: Hashes, first: Bits) -> Hashes:
    """The values with the bits `first` on top, in that order, and below them the others in descending order."""
    return _gathered(values, tuple(_order(first)))


def restored(values: Hashes, first: Bits) -> Hashes:
    """The inverse of `permuted`."""
    place = {bit: 63 - i for i, bit in enumerate(_order(first))}
    return _gathered(values, tuple(place[bit] for bit in range(63, -1, -1)))


def columns(table: pa.Table) -> dict[str, NDArray[Any]]:
    """The columns of a fingerprint table as numpy arrays [n]; fixed-size binary ones as uint8 [n, width]."""
    return {name: _as_numpy(table.column(name)) for name in table.column_names}


def words(rows: NDArray[Any]) -> NDArray[np.uint64]:
    """Rows of fixed-size bytes as 64-bit words: uint64 [n, bytes a row / 8], not copied where they lie together.

    Equal words are equal bytes; with .byteswap() they also compare, first word first, as the bytes do.
    """
    width = rows.dtype.itemsize * int(np.prod(rows.shape[1:]))
    return np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), width).view("<u8")


def _as_numpy(column: pa.ChunkedArray) -> NDArray[Any]:
    if not pa.types.is_fixed_size_binary(column.type):
        return np.asarray(column.to_numpy())
    width = column.type.byte_width
    pieces = [
        np.frombuffer(chunk.buffers()[1], np.uint8, len(chunk) * width, chunk.offset * width)
        for chunk in column.chunks
        if len(chunk)
    ]
    return np.concatenate([np.empty(0, np.uint8), *pieces]).reshape(-1, width)


def _hashed(greys: Sequence[Image.Image]) -> dict[str, NDArray[Any]]:
    """The hashes of pictures of mode L as they are and mirrored, and whether they may be compared."""
    luma = _resized(greys, 32)
    low, lower = _low_frequencies(luma, 8), _low_frequencies(_resized(greys, 64), 16)
    ph64, gradient = _as_integers(_above_median(low)), _gradient(luma)
    return {
        "ph64": ph64,
        "ph256": _above_median(lower),
        "mirror": _as_integers(_above_median(_mirrored(low))),
        "mirror256": _above_median(_mirrored(lower)),
        "gradient": gradient,
        "flags": np.where(np.bitwise_count(ph64) != 32, ODD_WEIGHT, 0).astype(np.uint8)
        | np.where(gradient < GATE, FLAT, 0).astype(np.uint8),
    }


def _borders(greys: Sequence[Image.Image], boxes: Sequence[Box | None]) -> dict[str, NDArray[Any]]:
    """The four border columns, of the boxes within the borders."""
    share = np.zeros((4, len(greys)), np.uint8)
    for i, (grey, box) in enumerate(zip(greys, boxes, strict=True)):
        if box:
            left, top, right, bottom = box
            cut = (
                (left, grey.width),
                (top, grey.height),
                (grey.width - right, grey.width),
                (grey.height - bottom, grey.height),
            )
            share[:, i] = [-(-100 * pixels // of) for pixels, of in cut]
    return dict(zip(BORDERS, share, strict=True))


def _mirrored(low: NDArray[Any]) -> NDArray[Any]:
    """The transform of the mirrored image: cos((2x + 1)uπ / 2N) is odd under x → N - 1 - x for odd u.

    Pillow's resampling is symmetric, so mirroring the image negates the odd columns, exactly.
    """
    return np.asarray(low * np.where(np.arange(low.shape[2]) % 2, -1, 1).astype(low.dtype))


def _as_integers(bits: NDArray[np.uint8]) -> Hashes:
    return bits.view(">u8").astype(np.uint64)[:, 0]


def _resized(greys: Sequence[Image.Image], size: int) -> NDArray[np.uint8]:
    """uint8 [n, size, size]; the proportions are given up, as imagehash does."""
    lumas = [np.asarray(grey.resize((size, size), Image.Resampling.LANCZOS)) for grey in greys]
    return np.array(lumas, dtype=np.uint8).reshape(-1, size, size)


def _low_frequencies(luma: NDArray[np.uint8], size: int) -> NDArray[Any]:
    """The lowest size × size coefficients of each image's two-dimensional DCT.

    By fftpack, as imagehash does, and over all columns first: a DCT by matrix product rounds otherwise, and where
    coefficients are zero (solid, stripes) up to half of the bits would then differ.
    """
    transform = scipy.fftpack.dct(scipy.fftpack.dct(luma, axis=1), axis=2)
    return np.ascontiguousarray(transform[:, :size, :size])


def _above_median(low: NDArray[Any]) -> NDArray[np.uint8]:
    """One bit a coefficient, row-major, first bit highest: uint8 [n, size² / 8]."""
    flat = low.reshape(len(low), low.shape[1] * low.shape[2])
    return np.packbits(flat > np.median(flat, axis=1, keepdims=True), axis=1)


def _gradient(luma: NDArray[np.uint8]) -> NDArray[np.float32]:
    signed = luma.astype(np.int16)
    dx = np.abs(np.diff(signed, axis=2)).mean(axis=(1, 2))
    dy = np.abs(np.diff(signed, axis=1)).mean(axis=(1, 2))
    return np.asarray(dx + dy, np.float32)


def _order(first: Bits) -> list[int]:
    return [*first, *(bit for bit in range(63, -1, -1) if bit not in first)]


@lru_cache(maxsize=256)
def _byte_tables(order: tuple[int, ...]) -> Hashes:
    """What each byte of a value (8) contributes, by what it is (256), when the bit order[0] becomes the highest."""
    tables = np.zeros((8, 256), np.uint64)
    byte = np.arange(256, dtype=np.uint64)
    for i, bit in enumerate(order):
        tables[bit // 8] |= (byte >> np.uint64(bit % 8) & np.uint64(1)) << np.uint64(63 - i)
    return tables


def _gathered(values: Hashes, order: tuple[int, ...]) -> Hashes:
    """Values whose highest bit is the bit order[0] of those given, and so on down."""
    tables = _byte_tables(order)
    octets = np.ascontiguousarray(values, dtype="<u8").view(np.uint8).reshape(len(values), 8)
    gathered = np.empty(len(values), np.uint64)
    for start in range(0, len(values), _CACHED):
        block = octets[start : start + _CACHED]
        bits = tables[0].take(block[:, 0])
        for i in range(1, 8):
            bits |= tables[i].take(block[:, i])
        gathered[start : start + _CACHED] = bits
    return gathered
