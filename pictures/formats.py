"""Pictures of strangers: which formats are opened, and how bytes become pixels, for all that look at pictures.

Always the first frame. What this leaves to others: sizes and colour profiles.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, UnidentifiedImageError

from core.errors import describe
from pictures.drawing import DrawingError, draw, is_drawing, size_of
from pictures.jpeg import with_end
from pictures.sniff import other_kind, picture_format

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "TIFF")
"""What is opened, beside SVG: that which browsers show, and TIFF, which old pages link to. Each further parser is one
more for strangers to attack (the one for PostScript starts a program), for next to no pictures."""

# What Pillow's decoders can raise on a broken file: it promises no more than that it raises.
BROKEN = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, RuntimeError, MemoryError,
    AttributeError, AssertionError, struct.error, zlib.error,
)  # fmt: skip
_ORIENTATION = 0x0112  # the EXIF tag that says how the camera was held (CIPA DC-008, 4.6.4)
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BITMAP_HEADER = 40  # bytes of BITMAPINFOHEADER; older ones know no 32 bits
_SMOOTH = {"L": "L", "1": "L", "RGB": "RGB", "RGBX": "RGB", "P": "RGB", "YCbCr": "RGB", "CMYK": "CMYK"}


class PictureError(Exception):
    """Bytes that give no picture. `reason`: not_an_image (no format that is known, or no header), format_unsupported,
    too_many_pixels, truncated_image, decoder_failed (the header was good, the pixels were not)."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.reason, self.detail)))


def decoded(body: bytes, max_area: int, formats: Sequence[str] = FORMATS) -> Image.Image:
    """The whole picture as RGB, 8 bits a channel: upright, over white, a drawing in its own size. PictureError.

    `max_area` in pixels is held against the header, before anything is decoded.
    """
    if is_drawing(body):
        try:
            _limit(size_of(body), max_area)
            return over_white(draw(body, 1.0))
        except DrawingError as error:
            raise PictureError("not_an_image", f"SVG: {error}") from error
    image = opened(body, formats)
    _limit(image.size, max_area)
    flat = pixels(image, body)
    return over_white(upright(flat, orientation(image)[0])).convert("RGB")


def _limit(size: tuple[int, int], max_area: int) -> None:
    if size[0] * size[1] > max_area:
        raise PictureError("too_many_pixels", f"{size[0]} x {size[1]} of at most {max_area:,}")


def opened(body: bytes, formats: Sequence[str] = FORMATS) -> Image.Image:
    """The picture with its header read, and its pixels not yet. PictureError says what the bytes are instead."""
    try:
        return Image.open(io.BytesIO(body), formats=tuple(formats))
    except Image.DecompressionBombError as error:
        raise PictureError("too_many_pixels", str(error)) from error
    except BROKEN as error:
        said = describe(error)
        if isinstance(error, UnidentifiedImageError):
            said = f"{len(body)} bytes that begin with {body[:16]!r}"
        if name := picture_format(body):
            raise PictureError("format_unsupported", f"{name}, {said}") from error
        if is_cut(error) or falls_short(body):
            raise PictureError("truncated_image", said) from error
        raise PictureError("not_an_image", ", ".join(filter(None, (other_kind(body), said)))) from error


def pixels(image: Image.Image, body: bytes, at_least: tuple[int, int] | None = None) -> Image.Image:
    """The pixels of an opened picture, in a mode whose values can be averaged: L, RGB, CMYK or RGBA. PictureError.

    A JPEG may come at 1/2, 1/4 or 1/8 of its size, where that is not below `at_least` (width, height).
    """
    try:
        return _averageable(_loaded(image, body, at_least), body)
    except BROKEN as error:
        raise PictureError("truncated_image" if is_cut(error) else "decoder_failed", describe(error)) from error


def orientation(image: Image.Image) -> tuple[int, str]:
    """(1 to 8 as EXIF has it, what was wrong with the EXIF data) of a decoded picture; from 5 on it lies down."""
    try:
        found = image.getexif().get(_ORIENTATION)
        return (found if found in _UPRIGHT else 1), ""
    except BROKEN as error:
        return 1, f"EXIF ignored: {describe(error)}"


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """A picture turned and mirrored as its orientation asks for."""
    return image if orientation == 1 else image.transpose(_UPRIGHT[orientation])


def over_white(image: Image.Image) -> Image.Image:
    """RGBA as RGB over white; any other mode as it is."""
    if image.mode != "RGBA":
        return image
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _loaded(image: Image.Image, body: bytes, at_least: tuple[int, int] | None) -> Image.Image:
    """The decoded picture; a JPEG whose end marker is all it lacks is one."""
    try:
        image.draft(None, at_least)
        image.load()
    except OSError as error:
        whole = with_end(body) if image.format in ("JPEG", "MPO") and is_cut(error) else None
        if whole is None:
            raise
        image = Image.open(io.BytesIO(whole), formats=("JPEG",))
        image.draft(None, at_least)
        image.load()
    return image


def _averageable(image: Image.Image, body: bytes) -> Image.Image:
    if image.format == "BMP":
        return _of_bitmap(image, body)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):  # 0 to 65,535
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode in _SMOOTH:
        return image.convert(_SMOOTH[image.mode])
    raise ValueError(f"pixels of mode {image.mode}: what black and white are is not agreed")


def _of_bitmap(image: Image.Image, body: bytes) -> Image.Image:
    """A BMP with its transparency: the fourth byte of 32 bits, which Pillow skips where no mask names it.

    Programs that know no transparency leave that byte zero: such a picture is opaque, as browsers show it.
    """
    offset, header = struct.unpack_from("<II", body, 10)  # bytes: where the pixels begin, how long the header is
    if header >= _BITMAP_HEADER and image.mode == "RGB":
        height, bits, compression = struct.unpack_from("<i2xHI", body, 22)
        if (bits, compression) == (32, 0):
            alpha = np.frombuffer(body, np.uint8, 4 * image.width * image.height, offset)
            rows = alpha.reshape(image.height, image.width, 4)[:: 1 if height < 0 else -1, :, 3]
            image.putalpha(Image.fromarray(np.ascontiguousarray(rows)))
    if image.mode == "RGBA":
        return image if image.getchannel("A").getbbox() else image.convert("RGB")
    return image.convert(_SMOOTH[image.mode])


def is_cut(error: Exception) -> bool:
    """Whether Pillow found the file to end too early; it has no class for that."""
    text = str(error).lower()
    return isinstance(error, EOFError) or "truncated" in text or "not enough image data" in text


def falls_short(body: bytes) -> bool:
    """Whether a WebP or AVIF file is shorter than it says (Pillow finds such a file to be none at all)."""
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return len(body) < 8 + int.from_bytes(body[4:8], "little")
    end = 0  # of the boxes so far, each of which begins with its length (ISO/IEC 14496-12, 4.2)
    while body[4:8] == b"ftyp" and end + 8 <= len(body):
        length = int.from_bytes(body[end : end + 4], "big")
        if length < 8:  # it reaches to the end, or is broken
            break
        end += length
    return end > len(body)
