"""Pictures in a folder a class, and clips as folders of frames in a folder a class.

torchvision takes the first folder of a path for the class, Hugging Face the last one. Where these differ, the names of
the set's classes decide; where those are not known, the folder is refused.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.errors import Failure, describe
from evaluation.examples import MAX_BYTES, Pictures
from evaluation.labels import is_picture
from evaluation.wording import listed

Frames = Literal["middle", "all"]
_LIKE_A_SPLIT = re.compile(
    r"(train|test|val|valid|dev|eval)(val|ing|idation|uation)?([ ._-]?(set|data|images|split))?([ ._-]?[0-9]+)?",
    re.IGNORECASE,
)
_LITTER = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir", "__pycache__", "lost+found"})  # in small letters


@dataclass(frozen=True)
class Tree:
    """The pictures below a folder."""

    files: dict[str, Path]  # relative path as shown (accents composed, /) → where it is; sorted
    empty: list[str]  # folders without a picture anywhere below, the highest ones
    left_out: dict[str, int]  # why files were not taken → how many

    def beside_listing(self) -> dict[str, int]:
        """`left_out` without one file, which lists the pictures: it is no picture, but was read."""
        counts = self.left_out | {"not_a_picture": self.left_out["not_a_picture"] - 1}
        return {why: count for why, count in counts.items() if count}


def is_hidden(name: str) -> bool:
    """Whether a file or folder is one that programs leave behind: .DS_Store, ._NAME, Thumbs.db, .ipynb_checkpoints."""
    return name.startswith(".") or name.lower() in _LITTER


def is_folder(path: Path) -> bool:
    """Whether a path is a folder that may hold pictures."""
    return path.is_dir() and not is_hidden(path.name)


def is_like_a_split(name: str) -> bool:
    """Whether a folder's name is that of a split, in any of the ways in which they are written: Train, val2017."""
    return _LIKE_A_SPLIT.fullmatch(name) is not None


def walk(base: Path) -> Tree:
    """All pictures below a folder, through links. Failure names files that are empty or links to what is not there."""
    files: dict[str, Path] = {}
    without: list[str] = []
    left_out: Counter[str] = Counter()
    broken: list[str] = []
    empty_files: list[str] = []

    def visit(folder: str, shown: str, above: frozenset[str]) -> bool:
        """Whether there is a picture in it."""
        found = False
        try:
            with os.scandir(folder) as listing:
                entries = sorted((one for one in listing if not _skipped(one, left_out)), key=lambda one: one.name)
        except OSError as error:
            raise Failure(
                f"{folder} cannot be read ({describe(error)}): change its permissions, or restore it"
            ) from error
        for entry in entries:
            name = shown + _shown(entry.name)
            if _leads_to_folder(entry):
                real = os.path.realpath(entry.path)
                if real in above:
                    left_out["link_to_a_folder_above"] += 1
                elif visit(entry.path, f"{name}/", above | {real}):
                    found = True
                else:
                    without[:] = [other for other in without if not other.startswith(f"{name}/")]
                    without.append(name)
                continue
            found = True
            if name in files:
                raise Failure(f"{base} has {name} twice, with accents in two spellings: remove one of them")
            files[name] = Path(entry.path)
            try:
                if entry.stat().st_size == 0:
                    empty_files.append(name)
            except OSError:  # it is not there, or a link to itself
                broken.append(name)
        return found

    visit(str(base), "", frozenset({os.path.realpath(base)}))
    if broken:
        raise Failure(f"{base} has {len(broken)} links to what is not there, {listed(broken)}: restore what they mean")
    if empty_files:
        raise Failure(
            f"{base} has {len(empty_files)} of {len(files):,} pictures that are empty files, {listed(empty_files)}: "
            "restore them, or take them out"
        )
    return Tree(dict(sorted(files.items())), without, dict(left_out))


