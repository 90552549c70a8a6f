"""SVG drawings -> pixels, by librsvg inside libvips.

Of three renderers librsvg is the one that takes all 191 drawings of the real sites at hand and opens no file that a
drawing names; resvg refuses a fifth of them and reads absolute paths, CairoSVG is not made for strangers' input.
Text is drawn with the fonts of the machine.
"""

from __future__ import annotations

import re

from PIL import Image

MAX_SVG_BYTES = 5_000_000
"""Larger drawings are maps and data: seconds to draw, and nothing to see at 256 pixels."""

_START = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml\s|!--|!DOCTYPE\s+svg\s|svg[\s>])")
_PROLOGUE = 8192  # bytes in which the element has to begin; before it there are comments and declarations


class DrawingError(Exception):
    """The drawing cannot be drawn; says why."""


def is_drawing(body: bytes) -> bool:
    """Whether the bytes begin like an SVG document."""
    start, found, _ = body[:_PROLOGUE].partition(b"<svg")
    return bool(found) and _START.match(body) is not None and b"<html" not in start.lower()


def size_of(body: bytes) -> tuple[int, int]:
    """(width, height) in pixels, as the drawing says it wants to be seen; nothing is drawn yet."""
    image = _load(body, 1.0)
    return image.width, image.height


def draw(body: bytes, scale: float) -> Image.Image:
    """The drawing as RGBA pixels, so many times its own size."""
    import pyvips

    try:
        image = _load(body, scale)
        return Image.frombytes("RGBA", (image.width, image.height), image.write_to_memory())
    except (pyvips.Error, ValueError) as error:
        raise DrawingError(str(error)) from error


def _load(body: bytes, scale: float):  # type: ignore[no-untyped-def]  # a pyvips.Image; its stubs are not published
    import pyvips

    if len(body) > MAX_SVG_BYTES:
        raise DrawingError(f"{len(body)} bytes of SVG, more than {MAX_SVG_BYTES}")
    try:
        return pyvips.Image.svgload_buffer(body, scale=scale)
    except pyvips.Error as error:
        raise DrawingError(str(error)) from error
