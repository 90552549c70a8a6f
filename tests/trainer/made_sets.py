"""Small sets of pictures of one colour each, and the suite run on them with a model that knows colours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from core.recipe import Recipe
from core.tables import read_table
from tests.trainer.helpers import COLOURS, picture
from trainer.evals import eval_sets, suite
from trainer.evals.config import Config
from trainer.evals.context import ModelContext
from trainer.evals.encoder import Encoder, Model
from trainer.evals.kept import Kept
from trainer.evals.tables import EXAMPLE, OWN
from trainer.evals.vectors import Vectors
from trainer.model import unit


class ColourSense(Encoder):
    """Knows the colour of a picture's left half and the first colour that a text names: what it says is plain."""

    def __init__(self) -> None:
        self.image_size, self.scale = 8, 10.0
        self.asked = 0

    def images(self, crops: Iterable[npt.NDArray[np.uint8]]) -> Tensor:
        return unit(self._seen(crops))

    def images_and_hidden(self, crops: Iterable[npt.NDArray[np.uint8]]) -> tuple[Tensor, Tensor]:
        seen = self._seen(crops)
        return unit(seen), seen / 64

    def _seen(self, crops: Iterable[npt.NDArray[np.uint8]]) -> Tensor:
        seen = torch.stack([torch.from_numpy(crop[4, 1]).float() - 128 for crop in crops])
        self.asked += len(seen)
        return seen

    def texts(self, texts: Iterable[str]) -> Tensor:
        named = [next((rgb for name, rgb in COLOURS.items() if name in text), (128, 128, 129)) for text in texts]
        return unit(torch.tensor(named).float() - 128)


def colour(name: str, size: tuple[int, int] = (12, 12)) -> bytes:
    """A PNG of one colour."""
    return picture(name, name, size)


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, body in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    return folder


class Run:
    """The suite on sets below a folder, with ColourSense in place of a model, or what another `sense` makes."""

    def __init__(self, folder: Path, sense: type[ColourSense] = ColourSense) -> None:
        self.folder, self._sense = folder, sense

    def __call__(self, sets: Sequence[str], **keys: Any) -> list[dict[str, Any]]:
        recipe = Recipe("r.toml", {"eval": {"sets": list(sets), "root": str(self.folder), **keys}})
        config = recipe.config("eval", Config)
        self.found = eval_sets.find(recipe, config, {})
        self.encoder = self._sense()
        self.kept = Kept(str(self.folder / "out"), lambda: None)
        vectors = Vectors(self.kept, Model(OWN, "m" * 64, lambda: self.encoder), self.found.memory, 2)
        context = ModelContext(model=OWN, kept=self.kept, config=config, seed=7, vectors=vectors)
        return suite.evaluate(context, self.found.there)

    def examples(self, method: str) -> list[dict[str, Any]]:
        parts = [part for receipt in self.kept.receipts for part in receipt.parts if part.table == "example"]
        tables = [read_table(f"{self.folder}/out/{part.name}", EXAMPLE) for part in parts]
        return [row for row in pa.concat_tables(tables).to_pylist() if row["method"] == method]


def rows_of(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    return {(row["name"], row["metric"]): row["value"] for row in rows}
