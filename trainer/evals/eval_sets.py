"""The evaluation sets that a recipe names: which of them are there, their splits, and what identifies their files."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from core import recipe as recipes
from core.errors import Failure, UsageError, describe
from core.files import digest, entries_in, filesystem
from core.inputs import Memory, names_of, stats_of
from evaluation import prompts, sets
from evaluation.class_folders import is_hidden, natural
from evaluation.examples import Pictures
from evaluation.labels import is_picture
from evaluation.parquet_tables import is_of_split
from evaluation.readers import SPLITS, Frames
from evaluation.sets import Located, Missing
from trainer.evals.config import Config
from trainer.evals.kept import plain_name

Role = Literal["test", "train", "validation"]

_SPLITS_OF: Mapping[Role, Sequence[str]] = {
    "train": ("train", "trainval"),
    "validation": ("val", "valid", "validation", "dev"),
}
_UNREAD = ""  # in place of the path of a picture whose name alone counts
_BESIDE = re.compile(r"(\.tsv|\.txt)$")  # files of labels and classes beside a tar


@dataclass(frozen=True)
class EvalSet:
    """An evaluation set that is there. `splits` and `digests` are by role, as far as it has them and they are read.

    Of a set of one's own all splits are read for their classes.
    """

    name: str  # what the rows call it: of the registry, or the last part of its path
    at: Located
    splits: Mapping[Role, str]
    digests: Mapping[Role, str]
    frames: Frames | None  # which are read of an example that is a clip

    def open(self, role: Role = "test") -> Pictures:
        """The labelled pictures of a split. Failure where files and labels do not fit together, or not the set.

        Those of a set of one's own have the classes of all of its splits, so that zero-shot and probes choose among the
        same ones; not where a picture may have several, of which no probe is made.
        """
        found = self._opened(role)
        if self.at.set is not None or self._classes in ((), found.classes):
            return found
        meant = [self._classes.index(name) for name in found.classes]
        return found.relabelled(meant, self._classes, only=False)

    def _opened(self, role: Role) -> Pictures:
        return self.at.open(self.splits[role], frames=self.frames)

    @functools.cached_property
    def _classes(self) -> tuple[str, ...]:
        """The classes of all splits, those of the test split first; none where a picture may have several."""
        test = self._opened("test")
        if any(len(some) != 1 for some in test.labels):
            return ()
        others = {name for role in self.splits if role != "test" for name in self._opened(role).classes}
        return (*test.classes, *sorted(others - set(test.classes), key=natural))

    @property
    def is_imagenet(self) -> bool:
        """Whether it is ImageNet itself, whose pictures and probes are judged in the classes of its shifts, too."""
        return self.at.set is not None and self.at.set.name == "imagenet"

    def metric(self, pictures: Pictures) -> str:
        """The set's metric; of one's own accuracy, or 11-point mean average precision for several classes a picture."""
        if self.at.set is not None:
            return self.at.set.metric
        return "accuracy" if all(len(some) == 1 for some in pictures.labels) else "map11"

    @property
    def has_one_class_each(self) -> bool:
        """Whether a picture is judged by the one class that its label names, which a probe or a person can tell."""
        return self.at.task == "classification" and not (self.at.set and self.at.set.own_classes)

    @property
    def task(self) -> str:
        """Names its receipts and parts."""
        return plain_name(self.name)


@dataclass(frozen=True)
class Found:
    """All sets that a recipe names: those that are there, by name, and a sentence about each other one."""

    there: tuple[EvalSet, ...]
    missing: tuple[str, ...]
    memory: Memory  # of the files' digests, for the next run


def find(recipe: recipes.Recipe, config: Config, known: Mapping[str, Any]) -> Found:
    """Look for the sets. `known`: what an earlier run knew of the files (core/inputs.py).

    UsageError where a name is no set and no path, or is given twice, or a set has no such prompts.
    """
    given = [recipes.expand(name, recipe.path).rstrip("/") for name in config.sets]
    if "" in given:
        raise UsageError(f"{recipe.path}: eval.sets has an empty name: give names of sets or paths")
    try:
        located = sets.find(given, recipes.expand(config.root, recipe.path))
        for one in located:
            _check_prompts(one, config.prompts)
    except UsageError as error:
        raise UsageError(f"{recipe.path}: eval.sets: {error}") from None
    has_probes = config.probe or bool(config.shots) or prompts.FORWARD in config.prompts
    files = [(one, {} if one.fault else _files_by_role(one, has_probes)) for one in located if isinstance(one, Located)]
    memory = Memory(known)
    paths = {path for _, roles in files for _, some in roles.values() for path in some.values()}
    digests = {_UNREAD: "", **memory.digests(stats_of(sorted(paths - {_UNREAD})))}
    names = names_of(one.name for one, _ in files)
    there = [_eval_set(names[one.name], one, roles, digests, config.frames) for one, roles in files]
    missing = tuple(one.sentence for one in located if isinstance(one, Missing))
    return Found(tuple(sorted(there, key=lambda one: one.name)), missing, memory)


def _eval_set(
    name: str,
    one: Located,
    roles: Mapping[Role, tuple[str, Mapping[str, str]]],
    digests: Mapping[str, str],
    frames: Frames,
) -> EvalSet:
    """A set by the splits and files of its roles; one with a fault has a test split alone, and says it when opened."""
    splits: dict[Role, str] = {role: split for role, (split, _) in roles.items()}
    known: dict[Role, str] = {role: _digest(one, split, some, digests) for role, (split, some) in roles.items()}
    if one.fault:
        splits, known = {"test": "test"}, {"test": digest(one.fault)}
    has_clips = one.set is not None and one.set.frames and one.layout == "folders"
    return EvalSet(name, one, splits, known, frames if has_clips else None)


def _check_prompts(one: Located | Missing, choices: Sequence[str]) -> None:
    """UsageError where a set with classes has no such prompts: it is said before anything is computed."""
    if isinstance(one, Missing) or one.task != "classification":
        return
    for choice in choices:
        if one.set is None:
            prompts.make(choice, [[one.name]], (), one.name)
        else:
            one.set.prompts(choice)


def require_unchanged(one: EvalSet, role: Role, memory: Memory) -> None:
    """Failure where the files of a split are not any more what they were when the evaluation began."""
    split, files = _files_by_role(one.at, role != "test")[role]
    if _digest(one.at, split, files, digests_now(memory, files.values())) != one.digests[role]:
        raise changed(one.at.path)


def digests_now(memory: Memory, paths: Iterable[str]) -> dict[str, str]:
    """Path → the digest that the file has now; one with the size and time that `memory` knows is not read again."""
    return Memory(memory.known).digests(stats_of(sorted(paths)))


def changed(what: str) -> Failure:
    """What to say where files are not any more what they were when the evaluation began."""
    return Failure(f"{what} was changed after this stage had begun: run the same command again")


# ── its files ─────────────────────────────────────────────────────────────────────────────────────


def _digest(one: Located, split: str, files: Mapping[str, str], digests: Mapping[str, str]) -> str:
    """Identifies a split by the names and bytes of its files, wherever it lies."""
    return digest(one.layout, split, sorted((name, digests[path]) for name, path in files.items()))


def _files_by_role(one: Located, has_probes: bool) -> dict[Role, tuple[str, dict[str, str]]]:
    """The split of each role, and its files: name below the set → path.

    Without probes only geolocation trains, and sets of one's own are read for the classes of their splits: there the
    bytes of training pictures do not count, only their names.
    """
    test = _test_split(one)
    found: dict[Role, tuple[str, dict[str, str]]] = {"test": ("test", _files(one, test))}
    trains = has_probes or one.task == "geolocation"
    if one.task == "retrieval" or (one.set is not None and not trains):
        return found
    for role, names in _SPLITS_OF.items():
        split = next((name for name in names if name != test and _has(one, name, test)), None)
        if split:
            files = _files(one, split)
            found[role] = split, files if trains else {n: _UNREAD if is_picture(n) else p for n, p in files.items()}
    return found


def _test_split(one: Located) -> str:
    """The folder of the test split: ImageNet's is val."""
    other = one.set.test_folder if one.set else ""
    return other if other and Path(one.path, other).is_dir() else "test"


