"""People beside a model, through the stage: Table 2 and Figure 16 of a made set, counted by hand."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import Failure, UsageError
from core.manifest import read_manifest
from core.recipe import Recipe
from core.tables import name_of, read_table
from report import beside_people
from tests.trainer.made_sets import colour, write
from trainer.evals import __main__ as evals
from trainer.evals import answers
from trainer.evals.config import Config, check
from trainer.evals.tables import ANSWERS, EXAMPLE, HARDNESS

FILES = {"red/1.png": "red", "red/2.png": "red", "green/1.png": "green", "blue/1.png": "red"}
TWO = """\
person,image,answer
ann,red/1.png,red
bob,red/1.png,green
ann,red/2.png,red
bob,red/2.png,Red
ann,green/1.png,I don't know
bob,green/1.png,green
"""
ONE = "person,image,answer\nann,blue/1.png,blue\n"


def recipe_with(learnt: Recipe, folder: Path, answered: Mapping[str, str], **keys: Any) -> Recipe:
    """A trained recipe with the set "mine" and files of answers by group."""
    out = folder / "out"
    if not out.exists():
        shutil.copytree(learnt.out, out)
        write(folder / "mine", {name: colour(of) for name, of in FILES.items()})
    for group, text in answered.items():
        (folder / f"{group}.csv").write_text(text)
    asked = {"mine": {group: str(folder / f"{group}.csv") for group in answered}}
    table = {"sets": [f"{folder}/mine"], "prompts": ["contextless"], "answers": asked, **keys}
    return Recipe(learnt.path, {**learnt.tables, "run": {**learnt.tables["run"], "out": str(out)}, "eval": table})


def rows_of(recipe: Recipe, schema: Any) -> list[dict[str, Any]]:
    manifest = read_manifest(recipe.folder("eval"))
    assert manifest is not None
    name = name_of(schema)
    return [row for path in manifest.paths(name) for row in read_table(path, schema).to_pylist()]


def test_people_stand_beside_the_model(learnt: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = recipe_with(learnt, tmp_path, {"zero-shot": TWO, "one-shot": ONE})
    evals.evaluate(recipe)
    said = capsys.readouterr().out
    rows = {row["group"]: row for row in rows_of(recipe, ANSWERS)}
    examples = {row["id"]: row for row in rows_of(recipe, EXAMPLE)}
    right = {name: row["rank"] == 1 for name, row in examples.items()}
    zero = rows["zero-shot"]
    assert zero["accuracy"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert zero["majority"] == 1 and zero["ties"] == 2  # red/2.png is all that is left
    assert zero["on_guesses"] == pytest.approx((3 / 4 + 1) / 2)
    assert zero["majority_on_guesses"] == 1 and zero["ties_on_guesses"] == 1
    assert (zero["persons"], zero["pictures"], zero["answers"], zero["unknown"], zero["unguessed"]) == (2, 3, 6, 1, 0)
    assert zero["unseen"] == ["blue"] and zero["agreement"] is None  # two classes only
    reds = (right["red/1.png"] + right["red/2.png"]) / 2
    assert zero["model_accuracy"] == pytest.approx((reds + right["green/1.png"]) / 2)
    assert rows["one-shot"]["model_accuracy"] == right["blue/1.png"] == 0
    hard = {(row["group"], row["class"]): row for row in rows_of(recipe, HARDNESS)}
    assert {key: row["share"] for key, row in hard.items()} == {
        ("zero-shot", "red"): 0.75,
        ("zero-shot", "green"): 0.5,
        ("zero-shot", "blue"): None,
        ("one-shot", "red"): None,
        ("one-shot", "green"): None,
        ("one-shot", "blue"): 1,
    }
    for name in ("red", "green", "blue"):  # with three classes, all probabilities are in the table of examples
        own = [row["scores"][row["predicted"].index(name)] for row in examples.values() if row["label"] == [name]]
        assert hard["zero-shot", name]["probability"] == pytest.approx(np.mean(own), abs=1e-6)
        assert hard["zero-shot", name]["pictures"] == len(own)
    manifest = read_manifest(recipe.folder("eval"))
    assert manifest is not None
    (page,) = beside_people.section(manifest, json.loads(Path(manifest.folder, "results.json").read_bytes()))
    assert [group.name for group in page.groups] == ["zero-shot", "one-shot"]
    assert page.groups[0].models == [("this model", zero["model_accuracy"])] and page.clip is None
    (figure,) = page.figures
    drawn = {(row["series"], row["name"]): float(row["value"]) for row in csv.DictReader(io.StringIO(figure.data))}
    assert drawn["people, zero-shot", "red"] == 75 and drawn["people, one-shot", "blue"] == 100 and len(drawn) == 6
    assert (
        f"eval: mine by people (zero-shot): 62.5%, and by the model {zero['model_accuracy']:.1%} of the same 3" in said
    )
    assert "2 ties left out of the majority" in said


def test_only_what_changed_is_done_again(learnt: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = recipe_with(learnt, tmp_path, {"zero-shot": TWO})
    evals.evaluate(recipe)
    evals.evaluate(recipe)
    assert "nothing to do" in capsys.readouterr().out
    (tmp_path / "zero-shot.csv").write_text(TWO.replace("ann,red/1.png,red", "ann,red/1.png,blue"))
    evals.evaluate(recipe)
    said = capsys.readouterr().out
    assert "eval: runs again: answers about mine (zero-shot) has changed" in said and "pictures of mine" not in said
    (row,) = rows_of(recipe, ANSWERS)
    assert row["accuracy"] == pytest.approx((2 / 4 + 1 / 2) / 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TWO + "bob,red/9.png,red\n", r"line 8: no picture 'red/9.png' in the set \(red/"),
        (TWO + "bob,blue/1.png,bleu\n", r"line 8: no class 'bleu' \(blue\?\)"),
        (TWO + "bob,blue/1.png,\n", "line 8: answer is empty"),
        (TWO + "bob,red/1.png,red\n", "line 8: bob answered for red/1.png in line 3 already"),
        ("person,picture\nann,red/1.png\n", "no column answer in its first line"),
    ],
)
def test_a_file_that_does_not_fit_is_named_by_line(learnt: Recipe, tmp_path: Path, text: str, said: str) -> None:
    recipe = recipe_with(learnt, tmp_path, {"zero-shot": text})
    with pytest.raises(Failure, match=f"mine \\(.*zero-shot.csv.*{said}"):
        evals.evaluate(recipe)
    assert read_manifest(recipe.folder("eval")) is None


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            {"answers": {"yours": {"zero-shot": "a.csv"}}},
            "eval.answers.yours is about no set of eval.sets",
        ),
        ({"answers": {"mine": {"zero-shot": "gone.csv"}}}, "eval.answers.mine names gone.csv"),
        ({"answers": {"mine": {" ": "a.csv"}}}, "eval.answers.mine has the group ' '"),
        ({"answers": {"mine": {}}}, "eval.answers.mine has the group ''"),
        ({"prompts": ["forward"]}, "compared by prompts other than forward"),
    ],
)
def test_keys_that_are_refused(learnt: Recipe, tmp_path: Path, keys: dict[str, Any], said: str) -> None:
    recipe = recipe_with(learnt, tmp_path, {"zero-shot": TWO}, **keys)
    with pytest.raises(UsageError, match=said):
        evals.evaluate(recipe)
    check(recipe.path, Config())


def test_two_groups_with_the_same_answers_are_refused(learnt: Recipe, tmp_path: Path) -> None:
    recipe = recipe_with(learnt, tmp_path, {"zero-shot": TWO, "one-shot": TWO})
    with pytest.raises(UsageError, match="has the same answers for one-shot and for zero-shot: give each group its"):
        evals.evaluate(recipe)


def test_the_probability_of_the_right_class_is_a_softmax() -> None:
    logits = np.log(np.array([[1, 3], [3, 1], [1e30, 1e-30]], np.float32))
    found = answers.outcomes(["a", "b", "c"], np.array([1, 1, 1]), np.array([1, 2, 2]), logits, ["no", "yes"])
    assert [one.probability for one in found] == pytest.approx([0.75, 0.25, 0], abs=1e-7)
    assert [(one.label, one.right) for one in found] == [("yes", True), ("yes", False), ("yes", False)]
