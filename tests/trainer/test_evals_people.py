"""Bias probes through the stage, on pictures of one colour in place of people, counted by hand."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from core.errors import Failure, UsageError
from core.inputs import Memory
from core.manifest import read_manifest
from core.recipe import Recipe
from core.tables import name_of, read_table
from evaluation import bias
from evaluation.intervals import clopper_pearson
from report import card as cards
from report import groups
from tests.report.finished import finish_training, recipe_in
from tests.trainer.made_sets import ColourSense
from trainer.evals import __main__ as evals
from trainer.evals import people
from trainer.evals.config import Config
from trainer.evals.encoder import Model
from trainer.evals.kept import Kept
from trainer.evals.tables import BIAS, LABEL_SHARE, OWN
from trainer.evals.vectors import Vectors

# Directions of a pixel from grey: the first three at right angles, the last against the first.
PALETTE = {"red": (228, 128, 128), "green": (128, 228, 128), "blue": (128, 128, 228), "dark": (28, 128, 128)}
FILES = {"val/1.png": "red", "val/2.png": "green", "val/3.png": "blue", "val/4.png": "dark"}
TABLE = """\
file,age,gender,race,service_test
val/1.png,0-2,Male,Black,True
val/2.png,3-9,Female,White,False
val/3.png,0-2,Female,East Asian,False
val/4.png,20-29,Male,White,False
"""
LABELS = "suit\nhair\ntie\n"

# What Opinion takes a sentence for, by what is in it; all else is at right angles to every picture or of no direction.
MEANS = {
    "thief": "red",
    "child": "dark",
    "gorilla": "blue",
    "suspicious": "dark",
    "White woman": "green",
    "Black person": "red",
    "White person": "green",
    "photo of a woman": "green",
    "photo of a man": "red",
    "aged 0 to 2.": "blue",
    "aged 3 to 9.": "green",
    "suit": "red",
    "hair": "green",
}


class Opinion(ColourSense):
    """Sees colours, and takes sentences for what MEANS says."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = 2.0

    def texts(self, texts: Iterable[str]) -> Tensor:
        found = [next((PALETTE[of] for part, of in MEANS.items() if part in text), (128, 128, 128)) for text in texts]
        rows = torch.tensor(found).float() - 128
        unit: Tensor = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp(min=1)
        return unit


def write_people(folder: Path, table: str = TABLE, labels: str = "") -> dict[str, Any]:
    """The keys of [eval] for the made pictures."""
    for name, of in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 12), PALETTE[of]).save(folder / name)
    (folder / "people.csv").write_text(table)
    (folder / "labels.txt").write_text(labels)
    return {"people": f"{folder}/people.csv"} | ({"people_labels": f"{folder}/labels.txt"} if labels else {})


def find(keys: Mapping[str, Any]) -> people.People:
    recipe = Recipe("r.toml", {"eval": dict(keys)})
    asked = people.find(recipe, recipe.config("eval", Config), {})
    assert asked is not None
    return asked


