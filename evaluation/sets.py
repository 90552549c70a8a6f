"""The evaluation sets: what they are, by which words they are classified, and where their pictures are looked for.

`load("food101")` is one of the registry, evaluation/data/sets.toml; `find` tells the sets that are there from those to
download first. docs/evaluation.md has them all.
"""

from __future__ import annotations

import difflib
import functools
import os
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from core.errors import Failure, UsageError
from evaluation import prompts, readers
from evaluation.classes import match_classes, of_ones_own
from evaluation.examples import Captioned, Files, Pictures, Placed
from evaluation.prompts import DATA, Prompts, wordnet
from evaluation.wording import listed

Task = Literal["classification", "retrieval", "geolocation"]
Metric = Literal["accuracy", "mean_per_class", "map11", "roc_auc", "mean_top1_top5", "recall_at_k", "within_km"]


class Set(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One set of the registry; the keys of its table in sets.toml, but `name`, which is the table's."""

    name: str
    title: str
    task: Task = "classification"
    metric: Metric  # as the paper reports it
    classes: int = 0  # of the data; 0 where there are none
    train: int | None = None  # examples in the splits of the paper
    test: int
    paper: dict[str, int] = {}  # what Table 9 prints instead, where that is an error
    note: str = ""
    licence: str  # of the data; "see its page" where it is not one of a few words
    page: str  # where the set is published
    benchmark: str = ""  # CLIP_benchmark's name of it; on the hub clip-benchmark/wds_NAME, with - for /
    get: str  # what to download, and what to make of it
    like: str = ""  # the set whose class names and templates it has; empty: its own
    shift: bool = False  # a natural distribution shift of ImageNet
    own_classes: bool = False  # its labels are classes of its own, which a mapping joins to those of `like`
    numbers: bool = False  # whether a label in the data may be the number of its class, in the order of the names
    first_number: int | None = None  # where only numbers that count from it are in that order
    labels: dict[str, str] = {}  # label in the data → class name, where the two differ in more than case and spelling
    label_order: str = ""  # labels of the data in the order of the classes, with blanks between
    label_column: str = ""  # of tables that have several
    sentences: bool = False  # class names are whole sentences, and take no template
    frames: bool = False  # an example is a clip, a folder of frames
    test_folder: str = ""  # what the folder of the split is called that the paper tests on, where not "test"

    @property
    def names(self) -> list[list[str]]:
        """By class: its names. Most have one; those of FER2013 have synonyms."""
        found = prompts.published("clip").get(self.like or self.name, {"classes": []})["classes"]
        return [[name] if isinstance(name, str) else list(name) for name in found]

    def also(self) -> list[list[str]]:
        """By class: other labels that published data have for it."""
        names = self.names
        others: list[list[str]] = [[] for _ in names]
        first = {some[0]: number for number, some in enumerate(names)}
        for label, name in self.labels.items():
            others[first[name]].append(label)
        for number, label in enumerate(self.label_order.split()):
            others[number].append(label)
        if (self.like or self.name) == "imagenet":
            for number, labels in enumerate(wordnet()):
                others[number] += labels
        return others

    def prompts(self, choice: str = "paper") -> Prompts:
        """The sentences about its classes (evaluation/prompts.py has the choices). UsageError where it has no such."""
        origin = self.like or self.name
        names = self.names
        if not names:
            raise UsageError(f"{self.name} has no classes: its task is {self.task}")
        if self.sentences:
            return Prompts(choice, tuple(range(len(names))), tuple(map(tuple, names)), ("{}",))
        if origin == "imagenet" and (choice in prompts.LANGUAGES or choice.startswith("babel-")):
            return prompts.in_language(choice, self.name)
        templates = prompts.published("clip")[origin]["templates"]
        if choice == "clip_benchmark":
            return self._benchmark(names, templates)
        return prompts.make(choice, names, templates, self.name)

    def _benchmark(self, names: list[list[str]], templates: Sequence[str]) -> Prompts:
        """CLIP_benchmark's names, in the order of ours, and its templates; ours where it has none."""
        found = prompts.published("en").get(self.benchmark.rpartition("/")[2], {})
        given = found.get("classes")
        if given and len(given) == len(names):
            meant = match_classes(given, names, self.also(), False, f"CLIP_benchmark's {self.benchmark}")
            names = [[given[meant.index(number)]] for number in range(len(names))]
        return Prompts(
            "clip_benchmark",
            tuple(range(len(names))),
            tuple(map(tuple, names)),
            tuple(found.get("templates", templates)),
        )


@functools.cache
def _registry() -> dict[str, Set]:
    tables = tomllib.loads((DATA / "sets.toml").read_text(encoding="utf-8"))
    return {name: msgspec.convert({"name": name, **table}, Set) for name, table in tables.items()}


def names() -> list[str]:
    """The sets of the registry, in the order of Table 9, then shifts, retrieval, geolocation."""
    return list(_registry())


def load(name: str) -> Set:
    """A set of the registry; UsageError names what was meant."""
    if name not in _registry():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(names())}"
        raise UsageError(f"there is no evaluation set {name!r}; {hint}")
    return _registry()[name]


