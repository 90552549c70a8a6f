"""What the steps of an evaluation share: whose results these are, the recipe's table, and where results are kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from core.inputs import Source
from trainer.evals.config import Config
from trainer.evals.judged import Asked
from trainer.evals.kept import Kept
from trainer.evals.vectors import Vectors


@dataclass(frozen=True, kw_only=True)
class Context:
    """All that a step needs beside features: enough for probes on features by file.

    `model`: what rows call it; `seed`: of intervals, and of what is chosen by hash; `said`: remarks that were printed.
    """

    model: str
    kept: Kept
    config: Config
    seed: int
    said: set[str] = field(default_factory=set)

    def remark(self, sentences: Iterable[str]) -> None:
        """Print remarks on a set, each once: they are the same for every model."""
        for sentence in sentences:
            if sentence not in self.said:
                self.said.add(sentence)
                print(f"eval: {sentence}", flush=True)

    def asked(self, set_name: str, method: str, prompts: str = "") -> Asked:
        """What the rows of a result of this model begin with."""
        return Asked(set_name, method, prompts, self.model, self.seed)


@dataclass(frozen=True, kw_only=True)
class ModelContext(Context):
    """The same with a model that can be asked about any pictures and texts.

    `answers`: set → group of people → the file of their answers.
    """

    vectors: Vectors
    answers: Mapping[str, Mapping[str, Source]] = field(default_factory=dict)
