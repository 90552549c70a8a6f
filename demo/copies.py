"""Near-duplicates of pictures, as the web makes them; and the picture that stands for those that are missing."""

from __future__ import annotations

import io
from random import Random

from PIL import Image, ImageDraw, ImageFont

from demo.pictures import encode

KINDS = ("resized", "re-encoded", "mirrored", "bordered")
BORDERS = ("white", "black", (128, 128, 128))


def copy_of(body: bytes, kind: str, rng: Random) -> bytes:
    """A near-duplicate of a picture file: a PNG where every pixel counts, else a JPEG."""
    image = Image.open(io.BytesIO(body)).convert("RGB")
    width, height = image.size
    match kind:
        case "resized":
            scale = rng.choice((0.6, 0.75, 1.3, 1.5))
            size = round(width * scale), round(height * scale)
            return encode(image.resize(size, Image.Resampling.LANCZOS), "jpg")
        case "re-encoded":
            return encode(image, "jpg", rng.randint(45, 70))
        case "mirrored":
            return encode(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "png")
        case "bordered":
            x, y = (round(side * rng.uniform(0.04, 0.12)) for side in image.size)
            framed = Image.new("RGB", (width + 2 * x, height + 2 * y), rng.choice(BORDERS))
            framed.paste(image, (x, y))
            return encode(framed, "png")
    raise ValueError(kind)


def placeholder() -> bytes:
    """The picture that many sites show where they have none, a PNG."""
    image = Image.new("RGB", (160, 120), (226, 226, 226))
    draw = ImageDraw.Draw(image)
    for ends in ((0, 0, 160, 120), (0, 120, 160, 0)):
        draw.line(ends, (206, 206, 206), 2)
    draw.rectangle((18, 46, 142, 74), (226, 226, 226))
    draw.text((80, 60), "NO PICTURE YET", (120, 120, 120), ImageFont.load_default(13), anchor="mm")
    return encode(image, "png")
