"""What lies behind the things in a picture: twelve scenes in muted colours, so that the things stand out."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi, sin
from random import Random

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Draw = ImageDraw.ImageDraw


def behind(scene: str, width: int, height: int, rng: Random) -> Image.Image:
    """A scene, so many pixels large, under light and shade that no other picture has (their hashes tell them apart)."""
    image = Image.new("RGB", (width, height), muted(rng))
    SCENES[scene](ImageDraw.Draw(image), width, height, rng)
    cells = rng.randrange(4, 8)
    coarse = Image.frombytes("L", (cells, cells), rng.randbytes(cells * cells))
    shade = coarse.resize((width, height), Image.Resampling.BICUBIC)
    return Image.blend(image, Image.merge("RGB", (shade, shade, shade)), 0.27)


def muted(rng: Random, low: int = 95, high: int = 190) -> Colour:
    """A colour near grey, of a lightness between the two."""
    light = rng.randint(low, high)
    return near((light, light, light), rng, 16)


def near(colour: Colour, rng: Random, by: int) -> Colour:
    """A colour that differs in each channel by so much at most."""
    red, green, blue = (max(0, min(255, value + rng.randint(-by, by))) for value in colour)
    return red, green, blue


def plain(draw: Draw, width: int, height: int, rng: Random) -> None:
    """A wall with a few brush strokes."""
    for _ in range(rng.randint(3, 6)):
        ends = [(rng.uniform(-0.1, 1.1) * width, rng.uniform(-0.1, 1.1) * height) for _ in range(2)]
        draw.line(ends, muted(rng), int(width * rng.uniform(0.03, 0.1)))


def stripes(draw: Draw, width: int, height: int, rng: Random) -> None:
    """Slanting stripes of one width."""
    across(
        draw,
        width,
        height,
        _pattern(draw, width, height, rng),
        width * rng.uniform(0.1, 0.2),
        rng.uniform(0, pi),
        rng.random(),
    )


def dots(draw: Draw, width: int, height: int, rng: Random) -> None:
    """Dots in rows."""
    spotted(draw, width, height, _pattern(draw, width, height, rng), width * rng.uniform(0.12, 0.2), rng.random())


def checks(draw: Draw, width: int, height: int, rng: Random) -> None:
    """A chessboard."""
    checked(draw, width, height, _pattern(draw, width, height, rng), width * rng.uniform(0.11, 0.19), rng.random())


def wall(draw: Draw, width: int, height: int, rng: Random) -> None:
    """Bricks."""
    draw.rectangle((0, 0, width, height), near((178, 172, 164), rng, 14))
    brick, row = near((146, 112, 102), rng, 14), height / rng.randint(6, 9)
    start = rng.uniform(-1, 0)
    for y in range(-1, int(height / row) + 2):
        for x in range(-1, int(width / row / 2.2) + 2):
            left, top = (x + start + 0.5 * (y % 2)) * 2.2 * row, (y + start) * row
            draw.rectangle((left, top, left + 2.05 * row, top + 0.86 * row), near(brick, rng, 12))


def meadow(draw: Draw, width: int, height: int, rng: Random) -> None:
    """Grass below a pale sky."""
    draw.rectangle((0, 0, width, height), near((176, 186, 194), rng, 10))
    clouds(draw, width, height, rng)
    horizon = height * rng.uniform(0.45, 0.7)
    draw.rectangle((0, horizon, width, height), near((122, 130, 98), rng, 12))
    for _ in range(60):
        x, y = rng.uniform(0, width), rng.uniform(horizon, height)
        blade = (x, y, x + rng.uniform(-0.03, 0.03) * width, y - 0.07 * height)
        draw.line(blade, near((100, 112, 78), rng, 16), max(1, width // 90))


def sea(draw: Draw, width: int, height: int, rng: Random) -> None:
    """Waves below a pale sky."""
    draw.rectangle((0, 0, width, height), near((188, 192, 196), rng, 10))
    clouds(draw, width, height, rng)
    y = height * rng.uniform(0.4, 0.6)
    while y < height * 1.1:
        ridge(draw, width, height, y, 0.025, rng.randint(3, 6), near((104, 124, 140), rng, 18), rng)
        y += height * rng.uniform(0.08, 0.14)


def hills(draw: Draw, width: int, height: int, rng: Random) -> None:
    """Three ranges of hills, the nearest the darkest."""
    draw.rectangle((0, 0, width, height), near((190, 188, 180), rng, 12))
    clouds(draw, width, height, rng)
    for at, light in ((0.45, 152), (0.62, 128), (0.8, 104)):
        y = height * (at + rng.uniform(-0.05, 0.05))
        ridge(draw, width, height, y, rng.uniform(0.05, 0.1), rng.randint(1, 3), muted(rng, light - 8, light + 8), rng)


def night(draw: Draw, width: int, height: int, rng: Random) -> None:
    """Stars, far away, and a moon."""
    draw.rectangle((0, 0, width, height), near((66, 72, 92), rng, 8))
    for _ in range(45):
        x, y, r = rng.uniform(0, width), rng.uniform(0, height), width * rng.uniform(0.004, 0.012)
        draw.ellipse((x - r, y - r, x + r, y + r), near((190, 190, 180), rng, 30))
    x, y, r = rng.choice((0.1, 0.9)) * width, rng.uniform(0.05, 0.2) * height, width * 0.08
    draw.ellipse((x - r, y - r, x + r, y + r), (206, 204, 190))


def fence(draw: Draw, width: int, height: int, rng: Random) -> None:
    """Boards of wood, and what is behind them."""
    draw.rectangle((0, 0, width, height), near((172, 180, 172), rng, 12))
    top, board = height * rng.uniform(0.25, 0.45), width / rng.randint(6, 9)
    start = rng.uniform(-1, 0)
    for rail in (0.3, 0.75):
        y = top + (height - top) * rail
        draw.rectangle((0, y, width, y + 0.05 * height), near((132, 114, 94), rng, 8))
    for i in range(int(width / board) + 2):
        left = (i + start) * board
        tip = [(left, top + board / 2), (left + board * 0.36, top), (left + board * 0.72, top + board / 2)]
        draw.polygon([*tip, (left + board * 0.72, height), (left, height)], near((152, 132, 108), rng, 16))


def table(draw: Draw, width: int, height: int, rng: Random) -> None:
    """Planks, seen from above."""
    wood, plank = near((158, 136, 110), rng, 12), height / rng.randint(3, 6)
    start = rng.uniform(-1, 0)
    for i in range(int(height / plank) + 2):
        top = (i + start) * plank
        draw.rectangle((0, top, width, top + plank), near(wood, rng, 16))
        for _ in range(3):
            y = top + rng.random() * plank
            draw.line((0, y, width, y + rng.uniform(-0.2, 0.2) * plank), near((126, 104, 82), rng, 10), 2)
        draw.line((0, top, width, top), (96, 80, 64), max(2, height // 70))


def town(draw: Draw, width: int, height: int, rng: Random) -> None:
    """Roofs and windows against the sky."""
    draw.rectangle((0, 0, width, height), near((194, 190, 186), rng, 12))
    clouds(draw, width, height, rng)
    left = -rng.random() * 0.1 * width
    while left < width:
        wide, top = width * rng.uniform(0.16, 0.28), height * rng.uniform(0.5, 0.78)
        walls, middle = muted(rng, 104, 150), left + wide / 2
        draw.rectangle((left, top, left + wide, height), walls)
        draw.polygon(((left, top), (middle, top - 0.5 * wide), (left + wide, top)), near((112, 92, 86), rng, 12))
        for x in (0.2, 0.6):
            window = (left + x * wide, top + 0.06 * height, left + (x + 0.2) * wide, top + 0.16 * height)
            draw.rectangle(window, near((186, 182, 160), rng, 14))
        left += wide


SCENES: dict[str, Callable[[Draw, int, int, Random], None]] = {
    scene.__name__: scene
    for scene in (plain, stripes, dots, checks, wall, meadow, sea, hills, night, fence, table, town)
}
DISTINCT = ("wall", "fence", "town")
"""Scenes in which no picture is flat: no near-duplicates are looked for of one that is."""


# ── what several of them are made of ─────────────────────────────────────────────────────────────


def _pattern(draw: Draw, width: int, height: int, rng: Random) -> Colour:
    """Fill the picture with a dark or a light colour; the colour of a pattern that is seen on it."""
    colours = [muted(rng, 95, 120), muted(rng, 165, 190)]
    rng.shuffle(colours)
    draw.rectangle((0, 0, width, height), colours[0])
    return colours[1]


def across(draw: Draw, width: int, height: int, colour: Colour, step: float, angle: float, phase: float) -> None:
    """Parallel bars, one every `step` pixels, half as wide; angle in radians, phase a part of a step."""
    far = width + height
    x, y = cos(angle), sin(angle)
    for i in range(-int(far / step), int(far / step) + 1):
        at = (i + phase) * step
        middle = width / 2 + x * at, height / 2 + y * at
        ends = [(middle[0] - y * side, middle[1] + x * side) for side in (-far, far)]
        draw.line(ends, colour, max(1, round(step / 2)))


def spotted(draw: Draw, width: int, height: int, colour: Colour, step: float, phase: float) -> None:
    """Dots in rows that are shifted against each other, one every `step` pixels."""
    for row in range(-1, int(height / step) + 2):
        for column in range(-1, int(width / step) + 2):
            x, y, r = (column + phase + 0.5 * (row % 2)) * step, (row + phase) * step, 0.27 * step
            draw.ellipse((x - r, y - r, x + r, y + r), colour)


def checked(draw: Draw, width: int, height: int, colour: Colour, step: float, phase: float) -> None:
    """Every other square of a board of squares of `step` pixels."""
    for row in range(-1, int(height / step) + 2):
        for column in range(-2 + row % 2, int(width / step) + 2, 2):
            x, y = (column + phase) * step, (row + phase) * step
            draw.rectangle((x, y, x + step, y + step), colour)


def clouds(draw: Draw, width: int, height: int, rng: Random) -> None:
    """Two or three clouds in the upper half."""
    for _ in range(rng.randint(2, 3)):
        x, y, r = rng.uniform(0, width), rng.uniform(0, 0.4) * height, rng.uniform(0.05, 0.09) * width
        white = near((214, 214, 214), rng, 8)
        for puff in (-1.2, 0.0, 1.2):
            draw.ellipse((x + (puff - 1.2) * r, y - r, x + (puff + 1.2) * r, y + r * 0.8), white)


def ridge(draw: Draw, width: int, height: int, y: float, high: float, waves: int, colour: Colour, rng: Random) -> None:
    """Everything below a wavy line at y; `high` is a part of the height, `waves` their number from side to side."""
    phase = rng.uniform(0, 2 * pi)
    points = [
        (width * i / 24, y + high * height * sin(phase + 2 * pi * waves * i / 24) * rng.uniform(0.8, 1.2))
        for i in range(25)
    ]
    draw.polygon([*points, (width, height), (0, height)], colour)
