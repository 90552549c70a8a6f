"""Intervals of shares, against golden values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.intervals import clopper_pearson, share


@pytest.mark.parametrize(
    ("hits", "n", "confidence", "low", "high"),
    [
        (0, 10, 0.95, 0.0, 0.308497),
        (5, 10, 0.95, 0.187086, 0.812914),
        (10, 10, 0.95, 0.691503, 1.0),
        (90, 100, 0.995, 0.787968, 0.965394),
        (762, 1000, 0.995, 0.722283, 0.798745),
        (38_100, 50_000, 0.995, 0.756615, 0.767326),
        (0, 100, 0.995, 0.0, 0.058155),
        (3430, 3669, 0.995, 0.922611, 0.945763),
    ],
)
def test_clopper_pearson(hits: int, n: int, confidence: float, low: float, high: float) -> None:
    assert clopper_pearson(hits, n, confidence) == pytest.approx((low, high), abs=2e-6)


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
