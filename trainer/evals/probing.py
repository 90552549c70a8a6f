"""Linear probes on a set's own splits (section 3.2), and few-shot curves with the zero-shot line (Figures 6 and 7)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from core.files import digest
from evaluation import features, fewshot, logistic, metrics, probe, prompts
from evaluation.examples import Files, Pictures
from evaluation.features import Features
from evaluation.wording import listed
from trainer.evals import judged
from trainer.evals.config import Config
from trainer.evals.context import Context
from trainer.evals.encoder import Floats
from trainer.evals.eval_sets import EvalSet, Role
from trainer.evals.kept import Made
from trainer.evals.tables import EQUIVALENT, EXAMPLE, RESULT, SHOT, SWEEP, Rows, weight_table
from trainer.evals.vectors import vectors as vectors_of

RULES_VERSION = 2


class VectorSource(Protocol):
    """Where vectors come from: a model (`Vectors`), or files of another's (`ByFile`)."""

    def basis(self, one: EvalSet, *roles: Role) -> str:
        """The digest of what determines the vectors of some splits."""

    def pictures(self, one: EvalSet, role: Role, files: Files, tables: Sequence[str]) -> dict[str, Floats]:
        """Of a split the vectors float32 [n, width] by table, in the order of its ids; "hidden" is for probes."""

    def in_several_splits(self, one: EvalSet) -> list[str]:
        """A sentence on test pictures that another split has, too, among those that were asked for."""


@dataclass(frozen=True)
class Probe:
    """A fitted probe. `shots`, `seed`: training examples a class, and of their draw; None where all were taken."""

    shots: int | None
    seed: int | None
    weights: Floats  # [classes, width]
    intercepts: Floats  # [classes]

    def scores(self, hidden: Floats) -> Floats:
        """Logits float32 [n, classes] of `hidden`, float32 [n, width]."""
        return hidden @ self.weights.T + self.intercepts

    @property
    def digest(self) -> str:
        """Of its weights and intercepts."""
        found = hashlib.sha256(self.weights.tobytes())
        found.update(self.intercepts.tobytes())
        return found.hexdigest()


@dataclass(frozen=True)
class _Splits:
    """The examples of a set, with classes that all splits share. `validation`: None where there is no such split."""

    classes: Sequence[str]
    train: Features
    validation: Features | None
    test: Features


@dataclass(frozen=True)
class _Task:
    """What is fitted and how it is judged. `keep`: whether the weights are, too."""

    splits: _Splits
    metric: str
    measure: probe.Metric
    keep: bool

    @property
    def truth(self) -> list[str]:
        """The digests of ids and labels by split."""
        splits = (self.splits.train, self.splits.validation, self.splits.test)
        return [digest(split.ids, split.labels.tolist()) for split in splits if split]


def evaluate(
    context: Context, source: VectorSource, one: EvalSet, test: Pictures, hidden: Floats, zero_shot: Mapping[str, float]
) -> tuple[Rows, list[Probe]]:
    """Rows of results of the probe and of few-shot probes, as the recipe asks for; none where there is no train split.

    Of ImageNet also the probes themselves, to be judged on its shifts.

    `test`, `hidden` float32 [n, width]: the test split; `zero_shot`: metric → value, of the first choice of prompts.
    """
    metric = one.metric(test)
    measure = measure_of(metric)
    if "train" not in one.splits or measure is None or any(len(some) != 1 for some in test.labels):
        why = "it has no train split" if "train" not in one.splits else "its examples have several classes"
        print(f"eval: no probe of {one.name}: {why}", flush=True)
        return [], []
    splits = _splits(source, one, test, hidden, tables_of(context.config, "hidden"))
    context.remark([*source.in_several_splits(one), *_without_validation(one.name, splits)])
    task = _Task(splits, metric, measure, keep=one.is_imagenet)
    basis = digest(RULES_VERSION, source.basis(one, *one.digests), task.truth, list(splits.classes), metric)
    rows: Rows = []
    probes: list[Probe] = []
    if context.config.probe:
        asked, tables = context.asked(one.name, "probe"), (RESULT, EXAMPLE, SWEEP, weight_table(1))
        made = context.kept.tables("probe", one.task, digest(basis, context.seed), tables, lambda: _probe(asked, task))
        rows += made["result"].to_pylist()
        probes += _probes(made)
    everything = next((row["value"] for row in rows if row["metric"] == metric), None)
    some, more = _curve(context, one, task, basis, everything, zero_shot.get(metric))
    return rows + some, probes + more


