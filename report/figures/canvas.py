"""What all figures share: values with their source, series, legends, names beside points, the data as CSV.

A value that is only recalled of the paper is drawn hollow, and the legend says so.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from core.errors import Failure
from evaluation.paper import Value
from report.phrases import shown
from report.plots import COLOURS

LINE, SOFT, *_ = COLOURS
INKS = [colour for colour in COLOURS if colour != SOFT]  # of series, in their order
MARKERS = "osD^"
BLACK = "#000000"  # becomes the text's colour
LABEL = 36  # characters of a name in a figure
HOLLOW = "none"
MOST_SERIES = len(INKS)


class Drawn(NamedTuple):
    """A figure: the SVG as a part of a page, and the numbers that it shows, as CSV with a first line of names."""

    svg: str
    data: str


class Figure(NamedTuple):
    """The same with the sentences that stand below it on the page."""

    svg: str
    data: str
    says: str


@dataclass(frozen=True)
class Series:
    """Values by name (of a set, a class, a model) under one entry of the legend. Failure where one is not finite."""

    label: str
    values: Mapping[str, Value]

    def __post_init__(self) -> None:
        if not self.values:
            raise Failure(f"{self.label!r} has no value to draw: leave it out")
        for name, value in self.values.items():
            require_finite(f"{name!r} of {self.label!r}", value.value)


def measured(values: Mapping[str, float], source: str = "measured") -> dict[str, Value]:
    """One's own results as values."""
    return {name: Value(float(value), source, recalled=False) for name, value in values.items()}


def require_finite(what: str, *values: float) -> None:
    """Failure where a value that is to be drawn is NaN or infinite."""
    if not all(math.isfinite(value) for value in values):
        raise Failure(f"{what} is {', '.join(map(str, values))}: leave out what is not measured")


def require_some(figure: str, series: Sequence[object], most: int = MOST_SERIES) -> None:
    """Failure where there is nothing to draw, or more than can be told apart."""
    if not series:
        raise Failure(f"{figure}: there is nothing to draw")
    if len(series) > most:
        raise Failure(f"{figure}: {len(series)} series cannot be told apart: draw {most} at a time")


def some_at_a_time(names: Sequence[str], most: int = MOST_SERIES) -> Iterator[tuple[str, Sequence[str]]]:
    """What the id of a figure ends in, and the models that it draws: where they are too many, it is drawn again."""
    for at in range(0, len(names), most):
        yield (f"-from-{at}" if at else ""), names[at : at + most]


