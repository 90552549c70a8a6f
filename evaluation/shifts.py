"""What is right under shift: subsets of classes, super-classes by their best class, and frames with their neighbours.

Scores over ImageNet's 1,000 classes are judged in the classes of a data set. Each of them is a group of ImageNet
classes: one for ImageNet-A and -R, several for ObjectNet and the videos. The score of a group is the highest of its
classes' (Taori et al. 2020), and a picture is right where a group that it is of scores higher than all others: a tie is
wrong. The data are in data/testbed; SOURCE.txt says where they are from.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import Failure, UsageError
from evaluation.annotations import near
from evaluation.prompts import wordnet
from evaluation.wording import listed

N_CLASSES = 1000
OBJECTNET_BORDER = 2  # pixels
MAPPINGS = (
    "objectnet_to_imagenet_1k.json",
    "folder_to_objectnet_label.json",
    "pytorch_to_imagenet_2012_id.json",
    "imagenet_to_label_2012_v2",
)  # of ObjectNet's folder `mappings`
_WNID = re.compile(r"n\d{8}")
_BLOCK = 4096  # rows of scores at a time


@dataclass(frozen=True)
class Groups:
    """The classes of a data set: their names, and the ImageNet indices of each. ImageNet may lack one: ().

    `titles`: the data set's own class names, for sentences, "" for a class that is none; () where they are ImageNet's.
    """

    names: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]
    titles: tuple[str, ...] = ()

    @property
    def classes(self) -> list[int]:
        """All ImageNet classes of the groups, ascending."""
        return sorted(index for members in self.members for index in members)


def groups(name: str) -> Groups:
    """The groups of a data set: imagenetv2, imagenet-sketch, imagenet-a, imagenet-r (a class each, named by its WordNet
    id), imagenet-vid-robust, ytbb-robust. ObjectNet's come with it (`read_objectnet`), others by `read_groups`."""
    if name in ("imagenetv2", "imagenet-sketch"):
        return _singles(range(N_CLASSES))
    known = json.loads(_shipped("classes.json"))
    if name not in known:
        raise UsageError(f"no classes of {name} are shipped{near(name, known)}: give them as a file")
    found = known[name]
    if isinstance(found, list):
        return _singles(found)
    titles = tuple("" if name == "none" else name for name in found)  # what Youtube-BB calls a frame without a class
    return Groups(tuple(found), tuple(map(tuple, found.values())), titles)


def _singles(indices: Collection[int]) -> Groups:
    return Groups(tuple(wordnet()[index][0] for index in indices), tuple((index,) for index in indices))


def _shipped(name: str) -> str:
    return files("evaluation").joinpath("data/testbed", name).read_text(encoding="utf-8")


# ── files of others ───────────────────────────────────────────────────────────────────────────────


def read_groups(path: str) -> Groups:
    """Groups from a JSON object: the name of a super-class → a list of ImageNet indices (0 to 999) or WordNet ids.

    An empty list says that ImageNet lacks the class. Failure, by name, for a class that is none of ImageNet's or is in
    two super-classes, of which none could then win.
    """
    given = read_object(path, "super-classes, each with a list of ImageNet indices or WordNet ids")
    of_wnid = {wnid: index for index, (wnid, _) in enumerate(wordnet())}
    members: dict[str, tuple[int, ...]] = {}
    owner: dict[int, str] = {}
    for name, indices in given.items():
        if not isinstance(indices, list):
            raise Failure(f"{path} has no list for {name!r}: give the indices of its classes in brackets")
        found = []
        for entry in indices:
            index = of_wnid.get(entry) if isinstance(entry, str) and _WNID.fullmatch(entry) else entry
            if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < N_CLASSES:
                raise Failure(f"{path}, {name!r}: {entry!r} is no index from 0 to 999 and no WordNet id of ImageNet's")
            if index in owner:
                raise Failure(f"{path} has class {index} ({wordnet()[index][1]}) in {owner[index]!r} and in {name!r}")
            owner[index] = name
            found.append(index)
        members[name] = tuple(found)
    if not owner:
        raise Failure(f"{path} names no class of ImageNet: give at least one")
    return Groups(tuple(members), tuple(members.values()))