def measure_of(metric: str) -> probe.Metric | None:
    """What computes a set's metric for probes; None for one of several classes a picture."""
    return probe.METRICS.get("top_1_and_5" if metric == "mean_top1_top5" else metric)


def _curve(
    context: Context,
    one: EvalSet,
    task: _Task,
    basis: str,
    everything: float | None,
    zero_shot: float | None,
) -> tuple[Rows, list[Probe]]:
    """Rows of results of few-shot probes, and of ImageNet the probes; none where no number of shots is possible.

    `everything`, `zero_shot`: the score of the probe on all examples, and zero-shot.
    """
    shots, seeds = _possible(context.config.shots, task.splits, one.name), sorted(context.config.seeds)
    if not shots:
        return [], []
    asked = context.asked(one.name, "few-shot")
    made = context.kept.tables(
        "few-shot",
        one.task,
        digest(basis, shots, seeds, everything, zero_shot),
        (RESULT, SHOT, EQUIVALENT, weight_table(1)),
        lambda: _few_shot(asked, task, shots, seeds, everything, zero_shot),
    )
    for row in made["equivalent"].to_pylist() if "equivalent" in made else []:
        about = {"equal": "", "below": "less than ", "beyond": "more than "}[row["relation"]]
        print(f"eval: {one.name} zero-shot is worth {about}{row['shots']:.1f} examples a class", flush=True)
    rows: Rows = made["result"].to_pylist()
    return rows, _probes(made)


# ── splits ────────────────────────────────────────────────────────────────────────────────────────


def tables_of(config: Config, table: str) -> tuple[str, ...]:
    """What is computed of a training or validation split: `table`, or both where prompts are selected on it, too."""
    has_both = prompts.FORWARD in config.prompts and (config.probe or config.shots)
    return ("feature", "hidden") if has_both else (table,)


def _splits(source: VectorSource, one: EvalSet, test: Pictures, hidden: Floats, tables: Sequence[str]) -> _Splits:
    pictures: dict[Role, Pictures] = {"test": test}
    found: dict[Role, Floats] = {"test": hidden}
    for role in one.splits:
        if role != "test":
            pictures[role] = one.open(role)
            found[role] = source.pictures(one, role, pictures[role], tables)["hidden"]
    made = {role: _features(role, some, found[role]) for role, some in pictures.items()}
    return _Splits(test.classes, made["train"], made.get("validation"), made["test"])


def _without_validation(name: str, splits: _Splits) -> list[str]:
    """A sentence on classes of which there is no example to validate with: any λ may be the best by the others."""
    given = splits.train if splits.validation is None else splits.validation
    counts = np.bincount(given.labels, minlength=len(splits.classes)).tolist()
    if splits.validation is None:
        counts = list(map(features.held_out, counts))
    absent = [name for name, count in zip(splits.classes, counts, strict=True) if not count]
    if not absent:
        return []
    return [
        f"{name}: λ is chosen without examples of {len(absent)} of the {len(splits.classes)} classes "
        f"({listed(absent)}): give a validation split that has all, or 5 training examples of each"
    ]


def _features(role: Role, pictures: Pictures, found: Floats) -> Features:
    """Vectors with ids that no other split has, for each split may number its files anew."""
    return Features(tuple(f"{role}/{name}" for name in pictures.ids), found, pictures.numbers())


# ── fits ──────────────────────────────────────────────────────────────────────────────────────────


def _probe(asked: judged.Asked, task: _Task) -> Made:
    splits, test = task.splits, task.splits.test
    found = probe.probe(splits.train, test, splits.classes, splits.validation, task.measure)
    rows = judged.by_class(asked, task.metric, test.ids, test.labels, found.scores, splits.classes)
    examples = judged.examples(
        asked,
        [name.partition("/")[2] for name in test.ids],
        [[splits.classes[number]] for number in test.labels],
        found.scores.__getitem__,
        splits.classes,
        metrics.ranks(found.scores, test.labels),
        probabilities=True,
    )
    about = {"set": asked.set, "model": asked.model}
    sweep = [
        about
        | {name: getattr(one, name) for name in ("penalty", "score", "objective", "iterations", "converged")}
        | {"chosen": one.penalty == found.penalty}
        for one in found.tried
    ]
    tables = [(rows, RESULT), (sweep, SWEEP)]
    weights = [_weights(None, None, found.fit)] if task.keep else []
    return Made([*(pa.Table.from_pylist(some, schema=schema) for some, schema in tables), examples, *weights])


