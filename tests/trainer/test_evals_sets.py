"""Evaluation sets through the stage: zero-shot, probes, retrieval, places and clips with answers counted by hand."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import Tensor

from core.errors import Failure
from core.recipe import Recipe
from core.tables import read_table
from tests.trainer.helpers import COLOURS
from trainer.evals import wanted
from trainer.evals.config import Config
from trainer.evals.features import Encoder
from trainer.evals.kept import Kept
from trainer.evals.suite import Suite
from trainer.evals.tables import EXAMPLE
from trainer.evals.vectors import Vectors
from trainer.model import unit


class ColourSense(Encoder):
    """Knows the colour of a picture's middle and the first colour that a text names."""

    def __init__(self) -> None:
        self.image_size, self.scale = 8, 10.0
        self.asked = 0

    def images(self, crops: Iterable[npt.NDArray[np.uint8]]) -> Tensor:
        return unit(self._seen(crops))

    def images_and_hidden(self, crops: Iterable[npt.NDArray[np.uint8]]) -> tuple[Tensor, Tensor]:
        seen = self._seen(crops)
        return unit(seen), seen / 64

    def _seen(self, crops: Iterable[npt.NDArray[np.uint8]]) -> Tensor:
        seen = torch.stack([torch.from_numpy(crop[4, 4]).float() - 128 for crop in crops])
        self.asked += len(seen)
        return seen

    def texts(self, texts: Iterable[str]) -> Tensor:
        named = [next((rgb for name, rgb in COLOURS.items() if name in text), (128, 128, 129)) for text in texts]
        return unit(torch.tensor(named).float() - 128)


def colour(name: str, size: int = 12) -> bytes:
    to = io.BytesIO()
    Image.new("RGB", (size, size), COLOURS[name]).save(to, "PNG")
    return to.getvalue()


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, body in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    return folder


class Run:
    """The suite on sets below a folder, with ColourSense in place of a model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, sets: Sequence[str], **keys: Any) -> list[dict[str, Any]]:
        recipe = Recipe("r.toml", {"eval": {"sets": list(sets), "root": str(self.folder), **keys}})
        config = recipe.config("eval", Config)
        self.found = wanted.find(recipe, config, {})
        self.encoder = ColourSense()
        self.kept = Kept(str(self.folder / "out"), lambda: None)
        vectors = Vectors(self.kept, "m" * 64, lambda: self.encoder, self.found.memory, 2)
        return Suite(self.kept, vectors, config, 7).evaluate(self.found.sets)

    def examples(self, method: str) -> list[dict[str, Any]]:
        parts = [part for receipt in self.kept.receipts for part in receipt.parts if part.table == "example"]
        tables = [read_table(f"{self.folder}/out/{part.name}", EXAMPLE) for part in parts]
        return [row for row in pa.concat_tables(tables).to_pylist() if row["method"] == method]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def rows_of(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    return {(row["name"], row["metric"]): row["value"] for row in rows}


# ── zero-shot ─────────────────────────────────────────────────────────────────────────────────────


def test_a_folder_of_folders_is_classified_by_its_names(run: Run, tmp_path: Path) -> None:
    files = {"red/1.png": colour("red"), "green/1.png": colour("green"), "blue/1.png": colour("red")}
    write(tmp_path / "mine", files)
    rows = run([f"{tmp_path}/mine"])
    assert rows_of(rows) == {("mine zero-shot", "accuracy"): pytest.approx(2 / 3)}
    assert rows[0] | {"low": 0, "high": 0, "value": 0} == {
        "name": "mine zero-shot",
        "set": "mine",
        "method": "zero-shot",
        "prompts": "paper",
        "shots": None,
        "metric": "accuracy",
        "value": 0,
        "low": 0,
        "high": 0,
        "n": 3,
        "chance": pytest.approx(1 / 3),
    }
    found = {row["id"]: row for row in run.examples("zero-shot")}
    assert {name: row["predicted"][0] for name, row in found.items()} == {
        "red/1.png": "red",
        "green/1.png": "green",
        "blue/1.png": "red",
    }
    wrong = found["blue/1.png"]
    assert wrong["label"] == ["blue"] and wrong["rank"] > 1 and wrong["model"] == "m" * 16
    assert len(wrong["predicted"]) == 3 and sum(wrong["scores"]) == pytest.approx(1)
    assert wrong["scores"] == sorted(wrong["scores"], reverse=True)


def test_features_and_classifiers_are_computed_once(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "mine", {f"{name}/1.png": colour(name) for name in ("red", "green")})
    first = run([f"{tmp_path}/mine"])
    assert run.encoder.asked == 2 and run.kept.made == 3
    assert run([f"{tmp_path}/mine"]) == first
    assert run.encoder.asked == 0 and run.kept.made == 0 and len(run.kept.receipts) == 3
    rows = run([f"{tmp_path}/mine"], prompts=["contextless", "single"])
    assert run.encoder.asked == 0 and {row["prompts"] for row in rows} == {"contextless", "single"}
    (tmp_path / "mine/red/1.png").write_bytes(colour("green"))
    assert run([f"{tmp_path}/mine"])[0]["value"] == 0.5 and run.encoder.asked == 2


def test_a_set_with_something_wrong_is_named_after_the_others_are_done(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "bad", {"red/1.png": colour("red"), "green/1.png": b"no picture"})
    write(tmp_path / "good", {f"{name}/1.png": colour(name) for name in ("red", "green")})
    with pytest.raises(Failure, match=r"1 of 2 evaluation sets .*bad \(.* 1 of 2 pictures that do not decode: green/1"):
        run([f"{tmp_path}/bad", f"{tmp_path}/good"])
    write(tmp_path / "bad", {"green/1.png": colour("green")})
    rows = run([f"{tmp_path}/bad", f"{tmp_path}/good"])
    assert {row["set"] for row in rows} == {"bad", "good"}
    assert run.encoder.asked == 2  # those of bad alone


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"red/1.png": colour("red")}, "nothing to choose from"),
        ({"red/1.png": colour("red"), "green/1.png": b""}, "empty files"),
        ({"red/1.png": colour("red"), "2.png": colour("red")}, "outside of class folders"),
    ],
    ids=["one class", "empty file", "no class"],
)
def test_what_is_wrong_with_a_set_is_said(run: Run, tmp_path: Path, files: Mapping[str, bytes], said: str) -> None:
    write(tmp_path / "mine", files)
    with pytest.raises(Failure, match=said):
        run([f"{tmp_path}/mine"])
