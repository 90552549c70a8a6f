"""What the web sent -> the picture as it is stored. Pure: the same bytes, options and Pillow give the same bytes.

Options have img2dataset's names and meanings where it has them. Always RGB in sRGB, upright, over white, first frame.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from dedup.pictures import FORMATS
from pipeline.web.detail import of_error, one_line
from pipeline.web.drawing import DrawingError, draw, is_drawing, size_of
from shards.errors import UsageError

RESIZE_MODES = ("no", "keep_ratio", "keep_ratio_largest", "center_crop", "border")
ENCODE_FORMATS = ("jpg", "png", "webp")
MAX_SIDE = 16_383  # pixels, as stored; the encoders of WebP and (65,535) JPEG take no more
MAX_AREA = 2 * 89_478_485  # pixels; Pillow opens nothing larger
MAX_PROFILE_BYTES = 4 * 2**20  # of an ICC profile; printers' have up to 3 MB

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
# What Pillow's decoders can raise on a broken file: it promises no more than that it raises.
_BROKEN = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, RuntimeError, MemoryError,
    AttributeError, AssertionError, struct.error, zlib.error,
)  # fmt: skip
_SMOOTH = {"L": "L", "1": "L", "RGB": "RGB", "RGBX": "RGB", "P": "RGB", "YCbCr": "RGB", "CMYK": "CMYK"}


@dataclass(frozen=True, kw_only=True)
class Options:
    """How pictures are stored. Raises UsageError for an impossible value."""

    image_size: int = 256  # pixels of the side that resize_mode looks at
    resize_mode: str = "keep_ratio"  # by the short side; keep_ratio_largest, border: by the long one; no
    resize_only_if_bigger: bool = True  # a smaller picture is stored as it is, neither cropped nor padded
    encode_format: str = "jpg"
    encode_quality: int = 95  # 0 to 100; of png 0 to 9, the compression
    min_image_size: int = 0  # pixels of the short side
    max_image_area: int = 128_000_000  # pixels, of the original and of what is stored

    def __post_init__(self) -> None:
        best = 9 if self.encode_format == "png" else 100
        for is_right, key, expected in (
            (0 < self.image_size <= MAX_SIDE, "image_size", f"1 to {MAX_SIDE}"),
            (self.resize_mode in RESIZE_MODES, "resize_mode", " | ".join(RESIZE_MODES)),
            (self.encode_format in ENCODE_FORMATS, "encode_format", " | ".join(ENCODE_FORMATS)),
            (0 <= self.encode_quality <= best, "encode_quality", f"0 to {best} for {self.encode_format}"),
            (self.min_image_size >= 0, "min_image_size", "0 or more"),
            (0 < self.max_image_area <= MAX_AREA, "max_image_area", f"1 to {MAX_AREA}"),
        ):
            if not is_right:
                raise UsageError(f"{key} = {getattr(self, key)!r}: must be {expected}")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A stored picture: `body` is encoded as the options say."""

    body: bytes
    format: str  # of the original: one of FORMATS
    original_width: int  # pixels, upright
    original_height: int
    width: int  # pixels, as stored
    height: int
    detail: str  # what was wrong with it and could be ignored; mostly empty


class Refused(NamedTuple):
    """Why there is no picture: `reason` is one of FETCH_REASONS."""

    reason: str
    detail: str


class _RefusedError(Exception):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.refused = Refused(reason, one_line(detail))


