"""One evaluation set after the other: zero-shot, probe and few-shot, retrieval or geolocation, as the set asks for.

Each step keeps its tables under a receipt, so an evaluation that was killed goes on with the next step of the next set,
and one with other prompts reads the features of the last one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.errors import Failure
from core.files import digest
from evaluation import metrics, shift_sets
from evaluation.examples import Pictures
from evaluation.prompts import FORWARD, Prompts
from trainer.evals import answers, judged, probing, searched, selecting, shifted
from trainer.evals.config import Config
from trainer.evals.context import Context, ModelContext
from trainer.evals.encoder import Floats
from trainer.evals.eval_sets import EvalSet
from trainer.evals.kept import Made
from trainer.evals.probing import Probe
from trainer.evals.tables import EXAMPLE, RESULT, Rows

RULES_VERSION = 4


def evaluate(context: ModelContext, sets: Sequence[EvalSet]) -> Rows:
    """The rows of results of a model on all sets, by set. Failure names each set with something wrong, after the rest.

    The probes of ImageNet are judged on its shifts once all sets are done.
    """
    rows: Rows = []
    probes: list[Probe] = []
    wrong: dict[str, str] = {}
    for one in sets:
        with _noting(context, one, wrong):
            some, fitted = _evaluate(context, one, sets)
            rows += some
            probes += fitted
    for one in sets if probes else ():
        shift = shift_sets.shift_of(one.at)
        if shift is not None and one.name not in wrong:
            with _noting(context, one, wrong):
                rows += shifted.adapted(context, one, shift, probes)
    if wrong:
        raise Failure(
            f"{len(wrong)} of {len(sets)} evaluation sets cannot be evaluated: {'; '.join(wrong.values())}; the "
            "others are done and kept: mend these, or take them out of eval.sets, and run the same command again"
        )
    return rows


@contextmanager
def _noting(context: Context, one: EvalSet, wrong: dict[str, str]) -> Iterator[None]:
    """What fails in the block is the fault of a set: it is said, and noted in `wrong` by the set's name."""
    try:
        yield
    except Failure as error:
        context.kept.require_lock()  # else nothing of it is the set's fault
        print(f"eval: {one.name} cannot be evaluated: {error}", flush=True)
        wrong[one.name] = f"{one.name} ({error})"


def _evaluate(context: ModelContext, one: EvalSet, sets: Sequence[EvalSet]) -> tuple[Rows, list[Probe]]:
    """Rows of a set, and the probes of ImageNet. `sets`: all that are evaluated."""
    shift = shift_sets.shift_of(one.at)
    if shift is not None and one.at.set is not None and one.at.set.own_classes:
        return shifted.zero_shot(context, one, shift, _tables(context.config)), []
    if one.at.task == "retrieval":
        return searched.captions(context, one), []
    if one.at.task == "geolocation":
        return searched.places(context, one), []
    return _classify(context, one, sets)


def _tables(config: Config) -> tuple[str, ...]:
    """What is computed of pictures with classes: for probes also what they are fitted on."""
    return ("feature", "hidden") if config.probe or config.shots else ("feature",)


def _classify(context: ModelContext, one: EvalSet, sets: Sequence[EvalSet]) -> tuple[Rows, list[Probe]]:
    """Zero-shot by each choice of prompts, then the probes; of ImageNet also on the classes of the shifts."""
    pictures, config = one.open(), context.config
    context.remark(one.at.remarks(pictures))
    found = context.vectors.pictures(one, "test", pictures, _tables(config))
    rows: Rows = []
    insides: Rows = []
    probes: list[Probe] = []
    for choice in config.prompts:
        selected = None
        if choice == FORWARD:
            selected = selecting.select(context, one, pictures)
            if selected is None:
                continue
        rows += zero_shot(context, one, pictures, found["feature"], choice, selected)
        if one.is_imagenet and choice != FORWARD:  # the shifts have no split to select prompts on
            insides += shifted.inside(context, one, pictures, found["feature"], choice, sets)
    if "hidden" in found:
        first = {row["metric"]: row["value"] for row in rows if row["prompts"] == config.prompts[0]}
        some, probes = probing.evaluate(context, context.vectors, one, pictures, found["hidden"], first)
        rows += some
        if one.is_imagenet:
            insides += shifted.adapted_inside(context, one, pictures, found["hidden"], sets, probes)
    return rows + insides, probes


# ── zero-shot ─────────────────────────────────────────────────────────────────────────────────────


def zero_shot(
    context: ModelContext,
    one: EvalSet,
    pictures: Pictures,
    features: Floats,
    choice: str,
    prompts: Prompts | None = None,
) -> Rows:
    """Rows of results by one choice of prompts, without the pictures of classes that have no name in it.

    features: unit, float32 [n, e]; `prompts`: where they are others than the set has for the choice.
    """
    prompts = prompts or one.at.prompts(pictures, choice)
    allowed = set(pictures.subset) or set(range(len(pictures.classes)))
    named = [
        (number, texts) for number, texts in zip(prompts.classes, prompts.texts(), strict=True) if number in allowed
    ]
    columns, sentences = [number for number, _ in named], [texts for _, texts in named]
    if len(columns) < 2:
        raise Failure(f"{one.at.path} has pictures of {len(columns)} class: there is nothing to choose from")
    metric, vectors = one.metric(pictures), context.vectors
    asked = context.asked(one.name, "zero-shot", choice)
    shares = choice != FORWARD and _has_classes_of_imagenet(one) and len(columns) == len(prompts.classes)
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


def _has_classes_of_imagenet(one: EvalSet) -> bool:
    """Whether its classifier is the one of all 1,000 classes, which is kept once for all such sets."""
    return one.at.set is not None and "imagenet" in (one.at.set.name, one.at.set.like)


def _outcomes(pictures: Pictures, columns: Sequence[int], features: Floats, weights: Floats) -> list[answers.Outcome]:
    """What people are compared with: of each picture of the classes `columns`."""
    chosen, own = _of_columns(pictures, columns)
    scores = features[chosen] @ weights.T
    classes = [pictures.classes[number] for number in columns]
    return answers.outcomes([pictures.ids[i] for i in chosen], own, metrics.ranks(scores, own), scores, classes)


def _of_columns(pictures: Pictures, columns: Sequence[int]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The pictures of the classes `columns`, and of each the place of its class among them: both int64 [m]."""
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
