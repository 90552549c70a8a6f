"""Decoding what the web calls a picture, and the two crops."""

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trainer.images import MAX_ASPECT, ImageError, decode, evaluation_crop, normalise, training_crop


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def ramp(width: int, height: int) -> Image.Image:
    """Red counts the columns, green the rows, modulo 256."""
    rows, columns = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([columns % 256, rows % 256, 0 * rows], axis=-1).astype(np.uint8))


def pixel(data: bytes, at: tuple[int, int] = (0, 0)) -> tuple[int, ...]:
    value = decode(data).getpixel(at)
    assert isinstance(value, tuple)
    return value


GREY16 = Image.fromarray(np.array([[0, 0x8000, 0xFFFF]], dtype=np.uint16))
TRANSPARENT_GIF = Image.new("P", (1, 1), 1)
TRANSPARENT_GIF.putpalette([0, 0, 0, 9, 9, 9])


@pytest.mark.parametrize(
    ("data", "colour"),
    [
        (encoded(Image.new("RGB", (2, 2), (10, 20, 30)), "PNG"), (10, 20, 30)),
        (encoded(Image.new("RGB", (2, 2), (10, 20, 30)), "PPM"), (10, 20, 30)),
        (encoded(Image.new("RGB", (2, 2), (10, 20, 30)), "BMP"), (10, 20, 30)),
        (encoded(Image.new("RGB", (2, 2), (10, 20, 30)), "WEBP", lossless=True), (10, 20, 30)),
        (encoded(Image.new("L", (2, 2), 7), "JPEG"), (7, 7, 7)),
        (encoded(Image.new("1", (2, 2), 1), "PNG"), (255, 255, 255)),
        (encoded(Image.new("RGBA", (2, 2), (10, 20, 30, 0)), "PNG"), (255, 255, 255)),
        (encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 51)), "PNG"), (204, 204, 204)),
        (encoded(Image.new("LA", (2, 2), (0, 0)), "PNG"), (255, 255, 255)),
        (encoded(Image.new("RGB", (2, 2), (1, 2, 3)), "PNG", transparency=(1, 2, 3)), (255, 255, 255)),
        (encoded(TRANSPARENT_GIF, "PNG", transparency=b"\xff\x00"), (255, 255, 255)),
        (encoded(TRANSPARENT_GIF, "GIF", transparency=1), (255, 255, 255)),
        (encoded(Image.new("CMYK", (8, 8), (0, 0, 0, 255)), "JPEG"), (0, 0, 0)),
        (encoded(Image.new("RGB", (2, 2), (10, 20, 30)), "TIFF"), (10, 20, 30)),
        (encoded(Image.new("CMYK", (2, 2), (0, 255, 255, 0)), "TIFF"), (255, 0, 0)),
        (encoded(Image.new("RGB", (8, 8), "white"), "AVIF", quality=100), (255, 255, 255)),
        (encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 51)), "BMP"), (204, 204, 204)),
        (encoded(Image.new("L", (8, 8), 7), "JPEG")[:-2], (7, 7, 7)),
        (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><rect width='1' height='1'/></svg>", (0, 0, 0)),
    ],
)
def test_every_mode_becomes_rgb_over_white(data: bytes, colour: tuple[int, int, int]) -> None:
    image = decode(data)
    assert image.mode == "RGB"
    assert pixel(data) == colour


