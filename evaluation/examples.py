"""Labelled pictures, wherever they come from: one iterator of (id, picture, classes)."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from core.errors import Failure
from core.files import open_input
from evaluation.wording import listed

MAX_BYTES = 64 << 20  # of one picture

Read = Callable[[], Iterator[tuple[str, tuple[bytes, ...]]]]


@dataclass(frozen=True)
class Example:
    """One picture, or one clip, with its classes."""

    id: str
    pictures: tuple[bytes, ...]  # files; several are frames of one clip
    labels: tuple[int, ...]  # numbers of its classes, ascending; one, but where a picture may have several or none


@dataclass(frozen=True, kw_only=True)
class Files:
    """Pictures with their ids, read when they are iterated over; every time in the same order."""

    path: str
    ids: tuple[str, ...]  # in the order of `read`; no two are the same
    read: Read = field(repr=False)
    left_out: Mapping[str, int] = field(default_factory=dict)  # why files were not taken → how many
    border: int = 0  # pixels that are cut off each side first

    def __post_init__(self) -> None:
        if not self.ids:
            raise Failure(f"{self.path} holds no pictures: give another, or fill it")
        if len(self.ids) != len(set(self.ids)):
            twice = [name for name, count in Counter(self.ids).items() if count > 1]
            raise Failure(f"{self.path} has {listed(twice)} twice: give each picture a name of its own")

    def __len__(self) -> int:
        return len(self.ids)

    def bodies(self) -> Iterator[tuple[str, tuple[bytes, ...]]]:
        """Ids and files. Failure where one is not there any more, or is larger than MAX_BYTES."""
        left = iter(self.ids)
        for name, files in self.read():
            expected = next(left, "")
            if name != expected:
                raise Failure(f"{self.path} changed while it was read ({name} came for {expected}): run again")
            yield name, files
        if lost := list(left):
            raise Failure(f"{self.path} lost {listed(lost)} while it was read: run again")


@dataclass(frozen=True, kw_only=True)
class Pictures(Files):
    """Pictures with their classes."""

    classes: tuple[str, ...]  # labels are numbers of these
    labels: tuple[tuple[int, ...], ...]  # by id
    templates: tuple[str, ...] = ()  # sentences that came with them, {} where a class name goes
    subset: tuple[int, ...] = ()  # numbers of the classes among which one is chosen; empty: all

    def __iter__(self) -> Iterator[Example]:
        for (name, files), labels in zip(self.bodies(), self.labels, strict=True):
            yield Example(name, files, labels)

    def numbers(self) -> npt.NDArray[np.int64]:
        """The class of each picture: int64 [n]; Failure where one has several or none."""
        wrong = [name for name, some in zip(self.ids, self.labels, strict=True) if len(some) != 1]
        if wrong:
            raise Failure(f"{self.path} has several classes or none for {listed(wrong)}: use a metric of many classes")
        return np.array([some[0] for some in self.labels], np.int64)

    def matrix(self) -> npt.NDArray[np.bool_]:
        """Which picture is of which class: bool [n, classes]."""
        found = np.zeros((len(self.ids), len(self.classes)), np.bool_)
        for row, some in enumerate(self.labels):
            found[row, list(some)] = True
        return found

    def relabelled(self, meant: Sequence[int], classes: Sequence[str], only: bool) -> Pictures:
        """The same with other classes: `meant` has the number among them of each that it has now.

        `only`: one is chosen among those alone that it has now.
        """
        labels = tuple(tuple(sorted(meant[number] for number in some)) for some in self.labels)
        return replace(self, classes=tuple(classes), labels=labels, subset=tuple(sorted(meant)) if only else ())


@dataclass(frozen=True, kw_only=True)
class Captioned(Files):
    """Pictures with their captions, for retrieval."""

    captions: tuple[tuple[str, ...], ...]  # by id; at least one each

    def texts(self) -> tuple[list[str], npt.NDArray[np.int64]]:
        """All captions, those of one picture together, and the picture of each: int64 [texts], into `ids`."""
        counts = [len(some) for some in self.captions]
        return [text for some in self.captions for text in some], np.repeat(np.arange(len(counts)), counts)


@dataclass(frozen=True, kw_only=True)
class Placed(Files):
    """Pictures with the places where they were taken, for geolocation."""

    places: npt.NDArray[np.float64]  # [n, 2]: latitude, longitude in degrees


def picture_digest(body: bytes) -> str:
    """By what the same file is known elsewhere, whatever its name is: 64 bits of its SHA-256."""
    return hashlib.sha256(body).hexdigest()[:16]


_POINTER = b"version https://git-lfs"


def require_no_pointer(path: str) -> None:
    """Failure where a file is what Git leaves of a large one that was not downloaded."""
    with open_input(path) as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise Failure(f"{path} is Git LFS's pointer to the file: download the file itself (git lfs pull)")


def undecodable(pictures: Files, reasons: Mapping[str, str]) -> Failure:
    """What to say of pictures whose bytes are no picture, by id: why."""
    some = [f"{name} ({reason})" for name, reason in reasons.items()]
    return Failure(
        f"{pictures.path} has {len(reasons):,} of {len(pictures):,} pictures that do not decode: {listed(some)}; "
        "restore them, or take them out"
    )
