"""Pictures: every mode and format, orientation, colour, sizes, and some 5,400 hostile files."""

import io
import math
import tarfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from pipeline.records import FETCH_REASONS
from pipeline.web.detail import MAX_DETAIL_CHARS
from pipeline.web.picture import (
    MAX_PROFILE_BYTES,
    MAX_SIDE,
    Options,
    Picture,
    Refused,
    scaled_size,
    store,
)
from shards.errors import UsageError
from shards.pictures import FORMATS

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8))
ALL: dict[str, Any] = {"min_image_size": 0, "max_aspect_ratio": 0}  # however small or long
# Lossless, so that pixels can be compared.
AS_IS = Options(resize_mode="no", encode_format="png", encode_quality=1, **ALL)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    to = io.BytesIO()
    image.save(to, kind, **options)
    return to.getvalue()


def stored(body: bytes, options: Options = AS_IS) -> Picture:
    picture = store(body, options)
    assert isinstance(picture, Picture), picture
    return picture


def pixels(body: bytes, options: Options = AS_IS) -> np.ndarray:
    """uint8 [height, width, 3] of the stored picture."""
    image = Image.open(io.BytesIO(stored(body, options).body))
    assert image.mode == "RGB"
    return np.asarray(image)


def colours(width: int = 64, height: int = 48) -> Image.Image:
    """Red, green / blue, white: no turning or mirroring of it looks like another."""
    image = Image.new("RGB", (width, height), WHITE)
    image.paste(RED, (0, 0, width // 2, height // 2))
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    return image


@pytest.mark.parametrize("kind", FORMATS)
def test_formats(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100}
    body = encode(colours(), kind, **options)
    picture = stored(body)
    assert (picture.format, picture.original_width, picture.original_height) == (kind, 64, 48)
    assert (picture.width, picture.height, picture.detail) == (64, 48, "")
    middles = pixels(body)[12::24, 16::32].astype(int)  # of the four fields
    assert np.abs(middles - [[RED, GREEN], [BLUE, WHITE]]).max() <= 4


@pytest.mark.parametrize("encode_format", ["jpg", "webp", "png"])
def test_what_is_stored(encode_format: str) -> None:
    options = Options(encode_format=encode_format, encode_quality=9 if encode_format == "png" else 95)
    body = encode(colours(640, 480), "PNG")
    picture = stored(body, options)
    image = Image.open(io.BytesIO(picture.body))
    assert image.format == {"jpg": "JPEG", "webp": "WEBP", "png": "PNG"}[encode_format]
    assert image.size == (picture.width, picture.height) == (341, 256)
    assert (picture.original_width, picture.original_height) == (640, 480)
    assert picture.body == stored(body, options).body


def test_nothing_else_travels_with_the_pixels() -> None:
    exif = Image.Exif()
    exif[0x010E] = "who took it"
    body = encode(colours(), "JPEG", exif=exif, comment=b"a comment", dpi=(300, 300))
    bare = encode(colours(), "JPEG")
    assert stored(body, Options()).body == stored(bare, Options()).body


def gray16() -> Image.Image:
    return Image.fromarray(np.array([[0, 0x7FFF, 0x80FF, 0xFFFF]], dtype=np.uint16))


def palette(transparent: int | None) -> bytes:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([*RED, *BLUE])
    image.putpixel((1, 0), 1)
    return encode(image, "PNG", **({} if transparent is None else {"transparency": transparent}))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (encode(Image.new("1", (1, 1), 1), "PNG"), [WHITE]),
        (encode(Image.new("L", (1, 1), 77), "PNG"), [(77, 77, 77)]),
        (encode(Image.new("LA", (1, 1), (0, 255)), "PNG"), [BLACK]),
        (encode(Image.new("LA", (1, 1), (0, 51)), "PNG"), [(204, 204, 204)]),
        (encode(Image.new("RGBA", (1, 1), (255, 0, 0, 51)), "PNG"), [(255, 204, 204)]),
        (encode(Image.new("RGBA", (1, 1), (255, 0, 0, 0)), "PNG"), [WHITE]),
        (encode(Image.new("RGB", (1, 1), RED), "PNG", transparency=RED), [WHITE]),
        (palette(None), [RED, BLUE]),
        (palette(0), [WHITE, BLUE]),
        (encode(gray16(), "PNG"), [(v, v, v) for v in (0, 0x7F, 0x80, 0xFF)]),
        (encode(gray16(), "TIFF"), [(v, v, v) for v in (0, 0x7F, 0x80, 0xFF)]),
        (encode(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "TIFF"), [RED]),
        (encode(Image.new("CMYK", (16, 16), (0, 0, 0, 255)), "JPEG", quality=100), [BLACK]),
    ],
)  # fmt: skip
def test_modes(body: bytes, expected: list[tuple[int, int, int]]) -> None:
    assert pixels(body)[0, : len(expected)].tolist() == [list(colour) for colour in expected]


