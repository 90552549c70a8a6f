"""Under shift: a model on ImageNet's natural shifts, beside those of the testbed and the paper's (section 3.3).

Drawn and compared are the shifts of which there is also the accuracy on ImageNet's validation pictures of their
classes: the set `imagenet`, or for shifts with fewer classes the set that the testbed calls val-on-…-classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation import paper, robustness, sets
from evaluation.robustness import SHIFTS, Model, Robustness, Shift
from report import adapted
from report.adapted import Sides
from report.by_set import Row, in_paper, of_method
from report.figures import shift as figures
from report.figures.canvas import Drawn
from report.figures.shift import Line, Models, Point

FEWEST = 20  # examples a class, below which a result shows only that everything works

REGISTRY = {  # the shift's name in evaluation/robustness.py → in the registry of sets, and in the paper's tables
    shift.name: (shift.registered, in_paper(shift.registered)) for shift in SHIFTS
}


@dataclass(frozen=True)
class OnShift:
    """A model on one shift. Shares from 0 to 1; those of the paper are of its zero-shot CLIP and of a ResNet-101."""

    title: str
    name: str
    row: Row
    inside: float | None  # on ImageNet's pictures of the same classes
    a_class: float  # examples, on average
    whole: bool  # whether it has as many examples as the published set
    clip: float | None
    resnet: float | None

    @property
    def few(self) -> bool:
        """Whether there are too few examples to claim anything: a part of the set, with fewer than 20 a class."""
        return self.a_class < FEWEST and not self.whole


@dataclass(frozen=True)
class Section:
    """The part of the page. `robustness` and `figure` are None where no shift can be compared with ImageNet.

    `adapted`: figures 14 (right) and 15, as far as the model was adapted; `ways`: how figure 14 (left) has it, too.
    """

    shifts: Sequence[OnShift]
    robustness: Robustness | None
    figure: Drawn | None
    models: int  # of the testbed, that the line is fitted to
    weak: bool  # at most 40 % on ImageNet, where models lie on no line
    ways: Sequence[str] = ()
    adapted: Sequence[adapted.Figure] = ()


def section(rows: Sequence[Row], seed: int) -> Section | None:
    """The part of the page; None where no shift was evaluated."""
    found = on_shifts(rows)
    if not found:
        return None
    inside = {one.name: one.inside for one in found if one.inside is not None}
    changes = adapted.figure_14(rows)
    if not inside:
        return Section(found, None, None, 0, False, (), changes)
    model = Model("this model", inside, {one.name: one.row["value"] for one in found if one.name in inside})
    names, others = list(inside), robustness.testbed()
    measured = robustness.measure(model, others, names, seed=seed)
    used = robustness.baselines(others, names)
    weak = measured.inside <= robustness.LEAST_ACCURACY
    ways = {way: some for way, some in adapted.ways(rows).items() if all(name in some for name in names)}
    line = robustness.fit(robustness.points(used, names))
    steps = adapted.figure_15(rows, [_point(one, names) for one in used], line, names)
    figure = _figure(model, others, names, seed, ways)
    return Section(found, measured, figure, len(used), weak, tuple(ways), [*changes, *([steps] if steps else [])])


def on_shifts(rows: Sequence[Row]) -> list[OnShift]:
    """The shifts that were evaluated zero-shot, in the paper's order."""
    zero_shot = of_method(rows, "zero-shot")
    found = []
    for shift in SHIFTS:
        registered, in_paper = REGISTRY[shift.name]
        if row := zero_shot.get(registered):
            known = sets.load(registered)
            found.append(
                OnShift(
                    title=shift.title,
                    name=shift.name,
                    row=row,
                    inside=_inside(zero_shot, shift),
                    a_class=row["n"] / known.classes,
                    whole=row["n"] >= known.test,
                    clip=_of_paper("table_16", "zero-shot CLIP", in_paper),
                    resnet=_of_paper_figure(in_paper),
                )
            )
    return found


def _inside(zero_shot: dict[str, Row], shift: Shift) -> float | None:
    row = zero_shot.get(adapted.inside_of(shift))
    return None if row is None else float(row["value"])


def _of_paper(table: str, model: str, column: str) -> float | None:
    """An accuracy of a table; of clips the mean of pm-0 and pm-10."""
    row = paper.table(table)[model]
    values = [value.value for name, value in row.items() if name in (column, f"{column} PM0", f"{column} PM10")]
    return sum(values) / len(values) / 100 if values else None


def _of_paper_figure(row: str) -> float | None:
    value = paper.table("figure_13").get(row, {}).get("ResNet-101")
    return value.value / 100 if value else None


def _figure(model: Model, others: Sequence[Model], names: Sequence[str], seed: int, ways: Mapping[str, Sides]) -> Drawn:
    """Figures 13 and 14, left: the means over the shifts that can be compared."""
    used = robustness.baselines(others, names)
    line = robustness.fit(robustness.points(used, names))
    drawn = [(one.slope, one.intercept) for one in robustness.fits_drawn(others, names, seed)]
    clip = [one for one in others if "clip" in one.name and all(name in one.inside for name in names)]
    groups = [Models("this model", [_point(model, names)])]
    for way, some in ways.items():
        both = ({name: some[name][i] for name in names} for i in (0, 1))
        groups.append(Models(way, [_point(Model(way, *both), names)]))
    if clip:
        groups.append(Models("CLIP zero-shot, testbed", [_point(one, names) for one in clip]))
    return figures.under_shift(
        "shift",
        "accuracy under shift by accuracy on ImageNet",
        [_point(one, names) for one in used],
        groups,
        Line("fit of the other models", line.slope, line.intercept, drawn),
        "ImageNet, same classes (%)",
        "mean under shift (%)" if len(names) > 1 else "under shift (%)",
    )


def _point(model: Model, names: Sequence[str]) -> Point:
    inside, outside = robustness.means(model, names)
    return Point(model.name, 100 * inside, 100 * outside)
