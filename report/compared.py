"""Zero-shot by prompts and beside probes: figures 4 to 9 of the paper, of all models, with the paper's values.

Where there are more models than colours, a figure is drawn several times, some models in each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from core.manifest import Manifest
from evaluation import fewshot, paper
from evaluation.paper import Value
from evaluation.summaries import tally
from report.by_set import Row, in_paper, model_of, models, of_method, title
from report.evals import table_rows
from report.examples import Rows
from report.figures import zeroshot
from report.figures.canvas import MOST_SERIES, Figure, Series, measured, some_at_a_time
from report.figures.zeroshot import Curve, PromptScore, Scatter
from report.phrases import count

PAPER_MODEL = "ViT-L/14@336px"
PROBES, ZERO_SHOT = "table_10", "table_11"  # its scores
PROMPTS = {  # choices that figure 4 compares, as it calls them
    "contextless": "class names",
    "single": "one template",
    "ensemble": "80 templates",
    "forward": "forward selection",
}
FEWEST = 3  # sets, for a line through them

Scores = Mapping[str, Row]  # by set
OfPaper = Callable[[Sequence[str]], tuple[str, dict[str, Value]]]  # sets → label, values
Pair = tuple[dict[str, float], dict[str, float]]  # zero-shot and probe, in per cent by set, of the same sets


def figures(results: Manifest, rows: Sequence[Row]) -> list[Figure]:
    """What there is to draw of an evaluation's rows; nothing where no set has a probe or a few-shot curve."""
    names = models(rows)
    zero_shot, probes = ({name: of_method(rows, way, name) for name in names} for way in ("zero-shot", "probe"))
    own = {title(name): pair for name in names if (pair := _paired(zero_shot[name], probes[name]))[0]}
    sizes = table_rows(results, "model", ["model", "gflops"])
    drawn = _prompt_study(rows, sizes)
    drawn += _differences("against", own, "the same model's features", _of_paper_difference)
    for number, other in enumerate(name for name in names if probes[name] and not zero_shot[name]):
        against = {title(name): pair for name in names if (pair := _paired(zero_shot[name], probes[other]))[0]}
        drawn += _differences(f"against-{number}", against, f"the features of {other}", _of_paper_resnet)
    drawn += _few_shot(table_rows(results, "shot", ["model", "set", "shots", "seed", "metric", "value"]), zero_shot)
    drawn += _equivalents(table_rows(results, "equivalent", ["model", "set", "shots", "relation"]))
    drawn += _against_probe({name: pair for name, pair in own.items() if _has_line(*pair)})
    return drawn + _scaling(zero_shot, sizes)


def _paired(zero_shot: Scores, probes: Scores) -> Pair:
    """The scores of the sets that both have by one metric."""
    shared = [name for name in zero_shot if name in probes and probes[name]["metric"] == zero_shot[name]["metric"]]
    one, other = ({in_paper(name): 100 * some[name]["value"] for name in shared} for some in (zero_shot, probes))
    return one, other


def _has_line(zero_shot: Mapping[str, float], probe: Mapping[str, float]) -> bool:
    return len(zero_shot) >= FEWEST and len(set(zero_shot.values())) > 1 and len(set(probe.values())) > 1


def _of_paper(sets: Sequence[str]) -> tuple[dict[str, Value], dict[str, Value]]:
    """The paper's zero-shot and probe scores of some sets, by the names of its tables; those that it lacks left out."""
    zero_shot, probes = (paper.table(name)[PAPER_MODEL] for name in (ZERO_SHOT, PROBES))
    known = [name for name in sets if name in zero_shot and name in probes]
    return {name: zero_shot[name] for name in known}, {name: probes[name] for name in known}


# ── figure 4 ──────────────────────────────────────────────────────────────────────────────────────


