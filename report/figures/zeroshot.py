"""Zero-shot against probes: the paper's figures 4 to 9 and 11, and the confusion matrix.

Each function returns the SVG and its data. Series of one's own come first: their values are the bars or the filled
markers; the paper's follow. Scores are in per cent, differences in percentage points.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import Failure
from evaluation.paper import Value
from evaluation.summaries import power_law, relation, spread
from report.figures.canvas import (
    BLACK,
    HOLLOW,
    INKS,
    LABEL,
    LINE,
    MOST_SERIES,
    SOFT,
    Drawn,
    Series,
    csv_text,
    dots,
    entry,
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

ROW, MARGIN = 0.165, 1.0  # inches of a row of names, and of what stands above and below them
CLASSES = 30  # of a confusion matrix

_NAME = LABEL - len(", probe")  # characters of a model's name in figure 6, where a legend says more of it


@dataclass(frozen=True)
class PromptScore:
    """The score of a model with one choice of prompts ("class names", "one template", "80 templates")."""

    model: str
    gflops: float  # of the image tower
    prompts: str
    score: float


def prompt_study(name: str, scores: Sequence[PromptScore]) -> Drawn:
    """Figure 4: mean score by compute, a line for each choice of prompts."""
    kinds = list(dict.fromkeys(one.prompts for one in scores))
    require_some("prompt study", kinds)
    for one in scores:
        require_finite(f"the score of {one.model!r} with {one.prompts!r}", one.score, one.gflops)
        if one.gflops <= 0:
            raise Failure(f"prompt study: the GFLOPs of {one.model!r} are {one.gflops}, not above zero")

    def fill(figure: Any) -> None:
        axes = figure.subplots()
        axes.set_xscale("log")
        for which, kind in enumerate(kinds):
            some = sorted((one.gflops, one.score, False) for one in scores if one.prompts == kind)
            axes.plot([x for x, *_ in some], [y for _, y, _ in some], color=INKS[which], linewidth=1.3)
            dots(axes, some, which, kind)
        _ticks_at(axes, [one.gflops for one in scores])
        dress(axes, "GFLOPs of the image tower (log scale)", "mean score (%)")
        legend(figure, axes)
        first = {one.model: (one.gflops, one.score) for one in scores if one.prompts == kinds[0]}
        name_points(figure, axes, list(first), list(first.values()), [(one.gflops, one.score) for one in scores])

    data = csv_text(("model", "gflops", "prompts", "score"), ((o.model, o.gflops, o.prompts, o.score) for o in scores))
    return Drawn(inline_svg(name, "score by compute and prompts", (4.2, 3.0), fill), data)


def differences(name: str, title: str, across: str, series: Sequence[Series]) -> Drawn:
    """Figures 5, 11 and 14 (right): differences by set, the first series as bars in its order, others as markers."""
    require_some(title, series, MOST_SERIES - 1)  # the bars have two colours
    first = series[0]
    at = row_places(series)

    def fill(figure: Any) -> None:
        axes = figure.subplots()
        alpha = 0.85 if len(series) == 1 else 0.55
        for recalled in sorted({value.recalled for value in first.values.values()}):
            face, says = HOLLOW if recalled else LINE, entry(first.label, recalled)
            axes.plot([], [], "s", markersize=6.5, color=LINE, markerfacecolor=face, alpha=alpha, label=says)
        for row, value in first.values.items():
            colour = LINE if value.value >= 0 else INKS[1]
            axes.barh(
                at[row], value.value, height=0.68, edgecolor=colour, linewidth=0.9,
                facecolor=HOLLOW if value.recalled else colour, alpha=alpha,
            )  # fmt: skip
            if len(series) == 1:
                side = 1 if value.value >= 0 else -1
                axes.annotate(
                    f"{value.value:+.1f}", (value.value, at[row]), (3 * side, 0), textcoords="offset points",
                    fontsize=7, va="center", ha="left" if side > 0 else "right",
                )  # fmt: skip
        for which, one in enumerate(series[1:], start=1):
            values = [(value.value, at[row], value.recalled) for row, value in one.values.items()]
            dots(axes, values, which + 1, one.label, size=4)
        axes.axvline(0, color=BLACK, linewidth=0.8)
        axes.margins(x=0.13 if len(series) == 1 else 0.04, y=0.01)
        row_names(axes, at)
        dress(axes, across, "")
        legend(figure, axes)

    return Drawn(inline_svg(name, title, (4.4, MARGIN + ROW * len(at)), fill), series_csv(series))


@dataclass(frozen=True)
class Curve:
    """Mean score over the sets by examples per class, with an interval."""

    label: str
    shots: Sequence[int]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def few_shot(name: str, curves: Sequence[Curve], zero_shot: Mapping[str, float]) -> Drawn:
    """Figure 6: linear probes by examples per class; zero-shot scores across, in the colour of their curve."""
    labels = list(dict.fromkeys([*(curve.label for curve in curves), *zero_shot]))
    require_some("few-shot", labels)
    for curve in curves:
        for shots, *values in zip(curve.shots, curve.mean, curve.low, curve.high, strict=True):
            require_finite(f"{curve.label!r} at {shots} shots", *values)

    def fill(figure: Any) -> None:
        axes = figure.subplots()
        axes.set_xscale("log", base=2)
        for curve in curves:
            which = labels.index(curve.label)
            axes.fill_between(curve.shots, curve.low, curve.high, color=INKS[which], alpha=0.18, linewidth=0)
            axes.plot(curve.shots, curve.mean, color=INKS[which], linewidth=1.3)
            places = [(shots, score, False) for shots, score in zip(curve.shots, curve.mean, strict=True)]
            dots(axes, places, which, f"{name_of(curve.label, _NAME)}, probe")
        for label, score in zero_shot.items():
            ink = INKS[labels.index(label)]
            axes.axhline(
                score, color=ink, linewidth=1.2, linestyle=(0, (4, 3)), label=f"{name_of(label, _NAME)}, zero-shot"
            )
        shots = sorted({shots for curve in curves for shots in curve.shots})
        axes.set_xticks(shots, [f"{n:,}" for n in shots])
        axes.minorticks_off()
        dress(axes, "labelled examples per class", "mean score (%)")
        legend(figure, axes)

    rows: list[tuple[object, ...]] = [
        (curve.label, *values)
        for curve in curves
        for values in zip(curve.shots, curve.mean, curve.low, curve.high, strict=True)
    ]
    rows += [(label, 0, score, None, None) for label, score in zero_shot.items()]
    data = csv_text(("model", "shots", "score", "low", "high"), rows)
    return Drawn(inline_svg(name, "score by labelled examples per class", (4.2, 3.2), fill), data)


def equivalents(name: str, series: Sequence[Series]) -> Drawn:
    """Figure 7: examples per class that a linear probe needs for the zero-shot score, with the first series' mean."""
    require_some("few-shot equivalents", series)
    for one in series:
        if wrong := [row for row, value in one.values.items() if value.value <= 0]:
            raise Failure(f"few-shot equivalents of {one.label!r}: {wrong[0]!r} is not above zero")
    first = series[0]
    at = row_places(series)
    middle = spread(value.value for value in first.values.values())
    places = {value.value for one in series for value in one.values.values()}

    def fill(figure: Any) -> None:
        axes = figure.subplots()
        axes.set_xscale("log")
        for which, one in enumerate(series):
            values = [(value.value, at[row], value.recalled) for row, value in one.values.items()]
            dots(axes, values, which, one.label)
        for row, value in first.values.items():
            axes.annotate(
                f"{value.value:.3g}", (1, at[row]), (2, 0), axes.get_yaxis_transform(), "offset points",
                fontsize=7, va="center",
            )  # fmt: skip
        axes.axvline(middle.mean, color=SOFT, linewidth=1.1, label=f"mean {middle.mean:.1f}")
        axes.axvline(
            middle.median, color=SOFT, linewidth=1.1, linestyle=(0, (4, 3)), label=f"median {middle.median:.1f}"
        )
        axes.margins(x=0.12, y=0.01)
        if len(places) == 1:  # on a logarithmic axis margins around one place are none
            axes.set_xlim(min(places) / 2, min(places) * 2)
        row_names(axes, at)
        axes.xaxis.set_major_formatter("{x:g}")
        dress(axes, "labelled examples per class (log scale)", "")
        legend(figure, axes)

    title = "examples per class for the zero-shot score"
    return Drawn(inline_svg(name, title, (4.4, MARGIN + 0.1 + ROW * len(at)), fill), series_csv(series))


