"""What the web sent -> the picture as it is stored. Pure: the same bytes, options and Pillow give the same bytes.

Options have img2dataset's names and meanings where it has them. Always RGB in sRGB, upright, over white, first frame.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from PIL import Image, ImageCms

from core.errors import UsageError
from pictures.drawing import DrawingError, draw, is_drawing, size_of
from pictures.formats import BROKEN, PictureError, opened, orientation, over_white, pixels, upright
from pipeline.web.detail import of_error, one_line

RESIZE_MODES = ("no", "keep_ratio", "keep_ratio_largest", "center_crop", "border")
ENCODE_FORMATS = ("jpg", "png", "webp")
MAX_SIDE = 16_383  # pixels, as stored; the encoders of WebP and (65,535) JPEG take no more
MAX_AREA = 2 * 89_478_485  # pixels; Pillow opens nothing larger
MAX_PROFILE_BYTES = 4 * 2**20  # of an ICC profile; printers' have up to 3 MB


@dataclass(frozen=True, kw_only=True)
class Options:
    """How pictures are stored. Raises UsageError for an impossible value."""

    image_size: int = 256  # pixels of the side that resize_mode looks at
    resize_mode: str = "keep_ratio"  # by the short side; keep_ratio_largest, border: by the long one; no
    resize_only_if_bigger: bool = True  # a smaller picture is stored as it is, neither cropped nor padded
    encode_format: str = "jpg"
    encode_quality: int = 95  # 0 to 100; of png 0 to 9, the compression
    min_image_size: int = 32  # pixels of the original's short side; 0: no limit
    max_aspect_ratio: float = 4.0  # of the original's long side to its short one; 0: no limit
    max_image_area: int = 128_000_000  # pixels, of the original and of what is stored

    def __post_init__(self) -> None:
        best = 9 if self.encode_format == "png" else 100
        for is_right, key, expected in (
            (0 < self.image_size <= MAX_SIDE, "image_size", f"1 to {MAX_SIDE}"),
            (self.resize_mode in RESIZE_MODES, "resize_mode", " | ".join(RESIZE_MODES)),
            (self.encode_format in ENCODE_FORMATS, "encode_format", " | ".join(ENCODE_FORMATS)),
            (0 <= self.encode_quality <= best, "encode_quality", f"0 to {best} for {self.encode_format}"),
            (self.min_image_size >= 0, "min_image_size", "0 or more"),
            (self.max_aspect_ratio == 0 or self.max_aspect_ratio >= 1, "max_aspect_ratio", "1 or more, or 0"),
            (0 < self.max_image_area <= MAX_AREA, "max_image_area", f"1 to {MAX_AREA}"),
        ):
            if not is_right:
                raise UsageError(f"{key} = {getattr(self, key)!r}: must be {expected}")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A stored picture: `body` is encoded as the options say."""

    body: bytes
    format: str  # of the original: one of pictures/formats.py's FORMATS, or SVG
    original_width: int  # pixels, upright
    original_height: int
    width: int  # pixels, as stored
    height: int
    detail: str  # what was wrong with it and could be ignored; mostly empty


class Refused(NamedTuple):
    """Why there is no picture: `reason` is one of FETCH_REASONS."""

    reason: str
    detail: str


def store(body: bytes, options: Options) -> Picture | Refused:
    """Decode, set upright, resize, convert to sRGB over white, encode; or say by which name it failed.

    too_many_pixels, too_small, aspect_too_large are known before it is decoded; the others are PictureError's.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # it warns of what is refused or noted here anyway
        try:
            return _store(body, options)
        except PictureError as error:
            return Refused(error.reason, one_line(error.detail))


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
    image = opened(body)
    source_format, profile = (image.format or "").replace("MPO", "JPEG"), image.info.get("icc_profile")
    width, height = image.size
    target = _checked(width, height, options)

    # Decoded at no less than twice the target: 2.5 times as fast as whole, and after resizing half a grey level away
    # in the mean (45 dB).
    small = pixels(image, body, (2 * target[0], 2 * target[1])).resize(target, Image.Resampling.BICUBIC)
    turn, exif_note = orientation(image)
    if turn >= 5:  # it lies on its side
        width, height = height, width
    rgb, profile_note = _in_srgb(over_white(upright(small, turn)), profile)
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
        raise PictureError("not_an_image", f"SVG: {error}") from error
    small = over_white(drawn.resize(target, Image.Resampling.BICUBIC))
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


def _checked(width: int, height: int, options: Options) -> tuple[int, int]:
    """`scaled_size`, if the picture may be decoded and stored: neither too large nor too small, nor too long."""
    target = scaled_size(width, height, options)
    if width * height > options.max_image_area:
        raise PictureError("too_many_pixels", f"{width} x {height}")
    if target[0] * target[1] > options.max_image_area or max(target) > MAX_SIDE:
        raise PictureError("too_many_pixels", f"{width} x {height}, which becomes {target[0]} x {target[1]}")
    if min(width, height) < options.min_image_size:
        raise PictureError("too_small", f"{width} x {height}")
    if options.max_aspect_ratio and max(width, height) > options.max_aspect_ratio * min(width, height):
        raise PictureError("aspect_too_large", f"{width} x {height}")
    return target


def _in_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str]:
    """(the picture as RGB in sRGB, what was wrong with its ICC profile); without a profile L and RGB are sRGB."""
    note = ""
    if profile:
        try:
            return _transform(profile, image.mode).apply(image), ""
        except (*BROKEN, ImageCms.PyCMSError) as error:
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
