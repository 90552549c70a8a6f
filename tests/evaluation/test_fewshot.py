"""Few-shot draws, curves on real digits, and what zero-shot is worth in shots."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import Failure
from evaluation import fewshot
from evaluation.features import Features, split
from tests.evaluation.digits import CLASSES, read_digits

# Figure 7 as far as it is known (recalled, not printed in a table): shots of a linear probe that equal zero-shot.
FIGURE_7 = {
    **{
        "FER2013": 184,
        "CIFAR10": 81,
        "Food101": 64,
        "OxfordPets": 48,
        "Country211": 32,
        "ImageNet": 16.0,
        "PCam": 14.7,
    },
    **{"SST2": 14.4, "Kinetics700": 13.6, "STL10": 12.7, "CIFAR100": 12.0, "HatefulMemes": 9.8, "StanfordCars": 6.0},
    **{"MNIST": 4.8, "SUN397": 3.9, "Caltech101": 3.5, "KITTI": 2.9, "UCF101": 2.9, "Birdsnap": 2.7, "DTD": 2.6},
    **{"FGVCAircraft": 2.0, "GTSRB": 1.6, "CLEVRCounts": 1.5, "RESISC45": 1.5, "EuroSAT": 0.9, "Flowers102": 0.9},
}


@given(st.integers(0, 99), st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_draws_are_nested_and_functions_of_seed_and_ids(seed: int, random: Any) -> None:
    n = 60
    features = Features(tuple(map(str, range(n))), np.ones((n, 1), np.float32), np.arange(n, dtype=np.int64) % 3)
    order = np.arange(n)
    random.shuffle(order)
    shuffled = features.take(order)
    before: set[str] = set()
    for shots in fewshot.SHOTS:
        drawn = features.take(fewshot.draw(features, shots, "abc", seed))
        assert np.bincount(drawn.labels).tolist() == [shots] * 3
        assert set(drawn.ids) == set(shuffled.take(fewshot.draw(shuffled, shots, "abc", seed)).ids)
        assert before < set(drawn.ids)
        before = set(drawn.ids)


def test_draws_of_other_seeds_differ() -> None:
    features = read_digits()
    draws = {tuple(fewshot.draw(features, 1, CLASSES, seed)) for seed in range(20)}
    assert len(draws) == 20


def test_a_curve_on_digits_rises_and_has_intervals() -> None:
    everything = read_digits()
    train, validation = split(everything.take(np.arange(900)), seed=0)
    test = everything.take(np.arange(900, 1797))
    curve = fewshot.curve(train, validation, test, CLASSES, shots=(16, 1, 4), seeds=(0, 1, 2))
    assert [point.shots for point in curve] == [1, 4, 16]
    assert 0.3 < curve[0].mean < curve[1].mean < curve[2].mean < 1
    for point in curve:
        assert point.low is not None and point.high is not None and len(point.values) == 3
        assert point.low < point.mean < point.high
        assert point.mean == pytest.approx(np.mean(point.values))
    assert fewshot.curve(train, validation, test, CLASSES, shots=(1,), seeds=(1,))[0].values == curve[0].values[1:2]


def test_the_interval_is_students() -> None:
    point = fewshot.point(4, [0.5, 0.6, 0.7])
    assert (point.mean, point.low, point.high) == pytest.approx((0.6, 0.6 - 0.248414, 0.6 + 0.248414), abs=1e-6)
    assert fewshot.point(4, [0.5]) == fewshot.Point(4, (0.5,), 0.5, None, None)


def test_log_linear_interpolation() -> None:
    found = fewshot.equivalent({1: 30, 2: 50, 4: 60, 8: 68, 16: 75}, 64)
    assert found.relation == "equal" and found.shots == pytest.approx(5.657, abs=5e-4)
    assert fewshot.equivalent({4: 60, 8: 68}, 68) == fewshot.Equivalent(8, "equal")
    assert fewshot.equivalent({1: 30, 2: 50}, 30) == fewshot.Equivalent(1, "equal")
    assert fewshot.equivalent({1: 30, 2: 50}, 20) == fewshot.Equivalent(1, "below")
    assert fewshot.equivalent({1: 30, 2: 50, 87.5: 80}, 81) == fewshot.Equivalent(87.5, "beyond")
    first = fewshot.equivalent({1: 30, 2: 50, 4: 40, 8: 60}, 45)
    assert first.relation == "equal" and first.shots == pytest.approx(2**0.75), "the first crossing, where scores fall"


def test_the_paper_s_equivalents_have_its_mean_and_median() -> None:
    """Each value comes back out of a curve that is linear in log shots, and so do mean and median (section 3.1.4)."""
    line = {shots: float(np.log(shots)) for shots in (0.5, 1, 2, 4, 8, 16, 200)}
    found = [fewshot.equivalent(line, float(np.log(shots))).shots for shots in FIGURE_7.values()]
    assert np.mean(found) == pytest.approx(20.765, abs=5e-4)
    assert np.median(found) == pytest.approx(5.4)


def test_what_is_refused() -> None:
    features = Features(("a", "b", "c"), np.ones((3, 1), np.float32), np.array([0, 0, 1]))
    with pytest.raises(Failure, match="dog has fewer than 2 examples"):
        fewshot.draw(features, 2, ["cat", "dog"], 0)
    with pytest.raises(Failure, match="0 shots are none"):
        fewshot.draw(features, 0, ["cat", "dog"], 0)
    other = Features(("d", "e"), np.ones((2, 1), np.float32), np.array([0, 1]))
    with pytest.raises(Failure, match="the validation and the test split share d, e: keep"):
        fewshot.curve(features, other, other, ["cat", "dog"])
    last = Features(("f",), np.ones((1, 1), np.float32), np.array([0]))
    with pytest.raises(Failure, match="seeds 1, 1: give one or more, each once"):
        fewshot.curve(features, other, last, ["cat", "dog"], seeds=(1, 1))
    refused: tuple[dict[float, float], ...] = ({1: 0.5}, {0: 0.5, 1: 0.6}, {1: np.nan, 2: 0.5})
    for scores in refused:
        with pytest.raises(Failure, match="an equivalent takes"):
            fewshot.equivalent(scores, 0.5)