@dataclass(frozen=True)
class Scatter:
    """Scores of one model by set: of its linear probe, and zero-shot. The sets are the same in both."""

    label: str
    probe: Mapping[str, Value]
    zero_shot: Mapping[str, Value]


def against_probe(name: str, models: Sequence[Scatter]) -> Drawn:
    """Figure 8: zero-shot score by that of a linear probe, a point a set, with y = x and the first model's line."""
    require_some("zero-shot against probe", models)
    first = models[0]
    lines = relation(_bare(first.probe), _bare(first.zero_shot))
    for one in models:
        relation(_bare(one.probe), _bare(one.zero_shot))  # refuses what has not the same sets

    def fill(figure: Any) -> None:
        axes = figure.subplots()
        for which, one in enumerate(models):
            pairs = [(x, one.zero_shot[set_]) for set_, x in one.probe.items()]
            dots(axes, [(x.value, y.value, x.recalled or y.recalled) for x, y in pairs], which, one.label)
        low, high = axes.dataLim.x0, axes.dataLim.x1
        axes.plot([low, high], [low, high], color=BLACK, linewidth=0.8, label="y = x")
        axes.plot(
            [low, high], [lines.intercept + lines.slope * x for x in (low, high)], color=LINE, linewidth=1.2,
            linestyle=(0, (4, 3)),
            label=f"slope {lines.slope:.2f} ({lines.low:.2f} to {lines.high:.2f}), r = {lines.r:.2f}",
        )  # fmt: skip
        dress(axes, "linear probe (%)", "zero-shot (%)")
        legend(figure, axes)
        points = [[(x.value, one.zero_shot[set_].value) for set_, x in one.probe.items()] for one in models]
        name_points(figure, axes, list(first.probe), points[0], [point for some in points[1:] for point in some])

    names = ("model", "set", "probe", "zero_shot", "probe_source", "zero_shot_source", "recalled")
    rows = (
        (m.label, s, x.value, m.zero_shot[s].value, x.source, m.zero_shot[s].source, _yes(x, m.zero_shot[s]))
        for m in models
        for s, x in m.probe.items()
    )
    return Drawn(inline_svg(name, "zero-shot score by linear probe", (4.4, 4.4), fill), csv_text(names, rows))


