"""The prompts "forward": templates selected for a model on a set's validation split, or else on its training split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core import choice
from core.files import digest
from evaluation import selection
from evaluation.examples import Pictures
from evaluation.prompts import FORWARD, Prompts
from trainer.evals.context import ModelContext
from trainer.evals.encoder import Floats
from trainer.evals.eval_sets import EvalSet, Role
from trainer.evals.kept import Made
from trainer.evals.probing import measure_of, tables_of
from trainer.evals.tables import SELECTED
from trainer.evals.vectors import Vectors

RULES_VERSION = 2
EXAMPLES = 20_000  # of the split at the most: each template is tried on all of them, again and again


def select(context: ModelContext, one: EvalSet, test: Pictures) -> Prompts | None:
    """The classes' names in the templates that were selected for them; None, which is said, where that is impossible.

    The test split is not looked at. Examples of classes that have no name in the prompts are left out.
    """
    vectors, seed, metric = context.vectors, context.seed, one.metric(test)
    prompts = one.at.prompts(test, FORWARD)
    role: Role = "validation" if "validation" in one.splits else "train"
    measure = measure_of(metric)
    if role not in one.splits or measure is None:
        why = "it has neither a validation nor a train split" if measure else "its examples have several classes"
        print(f"eval: no prompts {FORWARD} for {one.name}: {why}", flush=True)
        return None
    pictures = one.open(role)
    column = {test.classes[number]: at for at, number in enumerate(prompts.classes)}
    labels = np.array([column.get(pictures.classes[number], -1) for number in pictures.numbers()], np.int64)
    rows = _chosen(pictures.ids, labels, seed)
    features = vectors.pictures(one, role, pictures, tables_of(context.config, "feature"))["feature"]

    def make() -> Made:
        texts = _texts(vectors, prompts)
        score = selection.of_ensembles(features[rows], labels[rows], texts, measure)
        steps = selection.forward(score, len(prompts.templates))
        about = {"set": one.name, "model": context.model}
        found = [about | {"template": prompts.templates[step.template], "score": step.score} for step in steps]
        return Made([pa.Table.from_pylist(found, schema=SELECTED)])

    truth = [pictures.ids, labels.tolist(), seed]
    basis = digest(RULES_VERSION, vectors.basis(one, role), *truth, prompts.names, prompts.templates, metric)
    table = context.kept.tables("select", one.task, basis, (SELECTED,), make)["selected"]
    return replace(prompts, templates=tuple(table["template"].to_pylist()))


def _chosen(ids: Sequence[str], labels: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """The rows that templates are tried on: EXAMPLES by smallest hash where there are more, ascending."""
    rows = np.flatnonzero(labels >= 0)
    ranks = choice.rank(seed, "select", "", [ids[row].encode() for row in rows.tolist()])
    return np.sort(rows[ranks.argsort(kind="stable")[:EXAMPLES]])


def _texts(vectors: Vectors, prompts: Prompts) -> Floats:
    """By template and class the sum of the unit features of its sentences: float32 [templates, classes, e]."""
    counts = [len(names) for names in prompts.names]
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    found = []
    for template in prompts.templates:
        sentences = [template.replace("{}", name) for names in prompts.names for name in names]
        found.append(np.add.reduceat(vectors.encoder.texts(sentences).numpy(), starts, axis=0))
    return np.stack(found)