# ── where they are ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Located:
    """A set whose pictures are there, or are said to be by a path."""

    name: str  # of the registry, or the path as given
    set: Set | None  # None: one of the user's own
    path: str
    layout: readers.Layout
    has_only_captions: bool = False  # and no labels
    fault: str = ""  # what is wrong with the path, or why it is in none of the layouts; it cannot be opened then

    @property
    def task(self) -> Task:
        """What it is for; of the user's own retrieval, where it has captions and no labels."""
        if self.set is not None:
            return self.set.task
        return "retrieval" if self.has_only_captions else "classification"

    def open(self, split: str = "test", labels: str = "", frames: readers.Frames | None = None) -> Pictures:
        """Its pictures; those of a set of the registry with labels that are numbers of its classes.

        ImageNet-A and -R have some of ImageNet's classes: `subset` says which. `frames`: "middle" or "all" where an
        example is a clip; default: the middle one for the clips of the registry.
        Failure where files and labels do not fit together, or do not fit the set.
        """
        self.check()
        split = split_of(self.set, self.path, split)
        clips = frames or ("middle" if self.set and self.set.frames and self.layout == "folders" else None)
        column = self.set.label_column if self.set else ""
        known = self._known()
        found = readers.read(self.path, self.layout, split, labels=labels, frames=clips, column=column, known=known)
        if self.set is None or not self.set.names or self.set.own_classes:
            return found
        meant = self._meant(found.classes)
        names = [some[0] for some in self.set.names]
        return found.relabelled(meant, names, only=self.set.classes < len(names))

    def prompts(self, pictures: Pictures, choice: str = "paper") -> Prompts:
        """The sentences about its classes; about those of the user's own, their labels with blanks for _.

        WordNet ids of ImageNet's classes stand for their names. Failure where there is no name, or two are the same.
        """
        if self.set is not None:
            return self.set.prompts(choice)
        ids = {id_: some[0] for (id_, _), some in zip(wordnet(), load("imagenet").names, strict=True)}
        words = [[word] for word in of_ones_own(pictures.classes, ids, self.path)]
        return prompts.make(choice, words, pictures.templates, self.name)

    def check(self) -> None:
        """Failure where it is not there, or in none of the layouts."""
        if self.fault:
            raise Failure(self.fault)

    def open_captions(self, split: str = "test") -> Captioned:
        """Its pictures with their captions, of a set for retrieval."""
        self.check()
        return readers.read_captions(self.path, self.layout, split)

    def open_places(self, split: str = "test") -> Placed:
        """Its pictures with the places where they were taken, of a set for geolocation."""
        self.check()
        return readers.read_places(self.path, self.layout, split)

    def _known(self) -> readers.Known | None:
        """Whether labels are classes of the set: what tells class folders from the folders around them."""
        if self.set is None or not self.set.names or self.set.own_classes:
            return None

        def all_known(labels: Sequence[str]) -> bool:
            try:
                self._meant(labels)
            except Failure:
                return False
            return True

        return all_known

    def _meant(self, labels: Sequence[str]) -> list[int]:
        """The class of each label of a set of the registry."""
        assert self.set is not None
        names, also = self.set.names, self.set.also()
        return match_classes(labels, names, also, self.set.numbers, self.path, self.set.first_number)

    def left_out(self, pictures: Files) -> list[str]:
        """Sentences on files that were left out and may have been meant."""
        return [
            f"{self.name}: left out {count:,} {_LEFT_OUT[why]}"
            for why, count in sorted(pictures.left_out.items())
            if why in _LEFT_OUT
        ]

    def remarks(self, pictures: Files, examples: int | None = None) -> list[str]:
        """Sentences on files that were left out, and on what makes a result on these pictures another than meant.

        `examples`: how many are judged, where that is not one a picture.
        """
        said = self.left_out(pictures)
        if unread := readers.unread_splits(self.path, split_of(self.set, self.path, "test")):
            said.append(f"{self.name}: left aside {listed(unread)}; splits are called train, val and test: rename them")
        if self.set is None:
            return said + (_own_remarks(self.name, pictures) if isinstance(pictures, Pictures) else [])
        n = len(pictures) if examples is None else examples
        if n != self.set.test:
            said.append(f"{self.name} has {n:,} examples here and {self.set.test:,} in the paper: results differ")
        labels = pictures.labels if isinstance(pictures, Pictures) else ()
        present = len({number for some in labels for number in some})
        if labels and present != self.set.classes:
            said.append(f"{self.name} has pictures of {present} classes here, of {self.set.classes}")
        return said


