"""Zero-shot beside probes: figures 5 to 8 of the paper, of the model that was evaluated, with the paper's values.

The paper's figure 5 is against a probe on the features of a ResNet-50. Here both are of one model, for its own and for
the paper's, so that like is drawn beside like.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from core.manifest import Manifest
from evaluation import fewshot, paper
from evaluation.paper import Value
from report.by_set import Row, in_paper, of_method
from report.evals import table_rows
from report.examples import Rows
from report.figures import zeroshot
from report.figures.canvas import Series, measured
from report.figures.zeroshot import Curve, Scatter

PAPER_MODEL = "ViT-L/14@336px"
PROBES, ZERO_SHOT = "table_10", "table_11"  # its scores
MINE = "this model"
FEWEST = 3  # sets, for a line through them


class Figure(NamedTuple):
    """A figure of the page, its numbers as CSV, and what it says."""

    svg: str
    data: str
    says: str


def figures(results: Manifest, rows: Sequence[Row]) -> list[Figure]:
    """What there is to draw of an evaluation's rows; nothing where no set has a probe or a few-shot curve."""
    zero_shot, probes = (of_method(rows, method) for method in ("zero-shot", "probe"))
    shared = [name for name in zero_shot if name in probes and probes[name]["metric"] == zero_shot[name]["metric"]]
    mine, probed = ({in_paper(name): 100 * some[name]["value"] for name in shared} for some in (zero_shot, probes))
    drawn = [_differences(mine, probed)] if shared else []
    drawn += _few_shot(table_rows(results, "shot", ["set", "shots", "seed", "metric", "value"]), zero_shot)
    drawn += _equivalents(table_rows(results, "equivalent", ["set", "shots", "relation"]))
    if len(shared) >= FEWEST and len(set(mine.values())) > 1 and len(set(probed.values())) > 1:
        drawn.append(_against_probe(mine, probed))
    return drawn


def _of_paper(sets: Sequence[str]) -> tuple[dict[str, Value], dict[str, Value]]:
    """The paper's zero-shot and probe scores of some sets, by the names of its tables; those that it lacks left out."""
    zero_shot, probes = (paper.table(name)[PAPER_MODEL] for name in (ZERO_SHOT, PROBES))
    known = [name for name in sets if name in zero_shot and name in probes]
    return {name: zero_shot[name] for name in known}, {name: probes[name] for name in known}


def _differences(zero_shot: Mapping[str, float], probe: Mapping[str, float]) -> Figure:
    """Figure 5."""
    series = [Series(MINE, measured({name: score - probe[name] for name, score in zero_shot.items()}))]
    theirs = dict(_less(*_of_paper(list(zero_shot))))
    if theirs:
        series.append(Series(f"paper, {PAPER_MODEL}", theirs))
    drawn = zeroshot.differences("against", "zero-shot minus probe", "zero-shot less probe (points)", series)
    says = (
        "How much better zero-shot is than a linear probe on the same model's features, set by set. As figure 5 of the "
        "paper, which takes the probe of a ResNet-50."
    )
    return Figure(*drawn, says)


def _less(one: Mapping[str, Value], other: Mapping[str, Value]) -> Iterator[tuple[str, Value]]:
    for name, value in one.items():
        recalled = value.recalled or other[name].recalled
        yield name, Value(round(value.value - other[name].value, 9), f"{value.source}; {other[name].source}", recalled)


def _few_shot(shots: Rows, zero_shot: Mapping[str, Row]) -> list[Figure]:
    """Figure 6, over the sets that have all numbers of shots and seeds; none where no set has."""
    values: dict[str, dict[tuple[int, int], float]] = {}
    for row in shots:
        if row["set"] in zero_shot and zero_shot[row["set"]]["metric"] == row["metric"]:
            values.setdefault(row["set"], {})[row["shots"], row["seed"]] = 100 * row["value"]
    drawn = {key for some in values.values() for key in some}
    sets = [name for name, some in values.items() if some.keys() == drawn]
    if not sets:
        return []
    numbers, seeds = (sorted({key[i] for key in drawn}) for i in (0, 1))
    if len(drawn) != len(numbers) * len(seeds):
        return []
    means = {key: float(np.mean([values[name][key] for name in sets])) for key in drawn}
    points = [fewshot.point(k, [means[k, seed] for seed in seeds]) for k in numbers]
    low, high = (
        [one.mean if (end := getattr(one, name)) is None else end for one in points] for name in ("low", "high")
    )
    line = float(np.mean([100 * zero_shot[name]["value"] for name in sets]))
    curve = Curve(MINE, numbers, [one.mean for one in points], low, high)
    left = f"; {len(values) - len(sets)} sets with fewer shots are left out" if len(sets) < len(values) else ""
    of_sets = sets[0] if len(sets) == 1 else f"{len(sets)} sets"
    says = (
        f"Linear probes by labelled examples a class, the mean over {of_sets} with a 95 % interval over "
        f"{len(seeds)} draws{left}; dashed: zero-shot. As figure 6 of the paper."
    )
    return [Figure(*zeroshot.few_shot("few-shot", [curve], {MINE: line}), says)]


def _equivalents(rows: Rows) -> list[Figure]:
    """Figure 7; sets that no number of shots reaches, or the fewest do already, are said."""
    exact = {in_paper(row["set"]): row["shots"] for row in rows if row["relation"] == "equal"}
    if not exact:
        return []
    series = [Series(MINE, measured(exact))]
    known = paper.column(paper.table("figure_07"), "examples per class")
    if theirs := {name: known[name] for name in exact if name in known}:
        series.append(Series("paper", theirs))
    others = [
        f"{row['set']} ({'fewer' if row['relation'] == 'below' else 'more'} than {row['shots']:g})"
        for row in rows
        if row["relation"] != "equal"
    ]
    left = f" Not drawn: {', '.join(others)}." if others else ""
    says = (
        f"Labelled examples a class that a linear probe needs for the zero-shot score. As figure 7 of the paper.{left}"
    )
    return [Figure(*zeroshot.equivalents("worth", series), says)]


def _against_probe(zero_shot: Mapping[str, float], probe: Mapping[str, float]) -> Figure:
    """Figure 8."""
    theirs, their_probes = _of_paper(paper.SUITE_27)
    models = [
        Scatter(MINE, measured(probe), measured(zero_shot)),
        Scatter(f"paper, {PAPER_MODEL}", their_probes, theirs),
    ]
    says = "Zero-shot by linear probe, a point a set; the line is this model's. As figure 8 of the paper."
    return Figure(*zeroshot.against_probe("by-probe", models), says)
