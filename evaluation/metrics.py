"""The paper's metrics (sections 3.1, 3.3 and appendices A, D, E) as functions on arrays.

Accuracy, mean per class, top-k, mean of top-1 and top-5, 11-point mAP, ROC AUC, recall@k, shares within a distance,
pm-k, pooled super-classes. All are shares in [0, 1].

A tie is counted against the model: a wrong answer whose score equals the right one's stands before it, so that a
constant model is right about nothing. Only ROC AUC counts a tie as half a win, which is its definition. Scores that are
not finite are refused: compared with anything, NaN would silently rank first or last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from core.errors import Failure
from evaluation.wording import listed

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.integer[Any]]
Booleans = npt.NDArray[np.bool_]

EARTH_RADIUS_KM = 6371.0
RADII_KM = (1, 25, 200, 750, 2500)  # street, city, region, country, continent (appendix E)
_ROWS = 4096  # of a matrix of scores, at once


# ── one right class an example ────────────────────────────────────────────────────────────────────


def ranks(scores: Floats, labels: Integers) -> npt.NDArray[np.int64]:
    """The rank of each example's own class among all classes, from 1: int64 [n].

    scores: [n, classes], larger is more likely; labels: [n], column numbers. Failure names scores that are not finite
    and labels that are no column.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    _check_scores(scores, len(labels))
    _check_labels(labels, scores.shape[1])
    found = np.empty(len(labels), np.int64)
    for at in range(0, len(labels), _ROWS):
        some, own = scores[at : at + _ROWS], labels[at : at + _ROWS, None]
        found[at : at + _ROWS] = (some >= np.take_along_axis(some, own, axis=1)).sum(axis=1)  # itself among them
    return found


def top_k(scores: Floats, labels: Integers, k: int) -> float:
    """The share of examples whose class is among the k of the highest scores. Arguments as for `ranks`."""
    found = ranks(scores, labels)
    classes = np.shape(scores)[1]
    if not 1 <= k < classes:
        raise Failure(f"top-{k} of {classes} classes says nothing: k has to be from 1 to {classes - 1}")
    return float((found <= k).mean())


def accuracy(scores: Floats, labels: Integers) -> float:
    """The share of examples whose class has the highest score, alone. Arguments as for `ranks`."""
    return top_k(scores, labels, 1)


def top_1_and_5(scores: Floats, labels: Integers) -> float:
    """The mean of top-1 and top-5 accuracy, the metric of Kinetics-700 (table 9). Arguments as for `ranks`."""
    return (top_k(scores, labels, 1) + top_k(scores, labels, 5)) / 2


def mean_per_class(scores: Floats, labels: Integers, classes: Sequence[str] | None = None) -> float:
    """Accuracy of each class, and their mean: the metric of Pets, Caltech-101, Flowers and Aircraft (table 9).

    Failure names the classes that have no example, by `classes` [classes] where given: their accuracy is unknown, and a
    mean without them is that of another set.
    """
    return float(np.mean(per_class(scores, labels, classes)))


def per_class(scores: Floats, labels: Integers, classes: Sequence[str] | None = None) -> npt.NDArray[np.float64]:
    """Accuracy of each class: float64 [classes]. Arguments and errors as for `mean_per_class`."""
    right = ranks(scores, labels) == 1
    number = np.shape(scores)[1]
    examples = np.bincount(labels, minlength=number)
    _check_classes(examples == 0, classes, "have no example: take them out of the classes, or add examples")
    return np.bincount(labels, weights=right, minlength=number) / examples


# ── several right classes an example, or a score for one ──────────────────────────────────────────


def average_precision_11(scores: Floats, positive: Booleans) -> float:
    """11-point interpolated average precision as VOC2007 defines it, for one class.

    scores: [n], positive: bool [n]. The mean, over the recalls 0, 0.1 … 1, of the best precision at that recall or
    beyond. Failure where no example is positive. What VOC marks as difficult is to be left out beforehand.
    """
    scores, positive = _binary(scores, positive)
    total = int(positive.sum())
    if total == 0:
        raise Failure("no average precision without a positive example: add some, or leave the class out")
    order = np.lexsort((positive, -scores))  # of equal scores, the wrong ones first
    hits = np.cumsum(positive[order])
    precision = hits / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]  # at this position or later
    reached = np.searchsorted(10 * hits, total * np.arange(11))  # the first position of each recall, without rounding
    return float(best[reached].mean())