def store(body: bytes, options: Options) -> Picture | Refused:
    """Decode, set upright, resize, convert to sRGB over white, encode; or say by which name it failed.

    not_an_image: no format of FORMATS, or no header. too_many_pixels, too_small: known before it is decoded.
    truncated_image, decoder_failed: the header was good, the pixels were not.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # it warns of what is refused or noted here anyway
        try:
            return _store(body, options)
        except _RefusedError as error:
            return error.refused


def scaled_size(width: int, height: int, options: Options) -> tuple[int, int]:
    """Width and height after resizing, before cropping or padding."""
    if options.resize_mode == "no":
        return width, height
    by_short_side = options.resize_mode in ("keep_ratio", "center_crop")
    scale = options.image_size / (min if by_short_side else max)(width, height)
    if scale >= 1 and options.resize_only_if_bigger:
        return width, height
    return max(1, round(width * scale)), max(1, round(height * scale))


def _store(body: bytes, options: Options) -> Picture:
    if is_drawing(body):
        return _store_drawing(body, options)
    image = _open(body)
    source_format, profile = (image.format or "").replace("MPO", "JPEG"), image.info.get("icc_profile")
    width, height = image.size
    target = _checked(width, height, options)

    small = _decoded(image, target).resize(target, Image.Resampling.BICUBIC)
    orientation, exif_note = _orientation(image)
    if orientation != 1:
        small = small.transpose(_UPRIGHT[orientation])
    if orientation >= 5:  # it lies on its side
        width, height = height, width
    rgb, profile_note = _in_srgb(_over_white(small), profile)
    resized = not options.resize_only_if_bigger or rgb.size != (width, height)
    stored = _fitted(rgb, options) if resized else rgb
    return Picture(
        body=_encoded(stored, options),
        format=source_format,
        original_width=width,
        original_height=height,
        width=stored.width,
        height=stored.height,
        detail=one_line("; ".join(filter(None, (exif_note, profile_note)))),
    )


def _store_drawing(body: bytes, options: Options) -> Picture:
    try:
        width, height = size_of(body)
        target = _checked(width, height, options)
        drawn = draw(body, max(target[0] / width, target[1] / height))
    except DrawingError as error:
        raise _RefusedError("not_an_image", f"SVG: {error}") from error
    small = _over_white(drawn.resize(target, Image.Resampling.BICUBIC))
    stored = _fitted(small, options) if not options.resize_only_if_bigger or target != (width, height) else small
    return Picture(
        body=_encoded(stored, options),
        format="SVG",
        original_width=width,
        original_height=height,
        width=stored.width,
        height=stored.height,
        detail="",
    )


def _open(body: bytes) -> Image.Image:
    """The picture with its header read, and its pixels not yet."""
    try:
        return Image.open(io.BytesIO(body), formats=FORMATS)
    except UnidentifiedImageError as error:
        reason = "truncated_image" if _falls_short(body) else "not_an_image"
        raise _RefusedError(reason, f"{len(body)} bytes that begin with {body[:16]!r}") from error
    except Image.DecompressionBombError as error:
        raise _RefusedError("too_many_pixels", str(error)) from error
    except _BROKEN as error:
        cut = _is_cut(error) or _falls_short(body)
        raise _RefusedError("truncated_image" if cut else "not_an_image", of_error(error)) from error


def _checked(width: int, height: int, options: Options) -> tuple[int, int]:
    """`scaled_size`, if the picture is neither too large nor too small before and after it."""
    target = scaled_size(width, height, options)
    if width * height > options.max_image_area:
        raise _RefusedError("too_many_pixels", f"{width} x {height}")
    if target[0] * target[1] > options.max_image_area or max(target) > MAX_SIDE:
        raise _RefusedError("too_many_pixels", f"{width} x {height}, which becomes {target[0]} x {target[1]}")
    if min(width, height) < options.min_image_size:
        raise _RefusedError("too_small", f"{width} x {height}")
    return target


def _decoded(image: Image.Image, target: tuple[int, int]) -> Image.Image:
    """The pixels, in a mode whose values can be averaged: L, RGB, CMYK or RGBA.

    A JPEG of at least 4 times the target is decoded at 1/2, 1/4 or 1/8, never below twice the target: 2.5 times as
    fast, and after resizing half a grey level away in the mean (45 dB).
    """
    try:
        image.draft(None, (2 * target[0], 2 * target[1]))
        image.load()
        if image.mode.startswith("I;16"):
            return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.has_transparency_data:
            return image.convert("RGBA")
        if image.mode in _SMOOTH:
            return image.convert(_SMOOTH[image.mode])
    except _BROKEN as error:
        raise _RefusedError("truncated_image" if _is_cut(error) else "decoder_failed", of_error(error)) from error
    raise _RefusedError("decoder_failed", f"pixels of mode {image.mode}: what black and white are is not agreed")


def _orientation(image: Image.Image) -> tuple[int, str]:
    """(1 to 8 as EXIF has it, what was wrong with the EXIF data) of a decoded picture."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
        return (orientation if orientation in _UPRIGHT else 1), ""
    except _BROKEN as error:
        return 1, f"EXIF ignored: {of_error(error)}"


def _over_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _in_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str]:
    """(the picture as RGB in sRGB, what was wrong with its ICC profile); without a profile L and RGB are sRGB."""
    note = ""
    if profile:
        try:
            return _transform(profile, image.mode).apply(image), ""
        except (*_BROKEN, ImageCms.PyCMSError) as error:
            note = f"ICC profile ignored: {of_error(error)}"
    return image.convert("RGB"), note


@lru_cache(maxsize=16)  # building one takes as long as decoding the picture, and most pictures share a few profiles
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    if len(profile) > MAX_PROFILE_BYTES:
        raise ValueError(f"{len(profile)} bytes")
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")


def _fitted(image: Image.Image, options: Options) -> Image.Image:
    """Cropped or padded to a square, where the mode asks for one."""
    size = options.image_size
    left, top = (image.width - size) // 2, (image.height - size) // 2
    if options.resize_mode == "center_crop":
        return image.crop((left, top, left + size, top + size))
    if options.resize_mode == "border":
        square = Image.new("RGB", (size, size), "white")
        square.paste(image, (-left, -top))
        return square
    return image


def _encoded(image: Image.Image, options: Options) -> bytes:
    image.info = {}  # comments and resolutions would go with it
    to = io.BytesIO()
    match options.encode_format:
        case "jpg":
            image.save(to, "JPEG", quality=options.encode_quality, subsampling="4:2:0")
        case "webp":
            image.save(to, "WEBP", quality=options.encode_quality)
        case "png":
            image.save(to, "PNG", compress_level=options.encode_quality)
    return to.getvalue()


def _is_cut(error: Exception) -> bool:
    """Whether Pillow found the file to end too early; it has no class for that."""
    text = str(error).lower()
    return isinstance(error, EOFError) or "truncated" in text or "not enough image data" in text


def _falls_short(body: bytes) -> bool:
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