def read_objectnet(folder: str) -> Groups:
    """The classes that ObjectNet shares with ImageNet, by the names of its folders, from its own folder `mappings`."""
    given, there, order, labels = (Path(folder, name) for name in MAPPINGS)
    shared, folders = read_object(str(given), "ObjectNet's classes"), read_object(str(there), "ObjectNet's folders")
    numbers = read_object(str(order), "ImageNet's indices")
    lines = read_text(str(labels)).splitlines()
    index_of_line = {line: int(index) for index, line in numbers.items()}
    folder_of = {title: name for name, title in folders.items()}
    twice = {line for line, count in Counter(line.strip() for line in lines).items() if count > 1}
    index_of = {line.strip(): index_of_line.get(number) for number, line in enumerate(lines)}
    members: dict[str, tuple[int, ...]] = {}
    for title, names in shared.items():
        wanted = names.split("; ")
        unknown = [name for name in wanted if name in twice or index_of.get(name) is None]
        if unknown or title not in folder_of:
            missing = f"{unknown[0]!r} in {labels.name}" if unknown else f"{title!r} in {there.name}"
            raise Failure(f"{folder}: {title!r} has no single entry {missing}: take the mappings of ObjectNet anew")
        members[folder_of[title]] = tuple(index for name in wanted if (index := index_of[name]) is not None)
    titles = tuple(folders[name].lower() for name in members)
    return Groups(tuple(members), tuple(members.values()), titles)


def read_neighbours(path: str) -> dict[str, tuple[str, ...]]:
    """Anchor frames → their valid neighbours, from a JSON object of lists, as ImageNet-Vid-Robust's pmsets.json is."""
    given = read_object(path, "anchor frames, each with a list of its neighbours")
    for anchor, frames in given.items():
        if not isinstance(frames, list) or not all(isinstance(frame, str) for frame in frames):
            raise Failure(f"{path} has no list of frames for the anchor {anchor!r}")
        if anchor in frames or len(set(frames)) != len(frames):
            raise Failure(f"{path} lists a frame twice for the anchor {anchor!r}, or the anchor among its neighbours")
    return {anchor: tuple(frames) for anchor, frames in given.items()}


def read_text(path: str) -> str:
    """A text file, UTF-8 with or without a mark; Failure where it is none."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{path} cannot be read as UTF-8: {error}") from None


def read_object(path: str, of_what: str) -> dict[str, Any]:
    """A JSON object of a file; Failure where it is none, is empty, or has a key twice."""
    twice: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twice.extend(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        return dict(pairs)

    try:
        found = json.loads(read_text(path), object_pairs_hook=unique)
    except ValueError as error:
        raise Failure(f"{path} is no JSON ({error}): it should be an object of {of_what}") from None
    if twice:
        raise Failure(f"{path} has {twice[0]!r} twice: remove one of them")
    if not isinstance(found, dict) or not found:
        raise Failure(f"{path} should be a JSON object of {of_what}")
    return found


# ── pictures and clips ────────────────────────────────────────────────────────────────────────────

Labels = Mapping[str, Collection[str]]  # example → names of groups; several where a frame shows several


def within(classes: Mapping[str, int], of: Groups) -> dict[str, list[str]]:
    """The pictures of ImageNet whose class is in a group, as labels: the subset that a shift is compared with."""
    owner = {index: name for name, members in zip(of.names, of.members, strict=True) for index in members}
    return {name: [owner[index]] for name, index in classes.items() if index in owner}


def shared(folders: Mapping[str, str], of: Groups) -> tuple[dict[str, list[str]], Counter[str]]:
    """Pictures by their class's folder → the labels of those in a group, and how many are of each other class.

    ObjectNet has 313 classes, of which 113 are ImageNet's too; the others are left out by the protocol."""
    kept = {name: [folder] for name, folder in folders.items() if folder in of.names}
    return kept, Counter(folder for folder in folders.values() if folder not in of.names)


