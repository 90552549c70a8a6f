"""Under shift: the testbed's fit and the paper's values beside one's own; absent, or warned of, where it should."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.manifest import Manifest, read_manifest
from evaluation import robustness
from report import evals, under_shift
from report.by_set import MINE, OWN
from report.figures.canvas import Figure
from report.models import MODELS
from report.under_shift import Section
from tests.report.finished import finish_all, finish_sets, finish_training, of_set, recipe_in
from tests.report.test_render import page_of

BY_NAME = {model.name: model for model in robustness.testbed()}
B_32, RN50 = "vit_b_32_clip_zeroshot", "resnet50_clip_zeroshot"


def rows_of(name: str, model: str = OWN) -> list[dict[str, object]]:
    """A model of the testbed as results of evaluation sets, as those of `model`."""
    known = BY_NAME[name]
    inside = {shift.inside: known.inside[shift.name] for shift in robustness.SHIFTS}
    of = {"imagenet" if set_ == "val" else set_: value for set_, value in inside.items()}
    of |= {shift.registered: known.outside[shift.name] for shift in robustness.SHIFTS}
    return [of_set(set_, "zero-shot", value, model=model) for set_, value in of.items()]


def found_in(rows: Sequence[dict[str, object]], results: Manifest | None = None) -> Section:
    found = under_shift.section(results, rows, seed=1)
    assert found is not None
    return found


@pytest.mark.parametrize(("name", "points"), [(B_32, 21.35), (RN50, 17.58)])
def test_effective_robustness_is_the_published_one(name: str, points: float) -> None:
    found = found_in(rows_of(name))
    (one,) = found.robustness
    assert len(found.shifts) == 7 and found.fitted == 213 and not found.weak and found.figure is not None
    assert round(100 * one.effective, 2) == points and one.low < one.effective < one.high
    assert name in found.figure.data and MINE in found.figure.svg


def test_every_model_of_the_results_is_there() -> None:
    names = [OWN, *(f"model {i}" for i in range(MODELS))]
    rows = [row for i, name in enumerate(names) for row in rows_of((B_32, RN50)[i % 2], name)]
    found = found_in([*rows, of_set("imagenet", "zero-shot", 0.9, model="on no shift")])
    assert found.models == [MINE, *names[1:MODELS]] and found.left_out == 1
    assert [one.name for one in found.robustness] == list(found.models)
    assert [round(100 * one.effective, 2) for one in found.robustness] == [21.35, 17.58] * (MODELS // 2)
    assert all([score.model for score in one.scores] == found.models for one in found.shifts)
    assert found.shifts[0].scores[1].row["value"] == BY_NAME[RN50].outside["imagenetv2"]
    assert found.figure is not None
    drawn = [row["model"] for row in csv.DictReader(io.StringIO(found.figure.data)) if row["group"] == "zero-shot"]
    assert drawn == found.models


def test_models_are_compared_over_the_shifts_that_all_have() -> None:
    fewer = [row for row in rows_of(RN50, "a") if row["set"] not in ("objectnet", "val-on-imagenet-a-classes")]
    found = found_in([*rows_of(B_32), *fewer])
    assert found.uncompared == ["ObjectNet", "ImageNet-A"]
    assert all(len(one.shifts) == 5 for one in found.robustness) and len(found.robustness) == 2
    by_title = {one.title: one.scores for one in found.shifts}
    assert [score.model for score in by_title["ObjectNet"]] == [MINE]
    assert [score.inside is None for score in by_title["ImageNet-A"]] == [False, True]


def test_the_paper_s_values_stand_beside_each_shift() -> None:
    found = {one.title: one for one in found_in(rows_of(B_32)).shifts}
    assert found["ImageNet-A"].clip == pytest.approx(0.772) and found["ImageNet-A"].resnet == pytest.approx(0.027)
    assert found["Youtube-BB"].clip == pytest.approx((0.952 + 0.885) / 2) and found["Youtube-BB"].resnet is None
    assert all(one.clip is not None for one in found.values())


def test_few_examples_of_a_part_of_a_set_claim_nothing() -> None:
    rows = [of_set("imagenet_v2", "zero-shot", 0.5, n=10_000), of_set("imagenet_r", "zero-shot", 0.5, n=400)]
    found = found_in(rows)
    whole, part = found.shifts
    assert (whole.a_class, whole.few) == (10, False)  # as published
    assert (part.a_class, part.few) == (2, True)
    assert found.robustness == [] and found.figure is None  # nothing on ImageNet itself
    assert found.uncompared == ["ImageNetV2", "ImageNet-R"]


def test_a_shift_without_some_of_its_classes_is_not_compared() -> None:
    """One of 100 is chosen there, and one of 200 among ImageNet's pictures: not the same classes."""
    rows = [{**row, "chance": 1 / 200} for row in adapted_rows()]
    assert len(found_in(rows).robustness[0].shifts) == 7
    part = [{**row, "chance": 1 / 100, "n": 15_000} if row["set"] == "imagenet_r" else row for row in rows]
    found = found_in(part)
    assert found.uncompared == ["ImageNet-R"] and "imagenet-r" not in found.robustness[0].shifts
    (of_r,) = (one for one in found.shifts if one.title == "ImageNet-R")
    assert of_r.scores[0].inside is None and not of_r.few and not of_r.whole


