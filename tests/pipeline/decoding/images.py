"""Images made for tests, as files, and what is stored of them."""

import io
from typing import Any

import numpy as np
from PIL import Image

from pipeline.decoding.picture import Options, Picture, store

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