_LEFT_OUT = {  # why files were not taken, where it may be a mistake → what they are
    "not_a_picture": "of its files, which have no picture's extension",
    "without_a_row": "of its pictures, which have no row in its metadata",
    "without_a_label": "of its files, which have no label",
    "link_to_a_folder_above": "of its links, which lead to a folder above",
}
_NUMBERED = re.compile(r"[0-9.]+|[0-9]+[\s.,:;_-].*|n[0-9]{8}[\s.,:;_-].*")


def _own_remarks(name: str, pictures: Pictures) -> list[str]:
    """Sentences on class names that look like no words, and on classes without a picture."""
    said = []
    if numbered := [label for label in pictures.classes if _NUMBERED.fullmatch(label)]:
        said.append(
            f"{name} has {len(numbered)} classes whose names begin with numbers ({listed(map(repr, numbered))}): "
            "prompts say them as they stand; where they are no names, rename the classes"
        )
    present = {number for some in pictures.labels for number in some}
    if absent := [label for number, label in enumerate(pictures.classes) if number not in present]:
        said.append(
            f"{name} names {len(pictures.classes)} classes, of which {len(absent)} have no picture ({listed(absent)})"
        )
    return said


@dataclass(frozen=True)
class Missing:
    """A set of the registry that is not there; `sentence` says what to download, from where, and where to put it."""

    name: str
    sentence: str


def find(wanted: Sequence[str], root: str, split: str = "test") -> list[Located | Missing]:
    """For each wanted set, a name of the registry or a path, where it is, or what to do.

    A set of the registry is looked for below `root`, as a folder of its name or of CLIP_benchmark's (wds_NAME), or as
    NAME.tar or NAME.parquet. UsageError where a name is no set and no path, or is given twice.
    """
    twice = next((name for number, name in enumerate(wanted) if name in wanted[:number]), None)
    if twice is not None:
        raise UsageError(f"the evaluation set {twice!r} is given twice: name it once")
    return [_find(name, root, split) for name in wanted]


def _find(name: str, root: str, split: str) -> Located | Missing:
    known = _registry().get(name)
    if known is None and not any(sign in name for sign in ("/", os.sep, ".")) and not Path(name).exists():
        load(name)  # which says what was meant
    paths = list(_places(known, root)) if known else [name]
    for path in paths:
        if not readers.exists(path):
            continue
        try:
            layout = readers.layout_of(path, split_of(known, path, split))
            captions = known is None and readers.has_only_captions(path, layout, split)
            return Located(name, known, path, layout, captions)
        except Failure as error:
            return Located(name, known, path, "folders", fault=str(error))
    if known is None:
        return Located(name, None, name, "folders", fault=f"{name} is not there: give its right path")
    return Missing(name, _how_to_get(known, root))


def split_of(known: Set | None, path: str, split: str) -> str:
    """The folder of a split: ImageNet is tested on "val"."""
    if known and known.test_folder and split == "test" and readers.exists(f"{path}/{known.test_folder}"):
        return known.test_folder
    return split


def _places(known: Set, root: str) -> Iterator[str]:
    folder = root.rstrip("/")
    yield f"{folder}/{known.name}"
    if known.benchmark:
        flat = known.benchmark.replace("/", "-")
        yield f"{folder}/wds_{flat}"
        yield f"{folder}/wds_{flat}_test"
    yield f"{folder}/{known.name}.tar"
    yield f"{folder}/{known.name}.parquet"


def _how_to_get(known: Set, root: str) -> str:
    folder = f"{root.rstrip('/')}/{known.name}"
    hub = (
        f" The hub's clip-benchmark/wds_{known.benchmark.replace('/', '-')} works as it is." if known.benchmark else ""
    )
    if known.task != "classification":
        put = f"into {folder}, with {'captions' if known.task == 'retrieval' else 'positions in metadata.csv'}"
    elif known.own_classes:
        put = f"and all that comes with them into {folder}, as they are"
    elif known.frames:
        put = f"into {folder}: a folder a class, and in it a folder of frames a clip"
    elif known.metric == "map11":
        put = f"into {folder} with metadata.jsonl, where the label of a picture is the list of its classes"
    else:
        put = f"into {folder}, a folder a class"
    return (
        f"{known.name} ({known.title}, licence: {known.licence}) is not in {root}. Download {known.get}, from "
        f"{known.page}, and put the pictures {put}.{hub} docs/evaluation.md has the other layouts."
    )
