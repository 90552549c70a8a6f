"""Models side by side on the page: scores, classes that differ, confusions and examples, counted by hand."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from core.manifest import Manifest, read_manifest
from core.recipe import Recipe
from evaluation import sets
from report import compared, models
from report.by_set import MINE, OWN, of_method
from report.figures.canvas import Figure
from tests.report.finished import SCRIPT, finish_training, of_set, picture, recipe_in
from tests.report.test_render import page_of
from trainer.evals import tables

OTHER = f"ViT {SCRIPT}"


def test_the_trained_model_is_called_as_eval_calls_it() -> None:
    assert OWN == tables.OWN


def example(model: str, name: str, label: str, predicted: str, score: float, rank: int) -> dict[str, Any]:
    row: dict[str, Any] = {"set": "mine", "method": "zero-shot", "prompts": "paper", "model": model, "id": name}
    return row | {"label": [label], "predicted": [predicted, "x"], "scores": [score, 0.1], "rank": rank}


TAKEN_FOR = {  # id → label, what this model took it for and how sure it was, the same of the other
    "cat/1.png": ("cat", "cat", 0.9, "dog", 0.8),
    "cat/2.png": ("cat", "dog", 0.7, "dog", 0.6),
    "dog/1.png": ("dog", "dog", 0.6, "dog", 0.9),
    "dog/2.png": ("dog", "cat", 0.8, "dog", 0.9),
    "owl/1.png": ("owl", "owl", 0.5, "owl", 0.5),
}


def examples() -> list[dict[str, Any]]:
    rows = []
    for name, (label, mine, sure, theirs, other) in TAKEN_FOR.items():
        rows.append(example(OWN, name, label, mine, sure, 1 + (mine != label)))
        rows.append(example(OTHER, name, label, theirs, other, 1 + (theirs != label)))
    rows.append({**rows[0], "prompts": "single", "predicted": ["owl", "x"], "rank": 3})
    rows.append({**rows[0], "method": "probe", "prompts": "", "predicted": ["owl", "x"], "rank": 3})
    return rows


def results(model: str, *scores: tuple[str, str, float], **more: Any) -> list[dict[str, Any]]:
    rows = [of_set(name, method, value, model=model, **more) for name, method, value in scores]
    return rows if model == OWN else [{**row, "name": f"{row['name']}, {model}"} for row in rows]


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """Two models on a set of one's own, whose pictures are there, and features of a third on it."""
    made = recipe_in(tmp_path)
    for name in TAKEN_FOR:
        (tmp_path / "sets" / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sets" / "mine" / name).write_bytes(picture((200, 30, 30), "PNG", (40, 30)))
    rows = results(OWN, ("mine", "zero-shot", 0.6), ("dtd", "zero-shot", 0.4), ("mine", "probe", 0.7))
    rows += results(OTHER, ("mine", "zero-shot", 0.8), ("mine", "probe", 0.75))
    rows += results("RN50", ("mine", "probe", 0.5))
    finish_training(made, [1.0], rows, tables={"example": examples()})
    return Recipe(made.path, {**made.tables, "eval": {"sets": [f"{tmp_path}/sets/mine"]}})


def read(recipe: Recipe) -> tuple[Manifest, list[dict[str, Any]]]:
    manifest = read_manifest(recipe.folder("eval"))
    assert manifest is not None
    return manifest, json.loads(Path(manifest.paths("results")[0]).read_bytes())


def section(recipe: Recipe) -> models.Section:
    manifest, rows = read(recipe)
    found = models.section(recipe, manifest, rows)
    assert found is not None
    return found


def test_scores_stand_side_by_side_by_set_and_method(recipe: Recipe) -> None:
    found = section(recipe)
    assert list(found.models) == [MINE, OTHER, "RN50"] and found.left_out == found.more_sets == 0
    shown = [(one.set, one.method, [row and row["value"] for row in one.rows]) for one in found.scores]
    assert shown == [
        ("mine", "zero-shot", [0.6, 0.8, None]),
        ("dtd", "zero-shot", [0.4, None, None]),
        ("mine", "probe", [0.7, 0.75, 0.5]),
    ]


def test_classes_and_confusions_are_counted(recipe: Recipe) -> None:
    (one,) = section(recipe).sets
    assert (one.name, one.n, list(one.models)) == ("mine", 5, [OWN, OTHER])
    assert list(one.classes) == [("cat", 2, [0.5, 0.0]), ("dog", 2, [0.5, 1.0]), ("owl", 1, [1.0, 1.0])]
    assert list(one.confusions) == [("cat", "dog", [1, 2]), ("dog", "cat", [1, 0])]


def test_the_confusion_of_classes_is_that_of_the_first_model(recipe: Recipe) -> None:
    (figure,) = section(recipe).figures.values()
    assert [tuple(row.values()) for row in csv.DictReader(io.StringIO(figure.data))] == [
        ("cat", "cat", "1", "2"),
        ("cat", "dog", "1", "2"),
        ("dog", "cat", "1", "2"),
        ("dog", "dog", "1", "2"),
        ("owl", "owl", "1", "1"),
    ]
    assert "that this model took for another (column)" in page_of(recipe).text
    rows = read(recipe)[1]
    finish_training(recipe, [1.0], rows, tables={"example": [row for row in examples() if row["rank"] == 1]})
    assert not section(recipe).figures


def test_the_surest_examples_come_with_every_answer_and_their_pictures(recipe: Recipe) -> None:
    (one,) = section(recipe).sets
    assert [example.id for example in one.worst] == ["dog/2.png", "cat/2.png"]
    assert [example.id for example in one.best] == ["cat/1.png", "dog/1.png", "owl/1.png"]
    assert {name: answer.right for name, answer in one.worst[0].answers.items()} == {OWN: False, OTHER: True}
    assert all(example.picture and example.picture.width == 40 for example in (*one.worst, *one.best))
    gone = Recipe(recipe.path, {**recipe.tables, "eval": {"sets": ["nowhere/mine", "fo"]}})
    assert [example.picture for example in section(gone).sets[0].worst] == [None, None]


def test_the_page_has_all_of_it_escaped_and_stays_small(recipe: Recipe) -> None:
    page = page_of(recipe)
    assert "Models side by side" in page.text and "this model" in page.text and f"✓ {OTHER}: dog , 90.0 %" in page.text
    assert "Wrong, and surest of it: this model" in page.text
    assert SCRIPT not in Path(recipe.out, "report.html").read_text()
    assert f"mine zero-shot, {OTHER}" not in page.text  # the list of results is that of the first model


def test_of_one_model_the_worst_classes_are_shown() -> None:
    some = {
        name: models.Example(name, label, {OWN: models.Answer(mine, sure, 1 + (mine != label))})
        for name, (label, mine, sure, *_) in TAKEN_FOR.items()
    }
    one = models.of_set("mine", some, [OWN])
    assert [(name, shares) for name, _, shares in one.classes] == [("cat", [0.5]), ("dog", [0.5]), ("owl", [1.0])]


def test_many_models_and_sets_do_not_make_the_page_long(recipe: Recipe) -> None:
    manifest, rows = read(recipe)
    for number in range(models.MODELS):
        rows += results(f"m{number}", ("mine", "zero-shot", 0.5))
    found = models.section(recipe, manifest, rows)
    assert found is not None and len(found.models) == models.MODELS and found.left_out == 3


def test_a_set_s_first_row_is_that_of_the_first_model() -> None:
    rows = [*results(OWN, ("dtd", "zero-shot", 0.5)), *results("a", ("dtd", "zero-shot", 0.9))]
    assert of_method(rows, "zero-shot")["dtd"]["value"] == 0.5
    assert of_method(rows[1:], "zero-shot")["dtd"]["value"] == 0.9
    assert of_method(rows, "zero-shot", "b") == {}


# ── figures ───────────────────────────────────────────────────────────────────────────────────────

SETS = ("food101", "dtd", "rendered_sst2")


def drawn(rows: Sequence[dict[str, Any]], tmp_path: Path, **tables: Any) -> dict[str, list[Figure]]:
    """Figures by the figure of the paper that they are as."""
    tmp_path.mkdir(exist_ok=True)
    made = recipe_in(tmp_path)
    finish_training(made, [1.0], rows, tables=tables)
    found: dict[str, list[Figure]] = {}
    for figure in compared.figures(*read(made)):
        found.setdefault(figure.says.split("figure ")[1][0], []).append(figure)
    return found


def rows_of(figure: Figure) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(figure.data)))


