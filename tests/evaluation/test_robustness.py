"""Effective robustness, against the published figures of the testbed (clip_paper.md section 9)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit

from core.errors import UsageError
from evaluation import bootstrap, robustness
from evaluation.robustness import NAMES, Examples, Model, Outcomes

TESTBED = robustness.testbed()
BY_NAME = {model.name: model for model in TESTBED}
LINE = robustness.fit(robustness.points(robustness.baselines(TESTBED)))


def test_the_fit_of_the_testbed() -> None:
    assert (round(LINE.slope, 3), round(LINE.intercept, 3), round(LINE.r2, 3), LINE.n) == (0.832, -1.947, 0.876, 213)
    x, y = logit(robustness.points(robustness.baselines(TESTBED))).T
    slope, intercept = np.polyfit(x, y, 1)
    assert (LINE.slope, LINE.intercept) == pytest.approx((slope, intercept), abs=1e-9)
    assert LINE.r2 == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2, abs=1e-9)


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
    (found,) = robustness.measure([part], TESTBED, two, draws=50)
    line = robustness.fit(robustness.points(robustness.baselines(TESTBED, two), two))
    assert found.inside == pytest.approx((0.63302001953125 + 0.8809999847412) / 2)
    assert found.predicted == pytest.approx(line.predict(found.inside))
    assert found.effective == pytest.approx(found.outside - found.predicted)
    with pytest.raises(UsageError, match="mine has no accuracies on imagenet-sketch, ytbb-robust"):
        robustness.measure([part], TESTBED)
    with pytest.raises(UsageError, match="imagenet-v2 is none of the shifts: imagenetv2, imagenet-sketch"):
        robustness.measure([part], TESTBED, ["imagenet-v2"])


def test_the_interval_over_models_holds_the_published_figure() -> None:
    (found,) = robustness.measure([BY_NAME["vit_b_32_clip_zeroshot"]], TESTBED, draws=200)
    assert found.low < 0.21347 < found.high
    assert found.high - found.low < 0.02 and not found.over_examples
    assert [found] == robustness.measure([BY_NAME["vit_b_32_clip_zeroshot"]], TESTBED[::-1], draws=200)


# ── over examples ─────────────────────────────────────────────────────────────────────────────────


def of_share(right: int, n: int, name: str) -> Examples:
    return Examples([f"{name}/{number}.jpg" for number in range(n)], np.arange(n) < right)


def on_v2(inside: Examples, outside: Examples, name: str = "mine") -> Model:
    """A model on one shift, with the examples behind both accuracies."""
    x, y = ({"imagenetv2": float(np.mean(some.values))} for some in (inside, outside))
    return Model(name, x, y, Outcomes({"imagenetv2": inside}, {"imagenetv2": outside}))


def on_a_line(slope: float, intercept: float) -> list[Model]:
    """Models without any scatter, so that every draw of them has the same line."""
    line = robustness.Fit(slope, intercept, 1.0, 30)
    return [Model(f"m{i}", {"imagenetv2": x}, {"imagenetv2": line.predict(x)}) for i, x in enumerate(AROUND)]


AROUND = np.linspace(0.45, 0.95, 30).tolist()


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.832, -1.947)])
def test_the_interval_over_examples_is_that_of_the_normal_distribution(slope: float, intercept: float) -> None:
    """By the delta method: the variances p (1 - p) / n of both shares, that inside times the line's steepness."""
    model = on_v2(of_share(560, 800, "val"), of_share(300, 500, "v2"))
    (found,) = robustness.measure([model], on_a_line(slope, intercept), ["imagenetv2"], draws=4000)
    expected = robustness.Fit(slope, intercept, 1.0, 30).predict(0.7)
    steepness = slope * expected * (1 - expected) / (0.7 * 0.3)
    deviation = (0.6 * 0.4 / 500 + steepness**2 * 0.7 * 0.3 / 800) ** 0.5
    assert found.over_examples and found.effective == pytest.approx(0.6 - expected)
    assert found.low == pytest.approx(found.effective - 1.96 * deviation, abs=0.15 * deviation)
    assert found.high == pytest.approx(found.effective + 1.96 * deviation, abs=0.15 * deviation)


