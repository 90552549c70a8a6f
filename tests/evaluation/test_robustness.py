"""Effective robustness, against the published figures of the testbed (clip_paper.md section 9)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UsageError
from evaluation import bootstrap, robustness
from evaluation.robustness import NAMES, Examples, Model

TESTBED = robustness.testbed()
BY_NAME = {model.name: model for model in TESTBED}
LINE = robustness.fit(robustness.points(robustness.baselines(TESTBED)))


def test_the_fit_of_the_testbed() -> None:
    assert (round(LINE.slope, 3), round(LINE.intercept, 3), round(LINE.r2, 3), LINE.n) == (0.832, -1.947, 0.876, 213)


@pytest.mark.parametrize(
    ("name", "inside", "outside", "effective"),
    [
        ("vit_b_32_clip_zeroshot", 81.31, 54.00, 21.35),
        ("resnet50_clip_zeroshot", 78.94, 47.56, 17.58),
        ("resnet101", 88.33, 41.52, -1.94),
        ("efficientnet-l2-noisystudent", 95.05, 72.35, None),
    ],
)
def test_models_of_the_testbed(name: str, inside: float, outside: float, effective: float | None) -> None:
    found = robustness.means(BY_NAME[name])
    assert [round(100 * value, 2) for value in found] == [inside, outside]
    if effective is not None:
        assert round(100 * robustness.effective(LINE, *found), 2) == effective


def test_resnet_101_makes_five_times_as_many_mistakes() -> None:
    assert round(robustness.error_ratio(*robustness.means(BY_NAME["resnet101"])), 2) == 5.01


def test_which_models_are_left_out() -> None:
    why = [robustness.left_out(model) for model in TESTBED]
    assert {reason: why.count(reason) for reason in set(why)} == {
        None: 213,
        "not evaluated on all of these shifts": 9,
        "trained as CLIP": 2,
        "a checkpoint within a training": 110,
        "at most 40 per cent on ImageNet": 4,
    }
    assert robustness.left_out(BY_NAME["resnet50"], ["imagenet-a"]) == "an accuracy of 0 or 1"


def test_a_model_is_compared_over_its_own_shifts() -> None:
    model = BY_NAME["vit_b_32_clip_zeroshot"]
    two = ["imagenetv2", "imagenet-r"]
    part = Model("mine", {name: model.inside[name] for name in two}, {name: model.outside[name] for name in two})
    found = robustness.measure(part, TESTBED, two, draws=50)
    line = robustness.fit(robustness.points(robustness.baselines(TESTBED, two), two))
    assert found.inside == pytest.approx((0.63302001953125 + 0.8809999847412) / 2)
    assert found.predicted == pytest.approx(line.predict(found.inside))
    assert found.effective == pytest.approx(found.outside - found.predicted)
    with pytest.raises(UsageError, match="mine has no accuracies on imagenet-sketch, ytbb-robust"):
        robustness.measure(part, TESTBED)
    with pytest.raises(UsageError, match="imagenet-v2 is none of the shifts: imagenetv2, imagenet-sketch"):
        robustness.measure(part, TESTBED, ["imagenet-v2"])


def test_the_interval_over_models_holds_the_published_figure() -> None:
    found = robustness.measure(BY_NAME["vit_b_32_clip_zeroshot"], TESTBED, draws=200)
    assert found.low < 0.21347 < found.high
    assert found.high - found.low < 0.02 and not found.over_examples
    assert found == robustness.measure(BY_NAME["vit_b_32_clip_zeroshot"], TESTBED[::-1], draws=200)


def of_share(right: int, n: int, name: str) -> Examples:
    return Examples([f"{name}/{number}.jpg" for number in range(n)], np.arange(n) < right)


def test_examples_widen_the_interval() -> None:
    inside = {name: of_share(160, 200, "val") for name in NAMES}
    outside = {name: of_share(108, 200, name) for name in NAMES}
    model = Model("mine", dict.fromkeys(NAMES, 0.8), dict.fromkeys(NAMES, 0.54))
    narrow = robustness.measure(model, TESTBED, draws=200)
    wide = robustness.measure(model, TESTBED, draws=200, examples=(inside, outside))
    assert wide.over_examples and wide.effective == narrow.effective
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_the_same_pictures_share_their_weights() -> None:
    """Seven subsets that are one and the same have the spread of one, not of an average over seven."""
    same, other = of_share(160, 200, "val"), [of_share(160, 200, f"set{number}") for number in range(7)]
    of_one, of_seven, of_others = (
        np.std(robustness._means_drawn(sets, 0, 200))
        for sets in ([("a", same)], [("a", same)] * 7, [(f"{n}", one) for n, one in enumerate(other)])
    )
    assert of_seven == pytest.approx(of_one) and of_one == pytest.approx((0.8 * 0.2 / 200) ** 0.5, rel=0.2)
    assert of_others == pytest.approx(of_one / 7**0.5, rel=0.25)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Examples(["a"] * 30, np.full(30, 0.5)), "no id twice"),
        (of_share(5, 10, "few"), "10 ids and 10 results; an interval takes"),
        (of_share(20, 30, "other"), "the mean of the examples is 0.6667, and the accuracy is 0.5000"),
    ],
)
def test_examples_that_are_not_the_models(given: Examples, message: str) -> None:
    model = Model("mine", {"imagenetv2": 0.5}, {"imagenetv2": 0.5})
    right = {"imagenetv2": of_share(20, 40, "right")}
    with pytest.raises(UsageError, match=message):
        robustness.measure(model, TESTBED, ["imagenetv2"], draws=2, examples=(right, {"imagenetv2": given}))
    with pytest.raises(UsageError, match="no results of single examples on the shift for imagenetv2"):
        robustness.measure(model, TESTBED, ["imagenetv2"], draws=2, examples=(right, {}))


def test_accuracies_of_0_and_1() -> None:
    assert (LINE.predict(0.0), LINE.predict(1.0)) == (0, 1)
    assert robustness.error_ratio(1.0, 0.5) == float("inf")
    with pytest.raises(UsageError, match="accuracies between 0 and 1, neither included"):
        robustness.fit(np.array([[0.5, 0.0], [0.6, 0.3]]))
    with pytest.raises(UsageError, match="models of different accuracies"):
        robustness.fit(np.array([[0.5, 0.2], [0.5, 0.3]]))
    with pytest.raises(UsageError, match="needs 10 models, and 9 are there"):
        robustness.fits_drawn(robustness.baselines(TESTBED)[:9], NAMES, 0, 1)


@settings(deadline=None, max_examples=40)
@given(st.floats(0.1, 3), st.floats(-3, 3), st.lists(st.floats(0.05, 0.95), min_size=3, max_size=9, unique=True))
def test_a_line_is_found_again(slope: float, intercept: float, inside: list[float]) -> None:
    line = robustness.Fit(slope, intercept, 1.0, len(inside))
    if max(inside) - min(inside) < 0.01:
        return
    found = robustness.fit(np.array([[x, line.predict(x)] for x in inside]))
    assert (found.slope, found.intercept) == pytest.approx((slope, intercept), abs=1e-6)
    assert robustness.effective(found, inside[0], line.predict(inside[0])) == pytest.approx(0, abs=1e-9)


def test_weights_are_of_poisson_and_of_the_id() -> None:
    ids = [f"{number}" for number in range(500)]
    of = bootstrap.ranks(3, "set", ids)
    drawn = np.array([bootstrap.weights(of, draw) for draw in range(400)])
    shares = np.bincount(drawn.ravel(), minlength=4)[:4] / drawn.size
    assert shares == pytest.approx([np.exp(-1), np.exp(-1), np.exp(-1) / 2, np.exp(-1) / 6], abs=0.005)
    assert abs(np.corrcoef(drawn[0], drawn[1])[0, 1]) < 0.15 and abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.15
    assert (bootstrap.weights(bootstrap.ranks(3, "set", ids[::-1]), 7)[::-1] == drawn[7]).all()
    assert (bootstrap.weights(bootstrap.ranks(4, "set", ids), 7) != drawn[7]).any()
    assert (bootstrap.weights(bootstrap.ranks(3, "other", ids), 7) != drawn[7]).any()