def test_figures_have_every_model_and_a_probe_on_others_features(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    shots: list[dict[str, Any]] = []
    names = [OWN, "a", "b"]
    for number, model in enumerate([*names, "RN50"]):
        score = 0.4 + 0.01 * number
        if model != "RN50":
            rows += results(model, *((name, "zero-shot", score + 0.1 * i) for i, name in enumerate(SETS)))
        rows += results(model, *((name, "probe", 0.5 + 0.1 * i) for i, name in enumerate(SETS)), prompts="")
        shots += [
            {"model": model, "set": name, "shots": k, "seed": 0, "metric": "accuracy", "value": 0.1 * k + 0.01 * number}
            for name in SETS
            for k in (1, 2)
        ]
    worth = [{"model": model, "set": name, "shots": 2.0, "relation": "equal"} for model in names for name in SETS]
    found = drawn(rows, tmp_path, shot=shots, equivalent=worth)
    titles = {MINE, *names[1:]}
    own, against = found["5"][:2], found["5"][2:]
    assert len(against) == 2 and "on the features of RN50" in against[0].says
    for some in (own, against):
        values = {(row["series"], row["name"]): float(row["value"]) for figure in some for row in rows_of(figure)}
        assert {series for series, _ in values if not series.startswith("paper")} == titles
        assert values["a", "DTD"] == pytest.approx(-9)
    assert {row["series"] for row in rows_of(against[0])} >= {"paper, ViT-L/14@336px and ResNet-50"}
    curves = [row for figure in found["6"] for row in rows_of(figure)]
    assert {row["model"] for row in curves} == titles | {"RN50"}
    assert {row["model"] for row in curves if row["shots"] == "0"} == titles
    assert {float(row["score"]) for row in curves if (row["model"], row["shots"]) == ("b", "2")} == {22.0}
    assert {row["series"] for figure in found["7"] for row in rows_of(figure)} == titles | {"paper"}
    assert {row["model"] for figure in found["8"] for row in rows_of(figure)} == titles | {"paper, ViT-L/14@336px"}
    assert len({figure.svg for some in found.values() for figure in some}) == 2 + 2 + 1 + 1 + 1


def test_figure_5_counts_the_sets_on_which_zero_shot_is_better(tmp_path: Path) -> None:
    """Of the paper's 27 sets they are 16 (section 3.1.5)."""
    names = sets.names()[:27]
    rows = results("a", *((name, "zero-shot", 0.5) for name in names))
    rows += results("RN50", *((name, "probe", 0.305 + 0.01 * i) for i, name in enumerate(names)), prompts="")
    (figure,) = drawn(rows, tmp_path)["5"]
    assert len(rows_of(figure)) == 2 * 27
    assert figure.says.endswith(
        " Zero-shot is better on 20 of 27 (a), on 16 of 27 (paper, ViT-L/14@336px and ResNet-50)."
    )


def test_curves_are_of_the_sets_that_all_models_have(tmp_path: Path) -> None:
    rows = [
        *results(OWN, ("dtd", "zero-shot", 0.5), ("food101", "zero-shot", 0.7)),
        *results("a", ("dtd", "probe", 0.5)),
    ]
    shots = [
        {"model": model, "set": name, "shots": 1, "seed": 0, "metric": "accuracy", "value": value}
        for model, name, value in ((OWN, "dtd", 0.3), (OWN, "food101", 0.9), ("a", "dtd", 0.4))
    ]
    (figure,) = drawn(rows, tmp_path, shot=shots)["6"]
    assert {(row["model"], row["shots"]): float(row["score"]) for row in rows_of(figure)} == {
        (MINE, "1"): 30.0,
        ("a", "1"): 40.0,
        (MINE, "0"): 50.0,
    }
    assert "; without 1 set with fewer shots" in figure.says


def test_figure_4_compares_choices_of_prompts_over_the_sets_that_all_have(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    for number, model in enumerate((OWN, "a")):
        for gain, prompts in enumerate(("paper", "contextless", "single", "forward")):
            scores = [(name, "zero-shot", 0.4 + 0.1 * number + 0.02 * gain) for name in ("dtd", "food101")]
            rows += results(model, *scores, prompts=prompts)
    rows += results("a", ("rendered_sst2", "zero-shot", 0.9), prompts="contextless")
    sizes = [{"model": OWN, "gflops": 4.41}, {"model": "a", "gflops": 17.6}]
    figure, *others = drawn(rows, tmp_path, model=sizes)["4"]
    found = {(row["model"], row["prompts"]): float(row["score"]) for row in rows_of(figure)}
    assert found == {
        (MINE, "class names"): pytest.approx(42),
        (MINE, "one template"): pytest.approx(44),
        (MINE, "forward selection"): pytest.approx(46),
        ("a", "class names"): pytest.approx(52),
        ("a", "one template"): pytest.approx(54),
        ("a", "forward selection"): pytest.approx(56),
    }
    assert not others and "the mean over 2 sets" in figure.says
    assert "4" not in drawn([row for row in rows if row["prompts"] in ("paper", "single")], tmp_path / "b", model=sizes)


def test_figure_9_is_the_error_over_the_sets_that_all_models_have(tmp_path: Path) -> None:
    rows = results(OWN, ("dtd", "zero-shot", 0.4), ("food101", "zero-shot", 0.6), ("rendered_sst2", "zero-shot", 0.5))
    rows += results("a", ("dtd", "zero-shot", 0.7), ("food101", "zero-shot", 0.8))
    sizes = [{"model": OWN, "gflops": 4.0}, {"model": "a", "gflops": 16.0}, {"model": "none", "gflops": 1.0}]
    (figure,) = drawn(rows, tmp_path, model=sizes)["9"]
    found = {(row["model"], row["set"], float(row["gflops"])): float(row["score"]) for row in rows_of(figure)}
    assert found == {
        (MINE, "DTD", 4.0): 40.0,
        (MINE, "Food101", 4.0): 60.0,
        ("a", "DTD", 16.0): pytest.approx(70),
        ("a", "Food101", 16.0): 80.0,
    }
    assert "error ∝ GFLOPs^-0.500" in figure.svg and "the mean over 2 sets" in figure.says  # 50 % to 25 % by 4 times
    same = [{**row, "gflops": 4.0} for row in sizes]
    assert "9" not in drawn(rows, tmp_path / "same", model=same)
    flawless = [row if row["model"] == OWN else {**row, "value": 1.0} for row in rows]
    assert "9" not in drawn(flawless, tmp_path / "flawless", model=sizes)