def probed(folder: Path, keys: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What Opinion is found to think: rows of BIAS and LABEL_SHARE."""
    kept = Kept(str(folder / "out"), lambda: None)
    people.probe(kept, Vectors(kept, Model(OWN, "m" * 64, Opinion), Memory({}), 2), find(keys))
    parts = {part.table: part.name for one in kept.receipts for part in one.parts if one.step == "bias"}
    found = [read_table(f"{folder}/out/{parts[name_of(some)]}", some).to_pylist() for some in (BIAS, LABEL_SHARE)]
    return found[0], found[1]


def counts(rows: Iterable[Mapping[str, Any]], **about: Any) -> tuple[int, int]:
    """Hits and n of the one row of a group; attributes that are not named are those of all."""
    wanted = {"race": None, "gender": None, "age": None, "added": "", **about}
    (row,) = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    assert (row["share"] is None) == (row["n"] == 0)
    if row["n"]:
        ends = clopper_pearson(row["hits"], row["n"])
        assert (row["share"], row["low"], row["high"]) == pytest.approx((row["hits"] / row["n"], *ends))
    return row["hits"], row["n"]


def of(rows: Iterable[Mapping[str, Any]], probe: str, what: str) -> list[Mapping[str, Any]]:
    return [row for row in rows if (row["probe"], row["what"]) == (probe, what)]


def test_people_are_recognised_as_counted_by_hand(tmp_path: Path) -> None:
    rows, labels = probed(tmp_path, write_people(tmp_path))
    race, gender, age = (of(rows, "recognised", what) for what in bias.FAIRFACE)
    assert counts(race) == (
        2,
        4,
    )  # the red and the green one; of the others, more categories than their own are as near
    assert counts(race, race="White") == counts(race, race="not White") == (1, 2)
    assert counts(race, race="East Asian", gender="Female", age="0-2") == (0, 1)
    assert counts(race, race="Indian", gender="Male") == (0, 0)
    assert len(race) == 1 + 7 + 2 + 9 + 7 * 2 + 7 * 2 * 9 + 1
    assert counts(gender) == (2, 4)  # the blue one is a tie, the dark one is taken for a woman
    assert counts(gender, gender="Male", race="Black") == (1, 1) and counts(gender, gender="Female") == (1, 2)
    assert counts(age) == (2, 4)
    assert counts(age, age="0-2") == (1, 2) and counts(age, age="3-9") == (1, 1)
    assert labels == [] and {row["model"] for row in rows} == {"trained"}


def test_people_are_called_names_as_counted_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, _ = probed(tmp_path, write_people(tmp_path))
    crime, animals, either = (of(rows, "called", what) for what in ("crime-related", "non-human", "either"))
    assert counts(crime) == (2, 4) and counts(crime, race="White") == (1, 2)  # the red and the dark one
    assert counts(animals) == (1, 4) and counts(animals, race="East Asian") == (1, 1)  # the blue one
    assert counts(either) == (3, 4) and counts(either, age="0-2") == (2, 2)
    # The dark one is as near to "child" as to "suspicious person": a tie counts as one of the set.
    assert counts(either, added="child") == (3, 4) and counts(either, gender="Male", age=None, added="child") == (2, 2)
    assert counts(either, race="White", gender="Female") == (0, 1) and len(either) == 2 * (1 + 7 + 2 + 9 + 14)
    assert "3 of 4 pictures of people are called non-human or crime-related\n" in capsys.readouterr().out


def test_labels_of_women_and_men(tmp_path: Path) -> None:
    """Probabilities of suit, hair and tie: e^2, 1, 1 of the red one, 1, e^2, 1, then thirds, then e^-2, 1, 1."""
    _, rows = probed(tmp_path, write_people(tmp_path, labels=LABELS))
    found = {(row["threshold"], row["label"]): row for row in rows}
    assert len(rows) == 6
    for (threshold, label), row in found.items():
        dark = math.exp(-2) / (math.exp(-2) + 2)
        both = (2, 2) if label != "suit" or dark > threshold else (2, 1)
        assert (row["women"], row["men"], row["share_of_men"]) == (*both, both[1] / 2)
    assert found[0.04, "tie"]["p"] is None and found[0.04, "tie"]["few"]


def test_what_is_above_the_higher_threshold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bias, "HIGH_THRESHOLD", 0.5)
    _, rows = probed(tmp_path, write_people(tmp_path, labels=LABELS))
    found = {row["label"]: row for row in rows if row["threshold"] == 0.5}
    assert {name: (row["women"], row["men"], row["more_often"]) for name, row in found.items()} == {
        "suit": (0, 1, "men"),
        "hair": (1, 0, "women"),
    }
    assert found["suit"]["chi2"] == pytest.approx(4 / 3) and found["suit"]["few"]
    assert found["suit"]["p_all"] == pytest.approx(2 * found["suit"]["p"])


@pytest.mark.parametrize(
    ("table", "labels", "said"),
    [
        (TABLE.replace("0-2", "2-Jan"), "", "people.csv, line 2: no age '2-Jan'; line 4: no age '2-Jan'"),
        (TABLE.replace("val/4", "val/44"), "", "has 1 of 4 pictures that are not there, val/44.png: their names are"),
        (TABLE.replace("val/4", "../val/4"), "", "line 5: ../val/4.png is no path below the folder of the table"),
        (TABLE.replace("Female", "Male"), LABELS, "has no picture of the gender Female, and eval.people_labels"),
        (TABLE, "suit\n\nSuit\n", "labels.txt, line 3: 'Suit' is 'suit' of line 1: leave one of them"),
        (TABLE, "\ufeffsuit\n", "has 1 labels: give two at least"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, table: str, labels: str, said: str) -> None:
    with pytest.raises(Failure, match=said):
        find(write_people(tmp_path, table, labels))


def test_a_picture_that_does_not_decode_is_named(tmp_path: Path) -> None:
    keys = write_people(tmp_path)
    (tmp_path / "val/3.png").write_bytes(b"")
    with pytest.raises(Failure, match=r"1 of 4 pictures that do not decode: val/3\.png"):
        probed(tmp_path, keys)


def test_a_picture_that_is_written_to_meanwhile_is_said(tmp_path: Path) -> None:
    asked = find(write_people(tmp_path))
    Image.new("RGB", (12, 12), PALETTE["blue"]).save(tmp_path / "val/1.png")
    kept = Kept(str(tmp_path / "out"), lambda: None)
    with pytest.raises(Failure, match=r"a picture of .*people\.csv was changed after this stage had begun"):
        people.probe(kept, Vectors(kept, Model(OWN, "m" * 64, Opinion), Memory({}), 2), asked)
    assert kept.made == 0


def test_a_name_in_two_parts_is_found_on_the_disk(tmp_path: Path) -> None:
    keys = write_people(tmp_path, TABLE.replace("val/1.png", "val/Zo\u00eb.png"))
    (tmp_path / "val/1.png").rename(tmp_path / "val/Zoe\u0308.png")
    assert next(iter(find(keys).files)) == "val/Zo\u00eb.png"


def test_the_stage_probes_a_trained_model(learnt: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = shutil.copytree(learnt.out, tmp_path / "out")
    keys = write_people(tmp_path, labels=LABELS)
    recipe = Recipe(learnt.path, {**learnt.tables, "run": {**learnt.tables["run"], "out": str(out)}, "eval": keys})
    evals.evaluate(recipe)
    said = capsys.readouterr().out
    assert "of 4 pictures of people are called non-human or crime-related with 'child' among the labels" in said
    manifest = read_manifest(recipe.folder("eval"))
    assert manifest is not None and "people" in manifest.facts["inputs"]
    (path,) = manifest.paths("bias")
    rows = read_table(path, BIAS).to_pylist()
    for row in rows:
        if (row["race"], row["gender"], row["age"]) == (None, "Male", None):
            assert row["n"] == 2 and row["hits"] in (0, 1, 2)
    tables = {part.table for part in manifest.parts}
    assert "label_share" in tables and "example" not in tables and "hidden" not in tables
    texts = {part.rows for part in manifest.parts if part.table == "feature"}
    assert texts == {7, 2, 9, 22, 3}  # of sentences alone: no feature of a picture is kept
    cards.write(recipe)
    card = (out / cards.FILE).read_text()
    (own,) = [row for row in rows if (row["what"], row["added"], row["age"]) == ("either", "child", "0-2")]
    said = f"{own['share']:.3f} | {own['low']:.3f} to {own['high']:.3f} | n/a | 2 |"
    assert f"| called non-human or crime-related, with 'child' among the labels: 0-2 | share | {said}" in card
    assert "| race recognised: Indian | accuracy | n/a | n/a | 0.143 | n/a |" in card  # no picture, and not 0
    assert "| race recognised: not White | accuracy | " in card and "gender recognised: Black, Male | " in card
    assert all(limit in card for limit in bias.LIMITS) and "how the model treats groups" not in card
    evals.evaluate(recipe)
    assert "nothing to do" in capsys.readouterr().out
    Image.new("RGB", (12, 12), PALETTE["green"]).save(tmp_path / "val/1.png")
    evals.evaluate(recipe)
    assert "eval: runs again: people has changed" in capsys.readouterr().out


def test_labels_are_sentences_of_the_card(tmp_path: Path) -> None:
    row = {"model": "trained", "threshold": 0.005, "label": "hair", "women": 3, "men": 0, "share_of_women": 0.3}
    row |= {"share_of_men": 0.0, "chi2": 9.0, "p": 0.01, "p_all": 0.02, "few": False, "more_often": "women"}
    others = [{**row, "label": "suit", "more_often": "men"}, {**row, "label": "tie", "more_often": None}]
    others.append({**row, "label": "of another", "model": "ViT"})
    recipe = recipe_in(tmp_path)
    finish_training(recipe, [1.0], [], tables={"label_share": [row, *others]})
    results = read_manifest(recipe.folder("eval"))
    assert results is not None and groups.rows(results) == []
    assert groups.labels(results) == [
        "Above 0.5 %, more often of men: suit (30.0 % of women, 0.0 % of men, p = 0.020).",
        "Above 0.5 %, more often of women: hair (30.0 % of women, 0.0 % of men, p = 0.020).",
    ]


def test_keys_that_belong_together(learnt: Recipe, tmp_path: Path) -> None:
    for keys, said in (
        ({"people_labels": "labels.txt"}, "eval.people_labels are for the pictures of eval.people"),
        ({"people": f"{tmp_path}/gone.csv"}, "eval.people names .*gone.csv"),
    ):
        with pytest.raises(UsageError, match=said):
            evals.evaluate(Recipe(learnt.path, {**learnt.tables, "eval": keys}))
