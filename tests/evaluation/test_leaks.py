"""The statistics of leaks, against golden values, hand calculations and their own definitions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Failure
from evaluation.intervals import clopper_pearson
from evaluation.leaks import (
    Split,
    benjamini_hochberg,
    binomial_greater,
    bonferroni,
    clean_ids,
    critical,
    holm,
    minimum_detectable,
    split,
    stratified,
    summary,
)

TOY = Split("toy", n=1000, overlap=121, correct=606, correct_overlap=79)


def test_the_toy_set() -> None:
    assert TOY.accuracy_all == 0.606
    assert TOY.accuracy_clean == pytest.approx(527 / 879, abs=1e-15)
    assert TOY.accuracy_overlap == pytest.approx(79 / 121, abs=1e-15)
    assert TOY.all_minus_clean == pytest.approx(0.00645506, abs=1e-8)
    assert TOY.all_minus_clean == pytest.approx(TOY.accuracy_all - TOY.accuracy_clean, abs=1e-15)
    assert TOY.p == pytest.approx(0.134263, abs=1e-6)
    assert TOY.interval == pytest.approx((-0.077213, 0.169473), abs=1e-6)
    (row,) = summary([TOY], studied=35)
    assert row["bonferroni"] == 1.0 and row["tests"] == 35


def at_least(hits: int, n: int, p: float | Fraction) -> float:
    """The chance of so many, term by term."""
    return float(sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(hits, n + 1)))


def test_the_toy_set_by_hand() -> None:
    """To the last digit that the published figures do not have."""
    clean, overlap = Fraction(527, 879), Fraction(79, 121)
    assert TOY.all_minus_clean == pytest.approx(float(Fraction(121, 1000) * (overlap - clean)), abs=1e-12)
    assert TOY.p == pytest.approx(at_least(79, 121, clean), abs=1e-9)
    assert TOY.interval is not None
    low, high = (end + TOY.accuracy_clean for end in TOY.interval)
    assert at_least(79, 121, low) == pytest.approx(0.0025, abs=1e-9)
    assert 1 - at_least(80, 121, high) == pytest.approx(0.0025, abs=1e-9)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.4507197283),
        (8, 10, 0.3193247398, 0.9923936656),
        (10, 10, 0.5492802717, 1.0),
        (45, 50, 0.7262966321, 0.9811352948),
        (121, 1000, 0.0937363275, 0.1525862360),
        (600, 1000, 0.5555447381, 0.6433231831),
    ],
)
def test_clopper_pearson_at_99_5_per_cent(hits: int, n: int, low: float, high: float) -> None:
    assert clopper_pearson(hits, n, 0.995) == pytest.approx((low, high), abs=1e-9)


@pytest.mark.parametrize(
    ("hits", "n", "p0", "p", "digits"),
    [
        (45, 50, 0.8, 0.0480272193707, 1e-9),
        (9, 10, 0.5, 0.0107421875, 1e-9),
        (33, 40, 0.7, 0.0552828871537, 1e-9),
        (10, 10, 0.9, 0.3486784401, 1e-9),
        (130, 1000, 0.1, 0.00134139837087, 1e-9),
        (0, 10, 0.3, 1.0, 0),
        (18, 20, 0.7, 0.0354831323, 1e-9),
        (60, 100, 0.5, 0.0284439668, 1e-9),
        (12, 12, 0.8, 0.0687194767, 1e-9),
        (80, 100, 0.75, 0.1488310504, 1e-9),
    ],
)
def test_binomial_greater(hits: int, n: int, p0: float, p: float, digits: float) -> None:
    assert binomial_greater(hits, n, p0) == pytest.approx(p, abs=digits)


def test_p0_of_none_and_of_all() -> None:
    assert binomial_greater(0, 5, 0.0) == 1.0 and binomial_greater(1, 5, 0.0) == 0.0
    assert binomial_greater(5, 5, 1.0) == 1.0 and binomial_greater(3, 5, 1.0) == 1.0
    with pytest.raises(ValueError, match="no binomial count"):
        binomial_greater(6, 5, 0.5)
    perfect = Split("perfect", 100, 10, 95, 5)
    assert perfect.p == 1.0 and perfect.accuracy_clean == 1.0 and minimum_detectable(perfect) is None
    hopeless = Split("hopeless", 100, 10, 1, 1)
    assert hopeless.p == 0.0


@pytest.mark.parametrize(
    ("shift", "r", "difference"),
    [(0.006, 0.121, 0.0496), (0.002, 0.215, 0.0093)],  # Birdsnap and Country211, as published
)
def test_the_identity_gives_the_published_differences(shift: float, r: float, difference: float) -> None:
    assert shift / r == pytest.approx(difference, abs=5e-5)
    n, clean = 1_000_000, 0.5
    overlap = round(n * r)
    right = round(overlap * (clean + shift / r))
    one = Split("made", n, overlap, round((n - overlap) * clean) + right, right)
    assert one.all_minus_clean == pytest.approx(shift, abs=1e-6)
    assert Split("identity", 1000, 30, 679 + 27, 27).all_minus_clean == pytest.approx(0.006, abs=1e-12)


@given(st.integers(1, 200), st.data())
def test_all_minus_clean_is_what_it_says(clean: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(1, 200))
    right = data.draw(st.integers(0, clean)), data.draw(st.integers(0, overlap))
    one = Split("any", clean + overlap, overlap, sum(right), right[1])
    assert one.all_minus_clean == pytest.approx(one.accuracy_all - one.accuracy_clean, abs=1e-12)
    low, high = one.interval or (0.0, 0.0)
    assert one.overlap_minus_clean is not None and low <= one.overlap_minus_clean + 1e-12
    assert one.overlap_minus_clean <= high + 1e-12


def test_no_overlap_is_not_available_and_no_clean_is_refused() -> None:
    results = {"a": True, "b": False, "c": True}
    none = split("set", results, set())
    assert none.accuracy_all == none.accuracy_clean == 2 / 3 and none.contamination == 0
    assert (none.accuracy_overlap, none.all_minus_clean, none.interval, none.p) == (None, None, None, None)
    (row,) = summary([none])
    assert [name for name, value in row.items() if value is None] == [
        "accuracy_overlap", "all_minus_clean", "overlap_minus_clean", "low", "high", "p",
        "bonferroni", "holm", "benjamini_hochberg", "detectable",
    ]  # fmt: skip
    with pytest.raises(Failure, match="all 3 examples are in the training set"):
        split("set", results, {"a", "b", "c"})
    with pytest.raises(Failure, match="2 of the leaked examples have no result, x for one"):
        split("set", results, {"a", "x", "y"})
    with pytest.raises(Failure, match="no per-example results"):
        split("set", {}, set())
    assert clean_ids(results, {"b"}) == ["a", "c"]
    assert split("set", results, {"b"}) == Split("set", 3, 1, 2, 0)


def test_corrections_by_hand() -> None:
    p = [0.01, 0.04, 0.03, 0.005]
    assert bonferroni(p) == pytest.approx([0.04, 0.16, 0.12, 0.02])
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert benjamini_hochberg(p) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert bonferroni([]) == holm([]) == benjamini_hochberg([]) == []
    assert bonferroni([0.05 / 35] * 35)[0] == pytest.approx(0.05) and pytest.approx(0.00142857, abs=5e-9) == 0.05 / 35


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_is_between_hochberg_and_bonferroni(p: list[float]) -> None:
    for raw, discovery, step, all_ in zip(p, benjamini_hochberg(p), holm(p), bonferroni(p), strict=True):
        assert raw <= discovery + 1e-12 and discovery <= step + 1e-12 and step <= all_ + 1e-12 and all_ <= 1


def test_only_sets_with_an_overlap_are_tested() -> None:
    rows = summary([TOY, Split("none", 50, 0, 20, 0), Split("other", 1000, 50, 845, 45)])
    assert [row["tests"] for row in rows] == [2, 2, 2]
    assert rows[0]["bonferroni"] == pytest.approx(2 * (TOY.p or 0))
    assert rows[1]["p"] is None and rows[1]["detectable"] is None
    assert 0 < rows[0]["detectable"] < 1


def test_the_smallest_effect_that_would_be_seen() -> None:
    needed = critical(121, TOY.accuracy_clean, 0.05)
    assert needed is not None
    assert binomial_greater(needed, 121, TOY.accuracy_clean) <= 0.05 < binomial_greater(needed - 1, 121, 527 / 879)
    effect = minimum_detectable(TOY, 0.05, 0.8)
    assert effect is not None
    assert binomial_greater(needed, 121, TOY.accuracy_clean + effect) == pytest.approx(0.8, abs=1e-9)
    assert critical(3, 0.5, 0.05) is None and critical(0, 0.5, 0.05) is None and critical(5, 0.5, 0.05) == 5
    assert minimum_detectable(Split("small", 100, 3, 50, 2)) is None


def test_within_classes_a_difference_between_classes_is_none() -> None:
    """Leaks are all of the easy class but a few: Overlap is better, and in neither class is it."""
    labels = ["easy"] * 100 + ["hard"] * 100
    leaked = [True] * 80 + [False] * 20 + [True] * 20 + [False] * 80
    correct = ([True] * 9 + [False]) * 10 + ([True] + [False] * 9) * 10
    found = stratified(correct, leaked, labels)
    assert found is not None and found.difference == pytest.approx(0.0, abs=1e-12)
    assert found.p == pytest.approx(1.0) and (found.classes, found.examples) == (2, 200)
    crude = np.mean(np.array(correct)[leaked]) - np.mean(np.array(correct)[~np.array(leaked)])
    assert crude == pytest.approx(0.48)


def test_mantel_haenszel_by_hand() -> None:
    # a: 3 of 4 leaked right, 1 of 2 clean; b: 1 of 1 leaked right, 1 of 3 clean; c: only clean
    labels = ["a"] * 6 + ["b"] * 4 + ["c"]
    leaked = [1, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    correct = [1, 1, 1, 0, 1, 0, 1, 1, 0, 0, 1]
    found = stratified(correct, leaked, labels)
    assert found is not None and (found.classes, found.examples) == (2, 10)
    assert found.difference == pytest.approx((8 / 6 * (3 / 4 - 1 / 2) + 3 / 4 * (1 - 1 / 3)) / (8 / 6 + 3 / 4))
    surplus = (3 - 4 * 4 / 6) + (1 - 1 * 2 / 4)
    variance = 4 * 2 * 4 * 2 / (36 * 5) + 1 * 3 * 2 * 2 / (16 * 3)
    assert found.p == pytest.approx(math.erfc(math.sqrt(surplus**2 / variance / 2)))
    assert stratified([1, 1], [1, 0], ["a", "b"]) is None
    same = stratified([1, 1], [1, 0], ["a", "a"])
    assert same is not None and same.p is None and same.difference == 0
