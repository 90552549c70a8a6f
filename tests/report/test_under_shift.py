"""Under shift: the testbed's fit and the paper's values beside one's own; absent, or warned of, where it should."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation import robustness
from report import under_shift
from report.under_shift import REGISTRY
from tests.report.finished import finish_all, finish_sets, finish_training, of_set, recipe_in
from tests.report.test_render import page_of

BY_NAME = {model.name: model for model in robustness.testbed()}


def rows_of(name: str) -> list[dict[str, object]]:
    """A model of the testbed as results of evaluation sets."""
    model = BY_NAME[name]
    inside = {shift.inside: model.inside[shift.name] for shift in robustness.SHIFTS}
    rows = [of_set("imagenet" if set_ == "val" else set_, "zero-shot", value) for set_, value in inside.items()]
    return rows + [of_set(REGISTRY[shift][0], "zero-shot", value) for shift, value in model.outside.items()]


@pytest.mark.parametrize(("name", "points"), [("vit_b_32_clip_zeroshot", 21.35), ("resnet50_clip_zeroshot", 17.58)])
def test_effective_robustness_is_the_published_one(name: str, points: float) -> None:
    found = under_shift.section(rows_of(name), seed=1)
    assert found is not None and found.robustness is not None and found.figure is not None
    assert len(found.shifts) == 7 and found.models == 213 and not found.weak
    assert round(100 * found.robustness.effective, 2) == points
    assert found.robustness.low < found.robustness.effective < found.robustness.high
    assert name in found.figure.data and "this model" in found.figure.svg


def test_the_paper_s_values_stand_beside_each_shift() -> None:
    found = {one.title: one for one in under_shift.on_shifts(rows_of("vit_b_32_clip_zeroshot"))}
    assert found["ImageNet-A"].clip == pytest.approx(0.772) and found["ImageNet-A"].resnet == pytest.approx(0.027)
    assert found["Youtube-BB"].clip == pytest.approx((0.952 + 0.885) / 2) and found["Youtube-BB"].resnet is None
    assert all(one.clip is not None for one in found.values())


def test_few_examples_of_a_part_of_a_set_claim_nothing() -> None:
    rows = [of_set("imagenet_v2", "zero-shot", 0.5, n=10_000), of_set("imagenet_r", "zero-shot", 0.5, n=400)]
    whole, part = under_shift.on_shifts(rows)
    assert (whole.a_class, whole.few) == (10, False)  # as published
    assert (part.a_class, part.few) == (2, True)
    found = under_shift.section(rows, seed=1)
    assert found is not None and found.robustness is None and found.figure is None  # nothing on ImageNet itself


def test_a_weak_model_is_on_no_line() -> None:
    rows = [of_set("imagenet", "zero-shot", 0.0), of_set("imagenet_v2", "zero-shot", 0.01)]
    found = under_shift.section(rows, seed=1)
    assert found is not None and found.weak and found.robustness is not None
    assert found.robustness.effective == pytest.approx(0.01)


def test_it_is_a_part_of_the_page_where_shifts_were_evaluated(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path)
    finish_all(recipe)
    assert "Under shift" not in page_of(recipe).text
    finish_sets(recipe)
    text = page_of(recipe).text
    for said in [
        "ImageNetV2 56.2 % 54.2 % to 58.2 % 10,000 10.0 63.3 % 70.1 % 64.3 %",
        "ImageNet-R 69.3 % 67.3 % to 71.3 % 400 2.0 n/a 88.9 % 37.7 %",
        "ImageNet-R has 2.0 examples a class, fewer than 20",
        "Effective robustness: the accuracy above that line.",
        "It is missing for: ImageNet-R.",
    ]:
        assert said in text


# ── adapted ───────────────────────────────────────────────────────────────────────────────────────


def adapted_rows() -> list[dict[str, object]]:
    """The same model with a probe on ImageNet, 5 points better there and 1 worse elsewhere, and with own names."""
    rows = rows_of("vit_b_32_clip_zeroshot")
    inside = {"imagenet", *(shift.inside for shift in robustness.SHIFTS)}
    of = {str(row["set"]): float(str(row["value"])) for row in rows}
    for shots, gain in ((None, 0.05), (1, -0.2), (16, 0.02)):
        for name, value in of.items():
            method = ("probe" if shots is None else "few-shot") if name == "imagenet" else "imagenet-probe"
            after = value + (gain if name in inside else -0.01)
            rows.append(of_set(name, method, after, prompts="", shots=shots))
    rows.append(of_set("youtube_bb", "own-names", of["youtube_bb"] + 0.14))
    return rows


def test_figures_14_and_15_are_of_the_rows() -> None:
    found = under_shift.section(adapted_rows(), seed=1)
    assert found is not None and found.figure is not None and found.robustness is not None
    assert round(100 * found.robustness.effective, 2) == 21.35  # the first row of a set is still the zero-shot one
    assert found.ways == ("with own class names", "with a probe on ImageNet")
    to_imagenet, to_classes, continuum = found.adapted
    assert "Mean over 7 shifts: -1.0 points. As figure 14 (right)" in to_imagenet.says
    assert "Mean over 7 shifts: +2.0 points." in to_classes.says
    rows = [line.split(",") for line in to_imagenet.data.splitlines()]
    measured = {row[1]: round(float(row[2]), 6) for row in rows[1:] if row[0] == "this model"}
    assert measured == dict.fromkeys(measured, -1) | {"ImageNet": 5} and len(measured) == 8
    assert {row[1] for row in rows if row[0] == "paper"} == set(measured)
    left = [line.split(",") for line in found.figure.data.splitlines()]
    x, y = found.robustness.inside, found.robustness.outside
    points = {row[0]: (float(row[2]), float(row[3])) for row in left if row[0] in found.ways}
    assert points["with own class names"] == pytest.approx((100 * x, 100 * y + 2))
    assert points["with a probe on ImageNet"] == pytest.approx((100 * x + 5, 100 * y - 1))
    steps = [line.split(",") for line in continuum.data.splitlines() if line.startswith("this model")]
    assert [row[1] for row in steps] == ["0", "1", "16", "all"]
    assert [float(row[2]) for row in steps] == pytest.approx([100 * x, 100 * x - 20, 100 * x + 2, 100 * x + 5])
    assert "Effective robustness in points: 0: +21.3, 1: " in continuum.says


def test_what_was_not_adapted_has_no_figure() -> None:
    found = under_shift.section(rows_of("vit_b_32_clip_zeroshot"), seed=1)
    assert found is not None and found.adapted == [] and found.ways == ()
    rows = [row for row in adapted_rows() if row["shots"] is None and row["set"] != "val-on-imagenet-a-classes"]
    rows = [row for row in rows if not (row["method"] == "imagenet-probe" and row["set"] == "objectnet")]
    found = under_shift.section(rows, seed=1)
    assert found is not None and found.robustness is not None and "imagenet-a" not in found.robustness.shifts
    assert found.ways == ("with own class names",)  # the probe lacks a shift that is compared
    assert len(found.adapted) == 2 and "Mean over 6 shifts" in found.adapted[0].says


def test_the_page_says_what_is_drawn(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path)
    finish_all(recipe)
    finish_training(recipe, [1.0], adapted_rows())
    text = page_of(recipe).text
    for said in [
        "As figures 13 and 14 (left) of the paper: the same model once more with own class names and with a probe on",
        "What a shift's own class names change,",
        "from zero-shot (0) to all. As figure 15 of the paper.",
    ]:
        assert said in text