def _weights(shots: int | None, seed: int | None, fit: logistic.Solution) -> pa.Table:
    """Rows of `weight`, a class each."""
    vectors = np.ascontiguousarray(fit.weights.T, dtype=np.float32)
    n, width = vectors.shape
    columns = [
        pa.array([shots] * n, pa.int32()),
        pa.array([seed] * n, pa.int64()),
        pa.array(np.arange(n, dtype=np.int32)),
        pa.array(fit.intercepts.astype(np.float32)),
        pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), width),
    ]
    return pa.table(columns, schema=weight_table(width))


def _probes(made: Mapping[str, pa.Table]) -> list[Probe]:
    """The probes that a step has kept."""
    if "weight" not in made:
        return []
    table = made["weight"]
    shots, seeds = table["shots"].to_pylist(), table["seed"].to_pylist()
    weights, intercepts = vectors_of(table), table["intercept"].to_numpy()
    rows: dict[tuple[int | None, int | None], list[int]] = {}
    for row, key in enumerate(zip(shots, seeds, strict=True)):
        rows.setdefault(key, []).append(row)
    return [Probe(*key, weights[some], intercepts[some]) for key, some in rows.items()]


def _apart(splits: _Splits) -> tuple[Features, Features]:
    """What few-shot probes draw from, and what they are validated with: the same for all of them."""
    if splits.validation is not None:
        return splits.train, splits.validation
    return features.split(splits.train, 0)


def _possible(shots: Sequence[int], splits: _Splits, name: str) -> list[int]:
    """The numbers of shots, ascending, that every class has; the others are said."""
    if not shots:
        return []
    fewest = int(np.bincount(_apart(splits)[0].labels, minlength=len(splits.classes)).min())
    if left := [str(k) for k in sorted(shots) if k > fewest]:
        print(f"eval: no {', '.join(left)} shots of {name}: a class has {fewest} training examples", flush=True)
    return [k for k in sorted(shots) if k <= fewest]


def _few_shot(
    asked: judged.Asked,
    task: _Task,
    shots: Sequence[int],
    seeds: Sequence[int],
    everything: float | None,
    zero_shot: float | None,
) -> Made:
    """The curve over numbers of shots, and how many of them zero-shot is worth."""
    splits, measure = task.splits, task.measure
    train, validation = _apart(splits)
    probe.check(train, splits.classes, {"validation": validation, "test": splits.test})
    values: dict[int, list[float]] = {}
    weights = []
    for k, seed, fit in fewshot.fits(train, validation, splits.classes, shots, seeds, measure):
        values.setdefault(k, []).append(measure(logistic.logits(splits.test.vectors, fit), splits.test.labels))
        weights += [_weights(k, seed, fit)] if task.keep else []
    points = [fewshot.point(k, some) for k, some in values.items()]
    rows = [asked.over_draws(task.metric, one, len(splits.test.ids)) for one in points]
    about = {"set": asked.set, "model": asked.model, "metric": task.metric}
    drawn = [
        about | {"shots": one.shots, "seed": seed, "value": value}
        for one in points
        for seed, value in zip(seeds, one.values, strict=True)
    ]
    tables = [pa.Table.from_pylist(rows, schema=RESULT), pa.Table.from_pylist(drawn, schema=SHOT)]
    scores = {float(one.shots): one.mean for one in points}
    if everything is not None:
        n = len(splits.train.ids) + (len(splits.validation.ids) if splits.validation else 0)
        scores[n / len(splits.classes)] = everything
    if zero_shot is not None and len(scores) > 1:
        worth = fewshot.equivalent(scores, zero_shot)
        equal = about | {"zero_shot": zero_shot, "shots": worth.shots, "relation": worth.relation}
        tables.append(pa.Table.from_pylist([equal], schema=EQUIVALENT))
    return Made([*tables, pa.concat_tables(weights)] if weights else tables)