@dataclass(frozen=True)
class Pictures:
    """Pictures to judge, in the order of `ids`: bool [n, groups], True where a picture is of a group."""

    of: Groups
    ids: tuple[str, ...]
    truth: np.ndarray

    def values(self, scores: np.ndarray) -> np.ndarray:
        """float64 [n], 1 where right. `scores`: [n, 1000], or [n, groups] of a classifier for the groups' own names."""
        return right(self.scores(scores), self.truth).astype(np.float64)

    def scores(self, scores: np.ndarray) -> np.ndarray:
        """Scores by group, [n, groups]."""
        return in_groups(scores, self.of, len(self.ids))


@dataclass(frozen=True)
class Clips:
    """Anchor frames with their neighbours. Pairs of an anchor and a frame: `frame` and `anchor` int64 [pairs], `truth`
    bool [pairs, groups]; the anchor's own pair comes first. `frames`: the order of the scores' rows."""

    of: Groups
    ids: tuple[str, ...]
    frames: tuple[str, ...]
    frame: np.ndarray
    anchor: np.ndarray
    truth: np.ndarray

    def parts(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """pm-0 and pm-k, bool [anchors] each: the anchor is right; it and all its neighbours are."""
        good = self.right(scores)
        wrong = np.bincount(self.anchor[~good], minlength=len(self.ids))
        return good[self.anchors], wrong == 0

    def right(self, scores: np.ndarray) -> np.ndarray:
        """bool [pairs]: whether each frame is what its anchor or its own label says."""
        return right(self.scores(scores)[self.frame], self.truth)

    def scores(self, scores: np.ndarray) -> np.ndarray:
        """Scores by group, [frames, groups]."""
        return in_groups(scores, self.of, len(self.frames))

    @property
    def anchors(self) -> np.ndarray:
        """The pairs of the anchors with themselves: int64 [anchors]."""
        return np.searchsorted(self.anchor, np.arange(len(self.ids)))

    def values(self, scores: np.ndarray) -> np.ndarray:
        """float64 [anchors]: the mean of pm-0 and pm-k, 0, 0.5 or 1. `scores` as `Pictures.values` takes them."""
        return np.asarray(np.mean(self.parts(scores), axis=0))


def pictures(ids: Sequence[str], labels: Labels, of: Groups) -> Pictures:
    """Joins the pictures that have scores with their labels. Failure, by name, where either lacks some of the other."""
    _once(ids)
    unknown = sorted(labels.keys() - set(ids))
    missing = [name for name in ids if name not in labels]
    if missing or unknown:
        lacking = f"{len(missing)} pictures have no label: {listed(missing)}" if missing else ""
        extra = f"{len(unknown)} labels have no picture: {listed(unknown)}" if unknown else ""
        raise Failure(f"{' and '.join(filter(None, (lacking, extra)))}: give scores and labels of the same pictures")
    return Pictures(of, tuple(ids), _truth([labels[name] for name in ids], ids, of))


def clips(frames: Sequence[str], labels: Labels, neighbours: Mapping[str, Sequence[str]], of: Groups) -> Clips:
    """Joins scored frames with anchors. A neighbour without a label of its own has its anchor's; frames that no anchor
    names are not judged. Failure, by name, for anchors without a label and frames without scores."""
    _once(frames)
    row = {name: number for number, name in enumerate(frames)}
    ids = tuple(sorted(neighbours))
    bare = [anchor for anchor in ids if anchor not in labels]
    missing = sorted({frame for anchor in ids for frame in (anchor, *neighbours[anchor])} - row.keys())
    if bare or missing:
        what = f"{len(bare)} anchors have no label: {listed(bare)}" if bare else ""
        lost = f"{len(missing)} frames have no scores: {listed(missing)}" if missing else ""
        raise Failure(f"{' and '.join(filter(None, (what, lost)))}: score and label every frame of the clips")
    pairs = [(number, frame) for number, anchor in enumerate(ids) for frame in (anchor, *neighbours[anchor])]
    truth = _truth([labels.get(frame, labels[ids[number]]) for number, frame in pairs], [f for _, f in pairs], of)
    return Clips(
        of, ids, tuple(frames), np.array([row[frame] for _, frame in pairs]), np.array([n for n, _ in pairs]), truth
    )


def _once(ids: Sequence[str]) -> None:
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice or not ids:
        raise Failure(
            f"scores {'stand twice for ' + listed(twice) if twice else 'are there for nothing'}: give each once"
        )


def _truth(labels: Sequence[Collection[str]], ids: Sequence[str], of: Groups) -> np.ndarray:
    at = {name: number for number, name in enumerate(of.names)}
    truth = np.zeros((len(labels), len(at)), dtype=bool)
    for number, names in enumerate(labels):
        unknown = [name for name in names if name not in at]
        if unknown or not names or isinstance(names, str):
            fault = f"the label {unknown[0]!r}{near(unknown[0], at)}" if unknown else f"no list of labels ({names!r})"
            raise Failure(f"{ids[number]} has {fault}, not one or more of the {len(at)} classes {listed(at)}")
        truth[number, [at[name] for name in names]] = True
    return truth


# ── scores ────────────────────────────────────────────────────────────────────────────────────────


def in_groups(scores: np.ndarray, of: Groups, n: int) -> np.ndarray:
    """Scores [n, groups]: of 1,000 columns the best of each group's, -inf for a group that ImageNet lacks; scores that
    have a column a group stay. UsageError for another shape, Failure for rows with NaN."""
    width = len(of.names)
    if scores.ndim != 2 or len(scores) != n or scores.shape[1] not in (N_CLASSES, width):
        raise UsageError(
            f"scores have the shape {scores.shape}: give ({n}, {N_CLASSES}), or ({n}, {width}) of own names"
        )
    bad = np.flatnonzero(np.isnan(scores).any(axis=1))
    if len(bad):
        raise Failure(
            f"{len(bad)} of {n} rows of scores hold NaN, row {bad[0]} for one: mend the model or leave them out"
        )
    if scores.shape[1] != N_CLASSES or of.members == tuple((index,) for index in range(N_CLASSES)):
        return scores
    best = np.full((n, width), -np.inf, dtype=scores.dtype)
    for number, members in enumerate(of.members):
        if members:
            best[:, number] = scores[:, list(members)].max(axis=1)
    return best


def ranks(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """int64 [n]: the rank of the best true column, from 1; a wrong one that is as high stands before it."""
    found = np.empty(len(scores), dtype=np.int64)
    for at in range(0, len(scores), _BLOCK):
        block, true = scores[at : at + _BLOCK], truth[at : at + _BLOCK]
        best = np.where(true, block, -np.inf).max(axis=1, keepdims=True)
        found[at : at + _BLOCK] = 1 + ((block >= best) & ~true).sum(axis=1)
    return found


def right(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """bool [n]: whether the best true column is above all others. scores [n, c], truth bool [n, c]."""
    found: np.ndarray = ranks(scores, truth) == 1
    return found


def without_border(picture: np.ndarray, pixels: int = OBJECTNET_BORDER) -> np.ndarray:
    """A picture [height, width, channels] without its border, a view. ObjectNet draws one of 2 pixels around all."""
    height, width = picture.shape[:2]
    if min(height, width) <= 2 * pixels:
        raise Failure(f"a picture of {width} x {height} pixels is nothing but border: take it out")
    return picture[pixels : height - pixels, pixels : width - pixels]
