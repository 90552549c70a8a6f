"""The natural shifts as they are published: which pictures or frames are judged, and in which classes.

Four of the seven have ImageNet's classes and any layout that evaluation/readers.py knows. The others are read like
this, below the folder of the set, or in the folder that their archive unpacks to:

- ObjectNet: `images/CLASS/*.png` and the four files of `mappings/`; or CLIP_benchmark's tars, and `mappings/` beside
  them. Classes that ImageNet lacks are left out, and a border of 2 pixels is cut off;
- ImageNet-Vid-Robust: frames, `metadata/labels.json` (frame → numbers or names of its classes) and
  `metadata/pmsets.json` (anchor → its neighbours);
- YTBB-Robust: frames in folders VIDEO_MILLISECONDS, and its three files of annotations; or two files as above.

A frame is known by its folder and its name, wherever it lies.
"""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.errors import Failure
from evaluation import shifts
from evaluation.annotations import near
from evaluation.class_folders import body, walk
from evaluation.classes import fold
from evaluation.examples import Files, Pictures
from evaluation.robustness import SHIFTS, Shift
from evaluation.sets import Located
from evaluation.shifts import Clips, Groups, Labels
from evaluation.wording import listed

Judge = shifts.Pictures | Clips

TESTBED = "github.com/modestyachts/imagenet-testbed, src/eval_settings"
_ARCHIVE = "imagenet_vid_ytbb_robust"  # of both videos
_UNPACKED = {"objectnet": "objectnet-1.0", "imagenet_vid": "imagenet-vid-robust", "youtube_bb": "ytbb-robust"}
_PLAIN = ("labels.json", "pmsets.json")
_ANNOTATIONS = ("anchor_labels.json", "pmk_labels.json", "ytbb_robustness_test_anchors_full.csv")
_FARTHEST = 10  # frames between an anchor and its neighbours
_PROBLEMS = frozenset(
    {
        "dissimilar", "problematic", "incorrect", "dont know", "deformation", "background-change",
        "occlusion-increased", "blur-increase", "bad-anchor",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Opened:
    """The pictures or frames that are judged, and how. `files` in the order of the judge's ids, of clips its frames."""

    shift: Shift
    files: Files
    judge: Judge


def shift_of(one: Located) -> Shift | None:
    """The natural shift that a set is; None where it is none of the seven."""
    return next((shift for shift in SHIFTS if one.set is not None and shift.registered == one.set.name), None)


def groups_of(one: Located, shift: Shift) -> Groups:
    """The classes of a shift. Failure where ObjectNet's mappings are not with it."""
    return shifts.read_objectnet(str(_mappings(one))) if shift.name == "objectnet" else shifts.groups(shift.name)


def open_shift(one: Located, shift: Shift) -> Opened:
    """What is to be judged of a shift. Failure names files that are missing, and labels that are no classes."""
    one.check()
    of = groups_of(one, shift)
    if shift.name == "objectnet":
        files, labels = _objectnet(one, of)
    elif one.set is not None and one.set.own_classes:
        return _video(one, shift, of)
    else:
        found = one.open()
        owner = {index: name for name, members in zip(of.names, of.members, strict=True) for index in members}
        numbers = found.numbers().tolist()
        if strange := sorted({found.classes[number] for number in numbers if number not in owner}):
            raise Failure(f"{one.path} has pictures of {listed(strange)}, no class of {shift.title}: take them out")
        if found.subset:  # a part of its classes: one is chosen among those that are there
            of = Groups(tuple(owner[index] for index in found.subset), tuple((index,) for index in found.subset))
        files, labels = found, {name: [owner[number]] for name, number in zip(found.ids, numbers, strict=True)}
    return Opened(shift, files, shifts.pictures(files.ids, labels, of))


def inside(pictures: Pictures, of: Groups) -> tuple[list[int], shifts.Pictures] | None:
    """ImageNet's pictures of a shift's classes: their places, and how they are judged; None where there is none."""
    labels = shifts.within(dict(zip(pictures.ids, pictures.numbers().tolist(), strict=True)), of)
    rows = [row for row, name in enumerate(pictures.ids) if name in labels]
    return (rows, shifts.pictures([pictures.ids[row] for row in rows], labels, of)) if rows else None


# ── where its files are ───────────────────────────────────────────────────────────────────────────


def _root(one: Located) -> Path:
    """The folder that an archive of the set unpacks to, or the set's own."""
    folder, name = Path(one.path), _UNPACKED[one.name]
    if not folder.is_dir():
        raise Failure(f"{one.path} is no folder: unpack it, with the files that belong to it")
    return next((path for path in (folder / _ARCHIVE / name, folder / name) if path.is_dir()), folder)


def _beside(one: Located, names: Sequence[str], places: Sequence[str], get: str) -> list[Path]:
    """Files that belong to a set: below its folder or its root, or in a folder of them. Failure says what to obtain."""
    found = _found(one, names, places)
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise Failure(f"{one.path} has no {listed(missing)}: take {get}, and put it into {one.path}/{places[0]}")
    return [path for path in found.values() if path is not None]


def _found(one: Located, names: Sequence[str], places: Sequence[str]) -> dict[str, Path | None]:
    """Where each file is: the first that there is."""
    folders = [place for base in (_root(one), Path(one.path)) for place in (base, *(base / name for name in places))]
    return {name: next((folder / name for folder in folders if (folder / name).is_file()), None) for name in names}


def _mappings(one: Located) -> Path:
    get = "the folder mappings of objectnet-1.0.zip"
    found = {path.parent for path in _beside(one, shifts.MAPPINGS, ["mappings"], get)}
    if len(found) > 1:
        raise Failure(f"{one.path} has ObjectNet's mappings in {listed(sorted(found))}: keep all four in one folder")
    return found.pop()


# ── ObjectNet ─────────────────────────────────────────────────────────────────────────────────────


def _objectnet(one: Located, of: Groups) -> tuple[Files, Labels]:
    """The pictures of the shared classes, with their border marked to be cut, and the classes by id."""
    path = _mappings(one) / "folder_to_objectnet_label.json"
    folders = shifts.read_object(str(path), "ObjectNet's folders")
    meant_by: dict[str, set[str]] = defaultdict(set)  # a folder's name or title, folded → folders
    for folder, title in folders.items():
        meant_by[fold(folder)].add(folder)
        meant_by[fold(str(title))].add(folder)

    def known(label: str, place: str) -> str:
        found = {label} if label in folders else meant_by.get(fold(label), set())
        if len(found) != 1:
            raise Failure(
                f"{place} is of {label!r}{near(label, folders)}, which is no single class of ObjectNet: rename it, or "
                "take it out"
            )
        return next(iter(found))

    if one.layout == "folders":
        images = _root(one) / "images"
        tree = walk(images if images.is_dir() else _root(one))
        classes = {name: known(name.rpartition("/")[0].rpartition("/")[2], name) for name in tree.files}
        kept, others = shifts.shared(classes, of)
        return _files(one, {name: tree.files[name] for name in kept}, _left(tree.left_out, others)), kept
    found = one.open()
    meant = [known(label, f"{one.path}: some picture") for label in found.classes]
    numbers = found.numbers().tolist()
    kept, others = shifts.shared({name: meant[number] for name, number in zip(found.ids, numbers, strict=True)}, of)

    def read() -> Iterator[tuple[str, tuple[bytes, ...]]]:
        return ((name, bodies) for name, bodies in found.bodies() if name in kept)

    ids = tuple(name for name in found.ids if name in kept)
    files = Files(path=one.path, ids=ids, read=read, left_out=_left(found.left_out, others))
    return replace(files, border=shifts.OBJECTNET_BORDER), kept


def _files(one: Located, paths: Mapping[str, Path], left_out: Mapping[str, int]) -> Files:
    def read() -> Iterator[tuple[str, tuple[bytes, ...]]]:
        for name, path in paths.items():
            yield name, (body(path),)

    border = shifts.OBJECTNET_BORDER if one.name == "objectnet" else 0
    return Files(path=one.path, ids=tuple(paths), read=read, left_out=left_out, border=border)


def _left(left_out: Mapping[str, int], others: Counter[str]) -> dict[str, int]:
    return dict(left_out) | ({"no_class_of_imagenet": others.total()} if others else {})


# ── videos ────────────────────────────────────────────────────────────────────────────────────────


def _video(one: Located, shift: Shift, of: Groups) -> Opened:
    """The anchors and neighbours of a set of videos; frames that are neither are left out."""
    labels, neighbours = _annotated(one, of)
    tree = walk(_root(one))
    paths: dict[str, Path] = {}
    for name, path in tree.files.items():
        frame = _frame(name)
        if frame in paths:
            raise Failure(f"{one.path} has two frames {frame}, {paths[frame]} and {path}: keep one of them")
        paths[frame] = path
    wanted = sorted({frame for anchor, others in neighbours.items() for frame in (anchor, *others)})
    if missing := [frame for frame in wanted if frame not in paths]:
        raise Failure(
            f"{one.path} lacks {len(missing):,} of {len(wanted):,} frames, {listed(missing)}: take them from "
            f"{_ARCHIVE}.tar.gz"
        )
    others = {"no_anchor_or_neighbour": len(paths) - len(wanted)}
    left_out = dict(tree.left_out) | (others if len(paths) > len(wanted) else {})
    files = _files(one, {frame: paths[frame] for frame in wanted}, left_out)
    kept = {frame: labels[frame] for frame in wanted if frame in labels}
    return Opened(shift, files, shifts.clips(files.ids, kept, neighbours, of))


def _frame(path: str) -> str:
    """A frame's folder and name: what all files of annotations end in."""
    return "/".join(path.rsplit("/", 2)[-2:])


def _annotated(one: Located, of: Groups) -> tuple[Labels, dict[str, tuple[str, ...]]]:
    """Labels by frame, and neighbours by anchor."""
    folder = "imagenet-vid-robust_metadata" if one.name == "imagenet_vid" else "ytbb-robust_metadata"
    places = ["metadata", folder]
    plain = _found(one, _PLAIN, places)
    if one.name == "youtube_bb" and None in plain.values():
        return _reviewed(_beside(one, _ANNOTATIONS, places, f"the files from {TESTBED}/{folder}"), of)
    get = f"the folder metadata of {_ARCHIVE}.tar.gz, or the files from {TESTBED}/{folder}"
    labels, pmsets = _beside(one, _PLAIN, places, get)
    given = shifts.read_object(str(labels), "frames, each with a list of its classes")
    neighbours = shifts.read_neighbours(str(pmsets))
    for path, names in ((labels, given), (pmsets, neighbours)):
        if twice := [name for name, count in Counter(map(_frame, names)).items() if count > 1]:
            raise Failure(f"{path} has {listed(twice)} in two folders: keep one of each")
    named = {_frame(frame): _named(some, of, frame, labels) for frame, some in given.items()}
    return named, {_frame(anchor): tuple(map(_frame, others)) for anchor, others in neighbours.items()}


def _named(given: Any, of: Groups, frame: str, path: Path) -> list[str]:
    """The names of classes that are given by number or name."""
    if not isinstance(given, list) or not given:
        raise Failure(f"{path} has no list of classes for {frame!r}: give their numbers or names in brackets")
    names = []
    for label in given:
        is_number = isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(of.names)
        if not is_number and label not in of.names:
            raise Failure(
                f"{path} has {label!r} for {frame!r}, no number from 0 to {len(of.names) - 1} and no class of "
                f"{listed(of.names)}"
            )
        names.append(of.names[label] if is_number else label)
    return names


def _reviewed(paths: Sequence[Path], of: Groups) -> tuple[Labels, dict[str, tuple[str, ...]]]:
    """YTBB-Robust's annotations: anchors that were found good, with frames found similar to them, within 10 frames.

    An anchor has the class of Youtube-BB and those that its reviewers added. Of several reviews of one frame the last
    counts. Failure where a class or a frame is not known.
    """
    anchors, pairs, classes = paths
    numbers = (*of.names[:-2], of.names[-1], of.names[-2])  # Youtube-BB counts car before none, the reviewers after it
    first = _first_labels(classes, numbers)
    labels: dict[str, list[str]] = {}
    for key, said in _annotations(anchors).items():
        if "good" in said and not said & {"bad", "unsure"}:
            clip = _frame(key).partition("/")[0]
            if clip not in first:
                raise Failure(f"{classes} has no row for {clip}, an anchor of {anchors.name}: take both of one version")
            labels[_frame(key)] = sorted({first[clip], *(name for name in said if name in of.names)})
    reviews = {_pair(key, pairs): said for key, said in _annotations(pairs).items()}
    bad = {anchor for (anchor, _), said in reviews.items() if "bad-anchor" in said}
    neighbours: dict[str, list[str]] = {anchor: [] for anchor in labels if anchor not in bad}
    for (anchor, frame), said in reviews.items():
        if anchor in neighbours and "similar" in said and not said & _PROBLEMS and _is_near(anchor, frame):
            neighbours[anchor].append(frame)
    if not neighbours:
        raise Failure(f"{anchors} has no anchor that is good: take it anew from {TESTBED}/ytbb-robust_metadata")
    return {name: labels[name] for name in neighbours}, {name: tuple(some) for name, some in neighbours.items()}


def _annotations(path: Path) -> dict[str, set[str]]:
    """Reviews by their keys, the last of each: the labels that were set."""
    found = shifts.read_object(str(path), "annotations and labels")
    rows, names = found.get("annotations"), found.get("labels")
    if not isinstance(rows, list) or not isinstance(names, list):
        raise Failure(
            f"{path} has no lists of annotations and labels: take it anew from {TESTBED}/ytbb-robust_metadata"
        )
    reviews = {}
    for row in rows:
        key, said = (row.get("key"), row.get("labels")) if isinstance(row, dict) else (None, None)
        is_known = isinstance(said, list) and all(isinstance(n, int) and 0 <= n < len(names) for n in said)
        if not isinstance(key, str) or "/" not in key or not isinstance(said, list) or not is_known:
            raise Failure(f"{path} has an annotation {json.dumps(row)[:80]}, without a frame or with unknown labels")
        reviews[key] = {str(names[number]) for number in said}
    return reviews


def _first_labels(path: Path, numbers: Sequence[str]) -> dict[str, str]:
    """The class of each anchor's clip, VIDEO_MILLISECONDS, in Youtube-BB itself: of its last row, as in the testbed."""
    try:
        rows = list(csv.DictReader(shifts.read_text(str(path)).splitlines()))
    except csv.Error as error:
        raise Failure(f"{path} is no table: {error}") from None
    found: dict[str, str] = {}
    for row in rows:
        label = row.get("label") or ""
        if not row.get("ytid") or not row.get("time_ms") or not label.isdecimal() or int(label) >= len(numbers):
            raise Failure(
                f"{path} has a row {dict(row)}, not a ytid, a time_ms and a label from 0 to {len(numbers) - 1}: "
                "restore the file"
            )
        found[f"{row['ytid']}_{row['time_ms']}"] = numbers[int(label)]
    return found


def _pair(key: str, path: Path) -> tuple[str, str]:
    anchor, comma, frame = key.partition(",")
    if not comma or "/" not in anchor or "/" not in frame:
        raise Failure(f"{path} has the key {key!r}, not an anchor, a comma and a frame: restore it")
    return _frame(anchor), _frame(frame)


def _is_near(anchor: str, frame: str) -> bool:
    """Whether a frame is another one of the anchor's folder, at most 10 away by the numbers in their names."""
    (one, first), (other, second) = anchor.split("/"), frame.split("/")
    numbers = [name.rpartition("-")[2].partition(".")[0] for name in (first, second)]
    return one == other and all(map(str.isdecimal, numbers)) and 0 < abs(int(numbers[0]) - int(numbers[1])) <= _FARTHEST
