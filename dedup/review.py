"""A person's judgement of an evaluation set's candidates, as the contact sheet saves it: one JSON file a set.

    {"format": "openwit leak review 1", "detector": "ph256", "set": "birdsnap", "pictures": "<digest of the set>",
     "threshold": 44, "reviewer": "…", "date": "2026-11-29",
     "verdicts": [{"key": "a/7.jpg", "image_id": "<32 hex>", "verdict": "same"}]}

A verdict ("same" or "different") decides about its pair; the threshold, in differing bits of 256, about all others.
"""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

from core.errors import Failure, UsageError
from core.files import read_bytes
from dedup.scan import MAX_BOUND

FORMAT = "openwit leak review 1"


class _Verdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: Annotated[str, msgspec.Meta(min_length=1)]
    image_id: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$")]
    verdict: Literal["same", "different"]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    detector: str
    set: str
    pictures: str
    threshold: Annotated[int, msgspec.Meta(ge=0, le=MAX_BOUND)]
    reviewer: Annotated[str, msgspec.Meta(pattern=r"\S")]
    date: datetime.date
    verdicts: list[_Verdict]


@dataclass(frozen=True)
class Review:
    """What a person decided about one set."""

    path: str
    set: str
    pictures: str  # digest of the pictures that were judged
    threshold: int  # differing bits of 256 up to which a candidate without a verdict counts
    reviewer: str
    date: str
    verdicts: dict[tuple[str, bytes], str]  # (key, image_id) → same | different


def read_review(path: str, detector: str) -> Review:
    """A saved review. Failure names the file and what is wrong in it; UsageError where it is not there."""
    try:
        text = read_bytes(path).decode("utf-8-sig")
        said = json.loads(text, object_pairs_hook=_once)
    except (FileNotFoundError, IsADirectoryError):
        raise UsageError(f"there is no review {path}: give the file that the contact sheet saved") from None
    except ValueError as error:
        raise Failure(f"{path} is no review ({error}): save it again from the contact sheet") from None
    format_ = said.get("format") if isinstance(said, dict) else None
    if format_ != FORMAT:
        raise Failure(f"{path} is of the format {format_!r}, not {FORMAT!r}: judge on a sheet of this openwit")
    try:
        found = msgspec.convert(said, _File)
    except msgspec.ValidationError as error:
        raise Failure(f"{path}: {error}: save it again from the contact sheet") from None
    if found.detector != detector:
        raise Failure(f"{path} judges candidates of the detector {found.detector!r}, not {detector!r}: give that one's")
    verdicts: dict[tuple[str, bytes], str] = {}
    for one in found.verdicts:
        pair = one.key, bytes.fromhex(one.image_id)
        if pair in verdicts:
            raise Failure(f"{path} judges {one.key} and {one.image_id} twice: leave one of the verdicts")
        verdicts[pair] = one.verdict
    return Review(path, found.set, found.pictures, found.threshold, found.reviewer, found.date.isoformat(), verdicts)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a file that somebody may have edited: of two values of one key the last would count."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, n in Counter(name for name, _ in pairs).items() if n > 1)
        raise ValueError(f"{twice!r} stands in it twice")
    return found


def by_set(reviews: Sequence[Review], digests: dict[str, str]) -> dict[str, Review]:
    """The review of each set, by the digests of their pictures. Failure where one is of another set or version."""
    found: dict[str, Review] = {}
    for review in reviews:
        if review.set not in digests:
            raise Failure(
                f"{review.path} is of the evaluation set {review.set!r}, and asked about are "
                f"{', '.join(sorted(digests))}: give its pictures as --pictures {review.set}=PATH, or leave it out"
            )
        if review.pictures != digests[review.set]:
            raise Failure(
                f"{review.path} judges other pictures than those of {review.set} now (digest {review.pictures[:12]}, "
                f"now {digests[review.set][:12]}): judge these on a new sheet (openwit sheet)"
            )
        if review.set in found:
            raise Failure(f"{found[review.set].path} and {review.path} both judge {review.set}: give one of them")
        found[review.set] = review
    return found