def test_the_interval_is_of_the_draws_counted_one_by_one() -> None:
    """With the line y = x effective robustness is a difference of two weighted means."""
    inside, outside = of_share(15, 24, "val"), of_share(8, 20, "v2")

    def mean(scope: str, some: Examples, draw: int) -> float:
        weights = bootstrap.weights(bootstrap.ranks(7, scope, some.ids), draw).tolist()
        return float(sum(w for w, right in zip(weights, some.values, strict=True) if right) / sum(weights))

    by_hand = [mean("imagenetv2", outside, draw) - mean("imagenet", inside, draw) for draw in range(9)]
    (found,) = robustness.measure([on_v2(inside, outside)], on_a_line(1, 0), ["imagenetv2"], seed=7, draws=9)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(by_hand, [2.5, 97.5])))


def test_models_and_the_order_of_examples_do_not_matter() -> None:
    one, other = (of_share(right, 40, "val") for right in (20, 30))
    turned = Examples(one.ids[::-1], one.values[::-1])
    models = [on_v2(one, other, "a"), on_v2(turned, other, "b"), on_v2(other, one, "c"), BY_NAME["resnet101"]]
    found = robustness.measure(models, TESTBED, ["imagenetv2"], draws=50)
    assert (found[0].low, found[0].high) == pytest.approx((found[1].low, found[1].high))
    assert found[2:] == [robustness.measure([some], TESTBED, ["imagenetv2"], draws=50)[0] for some in models[2:]]
    assert [one.over_examples for one in found] == [True, True, True, False]


def test_examples_widen_the_interval() -> None:
    outcomes = Outcomes(
        {name: of_share(160, 200, "val") for name in NAMES}, {name: of_share(108, 200, name) for name in NAMES}
    )
    accuracies = (dict.fromkeys(NAMES, 0.8), dict.fromkeys(NAMES, 0.54))
    narrow, wide = robustness.measure(
        [Model("mine", *accuracies), Model("mine", *accuracies, outcomes)], TESTBED, draws=200
    )
    assert wide.over_examples and wide.effective == narrow.effective
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_the_same_pictures_share_their_weights() -> None:
    """Seven subsets that are one and the same have the spread of one, not of an average over seven."""
    same, other = of_share(160, 200, "val"), [of_share(160, 200, f"set{number}") for number in range(7)]
    of_one, of_seven, of_others = (
        np.std(robustness._means_drawn("a", sets, 0, 200).mean(axis=0)) for sets in ([same], [same] * 7, other)
    )
    assert of_seven == pytest.approx(of_one) and of_one == pytest.approx((0.8 * 0.2 / 200) ** 0.5, rel=0.2)
    assert of_others == pytest.approx(of_one / 7**0.5, rel=0.25)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Examples(["a"] * 30, np.full(30, 0.5)), "no id twice"),
        (of_share(5, 10, "few"), "10 ids and 10 results; an interval takes"),
        (of_share(20, 30, "other"), "the mean of the examples is 0.6667, and the accuracy is 0.5000"),
        (None, "no results of single examples on the shift for imagenetv2"),
    ],
)
def test_examples_that_are_not_the_models(given: Examples | None, message: str) -> None:
    outside = {"imagenetv2": given} if given else {}
    outcomes = Outcomes({"imagenetv2": of_share(20, 40, "right")}, outside)
    model = Model("mine", {"imagenetv2": 0.5}, {"imagenetv2": 0.5}, outcomes)
    with pytest.raises(UsageError, match=message):
        robustness.measure([model], TESTBED, ["imagenetv2"], draws=2)


def test_accuracies_of_0_and_1() -> None:
    assert (LINE.predict(0.0), LINE.predict(1.0)) == (0, 1)
    assert robustness.error_ratio(1.0, 0.5) == float("inf")
    with pytest.raises(UsageError, match="accuracies between 0 and 1, neither included"):
        robustness.fit(np.array([[0.5, 0.0], [0.6, 0.3]]))
    with pytest.raises(UsageError, match="models of different accuracies"):
        robustness.fit(np.array([[0.5, 0.2], [0.5, 0.3]]))
    with pytest.raises(UsageError, match="needs 20 models, and 19 are there"):
        robustness.fits_drawn(robustness.baselines(TESTBED)[:19], NAMES, 0, 1)


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
