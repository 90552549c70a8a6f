"""CLIP_benchmark's folders of WebDataset tars: what is known of NAME.webp is in NAME.cls, .npy or .txt beside it.

Sample number 17 is s0000017, counted over all tars of a split. Readers of tars do not see that one was cut between two
files; the numbers show it.
"""

from __future__ import annotations

import io
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from core.errors import Failure
from core.tars import tar_members
from evaluation.class_folders import natural
from evaluation.examples import Captioned, Pictures, require_no_pointer
from evaluation.labelled_tars import CLASSES, bodies_in
from evaluation.labels import MAX_CLASS_BYTES, class_names, class_numbers, is_class_file, is_picture, normal, read_lines
from evaluation.wording import listed

_TEMPLATES, _TYPE = "zeroshot_classification_templates.txt", "dataset_type.txt"
_CODE = re.compile(  # as lists of templates are published in Python and JSON; "{c}" alone is a name in quotes
    r"""^(lambda\b|\[|f?(['"])(?!\{c?\}\2$).*\2,?$)"""
)
_COUNTED = re.compile(r"s([0-9]{7,})")


def is_webdataset(folder: Path, base: Path) -> bool:
    """Whether a folder is one of CLIP_benchmark: `base` has the tars of a split, `folder` what all splits share."""
    counted = (base / "nshards.txt").exists()
    return counted or ((folder / CLASSES).exists() and any(entry.suffix == ".tar" for entry in base.iterdir()))


def read_webdataset(folder: Path, base: Path) -> Pictures:
    """The labelled pictures of a split; ids are the keys of the samples. Failure names what is missing or out of range.

    A sample of "multilabel" (dataset_type.txt) has a .npy file, a vector of 0 and 1 by class, in place of .cls.
    """
    kind = kind_of(folder)
    if kind not in ("classification", "multilabel"):
        raise Failure(f"{folder} is a set for {kind} ({_TYPE}), which has no classes: give a set with classes")
    if not (folder / CLASSES).exists():
        raise Failure(f"{folder} has no {CLASSES}: add it, a class name a line, in the order of the numbers")
    classes = class_names(read_lines(str(folder / CLASSES)), str(folder / CLASSES))

    def numbers(names: Sequence[str], bodies: Mapping[str, bytes], path: str) -> dict[str, tuple[int, ...]]:
        found = class_numbers(names, bodies, len(classes), path, str(folder / CLASSES))
        return {name: (number,) for name, number in found.items()}

    def vectors(names: Sequence[str], bodies: Mapping[str, bytes], path: str) -> dict[str, tuple[int, ...]]:
        beside = _beside(names, bodies).items()
        return {name: _vector(bodies[other], other, path, len(classes)) for name, other in beside}

    single = kind == "classification"
    labels, files = _samples(base, is_class_file if single else _ends(".npy"), numbers if single else vectors)
    return Pictures(
        **files,
        classes=tuple(classes),
        labels=tuple(labels.values()),
        templates=tuple(_templates(folder)),
    )


def read_captions(folder: Path, base: Path) -> Captioned:
    """The pictures of a split for retrieval, with their captions: lines of the .txt file beside each."""
    if (kind := kind_of(folder)) != "retrieval":
        raise Failure(f"{folder} is a set for {kind}, not for retrieval: give one whose {_TYPE} says retrieval")

    def lines(names: Sequence[str], bodies: Mapping[str, bytes], path: str) -> dict[str, tuple[str, ...]]:
        return {name: _captions(bodies[other], other, path) for name, other in _beside(names, bodies).items()}

    captions, files = _samples(base, _ends(".txt"), lines)
    return Captioned(**files, captions=tuple(captions.values()))


def kind_of(folder: Path) -> str:
    """What a set is for, by its dataset_type.txt: classification where there is none."""
    path = folder / _TYPE
    return "".join(read_lines(str(path))).lower() if path.exists() else "classification"


T = TypeVar("T")


