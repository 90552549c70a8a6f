"""The natural shifts of ImageNet (section 3.3): zero-shot, by their own class names, and by probes of ImageNet's.

What has other classes than ImageNet's 1,000 is judged by the best class of each super-class (evaluation/shifts.py). So
are ImageNet's own validation pictures of a shift's classes, the sets that the testbed calls val-on-…-classes: else a
drop could be one of classes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.errors import Failure
from core.files import digest
from evaluation import bootstrap, fewshot, prompts, sets, shift_sets, shifts
from evaluation.examples import Pictures
from evaluation.robustness import Shift
from evaluation.shift_sets import Judge
from evaluation.shifts import N_CLASSES, Clips, Groups
from trainer.evals import judged
from trainer.evals.context import ModelContext
from trainer.evals.encoder import Floats
from trainer.evals.eval_sets import EvalSet
from trainer.evals.judged import Asked
from trainer.evals.kept import Made
from trainer.evals.probing import Probe
from trainer.evals.tables import EXAMPLE, FRAME, RESULT, Rows
from trainer.evals.vectors import Vectors

RULES_VERSION = 3
METHOD = "imagenet-probe"  # fitted on ImageNet's training pictures, judged on others
SHARED = "imagenet-classes"  # names the classifier of all 1,000, one for all sets

_TABLES = (RESULT, EXAMPLE, FRAME)


# ── zero-shot ─────────────────────────────────────────────────────────────────────────────────────


def zero_shot(context: ModelContext, one: EvalSet, shift: Shift, tables: Sequence[str]) -> Rows:
    """Rows of results of a shift with classes of its own: by ImageNet's classifier, and by its own class names.

    `tables`: what is computed of its pictures, as `Vectors.pictures` takes it.
    """
    vectors, choices = context.vectors, context.config.prompts
    opened = shift_sets.open_shift(one.at, shift)
    judge = opened.judge
    context.remark(one.at.remarks(opened.files, len(judge.ids)))
    features = vectors.pictures(one, "test", opened.files, tables)["feature"]
    rows: Rows = []
    for choice in choices:
        if choice == prompts.FORWARD:
            print(
                f"eval: no prompts {choice} for {one.name}: it has neither a validation nor a train split", flush=True
            )
            continue
        words = sets.load("imagenet").prompts(choice).texts()
        if len(words) < N_CLASSES:
            print(f"eval: no {choice} of {one.name}: some classes of ImageNet have no name in it", flush=True)
            continue
        found = {"zero-shot": (words, vectors.classifier(f"{SHARED}.{choice}", words))}
        if own := _own_names(judge.of, choice, one.name):
            found["own-names"] = own, _own_classifier(vectors, one, judge.of, choice, own)
        for method, (sentences, weights) in found.items():
            asked = context.asked(one.name, method, choice)
            basis = digest(RULES_VERSION, vectors.basis(one, "test"), _identity(judge), sentences, context.seed)
            make = functools.partial(_zero_shot, asked, judge, vectors, features, weights)
            made = context.kept.tables(method, f"{one.task}.{choice}", basis, _TABLES, make)
            rows += made["result"].to_pylist()
    if not rows:
        raise Failure(f"{one.name} has no prompts {', '.join(choices)}: give one of {', '.join(prompts.CHOICES)}")
    return rows


def _zero_shot(asked: Asked, judge: Judge, vectors: Vectors, features: Floats, weights: Floats) -> Made:
    """Results and examples for unit features [n, e] and a classifier, of ImageNet's classes or of the judge's own."""
    scores = judge.scores(vectors.encoder.scale * features @ weights.T)
    if weights.shape[0] == len(judge.of.titles):
        scores[:, [not title for title in judge.of.titles]] = -np.inf  # a class that is none
    return Made(_judged(asked, judge, scores))


def _own_names(of: Groups, choice: str, name: str) -> list[list[str]]:
    """Sentences about a shift's own class names, in ImageNet's templates; none for those in another language."""
    if not of.titles or choice not in prompts.CHOICES:
        return []
    templates = prompts.published("clip")["imagenet"]["templates"]
    titles = [[title] for title in of.titles if title]
    return prompts.make("paper" if choice == "clip_benchmark" else choice, titles, templates, name).texts()


def _own_classifier(vectors: Vectors, one: EvalSet, of: Groups, choice: str, own: list[list[str]]) -> Floats:
    """The classifier of them, unit float32 [groups, e]; zeros for a class that is none."""
    found = vectors.classifier(f"{one.task}.own-names.{choice}", own)
    weights = np.zeros((len(of.names), found.shape[1]), np.float32)
    weights[[bool(title) for title in of.titles]] = found
    return weights


def inside(
    context: ModelContext, one: EvalSet, pictures: Pictures, features: Floats, choice: str, others: Sequence[EvalSet]
) -> Rows:
    """Rows of results of ImageNet's own pictures of the classes of each shift among `others`.

    By features float32 [n, e] and classifier of ImageNet itself: no picture is read again.
    """
    words = sets.load("imagenet").prompts(choice).texts()
    insides = [*_insides(pictures, others)]
    if len(words) < N_CLASSES or not insides:
        return []
    vectors = context.vectors
    weights = vectors.classifier(f"{SHARED}.{choice}", words)
    rows: Rows = []
    for shift, chosen, judge in insides:
        asked = context.asked(shift.inside, "zero-shot", choice)
        basis = digest(RULES_VERSION, vectors.basis(one, "test"), _identity(judge), words, context.seed)
        make = functools.partial(_zero_shot, asked, judge, vectors, features[chosen], weights)
        rows += context.kept.tables("inside", f"{shift.inside}.{choice}", basis, _TABLES, make)["result"].to_pylist()
    return rows


def _insides(pictures: Pictures, others: Sequence[EvalSet]) -> Iterator[tuple[Shift, Sequence[int], Judge]]:
    """Of each shift with fewer classes: ImageNet's pictures of these, their places, and how they are judged."""
    for one in others:
        shift = shift_sets.shift_of(one.at)
        if shift is None or shift.inside == "val":
            continue
        try:
            found = shift_sets.inside(pictures, shift_sets.groups_of(one.at, shift))
        except Failure as error:
            print(f"eval: no {shift.inside}: {error}", flush=True)
            continue  # the set itself fails for it
        if found is None:
            print(f"eval: no {shift.inside}: {pictures.path} has no picture of these classes", flush=True)
        else:
            yield shift, *found