def test_a_weak_model_is_on_no_line() -> None:
    rows = [of_set("imagenet", "zero-shot", 0.0), of_set("imagenet_v2", "zero-shot", 0.01)]
    found = found_in(rows)
    assert found.weak == [MINE] and found.robustness[0].effective == pytest.approx(0.01)


def test_it_is_a_part_of_the_page_where_shifts_were_evaluated(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path)
    finish_all(recipe)
    assert "Under shift" not in page_of(recipe).text
    finish_sets(recipe)
    text = page_of(recipe).text
    for said in [
        "ImageNetV2 56.2 % 54.2 % to 58.2 % 63.3 % 10,000 10.0 70.1 % 64.3 %",
        "ImageNet-R 69.3 % 67.3 % to 71.3 % n/a 400 2.0 88.9 % 37.7 %",
        "ImageNet-R has 2.0 examples a class, fewer than 20",
        "From the paper: zero-shot CLIP as in table 16,",
        "this model 63.3 % 56.2 % 1.2 ",  # 0.438 / 0.367 mistakes
        "Effective robustness is the accuracy above that line;",
        "It is missing for: ImageNet-R.",
    ]:
        assert said in text


# ── over examples ─────────────────────────────────────────────────────────────────────────────────


def examples_of(name: str, right: Sequence[int], model: str, **more: object) -> list[dict[str, Any]]:
    """Rows of the table example, right where `right` is 1."""
    about = {"set": name, "method": "zero-shot", "prompts": "paper", "model": model, **more}
    shown = {"label": ["a"], "predicted": ["a"], "scores": [0.5]}
    return [{**about, **shown, "id": f"{i}.jpg", "rank": 2 - hit} for i, hit in enumerate(right)]


def finished(tmp_path: Path, clips: int, sets: Mapping[str, Mapping[str, Sequence[int]]]) -> tuple[Manifest, list[Any]]:
    """An evaluation of some models: set → right or not of each example; videos with a wrong neighbour every other."""
    recipe, rows, examples, frames = recipe_in(tmp_path), [], [], []
    for model, of in sets.items():
        for name, right in of.items():
            rows.append(of_set(name, "zero-shot", float(np.mean(right)), model=model, n=len(right)))
            examples += examples_of(name, right, model)
            examples += examples_of(name, [1] * len(right), model, prompts="single")
        about = {"set": "imagenet_vid", "method": "zero-shot", "prompts": "paper", "model": model}
        for i in range(clips):
            anchor = {"anchor": f"{i}.jpg", "frame": f"{i}.jpg", "right": True}
            frames += [{**about, **anchor}, {**about, **anchor, "frame": f"{i}-next.jpg", "right": i % 2 == 0}]
        examples += examples_of("imagenet_vid", [1] * clips, model)
        rows.append(of_set("imagenet_vid", "zero-shot", 0.75, model=model, n=clips))
    finish_training(recipe, [1.0], rows, tables={"example": examples, "frame": frames})
    results = read_manifest(recipe.folder("eval"))
    assert results is not None
    return results, rows


