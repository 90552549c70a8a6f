"""Labelled pictures in tars: one tar with a file of labels, and CLIP_benchmark's folders of WebDataset tars.

CLIP_benchmark writes sample number 17 as s0000017.webp and s0000017.cls, counted over all tars of a split. Readers of
tars do not see that one was cut between two files; the numbers show it.
"""

from __future__ import annotations

import io
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from core.errors import Failure
from core.files import entries_in
from core.tars import tar_members
from evaluation.class_folders import natural
from evaluation.examples import MAX_BYTES, Pictures, listed, require_no_pointer
from evaluation.labels import MAX_CLASS_BYTES, class_names, class_numbers, is_class_file, is_picture, normal, read_lines
from evaluation.labels import read as read_labelled

_LABELS = (".labels.tsv", ".tsv", ".labels.txt")  # after a tar's name without its extension
_CLASSES, _TEMPLATES, _TYPE = "classnames.txt", "zeroshot_classification_templates.txt", "dataset_type.txt"
_COUNTED = re.compile(r"s([0-9]{7,})")
_TAR = re.compile(r"\.(tar|tgz)(\.\w+)?$", re.IGNORECASE)


# ── one tar ───────────────────────────────────────────────────────────────────────────────────────


def read_tar(path: str, labels: str = "") -> Pictures:
    """The labelled pictures of a tar; ids are their names in it. Failure as of evaluation.labels, or without labels.

    `labels`: lines "name<TAB>label", or class names where the tar has .cls files; default: the file beside the tar.
    """
    require_no_pointer(path)
    found = read_labelled(path, labels or _beside(path))
    number = {name: i for i, name in enumerate(found.classes)}
    labels_of = tuple((number[label],) for label in found.label_of.values())
    left_out = {"without_a_label": found.unlabelled} if found.unlabelled else {}

    def read() -> Iterator[tuple[str, tuple[bytes, ...]]]:
        yield from _bodies(path, found.label_of.__contains__)

    return Pictures(path, tuple(found.classes), tuple(found.label_of), labels_of, read, left_out)


def _beside(path: str) -> str:
    """The file of labels beside a tar."""
    folder, slash, name = path.rpartition("/")
    stem = _TAR.sub("", name)
    names = entries_in(folder or (slash or "."), detail=False)
    wanted = [f"{stem}{ending}" for ending in _LABELS]
    there = [label for label in wanted if label in names] or [label for label in (_CLASSES,) if label in names]
    if len(there) != 1:
        why = (
            f"has {' and '.join(there)} beside it"
            if there
            else f"has none of {', '.join(wanted)}, {_CLASSES} beside it"
        )
        raise Failure(f"{path} {why}: name the file that has its labels, or leave only that one there")
    return f"{folder}{slash}{there[0]}"


def _bodies(path: str, wanted: Callable[[str], bool]) -> Iterator[tuple[str, tuple[bytes, ...]]]:
    for name, body in tar_members(path, MAX_BYTES, wanted):
        if wanted(name):
            if not body:
                raise Failure(f"{name} in {path} is an empty file: restore it, or take it out")
            yield name, (body,)


# ── CLIP_benchmark's folders ──────────────────────────────────────────────────────────────────────


def is_webdataset(folder: Path, base: Path) -> bool:
    """Whether a folder is one of CLIP_benchmark: `base` has the tars of a split, `folder` what all splits share."""
    counted = (base / "nshards.txt").exists()
    return counted or ((folder / _CLASSES).exists() and any(entry.suffix == ".tar" for entry in base.iterdir()))


def read_webdataset(folder: Path, base: Path) -> Pictures:
    """The labelled pictures of a split; ids are the keys of the samples. Failure names what is missing or out of range.

    A sample of "multilabel" (dataset_type.txt) has a .npy file, a vector of 0 and 1 by class, in place of .cls.
    """
    kind = "".join(read_lines(str(folder / _TYPE))).lower() if (folder / _TYPE).exists() else "classification"
    if kind not in ("classification", "multilabel"):
        raise Failure(f"{folder} is a set for {kind} ({_TYPE}), which has no classes: give a set with classes")
    if not (folder / _CLASSES).exists():
        raise Failure(f"{folder} has no {_CLASSES}: add it, a class name a line, in the order of the numbers")
    classes = class_names(read_lines(str(folder / _CLASSES)), str(folder / _CLASSES))
    keys: dict[str, dict[str, str]] = {}  # tar → name in it → key
    labels: dict[str, tuple[int, ...]] = {}
    left_out = 0
    for path in _shards(base):
        require_no_pointer(path)
        names = []
        bodies = {}
        ending = is_class_file if kind == "classification" else _is_vector
        for name, body in tar_members(path, MAX_CLASS_BYTES, ending):
            names.append(name)
            if ending(name):
                bodies[name] = body
        found: dict[str, tuple[int, ...]]
        if kind == "classification":
            number_of = class_numbers(names, bodies, len(classes), path, str(folder / _CLASSES))
            found = {name: (number,) for name, number in number_of.items()}
        else:
            found = _vectors(names, bodies, len(classes), path)
        _require_pairs(names, found, bodies, path)
        keys[path] = {name: posixpath.splitext(normal(name))[0] for name in found}
        for name, key in keys[path].items():
            if key in labels:
                raise Failure(f"{path} has the sample {key}, which another tar or file has, too: leave one of them")
            labels[key] = found[name]
        left_out += len(names) - len(found) - len(bodies)
    _require_all(labels, base)

    def read() -> Iterator[tuple[str, tuple[bytes, ...]]]:
        for path, key_of in keys.items():
            for name, files in _bodies(path, key_of.__contains__):
                yield key_of[name], files

    others = {"beside_pictures": left_out} if left_out else {}
    return Pictures(
        str(base), tuple(classes), tuple(labels), tuple(labels.values()), read, others, tuple(_templates(folder))
    )


