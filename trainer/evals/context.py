"""What all sets are evaluated with: one model, the recipe's table, and where results are kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from trainer.evals.config import Config
from trainer.evals.judged import Asked
from trainer.evals.kept import Kept
from trainer.evals.vectors import Vectors


@dataclass(frozen=True)
class Context:
    """One model's evaluation. `seed`: of intervals, and of what is chosen by hash; `said`: remarks, of all models."""

    kept: Kept
    vectors: Vectors
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
        return Asked(set_name, method, prompts, self.vectors.name, self.seed)
