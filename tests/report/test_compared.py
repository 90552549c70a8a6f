"""Figures 5 to 8 beside the results: the right numbers, the paper's for the same sets, nothing where nothing is."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from core.manifest import Manifest, read_manifest
from core.recipe import Recipe
from evaluation import paper
from evaluation.sets import names
from report import compared
from report.by_set import in_paper, of_method
from report.figures.canvas import Figure
from tests.report.finished import RESULTS, SCRIPT, finish_all, finish_sets, finish_training, of_set, recipe_in
from tests.report.test_render import page_of


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """Everything has run, with evaluation sets."""
    recipe = recipe_in(tmp_path)
    finish_all(recipe)
    finish_sets(recipe)
    return recipe


def drawn(recipe: Recipe) -> list[Figure]:
    results = read_manifest(recipe.folder("eval"))
    assert results is not None
    return compared.figures(results, json.loads(Path(results.paths("results")[0]).read_bytes()))


def rows_of(figure: Figure) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(figure.data)))


def test_figures_show_the_results_and_the_paper_s_values_of_the_same_sets(recipe: Recipe) -> None:
    against, few_shot, worth, by_probe = drawn(recipe)
    rows = {(row["series"], row["name"]): float(row["value"]) for row in rows_of(against)}
    assert rows["this model", "Food101"] == pytest.approx(-10) and rows["this model", "my $ets"] == pytest.approx(5)
    theirs = [paper.table(name)["ViT-L/14@336px"]["SST2"].value for name in ("table_11", "table_10")]
    assert rows["paper, ViT-L/14@336px", "SST2"] == pytest.approx(theirs[0] - theirs[1])
    assert {name for who, name in rows if who != "this model"} == {"Food101", "DTD", "SST2"}
    shots = {row["shots"]: float(row["score"]) for row in rows_of(few_shot)}
    assert shots["4"] == pytest.approx((90 + 72 + 25) / 3 - 2.5 + 0.5)  # without dtd, which has fewer shots
    assert shots["0"] == pytest.approx((80 + 55 + 30) / 3) and "1 sets" not in few_shot.says
    assert {row["name"]: row["value"] for row in rows_of(worth) if row["series"] == "this model"} == {
        "Food101": "2.5",
        "DTD": "2.5",
    }
    assert f"Not drawn: my {SCRIPT} (more than 4)." in worth.says
    assert len(rows_of(by_probe)) == 4 + 27


def test_they_stand_on_the_page_with_their_numbers(recipe: Recipe) -> None:
    text = page_of(recipe).text
    assert "Zero-shot beside probes" in text and "As figure 8 of the paper." in text
    assert f"Not drawn: my {SCRIPT} (more than 4)." in text
    assert "this model,Food101," in text


def test_without_a_probe_there_is_nothing_to_draw(recipe: Recipe) -> None:
    finish_training(recipe, [1.0], [*RESULTS, of_set("dtd", "zero-shot", 0.5)])
    assert drawn(recipe) == []
    assert "Zero-shot beside probes" not in page_of(recipe).text


def test_two_sets_have_no_line_and_metrics_are_not_mixed() -> None:
    none = Manifest("/out", "digest", {}, ())
    rows = [of_set(name, method, 0.5) for name in ("dtd", "food101") for method in ("zero-shot", "probe")]
    assert [figure.says[:8] for figure in compared.figures(none, rows)] == ["How much"]
    other = [row if row["method"] == "probe" else {**row, "metric": "mean_per_class"} for row in rows]
    assert compared.figures(none, other) == []


def test_the_first_row_of_a_set_and_method_counts() -> None:
    rows = [*RESULTS, of_set("dtd", "zero-shot", 0.5), of_set("dtd", "zero-shot", 0.9), of_set("dtd", "probe", 0.7)]
    assert {name: row["value"] for name, row in of_method(rows, "zero-shot").items()} == {"dtd": 0.5}


def test_sets_of_the_registry_have_the_paper_s_names() -> None:
    assert [in_paper(name) for name in names()[:27]] == list(paper.SUITE_27)
    assert in_paper("my own") == "my own"