def test_a_part_of_a_set_is_said_to_be_one(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path)
    finish_all(recipe)
    finish_training(recipe, [1.0], [{**row, "n": 30_000} for row in rows_of(B_32)])
    text = page_of(recipe).text
    assert "ImageNet Sketch has 30,000 of its 50,889 examples here. If they lack classes" in text
    assert text.count("examples here. If they lack classes") == 1


def test_intervals_are_over_the_examples_of_both_sides(tmp_path: Path) -> None:
    """Forty examples a set: by the delta method, and the frames of a video are one example, half right or right."""
    right = [1] * 28 + [0] * 12
    sets = {"imagenet": right, "val-on-vid-robust-classes": right, "imagenet_v2": [1] * 20 + [0] * 20}
    results, rows = finished(tmp_path, 40, {OWN: sets, "a": {**sets, "imagenet_v2": [1, 0] * 20}})
    asked = {(OWN, "imagenet_vid", "paper"), (OWN, "imagenet_v2", "paper"), ("b", "imagenet", "paper")}
    found = evals.outcomes(results, asked)
    assert found.keys() == asked - {("b", "imagenet", "paper")}
    of_clips = found[OWN, "imagenet_vid", "paper"]
    assert sorted(of_clips.values.tolist()) == [0.5] * 20 + [1.0] * 20
    assert dict(zip(of_clips.ids, of_clips.values, strict=True))["1.jpg"] == 0.5
    one, other = found_in(rows, results).robustness
    outside = (0.5 * 0.5 / 40 + 0.25**2 / 40) / 4  # the variance of the mean over both shifts
    line = robustness.fit(robustness.points(robustness.baselines(robustness.testbed(), one.shifts), one.shifts))
    steepness = line.slope * one.predicted * (1 - one.predicted) / (0.7 * 0.3)
    deviation = (outside + steepness**2 * 0.7 * 0.3 / 40) ** 0.5
    assert one.over_examples and other.over_examples and one.effective == pytest.approx(other.effective)
    assert one.high - one.low == pytest.approx(2 * 1.96 * deviation, rel=0.1)


def test_sets_too_small_for_an_interval_have_none(tmp_path: Path) -> None:
    results, rows = finished(tmp_path, 19, {OWN: {"val-on-vid-robust-classes": [1] * 21 + [0] * 9}})
    (one,) = found_in(rows, results).robustness
    assert one.shifts == ("imagenet-vid-robust",) and not one.over_examples


# ── adapted ───────────────────────────────────────────────────────────────────────────────────────


def adapted_rows(model: str = OWN) -> list[dict[str, object]]:
    """The same model with a probe on ImageNet, 5 points better there and 1 worse elsewhere, and with own names."""
    rows = rows_of(B_32, model)
    inside = {"imagenet", *(shift.inside for shift in robustness.SHIFTS)}
    of = {str(row["set"]): float(str(row["value"])) for row in rows}
    for shots, gain in ((None, 0.05), (1, -0.2), (16, 0.02)):
        for name, value in of.items():
            method = ("probe" if shots is None else "few-shot") if name == "imagenet" else "imagenet-probe"
            after = value + (gain if name in inside else -0.01)
            rows.append(of_set(name, method, after, prompts="", shots=shots, model=model))
    rows.append(of_set("youtube_bb", "own-names", of["youtube_bb"] + 0.14, model=model))
    return rows