def scaling(name: str, label: str, gflops: Mapping[str, Value], scores: Mapping[str, Mapping[str, Value]]) -> Drawn:
    """Figure 9: mean zero-shot error by compute, both logarithmic, with its power law; each set's error behind it.

    gflops: by model; scores: model → set → per cent, over the sets that all models have.
    """
    models = sorted(gflops, key=lambda model: gflops[model].value)
    if missing := [model for model in models if model not in scores]:
        raise Failure(f"error by compute: {missing[0]!r} has no scores")
    sets = [set_ for set_ in scores[models[0]] if all(set_ in scores[model] for model in models)] if models else []
    if len(models) < 2 or not sets:
        raise Failure("error by compute: it takes two models or more with a set that all have")
    errors = {set_: [100 - scores[model][set_].value for model in models] for set_ in sets}
    for set_, values in errors.items():
        require_finite(f"the error on {set_!r}", *values)
    mean = [float(np.mean(column)) for column in zip(*errors.values(), strict=True)]
    x = [gflops[model].value for model in models]
    law = power_law(x, mean)
    recalled = [gflops[m].recalled or any(scores[m][set_].recalled for set_ in sets) for m in models]

    def fill(figure: Any) -> None:
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.set_yscale("log")
        for values in errors.values():
            if min(values) > 0:  # without an error there is no place on the axis
                axes.plot(x, values, color=SOFT, linewidth=0.6, alpha=0.6, scaley=False)
        axes.plot([], [], color=SOFT, linewidth=0.6, label="single sets, as far as in range")
        low, high = 0.7 * min(mean), min(1.3 * max(mean), 100)
        axes.set_ylim(low, high)
        step = 5 if high - low > 10 else 1
        axes.set_yticks([tick for tick in range(step, 101, step) if low <= tick <= high])
        axes.plot(
            x, [law.factor * value**law.exponent for value in x], color=LINE, linewidth=1.3, linestyle=(0, (4, 3)),
            label=f"error ∝ GFLOPs^{law.exponent:.3f}",
        )  # fmt: skip
        dots(axes, list(zip(x, mean, recalled, strict=True)), 0, f"{label}, mean of {len(sets)}")
        _ticks_at(axes, x)
        axes.yaxis.set_major_formatter("{x:g}")
        dress(axes, "GFLOPs of the image tower (log scale)", "zero-shot error (%)")
        legend(figure, axes)
        name_points(figure, axes, models, list(zip(x, mean, strict=True)))

    rows = (
        (m, gflops[m].value, set_, scores[m][set_].value, scores[m][set_].source, _yes(gflops[m], scores[m][set_]))
        for m in models
        for set_ in sets
    )
    data = csv_text(("model", "gflops", "set", "score", "source", "recalled"), rows)
    return Drawn(inline_svg(name, "zero-shot error by compute", (4.2, 3.6), fill), data)


