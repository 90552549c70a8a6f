"""Under shift: models on ImageNet's natural shifts, beside those of the testbed and the paper's (section 3.3).

Drawn and compared are the shifts of which all models have the accuracy on ImageNet's validation pictures of their
classes, too: the set `imagenet`, or for shifts with fewer classes the set that the testbed calls val-on-…-classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.manifest import Manifest
from evaluation import paper, robustness, sets
from evaluation.robustness import FEWEST_EXAMPLES, SHIFTS, Fit, Model, Outcomes, Robustness, Shift
from report import adapted, evals, models
from report.adapted import Sides
from report.by_set import Row, in_paper, of_method, title
from report.by_set import models as models_of
from report.figures import shift as figures
from report.figures.canvas import Drawn, Figure
from report.figures.shift import Line, Models, Point

FEWEST = 20  # examples a class, below which a result shows only that everything works


@dataclass(frozen=True)
class Score:
    """A model on one shift. `inside`: its accuracy on ImageNet's pictures of the same classes, from 0 to 1."""

    model: str  # as the page calls it
    row: Row
    inside: float | None


@dataclass(frozen=True)
class OnShift:
    """One shift. Shares from 0 to 1; those of the paper are of its zero-shot CLIP and of a ResNet-101."""

    title: str
    scores: Sequence[Score]
    n: int  # examples
    a_class: float  # examples, on average
    published: int  # examples of the set as it was published
    clip: float | None
    resnet: float | None

    @property
    def whole(self) -> bool:
        """Whether it has as many examples as the published set."""
        return self.n >= self.published

    @property
    def few(self) -> bool:
        """Whether there are too few examples to claim anything: a part of the set, with fewer than 20 a class."""
        return self.a_class < FEWEST and not self.whole


@dataclass(frozen=True)
class Section:
    """The part of the page. `robustness` is empty, and `figure` None, where no shift can be compared with ImageNet.

    `ways`: adaptations that figure 14 (left) shows; `adapted`: figures 14 (right) and 15 of the models that have them.
    """

    models: Sequence[str]  # as the page calls them
    left_out: int  # models with such results that are not shown
    shifts: Sequence[OnShift]
    robustness: Sequence[Robustness]
    figure: Drawn | None
    fitted: int  # models of the testbed, that the line is fitted to
    ways: Sequence[str]
    adapted: Sequence[Figure]

    @property
    def weak(self) -> list[str]:
        """The models with at most 40 % on ImageNet, where models lie on no line."""
        return [one.name for one in self.robustness if one.inside <= robustness.LEAST_ACCURACY]

    @property
    def uncompared(self) -> list[str]:
        """The shifts of which some model lacks the accuracy on ImageNet."""
        return [one.title for one in self.shifts if len(one.scores) < len(self.models) or _lacks(one.scores)]


def section(results: Manifest | None, rows: Sequence[Row], seed: int) -> Section | None:
    """The part of the page; None where no shift was evaluated. `results`: the evaluation, with its single examples."""
    every = evaluated(rows)
    names = every[: models.MODELS]
    if not names:
        return None
    found = on_shifts(rows, names)
    titles, left_out = [title(name) for name in names], len(every) - len(names)
    changes = adapted.figure_14(rows, names)
    shifts = compared(rows, names)
    if not shifts:
        return Section(titles, left_out, found, [], None, 0, [], changes)
    used = robustness.baselines(robustness.testbed(), shifts)
    line = robustness.fit(robustness.points(used, shifts))
    steps = adapted.figure_15(rows, names, [_point(one, shifts) for one in used], line, shifts)
    measured = measure(results, rows, names, shifts, seed)
    ways = _ways(rows, names, shifts)
    figure = _figure(measured, ways, line, shifts, seed)
    return Section(titles, left_out, found, measured, figure, len(used), list(ways), [*changes, *steps])


def evaluated(rows: Sequence[Row]) -> list[str]:
    """The models that were evaluated zero-shot on a shift, the recipe's own first."""
    registered = {shift.registered for shift in SHIFTS}
    return [name for name in models_of(rows) if registered & of_method(rows, "zero-shot", name).keys()]


def on_shifts(rows: Sequence[Row], names: Sequence[str]) -> list[OnShift]:
    """The shifts that some of these models were evaluated on zero-shot, in the paper's order."""
    by_model = {name: of_method(rows, "zero-shot", name) for name in names}
    found = []
    for shift in SHIFTS:
        scores = [
            Score(title(name), zero_shot[shift.registered], _inside(zero_shot, shift))
            for name, zero_shot in by_model.items()
            if shift.registered in zero_shot
        ]
        if scores:
            known, n = sets.load(shift.registered), int(scores[0].row["n"])
            found.append(
                OnShift(
                    title=shift.title,
                    scores=scores,
                    n=n,
                    a_class=n / known.classes,
                    published=known.test,
                    clip=_of_paper("table_16", "zero-shot CLIP", in_paper(shift.registered)),
                    resnet=_of_paper_figure(in_paper(shift.registered)),
                )
            )
    return found


