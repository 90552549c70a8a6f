"""Under shift, adapted: figures 14 and 15 of the paper, of the model that was evaluated.

To ImageNet: probes on its training pictures, whose rows have the method "imagenet-probe" ("probe" and "few-shot" on
ImageNet itself). To class shift: each shift's own class names, rows of the method "own-names"; a shift with ImageNet's
classes keeps its accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from evaluation import adaptation, paper
from evaluation.adaptation import Change
from evaluation.paper import Value
from evaluation.robustness import SHIFTS, Fit, Shift
from report.by_set import Row, in_paper, of_method
from report.figures import shift as figures
from report.figures import zeroshot
from report.figures.canvas import Series, measured
from report.figures.shift import Line, Models, Point

MINE = "this model"
TO_IMAGENET, TO_CLASSES = "adapt to ImageNet", "adapt to class shift"  # as the table of figure 14 has them

Sides = dict[str, tuple[float, float]]  # by shift: on ImageNet's pictures of its classes, and under shift


class Figure(NamedTuple):
    """A figure of the page, its numbers as CSV, and what it says."""

    svg: str
    data: str
    says: str


def sides(by_set: Mapping[str, Row], outside: Mapping[str, Row] | None = None) -> Sides:
    """The accuracies of both sides, of the shifts that have both; `outside`: of the shifts, where they are others."""
    outside = by_set if outside is None else outside
    found: Sides = {}
    for shift in SHIFTS:
        x, y = by_set.get(inside_of(shift)), outside.get(shift.registered)
        if x is not None and y is not None:
            found[shift.name] = float(x["value"]), float(y["value"])
    return found


def inside_of(shift: Shift) -> str:
    """The set that a shift is compared with."""
    return "imagenet" if shift.inside == "val" else shift.inside


def ways(rows: Sequence[Row]) -> dict[str, Sides]:
    """Accuracies by how the model was adapted: with own class names, with a probe on ImageNet's training pictures."""
    zero_shot, own = of_method(rows, "zero-shot"), of_method(rows, "own-names")
    found = {"with own class names": sides(zero_shot, zero_shot | own)} if own else {}
    if whole := _probes(rows).get(None):
        found["with a probe on ImageNet"] = sides(whole)
    return found


def figure_14(rows: Sequence[Row]) -> list[Figure]:
    """Changes of accuracy by data set, a figure an adaptation; none where there is no adaptation."""
    zero_shot, own, probe = of_method(rows, "zero-shot"), of_method(rows, "own-names"), _probes(rows).get(None, {})
    names = ["imagenet", *(shift.registered for shift in SHIFTS)]
    to_imagenet = _changes(
        {name: (zero_shot[name], probe[name]) for name in names if name in zero_shot and name in probe}
    )
    shifts = [name for name in names[1:] if name in zero_shot]
    to_classes = _changes({name: (zero_shot[name], own.get(name, zero_shot[name])) for name in shifts})
    drawn = []
    if len(to_imagenet) > 1:
        says = (
            "What a logistic regression on ImageNet's training pictures changes, set by set, against zero-shot: it is "
            f"judged on the others as it is. {_mean([one for one in to_imagenet if one.name != 'ImageNet'])}"
        )
        drawn.append(_drawn("adapt-imagenet", TO_IMAGENET, to_imagenet, says))
    if own and to_classes:
        says = (
            "What a shift's own class names change, against ImageNet's 1,000 of which the best of each super-class "
            f"counts; where the classes are ImageNet's, nothing. {_mean(to_classes)}"
        )
        drawn.append(_drawn("adapt-classes", TO_CLASSES, to_classes, says))
    return drawn


def figure_15(rows: Sequence[Row], others: Sequence[Point], line: Fit | None, names: Sequence[str]) -> Figure | None:
    """From zero-shot over few shots to all of ImageNet's training pictures; None without few-shot probes of ImageNet's.

    `others`: models that `line` was fitted to, over the shifts `names`.
    """
    probes = _probes(rows)
    steps = {"0": sides(of_method(rows, "zero-shot"))}
    steps |= {str(shots): sides(probes[shots]) for shots in sorted(k for k in probes if k is not None)}
    if None in probes:
        steps["all"] = sides(probes[None])
    whole = {shots: some for shots, some in steps.items() if all(name in some for name in names)}
    if "0" not in whole or not any(shots.isdecimal() and shots != "0" for shots in whole):
        return None
    inside, outside = (
        {shots: {name: some[name][i] for name in names} for shots, some in whole.items()} for i in (0, 1)
    )
    found = adaptation.continuum(inside, outside, line)
    points = [Point(step.shots, 100 * step.inside, 100 * step.outside) for step in found]
    drawn = figures.under_shift(
        "continuum",
        "from zero-shot to all of ImageNet's training pictures",
        others,
        [Models(f"{MINE} by examples a class", points, joined=True)],
        None if line is None else Line("fit of the other models", line.slope, line.intercept),
        "ImageNet, same classes (%)",
        "mean under shift (%)" if len(names) > 1 else "under shift (%)",
    )
    says = (
        "Probes on so many of ImageNet's training pictures a class, from zero-shot (0) to all. As figure 15 of the "
        "paper."
    )
    if line is not None:
        effective = ", ".join(f"{step.shots}: {100 * (step.effective or 0):+.1f}" for step in found)
        says += f" Effective robustness in points: {effective}."
    return Figure(*drawn, says)


def _probes(rows: Sequence[Row]) -> dict[int | None, dict[str, Row]]:
    """Rows of ImageNet's probes by shots (None: all examples) and by set; of a set the first counts."""
    found: dict[int | None, dict[str, Row]] = {}
    for row in rows:
        own = row.get("set") == "imagenet" and row.get("method") in ("probe", "few-shot")
        if own or row.get("method") == "imagenet-probe":
            found.setdefault(row["shots"], {}).setdefault(row["set"], row)
    return found


def _changes(pairs: Mapping[str, tuple[Row, Row]]) -> list[Change]:
    return [
        Change(in_paper(name), int(after["n"]), float(before["value"]), float(after["value"]))
        for name, (before, after) in pairs.items()
    ]


def _mean(changes: Sequence[Change]) -> str:
    """The mean over the shifts, as a sentence; nothing where there is none."""
    if not changes:
        return ""
    over = "1 shift" if len(changes) == 1 else f"{len(changes)} shifts"
    return f"Mean over {over}: {100 * adaptation.mean_change(changes):+.1f} points. As figure 14 (right) of the paper."


def _drawn(name: str, which: str, changes: Sequence[Change], says: str) -> Figure:
    series = [Series(MINE, measured({one.name: 100 * one.change for one in changes}))]
    table = paper.table("figure_14")
    known: dict[str, Value] = {one.name: table[one.name][which] for one in changes if which in table.get(one.name, {})}
    if known:
        series.append(Series("paper", known))
    return Figure(*zeroshot.differences(name, which, "change of accuracy (points)", series), says)
