"""The report's plots, by matplotlib: inline SVG in the colours of the page, light or dark."""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

POINTS = 400  # a longer curve is drawn through means over neighbours
BINS = 40  # of a histogram

# Stand for colours of the page, which its style sheet sets for light and for dark.
_LINE, _SOFT = "#2f6f8f", "#8a8a8a"
COLOURS = {_LINE: "kept", _SOFT: "muted", "#b3541e": "second", "#3f7d3a": "third", "#7a4fa0": "fourth"}


def curve(name: str, steps: Numbers, values: Numbers, label: str, chance: float | None = None) -> str:
    """One quantity over the steps of a training, float64 [n] each; what is not finite leaves a gap.

    `chance`: what guessing would get, drawn across.
    """
    steps, values = _thinned(steps), _thinned(np.where(np.isfinite(values), values, np.nan))

    def draw(axes: Any) -> None:
        axes.plot(steps, values, color=_LINE, linewidth=1.3)
        axes.ticklabel_format(axis="y", scilimits=(-3, 4), useOffset=False)
        if chance is not None:
            _mark(axes, chance, "guessing")

    return _plot(name, f"{name} by step", "step (optimiser updates)", label, draw)


def by_rank(name: str, counts: Numbers, thing: str, label: str, limit: float | None = None) -> str:
    """Counts, falling, by their rank, both axes logarithmic: a power law is a straight line."""
    keep = np.unique(np.geomspace(1, len(counts), POINTS).astype(np.int64)) - 1

    def draw(axes: Any) -> None:
        axes.loglog(
            keep + 1, counts[keep], color=_LINE, linewidth=1.3, marker="o" if len(keep) < 30 else "", markersize=2
        )
        if limit is not None and limit <= 10 * counts[0]:
            _mark(axes, limit, "limit")

    return _plot(name, f"{label} by rank", f"rank of the {thing}", label, draw)


def histogram(name: str, values: Numbers, label: str, thing: str) -> str:
    """How many of the values are how large: float64 [n], all at least 1.

    Where they differ by a factor of ten or more, bins grow by the same factor, on a logarithmic axis.
    """
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    least, most = values.min(), max(values.max(), values.min() + 1)
    logarithmic = most >= 10 * least
    edges = np.unique(np.round((np.geomspace if logarithmic else np.linspace)(least, most + 1, BINS + 1)))

    def draw(axes: Any) -> None:
        axes.hist(values, bins=edges - 0.5, color=_LINE, linewidth=0)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
        if logarithmic:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if most < 1000 * least else (1,)))
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter("{x:,.0f}")

    return _plot(name, f"{thing} by {label}", label, thing, draw)


def _mark(axes: Any, height: float, says: str) -> None:
    """A dashed line across, with what it is at its right end."""
    axes.axhline(height, color=_SOFT, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        says, (1, height), (0, 2), axes.get_yaxis_transform(), "offset points", color=_SOFT, ha="right", va="bottom"
    )


def _plot(name: str, title: str, across: str, up: str, draw: Callable[[Any], None]) -> str:
    """A plot of one pair of axes as a part of a page."""

    def fill(figure: Any) -> None:
        axes = figure.subplots()
        draw(axes)
        dress(axes, across, up)

    return inline_svg(name, title, (4.0, 2.5), fill)


def dress(axes: Any, across: str, up: str) -> None:
    """The labels, grid and frame that all axes of the report have; last, for it looks at the axes' own formatters."""
    from matplotlib.ticker import LogFormatter, StrMethodFormatter

    for axis in (axes.xaxis, axes.yaxis):  # the formatters of logarithmic axes write mathematics, which is off
        if isinstance(axis.get_major_formatter(), LogFormatter):
            axis.set_major_formatter(StrMethodFormatter("{x:,.10g}"))
        if isinstance(axis.get_minor_formatter(), LogFormatter):
            axis.set_minor_formatter(LogFormatter())  # plain numbers, and only within a decade
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(visible=True, color="#000000", alpha=0.12, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def inline_svg(name: str, title: str, inches: tuple[float, float], fill: Callable[[Any], None]) -> str:
    """What `fill` draws in a matplotlib figure, as a part of a page. The same numbers give the same bytes.

    `name` keeps its ids apart from others'. An inch is 72 units of the SVG. Text is text, and never mathematics: names
    of classes may hold dollar signs. Glyphs that matplotlib's own font lacks are the browser's.
    """
    import matplotlib
    from matplotlib.figure import Figure

    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 8.5, "text.parse_math": False}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure = Figure(figsize=inches, layout="constrained")
        fill(figure)
        file = io.StringIO()
        unsigned = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=unsigned)
    return _inline(file.getvalue(), name, title)


def _thinned(values: Numbers) -> Numbers:
    """Means over runs of neighbours, so that at most POINTS are left."""
    run = -(-len(values) // POINTS)
    return np.array([values[at : at + run].mean() for at in range(0, len(values), run)]) if run > 1 else values


def _inline(svg: str, name: str, title: str) -> str:
    """Matplotlib's SVG as part of a page: no prolog, no size, no styles or fonts of its own, ids of its own."""
    svg = svg[svg.index("<svg") :].replace("#000000", "currentColor")
    for drawn, colour in COLOURS.items():
        svg = svg.replace(drawn, f"var(--{colour})")
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg)
    svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(title)}"', 1)
