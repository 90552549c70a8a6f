"""Models side by side: scores by set with intervals, classes that differ, confusions, and the examples behind them.

All of it is of zero-shot by the recipe's first choice of prompts, except for the table of scores, which has the probes,
too. The page stays small: so many models, sets, classes and pictures are shown and no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from core import recipe as recipes
from core.errors import Failure, UsageError
from core.files import open_input
from core.inputs import names_of
from core.manifest import Manifest
from core.recipe import Recipe
from evaluation import sets
from evaluation.examples import MAX_BYTES
from evaluation.readers import split_folder
from evaluation.sets import Located
from report.by_set import Row, models, of_method, title
from report.figures import zeroshot
from report.figures.canvas import Drawn
from report.thumbnails import Thumbnail, thumbnail

MODELS = 6  # side by side
SETS = 12  # whose classes and examples are shown
CLASSES = 10  # of a set, those that differ most; and confusions
PICTURES = 6  # of the worst examples of a set, and of the best
LOOKED_AT = 20_000  # examples that are read of a tar or table for the pictures

_SAYS = ("zero-shot", "probe")  # methods of the table of scores


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model took an example for."""

    predicted: str
    probability: float
    rank: int  # of the right class

    @property
    def right(self) -> bool:
        """Whether that is its class; a tie is not."""
        return self.rank == 1


@dataclass(frozen=True, slots=True)
class Example:
    """An example of a set, and each model's answer."""

    id: str
    label: str
    answers: dict[str, Answer]
    picture: Thumbnail | None = None


@dataclass(frozen=True)
class Scores:
    """A row of the table: one set and method. `rows` has a result of each model, or None."""

    set: str
    method: str
    metric: str
    rows: Sequence[Row | None]


@dataclass(frozen=True)
class OfSet:
    """What is behind the scores of one set, for each of `models`."""

    name: str
    n: int  # examples
    models: Sequence[str]
    classes: Sequence[tuple[str, int, Sequence[float]]]  # name, examples, the share that each model has right
    confusions: Sequence[tuple[str, str, Sequence[int]]]  # class, what it was taken for, how often by each model
    matrix: Mapping[tuple[str, str], int]  # class, what it was taken for → how often by the first model
    worst: Sequence[Example]  # wrong and surest, by the first model
    best: Sequence[Example]

    @property
    def titles(self) -> list[str]:
        """What the page calls the models."""
        return [title(name) for name in self.models]


@dataclass(frozen=True)
class Section:
    """The part of the page. Models by what the page calls them; `left_out`: how many are not shown."""

    models: Sequence[str]
    scores: Sequence[Scores]
    sets: Sequence[OfSet]
    figures: Mapping[str, Drawn]  # by set, the confusion of classes by its first model; none where all is right
    left_out: int
    more_sets: int  # whose classes and examples are not shown


def section(recipe: Recipe, results: Manifest, rows: Sequence[Row]) -> Section | None:
    """The part of the page; None where no evaluation set has results."""
    every = models(rows)
    names = every[:MODELS]
    if not scores_of(rows, names):
        return None
    parts = parts_by_set(results, names)
    there = located(recipe)
    shown = []
    for name in list(parts)[:SETS]:
        examples = answers(results, names, name, parts[name])
        if examples:
            shown.append(with_pictures(there.get(name), of_set(name, examples, names)))
    titles = [title(name) for name in names]
    figures = {
        one.name: zeroshot.confusion(f"confusion-{number}", one.matrix)
        for number, one in enumerate(shown)
        if any(label != taken_for for label, taken_for in one.matrix)
    }
    return Section(titles, scores_of(rows, names), shown, figures, len(every) - len(names), max(0, len(parts) - SETS))


def scores_of(rows: Sequence[Row], names: Sequence[str]) -> list[Scores]:
    """The scores that count of each set by zero-shot and by the probe, those of one metric side by side."""
    found = []
    for method in _SAYS:
        of_model = [of_method(rows, method, name) for name in names]
        for name in dict.fromkeys(name for some in of_model for name in some):
            metric = next(some[name]["metric"] for some in of_model if name in some)
            beside = [some[name] if name in some and some[name]["metric"] == metric else None for some in of_model]
            found.append(Scores(name, method, metric, beside))
    return sorted(found, key=lambda one: _SAYS.index(one.method))


# ── examples ──────────────────────────────────────────────────────────────────────────────────────

Answers = dict[str, Example]  # by id

_ABOUT = ("model", "method", "prompts")  # what a part of the table example is about, beside a set


def parts_by_set(results: Manifest, names: Sequence[str]) -> dict[str, list[str]]:
    """By set, the parts with examples of these models zero-shot by the first choice of prompts."""
    wanted = _wanted(results, names)
    found: dict[str, list[str]] = {}
    for path in results.paths("example"):
        with open_input(path) as file:
            head = pq.read_table(file, columns=["set", *_ABOUT])
        for row in head.group_by(head.column_names).aggregate([]).to_pylist():
            if tuple(row[key] for key in _ABOUT) in wanted:
                found.setdefault(row["set"], []).append(path)
    return dict(sorted(found.items()))


def _wanted(results: Manifest, names: Sequence[str]) -> set[tuple[str, str, str | None]]:
    prompts = next(iter(results.facts.get("config", {}).get("prompts", ())), None)
    return {(name, "zero-shot", prompts) for name in names}


