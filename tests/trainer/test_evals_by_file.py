"""Probes on features of any model by file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import Failure
from core.recipe import Recipe
from tests.trainer.made_sets import colour, write
from tests.trainer.stage_results import examples_of, finished, recipe_of, results_of
from trainer.evals import __main__ as evals

SPLITS = {"train": 5, "val": 2, "test": 3}


def write_features(folder: Path, name: str, role: str, rows: Mapping[str, list[float]]) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    table = pa.table({"id": list(rows), "vector": pa.array(list(rows.values()), pa.list_(pa.float32()))})
    pq.write_table(table, folder / name / f"{role}.parquet")


@pytest.fixture
def by_file(tmp_path: Path) -> Recipe:
    """Two classes, whose pictures say nothing; the vectors of another model do, but for one example of the test."""
    ids = {split: [f"{label}/{i}.png" for label in ("this", "that") for i in range(n)] for split, n in SPLITS.items()}
    write(tmp_path / "mine", {f"{split}/{one}": colour("grey") for split, some in ids.items() for one in some})
    for split, role in (("train", "train"), ("val", "validation"), ("test", "test")):
        rows = {one: [1.0, 0.0] if one.startswith("this") else [0.0, 1.0] for one in ids[split]}
        if role == "test":
            rows["this/0.png"] = [0.0, 1.0]
        write_features(tmp_path / "rn50", "mine", role, dict(reversed(rows.items())))
    features = {"RN50": str(tmp_path / "rn50")}
    return recipe_of(tmp_path, sets=[f"{tmp_path}/mine"], features=features, probe=True, shots=[1, 2], seeds=[0, 1])


def test_probes_are_fitted_on_features_by_file(by_file: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    evals.evaluate(by_file)
    rows = {(row["name"], row["metric"]): row["value"] for row in results_of(by_file)}
    assert rows == {
        ("mine probe, RN50", "accuracy"): pytest.approx(5 / 6),
        ("mine 1-shot, RN50", "accuracy"): pytest.approx(5 / 6),
        ("mine 2-shot, RN50", "accuracy"): pytest.approx(5 / 6),
    }
    wrong = [one for (_, one), row in examples_of(by_file).items() if row["rank"] != 1]
    assert wrong == ["this/0.png"]
    assert finished(by_file).facts["inputs"]["features"].keys() == {"RN50"}
    capsys.readouterr()
    evals.evaluate(by_file)
    assert "nothing to do" in capsys.readouterr().out


def test_what_is_wrong_with_features_is_named(by_file: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "rn50" / "mine" / "validation.parquet"
    path.unlink()
    with pytest.raises(Failure, match=r"with the features of RN50: .*validation\.parquet is not there, and mine has"):
        evals.evaluate(by_file)
    write_features(tmp_path / "rn50", "mine", "validation", {"this/0.png": [np.nan, 0.0]})
    with pytest.raises(Failure, match=r"validation\.parquet has no vector for .*this/1\.png"):
        evals.evaluate(by_file)


def test_a_set_without_features_is_said_and_the_others_are_done(
    by_file: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "other", {f"{name}/1.png": colour(name) for name in ("red", "green")})
    sets = [f"{tmp_path}/mine", f"{tmp_path}/other"]
    evals.evaluate(Recipe(by_file.path, {**by_file.tables, "eval": {**by_file.tables["eval"], "sets": sets}}))
    assert "eval: RN50 has no features of other: " in capsys.readouterr().out
    assert {row["set"] for row in results_of(by_file)} == {"mine"}
