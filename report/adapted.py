"""Under shift, adapted: figures 14 and 15 of the paper, of the models that were evaluated.

To ImageNet: probes on its training pictures, whose rows have the method "imagenet-probe" ("probe" and "few-shot" on
ImageNet itself). To class shift: each shift's own class names, rows of the method "own-names"; a shift with ImageNet's
classes keeps its accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isclose

from evaluation import adaptation, paper
from evaluation.adaptation import Change, Step
from evaluation.robustness import SHIFTS, Fit, Shift
from report.by_set import Row, in_paper, model_of, of_method, title
from report.figures import shift as figures
from report.figures import zeroshot
from report.figures.canvas import MOST_SERIES, Figure, Series, measured, some_at_a_time
from report.figures.shift import Line, Models, Point
from report.phrases import count

TO_IMAGENET, TO_CLASSES = "adapt to ImageNet", "adapt to class shift"  # as the table of figure 14 has them
OWN_NAMES, PROBE = "with own class names", "with a probe on ImageNet"  # as figure 14 (left) has them here

Sides = dict[str, tuple[float, float]]  # by shift: on ImageNet's pictures of its classes, and under shift


def sides(by_set: Mapping[str, Row], outside: Mapping[str, Row] | None = None) -> Sides:
    """The accuracies of both sides, of the shifts that have both in the same classes.

    `outside`: of the shifts, where they are others.
    """
    outside = by_set if outside is None else outside
    found: Sides = {}
    for shift in SHIFTS:
        x, y = by_set.get(inside_of(shift)), outside.get(shift.registered)
        if x is not None and y is not None and same_classes(x, by_set.get(shift.registered, y)):
            found[shift.name] = float(x["value"]), float(y["value"])
    return found


def same_classes(inside: Row, outside: Row) -> bool:
    """Whether one is chosen among as many classes on both sides, as far as their rows say what guessing would get.

    Of ImageNet-A or -R without some of its classes, one is chosen among those that are there.
    """
    x, y = inside.get("chance"), outside.get("chance")
    return x is None or y is None or isclose(x, y, rel_tol=1e-6)


def inside_of(shift: Shift) -> str:
    """The set that a shift is compared with."""
    return "imagenet" if shift.inside == "val" else shift.inside


def ways(rows: Sequence[Row], model: str) -> dict[str, Sides]:
    """Accuracies of a model by how it was adapted."""
    zero_shot, own = of_method(rows, "zero-shot", model), of_method(rows, "own-names", model)
    found = {OWN_NAMES: sides(zero_shot, zero_shot | own)} if own else {}
    if whole := _probes(rows, model).get(None):
        found[PROBE] = sides(whole)
    return found


# ── figure 14, right ──────────────────────────────────────────────────────────────────────────────


def figure_14(rows: Sequence[Row], models: Sequence[str]) -> list[Figure]:
    """Changes of accuracy by data set, for each adaptation that some model has had."""
    to_imagenet = {title(model): found for model in models if len(found := _to_imagenet(rows, model)) > 1}
    to_classes = {title(model): found for model in models if (found := _to_classes(rows, model))}
    return [
        *_differences(
            "adapt-imagenet",
            TO_IMAGENET,
            to_imagenet,
            "What a logistic regression on ImageNet's training pictures changes, set by set, against zero-shot: it is "
            "judged on the others as it is.",
        ),
        *_differences(
            "adapt-classes",
            TO_CLASSES,
            to_classes,
            "What a shift's own class names change, against ImageNet's 1,000 of which the best of each super-class "
            "counts; where the classes are ImageNet's, nothing.",
        ),
    ]


def _to_imagenet(rows: Sequence[Row], model: str) -> list[Change]:
    """From zero-shot to the probe on all of ImageNet's training pictures: ImageNet first, then the shifts."""
    zero_shot, probe = of_method(rows, "zero-shot", model), _probes(rows, model).get(None, {})
    names = ["imagenet", *(shift.registered for shift in SHIFTS)]
    return [_change(name, zero_shot[name], probe[name]) for name in names if name in zero_shot and name in probe]


def _to_classes(rows: Sequence[Row], model: str) -> list[Change]:
    """From ImageNet's class names to each shift's own; no change where a shift has ImageNet's classes."""
    zero_shot, own = of_method(rows, "zero-shot", model), of_method(rows, "own-names", model)
    names = [shift.registered for shift in SHIFTS if shift.registered in zero_shot]
    return [_change(name, zero_shot[name], own.get(name, zero_shot[name])) for name in names] if own else []