def test_figures_14_and_15_are_of_the_rows() -> None:
    found = found_in(adapted_rows())
    assert found.figure is not None
    assert round(100 * found.robustness[0].effective, 2) == 21.35  # the first row of a set is still the zero-shot one
    assert found.ways == ["with own class names", "with a probe on ImageNet"]
    to_imagenet, to_classes, continuum = found.adapted
    assert "Mean over 7 shifts: -1.0 points. As figure 14 (right)" in to_imagenet.says
    assert "Mean over 7 shifts: +2.0 points." in to_classes.says
    rows = [line.split(",") for line in to_imagenet.data.splitlines()]
    measured = {row[1]: round(float(row[2]), 6) for row in rows[1:] if row[0] == MINE}
    assert measured == dict.fromkeys(measured, -1) | {"ImageNet": 5} and len(measured) == 8
    assert {row[1] for row in rows if row[0] == "paper"} == set(measured)
    left = [line.split(",") for line in found.figure.data.splitlines()]
    x, y = found.robustness[0].inside, found.robustness[0].outside
    points = {row[0]: (float(row[2]), float(row[3])) for row in left if row[0] in found.ways}
    assert points["with own class names"] == pytest.approx((100 * x, 100 * y + 2))
    assert points["with a probe on ImageNet"] == pytest.approx((100 * x + 5, 100 * y - 1))
    steps = [line.split(",") for line in continuum.data.splitlines() if line.startswith(MINE)]
    assert [row[1] for row in steps] == ["0", "1", "16", "all"]
    assert [float(row[2]) for row in steps] == pytest.approx([100 * x, 100 * x - 20, 100 * x + 2, 100 * x + 5])
    assert "Effective robustness in points: 0 +21.3, 1 +" in continuum.says


def test_figures_14_and_15_have_every_model() -> None:
    names = [OWN, "a", "b", "c"]
    found = found_in([row for name in names for row in adapted_rows(name)] + rows_of(RN50, "not adapted"))
    titles = [MINE, "a", "b", "c"]
    figures: dict[str, list[Figure]] = {}
    for figure in found.adapted:
        figures.setdefault(figure.says[:6], []).append(figure)
    to_imagenet, to_classes, (continuum,) = figures["What a"][:2], figures["What a"][2:], figures["Probes"]
    for some in (to_imagenet, to_classes):
        series = [{row["series"] for row in csv.DictReader(io.StringIO(one.data))} for one in some]
        assert series == [{*titles[:2], "paper"}, {*titles[2:], "paper"}]
    assert "Mean of this model over 7 shifts: -1.0 points. Mean of a over 7 shifts: -1.0 points." in to_imagenet[0].says
    rows = list(csv.DictReader(io.StringIO(continuum.data)))
    assert [row["group"] for row in rows if row["model"] == "16"] == titles
    assert "this model: 0 +21.3, 1 +" in continuum.says and "; c: 0 +21.3" in continuum.says
    assert found.figure is not None
    ways = [row["model"] for row in csv.DictReader(io.StringIO(found.figure.data)) if row["group"] in found.ways]
    assert ways == titles * 2
    assert len({figure.svg.split('id="')[1] for figure in found.adapted}) == 5  # ids of their own


def test_what_was_not_adapted_has_no_figure() -> None:
    found = found_in(rows_of(B_32))
    assert found.adapted == [] and found.ways == []
    rows = [row for row in adapted_rows() if row["shots"] is None and row["set"] != "val-on-imagenet-a-classes"]
    rows = [row for row in rows if not (row["method"] == "imagenet-probe" and row["set"] == "objectnet")]
    found = found_in(rows)
    assert "imagenet-a" not in found.robustness[0].shifts
    assert found.ways == ["with own class names"]  # the probe lacks a shift that is compared
    assert len(found.adapted) == 2 and "Mean over 6 shifts" in found.adapted[0].says


def test_the_page_says_what_is_drawn(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path)
    finish_all(recipe)
    finish_training(recipe, [1.0], adapted_rows())
    text = page_of(recipe).text
    for said in [
        "Thin lines lead to the same model with own class names and with a probe on ImageNet. As figures 13 and 14 "
        "(left) of the paper, which prints no values of their points.",
        "What a shift's own class names change,",
        "from zero-shot (0) to all. As figure 15 of the paper, which prints no values.",
        "All results of this model ·",  # folded away, for they are many
    ]:
        assert said in text
