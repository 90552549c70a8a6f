"""Under shift, beside people, and with leaks: the paper's figures 13 to 17.

Each function returns the SVG and its data. Scores are in per cent, differences in percentage points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import Failure
from report.figures.canvas import (
    BLACK,
    HOLLOW,
    INKS,
    LINE,
    SOFT,
    Drawn,
    Series,
    csv_text,
    dots,
    legend,
    name_of,
    name_points,
    require_finite,
    require_some,
    row_names,
    row_places,
    series_csv,
)
from report.plots import dress, inline_svg

TICKS = (0.1, 0.5, 1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 98, 99, 99.5, 99.9)  # per cent, of a logit axis
CATEGORIES = 60  # rows of figure 16
NAMED = 10  # sets of figure 17, those with the largest differences
EDGE = 0.1  # per cent; 0 and 100, which a logit axis has no place for, are drawn at 0.1 and 99.9, with their names


@dataclass(frozen=True)
class Point:
    """A model: its score on ImageNet, or on the classes that the shifts have, and under shift."""

    name: str
    x: float
    y: float
    recalled: bool = False


@dataclass(frozen=True)
class Models:
    """Models under one entry of the legend. `joined`: one model on its way, as with more and more shots."""

    label: str
    points: Sequence[Point]
    named: bool = True
    joined: bool = False


@dataclass(frozen=True)
class Line:
    """A fit of logit-transformed shares, y = intercept + slope · x; `drawn`: the same of bootstrap samples."""

    label: str
    slope: float
    intercept: float
    drawn: Sequence[tuple[float, float]] = ()


def under_shift(
    name: str, title: str, baselines: Sequence[Point], models: Sequence[Models], line: Line | None, across: str, up: str
) -> Drawn:
    """Figures 13, 14 (left) and 15: accuracy under shift by accuracy without, on logit axes, with y = x and the fit.

    baselines: models without names that the line was fitted to, such as the testbed's. Points of one name in several
    groups, other than joined ones, are one model: thin lines lead from its first point to the others.
    """
    require_some(title, models)
    if empty := [group.label for group in models if not group.points]:
        raise Failure(f"{title}: {empty[0]!r} has no model to draw: leave it out")
    for group, point in _all_points(baselines, models):
        require_finite(f"{point.name!r} of {group!r}", point.x, point.y)
        if not (0 <= point.x <= 100 and 0 <= point.y <= 100):
            raise Failure(f"{title}: {point.name!r} has {point.x} and {point.y}, not between 0 and 100 per cent")

    def fill(figure: Any) -> None:
        axes = figure.subplots()
        if baselines:
            axes.plot(
                *_at(baselines), ".", color=SOFT, markersize=3.5, alpha=0.7, label=f"{len(baselines):,} other models"
            )
        for which, group in enumerate(models):
            x, y = _at(group.points)
            if group.joined:
                axes.plot(x, y, color=INKS[which], linewidth=1.1)
            recalled = [point.recalled for point in group.points]
            dots(axes, list(zip(x, y, recalled, strict=True)), which, group.label)
        for one, other in _same_model(models):
            axes.plot(*zip(one, other, strict=True), color=SOFT, linewidth=0.6)
        _y_is_x_and_line(axes, line)
        _logit_ticks(axes)
        dress(axes, across, up)
        legend(figure, axes)
        named = [point for group in models if group.named for point in group.points]
        others = [*baselines, *(point for group in models if not group.named for point in group.points)]
        name_points(figure, axes, [_name(point) for point in named], _places(named), _places(others))

    rows = ((group, p.name, p.x, p.y, "yes" if p.recalled else "no") for group, p in _all_points(baselines, models))
    data = csv_text(("group", "model", "x", "y", "recalled"), rows)
    return Drawn(inline_svg(name, title, (4.4, 4.2), fill), data)


def by_category(name: str, title: str, across: str, series: Sequence[Series]) -> Drawn:
    """Figure 16: a row for each category, the hardest of the first series last, a marker for each series.

    Of more than CATEGORIES of the first series the hardest and the easiest are drawn, half of each.
    """
    require_some(title, series)
    at = row_places(series)
    if len(at) > CATEGORIES:
        kept = [*list(at)[: CATEGORIES // 2], *list(at)[-CATEGORIES // 2 :]]
        at = {row: -i for i, row in enumerate(kept)}

    def fill(figure: Any) -> None:
        axes = figure.subplots()
        for which, one in enumerate(series):
            places = [(value.value, at[row], value.recalled) for row, value in one.values.items() if row in at]
            dots(axes, places, which, one.label)
        row_names(axes, at)
        axes.margins(y=0.02)
        dress(axes, across, "")
        legend(figure, axes)

    return Drawn(inline_svg(name, title, (4.4, 1.0 + 0.165 * len(at)), fill), series_csv(series))


@dataclass(frozen=True)
class Leak:
    """What an overlap with the training data does to one evaluation set; no overlap: None, which is never 0."""

    name: str
    overlap: float  # share of the set's examples, per cent
    change: float | None = None  # accuracy on all less that on the clean ones, points
    difference: float | None = None  # accuracy on the overlap less that on the clean ones, points
    low: float | None = None  # of the difference: its 99.5 % interval
    high: float | None = None
    p: float | None = None  # one-sided, of an overlap no easier than the rest


# As in figure 17: how sure it is that the overlap is easier.
_SURE = ((1e-3, "p < 0.001"), (0.05, "p < 0.05"), (math.inf, "p ≥ 0.05"))


def leaks(name: str, sets: Sequence[Leak], paper: Sequence[Leak] = ()) -> Drawn:
    """Figure 17: by overlap, the difference that leaked examples make (above) and the overall change (below)."""
    drawn = [one for one in sets if one.difference is not None]
    changed = [one for one in sets if one.change is not None]
    if not drawn and not changed and not paper:
        raise Failure("leaks: no evaluation set overlaps with the training data, so there is nothing to draw")
    for one in (*sets, *paper):
        require_finite(one.name, *(value for value in _numbers(one) if value is not None))

    def fill(figure: Any) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True)
        for which, (least, (bound, says)) in enumerate(zip((0, *(p for p, _ in _SURE)), _SURE, strict=False)):
            ink = (INKS[1], INKS[2], SOFT)[which]
            some = [one for one in drawn if one.p is not None and least <= one.p < bound]
            for one in some:
                if one.low is not None and one.high is not None:
                    upper.plot([one.overlap] * 2, [one.low, one.high], color=ink, linewidth=1)
            _plain(upper, some, "difference", ink, says)
            _plain(lower, [one for one in some if one.change is not None], "change", ink, says)
        of_paper = [one for one in paper if one.change is not None]
        if of_paper:
            lower.plot(
                *_columns(of_paper, "change"),
                "D",
                markersize=4.5,
                color=LINE,
                markerfacecolor=HOLLOW,
                label="paper, RN50x64",
            )
        for axes in (upper, lower):
            axes.axhline(0, color=BLACK, linewidth=0.8)
        dress(upper, "", "overlap less clean (points)")
        dress(lower, "share of the set that overlaps (%)", "all less clean (points)")
        legend(figure, upper, lower)
        for axes, some, key in ((upper, drawn, "difference"), (lower, changed + of_paper, "change")):
            _name_largest(figure, axes, some, key)

    names = ("set", "overlap", "all_minus_clean", "overlap_minus_clean", "low", "high", "p", "source")
    rows = ((one.name, *_numbers(one), who) for who, some in (("measured", sets), ("paper", paper)) for one in some)
    return Drawn(
        inline_svg(name, "accuracy by overlap with the training data", (4.4, 5.4), fill), csv_text(names, rows)
    )


# ── parts ─────────────────────────────────────────────────────────────────────────────────────────


def logit(percent: float) -> float:
    """The logit of a score in per cent; 0 and 100 count as EDGE and 100 - EDGE."""
    share = min(max(percent, EDGE), 100 - EDGE) / 100
    return math.log(share / (1 - share))


def _all_points(baselines: Sequence[Point], models: Sequence[Models]) -> list[tuple[str, Point]]:
    return [("other models", p) for p in baselines] + [(group.label, p) for group in models for p in group.points]


def _same_model(models: Sequence[Models]) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Places to be joined: of each model its first point and each of its points in later groups."""
    first: dict[str, tuple[float, float]] = {}
    found = []
    for group in models:
        if group.joined:
            continue
        known = dict(first)
        for point, place in zip(group.points, _places(group.points), strict=True):
            if point.name in known:
                found.append((known[point.name], place))
            first.setdefault(point.name, place)
    return found


