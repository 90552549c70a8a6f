"""People beside a model on the same pictures (section 4.4; Table 2 and Figure 16), from files of answers.

`eval.answers` names a file for each group of people that was asked about a set: the paper's groups are zero-shot,
one-shot and two-shot, by how many pictures of a breed they had seen. evaluation/human.py reads and counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core import recipe as recipes
from core.errors import UsageError
from core.files import digest
from core.inputs import Source, digest_file, reading
from evaluation import human
from evaluation.prompts import FORWARD
from trainer import stage
from trainer.evals import judged
from trainer.evals.config import Config
from trainer.evals.context import ModelContext
from trainer.evals.eval_sets import EvalSet
from trainer.evals.kept import Made
from trainer.evals.tables import ANSWERS, HARDNESS, OWN

RULES_VERSION = 1

_ROWS = 4096  # of a matrix of logits, at once


@dataclass(frozen=True)
class Outcome:
    """A picture, its class, whether a model is right about it, and the probability that it gives that class."""

    id: str
    label: str
    right: bool
    probability: float


def find(recipe: recipes.Recipe, config: Config, sets: Sequence[EvalSet]) -> dict[str, dict[str, Source]]:
    """The files of `eval.answers`: set → group → file. UsageError where a file or the set is not asked for.

    Sets that are not there are left out: that is said of them already.
    """
    known = {one.name: one for one in sets}
    found = {}
    for name, groups in sorted(config.answers.items()):
        if name not in known and name not in config.sets:
            raise UsageError(
                f"{recipe.path}: eval.answers.{name} is about no set of eval.sets (there are "
                f"{', '.join(known) or 'none'}): name one, or take it out"
            )
        if name in known:
            _check(recipe.path, known[name])
            paths = {group: stage.source(recipe, f"eval.answers.{name}", path) for group, path in groups.items()}
            found[name] = {group: Source(path, digest_file(path)) for group, path in sorted(paths.items())}
            _require_different(f"{recipe.path}: eval.answers.{name}", found[name])
    return found


def _require_different(key: str, files: Mapping[str, Source]) -> None:
    groups: dict[str, str] = {}
    for group, source in files.items():
        other = groups.setdefault(source.digest, group)
        if other != group:
            raise UsageError(f"{key} has the same answers for {other} and for {group}: give each group its own file")


def digests(answered: Mapping[str, Mapping[str, Source]]) -> dict[str, str]:
    """What identifies each file of answers, by what a person calls it."""
    return {
        f"answers about {name} ({group})": one.digest
        for name, groups in answered.items()
        for group, one in groups.items()
    }


def _check(path: str, one: EvalSet) -> None:
    if not one.has_one_class_each:
        raise UsageError(
            f"{path}: eval.answers.{one.name} names classes, and {one.name} is not judged by one class a picture: take "
            "it out"
        )


def choice_of(config: Config) -> str:
    """The prompts by which a model is compared with people: the first choice that needs no other split."""
    return next((choice for choice in config.prompts if choice != FORWARD), "")


def outcomes(
    ids: Sequence[str],
    own: npt.NDArray[np.int64],
    ranks: npt.NDArray[np.int64],
    logits: npt.NDArray[np.float32],
    classes: Sequence[str],
) -> list[Outcome]:
    """Of logits [n, classes] the outcomes of all pictures. own: int64 [n], their columns; ranks: int64 [n], from 1."""
    found: list[float] = []
    for at in range(0, len(ids), _ROWS):
        some = logits[at : at + _ROWS].astype(np.float64)
        found += judged.softmax(some, np.take_along_axis(some, own[at : at + _ROWS, None], axis=1))[:, 0].tolist()
    rows = zip(ids, own.tolist(), ranks.tolist(), found, strict=True)
    return [Outcome(name, classes[column], rank == 1, probability) for name, column, rank, probability in rows]


def compare(
    context: ModelContext, one: EvalSet, choice: str, basis: str, judge: Callable[[], Sequence[Outcome]]
) -> None:
    """Keep the tables ANSWERS and HARDNESS of a set. `basis`: the digest of what determines the model's outcomes.

    Failure names the lines of a file that do not fit the set.
    """
    files, about = context.answers[one.name], {"set": one.name, "model": context.model, "prompts": choice}

    def make() -> Made:
        return _made(about, files, judge())

    known = {group: source.digest for group, source in files.items()}
    made = context.kept.tables(
        "answers", one.task, digest(RULES_VERSION, choice, basis, known), (ANSWERS, HARDNESS), make
    )
    for row in made["answers"].to_pylist():
        print(_said(row))


def _said(row: Mapping[str, object]) -> str:
    ties = f", {row['ties']:,} ties left out of the majority" if row["ties"] else ""
    model = "the model" if row["model"] == OWN else row["model"]
    return (
        f"eval: {row['set']} by people ({row['group']}): {row['accuracy']:.1%}, and by {model} "
        f"{row['model_accuracy']:.1%} of the same {row['pictures']:,} pictures, means over classes{ties}"
    )


def _made(about: Mapping[str, str], files: Mapping[str, Source], of_model: Sequence[Outcome]) -> Made:
    truth = {one.id: one.label for one in of_model}
    right = {one.id: one.right for one in of_model}
    groups = {group: _read(source, truth) for group, source in files.items()}
    hardness = human.hardness({one.id: one.probability for one in of_model}, truth, groups)
    rows = [
        {
            **about,
            "group": group,
            **asdict(human.compare(answers, truth)),
            "model_accuracy": human.model_accuracy(right, truth, answers),
            "agreement": human.agreement(hardness, group),
        }
        for group, answers in groups.items()
    ]
    hard = [
        {**about, "group": group, "class": row.name, "pictures": row.pictures}
        | {"probability": row.model, "share": row.people[group]}
        for group in groups
        for row in hardness
    ]
    return Made([pa.Table.from_pylist(rows, schema=ANSWERS), pa.Table.from_pylist(hard, schema=HARDNESS)])


def _read(source: Source, truth: Mapping[str, str]) -> list[human.Answer]:
    with reading(source):
        return human.read_answers(source.path, truth)
