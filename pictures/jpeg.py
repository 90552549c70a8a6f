"""JPEG files without an end marker: which of them lack nothing else.

Cameras that lose power and sites that cut files by a byte count leave such files, and every browser shows them.
libjpeg, told to go on at any price, paints what is missing grey without a word, so it cannot be asked which file is
whole. What can be seen is whether anything is missing: the scan data are complete when whatever could follow them
changes no pixel, and a picture of many scans is complete when each coefficient has been sent to its last bit.
"""

from __future__ import annotations

import io
import re

from PIL import Image
from xxhash import xxh3_128_digest

END = b"\xff\xd9"

# What could follow: nothing; bits that are no Huffman code; others; zeros.
_TAILS = (b"", b"\xff\x00" * 32, b"\xaa" * 64, bytes(64))
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)  # in scan data: not a stuffed FF, not a restart
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15; between them tables and one that is reserved
_SCAN, _END = 0xDA, 0xD9
_BLOCK = 64  # coefficients
_MOST_COMPONENTS = 4  # of a picture that is decoded
_MOST_MARKERS = 1000  # a photograph has some tens; profiles and scans add to them


def with_end(body: bytes) -> bytes | None:
    """A JPEG file with the end marker that it lacks; None where more than that is missing."""
    body = body.rstrip(b"\xff")  # the first half of the marker, or fill bytes before it
    if not _all_sent(body):
        return None
    pictures = set()
    for tail in _TAILS:
        try:
            with Image.open(io.BytesIO(body + tail + END), formats=("JPEG",)) as image:
                pictures.add(xxh3_128_digest(image.tobytes()))
        except (OSError, ValueError, SyntaxError):
            return None
        if len(pictures) > 1:
            return None
    return body + END


def _all_sent(body: bytes) -> bool:
    """Whether scans have begun that send every coefficient of every component to its last bit (T.81, B.2 and G.1)."""
    waiting: set[tuple[int, int]] | None = None  # component, coefficient
    is_progressive, at = False, 2  # after the start marker
    for _ in range(_MOST_MARKERS):
        found = _MARKER.search(body, at)
        if found is None or body[found.start() + 1] == _END:
            return waiting == set()
        marker, start = body[found.start() + 1], found.end()
        at = start + int.from_bytes(body[start : start + 2], "big")
        segment = body[start + 2 : at]
        if at > len(body) or at < start + 2:  # cut within it, or broken
            return False
        if marker in _FRAMES and len(segment) >= 6 and segment[5] <= _MOST_COMPONENTS:
            is_progressive = marker % 4 == 2
            waiting = {(component, k) for component in segment[6 : 6 + 3 * segment[5] : 3] for k in range(_BLOCK)}
        elif marker == _SCAN and waiting is not None:
            waiting -= _sent(segment, is_progressive)
    return False


def _sent(scan: bytes, is_progressive: bool) -> set[tuple[int, int]]:
    """The coefficients that the scan of such a header sends to their last bit: components and numbers."""
    count = scan[0] if scan else 0
    if not 1 <= count <= _MOST_COMPONENTS or len(scan) < 2 * count + 4:
        return set()
    first, last, bits = scan[2 * count + 1 : 2 * count + 4] if is_progressive else (0, _BLOCK - 1, 0)
    if bits % 16:  # some are left below these
        return set()
    return {(component, k) for component in scan[1 : 2 * count + 1 : 2] for k in range(first, min(last + 1, _BLOCK))}
