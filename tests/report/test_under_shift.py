"""Under shift: the testbed's fit and the paper's values beside one's own; absent, or warned of, where it should."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation import robustness
from report import under_shift
from report.under_shift import REGISTRY
from tests.report.finished import finish_all, finish_sets, of_set, recipe_in
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
