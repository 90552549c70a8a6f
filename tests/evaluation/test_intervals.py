"""Intervals of shares, against golden values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.intervals import clopper_pearson, share


@pytest.mark.parametrize(
    ("hits", "n", "confidence", "low", "high"),
    [
        (0, 10, 0.95, 0.0, 0.3084971078),
        (5, 10, 0.95, 0.1870860284, 0.8129139716),
        (10, 10, 0.95, 0.6915028922, 1.0),
        (90, 100, 0.995, 0.7879681725, 0.9653941289),
        (762, 1000, 0.995, 0.7222826108, 0.7987446473),
        (38_100, 50_000, 0.995, 0.7566148508, 0.7673264540),
        (0, 100, 0.995, 0.0, 0.0581550791),
        (3430, 3669, 0.995, 0.9226114523, 0.9457628837),
    ],
)
def test_clopper_pearson(hits: int, n: int, confidence: float, low: float, high: float) -> None:
    assert clopper_pearson(hits, n, confidence) == pytest.approx((low, high), abs=1e-9)


@given(st.integers(1, 300), st.data())
def test_an_interval_holds_the_share_and_mirrors(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    low, high = clopper_pearson(hits, n)
    assert 0 <= low <= hits / n <= high <= 1
    assert clopper_pearson(n - hits, n) == pytest.approx((1 - high, 1 - low))


def test_a_row_of_results() -> None:
    row = share("zero-shot", "top-1", 5, 10, 0.1)
    assert list(row) == ["name", "metric", "value", "low", "high", "n", "chance"]
    assert (row["value"], row["n"], row["chance"]) == (0.5, 10, 0.1)
