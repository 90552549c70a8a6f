"""Linear probes on a set's own splits (section 3.2), and few-shot curves with the zero-shot line (Figures 6 and 7)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from core.files import digest
from core.tables import declare
from evaluation import features, fewshot, logistic, metrics, probe, prompts
from evaluation.examples import Files, Pictures
from evaluation.features import Features
from trainer.evals import judged
from trainer.evals.config import Config
from trainer.evals.kept import Kept, Made
from trainer.evals.tables import EXAMPLE, RESULT
from trainer.evals.vectors import Floats
from trainer.evals.vectors import vectors as vectors_of
from trainer.evals.wanted import Role, Wanted

RULES_VERSION = 2

SWEEP = declare(
    "sweep",
    2,
    {
        "set": (pa.string(), "the set"),
        "model": (pa.string(), "as in result"),
        "penalty": (pa.float64(), "λ, in the order tried"),
        "score": (pa.float64(), "the set's metric on the validation split"),
        "objective": (pa.float64(), "sum of losses and penalty on the training split"),
        "iterations": (pa.int32(), "of L-BFGS"),
        "converged": (pa.bool_(), "whether its gradient vanished"),
        "chosen": (pa.bool_(), "whether the probe was fitted with it"),
    },
)

SHOT = declare(
    "shot",
    2,
    {
        "set": (pa.string(), "the set"),
        "model": (pa.string(), "as in result"),
        "shots": (pa.int32(), "training examples a class"),
        "seed": (pa.int64(), "of the draw"),
        "metric": (pa.string(), "the set's"),
        "value": (pa.float64(), "a share from 0 to 1"),
    },
)

EQUIVALENT = declare(
    "equivalent",
    2,
    {
        "set": (pa.string(), "the set"),
        "model": (pa.string(), "as in result"),
        "metric": (pa.string(), "the set's"),
        "zero_shot": (pa.float64(), "its value zero-shot"),
        "shots": (pa.float64(), "training examples a class that reach it, between two numbers log-linearly"),
        "relation": (pa.string(), "equal | below: fewer than that | beyond: more"),
    },
)

_IMAGENET = "imagenet"  # the set whose probes are kept, to be judged on others, too

METRICS = {"mean_top1_top5": "top_1_and_5"}  # as evaluation/probe.py calls them

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Probe:
    """A probe of ImageNet's: of all training examples, or of some a class, drawn by a seed."""

    shots: int | None
    seed: int | None
    weights: Floats  # [classes, width]
    intercepts: Floats  # [classes]

    def scores(self, hidden: Floats) -> Floats:
        """Logits [n, classes]."""
        return hidden @ self.weights.T + self.intercepts

    @property
    def said(self) -> str:
        """Its digest."""
        found = hashlib.sha256(self.weights.tobytes())
        found.update(self.intercepts.tobytes())
        return found.hexdigest()


def _weight_table(width: int) -> pa.Schema:
    vector = pa.list_(pa.float32(), width)
    columns = {
        "shots": (pa.int32(), "training examples a class; of a probe on all | null"),
        "seed": (pa.int64(), "of their draw | null"),
        "class": (pa.int32(), "number of the class"),
        "intercept": (pa.float32(), "of its logit"),
        "vector": (vector, "weights of its logit"),
    }
    return declare("weight", 1, columns)


@dataclass(frozen=True)
class _Splits:
    """The examples of a set, with classes that all splits share. `validation`: None where there is no such split."""

    classes: Sequence[str]
    train: Features
    validation: Features | None
    test: Features


class Hidden(Protocol):
    """Where the features of splits come from: a model, or files of another's."""

    @property
    def name(self) -> str:
        """The model's."""

    def basis(self, one: Wanted, *roles: Role) -> str:
        """The digest of what determines the features of some splits."""

    def pictures(self, one: Wanted, role: Role, files: Files, tables: Sequence[str]) -> dict[str, Floats]:
        """Vectors [n, width] of a split as the table "hidden", in the order of its ids."""