@pytest.mark.parametrize("mode", ["I", "F", "LAB"])
def test_modes_whose_values_mean_nothing_certain(mode: str) -> None:
    refused = store(encode(Image.new(mode, (4, 4)), "TIFF"), AS_IS)
    assert isinstance(refused, Refused)
    assert refused.reason == "decoder_failed"
    assert f"mode {mode}" in refused.detail


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_the_first_frame_counts(kind: str) -> None:
    first, second = Image.new("RGB", (16, 16), RED), Image.new("RGB", (16, 16), BLUE)
    body = encode(first, kind, save_all=True, append_images=[second])
    assert np.abs(pixels(body).astype(int) - RED).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation(kind: str, orientation: int) -> None:
    """A camera held so stores the scene turned back; what is stored here is the scene."""
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # numbers of Image.Transpose: mirrored, turned …
    scene = colours()
    as_stored = scene if orientation == 1 else scene.transpose(Image.Transpose(back[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = encode(as_stored, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {"quality": 100}))
    picture = stored(body)
    assert (picture.original_width, picture.original_height) == (picture.width, picture.height) == (64, 48)
    middles = pixels(body)[12::24, 16::32].astype(int)
    assert np.abs(middles - [[RED, GREEN], [BLUE, WHITE]]).max() <= 4
    small = stored(body, Options(image_size=24, resize_mode="keep_ratio"))
    assert (small.width, small.height) == (32, 24)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0junk", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_broken_exif_is_no_reason(exif: bytes) -> None:
    assert np.abs(pixels(encode(colours(), "JPEG", exif=exif, quality=100))[0, 0].astype(int) - RED).max() <= 4


def swapped_srgb() -> bytes:
    """A profile whose red is sRGB's blue and the reverse."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"####", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"####", b"bXYZ", 1)


def test_an_icc_profile_is_applied() -> None:
    body = encode(Image.new("RGB", (4, 4), RED), "PNG", icc_profile=swapped_srgb())
    assert np.abs(pixels(body).astype(int) - BLUE).max() <= 1
    assert stored(body).detail == ""


@pytest.mark.parametrize(
    ("profile", "mode"),
    [
        (b"junk", "RGB"),
        (b"", "L"),
        (swapped_srgb()[:400], "RGB"),
        (swapped_srgb(), "L"),
        (swapped_srgb() + bytes(MAX_PROFILE_BYTES), "RGB"),
    ],
)
def test_a_broken_icc_profile_is_ignored_and_said(profile: bytes, mode: str) -> None:
    body = encode(Image.new(mode, (4, 4), "white"), "TIFF", icc_profile=profile)
    assert (pixels(body) == 255).all()
    assert stored(body).detail.startswith("ICC profile ignored: ") == bool(profile)


@pytest.mark.parametrize(
    ("mode", "only_if_bigger", "size", "expected"),
    [
        ("no", True, (640, 480), (640, 480)),
        ("no", False, (64, 48), (64, 48)),
        ("keep_ratio", True, (640, 480), (341, 256)),
        ("keep_ratio", True, (480, 640), (256, 341)),
        ("keep_ratio", True, (1000, 256), (1000, 256)),
        ("keep_ratio", True, (64, 48), (64, 48)),
        ("keep_ratio", False, (64, 48), (341, 256)),
        ("keep_ratio_largest", True, (640, 480), (256, 192)),
        ("keep_ratio_largest", True, (200, 256), (200, 256)),
        ("keep_ratio_largest", False, (64, 48), (256, 192)),
        ("keep_ratio_largest", True, (4000, 1), (256, 1)),
        ("center_crop", True, (640, 480), (256, 256)),
        ("center_crop", True, (640, 256), (640, 256)),
        ("center_crop", False, (64, 48), (256, 256)),
        ("border", True, (640, 480), (256, 256)),
        ("border", True, (64, 48), (64, 48)),
        ("border", False, (64, 48), (256, 256)),
    ],
)
def test_sizes(mode: str, only_if_bigger: bool, size: tuple[int, int], expected: tuple[int, int]) -> None:
    options = Options(resize_mode=mode, resize_only_if_bigger=only_if_bigger, **ALL)
    picture = stored(encode(Image.new("RGB", size), "PNG"), options)
    assert (picture.width, picture.height) == expected
    assert (picture.original_width, picture.original_height) == size


def test_the_crop_is_central_and_the_border_white() -> None:
    wide = Image.new("RGB", (300, 100), RED)
    wide.paste(BLUE, (100, 0, 200, 100))
    body = encode(wide, "PNG")
    square: dict[str, Any] = {"image_size": 60, "encode_format": "png", "encode_quality": 1}
    cropped = pixels(body, Options(resize_mode="center_crop", **square)).reshape(-1, 3).astype(int)
    assert np.abs(cropped.mean(axis=0) - BLUE).max() < 12  # its edges are blurred by resizing
    bordered = pixels(body, Options(resize_mode="border", **square))
    assert (bordered[:20] == 255).all() and (bordered[40:] == 255).all()
    assert (bordered[30, 30] == BLUE).all() and (bordered[30, 2] == RED).all()


@given(
    st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 1000), st.booleans(),
    st.sampled_from(["keep_ratio", "keep_ratio_largest"]),
)  # fmt: skip
def test_scaled_size_keeps_the_ratio(width: int, height: int, size: int, only_if_bigger: bool, mode: str) -> None:
    options = Options(image_size=size, resize_mode=mode, resize_only_if_bigger=only_if_bigger)
    found = scaled_size(width, height, options)
    if found == (width, height):
        return
    scale = size / (min if mode == "keep_ratio" else max)(width, height)
    assert scale < 1 or not only_if_bigger
    assert (min if mode == "keep_ratio" else max)(found) == size
    for side, exact in zip(found, (width * scale, height * scale), strict=True):
        assert abs(side - exact) < 0.501 or (side == 1 and exact < 1)


@pytest.mark.parametrize("quality", [95, 50])
def test_a_scaled_decode_changes_next_to_nothing(quality: int) -> None:
    """A large JPEG is decoded at half its size or less: against the same picture from a lossless file."""
    y, x = np.mgrid[0:1100, 0:1400]
    scene = Image.fromarray(np.stack([x % 256, y % 256, (x + y) // 16 % 256], axis=2).astype(np.uint8))
    lossy = encode(scene, "JPEG", quality=quality, subsampling="4:4:4")
    lossless = encode(Image.open(io.BytesIO(lossy)), "BMP")
    options = Options(encode_format="png", encode_quality=1)
    assert np.abs(pixels(lossy, options).astype(int) - pixels(lossless, options)).mean() < 2


@pytest.mark.parametrize(
    ("options", "size", "reason"),
    [
        (Options(max_image_area=100 * 100), (100, 101), "too_many_pixels"),
        (Options(max_image_area=100 * 100), (100, 100), ""),
        (Options(min_image_size=50), (49, 100), "too_small"),
        (Options(min_image_size=50), (50, 100), ""),
        (Options(), (31, 100), "too_small"),
        (Options(), (100, 31), "too_small"),
        (Options(), (32, 32), ""),
        (Options(), (1, 1), "too_small"),
        (Options(), (1, 1000), "too_small"),
        (Options(), (32, 128), ""),
        (Options(), (128, 32), ""),
        (Options(), (32, 129), "aspect_too_large"),
        (Options(), (729, 91), "aspect_too_large"),
        (Options(max_aspect_ratio=1), (64, 64), ""),
        (Options(max_aspect_ratio=1), (64, 65), "aspect_too_large"),
        (Options(max_aspect_ratio=2.5), (40, 100), ""),
        (Options(max_aspect_ratio=2.5), (40, 101), "aspect_too_large"),
        (Options(max_aspect_ratio=0), (32, MAX_SIDE), ""),
        (Options(max_aspect_ratio=math.inf), (32, MAX_SIDE), ""),
        (Options(min_image_size=0), (1, 4), ""),
        (Options(resize_mode="no", **ALL), (1, MAX_SIDE + 1), "too_many_pixels"),
        (Options(resize_mode="no", encode_format="webp", **ALL), (1, MAX_SIDE), ""),
        (Options(**ALL), (1, MAX_SIDE), ""),
        (Options(resize_only_if_bigger=False, **ALL), (1, 1000), "too_many_pixels"),
        (Options(resize_only_if_bigger=False, max_image_area=256 * 256, **ALL), (1, 2), "too_many_pixels"),
    ],
)
def test_limits(options: Options, size: tuple[int, int], reason: str) -> None:
    found = store(encode(Image.new("RGB", size), "PNG"), options)
    assert (found.reason if isinstance(found, Refused) else "") == reason
    if isinstance(found, Refused):
        assert found.detail.startswith(f"{size[0]} x {size[1]}")


def test_sizes_are_judged_by_the_header() -> None:
    """A picture that lies on its side is as long as one that stands, and pixels that are cut do not matter."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for size, reason in (((31, 100), "too_small"), ((400, 90), "aspect_too_large")):
        body = encode(Image.new("RGB", size), "JPEG", exif=exif)
        for part in (body, body[:-40]):
            assert store(part, Options()) == Refused(reason, f"{size[0]} x {size[1]}")


def bomb(width: int, height: int) -> bytes:
    """A GIF of 35 bytes that says it is this large."""
    tiny = bytearray(encode(Image.new("L", (1, 1)), "GIF"))
    tiny[6:10] = width.to_bytes(2, "little") + height.to_bytes(2, "little")
    return bytes(tiny)


@pytest.mark.parametrize("size", [(65_535, 65_535), (20_000, 8_000), (10_000, 13_000)])
def test_a_bomb_is_seen_in_its_header(size: tuple[int, int]) -> None:
    begun = time.process_time()
    refused = store(bomb(*size), Options())
    assert isinstance(refused, Refused)
    assert refused.reason == "too_many_pixels"
    assert time.process_time() - begun < 0.5


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("part", [0.5, 0.99])
def test_truncated(kind: str, part: float) -> None:
    body = encode(NOISE, kind)
    refused = store(body[: int(len(body) * part)], Options())
    assert isinstance(refused, Refused)
    assert refused.reason == "truncated_image"


@pytest.mark.parametrize("size", [(160, 120), (1400, 1050)])  # the larger is decoded at half its size
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_only_its_end_marker(size: tuple[int, int], progressive: bool) -> None:
    """Issue 12, point 14."""
    exif = Image.Exif()
    exif[0x0112] = 6
    body = encode(NOISE.resize(size), "JPEG", exif=exif, progressive=progressive)
    whole = stored(body, Options())
    assert stored(body[:-2], Options()) == stored(body[:-1], Options()) == whole
    for cut in (body[:-12], body[: len(body) // 2]):
        refused = store(cut, Options())
        assert isinstance(refused, Refused) and refused.reason == "truncated_image"


def test_a_bitmap_of_32_bits_is_stored_over_white() -> None:
    """Issue 12, point 14."""
    image = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 32, 64))
    found = pixels(encode(image, "BMP"))
    assert found[0, 0].tolist() == list(RED) and found[0, 63].tolist() == list(WHITE)


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100), "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(100), "HEIC"),
        (b"\xff\x0a\xfa\x1f\x01\x91\x08\x06\x01\0", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl \0\0\0\0jxl ", "JPEG XL"),
        (encode(Image.new("RGB", (48, 48)), "ICO"), "ICO"),
        (encode(Image.new("RGB", (48, 48)), "JPEG2000"), "JPEG 2000"),
        (encode(Image.new("RGB", (48, 48)), "JPEG2000", no_jp2=True), "JPEG 2000"),
    ],
)
def test_formats_that_are_not_read_are_named(body: bytes, name: str) -> None:
    """Issue 12, point 14."""
    refused = store(body, Options())
    assert isinstance(refused, Refused)
    assert refused.reason == "format_unsupported" and FETCH_REASONS[refused.reason] == "failed_to_resize"
    assert refused.detail.startswith(f"{name}, {len(body)} bytes")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not_an_image"),
        (b"<!DOCTYPE html><title>Not found</title>", "not_an_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_an_image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "format_unsupported"),
        (encode(Image.new("RGB", (4, 4)), "PPM"), "format_unsupported"),
        (encode(Image.new("RGB", (32, 32)), "ICO"), "format_unsupported"),
        (encode(Image.new("RGB", (32, 32)), "JPEG2000"), "format_unsupported"),
        (encode(NOISE, "PNG").replace(b"IDAT", b"IDAX"), "not_an_image"),
        (encode(NOISE, "PNG")[:5000] + bytes(100) + encode(NOISE, "PNG")[5100:], "decoder_failed"),
    ],
)
def test_refused(body: bytes, reason: str) -> None:
    refused = store(body, Options())
    assert isinstance(refused, Refused)
    assert refused.reason == reason
    assert refused.detail