def compared(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """The shifts of which all of these models have both sides, in the paper's order."""
    known = [adapted.sides(of_method(rows, "zero-shot", name)) for name in names]
    return [shift.name for shift in SHIFTS if all(shift.name in one for one in known)]


def measure(
    results: Manifest | None, rows: Sequence[Row], names: Sequence[str], shifts: Sequence[str], seed: int
) -> list[Robustness]:
    """Effective robustness of some models over shifts that all of them have, with intervals over their examples.

    Over the choice of the testbed's models alone where single examples are not known, or fewer than 20 of a set.
    """
    chosen = [shift for shift in SHIFTS if shift.name in shifts]
    sets = {set_ for shift in chosen for set_ in (adapted.inside_of(shift), shift.registered)}
    known = {name: of_method(rows, "zero-shot", name) for name in names}
    asked = {
        (name, set_): (name, set_, str(zero_shot[set_]["prompts"]))
        for name, zero_shot in known.items()
        for set_ in sets
    }
    outcomes = evals.outcomes(results, set(asked.values())) if results else {}
    measured = []
    for name, zero_shot in known.items():
        of_set = {set_: outcomes.get(asked[name, set_]) for set_ in sets}
        measured.append(_model(title(name), adapted.sides(zero_shot), shifts, _outcomes(of_set, chosen)))
    return robustness.measure(measured, robustness.testbed(), shifts, seed=seed)


def _model(name: str, both: Sides, shifts: Sequence[str], outcomes: Outcomes | None = None) -> Model:
    inside, outside = ({shift: both[shift][i] for shift in shifts} for i in (0, 1))
    return Model(name, inside, outside, outcomes)


def _outcomes(of_set: Mapping[str, robustness.Examples | None], shifts: Sequence[Shift]) -> Outcomes | None:
    """The examples of both sides; None where some are not known, or are too few for an interval."""
    inside, outside = {}, {}
    for shift in shifts:
        x, y = of_set[adapted.inside_of(shift)], of_set[shift.registered]
        if x is None or y is None or min(len(x.ids), len(y.ids)) < FEWEST_EXAMPLES:
            return None
        inside[shift.name], outside[shift.name] = x, y
    return Outcomes(inside, outside)


def _lacks(scores: Sequence[Score]) -> bool:
    return any(one.inside is None for one in scores)


def _inside(zero_shot: Mapping[str, Row], shift: Shift) -> float | None:
    row = zero_shot.get(adapted.inside_of(shift))
    if row is None or not adapted.same_classes(row, zero_shot[shift.registered]):
        return None
    return float(row["value"])


def _of_paper(table: str, model: str, column: str) -> float | None:
    """An accuracy of a table; of clips the mean of pm-0 and pm-10."""
    row = paper.table(table)[model]
    values = [value.value for name, value in row.items() if name in (column, f"{column} PM0", f"{column} PM10")]
    return sum(values) / len(values) / 100 if values else None


def _of_paper_figure(row: str) -> float | None:
    value = paper.table("figure_13").get(row, {}).get("ResNet-101")
    return value.value / 100 if value else None


# ── the figure ────────────────────────────────────────────────────────────────────────────────────


def _ways(rows: Sequence[Row], names: Sequence[str], shifts: Sequence[str]) -> dict[str, dict[str, Sides]]:
    """By adaptation and by what the page calls a model: accuracies, of the models that have all of the shifts."""
    found: dict[str, dict[str, Sides]] = {way: {} for way in (adapted.OWN_NAMES, adapted.PROBE)}
    for name in names:
        for way, some in adapted.ways(rows, name).items():
            if all(shift in some for shift in shifts):
                found[way][title(name)] = some
    return {way: some for way, some in found.items() if some}


def _figure(
    measured: Sequence[Robustness],
    ways: Mapping[str, Mapping[str, Sides]],
    line: Fit,
    shifts: Sequence[str],
    seed: int,
) -> Drawn:
    """Figures 13 and 14, left: the means over the shifts that can be compared."""
    others = robustness.testbed()
    drawn = [(one.slope, one.intercept) for one in robustness.fits_drawn(others, shifts, seed)]
    clip = [one for one in others if "clip" in one.name and all(name in one.inside for name in shifts)]
    groups = [Models("zero-shot", [Point(one.name, 100 * one.inside, 100 * one.outside) for one in measured])]
    for way, some in ways.items():
        points = [_point(_model(name, both, shifts), shifts) for name, both in some.items()]
        groups.append(Models(way, points, named=False))
    if clip:
        groups.append(Models("CLIP zero-shot, testbed", [_point(one, shifts) for one in clip]))
    return figures.under_shift(
        "shift",
        "accuracy under shift by accuracy on ImageNet",
        [_point(one, shifts) for one in robustness.baselines(others, shifts)],
        groups,
        Line("fit of the other models", line.slope, line.intercept, drawn),
        "ImageNet, same classes (%)",
        "mean under shift (%)" if len(shifts) > 1 else "under shift (%)",
    )


def _point(model: Model, shifts: Sequence[str]) -> Point:
    inside, outside = robustness.means(model, shifts)
    return Point(model.name, 100 * inside, 100 * outside)
