"""SVG drawings become pixels; what they name elsewhere stays unread."""

from pathlib import Path

import pytest
from PIL import Image

from pictures.drawing import MAX_SVG_BYTES, is_drawing
from pipeline.decoding.picture import Options, Picture, Refused, store

NAMES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
RED = f'<svg {NAMES} width="40" height="20"><rect width="40" height="20" fill="red"/></svg>'


ANY_SIZE = Options(encode_format="png", encode_quality=9, min_image_size=0, max_aspect_ratio=0)


def stored(svg: str, options: Options | None = None) -> Picture:
    found = store(svg.encode(), options or ANY_SIZE)
    assert isinstance(found, Picture), found
    return found


def pixel(picture: Picture, at: tuple[int, int]) -> tuple[int, ...]:
    import io

    found = Image.open(io.BytesIO(picture.body)).getpixel(at)
    assert isinstance(found, tuple)
    return found


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (RED, True),
        (f'<?xml version="1.0"?>\n<!-- made by hand -->\n{RED}', True),
        ("\ufeff" + RED, True),
        ('<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/svg11.dtd">' + RED, True),
        ("<html><body><svg></svg></body></html>", False),
        ("<!-- a page --><html><body><svg></svg></body></html>", False),
        ('<!DOCTYPE svg [<!ENTITY ns "http://www.w3.org/2000/svg">]>\r\n<svg xmlns="&ns;">', True),
        ("<svgx>", False),
        ("", False),
        ("plain text about <svg>", False),
    ],
)
def test_what_begins_like_a_drawing(body: str, expected: bool) -> None:
    assert is_drawing(body.encode()) is expected


def test_a_drawing_is_stored_over_white_in_its_own_size() -> None:
    picture = stored(RED.replace('width="40" height="20" fill', 'width="20" height="20" fill'))
    assert (picture.format, picture.original_width, picture.original_height) == ("SVG", 40, 20)
    assert (picture.width, picture.height) == (40, 20)
    assert pixel(picture, (5, 5)) == (255, 0, 0) and pixel(picture, (35, 5)) == (255, 255, 255)


def test_a_large_drawing_is_drawn_small_and_a_mode_is_honoured() -> None:
    large = RED.replace('width="40" height="20">', 'width="4000" height="2000" viewBox="0 0 40 20">')
    assert (stored(large).width, stored(large).height) == (512, 256)
    square = Options(encode_format="png", encode_quality=9, resize_mode="center_crop")
    assert (stored(large, square).width, stored(large, square).height) == (256, 256)


@pytest.mark.parametrize("place", ["{0}", "file://{0}", "{0.name}"])
def test_files_that_a_drawing_names_are_not_read(tmp_path: Path, place: str) -> None:
    secret = tmp_path / "secret.png"
    Image.new("RGB", (20, 20), "blue").save(secret)
    svg = (
        f'<svg {NAMES} width="20" height="20"><image xlink:href="{place.format(secret)}" width="20" height="20"/></svg>'
    )
    assert pixel(stored(svg), (5, 5)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("svg", "reason"),
    [
        (f'<svg {NAMES} width="100000" height="100000"/>', "too_many_pixels"),
        (f'<svg {NAMES} width="20" height="20"', "not_an_image"),
        (
            f'<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/hostname">]><svg {NAMES} width="9" height="9"><text>&x;',
            "not_an_image",
        ),
        (RED + " " * MAX_SVG_BYTES, "not_an_image"),
    ],
)
def test_hostile_drawings_are_refused_by_name(svg: str, reason: str) -> None:
    found = store(svg.encode(), Options())
    assert isinstance(found, Refused) and found.reason == reason


def test_a_drawing_is_too_small_or_too_long_by_the_size_that_it_asks_for() -> None:
    icon = store(RED.encode(), Options())
    assert icon == Refused("too_small", "40 x 20")
    rule = store(RED.replace('width="40" height="20">', 'width="200" height="40">').encode(), Options())
    assert rule == Refused("aspect_too_large", "200 x 40")


def test_the_drawings_of_real_sites(data: Path) -> None:
    drawings = sorted((data / "web" / "stamps.test").rglob("*.svg"))
    assert len(drawings) > 100
    refused = [path for path in drawings[::5] if isinstance(store(path.read_bytes(), ANY_SIZE), Refused)]
    assert refused == []