def test_sixteen_bits_keep_their_upper_eight() -> None:
    for kind in ("PNG", "TIFF", "PPM"):
        assert np.asarray(decode(encoded(GREY16, kind)))[0].tolist() == [[0] * 3, [0x80] * 3, [0xFF] * 3]


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_counts(format_: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], format_, save_all=True, append_images=frames[1:])
    red, green, blue = pixel(data)
    assert red > 250
    assert max(green, blue) < 5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_upright(orientation: int) -> None:
    """Of a 40 x 20 picture with one bright corner: where it lies after EXIF's turn, by the standard's table."""
    stored = Image.new("L", (40, 20))
    stored.paste(255, (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode(encoded(stored, "JPEG", exif=exif, quality=95))
    assert image.size == ((40, 20) if orientation < 5 else (20, 40))
    corner = {1: "tl", 2: "tr", 3: "br", 4: "bl", 5: "tl", 6: "tr", 7: "br", 8: "bl"}[orientation]
    right, bottom = image.width - 3, image.height - 3
    bright = [
        name
        for name, at in {"tl": (2, 2), "tr": (right, 2), "bl": (2, bottom), "br": (right, bottom)}.items()
        if np.asarray(image)[at[1], at[0], 0] > 128
    ]
    assert bright == [corner]


PNG = encoded(ramp(64, 64), "PNG")
BOMB = b"BM" + bytes(12) + (40).to_bytes(4, "little") + (2**20).to_bytes(4, "little") * 2 + b"\1\0\x18\0" + bytes(24)
LARGE = encoded(Image.new("1", (10_000, 10_000)), "PNG")  # 100 Mpixel in 14 kB


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not_an_image"),
        (b"<svg/>", "not_an_image"),
        (encoded(Image.new("RGB", (32, 32)), "ICO"), "format_unsupported"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "format_unsupported"),  # would start Ghostscript
        (PNG[: len(PNG) // 2], "broken_image"),
        (encoded(ramp(64, 64), "JPEG")[:-200], "broken_image"),
        (BOMB, "too_many_pixels"),
        (LARGE, "too_many_pixels"),
    ],
)
def test_what_is_no_picture_has_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode(data)
    assert caught.value.reason == reason
    assert str(caught.value).startswith(f"{reason}: ")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_the_cap_holds_where_pillow_only_warns() -> None:
    with pytest.raises(ImageError, match="too_many_pixels: 10000 x 10000 of at most 89,478,485"):
        decode(LARGE)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_a_decoders_own_bad_examples_do_no_harm(data: Path) -> None:
    """Pillow's test pictures: broken, huge, of every mode. Each gives crops or an ImageError, never another error."""
    reasons = ("not_an_image", "format_unsupported", "too_many_pixels", "broken_image")
    outcomes = dict.fromkeys(("picture", *reasons), 0)
    with tarfile.open(data / "hostile" / "pillow_tests.tar.gz") as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file is None or member.size > 500_000:
                continue
            try:
                image = decode(file.read())
            except ImageError as error:
                outcomes[error.reason] += 1
            else:
                outcomes["picture"] += 1
                assert evaluation_crop(image, 32).shape == (32, 32, 3)
                assert training_crop(image, 32, np.random.default_rng(0)).shape == (32, 32, 3)
    assert min(outcomes.values()) > 0
    assert outcomes["picture"] > 300


@settings(deadline=None)
@given(width=st.integers(1, 60), height=st.integers(1, 60), size=st.integers(1, 48), seed=st.integers(0, 2**32))
def test_crops_are_squares_and_functions_of_their_generator(width: int, height: int, size: int, seed: int) -> None:
    image = ramp(width, height)
    crop = training_crop(image, size, np.random.default_rng([seed, 3]))
    assert crop.shape == (size, size, 3)
    assert crop.dtype == np.uint8
    assert np.array_equal(crop, training_crop(image, size, np.random.default_rng([seed, 3])))
    assert evaluation_crop(image, size).shape == (size, size, 3)
    torch.from_numpy(crop)  # writable, or torch warns


@pytest.mark.parametrize("shape", [(240, 100), (100, 240)])
def test_training_crops_lie_everywhere_and_keep_their_shape(shape: tuple[int, int]) -> None:
    image, starts, sides = ramp(*shape), [], []
    for seed in range(300):
        crop = training_crop(image, 50, np.random.default_rng(seed)).astype(float)
        across, down = crop[25, 49, 0] - crop[25, 0, 0], crop[49, 25, 1] - crop[0, 25, 1]
        assert across == pytest.approx(down, abs=2)
        starts.append(crop[0, 0, :2])
        sides.append(across / 49 * 50)
    assert 93 <= min(sides) < 96  # 100 times the root of 0.9 is 94.9
    assert 98 < max(sides) <= 101
    for start, length in zip(np.transpose(starts), shape, strict=True):
        room = length - 97  # beside a square of the mean side
        assert start.mean() == pytest.approx(room / 2, abs=10)
        assert start.std() == pytest.approx(room / 12**0.5, rel=0.35)  # of a uniform position


@pytest.mark.parametrize(("width", "height"), [(64, 64), (100, 64), (64, 101), (31, 77), (640, 480), (1, 20)])
def test_evaluation_crop_is_resize_then_centre(width: int, height: int) -> None:
    image = ramp(width, height)
    scaled = (56, int(56 * height / width)) if width <= height else (int(56 * width / height), 56)
    left, top = round((scaled[0] - 56) / 2), round((scaled[1] - 56) / 2)
    expected = image.resize(scaled, Image.Resampling.BICUBIC).crop((left, top, left + 56, top + 56))
    assert np.array_equal(evaluation_crop(image, 56), np.asarray(expected))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("shape", [(1, 60_000), (60_000, 1), (3, 60_000)])
def test_a_thread_of_a_picture_is_cut_before_it_is_resized(shape: tuple[int, int]) -> None:
    image = Image.new("RGB", shape, "red")
    assert max(shape) > MAX_ASPECT * min(shape)
    assert evaluation_crop(image, 224).reshape(-1, 3).tolist() == [[255, 0, 0]] * 224**2


def test_normalise_golden_values() -> None:
    pixels = torch.zeros(2, 3, 5, 3, dtype=torch.uint8)
    pixels[1] = 255
    out = normalise(pixels)
    assert out.shape == (2, 3, 3, 5)
    assert out.dtype == torch.float32
    golden = torch.tensor([[-1.792263, -1.752097, -1.480220], [1.930337, 2.074884, 2.145897]])
    torch.testing.assert_close(out[:, :, 0, 0], golden, atol=1e-5, rtol=0)
    assert out.is_contiguous()


def test_normalise_keeps_rows_and_columns() -> None:
    pixels = torch.from_numpy(np.array(ramp(5, 3)))[None]
    out = normalise(pixels)
    assert bool((out[0, 0].diff(dim=1) > 0).all())  # red grows along a row
    assert bool((out[0, 1].diff(dim=0) > 0).all())  # green down a column
