"""Borders: found where there is one, to the pixel; and left where it is a background."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageOps

from dedup.border import within_border
from tests.dedup.made import degenerate, scene

COLOURS = ("white", "black", "grey", "crimson", "#123456")


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    to = io.BytesIO()
    image.save(to, "JPEG", quality=quality)
    return Image.open(to).convert("L")


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 50),
    colour=st.sampled_from(COLOURS),
    sides=st.tuples(*[st.integers(0, 60)] * 4),
    quality=st.sampled_from([50, 75, 95]),
)
def test_the_border_is_found_to_the_pixel(seed: int, colour: str, sides: tuple[int, ...], quality: int) -> None:
    rng = np.random.default_rng(seed)
    busy = Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8))
    busy = busy.resize((320, 240), Image.Resampling.NEAREST)
    left, top, *_ = sides
    image = ImageOps.expand(busy, sides, colour)
    expected = (left, top, left + 320, top + 240) if any(sides) else None
    assert within_border(image.convert("L")) == expected
    found = within_border(jpeg(image, quality))
    if expected and found:
        assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) <= 3  # where JPEG's blocks ring
    else:
        assert (not expected and not found) or max(sides) <= 3


@pytest.mark.parametrize("seed", range(5))
def test_it_is_found_in_a_mirror(seed: int) -> None:
    image = ImageOps.expand(scene(seed), (9, 20, 31, 0), COLOURS[seed]).convert("L")
    box, mirrored = within_border(image), within_border(ImageOps.mirror(image))
    assert box and mirrored
    assert mirrored == (image.width - box[2], box[1], image.width - box[0], box[3])


@pytest.mark.parametrize("name", ["black", "white", "grey", "checker_1", "dot", "one_pixel", "gradient_xy"])
def test_no_border(name: str) -> None:
    assert within_border(degenerate()[name].convert("L")) is None


def test_more_than_a_quarter_is_a_background() -> None:
    image = Image.new("L", (200, 200), "white")
    for inset, expected in ((50, (50, 50, 150, 150)), (52, None)):
        drawn = image.copy()
        ImageDraw.Draw(drawn).rectangle((inset, inset, 199 - inset, 199 - inset), "black")
        assert within_border(drawn) == expected


def test_bars_of_one_colour_do_not_take_a_margin_of_another() -> None:
    """Or else the picture within them would no longer be the one that has no bars."""
    sheet = ImageOps.expand(scene(3), (30, 0), "white")
    assert within_border(ImageOps.expand(sheet, (0, 40), "black").convert("L")) == (0, 40, 380, 280)


def test_a_small_picture_has_no_border() -> None:
    assert within_border(ImageOps.expand(scene(1, 10, 10), 2, "white").convert("L")) is None
