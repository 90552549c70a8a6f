"""Pictures to ask about: decoded as fetch stores them, from files and from tars."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from shards.errors import Failure

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "TIFF")
"""What is opened: that which browsers show, and TIFF, which old pages link to. Each further parser is one more for
strangers to attack (the one for PostScript starts a program), for next to no pictures."""

# What Pillow raises on broken files, beside what it says of those that are none.
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, struct.error)


def decoded(file: str | BinaryIO, name: str) -> Image.Image:
    """A picture as it would be stored. Failure with its name where it is none; FileNotFoundError where nothing is."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            return as_stored(image)
    except FileNotFoundError:
        raise
    except (*_BROKEN, Image.DecompressionBombError) as error:
        raise Failure(f"{name} is no picture that can be decoded ({error}): give another") from error


def as_stored(image: Image.Image) -> Image.Image:
    """A picture as fetch makes it before it is hashed: upright, over white, eight bits a channel."""
    image.load()  # what is broken here is the picture …
    with suppress(*_BROKEN):  # … and here EXIF, which then turns nothing
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
