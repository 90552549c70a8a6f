"""Pictures to ask about: decoded as fetch stores them, from files and from tars."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from shards.errors import Failure
from shards.files import open_input

MAX_BYTES = 64 << 20  # of a picture in a tar


def decoded(file: str | BinaryIO, name: str) -> Image.Image:
    """A picture as it would be stored. Failure with its name where it is none; FileNotFoundError where nothing is."""
    try:
        with Image.open(file) as image:
            return as_stored(image)
    except FileNotFoundError:
        raise
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise Failure(f"{name} is no picture that can be decoded ({error}): give another") from error


def as_stored(image: Image.Image) -> Image.Image:
    """A picture as fetch makes it before it is hashed: upright, over white, eight bits a channel."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def members(path: str) -> Iterator[tuple[str, bytes]]:
    """The files of a tar, compressed or not, in its order: name, bytes. Failure where it is damaged or one is huge."""
    try:
        with open_input(path) as file, tarfile.open(fileobj=file, mode="r|*") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                if member.size > MAX_BYTES:
                    raise Failure(
                        f"{member.name} in {path} has {member.size:,} bytes: take out pictures over {MAX_BYTES:,}"
                    )
                body = tar.extractfile(member)
                assert body is not None  # it is a file
                yield member.name, body.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise Failure(f"{path} is no whole tar ({error}): restore it, or give another") from error