def confusion(name: str, counts: Mapping[tuple[str, str], int]) -> Drawn:
    """How often examples of a class (row) were taken for a class (column), as shares of the row.

    counts: (class, what it was taken for) → examples. Of more than CLASSES classes those with the most errors, made or
    attracted.
    """
    if not counts or min(counts.values()) < 1:
        raise Failure("confusion matrix: it takes pairs of classes with an example or more each")
    errors, of_class = Counter[str](), Counter[str]()
    for (label, taken_for), n in counts.items():
        of_class[label] += n
        errors.update({label: 0, taken_for: 0} if label == taken_for else {label: n, taken_for: n})
    classes = sorted(sorted(errors, key=lambda one: (-errors[one], one))[:CLASSES])
    place = {label: i for i, label in enumerate(classes)}
    shown = {pair: n for pair, n in sorted(counts.items()) if pair[0] in place and pair[1] in place}

    def fill(figure: Any) -> None:
        from matplotlib.patches import Rectangle

        axes = figure.subplots()
        for (label, taken_for), n in shown.items():
            x, y, share = place[taken_for], place[label], n / of_class[label]
            ink = LINE if label == taken_for else INKS[1]
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=ink, alpha=0.08 + 0.8 * share))
            if len(classes) <= 12:
                axes.text(x, y, f"{share:.0%}", fontsize=6.5, ha="center", va="center")
        dress(axes, "taken for", "class")
        names = [name_of(label) for label in classes]
        axes.set_xticks(range(len(classes)), names, rotation=90, fontsize=7)
        axes.set_yticks(range(len(classes)), names, fontsize=7)
        axes.set(xlim=(-0.5, len(classes) - 0.5), ylim=(len(classes) - 0.5, -0.5), aspect="equal")
        axes.grid(visible=False)

    rows = ((label, taken_for, n, of_class[label]) for (label, taken_for), n in shown.items())
    side = 1.8 + 0.14 * max(len(classes), 10)
    data = csv_text(("class", "taken_for", "examples", "of_class"), rows)
    return Drawn(inline_svg(name, "confusion of classes", (side, side), fill), data)


# ── parts ─────────────────────────────────────────────────────────────────────────────────────────


def _ticks_at(axes: Any, values: Iterable[float]) -> None:
    """A tick of the logarithmic x axis at each value; one too close to that before has a mark and no number."""
    numbers: dict[float, str] = {}
    last = 0.0
    for x in sorted(set(values)):
        numbers[x] = f"{x:.3g}" if x > 1.25 * last else ""
        last = x if numbers[x] else last
    axes.set_xticks(list(numbers), list(numbers.values()))
    axes.minorticks_off()


def _bare(values: Mapping[str, Value]) -> dict[str, float]:
    return {name: value.value for name, value in values.items()}


def _yes(*values: Value) -> str:
    return "yes" if any(value.recalled for value in values) else "no"
