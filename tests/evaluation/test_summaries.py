"""Summaries of results: the paper's printed ones come out of its tables, and what cannot be summed up is named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.errors import Failure
from evaluation import paper
from evaluation.summaries import (
    Spread,
    Tally,
    among_the_best,
    differences,
    power_law,
    relation,
    spread,
    suite_mean,
    tally,
)

CLIP, BEST = "ViT-L/14@336px", "EfficientNet-L2-800 Noisy Student"
RESNETS = ("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64")


def scores(table: str, row: str) -> dict[str, float]:
    return paper.numbers(paper.row(paper.table(table), row))


def test_figure_5_has_16_wins_of_27() -> None:
    printed = paper.numbers(paper.column(paper.table("figure_05"), "difference"))
    assert tally(printed) == Tally(16, 0, 11)
    assert tally(differences(printed, dict.fromkeys(printed, 0.0))) == Tally(16, 0, 11)
    assert list(differences(printed, dict.fromkeys(printed, 0.0)).values()) == sorted(printed.values(), reverse=True)


def test_table_10_has_20_wins_and_a_tie_and_the_suites_means() -> None:
    clip, best = scores("table_10", CLIP), scores("table_10", BEST)
    found = differences(clip, best)
    assert tally(found) == Tally(20, 1, 6) and found["STL10"] == 0
    means = [round(suite_mean(row, suite), 2) for suite in (paper.SUITE_12, paper.SUITE_27) for row in (clip, best)]
    assert means == [89.13, 86.49, 85.06, 80.32]
    assert suite_mean(clip, paper.SUITE_12) - suite_mean(best, paper.SUITE_12) == pytest.approx(2.64, abs=0.005)
    assert suite_mean(clip, paper.SUITE_27) - suite_mean(best, paper.SUITE_27) == pytest.approx(4.73, abs=0.006)


def test_figure_7_s_mean_and_median() -> None:
    found = spread(paper.numbers(paper.column(paper.table("figure_07"), "examples per class")).values())
    assert (found.n, found.low, found.high) == (26, 0.9, 184)
    assert found.mean == pytest.approx(20.765, abs=5e-4) and found.median == pytest.approx(5.4)


def test_figure_8_as_the_printed_tables_have_it() -> None:
    """The text says r = 0.82, slope 1.28 (0.93 to 1.79): SOURCE.md lists the difference."""
    found = relation(scores("table_10", CLIP), scores("table_11", CLIP))
    assert found.n == 27 and found.p < 1e-6
    assert [round(value, 3) for value in (found.r, found.slope, found.low, found.high)] == [0.814, 1.321, 0.932, 1.709]
    text = paper.numbers(paper.row(paper.table("figure_08"), "all"))
    assert found.r == pytest.approx(text["correlation"], abs=0.01)
    assert found.slope == pytest.approx(text["slope"], abs=0.05)
    close = {name for name in paper.SUITE_27 if scores("table_10", CLIP)[name] - scores("table_11", CLIP)[name] <= 3.25}
    assert close == {"STL10", "CIFAR10", "Food101", "OxfordPets", "Caltech101"}


def test_figure_9_is_close_to_a_power_law() -> None:
    """Of the mean error over the 27 sets of Table 11; the paper's is over 39 evaluations."""
    table = paper.table("table_11")
    errors = [100 - suite_mean(paper.numbers(table[model]), paper.SUITE_27) for model in RESNETS]
    gflops = [paper.table("figure_09")[model]["GFLOPs"].value for model in RESNETS]
    assert gflops[-1] / gflops[0] == pytest.approx(43.6, abs=0.05)
    found = power_law(gflops, errors)
    assert found.exponent == pytest.approx(-0.0755, abs=1e-4) and found.r2 > 0.98
    assert found.factor * gflops[0] ** found.exponent == pytest.approx(errors[0], rel=0.02)


@given(st.floats(-3, 3), st.floats(0.01, 100), st.integers(2, 9))
def test_a_power_law_is_found_again(exponent: float, factor: float, n: int) -> None:
    x = [2.0**i for i in range(n)]
    found = power_law(x, [factor * value**exponent for value in x])
    assert found.exponent == pytest.approx(exponent, abs=1e-6) and found.factor == pytest.approx(factor, rel=1e-6)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=3, max_size=30))
def test_a_relation_is_numpy_s(points: list[tuple[float, float]]) -> None:
    x, y = np.round(np.array(points), 3).T
    assume(np.ptp(x) >= 0.1 and np.ptp(y) >= 0.1)
    found = relation({str(i): v for i, v in enumerate(x)}, {str(i): v for i, v in enumerate(y)})
    assert found.r == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-9)
    assert (found.slope, found.intercept) == pytest.approx(tuple(np.polyfit(x, y, 1)), rel=1e-6, abs=1e-6)


def test_who_is_among_the_best() -> None:
    """762 of 1,000 has the interval 0.722283 to 0.798745 at 99.5 % (golden value)."""
    models = {"best": {"a": 76.2, "b": 50.0}, "near": {"a": 72.3}, "far": {"a": 72.2, "b": 50.0}}
    assert among_the_best(models, {"a": 1000, "b": 10}) == {"a": ["best", "near"], "b": ["best", "far"]}
    both = {model: scores("table_10", model) for model in (CLIP, BEST)}
    tested = {name: int(n) for name, n in paper.numbers(paper.column(paper.table("table_09"), "test")).items()}
    found = among_the_best(both, tested)
    assert [name for name in paper.SUITE_27 if CLIP not in found[name]] == ["CIFAR10", "CIFAR100", "PCam", "ImageNet"]
    assert found["ImageNet"] == [BEST] and found["STL10"] == [CLIP, BEST]


def test_what_cannot_be_summed_up_is_named() -> None:
    full = {"a": 1.0, "b": 2.0, "c": 4.0}
    with pytest.raises(Failure, match="do not have the same sets: only one of them has c, d"):
        differences(full, {"a": 1.0, "b": 2.0, "d": 4.0})
    with pytest.raises(Failure, match="no number for b"):
        relation(full, {**full, "b": float("nan")})
    with pytest.raises(Failure, match="no correlation of 2 sets"):
        relation({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 2.0})
    with pytest.raises(Failure, match="not all the same"):
        relation(dict.fromkeys(full, 1.0), full)
    with pytest.raises(Failure, match="there is no score for d, e"):
        suite_mean(full, ["a", "d", "e"])
    with pytest.raises(Failure, match="at least one value"):
        spread([])
    with pytest.raises(Failure, match="above zero"):
        power_law([1, 2], [0, 1])
    with pytest.raises(Failure, match="not known how many examples"):
        among_the_best({"m": {"a": 50.0}}, {})
    with pytest.raises(Failure, match="score of m on a is 120"):
        among_the_best({"m": {"a": 120.0}}, {"a": 10})
    assert spread([3.0]) == Spread(1, 3.0, 3.0, 3.0, 3.0)