def _skipped(entry: os.DirEntry[str], left_out: Counter[str]) -> bool:
    """Whether a file or folder is not looked at, and why is counted."""
    hidden = is_hidden(entry.name)
    lost = not hidden and entry.is_symlink() and not Path(entry.path).exists()  # it may have meant a folder
    if hidden or not (lost or is_picture(entry.name) or _leads_to_folder(entry)):
        left_out["hidden" if hidden else "not_a_picture"] += 1
        return True
    return False


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _shown(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise Failure(f"the file name {name.encode(errors='surrogateescape')!r} is not UTF-8: rename it") from None
    return unicodedata.normalize("NFC", name)


def read_folders(
    base: Path, frames: Frames | None = None, known: Callable[[Sequence[str]], bool] | None = None
) -> Pictures:
    """Pictures by class folders; with `frames`, an example is a folder of pictures within one. Failure names oddities.

    `known` tells whether all of some labels are classes of the set. Frames are in the order of the numbers in their
    names; of n the middle one is number n // 2, counted from 0.
    """
    tree = walk(base)
    if not tree.files:
        others = sorted(path.relative_to(base).as_posix() for path in base.rglob("*.*") if path.is_file())
        beside = f", but {listed(others)}" if others else ""
        raise Failure(f"{base} holds no pictures{beside}: give the folder that has them, or unpack them")
    if tree.empty:
        raise Failure(f"{base} has folders without pictures, {listed(tree.empty)}: fill them, or remove them")
    if frames and known and known(sorted({name.rpartition("/")[0] for name in tree.files})):
        frames = None  # the middle frames, taken out by somebody
    examples: dict[str, list[str]] = defaultdict(list)  # id → its files
    for name in tree.files:
        examples[name.rpartition("/")[0] if frames else name].append(name)
    folders = {example: example.rpartition("/")[0] for example in examples}
    outside = [example for example, folder in folders.items() if not folder]
    if outside:
        what = "clips" if frames else "pictures"
        first = listed([name or examples[name][0] for name in outside])
        raise Failure(f"{base} has {what} outside of class folders, {first}: move each into the folder of its class")
    label_of = _labels(base, sorted(set(folders.values())), known)
    classes = sorted(set(label_of.values()))
    number = {label: i for i, label in enumerate(classes)}
    chosen = {example: _frames(names, frames) for example, names in examples.items()}
    ids = sorted(chosen)

    def read() -> Iterator[tuple[str, tuple[bytes, ...]]]:
        for example in ids:
            yield example, tuple(body(tree.files[name]) for name in chosen[example])

    labels = tuple((number[label_of[folders[example]]],) for example in ids)
    return Pictures(
        path=str(base), ids=tuple(ids), read=read, left_out=tree.left_out, classes=tuple(classes), labels=labels
    )


def _labels(base: Path, folders: Sequence[str], known: Callable[[Sequence[str]], bool] | None) -> dict[str, str]:
    """Folders of pictures → their classes: the first folder, the whole path, the path without its first folders, or
    the last folder, whichever makes them all classes of the set.

    Failure for splits beside each other, and for a class in folders of several data sets (ImageNetV2 has three).
    """
    parts = {folder: folder.split("/") for folder in folders}
    first = {folder: some[0] for folder, some in parts.items()}
    deepest = max(map(len, parts.values()))
    if deepest == 1:
        return first
    if known is None:
        nested = next(folder for folder, some in parts.items() if len(some) > 1)
        raise Failure(
            f"{base} has folders in class folders ({nested}), and which of them is the class cannot be seen: make it "
            "one folder a class, or name the classes in metadata.csv"
        )
    ways = [first]
    for left_out in range(min(map(len, parts.values()))):
        ways.append({folder: "/".join(some[left_out:]) for folder, some in parts.items()})
    ways.append({folder: some[-1] for folder, some in parts.items()})
    found = next((way for way in ways if known(sorted(set(way.values())))), first)
    if found is first:
        return found
    around = {part for folder in folders for part in folder.removesuffix(found[folder]).split("/")}
    if len(splits := sorted(filter(is_like_a_split, around))) > 1:
        raise Failure(
            f"{base} has pictures in {listed(splits)}, which look like splits: give the folder of one of them"
        )
    of_class: dict[str, list[str]] = defaultdict(list)
    for folder, label in found.items():
        of_class[label].append(folder)
    twice = [some for some in of_class.values() if len(some) > 1]
    if len(twice) > 1:
        raise Failure(
            f"{base} has {len(twice)} classes in several folders, {listed(twice[0])} for one, as two data sets in one "
            "folder have: give the folder of one of them, or put each class into one folder"
        )
    return found


def _frames(names: Sequence[str], frames: Frames | None) -> list[str]:
    in_order = sorted(names, key=natural)
    return [in_order[len(in_order) // 2]] if frames == "middle" else in_order


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts names by the numbers in them: frame_2 before frame_10."""
    pieces = re.split(r"([0-9]+)", name)
    return [(int(piece) if i % 2 else 0, piece) for i, piece in enumerate(pieces)]


def body(path: Path) -> bytes:
    """The bytes of a picture; Failure where it cannot be read, or is larger than MAX_BYTES."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Failure(f"{path} has more than {MAX_BYTES:,} bytes: take it out")
        return path.read_bytes()
    except OSError as error:
        raise Failure(f"{path} cannot be read ({describe(error)}): restore it, or take it out") from error