def _at(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [logit(point.x) for point in points], [logit(point.y) for point in points]


def _places(points: Sequence[Point]) -> list[tuple[float, float]]:
    return list(zip(*_at(points), strict=True))


def _name(point: Point) -> str:
    """A point's name, with the scores that its place cannot show."""
    beyond = [f"{score:g} %" for score in (point.x, point.y) if not EDGE <= score <= 100 - EDGE]
    return f"{point.name} ({', '.join(beyond)})" if beyond else point.name


def _y_is_x_and_line(axes: Any, line: Line | None) -> None:
    """y = x, and the fit with the band in which 95 % of its bootstrap samples are, over the x that there are."""
    x = np.linspace(axes.dataLim.x0, axes.dataLim.x1, 50)
    axes.plot(x, x, color=BLACK, linewidth=0.8, label="y = x", scaley=False)
    if line:
        if line.drawn:
            ys = np.array([intercept + slope * x for slope, intercept in line.drawn])
            low, high = np.percentile(ys, [2.5, 97.5], axis=0)
            axes.fill_between(x, low, high, color=SOFT, alpha=0.25, linewidth=0)
        axes.plot(
            x,
            line.intercept + line.slope * x,
            color=SOFT,
            linewidth=1.2,
            linestyle=(0, (4, 3)),
            label=name_of(line.label),
        )


def _logit_ticks(axes: Any) -> None:
    """Ticks at round percentages that the data reach, none so close to the one before that they cannot be read."""
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        inside = [tick for tick in TICKS if low <= logit(tick) <= high]
        kept: list[float] = []
        for tick in inside:
            if not kept or logit(tick) - logit(kept[-1]) > (high - low) / 14:
                kept.append(tick)
        axis.set_ticks([logit(tick) for tick in kept], [f"{tick:g}" for tick in kept])
    axes.set_xlim(axes.get_xlim())
    axes.set_ylim(axes.get_ylim())


def _numbers(one: Leak) -> tuple[float | None, ...]:
    return one.overlap, one.change, one.difference, one.low, one.high, one.p


def _columns(some: Sequence[Leak], key: str) -> tuple[list[float], list[float]]:
    return [one.overlap for one in some], [getattr(one, key) for one in some]


def _name_largest(figure: Any, axes: Any, some: Sequence[Leak], key: str) -> None:
    """Names beside the NAMED points that are farthest from no difference."""
    most = sorted(some, key=lambda one: -abs(getattr(one, key)))
    at = list(zip(*_columns(most, key), strict=True))
    if at:
        name_points(figure, axes, [one.name for one in most[:NAMED]], at[:NAMED], at[NAMED:])


def _plain(axes: Any, some: Sequence[Leak], key: str, ink: str, label: str) -> None:
    if some:
        axes.plot(*_columns(some, key), "o", markersize=4.5, color=ink, label=label)
