"""Prompts by forward selection, on the features that probes take."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from core.tables import read_table
from tests.trainer.made_sets import ColourSense, Run, colour, write
from trainer.evals.tables import SELECTED

SPLITS = ("train", "val", "test")


class Picky(ColourSense):
    """Understands only what is said of origami; anything else it takes for grey."""

    def texts(self, texts: Iterable[str]) -> torch.Tensor:
        return super().texts([text if "origami" in text else "grey" for text in texts])


def test_templates_are_selected_on_the_validation_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(tmp_path, Picky)
    names = ("red", "green")
    files = {f"{split}/{name}/{i}.png": colour(name) for split in ("val", "test") for name in names for i in range(2)}
    write(tmp_path / "mine", files | {"test/green/2.png": colour("red")})
    rows = run([f"{tmp_path}/mine"], prompts=["ensemble", "forward"])
    found = {row["prompts"]: row["value"] for row in rows}
    assert found["forward"] == pytest.approx(4 / 5)
    (receipt,) = [one for one in run.kept.receipts if one.step == "select"]
    selected = read_table(f"{tmp_path}/out/{receipt.parts[0].name}", SELECTED).to_pylist()
    assert [(row["template"], row["score"]) for row in selected] == [("the origami {}.", 1.0)]
    again = run([f"{tmp_path}/mine"], prompts=["ensemble", "forward"])
    assert again == rows and run.kept.made == 0
    for path in (tmp_path / "mine" / "test").iterdir():
        path.rename(tmp_path / "mine" / path.name)
    for folder in (tmp_path / "mine" / "val", tmp_path / "mine" / "test"):
        shutil.rmtree(folder)
    rows = run([f"{tmp_path}/mine"], prompts=["ensemble", "forward"])
    assert {row["prompts"] for row in rows} == {"ensemble"}
    assert "no prompts forward for mine: it has neither a validation nor a train split" in capsys.readouterr().out


def test_features_of_a_split_serve_probes_and_prompts(tmp_path: Path) -> None:
    run = Run(tmp_path, Picky)
    files = {f"{split}/{name}/{i}.png": colour(name) for split in SPLITS for name in ("red", "green") for i in range(5)}
    write(tmp_path / "mine", files)
    rows = run([f"{tmp_path}/mine"], prompts=["contextless", "forward"], probe=True)
    assert {row["method"] for row in rows} == {"zero-shot", "probe"}
    assert sorted(one.task for one in run.kept.receipts if one.step == "encode") == [
        "mine.test",
        "mine.train",
        "mine.validation",
    ]
    again = run([f"{tmp_path}/mine"], prompts=["contextless", "forward"], probe=True)
    assert again == rows and run.kept.made == 0