@pytest.mark.parametrize(
    "wrong",
    [
        {"image_size": 0}, {"image_size": MAX_SIDE + 1}, {"resize_mode": "stretch"}, {"encode_format": "gif"},
        {"encode_quality": 101}, {"encode_quality": -1}, {"encode_format": "png"}, {"min_image_size": -1},
        {"max_aspect_ratio": -1}, {"max_aspect_ratio": 0.5}, {"max_aspect_ratio": math.nan},
        {"max_image_area": 0}, {"max_image_area": 10**9},
    ],
)  # fmt: skip
def test_impossible_options(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"= .*: must be "):
        Options(**wrong)


@pytest.mark.parametrize("archive", ["pillow_tests", "jpeg_turbo_seed"])
def test_hostile_files(archive: str, data: Path) -> None:
    """All of them: each is stored or has a name, in a time that says that no decoder was led astray."""
    counts: Counter[str] = Counter()
    with tarfile.open(data / f"hostile/{archive}.tar.gz") as files:
        for member in files:
            source = files.extractfile(member)
            if source is None:
                continue
            body = source.read()
            begun = time.process_time()
            found = store(body, Options(**ALL))
            assert time.process_time() - begun < 10, member.name
            if isinstance(found, Refused):
                assert found.reason in FETCH_REASONS and FETCH_REASONS[found.reason] == "failed_to_resize"
                assert found.detail.isprintable() and 0 < len(found.detail) <= MAX_DETAIL_CHARS
                counts[found.reason] += 1
            else:
                assert found.format in FORMATS
                counts[found.format] += 1
    assert {"not_an_image", "too_many_pixels", "truncated_image", "decoder_failed", "JPEG", "GIF", "BMP"} <= set(counts)
