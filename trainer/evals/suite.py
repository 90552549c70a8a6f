"""One evaluation set after the other: zero-shot, probe and few-shot, retrieval or geolocation, as the set asks for.

Each step keeps its tables under a receipt, so an evaluation that was killed goes on with the next step of the next set,
and one with other prompts reads the features of the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.errors import Failure
from core.files import digest
from evaluation import metrics, shift_sets
from evaluation.examples import Pictures
from evaluation.prompts import FORWARD, Prompts
from trainer.evals import answers, judged, probing, searched, selecting, shifted
from trainer.evals.context import Context
from trainer.evals.eval_sets import EvalSet
from trainer.evals.kept import Made
from trainer.evals.probing import Probe
from trainer.evals.tables import EXAMPLE, RESULT
from trainer.evals.vectors import Floats, Vectors

RULES_VERSION = 3

Rows = list[dict[str, Any]]


class Suite(Context[Vectors]):
    """Evaluates a model on all sets."""

    def evaluate(self, sets: Sequence[EvalSet]) -> Rows:
        """The rows of results of all sets, by set. Failure names each set with something wrong, after the others."""
        wrong: dict[str, str] = {}

        def tried(one: EvalSet, evaluate: Callable[[EvalSet], Rows]) -> Rows:
            if one.name in wrong:
                return []
            try:
                return evaluate(one)
            except Failure as error:
                self.kept.require_lock()  # else nothing of it is the set's fault
                print(f"eval: {one.name} cannot be evaluated: {error}", flush=True)
                wrong[one.name] = f"{one.name} ({error})"
                return []

        probes: list[Probe] = []  # of ImageNet's
        rows = [row for one in sets for row in tried(one, lambda some: self._evaluate(some, sets, probes))]
        if probes:
            rows += [row for one in sets for row in tried(one, lambda some: self._adapted(some, probes))]
        if wrong:
            raise Failure(
                f"{len(wrong)} of {len(sets)} evaluation sets cannot be evaluated: {'; '.join(wrong.values())}; the "
                "others are done and kept: mend these, or take them out of eval.sets, and run the same command again"
            )
        return rows

    @property
    def _tables(self) -> tuple[str, ...]:
        """What is computed of pictures with classes."""
        return ("feature", "hidden") if self.config.probe or self.config.shots else ("feature",)

    def _evaluate(self, one: EvalSet, sets: Sequence[EvalSet], probes: list[Probe]) -> Rows:
        """Rows of a set. `sets`: all that are evaluated; `probes`: where those of ImageNet are put."""
        known = one.at.set
        shift = shift_sets.shift_of(one.at)
        if shift is not None and known is not None and known.own_classes:
            return shifted.zero_shot(self, one, shift, self._tables)
        if one.at.task == "retrieval":
            return searched.captions(self, one)
        if one.at.task == "geolocation":
            return searched.places(self, one)
        return self._classify(one, sets, probes)

    def _adapted(self, one: EvalSet, probes: Sequence[Probe]) -> Rows:
        """Rows of a shift by the probes of ImageNet; none of another set."""
        shift = shift_sets.shift_of(one.at)
        return shifted.adapted(self, one, shift, probes) if shift else []

    def _classify(self, one: EvalSet, sets: Sequence[EvalSet], probes: list[Probe]) -> Rows:
        """Zero-shot by each choice of prompts, then the probes; of ImageNet also on the classes of the shifts."""
        pictures = one.open()
        self.remark(one.at.remarks(pictures))
        found = self.vectors.pictures(one, "test", pictures, self._tables)
        rows: Rows = []
        insides: Rows = []
        is_imagenet = one.at.set is not None and one.at.set.name == "imagenet"
        for choice in self.config.prompts:
            chosen = None
            if choice == FORWARD:
                metric = metric_of(one, pictures)
                chosen = selecting.select(self, one, pictures, metric)
                if chosen is None:
                    continue
            rows += zero_shot(self, one, pictures, found["feature"], choice, chosen)
            if is_imagenet and choice != FORWARD:  # the shifts have no split to select prompts on
                insides += shifted.inside(self, one, pictures, found["feature"], choice, sets)
        if "hidden" in found:
            best = {row["metric"]: row["value"] for row in rows if row["prompts"] == self.config.prompts[0]}
            some, fitted = probing.evaluate(self, one, pictures, found["hidden"], best)
            rows += some
            probes += fitted
            if is_imagenet:
                insides += shifted.adapted_inside(self, one, pictures, found["hidden"], sets, fitted)
        return rows + insides


def metric_of(one: EvalSet, pictures: Pictures) -> str:
    """The set's metric; of one of the user's own accuracy, or mean average precision for several classes an example."""
    if one.at.set is not None:
        return one.at.set.metric
    return "accuracy" if all(len(some) == 1 for some in pictures.labels) else "map11"


def zero_shot(
    context: Context[Vectors],
    one: EvalSet,
    pictures: Pictures,
    features: Floats,
    choice: str,
    prompts: Prompts | None = None,
) -> Rows:
    """Rows of results by one choice of prompts, without the pictures of classes that have no name in it.

    `prompts`: where they are others than the set has for the choice.
    """
    prompts = prompts or one.at.prompts(pictures, choice)
    allowed = set(pictures.subset) or set(range(len(pictures.classes)))
    named = [
        (number, texts) for number, texts in zip(prompts.classes, prompts.texts(), strict=True) if number in allowed
    ]
    columns, sentences = [number for number, _ in named], [texts for _, texts in named]
    if len(columns) < 2:
        raise Failure(f"{one.at.path} has pictures of {len(columns)} class: there is nothing to choose from")
    metric = metric_of(one, pictures)
    asked, vectors = context.asked(one.name, "zero-shot", choice), context.vectors

    known = one.at.set
    shares = choice != FORWARD and known is not None and "imagenet" in (known.name, known.like)
    shares = shares and len(columns) == len(prompts.classes)
    classifier = vectors.classifier(f"{shifted.SHARED if shares else one.task}.{choice}", sentences)

    def make() -> Made:
        return _judge(asked, metric, pictures, columns, features, vectors.encoder.scale * classifier)

    def outcomes() -> Sequence[answers.Outcome]:
        return _outcomes(pictures, columns, features, vectors.encoder.scale * classifier)

    truth = digest(pictures.classes, pictures.labels)
    basis = digest(RULES_VERSION, vectors.basis(one, "test"), truth, columns, sentences, metric, context.seed)
    made = context.kept.tables("zero-shot", f"{one.task}.{choice}", basis, (RESULT, EXAMPLE), make)
    if one.name in context.answers and choice == answers.choice_of(context.config):
        if metric == "map11":
            raise Failure(f"{one.name} has several classes a picture, and answers of people name one: see eval.answers")
        answers.compare(context, one, choice, basis, outcomes)
    rows: Rows = made["result"].to_pylist()
    return rows


def _outcomes(pictures: Pictures, columns: Sequence[int], features: Floats, weights: Floats) -> list[answers.Outcome]:
    """What people are compared with: of each picture of the classes `columns`."""
    chosen, own = _of_columns(pictures, columns)
    scores = features[chosen] @ weights.T
    classes = [pictures.classes[number] for number in columns]
    return answers.outcomes([pictures.ids[i] for i in chosen], own, metrics.ranks(scores, own), scores, classes)


def _of_columns(pictures: Pictures, columns: Sequence[int]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The pictures of the classes `columns`, and of each the place of its class among them."""
    place = {number: at for at, number in enumerate(columns)}
    numbers = pictures.numbers()
    chosen = np.flatnonzero(np.isin(numbers, columns))
    return chosen, np.array([place[number] for number in numbers[chosen].tolist()], np.int64)


def _judge(
    asked: judged.Asked,
    metric: str,
    pictures: Pictures,
    columns: Sequence[int],
    features: Floats,
    weights: Floats,
) -> Made:
    """Results and examples for features [n, e] and weights [classes, e] of the classes `columns`."""
    classes = [pictures.classes[number] for number in columns]
    chosen = np.arange(len(pictures))
    ranks = None
    if metric == "map11":
        scores = features @ weights.T
        rows = judged.by_classes(asked, pictures.matrix()[:, columns], scores, classes)
    else:
        chosen, own = _of_columns(pictures, columns)
        scores = features[chosen] @ weights.T
        ids = [pictures.ids[i] for i in chosen]
        rows = judged.by_class(asked, metric, ids, own, scores, classes)
        ranks = metrics.ranks(scores, own)
    labels = [[pictures.classes[number] for number in pictures.labels[i]] for i in chosen]
    examples = judged.examples(
        asked, [pictures.ids[i] for i in chosen], labels, scores.__getitem__, classes, ranks, probabilities=True
    )
    return Made([pa.Table.from_pylist(rows, schema=RESULT), examples])