def _prompt_study(rows: Sequence[Row], sizes: Rows) -> list[Figure]:
    """Figure 4, over the sets that all models have by all choices of prompts; none where there is one choice alone."""
    gflops = {row["model"]: row["gflops"] for row in sizes}
    scores: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        if row.get("method") == "zero-shot" and row.get("prompts") in PROMPTS and model_of(row) in gflops:
            of_choice = scores.setdefault((model_of(row), row["prompts"]), {})
            of_choice.setdefault(row["set"], 100 * row["value"])
    kinds = [choice for choice in PROMPTS if any(choice == other for _, other in scores)]
    names = list(dict.fromkeys(name for name, _ in scores))
    there = [scores.get((name, choice), {}) for name in names for choice in kinds]
    sets = [name for name in there[0] if all(name in some for some in there)] if there else []
    if len(kinds) < 2 or not sets:
        return []
    points = [
        PromptScore(title(name), gflops[name], PROMPTS[choice], float(np.mean([scores[name, choice][s] for s in sets])))
        for choice in kinds
        for name in names
    ]
    over = sets[0] if len(sets) == 1 else f"{len(sets)} sets"
    says = f"What prompts are worth: zero-shot by choice of prompts, the mean over {over}. As figure 4 of the paper."
    return [Figure(*zeroshot.prompt_study("prompts", points), says)]


# ── figure 5 ──────────────────────────────────────────────────────────────────────────────────────


def _of_paper_difference(sets: Sequence[str]) -> tuple[str, dict[str, Value]]:
    """The paper's model against a probe on its own features."""
    return f"paper, {PAPER_MODEL}", dict(_less(*_of_paper(sets)))


def _of_paper_resnet(sets: Sequence[str]) -> tuple[str, dict[str, Value]]:
    """The paper's model against a probe on the features of its ResNet-50."""
    known = paper.column(paper.table("figure_05"), "difference")
    return f"paper, {PAPER_MODEL} and ResNet-50", {name: known[name] for name in sets if name in known}


def _less(one: Mapping[str, Value], other: Mapping[str, Value]) -> Iterator[tuple[str, Value]]:
    for name, value in one.items():
        recalled = value.recalled or other[name].recalled
        yield name, Value(round(value.value - other[name].value, 9), f"{value.source}; {other[name].source}", recalled)


def _differences(id_: str, pairs: Mapping[str, Pair], whose: str, of_paper: OfPaper) -> list[Figure]:
    """Figure 5: zero-shot of some models less a probe."""
    drawn = []
    for ending, some in some_at_a_time(list(pairs), MOST_SERIES - 2):
        series = [
            Series(name, measured({set_: score - pairs[name][1][set_] for set_, score in pairs[name][0].items()}))
            for name in some
        ]
        label, theirs = of_paper(list(dict.fromkeys(set_ for name in some for set_ in pairs[name][0])))
        if theirs:
            series.append(Series(label, theirs))
        figure = zeroshot.differences(id_ + ending, "zero-shot minus probe", "zero-shot less probe (points)", series)
        says = f"How much better zero-shot is than a linear probe on {whose}, set by set. As figure 5 of the paper"
        also = ", which takes the probe of a ResNet-50." if id_ == "against" else "."
        drawn.append(Figure(*figure, says + also + _better(series)))
    return drawn


def _better(series: Sequence[Series]) -> str:
    """On how many sets zero-shot is better, as the text of figure 5 has it."""
    found = [(one.label, tally({name: value.value for name, value in one.values.items()})) for one in series]
    shares = [f"on {won.wins} of {won.wins + won.ties + won.losses} ({label})" for label, won in found]
    return f" Zero-shot is better {', '.join(shares)}."


# ── figures 6 to 8 ────────────────────────────────────────────────────────────────────────────────


def _few_shot(shots: Rows, zero_shot: Mapping[str, Scores]) -> list[Figure]:
    """Figure 6, over the sets of which all models have all numbers of shots and seeds; none where there is none."""
    values: dict[str, dict[str, dict[tuple[int, int], float]]] = {}
    for row in shots:
        known = zero_shot.get(model_of(row), {})
        if not known or (row["set"] in known and known[row["set"]]["metric"] == row["metric"]):
            of_model = values.setdefault(model_of(row), {})
            of_model.setdefault(row["set"], {})[row["shots"], row["seed"]] = 100 * row["value"]
    drawn = {key for of_model in values.values() for some in of_model.values() for key in some}
    there = list(dict.fromkeys(name for of_model in values.values() for name in of_model))
    sets = [name for name in there if all(some.get(name, {}).keys() == drawn for some in values.values())]
    numbers, seeds = (sorted({key[i] for key in drawn}) for i in (0, 1))
    if not sets or len(drawn) != len(numbers) * len(seeds):
        return []
    curves, lines = {}, {}
    for model, of_model in values.items():
        means = {key: float(np.mean([of_model[name][key] for name in sets])) for key in drawn}
        points = [fewshot.point(k, [means[k, seed] for seed in seeds]) for k in numbers]
        low, high = (
            [one.mean if (end := getattr(one, name)) is None else end for one in points] for name in ("low", "high")
        )
        curves[title(model)] = Curve(title(model), numbers, [one.mean for one in points], low, high)
        if scores := zero_shot.get(model):
            lines[title(model)] = float(np.mean([100 * scores[name]["value"] for name in sets]))
    left = f"; without {count(len(there) - len(sets), 'set')} with fewer shots" if len(sets) < len(there) else ""
    of_sets = sets[0] if len(sets) == 1 else f"{len(sets)} sets"
    says = (
        f"Linear probes by labelled examples a class, the mean over {of_sets} with a 95 % interval over "
        f"{len(seeds)} draws{left}; dashed: zero-shot. As figure 6 of the paper."
    )
    return [
        Figure(
            *zeroshot.few_shot(
                f"few-shot{ending}",
                [curves[name] for name in some],
                {name: lines[name] for name in some if name in lines},
            ),
            says,
        )
        for ending, some in some_at_a_time(list(curves))
    ]


