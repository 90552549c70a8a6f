"""What leaked: accuracies with and without the leaked pictures, against a calculation by hand; what is n/a is not 0."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.manifest import read_manifest
from core.recipe import Recipe
from dedup import overlap as overlaps
from dedup.overlap import EvalSet, Hashed
from report import leaked
from report.leaked import SetLeaks
from report.thumbnails import Chunks
from tests.report.finished import (
    PICTURES,
    RESULTS,
    SCRIPT,
    finish,
    finish_all,
    finish_overlap,
    finish_training,
    named,
    picture,
    recipe_in,
)
from tests.report.test_render import page_of

# 40 pictures of two classes; of the 10 that leaked 9 are classified right, of the others 15 of 30.
EXAMPLES = [
    named(f"{i:02}.png", "dog" if i % 2 else "cat", "dog" if (i < 9 or i >= 25) == (i % 2) else "cat")
    for i in range(40)
]
LEAKED = [{"key": f"{i:02}.png"} for i in range(10)]


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """Everything has run, and overlap was not asked yet."""
    recipe = recipe_in(tmp_path)
    finish_all(recipe)
    finish_training(recipe, [1.0], RESULTS, examples=EXAMPLES)
    return recipe


def sets_of(recipe: Recipe) -> dict[str, SetLeaks]:
    dedup = read_manifest(recipe.folder("dedup"))
    assert dedup is not None
    found = leaked.read(recipe, dedup)
    assert found is not None
    return {one.name: one for one in leaked.by_set(found, read_manifest(recipe.folder("eval")))}


def at_least(hits: int, n: int, p: float) -> float:
    return sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(hits, n + 1))


def test_the_numbers_are_those_of_a_calculation_by_hand(recipe: Recipe) -> None:
    finish_overlap(recipe, [*LEAKED, {"key": "11.png", "leak": False}, {"key": "12.png", "packed": False}])
    one = sets_of(recipe)["a"]
    assert one.numbers is not None and (one.asked, one.found, one.without_result) == (40, 10, 0)
    assert (one.numbers["all"], one.numbers["clean"], one.numbers["accuracy_overlap"]) == (24 / 40, 15 / 30, 9 / 10)
    assert one.numbers["all_minus_clean"] == pytest.approx(0.1, abs=1e-12)
    assert one.numbers["p"] == pytest.approx(11 / 1024, abs=1e-12) == one.numbers["bonferroni"]
    low = 0.5 + one.numbers["low"]  # Clopper-Pearson: 9 or more of 10 are as rare as 0.25 % at its lower end
    assert at_least(9, 10, low) == pytest.approx(0.0025, abs=1e-9)
    assert 1 - at_least(10, 10, 0.5 + one.numbers["high"]) == pytest.approx(0.0025, abs=1e-9)
    assert one.leak.overlap == 25 and one.leak.change == pytest.approx(10) and one.leak.difference == pytest.approx(40)


def test_each_number_has_a_sentence(recipe: Recipe) -> None:
    finish_overlap(recipe, LEAKED)
    text = page_of(recipe).text
    for said in [
        "10 of 40 evaluation pictures are in the dataset",
        "Nobody has judged the candidates: those count that differ in at most 4 of 64 and 40 of 256 bits",
        "it finds no more than 69 % of copies cropped by 5 % of their area, 16 % by 10 %, and 16 % of those turned by "
        "3 degrees.",
        "60.0 % All: the model is right about this share of all 40 evaluated pictures.",
        "50.0 % Clean: the same of the 30 that are not in the dataset.",
        "90.0 % Overlap: the same of the 10 that are (25.0 % of the set).",
        "+10.00 points All − Clean",
        "+40.00 points Overlap − Clean: how much better the leaked pictures are. The 99.5 % interval is -8.",
        "it holds 0, so there may be no difference",
        "p 0.011 is the chance of as many right answers",
        "is the same corrected for 1 tested set by Bonferroni; 0.011 by Holm; 0.011 by Benjamini and Hochberg",
        "is the smallest Overlap − Clean that the test would find four times in five",
        "Overlap − Clean within classes, over 2 classes with both kinds",
        "paper, RN50x64",
        "a,25.0,10.0",  # the figure's data
    ]:
        assert re.sub(r"\s+", " ", said) in text


def test_without_an_overlap_a_difference_is_not_available_and_never_0(recipe: Recipe) -> None:
    finish_overlap(recipe, [{"key": "00.png", "leak": False}])
    text = page_of(recipe).text
    assert "n/a All − Clean" in text and "there is nothing to measure" in text
    assert "+0.00" not in text and "Overlap − Clean" not in text
    assert "paper, RN50x64" not in text  # nothing to draw


def test_a_review_says_who_set_the_threshold(recipe: Recipe) -> None:
    rows: list[dict[str, Any]] = [
        {"key": "00.png", "verdict": "same"},
        {"key": "01.png", "verdict": "different", "leak": False},
    ]
    finish_overlap(recipe, rows, {"a": {"reviewer": f"R. {SCRIPT}", "threshold": 52}})
    page = page_of(recipe)
    assert f"R. {SCRIPT} judged 2 pairs by eye; of the others those count that differ in at most 52 of 256" in page.text
    assert "12 of 256, judged by eye" in page.text
    assert "Within 50 bits are 98 % of copies cropped by 5 % of their area" in page.text


def test_sets_are_tested_together_and_those_without_results_say_so(recipe: Recipe) -> None:
    two = [{**row, "eval_set": name} for name in ("a", "b", f"c{SCRIPT}") for row in LEAKED]
    other = {"pictures": "of another tar"}
    finish_overlap(recipe, two, {"a": {}, "b": {}, f"c{SCRIPT}": other, "d": other})
    sets = sets_of(recipe)
    assert [one.numbers is None for one in sets.values()] == [False, False, True, True]
    assert sets["a"].numbers and sets["a"].numbers["bonferroni"] == pytest.approx(22 / 1024, abs=1e-12)
    assert sets["d"].found == 0 and sets["d"].leak.change is None
    page = page_of(recipe)
    assert "30 of 160 evaluation pictures" in page.text
    assert f"c{SCRIPT} 40 10 n/a n/a n/a n/a" in page.text
    assert "eval has no results of these pictures" in page.text


def test_sets_of_the_recipe_are_joined_by_name_or_not_at_all(recipe: Recipe) -> None:
    examples = [
        {"model": "trained", "set": "dtd", "method": method, "prompts": prompts, "id": f"{i:02}.png"}
        | {"label": ["banded"], "rank": rank}
        for method, prompts, ranks in (("zero-shot", "contextless", [1, 1]), ("zero-shot", "paper", [1, 2]))
        for i, rank in enumerate(5 * ranks)
    ]
    examples += [{**row, "method": "probe", "prompts": "", "rank": 1} for row in examples[:10]]
    ranks = dict.fromkeys(("00.png", "03.png", "05.png"), 1)
    examples += [{**row, "model": f"b{SCRIPT}", "rank": ranks.get(str(row["id"]), 2)} for row in examples[10:20]]
    examples += [{**row, "model": "of others"} for row in examples[10:15]]
    finish_training(recipe, [1.0], RESULTS, tables={"example": examples})
    rows = [{"eval_set": "dtd", "key": key} for key in ("00.png", "02.png")]
    sets = {"dtd": {"pictures": "of a folder"}}
    finish_overlap(recipe, rows, sets)
    one = sets_of(recipe)["dtd"]
    assert one.numbers is not None and one.within is not None
    assert (one.numbers["all"], one.numbers["accuracy_overlap"], one.numbers["clean"]) == (0.5, 1.0, 3 / 8)
    assert one.within.difference == pytest.approx(5 / 8)
    ((name, other),) = one.others.items()
    assert name == f"b{SCRIPT}"
    assert (other.accuracy_all, other.accuracy_clean, other.accuracy_overlap) == (3 / 10, 2 / 8, 1 / 2)
    assert f"b{SCRIPT} 30.0 % 25.0 % 50.0 % +5.00 points" in page_of(recipe).text
    finish_overlap(recipe, [*rows, {"eval_set": "dtd", "key": "test/04.png"}], sets)
    one = sets_of(recipe)["dtd"]
    assert one.numbers is None
    assert one.why.startswith("Pictures that leaked were not evaluated under that name: 1, test/04.png for one")
    long = "test/" + "a long name " * 20
    finish_overlap(recipe, [{"eval_set": "dtd", "key": long}], sets)
    assert "that eval reads, under the same names." in page_of(recipe).text, "the remedy is not cut off"
    finish_overlap(
        recipe, [], {"dtd": {"pictures": "of the train split", "known_by": {"train/04.png": "", "train/05.png": ""}}}
    )
    one = sets_of(recipe)["dtd"]
    assert one.numbers is None, "nothing of the train split leaked: that says nothing of the test split"
    assert one.why.startswith("The pictures that were asked about were not evaluated under those names, train/04.png")


def test_the_pictures_of_the_recipe_s_sets_are_shown(recipe: Recipe, tmp_path: Path) -> None:
    """Beside the images that they leaked into, else nobody sees whether they are the same."""
    (tmp_path / "mine" / "cats").mkdir(parents=True)
    (tmp_path / "mine" / "cats" / "1.jpg").write_bytes(picture((9, 90, 160)))
    finish_overlap(
        recipe,
        [{"eval_set": name, "key": "cats/1.jpg"} for name in ("mine", "of others")],
        {name: {"pictures": "of a folder"} for name in ("mine", "of others")},
    )
    asked = replace(recipe, tables={**recipe.tables, "eval": {"sets": [str(tmp_path / "mine")]}})
    dedup, fetch = (read_manifest(recipe.folder(stage)) for stage in ("dedup", "fetch"))
    assert dedup is not None and fetch is not None
    found = leaked.section(asked, dedup, Chunks(fetch, fetch.of("chunk")), None, None, 1)
    assert found is not None
    assert {row["eval_set"]: row["picture"] is not None for row in found.shown} == {"mine": True, "of others": False}


def test_pictures_without_a_label_take_no_part(recipe: Recipe) -> None:
    finish_overlap(recipe, [*LEAKED, {"key": "unlabelled.png"}])
    one = sets_of(recipe)["a"]
    assert one.numbers is not None and (one.found, one.numbers["overlap"], one.without_result) == (11, 10, 1)
    assert "1 leaked picture was not evaluated" in page_of(recipe).text


def test_a_set_of_which_all_leaked_has_nothing_to_compare_with(recipe: Recipe) -> None:
    finish_overlap(recipe, [{"key": row["key"]} for row in EXAMPLES])
    assert sets_of(recipe)["a"].numbers is None
    assert "there is no clean part to compare with" in page_of(recipe).text


def test_nothing_is_said_of_what_nobody_evaluated(recipe: Recipe) -> None:
    (Path(recipe.folder("eval")) / "_manifest.json").unlink()
    finish_overlap(recipe, [{**row, "packed": None} for row in LEAKED])
    text = page_of(recipe).text
    assert "(nothing is packed yet: in what was fetched)" in text and "eval has no results of these pictures" in text


def test_leaks_of_another_pack_are_pointed_out(recipe: Recipe) -> None:
    finish_overlap(recipe, LEAKED)
    assert "packed again since openwit overlap was run" not in page_of(recipe).text
    finish_overlap(recipe, LEAKED, pack="of another")
    assert "packed again since openwit overlap was run: run it again before you read" in page_of(recipe).text


def test_what_was_not_compared_is_not_said_to_be_clean(recipe: Recipe) -> None:
    finish_overlap(recipe, LEAKED, {"a": {"flat": 3}})
    text = page_of(recipe).text
    assert "3 pictures are too flat for a hash, and were not compared" in text
    assert "the same of the 30 that are not in the dataset, or too flat to tell." in text


def test_what_was_not_asked_about_is_not_taken_for_clean(recipe: Recipe) -> None:
    finish_overlap(recipe, LEAKED, {"a": {"asked": 30}})
    one = sets_of(recipe)["a"]
    assert one.numbers is None
    assert one.why.startswith("Only 30 pictures were asked about, and 40 evaluated")


def test_results_of_another_pack_are_pointed_out(recipe: Recipe) -> None:
    finish_overlap(recipe, LEAKED)
    assert "was not trained on the pack that is there now" not in page_of(recipe).text
    finish(recipe, "eval", files={"pictures": PICTURES}, inputs=["train"])
    finish(recipe, "train", lambda attempt: attempt.note("again"))
    assert "was not trained on the pack that is there now" in page_of(recipe).text


def test_pictures_of_which_some_were_not_asked_about_are_not_taken_for_clean(recipe: Recipe) -> None:
    """As many were asked about as were evaluated, and under other names: of a third nothing is known."""
    about = {"model": "trained", "set": "dtd", "method": "zero-shot", "prompts": "paper", "label": ["banded"]}
    examples = [{**about, "id": f"{i:03}.png", "rank": 1 + i % 2} for i in range(300)]
    finish_training(recipe, [1.0], RESULTS, tables={"example": examples})

    def why(asked: list[str]) -> str:
        prints = {name: np.zeros((len(asked), *shape), np.uint8) for name, shape in (("flags", ()), ("ph256", (32,)))}
        said = overlaps._about(Hashed(EvalSet("dtd", ""), "of a folder", asked, asked, prints, 0), None, 20)
        finish_overlap(recipe, [{"eval_set": "dtd", "key": "000.png"}], {"dtd": said})
        return sets_of(recipe)["dtd"].why

    names = [f"{i:03}.png" for i in range(300)]
    assert why(names) == why([*names, *(f"train/{i}.png" for i in range(900))]) == ""
    for others in (names[:200] + [f"new/{i}.png" for i in range(100)], names[:20]):
        assert re.search(r"not known to be clean: ask openwit overlap", why(others))
    assert "Not all pictures that were evaluated were asked about" in why([*names[:200], *map(str, range(100))])


def test_other_pictures_of_the_same_names_are_not_taken_for_those_that_were_asked_about(recipe: Recipe) -> None:
    """Two splits of a Parquet data set number their rows alike."""
    about = {"model": "trained", "set": "dtd", "method": "zero-shot", "prompts": "paper", "label": ["banded"]}
    ids = [f"{i:02}" for i in range(20)]
    examples = [{**about, "id": id_, "rank": 1 + i % 2} for i, id_ in enumerate(ids)]
    read = [
        {"set": "dtd", "split": split, "id": id_, "digest": f"{split} {id_}"}
        for split in ("train", "test")
        for id_ in ids
    ]
    finish_training(recipe, [1.0], RESULTS, tables={"example": examples, "read": read})

    def why(split: str, leaked: str = "00") -> str:
        known = {id_: f"{split} {id_}" for id_ in ids if split}
        said = {"pictures": "of a table", "known_by": known, "asked": 20}
        finish_overlap(recipe, [{"eval_set": "dtd", "key": key} for key in ("00", leaked)], {"dtd": said})
        return sets_of(recipe)["dtd"].why

    assert why("test") == ""
    assert why("test", "of no class of ImageNet") == "" and sets_of(recipe)["dtd"].without_result == 1
    assert "were not evaluated under that name" in why("", "of no class of ImageNet")
    assert why("train").startswith("Other pictures were evaluated under the names of those that were asked about, 00 ")