def answers(results: Manifest, names: Sequence[str], set_name: str, paths: Iterable[str]) -> Answers:
    """The examples of a set that are of one class each, with the answers of models."""
    wanted = _wanted(results, names)
    found: Answers = {}
    for path in dict.fromkeys(paths):
        with open_input(path) as file:
            rows = pq.read_table(file, columns=["set", *_ABOUT, "id", "label", "predicted", "scores", "rank"])
        for row in rows.filter(pc.equal(rows["set"], set_name)).to_pylist():
            is_asked = tuple(row[key] for key in _ABOUT) in wanted
            if is_asked and row["rank"] is not None and len(row["label"]) == 1:
                example = found.setdefault(row["id"], Example(row["id"], row["label"][0], {}))
                example.answers[row["model"]] = Answer(row["predicted"][0], float(row["scores"][0]), row["rank"])
    return found


def of_set(name: str, examples: Answers, names: Sequence[str]) -> OfSet:
    """What is behind the scores of a set: of the models that have answers, over the examples that all of them have."""
    there = [one for one in names if any(one in example.answers for example in examples.values())]
    shared = [example for _, example in sorted(examples.items()) if all(one in example.answers for one in there)]
    surest = sorted(shared, key=lambda example: (-example.answers[there[0]].probability, example.id))
    wrong = [example for example in surest if not example.answers[there[0]].right]
    right = [example for example in surest if example.answers[there[0]].right]
    return OfSet(
        name,
        len(shared),
        there,
        _classes(shared, there),
        _confusions(shared, there),
        Counter((example.label, example.answers[there[0]].predicted) for example in shared),
        wrong[:PICTURES],
        right[:PICTURES],
    )


def _classes(examples: Iterable[Example], names: Sequence[str]) -> list[tuple[str, int, list[float]]]:
    """The classes on which models differ most; of one model, those on which it is worst."""
    right: dict[str, list[int]] = {}
    counts: Counter[str] = Counter()
    for example in examples:
        counts[example.label] += 1
        hits = right.setdefault(example.label, [0] * len(names))
        for number, name in enumerate(names):
            hits[number] += example.answers[name].right
    shares = [(label, counts[label], [hit / counts[label] for hit in hits]) for label, hits in right.items()]
    best = 1.0 if len(names) == 1 else None
    return sorted(shares, key=lambda one: (min(one[2]) - (best or max(one[2])), one[0]))[:CLASSES]


def _confusions(examples: Iterable[Example], names: Sequence[str]) -> list[tuple[str, str, list[int]]]:
    """The most confused pairs of classes, over all models: class, what it was taken for, how often by each."""
    counts = {name: Counter[tuple[str, str]]() for name in names}
    for example in examples:
        for name in names:
            answer = example.answers[name]
            if answer.predicted != example.label:
                counts[name][example.label, answer.predicted] += 1
    pairs: Counter[tuple[str, str]] = sum(counts.values(), Counter())
    most = sorted(pairs, key=lambda pair: (-pairs[pair], pair))[:CLASSES]
    return [(*pair, [counts[name][pair] for name in names]) for pair in most]


# ── pictures ──────────────────────────────────────────────────────────────────────────────────────


def with_pictures(place: Located | None, one: OfSet) -> OfSet:
    """The same with the pictures of its examples, as far as the set is there."""
    found = pictures(place, {example.id for example in (*one.worst, *one.best)})

    def seen(some: Sequence[Example]) -> list[Example]:
        return [Example(each.id, each.label, each.answers, found.get(each.id)) for each in some]

    return replace(one, worst=seen(one.worst), best=seen(one.best))


def located(recipe: Recipe) -> dict[str, Located]:
    """The recipe's evaluation sets that are there, by what rows call them."""
    table = recipe.tables.get("eval", {})
    try:
        given = [recipes.expand(str(name), recipe.path).rstrip("/") for name in table.get("sets", ())]
        found = sets.find(given, recipes.expand(str(table.get("root", "data/sets")), recipe.path))
    except (UsageError, Failure):  # of a recipe that has changed since: there are no pictures
        return {}
    there = [one for one in found if isinstance(one, Located)]
    names = names_of(one.name for one in there)
    return {names[one.name]: one for one in there}


def pictures(one: Located | None, ids: set[str]) -> dict[str, Thumbnail | None]:
    """The pictures of some examples, those of folders by their paths, others as far as LOOKED_AT examples go."""
    if one is None or not ids:
        return {}
    found: dict[str, Thumbnail | None] = {}
    with suppress(Failure, OSError):  # what is not there any more, or was changed, has no picture
        if one.layout == "folders":
            test = one.set.test_folder if one.set else ""
            base = split_folder(Path(one.path), test if test and Path(one.path, test).is_dir() else "test")
            for name in ids:
                path = base / name
                if path.is_file() and path.stat().st_size <= MAX_BYTES:
                    found[name] = thumbnail(path.read_bytes())
            return found
        for name, files in islice(one.open().bodies(), LOOKED_AT):
            if name in ids:
                found[name] = thumbnail(files[len(files) // 2])
            if len(found) == len(ids):
                break
    return found