def csv_text(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV; floats in full, nothing where there is no value."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow("" if cell is None else repr(float(cell)) if isinstance(cell, float) else cell for cell in row)
    return file.getvalue()


def series_csv(series: Sequence[Series]) -> str:
    """All series as CSV, a row a value, with its source."""
    return csv_text(
        ("series", "name", "value", "source", "recalled"),
        (
            (one.label, name, value.value, value.source, "yes" if value.recalled else "no")
            for one in series
            for name, value in one.values.items()
        ),
    )


def name_of(text: str, room: int = LABEL) -> str:
    """A name as a figure has room for it, in characters: cut, and without what cannot be seen."""
    text = shown(text)
    return text if len(text) <= room else text[: room - 1] + "…"


# ── drawing ───────────────────────────────────────────────────────────────────────────────────────


def dots(axes: Any, places: Sequence[tuple[float, float, bool]], which: int, label: str, size: float = 5) -> None:
    """Markers of series number `which` at (x, y, recalled); those recalled are hollow, with an entry of their own."""
    for hollow in (False, True):
        chosen = [(x, y) for x, y, recalled in places if recalled == hollow]
        if chosen:
            axes.plot(
                *zip(*chosen, strict=True),
                marker=MARKERS[which % len(MARKERS)],
                markersize=size,
                linestyle="none",
                color=INKS[which],
                markerfacecolor=HOLLOW if hollow else INKS[which],
                label=entry(label, hollow),
            )


def entry(label: str, recalled: bool) -> str:
    """What the legend says of a series, or of those of its values that are only recalled."""
    return name_of(label) + (" (recalled, not read)" if recalled else "")


def row_places(series: Sequence[Series]) -> dict[str, int]:
    """A row for each name, 0 at the top and falling: by value in the first series, those it lacks by name."""
    first = series[0].values
    order = sorted(first, key=lambda name: (-first[name].value, name))
    order += sorted({name for one in series for name in one.values} - set(order))
    return {name: -i for i, name in enumerate(order)}


def row_names(axes: Any, at: Mapping[str, int]) -> None:
    """The name of each row at its left, and room for its marker."""
    axes.set_yticks(list(at.values()), [name_of(row) for row in at], fontsize=7.5)
    axes.set_ylim(min(at.values()) - 0.6, max(at.values()) + 0.6)
    axes.tick_params(axis="y", length=0)


def legend(figure: Any, *axes: Any) -> None:
    """The legend above all axes, each entry once."""
    entries: dict[str, Any] = {}
    for one in axes:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        columns = 2 if max(map(len, entries)) <= 26 and len(entries) > 1 else 1
        figure.legend(
            list(entries.values()), list(entries), loc="outside upper left", ncols=columns, frameon=False,
            handlelength=1.6, borderpad=0, borderaxespad=0, labelspacing=0.3,
        )  # fmt: skip


Points = Sequence[tuple[float, float]]


def name_points(figure: Any, axes: Any, names: Sequence[str], points: Points, others: Points = ()) -> None:
    """Each point's name beside it, where it covers no point and no name; a thin line leads to those farther off.

    `others`: points without a name here, which names do not cover either.
    """
    if not names:
        return
    figure.draw_without_rendering()  # settles the axes' place and limits
    scale = 72 / figure.dpi  # points a pixel
    inside, at = axes.get_window_extent(), axes.transData.transform([*points, *others])
    taken = [(px - 4, py - 4, px + 4, py + 4) for px, py in at]
    for i in sorted(range(len(names)), key=lambda i: (at[i][1], at[i][0])):
        text = axes.annotate(
            name_of(names[i]), points[i], (0, 0), textcoords="offset points", fontsize=7, va="center", ha="center"
        )
        text.set_in_layout(False)
        size = text.get_window_extent()
        box, (dx, dy) = min(
            ((_around(at[i], step, size.width / 2, size.height / 2), step) for step in _STEPS),
            key=lambda choice: (
                sum(_overlap(choice[0], other) for other in taken)
                + 4 * _outside(choice[0], inside)
                + 2 * math.hypot(*choice[1])
            ),
        )
        taken.append(box)
        middle = (box[0] + box[2]) / 2 - at[i][0], (box[1] + box[3]) / 2 - at[i][1]
        text.set_position((middle[0] * scale, middle[1] * scale))
        if math.hypot(dx, dy) > 12:
            ends = axes.transData.inverted().transform([at[i], (at[i][0] + dx, at[i][1] + dy)])
            axes.plot(*ends.T, color=SOFT, linewidth=0.5, scalex=False, scaley=False)


# From a point to the near edge of its name, in pixels: eight directions, at growing distance.
_STEPS = [
    (distance * dx, distance * dy)
    for distance in (6, 16, 28, 42, 58)
    for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1), (0.7, 0.7), (-0.7, 0.7), (0.7, -0.7), (-0.7, -0.7))
]

Box = tuple[float, float, float, float]  # left, bottom, right, top in pixels


def _around(point: Any, step: tuple[float, float], half_width: float, half_height: float) -> Box:
    """The box of a name whose near edge is a step away from its point."""
    sign = [(value > 0) - (value < 0) for value in step]
    x, y = point[0] + step[0] + sign[0] * half_width, point[1] + step[1] + sign[1] * half_height
    return x - half_width, y - half_height, x + half_width, y + half_height


def _overlap(one: Box, other: Box) -> float:
    """Square pixels that two boxes share."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0


def _outside(box: Box, axes: Any) -> float:
    """Square pixels of a box that lie outside the axes."""
    return (box[2] - box[0]) * (box[3] - box[1]) - _overlap(box, (axes.x0, axes.y0, axes.x1, axes.y1))
