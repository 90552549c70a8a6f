"""What all sets are evaluated with: one model, the recipe's table, and where results are kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from core.inputs import Source
from evaluation.examples import Files
from trainer.evals.config import Config
from trainer.evals.eval_sets import EvalSet, Role
from trainer.evals.judged import Asked, Floats
from trainer.evals.kept import Kept


class Hidden(Protocol):
    """Where the features of splits come from: a model, or files of another's."""

    @property
    def name(self) -> str:
        """The model's."""

    def basis(self, one: EvalSet, *roles: Role) -> str:
        """The digest of what determines the features of some splits."""

    def pictures(self, one: EvalSet, role: Role, files: Files, tables: Sequence[str]) -> dict[str, Floats]:
        """Vectors [n, width] of a split as the table "hidden", in the order of its ids."""


VectorsT = TypeVar("VectorsT", bound=Hidden, covariant=True)


@dataclass(frozen=True)
class Context(Generic[VectorsT]):
    """One model's evaluation.

    `seed`: of intervals, and of what is chosen by hash; `answers`: set → group → file; `said`: remarks, of all models.
    """

    kept: Kept
    vectors: VectorsT
    config: Config
    seed: int
    answers: Mapping[str, Mapping[str, Source]] = field(default_factory=dict)
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