def mean_average_precision_11(scores: Floats, positive: Booleans, classes: Sequence[str] | None = None) -> float:
    """The mean over classes of `average_precision_11`, the metric of VOC2007 (table 9).

    scores: [n, classes], positive: bool [n, classes]. Failure names the classes without a positive example.
    """
    scores, positive = np.asarray(scores), np.asarray(positive)
    _check_scores(scores, len(positive))
    if positive.shape != scores.shape or positive.dtype != np.bool_:
        raise Failure(f"{scores.shape} scores need as many true or false values, not {_shape(positive)}")
    _check_classes(
        np.logical_not(positive.any(axis=0)), classes, "have no positive example: take them out, or add examples"
    )
    return float(np.mean([average_precision_11(scores[:, c], positive[:, c]) for c in range(scores.shape[1])]))


def roc_auc(scores: Floats, positive: Booleans) -> float:
    """The chance that a positive example scores above a negative one, a tie counting half: Hateful Memes (table 9).

    scores: [n], positive: bool [n]. Failure unless there are examples of both kinds.
    """
    scores, positive = _binary(scores, positive)
    yes = int(positive.sum())
    no = len(positive) - yes
    if yes == 0 or no == 0:
        raise Failure(f"no ROC AUC of {yes} positive and {no} negative examples: it takes both")
    wins = float(rankdata(scores)[positive].sum()) - yes * (yes + 1) / 2
    return wins / (yes * no)


# ── retrieval ─────────────────────────────────────────────────────────────────────────────────────


def recall_at_k(similarities: Floats, positive: Booleans, k: int) -> float:
    """The share of queries with any of their right answers among the k nearest candidates (table 13).

    similarities: [queries, candidates]; positive: bool of the same shape, one or more in each row. Failure names
    queries without a right answer.
    """
    similarities, positive = np.asarray(similarities), np.asarray(positive)
    _check_scores(similarities, len(positive))
    if positive.shape != similarities.shape or positive.dtype != np.bool_:
        raise Failure(f"{similarities.shape} similarities need as many true or false values, not {_shape(positive)}")
    if not 1 <= k <= similarities.shape[1]:
        raise Failure(f"recall@{k} needs k from 1 to the number of candidates, {similarities.shape[1]}")
    without = np.flatnonzero(~positive.any(axis=1))
    if len(without):
        raise Failure(f"query {listed(without)} has no right answer among the candidates: add it, or drop the query")
    best = np.where(positive, similarities, -np.inf).max(axis=1, keepdims=True)
    return float(((~positive & (similarities >= best)).sum(axis=1) < k).mean())


# ── places on earth ───────────────────────────────────────────────────────────────────────────────


def haversine_km(one: Floats, other: Floats) -> npt.NDArray[np.float64]:
    """Great-circle distances on a sphere of 6,371 km: float64 [n], in kilometres.

    one, other: [n, 2], latitude and longitude in degrees, in this order. Failure names what is outside -90 … 90 and
    -180 … 180: often the two are swapped.
    """
    pairs = [np.asarray(place, np.float64) for place in (one, other)]
    if pairs[0].ndim != 2 or pairs[0].shape[1] != 2 or pairs[0].shape != pairs[1].shape:
        raise Failure(f"places are [n, 2], latitude and longitude, as many as there are answers: not {_shape(*pairs)}")
    for places in pairs:
        wrong = np.flatnonzero(~(np.abs(places) <= (90, 180)).all(axis=1))  # NaN is wrong, too
        if len(wrong):
            lat, lon = places[wrong[0]]
            raise Failure(
                f"place {listed(wrong)} is not on earth (latitude {lat:g}, longitude {lon:g}): give latitude within "
                "±90 first, then longitude within ±180"
            )
    (lat1, lon1), (lat2, lon2) = (np.radians(places).T for places in pairs)
    half = np.sin((lat2 - lat1) / 2) ** 2 + np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
    distances: npt.NDArray[np.float64] = 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(half, 1)))
    return distances


def within(distances_km: Floats, radii_km: Sequence[float] = RADII_KM) -> dict[float, float]:
    """Radius → share of the answers that are at most so far off (table 17). distances_km: [n], n >= 1."""
    distances_km = np.asarray(distances_km)
    if distances_km.ndim != 1 or not len(distances_km) or np.isnan(distances_km).any():
        raise Failure(f"no share within a radius of {_shape(distances_km)} distances, or of some that are NaN")
    return {radius: float((distances_km <= radius).mean()) for radius in radii_km}


# ── natural shifts ────────────────────────────────────────────────────────────────────────────────