def evaluate(
    kept: Kept,
    vectors: Hidden,
    config: Config,
    one: Wanted,
    test: Pictures,
    hidden: Floats,
    zero_shot: Mapping[str, float],
    seed: int,
) -> tuple[Rows, list[Probe]]:
    """Rows of results of the probe and of few-shot probes, as the recipe asks for; none where there is no train split.

    Of ImageNet also the probes themselves.

    `test`, `hidden` [n, width]: the test split; `zero_shot`: metric → value, of the first choice of prompts.
    """
    metric = one.at.set.metric if one.at.set else "accuracy"
    measure = probe.METRICS.get(METRICS.get(metric, metric))
    if "train" not in one.splits or measure is None or any(len(some) != 1 for some in test.labels):
        why = "it has no train split" if "train" not in one.splits else "its examples have several classes"
        print(f"eval: no probe of {one.name}: {why}", flush=True)
        return [], []
    splits = _splits(vectors, config, one, test, hidden)
    truth = [
        digest(split.ids, split.labels.tolist()) for split in (splits.train, splits.validation, splits.test) if split
    ]
    basis = digest(RULES_VERSION, vectors.basis(one, *one.digests), truth, list(splits.classes), metric)
    rows: Rows = []
    probes: list[Probe] = []
    keep = one.at.set is not None and one.at.set.name == _IMAGENET
    if config.probe:
        asked = judged.Asked(one.name, "probe", "", vectors.name, seed)
        made = kept.tables(
            "probe",
            one.task,
            digest(basis, seed),
            (RESULT, EXAMPLE, SWEEP, _weight_table(1)),
            lambda: _probe(asked, metric, measure, splits, keep),
        )
        rows += made["result"].to_pylist()
        probes += _probes(made)
    shots = _possible(config.shots, splits, one.name)
    if shots:
        everything = next((row["value"] for row in rows if row["metric"] == metric), None)
        line, seeds = zero_shot.get(metric), sorted(config.seeds)
        curve = judged.Asked(one.name, "few-shot", "", vectors.name, seed)
        made = kept.tables(
            "few-shot",
            one.task,
            digest(basis, shots, seeds, everything, line),
            (RESULT, SHOT, EQUIVALENT, _weight_table(1)),
            lambda: _few_shot(curve, metric, measure, splits, shots, seeds, everything, line, keep),
        )
        rows += made["result"].to_pylist()
        probes += _probes(made)
        for row in made["equivalent"].to_pylist() if "equivalent" in made else []:
            about = {"equal": "", "below": "less than ", "beyond": "more than "}[row["relation"]]
            print(f"eval: {one.name} zero-shot is worth {about}{row['shots']:.1f} examples a class", flush=True)
    return rows, probes


# ── splits ────────────────────────────────────────────────────────────────────────────────────────


def tables_of(config: Config, wanted: str) -> tuple[str, ...]:
    """What is kept of a training or validation split: where probes and prompts are both fitted on it, both tables."""
    has_both = prompts.FORWARD in config.prompts and (config.probe or config.shots)
    return ("feature", "hidden") if has_both else (wanted,)


def _splits(vectors: Hidden, config: Config, one: Wanted, test: Pictures, hidden: Floats) -> _Splits:
    pictures: dict[Role, Pictures] = {"test": test}
    found: dict[Role, Floats] = {"test": hidden}
    for role in one.splits:
        if role != "test":
            pictures[role] = one.open(role)
            found[role] = vectors.pictures(one, role, pictures[role], tables_of(config, "hidden"))["hidden"]
    made = {role: _features(role, some, found[role]) for role, some in pictures.items()}
    return _Splits(test.classes, made["train"], made.get("validation"), made["test"])


def _features(role: Role, pictures: Pictures, found: Floats) -> Features:
    """Vectors with ids that no other split has, for each split may number its files anew."""
    return Features(tuple(f"{role}/{name}" for name in pictures.ids), found, pictures.numbers())


# ── fits ──────────────────────────────────────────────────────────────────────────────────────────


def _probe(asked: judged.Asked, metric: str, measure: probe.Metric, splits: _Splits, keep: bool) -> Made:
    found = probe.probe(splits.train, splits.test, splits.classes, splits.validation, measure)
    test = splits.test
    rows = judged.by_class(asked, metric, test.ids, test.labels, found.scores, splits.classes)
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
    weights = [_weights(None, None, found.fit)] if keep else []
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
    return pa.table(columns, schema=_weight_table(width))


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
    metric: str,
    measure: probe.Metric,
    splits: _Splits,
    shots: Sequence[int],
    seeds: Sequence[int],
    everything: float | None,
    zero_shot: float | None,
    keep: bool,
) -> Made:
    """The curve over numbers of shots, and how many of them zero-shot is worth."""
    train, validation = _apart(splits)
    probe.check(train, splits.classes, {"validation": validation, "test": splits.test})
    values: dict[int, list[float]] = {}
    weights = []
    for k, seed, fit in fewshot.fits(train, validation, splits.classes, shots, seeds, measure):
        values.setdefault(k, []).append(measure(logistic.logits(splits.test.vectors, fit), splits.test.labels))
        weights += [_weights(k, seed, fit)] if keep else []
    points = [fewshot.point(k, some) for k, some in values.items()]
    rows = [asked.over_draws(metric, one, len(splits.test.ids)) for one in points]
    about = {"set": asked.set, "model": asked.model, "metric": metric}
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
