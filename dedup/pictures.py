"""Pictures to ask about, from files and from tars: decoded as fetch decodes them."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from PIL import Image

from core.errors import Failure
from pictures import formats

KINDS = (*formats.FORMATS, "PPM")  # what fetch opens, and netpbm's, in which some evaluation sets come
MAX_AREA = 128_000_000  # pixels; what fetch takes by default


def read_picture(file: str | BinaryIO, name: str) -> Image.Image:
    """A picture before fetch resizes it. Failure with its name where it is none; FileNotFoundError where nothing is."""
    try:
        return formats.decoded(Path(file).read_bytes() if isinstance(file, str) else file.read(), MAX_AREA, KINDS)
    except FileNotFoundError:
        raise
    except (formats.PictureError, OSError) as error:
        raise Failure(f"{name} is no picture that can be decoded ({error}): give another") from error