def _samples(
    base: Path,
    is_beside: Callable[[str], bool],
    parse: Callable[[Sequence[str], Mapping[str, bytes], str], dict[str, T]],
) -> tuple[dict[str, T], dict[str, Any]]:
    """What stands beside each picture of a split, by key, and what Files is made of.

    `is_beside`: whether a file holds it; `parse`: of one tar, all names, those files, the tar → of each picture.
    """
    names_in: dict[str, dict[str, str]] = {}  # tar → name in it → key
    values: dict[str, T] = {}
    others = 0
    for path in _shards(base):
        require_no_pointer(path)
        names, bodies = [], {}
        for name, body in tar_members(path, MAX_CLASS_BYTES, is_beside):
            names.append(name)
            if is_beside(name):
                bodies[name] = body
        found = parse(names, bodies, path)
        _require_pairs(names, found, bodies, path)
        names_in[path] = {name: _key(name) for name in found}
        for name, key in names_in[path].items():
            if key in values:
                raise Failure(f"{path} has the sample {key}, which another tar or file has, too: leave one of them")
            values[key] = found[name]
        others += len(names) - len(found) - len(bodies)
    _require_all(values, base)

    def read() -> Iterator[tuple[str, tuple[bytes, ...]]]:
        for path, key_of in names_in.items():
            for name, files in bodies_in(path, key_of.__contains__):
                yield key_of[name], files

    left_out = {"beside_pictures": others} if others else {}
    return values, {"path": str(base), "ids": tuple(values), "read": read, "left_out": left_out}


def _key(name: str) -> str:
    return posixpath.splitext(normal(name))[0]


def _ends(ending: str) -> Callable[[str], bool]:
    return lambda name: name.lower().endswith(ending) and not posixpath.basename(name).startswith("._")


def _beside(names: Sequence[str], bodies: Mapping[str, bytes]) -> dict[str, str]:
    """Pictures → the file of the same path beside them, where there is one."""
    of_key = {_key(name): name for name in bodies}
    return {name: of_key[_key(name)] for name in filter(is_picture, names) if _key(name) in of_key}


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


def _vector(body: bytes, name: str, path: str, count: int) -> tuple[int, ...]:
    """The classes whose number in a vector of NumPy's is 1."""
    try:
        vector = np.load(io.BytesIO(body), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise Failure(f"{name} in {path} is no NumPy array ({error}): restore it") from error
    if vector.shape != (count,) or vector.dtype.kind not in "biuf" or not np.isin(vector, (0, 1)).all():
        raise Failure(
            f"{name} in {path} is {vector.dtype} {list(vector.shape)}, not a vector of {count} zeros and ones, one by "
            f"class: give the {CLASSES} that belongs to it"
        )
    return tuple(int(number) for number in np.flatnonzero(vector))


def _captions(body: bytes, name: str, path: str) -> tuple[str, ...]:
    """The lines of a text, white space folded; Failure where there is none, or an empty one between others."""
    try:
        lines = body.decode("utf-8-sig").strip().splitlines()
    except UnicodeDecodeError as error:
        raise Failure(f"{name} in {path} is not UTF-8 ({error}): convert it") from None
    texts = tuple(" ".join(line.split()) for line in lines)
    if not texts or not all(texts):
        raise Failure(f"{name} in {path} has an empty caption: add it, or take the sample out")
    return texts


def _require_pairs(names: Sequence[str], found: Mapping[str, object], bodies: Mapping[str, bytes], path: str) -> None:
    alone = [name for name in names if is_picture(name) and name not in found]
    if alone:
        raise Failure(
            f"{path} has pictures with nothing beside them, {listed(alone)}: restore the files, or take them out"
        )
    if len(bodies) != len(found):
        pictured = {_key(name).casefold() for name in found}
        alone = [name for name in bodies if _key(name).casefold() not in pictured]
        raise Failure(f"{path} has files without a picture beside them, {listed(alone)}: restore the pictures")


def _require_all(keys: Iterable[str], base: Path) -> None:
    """Keys that CLIP_benchmark counted are all there; keys of others tell nothing."""
    counted = [_COUNTED.fullmatch(posixpath.basename(key)) for key in keys]
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
        if _CODE.search(line):
            raise Failure(f"{path}, line {number} is a line of a program ({line[:60]}): leave the sentence alone")
        if line and "{}" not in template:
            raise Failure(f"{path}, line {number} has no {{c}} for the class name: add it")
        if re.search("[{}]", template.replace("{}", "")):
            raise Failure(f"{path}, line {number} has braces beside {{c}} ({line[:60]}): leave the sentence alone")
        if line:
            yield template