def _has(one: Located, split: str, test: str) -> bool:
    """Whether a set has a split, beside the one that it is tested on: else a folder "train" may be one of trains."""
    folder = Path(one.path)
    if not folder.is_dir():
        return False
    if one.layout == "parquet":
        names = [path.name for place in (folder, folder / "data", folder / split) for path in place.glob("*.parquet")]
        return any(is_of_split(name, split) for name in names) or (folder / split).is_dir()
    return (folder / split).is_dir() and (folder / test).is_dir()


def _files(one: Located, split: str) -> dict[str, str]:
    """All files of a split but hidden ones: those in its folder, and what lies beside the folders of splits."""
    fs, inner = filesystem(one.path)
    if not fs.isdir(inner):
        folder, slash, name = one.path.rpartition("/")
        stem = name.partition(".")[0]
        beside = [
            other
            for other in entries_in(folder or (slash or "."), detail=False)
            if other == "classnames.txt" or (other.startswith(f"{stem}.") and _BESIDE.search(other))
        ]
        return {other: f"{folder}{slash}{other}" for other in (name, *beside)}
    base = Path(inner)
    others = SPLITS - {split} if (base / split).is_dir() else frozenset()
    return dict(_below(str(base), "", others, frozenset({os.path.realpath(base)})))


def _below(folder: str, shown: str, left_out: frozenset[str], above: frozenset[str]) -> Iterator[tuple[str, str]]:
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        raise Failure(f"{folder} cannot be read ({describe(error)}): change its permissions, or restore it") from error
    for entry in entries:
        if is_hidden(entry.name):
            continue
        if Path(entry.path).is_dir():
            real = os.path.realpath(entry.path)
            if entry.name not in left_out and real not in above:
                yield from _below(entry.path, f"{shown}{entry.name}/", frozenset(), above | {real})
        elif Path(entry.path).is_file():  # what a link means may be gone: the reader of the set says so
            yield f"{shown}{entry.name}", entry.path
