"""What all sets are evaluated with: one model, the recipe's table, and where results are kept."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.evals.config import Config
from trainer.evals.judged import Asked
from trainer.evals.kept import Kept
from trainer.evals.vectors import Vectors


@dataclass(frozen=True)
class Context:
    """One model's evaluation. `seed`: of intervals, and of what is chosen by hash."""

    kept: Kept
    vectors: Vectors
    config: Config
    seed: int

    def asked(self, set_name: str, method: str, prompts: str = "") -> Asked:
        """What the rows of a result of this model begin with."""
        return Asked(set_name, method, prompts, self.vectors.name, self.seed)