# ── probes of ImageNet's ──────────────────────────────────────────────────────────────────────────


def adapted(context: ModelContext, one: EvalSet, shift: Shift, probes: Sequence[Probe]) -> Rows:
    """Rows of results of a shift by probes that were fitted on ImageNet: adaptation to ImageNet (Figures 14, 15)."""
    opened = shift_sets.open_shift(one.at, shift)
    hidden = context.vectors.pictures(one, "test", opened.files, ("feature", "hidden"))["hidden"]
    return _by_probes(context, one, one.name, one.task, opened.judge, hidden, probes)


def adapted_inside(
    context: ModelContext,
    one: EvalSet,
    pictures: Pictures,
    hidden: Floats,
    others: Sequence[EvalSet],
    probes: Sequence[Probe],
) -> Rows:
    """The same of ImageNet's own pictures of the shifts' classes, by their `hidden`, float32 [n, width]."""
    rows: Rows = []
    for shift, chosen, judge in _insides(pictures, others) if probes else ():
        name = shift.inside
        rows += _by_probes(context, one, name, name, judge, hidden[chosen], probes)
    return rows


def _by_probes(
    context: ModelContext, one: EvalSet, name: str, task: str, judge: Judge, hidden: Floats, probes: Sequence[Probe]
) -> Rows:
    """Rows of results, by the name of the set that is judged: one of the sets, or ImageNet's pictures of a shift."""
    asked = context.asked(name, METHOD)

    def make() -> Made:
        rows: Rows = []
        tables: list[pa.Table] = []
        values: dict[int, list[float]] = {}
        for probe in probes:
            scores = probe.scores(hidden)
            if probe.shots is None:
                table, *tables = _judged(asked, judge, judge.scores(scores))
                rows = table.to_pylist()
            else:
                values.setdefault(probe.shots, []).append(float(judge.values(scores).mean()))
        for shots, some in sorted(values.items()):
            about = {"name": f"{name} {METHOD} {shots}-shot"}
            rows.append(asked.over_draws("accuracy", fewshot.point(shots, some), len(judge.ids), **about))
        return Made([pa.Table.from_pylist(rows, schema=RESULT), *tables])

    fitted = sorted(probe.digest for probe in probes)
    basis = digest(RULES_VERSION, context.vectors.basis(one, "test"), _identity(judge), fitted, context.seed)
    rows: Rows = context.kept.tables(METHOD, task, basis, _TABLES, make)["result"].to_pylist()
    return rows


