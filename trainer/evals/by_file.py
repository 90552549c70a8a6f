"""Features of any model by file (`eval.features`): probes and few-shot curves of it beside those of the others.

    FOLDER/SET/test.parquet, FOLDER/SET/train.parquet and, where the set has such a split, FOLDER/SET/validation.parquet

Columns are `id`, as in the table example, and `vector`; evaluation/features.py reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core import recipe as recipes
from core.errors import Failure, UsageError
from core.files import digest, filesystem, join
from core.inputs import Source, digest_file, reading
from evaluation.examples import Files
from evaluation.features import read_features
from trainer.evals import probing
from trainer.evals.config import Config
from trainer.evals.context import Context
from trainer.evals.encoder import Floats
from trainer.evals.eval_sets import EvalSet, Role
from trainer.evals.tables import Rows

RULES_VERSION = 1


@dataclass(frozen=True)
class ByFile:
    """The features of one model. `files`: set and role → the file, of those that are there."""

    name: str
    folder: str
    files: Mapping[tuple[str, Role], Source]

    @property
    def digest(self) -> str:
        """Of all of its files, by set and split."""
        return digest(sorted((*key, source.digest) for key, source in self.files.items()))

    def basis(self, one: EvalSet, *roles: Role) -> str:
        """The digest of what determines the features of some splits."""
        return digest(RULES_VERSION, [self.files[one.name, role].digest for role in roles])

    def pictures(self, one: EvalSet, role: Role, files: Files, tables: Sequence[str]) -> dict[str, Floats]:
        """The vectors of a split as every table asked for, in the order of its ids: float32 [n, width]."""
        source = self.files[one.name, role]
        with reading(source):
            found = read_features(source.path, dict.fromkeys(files.ids, 0))
        if len(found.ids) != len(files.ids):
            raise Failure(f"{one.name} has ids that differ only in how accents are written: rename one of them")
        return dict.fromkeys(tables, found.vectors)

    def in_several_splits(self, one: EvalSet) -> list[str]:
        """Nothing: of pictures only the vectors are known."""
        return []


def evaluate(context: Context, model: ByFile, one: EvalSet) -> Rows:
    """Rows of results of its probes on a set; none, which is said, where there are no features of the set.

    Failure where those of a split are missing, or are not of its pictures.
    """
    if not one.has_one_class_each:
        return []  # there is nothing to fit
    if (one.name, "test") not in model.files:
        print(f"eval: {model.name} has no features of {one.name}: {_path(model.folder, one, 'test')} is not there")
        return []
    lacking = [role for role in one.splits if (one.name, role) not in model.files]
    if lacking:
        raise Failure(f"{_path(model.folder, one, lacking[0])} is not there, and {one.name} has that split: write it")
    test = one.open()
    context.remark(one.at.remarks(test))
    hidden = model.pictures(one, "test", test, ("hidden",))["hidden"]
    rows, _ = probing.evaluate(context, model, one, test, hidden, {})
    return rows


def find(recipe: recipes.Recipe, config: Config, sets: Sequence[EvalSet]) -> list[ByFile]:
    """The models of `eval.features`, by name. UsageError where a folder is not there, or has nothing of the sets."""
    found = []
    for name, given in sorted(config.features.items()):
        folder = recipes.expand(given, recipe.path).rstrip("/")
        fs, inner = filesystem(folder)
        if not fs.isdir(inner):
            raise UsageError(
                f"{recipe.path}: eval.features.{name} names {folder}, which is no folder: correct the path"
            )
        files = {(one.name, role): _path(folder, one, role) for one in sets for role in one.splits}
        there = {key: path for key, path in files.items() if fs.isfile(filesystem(path)[1])}
        if sets and not there:
            first = _path(folder, sets[0], "test")
            raise UsageError(f"{recipe.path}: eval.features.{name} has nothing of eval.sets: {first} is not there")
        found.append(ByFile(name, folder, {key: Source(path, digest_file(path)) for key, path in there.items()}))
    return found


def _path(folder: str, one: EvalSet, role: Role) -> str:
    return join(folder, one.name, f"{role}.parquet")
