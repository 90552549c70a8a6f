"""Pictures that are too small, too large, cut, of another format or made to harm: some 5,400 hostile files."""

import math
import tarfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from core.errors import UsageError
from pictures.formats import FORMATS
from pipeline.decoding.picture import MAX_SIDE, Options, Refused, store
from pipeline.tables import FETCH_REASONS
from pipeline.web.detail import MAX_DETAIL_CHARS
from tests.pipeline.decoding.images import ALL, NOISE, RED, WHITE, encode, pixels, stored


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
