"""Pictures: every mode and format, orientation, colour and size."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from pictures.formats import FORMATS
from pipeline.decoding.picture import MAX_PROFILE_BYTES, Options, Refused, scaled_size, store
from tests.pipeline.decoding.images import ALL, AS_IS, BLACK, BLUE, GREEN, RED, WHITE, colours, encode, pixels, stored


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
