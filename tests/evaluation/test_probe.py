"""The search for λ against its golden paths and a full grid; the probe on real digits; what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from core.errors import Failure
from evaluation import logistic, metrics, probe
from evaluation.features import Features, joined, split
from tests.evaluation.digits import CLASSES, read_digits


@pytest.fixture(scope="module")
def digits() -> tuple[Features, Features, Features]:
    """Training, validation and test examples."""
    everything = read_digits()
    train, validation = split(everything.take(np.arange(900)), seed=1)
    return train, validation, everything.take(np.arange(900, 1797))


@pytest.mark.parametrize(
    ("peak", "found", "evaluations"),
    [(-3.3, -3.25, 15), (1.9, 1.875, 15), (-0.5, -0.5, 15), (6, 6, 11), (-6, -6, 11), (0, 0, 15)],
)
def test_the_search_finds_a_peak(peak: float, found: float, evaluations: int) -> None:
    tried = probe.search(lambda step: -((step / 8 - peak) ** 2))
    assert max(tried, key=lambda step: tried[step]) / 8 == found
    assert len(tried) == evaluations
    assert [step / 8 for step in list(tried)[:7]] == [6, 4, 2, 0, -2, -4, -6]


@given(st.floats(-6, 6))
@settings(deadline=None)
def test_the_search_finds_the_best_of_the_grid(peak: float) -> None:
    tried = probe.search(lambda step: -abs(step / 8 - peak))
    best = max(tried, key=lambda step: tried[step])
    assert abs(best / 8 - peak) <= 1 / 16 + 1e-9
    assert len(tried) <= 15


def test_of_equal_scores_the_largest_penalty_is_chosen() -> None:
    tried = probe.search(lambda step: 1.0)
    assert max(tried, key=lambda step: (tried[step], step)) == probe.LAST
    one, other = (probe.Tried(penalty, 0.5, 1.0, 1, True) for penalty in (1.0, 2.0))
    assert probe.chosen([one, other]) == probe.chosen([other, one]) == other


def test_the_path_on_digits_against_the_full_grid(digits: tuple[Features, Features, Features]) -> None:
    train, validation, _ = digits
    tried = probe.sweep(train, validation, 10)
    assert len(tried) == 15 and all(one.converged for one in tried)
    problem = logistic.prepare(train.vectors, train.labels, 10)
    grid: dict[float, float] = {}
    last: tuple[logistic.Solution, ...] = ()
    for step in range(probe.LAST, -probe.LAST - 1, -1):
        last = (logistic.fit(problem, 10 ** (step / 8), last),)
        grid[10 ** (step / 8)] = metrics.accuracy(logistic.logits(validation.vectors, last[0]), validation.labels)
    by_search = probe.chosen(tried)
    assert by_search.score >= max(grid.values()) - 1 / len(validation.ids), "all but one example, at the most"
    for one in tried:
        assert abs(one.score - grid[one.penalty]) <= 1 / len(validation.ids), "another start, the same classifier"


def test_the_path_on_digits_against_the_full_grid_of_scikit_learn(digits: tuple[Features, Features, Features]) -> None:
    """Its classifiers for all 97 λ are none better than the one that 15 fits have found."""
    train, validation, _ = digits
    best = probe.chosen(probe.sweep(train, validation, 10))
    model = LogisticRegression(max_iter=1_000, warm_start=True)
    grid: dict[float, float] = {}
    for step in range(probe.LAST, -probe.LAST - 1, -1):
        model.set_params(C=10 ** (-step / 8)).fit(train.vectors.astype(np.float64), train.labels)
        grid[10 ** (step / 8)] = model.score(validation.vectors, validation.labels)
    one = 1 / len(validation.ids) + 1e-9
    assert best.score >= max(grid.values()) - one, "all but one example, at the most"
    assert abs(best.score - grid[best.penalty]) <= one, "the same classifier, at its λ"


def test_a_probe_refits_on_validation_examples_and_measures_on_the_test(
    digits: tuple[Features, Features, Features],
) -> None:
    train, validation, test = digits
    found = probe.probe(train, test, CLASSES, validation)
    again = logistic.fit(logistic.prepare(*_arrays(joined(train, validation)), 10), found.penalty)
    assert found.fit.objective == again.objective
    assert found.value == metrics.accuracy(logistic.logits(test.vectors, again), test.labels) > 0.9
    assert found.scores.shape == (len(test.ids), 10)
    assert found.penalty == probe.chosen(found.tried).penalty


def _arrays(features: Features) -> tuple[Any, Any]:
    return features.vectors, features.labels


def test_a_probe_without_a_validation_split_takes_one_of_its_own(digits: tuple[Features, Features, Features]) -> None:
    train, _, test = digits
    found = probe.probe(train, test, CLASSES, seed=3)
    with_it = probe.probe(*(split(train, 3)[0], test, CLASSES, split(train, 3)[1]))
    assert found.penalty == with_it.penalty and found.value == pytest.approx(with_it.value, abs=0.003)


@pytest.mark.parametrize("metric", probe.METRICS)
def test_every_metric_of_the_paper_can_choose(metric: str) -> None:
    random = np.random.default_rng(0)
    classes = 2 if metric == "roc_auc" else 6
    labels = np.arange(120) % classes
    vectors = (2 * np.eye(classes)[labels] + random.normal(size=(120, classes))).astype(np.float32)
    both = Features(tuple(map(str, range(120))), vectors, labels)
    found = probe.probe(
        both.take(np.arange(60)), both.take(np.arange(60, 120)), CLASSES[:classes], metric=probe.METRICS[metric]
    )
    assert 0.6 < found.value <= 1


def made(ids: str, labels: list[int], dimensions: int = 3) -> Features:
    return Features(tuple(ids), np.ones((len(ids), dimensions), np.float32), np.array(labels, np.int64))


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: probe.probe(made("ab", [0, 0]), made("c", [0]), ["cat"]), "takes two or more classes"),
        (lambda: probe.probe(made("ab", [0, 0]), made("c", [0]), ["cat", "dog"]), "no example of dog"),
        (
            lambda: probe.probe(made("ab", [0, 1]), made("b", [0]), ["cat", "dog"]),
            "the training and the test split share b: keep",
        ),
        (lambda: probe.probe(made("ab", [0, 1]), made("c", [2]), ["cat", "dog"]), "c of the test split is of class 2"),
        (lambda: probe.probe(made("ab", [0, 1]), made("c", [1], 4), ["cat", "dog"]), "vectors of 4 numbers"),
        (lambda: probe.probe(made("ab", [0, 1]), made("c", [1]), ["cat", "dog"]), "the 5 examples that a validation"),
    ],
)
def test_what_is_refused(ask: Callable[[], Any], said: str) -> None:
    with pytest.raises(Failure, match=said):
        ask()
