"""How long zero-shot takes once the features of the pictures are known: a limit, not a measurement."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor

from core.recipe import Recipe
from trainer.evals import eval_sets, suite
from trainer.evals.config import Config
from trainer.evals.context import ModelContext
from trainer.evals.encoder import Encoder, Model
from trainer.evals.kept import Kept
from trainer.evals.tables import OWN
from trainer.evals.vectors import Vectors
from trainer.model import unit

IMAGES, CLASSES, WIDTH = 50_000, 1_000, 512  # ImageNet's, and the width of ViT-B/32
SECONDS = 10.0


class Numbered(Encoder):
    """Reads a picture's number out of its colour; its feature is that of its class with noise of its own."""

    def __init__(self) -> None:
        self.image_size, self.scale = 4, 100.0
        self.asked = 0
        self._of_class = np.random.default_rng(0).normal(size=(CLASSES, WIDTH)).astype(np.float32)

    def images(self, crops: Iterable[npt.NDArray[np.uint8]]) -> Tensor:
        colours = np.stack([crop[0, 0] for crop in crops]).astype(np.int64)
        numbers = (colours[:, 0] << 16) + (colours[:, 1] << 8) + colours[:, 2]
        self.asked += len(numbers)
        noise = np.random.default_rng(1).normal(size=(len(numbers), WIDTH)).astype(np.float32)
        return unit(torch.from_numpy(self._of_class[numbers % CLASSES] + 6 * noise))

    def texts(self, texts: Iterable[str]) -> Tensor:
        numbers = [int(text.strip(".").split()[-1]) for text in texts]
        return unit(torch.from_numpy(self._of_class[numbers]))


def write_pictures(folder: Path) -> str:
    """A tar of pictures of one colour each, and their labels."""
    with tarfile.open(folder / "numbered.tar", "w") as tar:
        for number in range(IMAGES):
            to = io.BytesIO()
            colour = number >> 16, number >> 8 & 255, number & 255
            Image.new("RGB", (4, 4), colour).save(to, "PNG")
            member = tarfile.TarInfo(f"{number:05}.png")
            member.size = to.tell()
            to.seek(0)
            tar.addfile(member, to)
    labels = "".join(f"{number:05}.png\tnumber {number % CLASSES}\n" for number in range(IMAGES))
    (folder / "numbered.labels.tsv").write_text(labels)
    return str(folder / "numbered.tar")


@pytest.mark.slow
def test_fifty_thousand_images_with_cached_features_take_ten_seconds(tmp_path: Path) -> None:
    """CPU seconds, whoever else works: opening the set, reading features, classifying, writing every example."""
    path = write_pictures(tmp_path)
    encoder = Numbered()
    took = {}
    for prompts in ("single", "contextless"):
        recipe = Recipe("r.toml", {"eval": {"sets": [path], "prompts": [prompts]}})
        config = recipe.config("eval", Config)
        started = time.process_time()
        found = eval_sets.find(recipe, config, {})
        kept = Kept(str(tmp_path / "out"), lambda: None)
        vectors = Vectors(kept, Model(OWN, "m" * 64, lambda: encoder), found.memory, 2)
        context = ModelContext(model=OWN, kept=kept, config=config, seed=0, vectors=vectors)
        (accuracy, top_5) = suite.evaluate(context, found.there)
        took[prompts] = time.process_time() - started
        assert accuracy["n"] == IMAGES and 0.5 < accuracy["value"] < top_5["value"] < 1
    assert encoder.asked == IMAGES, "their features were read the second time"
    print(f"CPU seconds: {took}")
    assert took["contextless"] <= SECONDS, took