def _equivalents(rows: Rows) -> list[Figure]:
    """Figure 7; sets that no number of shots reaches, or the fewest do already, are said."""
    exact: dict[str, dict[str, float]] = {}
    others: dict[str, list[str]] = {}
    for row in rows:
        name = title(model_of(row))
        if row["relation"] == "equal":
            exact.setdefault(name, {})[in_paper(row["set"])] = row["shots"]
        else:
            than = "fewer" if row["relation"] == "below" else "more"
            others.setdefault(name, []).append(f"{row['set']} ({than} than {row['shots']:g})")
    known = paper.column(paper.table("figure_07"), "examples per class")
    drawn = []
    for ending, some in some_at_a_time(list(exact), MOST_SERIES - 1):
        series = [Series(name, measured(exact[name])) for name in some]
        if theirs := {set_: known[set_] for name in some for set_ in exact[name] if set_ in known}:
            series.append(Series("paper", theirs))
        whose = {name: f" of {name}" if len(exact) > 1 else "" for name in some}
        left = "".join(f" Not drawn{whose[name]}: {', '.join(others[name])}." for name in some if name in others)
        says = "Labelled examples a class that a linear probe needs for the zero-shot score. As figure 7 of the paper."
        drawn.append(Figure(*zeroshot.equivalents(f"worth{ending}", series), says + left))
    return drawn


def _against_probe(pairs: Mapping[str, Pair]) -> list[Figure]:
    """Figure 8."""
    theirs, their_probes = _of_paper(paper.SUITE_27)
    drawn = []
    for ending, some in some_at_a_time(list(pairs), MOST_SERIES - 1):
        points = [Scatter(name, measured(pairs[name][1]), measured(pairs[name][0])) for name in some]
        points.append(Scatter(f"paper, {PAPER_MODEL}", their_probes, theirs))
        says = f"Zero-shot by linear probe, a point a set; the line is that of {some[0]}. As figure 8 of the paper."
        drawn.append(Figure(*zeroshot.against_probe(f"by-probe{ending}", points), says))
    return drawn


# ── figure 9 ──────────────────────────────────────────────────────────────────────────────────────


def _scaling(zero_shot: Mapping[str, Scores], sizes: Rows) -> list[Figure]:
    """Figure 9, over the sets that all models have; none where they do not differ in size, or one makes no mistake."""
    gflops = {row["model"]: row["gflops"] for row in sizes if zero_shot.get(row["model"])}
    sets = set.intersection(*(set(zero_shot[name]) for name in gflops)) if gflops else set()
    scores = {
        title(name): measured({in_paper(set_): 100 * zero_shot[name][set_]["value"] for set_ in sorted(sets)})
        for name in gflops
    }
    flawless = [name for name, of_set in scores.items() if all(score.value == 100 for score in of_set.values())]
    if len(set(gflops.values())) < 2 or not sets or flawless:
        return []
    of_title = measured({title(name): value for name, value in gflops.items()})
    over = next(iter(sets)) if len(sets) == 1 else f"{len(sets)} sets"
    says = (
        f"Zero-shot error by compute of the image tower, the mean over {over}, with the power law through the models. "
        "As figure 9 of the paper."
    )
    return [Figure(*zeroshot.scaling("compute", "these models", of_title, scores), says)]
