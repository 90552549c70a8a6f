"""From the bytes of strangers to pixels: what every look at a picture shares."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from pictures.formats import FORMATS, PictureError, decoded

WHITE, RED, BLACK = [255, 255, 255], [255, 0, 0], [0, 0, 0]
MASKS = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    to = io.BytesIO()
    image.save(to, kind, **options)
    return to.getvalue()


def bitmap(header: int, compression: int, pixels: bytes, width: int, height: int, masks: bytes = b"") -> bytes:
    """A BMP of 32 bits; a negative height has its rows go down."""
    info = struct.pack("<IiiHHIIiiII", header, width, height, 1, 32, compression, len(pixels), 0, 0, 0, 0) + masks
    info = info.ljust(header, b"\0") if header > 40 else info
    return struct.pack("<2sIII", b"BM", 14 + len(info) + len(pixels), 0, 14 + len(info)) + info + pixels


def rows(*colours: tuple[int, int, int, int]) -> bytes:
    """Colours as red, green, blue and alpha, in the order of a bitmap."""
    return b"".join(bytes((blue, green, red, alpha)) for red, green, blue, alpha in colours)


SOLID, CLEAR, HALF, UNKNOWN = (255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 51), (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (bitmap(40, 0, rows(SOLID, CLEAR), 1, 2), [WHITE, RED]),  # the lower row comes first
        (bitmap(40, 0, rows(SOLID, CLEAR), 1, -2), [RED, WHITE]),
        (bitmap(40, 0, rows(HALF, SOLID), 1, -2), [[204] * 3, RED]),
        (bitmap(40, 0, rows(CLEAR, UNKNOWN), 1, -2), [RED, BLACK]),  # the fourth byte means nothing
        (bitmap(40, 0, rows(SOLID, SOLID), 1, -2), [RED, RED]),
        (bitmap(40, 3, rows(SOLID, CLEAR), 1, -2, MASKS[:12]), [RED, RED]),  # masks, and none of transparency
        (bitmap(108, 3, rows(SOLID, CLEAR), 1, -2, MASKS), [RED, WHITE]),
        (bitmap(124, 3, rows(SOLID, CLEAR), 1, -2, MASKS), [RED, WHITE]),
        (bitmap(124, 3, rows(CLEAR, UNKNOWN), 1, -2, MASKS), [RED, BLACK]),
        (bitmap(124, 0, rows(SOLID, CLEAR), 1, -2), [RED, WHITE]),
        (encode(Image.new("RGBA", (1, 2), (0, 0, 0, 51)), "BMP"), [[204] * 3] * 2),
        (encode(Image.new("RGB", (1, 2), "red"), "BMP"), [RED, RED]),
        (encode(Image.new("L", (1, 2), 0), "BMP"), [BLACK, BLACK]),
        (encode(Image.new("1", (1, 2), 1), "BMP"), [WHITE, WHITE]),
    ],
)
def test_a_bitmap_of_32_bits_stands_over_white(body: bytes, expected: list[list[int]]) -> None:
    assert np.asarray(decoded(body, 100))[:, 0].tolist() == expected


def test_an_old_bitmap_without_room_for_a_new_header() -> None:
    """OS/2's, of one white pixel: its header has 12 bytes."""
    body = struct.pack("<2sIIIIHHHH", b"BM", 30, 0, 26, 12, 1, 1, 1, 24) + b"\xff\xff\xff\0"
    assert np.asarray(decoded(body, 100)).tolist() == [[WHITE]]


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_decoded_upright(kind: str) -> None:
    scene = Image.new("RGB", (40, 20), "white")
    scene.paste((255, 0, 0), (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its left
    has_exif = kind not in ("GIF", "BMP")
    options: dict[str, object] = {"exif": exif} if has_exif else {}
    found = decoded(encode(scene, kind, **options), 800)
    assert found.mode == "RGB" and found.size == ((20, 40) if has_exif else (40, 20))
    assert np.abs(np.asarray(found)[5, 5].astype(int) - RED).max() <= 8
    with pytest.raises(PictureError, match=r"too_many_pixels: 40 x 20 of at most 799"):
        decoded(encode(scene, kind), 799)


def test_a_drawing_is_a_picture() -> None:
    svg = b"<svg xmlns='http://www.w3.org/2000/svg' width='4' height='2'><rect width='2' height='2' fill='red'/></svg>"
    found = decoded(svg, 8)
    assert found.mode == "RGB" and np.asarray(found)[0].tolist() == [RED, RED, WHITE, WHITE]
    with pytest.raises(PictureError, match="too_many_pixels"):
        decoded(svg, 7)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"\xff\x0a\xfa\x1f", "format_unsupported: JPEG XL, 4 bytes that begin with"),
        (b"<html>", "not_an_image: HTML page, 6 bytes that begin with b'<html>'"),
        (b"", "not_an_image: 0 bytes"),
        (encode(Image.new("RGB", (64, 64)), "PNG")[:60], "truncated_image: OSError: image file is truncated"),
    ],
)
def test_what_the_bytes_are_is_said(body: bytes, said: str) -> None:
    with pytest.raises(PictureError) as caught:
        decoded(body, 10_000)
    assert str(caught.value).startswith(said)
