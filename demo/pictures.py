"""The pictures of the demo's web: coloured shapes in scenes, described first and painted from their description.

A picture's class is its colour and its shape. Texture, size, place, number, tilt, the scene behind and a second, small
thing beside it vary at random, and its captions may speak of them.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from math import cos, pi, radians, sin
from random import Random
from typing import NamedTuple

from PIL import Image, ImageDraw

from demo import scenes
from demo.scenes import Colour, near

COLOURS: dict[str, Colour] = {
    "red": (212, 30, 38),
    "orange": (246, 134, 22),
    "yellow": (250, 222, 44),
    "green": (28, 146, 62),
    "blue": (34, 78, 212),
    "purple": (132, 48, 168),
    "white": (248, 248, 246),
    "black": (24, 24, 26),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "heart")
TEXTURES = ("plain", "striped", "dotted", "checked")
PLACES = {  # where the middle of a thing is, as parts of width and height from the middle of the picture
    "middle": (0.0, 0.0),
    "left": (-0.13, 0.0),
    "right": (0.13, 0.0),
    "top": (0.0, -0.12),
    "bottom": (0.0, 0.12),
}
FINER = 2  # painted so many times as large, then reduced: smooth edges


class Thing(NamedTuple):
    """A class of pictures."""

    colour: str
    shape: str

    @property
    def name(self) -> str:
        """As a label says it: "red triangle"."""
        return f"{self.colour} {self.shape}"


CLASSES = tuple(Thing(colour, shape) for colour in COLOURS for shape in SHAPES)


class Picture(NamedTuple):
    """All that is to be seen in a picture; what its captions know, and what it is painted from."""

    name: str  # no two have the same
    seed: int
    thing: Thing
    texture: str  # one of TEXTURES
    number: int  # of things, 1 to 3
    size: str  # large | medium | small
    place: str  # one of PLACES
    tilt: int  # degrees
    scene: str  # one of scenes.SCENES
    second: Thing | None  # another thing, small, in a corner
    width: int  # pixels
    height: int


def imagine(seed: int, name: str, thing: Thing, smallest: int = 112, largest: int = 184) -> Picture:
    """The picture of that name: a function of the seed and the name. Its sides are between the two, in pixels."""
    rng = Random(f"{seed} imagine {name}")
    number = rng.choices((1, 2, 3), (16, 2, 1))[0]
    size = rng.choice(("large", "medium", "small")) if number == 1 else "small"
    side = rng.randint(smallest, largest)
    shorter = max(smallest, round(side / rng.choice((1, 1, 1.1, 1.2))))
    width, height = rng.choice(((side, shorter), (side, shorter), (shorter, side)))
    return Picture(
        name=name,
        seed=seed,
        thing=thing,
        texture=rng.choices(TEXTURES, (6, 1, 1, 1))[0],
        number=number,
        size=size,
        place="middle" if number > 1 or size == "large" else rng.choice(tuple(PLACES)),
        tilt=rng.choice((0, 0, 0, rng.randint(-18, 18))),
        scene=rng.choice(tuple(scenes.SCENES)),
        second=rng.choice([other for other in CLASSES if other != thing]) if rng.random() < 0.15 else None,
        width=width,
        height=height,
    )


def paint(picture: Picture) -> Image.Image:
    """The picture, RGB: the same description gives the same pixels."""
    rng = Random(f"paint {picture!r}")
    width, height = picture.width * FINER, picture.height * FINER
    image = scenes.behind(picture.scene, width, height, rng)
    unit = min(width, height)
    x, y = (0.5 + by + rng.uniform(-0.03, 0.03) for by in PLACES[picture.place])
    if picture.number == 1:
        radius = unit * {"large": 0.42, "medium": 0.35, "small": 0.28}[picture.size] * rng.uniform(0.92, 1.08)
        middles = [(x * width, y * height)]
    else:
        radius = unit * {2: 0.22, 3: 0.18}[picture.number] * rng.uniform(0.92, 1.08)
        middles = _around(picture.number, x * width, y * height, unit * 0.25, rng)
    for middle in middles:
        _put(image, picture.thing, picture.texture, middle, radius, picture.tilt, rng)
    if picture.second:
        corner = rng.choice((0.13, 0.87)) * width, rng.choice((0.13, 0.87)) * height
        _put(image, picture.second, "plain", corner, unit * 0.08, 0, rng)
    return image.reduce(FINER)


def encode(image: Image.Image, suffix: str, quality: int = 88) -> bytes:
    """The picture as a file: suffix jpg, png or webp."""
    to = io.BytesIO()
    match suffix:
        case "jpg":
            image.save(to, "JPEG", quality=quality)
        case "png":
            image.save(to, "PNG", compress_level=6)
        case "webp":
            image.save(to, "WEBP", quality=quality, method=2)
    return to.getvalue()


def _around(number: int, x: float, y: float, radius: float, rng: Random) -> list[tuple[float, float]]:
    """Two or three places on a circle."""
    start = rng.uniform(0, 2 * pi)
    angles = [start + 2 * pi * i / number for i in range(number)]
    return [(x + radius * cos(angle), y + radius * sin(angle)) for angle in angles]


def _put(
    image: Image.Image,
    thing: Thing,
    texture: str,
    middle: tuple[float, float],
    radius: float,
    tilt: float,
    rng: Random,
) -> None:
    """Paint a thing over the image, with an outline."""
    points = _turned(OUTLINES[thing.shape], middle, radius, radians(tilt))
    box = int(middle[0] - 1.2 * radius), int(middle[1] - 1.2 * radius)
    side = int(2.4 * radius) + 2
    fill = near(COLOURS[thing.colour], rng, 10)
    cloth = Image.new("RGB", (side, side), fill)
    _weave(ImageDraw.Draw(cloth), texture, side, _tone(fill), rng)
    mask = Image.new("L", (side, side))
    ImageDraw.Draw(mask).polygon([(x - box[0], y - box[1]) for x, y in points], 255)
    image.paste(cloth, box, mask)
    dark = sum(fill) < 150
    outline = (170, 170, 170) if dark else tuple(value // 2 for value in fill)
    ImageDraw.Draw(image).line([*points, points[0], points[1]], outline, max(2, round(radius * 0.05)), joint="curve")


def _tone(colour: Colour) -> Colour:
    """The colour that a texture is drawn with on a cloth: a lighter one on dark, a darker one on light."""
    to, by = (255, 0.38) if sum(colour) < 420 else (0, 0.3)
    red, green, blue = (round(value + (to - value) * by) for value in colour)
    return red, green, blue


def _weave(draw: ImageDraw.ImageDraw, texture: str, side: int, tone: Colour, rng: Random) -> None:
    step = side / rng.uniform(5, 7)
    match texture:
        case "striped":
            scenes.across(draw, side, side, tone, step, rng.uniform(0, pi), rng.random())
        case "dotted":
            scenes.spotted(draw, side, side, tone, step, rng.random())
        case "checked":
            scenes.checked(draw, side, side, tone, step, rng.random())


Points = Sequence[tuple[float, float]]


def _turned(outline: Points, middle: tuple[float, float], radius: float, angle: float) -> list[tuple[float, float]]:
    """An outline in its place: turned by so many radians."""
    c, s = cos(angle) * radius, sin(angle) * radius
    return [(middle[0] + c * x - s * y, middle[1] + s * x + c * y) for x, y in outline]


def _round(corners: int, radii: Sequence[float]) -> Points:
    """Corners evenly around the middle, the first one on top, at distances that take turns."""
    angles = [2 * pi * i / corners - pi / 2 for i in range(corners)]
    return [(r * cos(a), r * sin(a)) for i, a in enumerate(angles) for r in [radii[i % len(radii)]]]


def _heart() -> Points:
    """The usual curve, 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t over 16 sin³ t."""
    turns = [2 * pi * i / 48 for i in range(48)]
    return [(16 * sin(t) ** 3 / 16, -(13 * cos(t) - 5 * cos(2 * t) - 2 * cos(3 * t) - cos(4 * t)) / 16) for t in turns]


OUTLINES: dict[str, Points] = {  # around (0, 0), about one long; y grows downwards
    "circle": _round(48, (1.0,)),
    "square": [(-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)],
    "triangle": [(0.0, -1.0), (1.05, 0.85), (-1.05, 0.85)],
    "star": _round(10, (1.12, 0.46)),
    "cross": [
        (-0.32, -1), (0.32, -1), (0.32, -0.32), (1, -0.32), (1, 0.32), (0.32, 0.32),
        (0.32, 1), (-0.32, 1), (-0.32, 0.32), (-1, 0.32), (-1, -0.32), (-0.32, -0.32),
    ],
    "heart": _heart(),
}  # fmt: skip
