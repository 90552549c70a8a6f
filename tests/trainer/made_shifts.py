"""Small sets of the natural shifts, whose answers are counted by hand.

A picture is of one colour, and so is a class whose name has that colour in it; all others are of no colour. Brown is
one class of ImageNet's alone, brown bear, and blue is little blue heron; red and black are several.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from tests.trainer.helpers import COLOURS
from tests.trainer.made_sets import colour, write

OBJECTS = {"brown_bear": "Brown Bear", "red_wolf": "Red Wolf", "black_bear": "Black Bear", "teapot": "Tea Pot"}
SHARED = {"Brown Bear": "brown bear", "Red Wolf": "red wolf; red fox", "Black Bear": "black bear"}
OF_IMAGENET = {"brown bear": 294, "red wolf": 271, "red fox": 277, "black bear": 295}
SINGLE = {"prompts": ["single"]}  # of ImageNet's 80 templates two are embroidered, two black and white


def mappings() -> dict[str, bytes]:
    """ObjectNet's four files, of four classes, three of which ImageNet has."""
    return {
        "objectnet_to_imagenet_1k.json": json.dumps(SHARED).encode(),
        "folder_to_objectnet_label.json": json.dumps(OBJECTS).encode(),
        "pytorch_to_imagenet_2012_id.json": json.dumps(
            {str(index): line for line, index in enumerate(OF_IMAGENET.values())}
        ).encode(),
        "imagenet_to_label_2012_v2": "\n".join(OF_IMAGENET).encode(),
    }


def bordered(name: str, edge: str, size: int = 6) -> bytes:
    """A picture of one colour within a border of another, 2 pixels wide."""
    pixels = np.full((size, size, 3), COLOURS[edge], np.uint8)
    pixels[2:-2, 2:-2] = COLOURS[name]
    to = io.BytesIO()
    Image.fromarray(pixels).save(to, "PNG")
    return to.getvalue()


def objectnet(folder: Path) -> None:
    """Two pictures that are right, one with a wrong label, and one of a class that ImageNet lacks."""
    pictures = {
        "red_wolf/1.png": bordered("red", "black"),
        "black_bear/1.png": bordered("black", "red"),
        "black_bear/2.png": bordered("red", "black"),
        "teapot/1.png": bordered("blue", "red"),
    }
    write(folder, {f"images/{name}": body for name, body in pictures.items()})
    write(folder / "mappings", mappings())


def vid(folder: Path) -> None:
    """Anchors: right with its neighbour; right, and a neighbour wrong; wrong. One is of two classes."""
    frames = {
        "bears/10.JPEG": "brown", "bears/11.JPEG": "brown", "herons/5.JPEG": "blue", "herons/6.JPEG": "brown",
        "cars/1.JPEG": "brown", "cars/2.JPEG": "brown", "cars/9.JPEG": "green",
    }  # fmt: skip
    write(folder, {f"val/{name}": colour(shade) for name, shade in frames.items()})
    labels: dict[str, list[int | str]] = {f"val/bears/{n}.JPEG": [2] for n in (10, 11)}  # by number
    labels.update({f"val/herons/{n}.JPEG": ["bird", "whale"] for n in (5, 6)})
    labels["val/cars/1.JPEG"] = ["car"]
    pmsets = {"val/bears/10.JPEG": ["val/bears/11.JPEG"], "val/herons/5.JPEG": ["val/herons/6.JPEG"]}
    pmsets |= {"val/cars/1.JPEG": ["val/cars/2.JPEG"]}
    write(folder / "metadata", {"labels.json": json.dumps(labels).encode(), "pmsets.json": json.dumps(pmsets).encode()})