def pm_k(right: Booleans, anchors: Sequence[str], offsets: Integers, k: int) -> float:
    """The share of anchors that are right together with all of their frames within k: ImageNet-Vid, Youtube-BB.

    right: bool [frames], whether the model is right about a frame; anchors: [frames], the anchor that a frame belongs
    to; offsets: int [frames], how many frames after it, 0 for itself, negative before. Frames that are not valid are
    not among them. Failure names anchors without a frame of their own, and frames given twice.
    """
    right, offsets = np.asarray(right), np.asarray(offsets)
    if right.dtype != np.bool_ or right.ndim != 1 or not len(right) or k < 0:
        raise Failure(f"pm-{k} takes k >= 0 and one or more true or false values, not {_shape(right)}")
    if not len(right) == len(anchors) == len(offsets):
        raise Failure(f"{len(right)} frames with {len(anchors)} anchors and {len(offsets)} offsets: give each its own")
    seen: set[tuple[str, int]] = set()
    verdict: dict[str, bool] = {}
    for is_right, anchor, offset in zip(right.tolist(), anchors, offsets.tolist(), strict=True):
        if (anchor, offset) in seen:
            raise Failure(f"frame {offset:+d} of {anchor} is given twice: keep one")
        seen.add((anchor, offset))
        verdict[anchor] = verdict.get(anchor, True) and (is_right or abs(offset) > k)
    without = [anchor for anchor in verdict if (anchor, 0) not in seen]
    if without:
        raise Failure(f"{listed(without)} has neighbours and no frame of its own (offset 0): add it")
    return sum(verdict.values()) / len(verdict)


def pool_classes(scores: Floats, members: Mapping[str, Sequence[int]]) -> Floats:
    """Scores of super-classes, the largest among their classes': [n, super-classes] in the order of `members`.

    scores: [n, classes]; members: super-class → the columns that it is made of, which may be in several. Failure names
    a super-class without a class, and columns that there are not.
    """
    scores = np.asarray(scores)
    _check_scores(scores, len(scores))
    for name, columns in members.items():
        wrong = [column for column in columns if not 0 <= column < scores.shape[1]]
        if wrong or not len(columns):
            what = f"has class {wrong[0]}, of {scores.shape[1]}" if wrong else "has no class"
            raise Failure(f"super-class {name} {what}: mend the mapping")
    if not members:
        raise Failure("no super-classes to pool into: the mapping is empty")
    return np.stack([scores[:, list(columns)].max(axis=1) for columns in members.values()], axis=1)


# ── what is refused ───────────────────────────────────────────────────────────────────────────────


def _binary(scores: Floats, positive: Booleans) -> tuple[Floats, Booleans]:
    scores, positive = np.asarray(scores), np.asarray(positive)
    if scores.ndim != 1 or positive.shape != scores.shape or positive.dtype != np.bool_:
        raise Failure(f"scores [n] need as many true or false values, not {_shape(scores, positive)}")
    _check_scores(scores[:, None], len(positive))
    return scores, positive


def _check_scores(scores: Floats, examples: int) -> None:
    if scores.ndim != 2 or len(scores) != examples or not examples or not scores.shape[1]:
        raise Failure(f"scores are [examples, classes], for one or more of both: not {_shape(scores)} for {examples}")
    if not np.issubdtype(scores.dtype, np.floating) and not np.issubdtype(scores.dtype, np.integer):
        raise Failure(f"scores are numbers, not {scores.dtype}")
    for at in range(0, len(scores), _ROWS):
        rows, columns = np.nonzero(~np.isfinite(scores[at : at + _ROWS]))
        if len(rows):
            value = scores[at + rows[0], columns[0]]
            raise Failure(
                f"the score of example {at + rows[0]} for column {columns[0]} is {value}, which ranks nothing: "
                "see where the features or logits stop being finite"
            )


def _check_labels(labels: Integers, classes: int) -> None:
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise Failure(f"labels are integers [n], the number of each example's class: not {_shape(labels)}")
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise Failure(
            f"example {listed(wrong)} is of class {labels[wrong[0]]}, and there are {classes} classes, from 0: "
            "give scores for every class"
        )


def _check_classes(empty: Booleans, classes: Sequence[str] | None, what: str) -> None:
    """Failure with the names of the classes that are empty, which `what` says more of."""
    if classes is not None and len(classes) != len(empty):
        raise Failure(f"{len(classes)} names for {len(empty)} classes: give each its own")
    names = [str(c) if classes is None else classes[c] for c in np.flatnonzero(empty).tolist()]
    if names:
        raise Failure(f"classes {listed(names)} {what}")


def _shape(*arrays: npt.NDArray[Any]) -> str:
    return " and ".join(f"{array.dtype} {list(array.shape)}" for array in arrays)
