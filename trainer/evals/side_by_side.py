"""All models of a recipe on all of its evaluation sets, one model after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from core import runs
from core.errors import Failure, UsageError
from core.files import digest
from core.inputs import Source
from trainer.evals import by_file, people
from trainer.evals.by_file import ByFile
from trainer.evals.config import Config
from trainer.evals.context import Context
from trainer.evals.eval_sets import Found
from trainer.evals.kept import Kept, Made
from trainer.evals.models import Model
from trainer.evals.people import People
from trainer.evals.suite import Rows, Suite
from trainer.evals.tables import MODEL, OWN
from trainer.evals.vectors import Vectors
from trainer.flops import image_flops

RULES_VERSION = 1


def evaluate(
    kept: Kept,
    config: Config,
    found: Found,
    models: Sequence[Model],
    files: Sequence[ByFile],
    seed: int,
    answers: Mapping[str, Mapping[str, Source]],
    of_people: People | None,
) -> Rows:
    """The rows of results of all models, by model. Failure names what is wrong with sets, after all else is done.

    `answers`: set → group of people → the file of their answers; `of_people`: what the bias probes are asked on.

    A model is loaded when it is needed, and let go before the next one.
    """
    rows: Rows = []
    said: set[str] = set()
    wrong: dict[str, None] = {}  # what is wrong with a set is so for every model: it is said once
    for model in models if found.sets or of_people else []:
        if len(models) > 1:
            print(f"eval: {model.name}", flush=True)
        own = kept if model.name == OWN else kept.of_model(model.name)
        vectors = Vectors(own, model.digest, model.load, found.memory, runs.cores(), model.name)
        try:
            _sizes(own, vectors)
            rows += Suite(own, vectors, config, seed, answers, said).evaluate(found.sets)
            if of_people:
                people.probe(own, vectors, of_people)
        except UsageError:  # its merges are not its own
            raise
        except Failure as error:
            kept.require_lock()
            wrong[str(error)] = None
    for other in files:
        context = Context(kept.of_model(other.name), other, config, seed, said=said)
        for one in found.sets:
            try:
                rows += by_file.evaluate(context, one)
            except Failure as error:
                kept.require_lock()
                wrong[f"{one.name} cannot be evaluated with the features of {other.name}: {error}"] = None
    if wrong:
        raise Failure("; ".join(wrong))
    return rows


def _sizes(kept: Kept, vectors: Vectors) -> None:
    """Keep the row of MODEL of a model."""

    def make() -> Made:
        encoder = vectors.encoder
        row = {
            "model": vectors.name,
            "weights": vectors.model,
            "image_size": encoder.image_size,
            "parameters": encoder.parameters,
            "gflops": image_flops(encoder.sizes, whole=True) / 2e9,
        }
        return Made([pa.Table.from_pylist([row], schema=MODEL)])

    kept.tables("model", "sizes", digest(RULES_VERSION, vectors.model), (MODEL,), make)
