"""The paper's metrics against hand-counted values, published ones, and slow definitions."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from core.errors import Failure
from evaluation import metrics

SCORES = np.array([[3, 2, 1], [1, 2, 3], [1, 3, 2], [2, 2, 0]], np.float32)  # the last ties its own class with another
LABELS = np.array([0, 0, 1, 0])


def test_ranks_count_a_tie_against_the_model() -> None:
    assert metrics.ranks(SCORES, LABELS).tolist() == [1, 3, 1, 2]
    assert metrics.ranks(np.zeros((2, 7)), np.array([0, 6])).tolist() == [7, 7]


def test_accuracies_by_hand() -> None:
    assert metrics.accuracy(SCORES, LABELS) == 0.5
    assert metrics.top_k(SCORES, LABELS, 2) == 0.75
    assert metrics.per_class(SCORES[:, :2], LABELS).tolist() == pytest.approx([1 / 3, 1])
    assert metrics.mean_per_class(SCORES[:, :2], LABELS) == pytest.approx(2 / 3)


def test_the_mean_of_top_1_and_top_5() -> None:
    places = np.repeat([1, 4, 6], [60, 20, 20])  # top-1 is 60, top-5 80 of 100
    scores = np.array([np.r_[-float(place) + 0.5, -np.arange(1.0, 9)] for place in places])
    assert metrics.ranks(scores, np.zeros(100, int)).tolist() == places.tolist()
    assert metrics.top_1_and_5(scores, np.zeros(100, int)) == pytest.approx(0.70)


def test_11_point_average_precision() -> None:
    ranked = np.array([True, False, True, True, False])
    assert metrics.average_precision_11(-np.arange(5.0), ranked) == pytest.approx(0.8409091, abs=5e-8)
    assert metrics.average_precision_11(np.zeros(4), np.array([True, False, False, False])) == 0.25, "a tie is lost"
    both = metrics.mean_average_precision_11(np.stack([-np.arange(5.0)] * 2, 1), np.stack([ranked, ~ranked], 1))
    second = metrics.average_precision_11(-np.arange(5.0), ~ranked)
    assert both == pytest.approx((0.8409091 + second) / 2, abs=5e-8)


@given(st.data(), st.integers(1, 30))
@settings(deadline=None)
def test_11_point_average_precision_is_its_definition(data: st.DataObject, n: int) -> None:
    positive = data.draw(hnp.arrays(bool, n).filter(np.any))
    scores = data.draw(hnp.arrays(float, n, elements=st.integers(0, 5)))
    ranked = [hit for _, hit in sorted(zip(-scores, positive.tolist(), strict=True))]  # False before True
    curve = [(10 * sum(ranked[:i]), sum(ranked[:i]) / i) for i in range(1, n + 1)]
    points = [max(precision for hits, precision in curve if hits >= t * sum(ranked)) for t in range(11)]
    assert metrics.average_precision_11(scores, positive) == pytest.approx(sum(points) / 11)


@given(st.data(), st.integers(2, 30))
@settings(deadline=None)
def test_roc_auc_is_its_definition(data: st.DataObject, n: int) -> None:
    positive = data.draw(hnp.arrays(bool, n).filter(lambda some: some.any() and not some.all()))
    scores = data.draw(hnp.arrays(np.float32, n, elements=st.integers(0, 4)))
    pairs = np.sign(scores[positive][:, None] - scores[~positive][None, :])
    assert metrics.roc_auc(scores, positive) == pytest.approx(float((pairs + 1).mean() / 2))
    assert metrics.roc_auc(-scores, positive) == pytest.approx(1 - metrics.roc_auc(scores, positive))


def test_recall_with_several_right_answers() -> None:
    similar = np.array([[0.9, 0.8, 0.1, 0.2], [0.5, 0.5, 0.4, 0.3], [0.1, 0.2, 0.3, 0.4]])
    right = np.array([[0, 1, 1, 0], [1, 0, 0, 1], [0, 0, 0, 1]], bool)
    assert metrics.recall_at_k(similar, right, 1) == pytest.approx(1 / 3), "the second one's tie is lost"
    assert metrics.recall_at_k(similar, right, 2) == 1.0
    assert metrics.recall_at_k(np.zeros((1, 3)), np.array([[False, True, False]]), 3) == 1.0


@given(st.data())
@settings(deadline=None)
def test_the_rank_of_one_right_answer_is_its_rank_among_classes(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 9), st.integers(2, 6)))
    scores = data.draw(hnp.arrays(np.float32, shape, elements=st.integers(-3, 3)))
    labels = data.draw(hnp.arrays(np.int64, shape[0], elements=st.integers(0, shape[1] - 1)))
    for k in range(1, shape[1]):
        one_hot = np.eye(shape[1], dtype=bool)[labels]
        assert metrics.recall_at_k(scores, one_hot, k) == metrics.top_k(scores, labels, k)


def test_distances_on_earth() -> None:
    tokyo, osaka = (35.6762, 139.6503), (34.6937, 135.5023)
    paris, london = (48.8566, 2.3522), (51.5074, -0.1278)
    distances = metrics.haversine_km(np.array([tokyo, paris]), np.array([osaka, london]))
    assert distances.tolist() == pytest.approx([392.441, 343.556], abs=5e-4)
    poles = metrics.haversine_km(np.array([(90.0, 0.0)]), np.array([(-90.0, 12.0)]))
    assert poles[0] == pytest.approx(np.pi * 6371)
    assert metrics.within(np.array([1.0, 1.1, 300, 9000])) == {1: 0.25, 25: 0.5, 200: 0.5, 750: 0.75, 2500: 0.75}


def test_pm_k_needs_the_neighbours_right() -> None:
    anchors = ["a"] * 3 + ["b"] * 3 + ["c"]
    offsets = np.array([-10, 0, 10, -1, 0, 2, 0])
    right = np.array([False, True, True, True, True, True, False])
    assert metrics.pm_k(right, anchors, offsets, 0) == pytest.approx(2 / 3)
    assert metrics.pm_k(right, anchors, offsets, 9) == pytest.approx(2 / 3)
    assert metrics.pm_k(right, anchors, offsets, 10) == pytest.approx(1 / 3)


def test_super_classes_take_the_largest_of_their_classes() -> None:
    pooled = metrics.pool_classes(
        np.array([[1.0, 5, 3, 2], [0, 0, -1, -2]]), {"dog": [0, 2], "cat": [1], "pet": [0, 1]}
    )
    assert pooled.tolist() == [[3, 5, 5], [0, 0, 0]]


NAN = np.array([[0.1, 0.2], [0.3, np.nan]])
TWO = np.eye(2)
YES_NO = np.array([True, False])
REFUSALS: list[tuple[Callable[[], Any], str]] = [
    (lambda: metrics.ranks(NAN, np.array([0, 1])), "example 1 for column 1 is nan"),
    (lambda: metrics.accuracy(np.array([[np.inf, 0]]), np.array([0])), "column 0 is inf"),
    (lambda: metrics.ranks(TWO, np.array([0, 2])), "example 1 is of class 2, and there are 2 classes"),
    (lambda: metrics.ranks(TWO, np.array([0, -1])), "is of class -1"),
    (lambda: metrics.ranks(TWO, np.array([0.0, 1.0])), "labels are integers"),
    (lambda: metrics.ranks(TWO, np.array([0])), "not float64 [2, 2] for 1"),
    (lambda: metrics.ranks(np.zeros((0, 2)), np.zeros(0, int)), "one or more of both"),
    (lambda: metrics.ranks(np.array([["a", "b"]]), np.array([0])), "scores are numbers"),
    (lambda: metrics.top_k(TWO, np.array([0, 1]), 2), "top-2 of 2 classes says nothing"),
    (lambda: metrics.top_1_and_5(TWO, np.array([0, 1])), "top-5 of 2 classes"),
    (lambda: metrics.mean_per_class(TWO, np.array([0, 0]), ["cat", "dog"]), "classes dog have no example"),
    (lambda: metrics.mean_per_class(TWO, np.array([0, 1]), ["cat"]), "1 names for 2 classes"),
    (lambda: metrics.average_precision_11(np.zeros(2), np.zeros(2, bool)), "without a positive example"),
    (lambda: metrics.average_precision_11(np.zeros(2), np.zeros(3, bool)), "as many true or false values"),
    (lambda: metrics.mean_average_precision_11(TWO, np.array([YES_NO, YES_NO]), ["a", "b"]), "classes b have no"),
    (lambda: metrics.roc_auc(np.array([np.nan, 0]), YES_NO), "is nan"),
    (lambda: metrics.roc_auc(np.zeros(2), np.ones(2, bool)), "2 positive and 0 negative"),
    (lambda: metrics.recall_at_k(TWO, np.array([[True, False], [False, False]]), 1), "query 1 has no right answer"),
    (lambda: metrics.recall_at_k(TWO, TWO.astype(bool), 3), "number of candidates, 2"),
    (lambda: metrics.recall_at_k(NAN, TWO.astype(bool), 1), "is nan"),
    (lambda: metrics.haversine_km(np.array([(139.65, 35.68)]), np.zeros((1, 2))), "place 0 is not on earth"),
    (lambda: metrics.haversine_km(np.array([(np.nan, 0)]), np.zeros((1, 2))), "latitude nan"),
    (lambda: metrics.haversine_km(np.zeros((2, 2)), np.zeros((1, 2))), "as many as there are answers"),
    (lambda: metrics.within(np.array([np.nan])), "NaN"),
    (lambda: metrics.pm_k(YES_NO, ["a", "a"], np.array([0, 0]), 1), "frame +0 of a is given twice"),
    (lambda: metrics.pm_k(YES_NO, ["a", "b"], np.array([0, 1]), 1), "b has neighbours and no frame"),
    (lambda: metrics.pm_k(YES_NO, ["a"], np.array([0, 1]), 1), "2 frames with 1 anchors"),
    (lambda: metrics.pool_classes(TWO, {"dog": [2]}), "super-class dog has class 2, of 2"),
    (lambda: metrics.pool_classes(TWO, {"dog": []}), "super-class dog has no class"),
    (lambda: metrics.pool_classes(TWO, {}), "the mapping is empty"),
]


@pytest.mark.parametrize(("ask", "said"), REFUSALS, ids=[said for _, said in REFUSALS])
def test_what_is_refused(ask: Callable[[], Any], said: str) -> None:
    with pytest.raises(Failure, match=re.escape(said)):
        ask()
