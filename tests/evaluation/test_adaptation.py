"""Adaptation to ImageNet and to class shift: changes, their mean, and the steps from zero-shot to all examples."""

from __future__ import annotations

import pytest

from core.errors import UsageError
from evaluation import adaptation
from evaluation.adaptation import Change
from evaluation.robustness import Fit


def test_a_change_is_a_difference_of_shares() -> None:
    rows = [Change("photos", 4, 0.25, 0.75), Change("sketches", 2, 0.5, 0.5)]
    assert [row.change for row in rows] == [0.5, 0] and adaptation.mean_change(rows) == 0.25
    with pytest.raises(UsageError, match="no data set to average over"):
        adaptation.mean_change([])


def test_the_papers_average_of_adaptation_to_class_shift() -> None:
    """+26.9 on Youtube-BB, +8.3 on Vid, +2.3 on ObjectNet, none elsewhere: 5 points on average (section 3.3)."""
    found = adaptation.mean_change(
        [Change(f"{n}", 1, 0.5, 0.5 + gain) for n, gain in enumerate([0.269, 0.083, 0.023, 0, 0, 0, 0])]
    )
    assert round(100 * found, 2) == 5.36


def test_the_continuum_is_a_mean_over_shifts() -> None:
    inside = {"0": {"v2": 0.4, "a": 0.8}, "all": {"v2": 0.6, "a": 0.9}}
    outside = {"0": {"a": 0.5, "v2": 0.3}, "all": {"v2": 0.5, "a": 0.1}}
    line = Fit(1.0, 0.0, 1.0, 2)  # y = x
    found = adaptation.continuum(inside, outside, line)
    assert [(step.shots, step.inside, step.outside) for step in found] == [
        ("0", pytest.approx(0.6), 0.4),
        ("all", 0.75, pytest.approx(0.3)),
    ]
    assert [step.effective for step in found] == pytest.approx([-0.2, -0.45])


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        ({}, {}),
        ({"0": {}}, {"0": {}}),
        ({"0": {"a": 0.5}}, {"0": {"b": 0.5}}),
        ({"0": {"a": 0.5}}, {"1": {"a": 0.5}}),
        ({"0": {"a": 0.5}, "1": {"a": 0.5, "b": 0.5}}, {"0": {"a": 0.5}, "1": {"a": 0.5, "b": 0.5}}),
    ],
    ids=["nothing", "no shift", "other shifts", "other shots", "more shifts"],
)
def test_what_does_not_belong_together(
    inside: dict[str, dict[str, float]], outside: dict[str, dict[str, float]]
) -> None:
    with pytest.raises(UsageError, match="needs the same shifts"):
        adaptation.continuum(inside, outside, Fit(1.0, 0.0, 1.0, 2))
