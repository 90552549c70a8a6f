"""Beside people: Table 2 and Figure 16 of results that were made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.manifest import Manifest, read_manifest
from report import beside_people
from report.figures import shift
from report.figures.canvas import Series, measured
from tests.report.finished import SCRIPT, finish_all, finish_training, of_set, recipe_in
from tests.report.test_render import page_of

COUNTS = {"persons": 5, "pictures": 3669, "answers": 18345, "unknown": 4, "ties": 1}
COUNTS |= {"ties_on_guesses": 2, "unguessed": 3}


def answers(group: str, accuracy: float, model: str = "trained", of: str = "oxford_pets") -> dict[str, Any]:
    """A row of the table answers."""
    row: dict[str, Any] = {"set": of, "model": model, "prompts": "paper", "group": group, "accuracy": accuracy}
    row |= {"majority": 0.57, "on_guesses": None, "majority_on_guesses": 0.639, "agreement": 0.25}
    return row | COUNTS | {"model_accuracy": 0.935 if model == "trained" else 0.5, "unseen": ["pug"]}


def hardness(group: str, shares: Sequence[float | None], model: str = "trained") -> list[dict[str, Any]]:
    """Rows of the table hardness, of classes that get easier for the model."""
    about = {"set": "oxford_pets", "model": model, "prompts": "paper", "group": group, "pictures": 100}
    n = len(shares)
    return [
        {**about, "class": f"breed {i}", "probability": (i + 1) / (n + 1), "share": share}
        for i, share in enumerate(shares)
    ]


def finished(folder: Path, models: Sequence[str] = ("trained",), classes: int = 4) -> Manifest:
    recipe = recipe_in(folder)
    finish_all(recipe)
    groups = {"two-shot": 0.757, "zero-shot": 0.537, f"vets {SCRIPT}": 0.9}
    shares: list[float | None] = [0.5] * (classes - 1)
    hard = [row for model in models for group in groups for row in hardness(group, [*shares, None], model)]
    said = [answers(group, accuracy, model) for model in models for group, accuracy in groups.items()]
    rows = [of_set("oxford_pets", "zero-shot", 0.9, model=model) for model in models]
    finish_training(recipe, [1.0], rows, tables={"answers": said, "hardness": hard})
    results = read_manifest(recipe.folder("eval"))
    assert results is not None
    return results


def test_the_page_has_people_the_models_and_the_paper(tmp_path: Path) -> None:
    finished(tmp_path, ["trained", "ViT"])
    text = page_of(recipe_in(tmp_path)).text
    for said in [
        "people, zero-shot 53.7 % 57.0 % n/a 63.9 % 5 3,669 18,345 4 1",
        "this model , the same pictures 93.5 % ViT , the same pictures 50.0 % paper: people, zero-shot 53.7 % 57.0 %",
        "In the paper zero-shot CLIP has 93.5 % on this set",
        "paper: people, two-shot 75.7 % 85.0 % 79.2 % 86.1 %",
        "1 picture without one most frequent answer is left out of the majority, 2 of that on guesses; nobody guessed",
        "Nobody was asked about 1 class of the set.",
        "Rank correlation of the two: zero-shot +0.25, two-shot +0.25, vets",
    ]:
        assert said in text
    assert text.index("people, zero-shot 53.7") < text.index("people, two-shot 75.7") < text.index("people, vets")
    assert text.count("As figure 16 of the paper.") == 2  # one for each model


def test_groups_that_cannot_be_told_apart_are_drawn_apart(tmp_path: Path) -> None:
    results = finished(tmp_path)
    (found,) = beside_people.section(results, [of_set("oxford_pets", "zero-shot", 0.9)])
    assert len(found.figures) == 1 and "breed 3" in found.figures[0].svg
    assert [line for line in found.figures[0].data.splitlines() if "breed 3" in line] == [
        "this model,breed 3,80.0,measured,no"
    ]


def test_of_many_classes_the_hardest_and_the_easiest_are_drawn(tmp_path: Path) -> None:
    results = finished(tmp_path, classes=100)
    (found,) = beside_people.section(results, [of_set("oxford_pets", "zero-shot", 0.9)])
    (figure,) = found.figures
    assert "Drawn of 100 classes: the 30 easiest and hardest." in figure.says
    assert all(f">breed {i}<" in figure.svg for i in (0, 29, 70, 99))
    assert not any(f">breed {i}<" in figure.svg for i in (30, 50, 69))
    assert figure.data.count("this model,") == 100  # all numbers are there


def test_a_category_that_is_left_out_is_in_no_series() -> None:
    values = {f"c{i:03d}": float(i % 90) for i in range(shift.CATEGORIES + 2)}
    drawn = shift.by_category("c", "t", "x", [Series("a", measured(values)), Series("b", measured({"none": 1.0}))])
    assert drawn.svg.count(">c0") == shift.CATEGORIES - 1


def test_without_people_there_is_no_section(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path)
    finish_all(recipe)
    assert "Beside people" not in page_of(recipe).text
