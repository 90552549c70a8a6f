"""From the bytes of an image to what the image tower reads: decode, crop, normalise.

Crops stay uint8, a quarter of the bytes between processes; `normalise` runs on the device that trains.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from core.errors import Failure
from pictures import formats

FORMATS = (*formats.FORMATS, "PPM")
MAX_PIXELS = 89_478_485  # 256 MiB of RGB, above which Pillow warns of a decompression bomb
MAX_ASPECT = 20  # the ends of a longer picture are cut first: resized whole, 1 x 65,535 pixels would take 10 GB
CROP_AREA = (0.9, 1.0)  # of the largest square; the paper gives no number, this is open_clip's and MetaCLIP's
MEAN = (0.48145466, 0.4578275, 0.40821073)  # of red, green and blue in [0, 1], as the released models use them
STD = (0.26862954, 0.26130258, 0.27577711)

_REASONS = {"truncated_image": "broken_image", "decoder_failed": "broken_image"}


class ImageError(Failure):
    """Bytes that give no picture. `reason`: not_an_image, format_unsupported, too_many_pixels, broken_image."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)  # both, so that it can be pickled on its way out of a worker
        self.reason = reason

    def __str__(self) -> str:
        return ": ".join(self.args)


def decode(data: bytes) -> Image.Image:
    """The picture in mode RGB, 8 bits a channel: first frame, upright by EXIF, transparency over white.

    Every format that fetch takes, and netpbm's, in which some evaluation sets come. Colour profiles are ignored, as
    the released models' preprocessing does. Raises ImageError.
    """
    try:
        return formats.decoded(data, MAX_PIXELS, FORMATS)
    except formats.PictureError as error:
        raise ImageError(_REASONS.get(error.reason, error.reason), error.detail) from error
    except Image.DecompressionBombWarning as error:  # where warnings are errors
        raise ImageError("too_many_pixels", str(error)) from error


def training_crop(image: Image.Image, size: int, random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A random square, resized: uint8 [size, size, 3]. The paper's only augmentation (section 2.3).

    The square has 0.9 to 1 of the area of the largest that fits, and lies anywhere: along the long side of a picture
    it moves freely. Its shape is never stretched. The caller makes `random` from (seed, epoch, id).
    """
    side = max(1, round(min(image.size) * math.sqrt(random.uniform(*CROP_AREA))))
    left = int(random.integers(image.width - side, endpoint=True))
    top = int(random.integers(image.height - side, endpoint=True))
    box = (left, top, left + side, top + side)
    return np.array(image.resize((size, size), Image.Resampling.BICUBIC, box=box))  # a copy: asarray is read-only


def evaluation_crop(image: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    """The short side resized to `size`, then the centre: uint8 [size, size, 3], as the released models evaluate."""
    short = min(image.size)
    image = _centre(image, min(image.width, MAX_ASPECT * short), min(image.height, MAX_ASPECT * short))
    resized = (size * image.width // short, size * image.height // short)
    return np.array(_centre(image.resize(resized, Image.Resampling.BICUBIC), size, size))


def _centre(image: Image.Image, width: int, height: int) -> Image.Image:
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def normalise(pixels: Tensor) -> Tensor:
    """uint8 [n, h, w, 3] to float32 [n, 3, h, w] of mean 0 and deviation 1 over natural images, on the same device."""
    mean, std = (torch.tensor(values, device=pixels.device)[:, None, None] for values in (MEAN, STD))
    factor, offset = 1 / (255 * std), -mean / std
    out = torch.empty(len(pixels), 3, *pixels.shape[1:3], device=pixels.device)
    parts = [slice(None)] if pixels.is_cuda else [slice(i, i + 1) for i in range(len(pixels))]  # one fits in the cache
    for part in parts:
        out[part].copy_(pixels[part].permute(0, 3, 1, 2)).mul_(factor).add_(offset)
    return out