def _shards(base: Path) -> list[str]:
    """The tars of a split, in the order of their numbers: as many as nshards.txt says."""
    there = sorted(
        (entry.name for entry in base.iterdir() if entry.suffix == ".tar" and entry.name[0] != "."), key=natural
    )
    counter = base / "nshards.txt"
    if counter.exists():
        text = "".join(read_lines(str(counter)))
        if not re.fullmatch(r"[0-9]{1,7}", text):
            raise Failure(f"{counter} holds {text[:40]!r} and not the number of tars: correct it")
        wanted = [f"{number}.tar" for number in range(int(text))]
        if missing := [name for name in wanted if name not in there]:
            raise Failure(f"{base} lacks {listed(missing)} of the {text} tars in {counter.name}: download them")
        if more := [name for name in there if name not in wanted]:
            raise Failure(f"{base} has {listed(more)}, and {counter.name} says {text}: correct it, or take them out")
    if not there:
        raise Failure(f"{base} has no tars: give the folder of a split")
    return [f"{base}/{name}" for name in there]


def _is_vector(name: str) -> bool:
    return name.lower().endswith(".npy") and not posixpath.basename(name).startswith("._")


def _vectors(names: Sequence[str], bodies: dict[str, bytes], count: int, path: str) -> dict[str, tuple[int, ...]]:
    """Pictures → numbers of the classes that the vectors beside them hold."""
    of_key = {posixpath.splitext(normal(name))[0]: name for name in bodies}
    found: dict[str, tuple[int, ...]] = {}
    for name in filter(is_picture, names):
        beside = of_key.get(posixpath.splitext(normal(name))[0])
        if beside is None:
            continue
        try:
            vector = np.load(io.BytesIO(bodies[beside]), allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise Failure(f"{beside} in {path} is no NumPy array ({error}): restore it") from error
        if vector.shape != (count,) or vector.dtype.kind not in "biuf" or not np.isin(vector, (0, 1)).all():
            raise Failure(
                f"{beside} in {path} is {vector.dtype} {list(vector.shape)}, not a vector of {count} zeros and ones, "
                f"one by class: give the {_CLASSES} that belongs to it"
            )
        found[name] = tuple(int(number) for number in np.flatnonzero(vector))
    return found


def _require_pairs(
    names: Sequence[str], found: dict[str, tuple[int, ...]], bodies: dict[str, bytes], path: str
) -> None:
    alone = [name for name in names if is_picture(name) and name not in found]
    if alone:
        raise Failure(
            f"{path} has pictures without a class beside them, {listed(alone)}: restore the files, or take them out"
        )
    if len(bodies) != len(found):
        pictured = {posixpath.splitext(normal(name))[0].casefold() for name in found}
        alone = [name for name in bodies if posixpath.splitext(normal(name))[0].casefold() not in pictured]
        raise Failure(f"{path} has classes without a picture beside them, {listed(alone)}: restore the pictures")


def _require_all(labels: dict[str, tuple[int, ...]], base: Path) -> None:
    """Keys that CLIP_benchmark counted are all there; keys of others tell nothing."""
    counted = [_COUNTED.fullmatch(posixpath.basename(key)) for key in labels]
    if not all(counted):
        return
    numbers = {int(match[1]) for match in counted if match}
    missing = [f"s{number:07d}" for number in range(max(numbers, default=0)) if number not in numbers]
    if missing:
        raise Failure(
            f"{base} lacks {len(missing):,} samples, {listed(missing)}: a tar was cut short, download it again"
        )


def _templates(folder: Path) -> Iterator[str]:
    """The sentences of a folder, {} where they have {c}."""
    path = folder / _TEMPLATES
    for number, line in enumerate(read_lines(str(path)) if path.exists() else [], start=1):
        template = line.replace("{c}", "{}")
        if line and "{}" not in template:
            raise Failure(f"{path}, line {number} has no {{c}} for the class name: add it")
        if line:
            yield template
