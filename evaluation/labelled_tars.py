"""Labelled pictures in one tar, with a file of labels beside it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from core.errors import Failure
from core.files import entries_in
from core.tars import tar_members
from evaluation.examples import MAX_BYTES, Pictures, require_no_pointer
from evaluation.labels import read as read_labelled

CLASSES = "classnames.txt"
_LABELS = (".labels.tsv", ".tsv", ".labels.txt")  # after a tar's name without its extension
_TAR = re.compile(r"\.(tar|tgz)(\.\w+)?$", re.IGNORECASE)


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
        yield from bodies_in(path, found.label_of.__contains__)

    return Pictures(
        path=path,
        ids=tuple(found.label_of),
        read=read,
        left_out=left_out,
        classes=tuple(found.classes),
        labels=labels_of,
    )


def _beside(path: str) -> str:
    """The file of labels beside a tar."""
    folder, slash, name = path.rpartition("/")
    stem = _TAR.sub("", name)
    names = entries_in(folder or (slash or "."), detail=False)
    wanted = [f"{stem}{ending}" for ending in _LABELS]
    there = [label for label in wanted if label in names] or [label for label in (CLASSES,) if label in names]
    if len(there) != 1:
        why = (
            f"has {' and '.join(there)} beside it" if there else f"has none of {', '.join(wanted)}, {CLASSES} beside it"
        )
        raise Failure(f"{path} {why}: name the file that has its labels, or leave only that one there")
    return f"{folder}{slash}{there[0]}"


def bodies_in(path: str, wanted: Callable[[str], bool]) -> Iterator[tuple[str, tuple[bytes, ...]]]:
    """The wanted files of a tar, by name; Failure where one is empty or larger than MAX_BYTES."""
    for name, body in tar_members(path, MAX_BYTES, wanted):
        if wanted(name):
            if not body:
                raise Failure(f"{name} in {path} is an empty file: restore it, or take it out")
            yield name, (body,)
