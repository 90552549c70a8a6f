"""All models of a recipe on all of its evaluation sets, one model after the other."""

from __future__ import annotations

import pyarrow as pa

from core import runs
from core.errors import Failure, UsageError
from core.files import digest
from trainer.evals import by_file, people, suite
from trainer.evals.config import Config
from trainer.evals.context import Context, ModelContext
from trainer.evals.encoder import Model
from trainer.evals.inputs import Inputs
from trainer.evals.kept import Kept, Made
from trainer.evals.tables import MODEL, OWN, Rows
from trainer.evals.vectors import Vectors
from trainer.flops import image_flops

RULES_VERSION = 1


def evaluate(kept: Kept, config: Config, seed: int, given: Inputs, own: Model | None) -> Rows:
    """The rows of results of all models, by model. Failure names what is wrong with sets, after all else is done.

    `own`: the recipe's model, if it is trained. One of the others is loaded when it is needed, and let go before the
    next one.
    """
    rows: Rows = []
    said: set[str] = set()
    wrong: dict[str, None] = {}  # what is wrong with a set is so for every model: it is said once
    sets, found = given.sets.there, [*([own] if own else []), *given.models]
    for model in found if sets or given.people else []:
        if len(found) > 1:
            print(f"eval: {model.name}", flush=True)
        place = kept if model.name == OWN else kept.of_model(model.name)
        vectors = Vectors(place, model, given.sets.memory, runs.cores())
        context = ModelContext(
            model=model.name,
            kept=place,
            config=config,
            seed=seed,
            said=said,
            vectors=vectors,
            answers=given.answers,
        )
        try:
            _sizes(place, vectors)
            rows += suite.evaluate(context, sets)
            if given.people:
                people.probe(place, vectors, given.people)
        except UsageError:  # its merges are not its own
            raise
        except Failure as error:
            kept.require_lock()
            wrong[str(error)] = None
    for other in given.features:
        by_files = Context(model=other.name, kept=kept.of_model(other.name), config=config, seed=seed, said=said)
        for one in sets:
            try:
                rows += by_file.evaluate(by_files, other, one)
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
            "model": vectors.model.name,
            "weights": vectors.model.digest,
            "image_size": encoder.image_size,
            "parameters": encoder.parameters,
            "gflops": image_flops(encoder.sizes, whole=True) / 2e9,
        }
        return Made([pa.Table.from_pylist([row], schema=MODEL)])

    kept.tables("model", "sizes", digest(RULES_VERSION, vectors.model.digest), (MODEL,), make)