# ── from scores to rows ───────────────────────────────────────────────────────────────────────────


def _identity(judge: Judge) -> str:
    """The digest of what is judged in which classes."""
    of, pairs = judge.of, [judge.frame.tolist(), judge.anchor.tolist()] if isinstance(judge, Clips) else []
    return digest(of.names, of.members, of.titles, judge.ids, np.argwhere(judge.truth).tolist(), pairs)


def _judged(asked: Asked, judge: Judge, scores: Floats) -> list[pa.Table]:
    """Results and examples for scores [n, groups], of videos also frames."""
    if isinstance(judge, Clips):
        return _judged_clips(asked, judge, scores)
    ranks, groups = shifts.ranks(scores, judge.truth), len(judge.of.names)
    rows = [asked.share("accuracy", ranks == 1, _chance(judge.truth))]
    if groups > judged.TOP:
        rows.append(asked.share(f"top-{judged.TOP}", ranks <= judged.TOP, None))
    return [pa.Table.from_pylist(rows, schema=RESULT), _examples(asked, judge, judge.truth, scores)]


def _judged_clips(asked: Asked, judge: Clips, scores: Floats) -> list[pa.Table]:
    """The mean of pm-0 and pm-10, with a bootstrap interval over anchors, both by themselves, and every frame."""
    values, parts = judge.values(scores), judge.parts(scores)
    of = bootstrap.ranks(asked.seed, asked.set, judge.ids)
    weights = [bootstrap.weights(of, draw) for draw in range(bootstrap.DRAWS)]
    low, high = bootstrap.interval(np.array([np.average(values, weights=some) for some in weights if some.any()]))
    first = judge.anchors
    rows = [
        asked.row("accuracy", float(values.mean()), len(values), low=low, high=high),
        asked.share("pm-0", parts[0], _chance(judge.truth[first])),
        asked.share("pm-10", parts[1], None),
    ]
    n = len(judge.frame)
    frames = {
        **{name: pa.repeat(getattr(asked, name), n) for name in ("set", "method", "prompts", "model")},
        "anchor": pa.array(judge.ids).take(pa.array(judge.anchor)),
        "frame": pa.array(judge.frames).take(pa.array(judge.frame)),
        "right": pa.array(judge.right(scores)),
    }
    examples = _examples(asked, judge, judge.truth[first], scores[judge.frame[first]])
    return [pa.Table.from_pylist(rows, schema=RESULT), examples, pa.table(frames, schema=FRAME)]


def _chance(truth: npt.NDArray[np.bool_]) -> float:
    """What guessing among the groups gets: a picture of two of them is twice as easy."""
    return float(truth.mean(axis=1).mean())


def _examples(asked: Asked, judge: Judge, truth: npt.NDArray[np.bool_], scores: Floats) -> pa.Table:
    names = judge.of.names
    labels = [[names[number] for number in np.flatnonzero(some)] for some in truth]
    return judged.examples(
        asked, judge.ids, labels, scores.__getitem__, names, shifts.ranks(scores, truth), probabilities=True
    )