def _change(name: str, before: Row, after: Row) -> Change:
    return Change(in_paper(name), int(after["n"]), float(before["value"]), float(after["value"]))


def _differences(name: str, which: str, changes: Mapping[str, Sequence[Change]], says: str) -> list[Figure]:
    """A figure of the changes of some models, beside the paper's."""
    drawn = []
    for ending, some in some_at_a_time(list(changes), MOST_SERIES - 2):  # the bars have two colours, one is the paper's
        series = [Series(model, measured({one.name: 100 * one.change for one in changes[model]})) for model in some]
        known = paper.column(paper.table("figure_14"), which)
        rows = dict.fromkeys(row for one in series for row in one.values)
        if theirs := {row: known[row] for row in rows if row in known}:
            series.append(Series("paper", theirs))
        figure = zeroshot.differences(name + ending, which, "change of accuracy (points)", series)
        means = " ".join(_mean(changes[model], model if len(changes) > 1 else "") for model in some)
        drawn.append(Figure(*figure, f"{says} {means} As figure 14 (right) of the paper."))
    return drawn


def _mean(changes: Sequence[Change], model: str) -> str:
    """The mean over the shifts, as a sentence."""
    shifts = [one for one in changes if one.name != "ImageNet"]
    of = f" of {model}" if model else ""
    return f"Mean{of} over {count(len(shifts), 'shift')}: {100 * adaptation.mean_change(shifts):+.1f} points."


# ── figure 15 ─────────────────────────────────────────────────────────────────────────────────────


def figure_15(
    rows: Sequence[Row], models: Sequence[str], others: Sequence[Point], line: Fit, shifts: Sequence[str]
) -> list[Figure]:
    """From zero-shot over few shots to all of ImageNet's training pictures, of the models with few-shot probes of it.

    `others`: the models that `line` was fitted to, over `shifts`.
    """
    found = {title(model): steps for model in models if (steps := _continuum(rows, model, line, shifts))}
    drawn = []
    for ending, some in some_at_a_time(list(found)):
        paths = {
            name: [Point(step.shots, 100 * step.inside, 100 * step.outside) for step in found[name]] for name in some
        }
        figure = figures.under_shift(
            f"continuum{ending}",
            "from zero-shot to all of ImageNet's training pictures",
            others,
            [Models(name, points, joined=True) for name, points in paths.items()],
            Line("fit of the other models", line.slope, line.intercept),
            "ImageNet, same classes (%)",
            "mean under shift (%)" if len(shifts) > 1 else "under shift (%)",
        )
        by_steps = "; ".join(
            (f"{name}: " if len(found) > 1 else "")
            + ", ".join(f"{one.shots} {100 * one.effective:+.1f}" for one in found[name])
            for name in some
        )
        says = (
            "Probes on so many of ImageNet's training pictures a class, from zero-shot (0) to all. As figure 15 of the "
            f"paper, which prints no values. Effective robustness in points: {by_steps}."
        )
        drawn.append(Figure(*figure, says))
    return drawn


def _continuum(rows: Sequence[Row], model: str, line: Fit, shifts: Sequence[str]) -> list[Step]:
    """The steps with all of the shifts; none where there is zero-shot or the probe on all pictures alone."""
    probes = _probes(rows, model)
    steps = {"0": sides(of_method(rows, "zero-shot", model))}
    steps |= {str(shots): sides(probes[shots]) for shots in sorted(k for k in probes if k is not None)}
    if None in probes:
        steps["all"] = sides(probes[None])
    whole = {shots: some for shots, some in steps.items() if all(name in some for name in shifts)}
    if "0" not in whole or not whole.keys() - {"0", "all"}:
        return []
    inside, outside = ({step: {name: some[name][i] for name in shifts} for step, some in whole.items()} for i in (0, 1))
    return adaptation.continuum(inside, outside, line)


def _probes(rows: Sequence[Row], model: str) -> dict[int | None, dict[str, Row]]:
    """Rows of ImageNet's probes of a model by shots (None: all examples) and by set; of a set the first counts."""
    found: dict[int | None, dict[str, Row]] = {}
    for row in rows:
        own = row.get("set") == "imagenet" and row.get("method") in ("probe", "few-shot")
        if model_of(row) == model and (own or row.get("method") == "imagenet-probe"):
            found.setdefault(row["shots"], {}).setdefault(row["set"], row)
    return found
