"""A small world to train on: two-coloured pictures with captions, a model for them, and merges that are no language."""

from __future__ import annotations

import gzip
import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from core.recipe import Recipe
from core.registry import STAGES
from tests.shards.helpers import make_pack
from trainer import train
from trainer.config import Config
from trainer.model import ModelConfig
from trainer.ranks import process_group
from trainer.tokenizer import MERGES

SMALL = ModelConfig(
    embed_dim=32,
    image_size=16,
    patch=8,
    vision_width=64,
    vision_layers=2,
    text_width=32,
    text_layers=2,
    context=24,
)

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 160, 40),
    "blue": (30, 60, 220),
    "yellow": (240, 220, 40),
    "black": (10, 10, 10),
    "white": (245, 245, 245),
    "grey": (128, 128, 128),
    "orange": (250, 140, 20),
    "purple": (130, 30, 150),
    "pink": (250, 150, 190),
    "cyan": (40, 210, 220),
    "brown": (110, 70, 30),
}


def write_merges(path: Path) -> Path:
    """A merges file of the right form: pairs of single bytes."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    symbols = [*map(chr, visible), *(chr(256 + i) for i in range(256 - len(visible)))]
    lines = [f"{a} {b}{end}" for end in ("", "</w>") for a, b in itertools.product(symbols, symbols)]
    path.write_bytes(gzip.compress(("#version: 0.2\n" + "\n".join(lines[:MERGES])).encode(), mtime=0))
    return path


def picture(left: str, right: str, size: tuple[int, int] = (24, 20)) -> bytes:
    """A PNG of two colours side by side."""
    width, height = size
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:, : width // 2], pixels[:, width // 2 :] = COLOURS[left], COLOURS[right]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pictures() -> list[tuple[str, bytes, list[str]]]:
    """A sample (url, PNG, two captions) for each ordered pair of different colours: 132."""
    return [
        (f"http://colours.test/{a}-{b}.png", picture(a, b), [f"{a} and {b}", f"left {a}, right {b}"])
        for a, b in itertools.permutations(COLOURS, 2)
    ]


def small_recipe(folder: Path, **train: Any) -> Recipe:
    """A recipe whose pack is made, of `pictures`; keys of its [train] table as given."""
    out = folder / "out"
    if not out.exists():
        make_pack(out / STAGES["pack"].folder, pictures())
        write_merges(folder / "merges.gz")
    keys = {"merges": str(folder / "merges.gz"), "batch_size": 32, "steps": 12, "warmup": 2, "learning_rate": 2e-3}
    tables = {"run": {"out": str(out), "seed": 3}, "train": {**keys, "holdout": 0.2, **train}}
    return Recipe("recipes/small.toml", tables)


LEARN = {"steps": 60, "warmup": 8, "learning_rate": 4e-3}  # [train] keys with which SMALL learns the colours


def run_training(recipe: Recipe) -> None:
    """Train SMALL on one thread, so that a sum is added up in the same order as in another process with one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with process_group(60) as ranks:
            train.train(recipe, recipe.config("train", Config), SMALL, ranks)
    finally:
        torch.set_num_threads(before)
