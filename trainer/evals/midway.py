"""How good a model is while it is still trained: what `eval` says at the end, some times before it."""

from __future__ import annotations

from typing import Any

from core import recipe as recipes
from core import runs
from core.errors import UsageError
from evaluation.labels import read
from trainer import hardware, stage
from trainer.data import Examples
from trainer.evals import retrieval, zeroshot
from trainer.evals.config import Config, check
from trainer.evals.encoder import Encoder
from trainer.model import CLIP
from trainer.streams import Streams
from trainer.tokenizer import Tokenizer


class Midway:
    """Zero-shot classification of the recipe's pictures, and retrieval among what is held out, as far as there are any.

    UsageError where a file that the recipe names is not there, or one of two that belong together, or neither does.
    """

    def __init__(self, recipe: recipes.Recipe, tokenizer: Tokenizer, examples: Examples | Streams) -> None:
        self._config, self._seed = recipe.config("eval", Config), recipe.run.seed
        check(recipe.path, self._config)
        given = {"eval.pictures": self._config.pictures, "eval.labels": self._config.labels}
        self._files = [stage.source(recipe, key, path) for key, path in given.items() if path]
        self._tokenizer = tokenizer
        self._examples = examples if isinstance(examples, Examples) and len(examples.held_out) else None
        if not self._files and self._examples is None:
            raise UsageError(
                f"{recipe.path}: train.evaluate_every has nothing to evaluate on: give eval.pictures and eval.labels, "
                "or train.holdout"
            )
        if self._files:
            read(*self._files)  # what does not fit is said now

    def results(self, model: CLIP) -> list[dict[str, Any]]:
        """A row a metric, as `eval` has them: name, metric, value, low, high, n, chance."""
        rows: list[dict[str, Any]] = []
        encoder, threads = Encoder(model, self._tokenizer, hardware.device()), runs.cores()
        if self._files:
            pictures, labels = self._files
            rows += zeroshot.evaluate(encoder, pictures, labels, self._config.templates, threads).results
        if self._examples:
            rows += retrieval.evaluate(encoder, self._examples.shards, self._examples.held_out, self._seed, threads)[1]
        return rows
