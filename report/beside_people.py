"""Beside people: Table 2 and Figure 16 of the paper, of the sets whose pictures people were asked about.

The numbers are eval's, in its tables answers and hardness.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.manifest import Manifest
from evaluation import paper
from report.by_set import Row, title
from report.by_set import models as models_of
from report.evals import table_rows
from report.figures.canvas import MOST_SERIES, Figure, Series, measured, some_at_a_time
from report.figures.shift import CATEGORIES, by_category
from report.models import MODELS, SETS

_GROUPS = ("zero-shot", "one-shot", "two-shot")  # of the paper, which asked them about one set
_PAPERS = "oxford_pets"
_COLUMNS = ("accuracy", "majority vote", "accuracy on guesses", "majority vote on guesses")
_NUMBERS = ["accuracy", "majority", "on_guesses", "majority_on_guesses", "model_accuracy", "agreement"]
_COUNTS = ["persons", "pictures", "answers", "unknown", "ties", "ties_on_guesses", "unguessed", "unseen"]


@dataclass(frozen=True)
class Group:
    """A group of people; the accuracy of each model on the pictures that they saw; what the paper has, in per cent."""

    name: str
    row: Row
    models: Sequence[tuple[str, float]]
    paper: Sequence[float]


@dataclass(frozen=True)
class OfSet:
    """What people said of one set."""

    name: str
    groups: Sequence[Group]
    figures: Sequence[Figure]
    clip: float | None = None  # accuracy of the paper's model, in per cent, where the paper has it


def section(results: Manifest, measured_rows: Sequence[Row]) -> list[OfSet]:
    """The part of the page, a set after the other; nothing where no people were asked."""
    rows = table_rows(results, "answers", ["set", "model", "group", *_NUMBERS, *_COUNTS])
    names = [name for name in models_of(measured_rows) if any(row["model"] == name for row in rows)][:MODELS]
    hardness = table_rows(results, "hardness", ["set", "model", "group", "class", "pictures", "probability", "share"])
    found = []
    for number, set_ in enumerate(sorted({row["set"] for row in rows})[:SETS]):
        own = [row for row in rows if row["set"] == set_]
        hard = [row for row in hardness if row["set"] == set_]
        figures = [
            figure
            for at, name in enumerate(names)
            for figure in _figures(f"people-{number}-{at}", _of_model(hard, name), _of_model(own, name), title(name))
        ]
        clip = paper.table("table_02")["zero-shot CLIP"]["accuracy"].value if set_ == _PAPERS else None
        found.append(OfSet(set_, _groups(set_, own, names), figures, clip))
    return found


def _of_model(rows: Sequence[Row], name: str) -> list[Row]:
    return sorted((row for row in rows if row["model"] == name), key=lambda row: _place(row["group"]))


def _place(group: str) -> tuple[int, str]:
    """The paper's groups come first, in its order."""
    return (_GROUPS.index(group) if group in _GROUPS else len(_GROUPS), group)


def _groups(set_: str, rows: Sequence[Row], names: Sequence[str]) -> list[Group]:
    found = []
    for group in sorted({row["group"] for row in rows}, key=_place):
        by_model = {row["model"]: row for row in rows if row["group"] == group}
        accuracies = [(title(name), by_model[name]["model_accuracy"]) for name in names if name in by_model]
        table = paper.table("table_02")[f"{group} human"] if set_ == _PAPERS and group in _GROUPS else {}
        values = [table[column].value for column in _COLUMNS] if table else []
        found.append(Group(group, next(iter(by_model.values())), accuracies, values))
    return found


# ── figure 16 ─────────────────────────────────────────────────────────────────────────────────────


def _figures(name: str, hard: Sequence[Row], rows: Sequence[Row], model: str) -> list[Figure]:
    """The classes by how hard they are for a model, and the accuracy of the groups; as many as can be told apart."""
    shares: dict[str, dict[str, float]] = {row["group"]: {} for row in hard}
    for row in hard:
        if row["share"] is not None:
            shares[row["group"]][row["class"]] = 100 * row["share"]
    answered = [group for group, some in shares.items() if some]
    probability = {row["class"]: 100 * row["probability"] for row in hard}
    found = []
    for end, groups in some_at_a_time(answered, MOST_SERIES - 1):
        series = [Series(model, measured(probability))]
        series += [Series(f"people, {group}", measured(shares[group])) for group in groups]
        drawn = by_category(f"{name}{end}", f"what is hard for people and for {model}", "right class (%)", series)
        found.append(Figure(drawn.svg, drawn.data, _says(len(probability), groups, rows, model)))
    return found


def _says(classes: int, groups: Sequence[str], rows: Sequence[Row], model: str) -> str:
    agreement = {row["group"]: row["agreement"] for row in rows}
    shown = [f"{group} {'n/a' if agreement[group] is None else f'{agreement[group]:+.2f}'}" for group in groups]
    some = f" Drawn of {classes:,} classes: the {CATEGORIES // 2} easiest and hardest." if classes > CATEGORIES else ""
    return (
        f"The classes from the easiest to the hardest for {model}: the mean probability that it gives the right one, "
        f"and the share of people's answers that are right.{some} Rank correlation of the two: {', '.join(shown)}. As "
        "figure 16 of the paper."
    )
