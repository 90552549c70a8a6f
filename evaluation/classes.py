"""Which class of an evaluation set a label found in the data means.

The same class is written in many ways: `apple_pie`, `Apple Pie`, a WordNet id, a country's code, a number. A label is
matched by its letters and digits alone, then by the names that the published data use, then by number where the order
of the classes is the data's own. What matches nothing, or two classes, is refused by name.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from core.errors import Failure
from evaluation.wording import listed

_SHOWN = 5  # labels that a message names
_NUMBER = re.compile(r"[0-9]{1,9}")
_JOINED = re.compile(r"[|;,]")
_WORDNET = re.compile(r"n[0-9]{8}")


def fold(label: str) -> str:
    """A label's letters and digits without case: what is left of `Apple_Pie`, `apple pie` and `apple-pie` is the same.

    A label of other characters only is itself.
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())
    kept = "".join(c for c in text if c.isalnum() or unicodedata.category(c).startswith("M"))
    return unicodedata.normalize("NFC", kept) or text.strip()


def match_classes(
    found: Sequence[str],
    names: Sequence[Sequence[str]],
    also: Sequence[Sequence[str]],
    numbers: bool,
    where: str,
    first_number: int | None = None,
) -> list[int]:
    """The class of each found label: int [len(found)], into `names`.

    `names`: the names of each class, at least one; `also`: other labels that data have for it; `numbers`: whether a
    label may be the number of its class, from 0 or from 1, or only from `first_number`; `where`: the data, for
    messages. Failure where a label means no class, or several, or two labels mean the same class.
    """
    folded = [{fold(name) for name in (*some, *others)} for some, others in zip(names, also, strict=True)]
    if len(found) == len(names) and all(some & set(_keys(label)) for label, some in zip(found, folded, strict=True)):
        return list(range(len(names)))  # in order: two classes may have one name, as ImageNet's sunglasses
    meant = _by_number(found, names, where, first_number) if numbers else None
    if meant is None:
        meant = _by_name(found, names, also, where)
    first: dict[int, str] = {}
    for label, number in zip(found, meant, strict=True):
        if number in first:
            raise Failure(
                f"{where} has two labels for the class {names[number][0]!r}, {first[number]!r} and {label!r}: make "
                "them one"
            )
        first[number] = label
    return meant


def of_ones_own(labels: Sequence[str], ids: Mapping[str, str], where: str) -> list[str]:
    """The word by which prompts call each class of a set of the user's own: its label with blanks for _.

    `ids`: WordNet ids → names, which stand for them. Failure where a label is an id without a name, or where two
    classes are called the same: prompts could not tell them apart.
    """
    if unnamed := [label for label in labels if _WORDNET.fullmatch(label) and label not in ids]:
        raise Failure(
            f"{where} has {len(unnamed)} classes that are WordNet ids and none of ImageNet's 1,000 "
            f"({listed(unnamed)}): rename them to names"
        )
    require_different([label for label in labels if label not in ids], where)
    return [ids.get(label) or _word(label) or label for label in labels]


def require_different(labels: Sequence[str], where: str) -> None:
    """Failure where two classes differ in capitals, blanks and _ only, which a text tower does not see."""
    first: dict[str, str] = {}
    for label in labels:
        key = _word(label).casefold()
        if key in first:
            raise Failure(
                f"{where} has two classes that prompts call the same, {first[key]!r} and {label!r}: make them one, or "
                "give each a name of its own"
            )
        first[key] = label


def require_single(labels: Iterable[str], where: str) -> None:
    """Failure where a label joins others, as tables have it where a picture has several classes: "cat|dog", "3 7"."""
    known = set(labels)
    for label in sorted(known):
        words = label.split()
        parts = words if all(map(_NUMBER.fullmatch, words)) else [part.strip() for part in _JOINED.split(label)]
        if len(parts) > 1 and known.issuperset(parts):
            raise Failure(
                f"{where} has the label {label!r} beside {listed(map(repr, parts))}: where a picture has several "
                "classes, write metadata.jsonl, in which a label may be a list"
            )


def _word(label: str) -> str:
    return " ".join(label.replace("_", " ").split())


def _keys(label: str) -> list[str]:
    """What a label is looked up by: itself, then what stands before its first comma ("tench, Tinca tinca")."""
    return [fold(label), fold(label.partition(",")[0])] if "," in label else [fold(label)]


def _by_number(
    found: Sequence[str], names: Sequence[Sequence[str]], where: str, first_number: int | None
) -> list[int] | None:
    """Labels that are all numbers: from 0 if one is 0, from 1 if one is the number of classes; None: other labels."""
    if (
        not found
        or not all(_NUMBER.fullmatch(label) for label in found)
        or any(_NUMBER.fullmatch(name[0]) for name in names)
    ):
        return None
    numbers = [int(label) for label in found]
    if min(numbers) == 0 or max(numbers) == len(names):
        base = min(min(numbers), 1)
        if first_number is not None and base != first_number:
            raise Failure(
                f"{where} has labels from {min(numbers)} to {max(numbers)}: numbers from {base} are in several orders "
                f"around; give WordNet ids or names, or numbers from {first_number}, in the order of the names"
            )
        if max(numbers) < len(names) + base:
            return [number - base for number in numbers]
    if max(numbers) >= len(names):
        raise Failure(
            f"{where} has labels from {min(numbers)} to {max(numbers)}, and the set {len(names)} classes: give labels "
            f"from 0 to {len(names) - 1}, or names of classes"
        )
    raise Failure(
        f"{where} has labels from {min(numbers)} to {max(numbers)}, which may count from 0 or from 1: give names of "
        "classes, or a list of all labels"
    )


def _by_name(
    found: Sequence[str], names: Sequence[Sequence[str]], also: Sequence[Sequence[str]], where: str
) -> list[int]:
    by_name, by_other = _index(names), _index(also)
    possible = [
        next((some for key in _keys(label) if (some := by_name.get(key) or by_other.get(key))), set())
        for label in found
    ]
    unknown = [label for label, some in zip(found, possible, strict=True) if not some]
    if unknown:
        raise Failure(_strange(unknown, found, names, where))
    possible = _in_order(possible)
    for label, some in zip(found, possible, strict=True):
        if len(some) > 1:
            numbers = " and ".join(map(str, sorted(some)))
            raise Failure(f"{where} has the label {label!r}, a name of the classes {numbers}: give ids or numbers")
    return [min(some) for some in possible]


def _in_order(possible: Sequence[set[int]]) -> list[set[int]]:
    """The same; where the labels are in the order of the classes, less what would break it.

    CLIP_benchmark lists 200 names for ImageNet-R, one of which, "missile", is that of two classes.
    """
    certain = [min(some) for some in possible if len(some) == 1]
    if len(certain) < 2 or certain != sorted(certain):
        return list(possible)
    narrowed = list(possible)
    for at, some in enumerate(possible):
        if len(some) > 1:
            before = max((min(other) for other in possible[:at] if len(other) == 1), default=-1)
            after = min((min(other) for other in possible[at + 1 :] if len(other) == 1), default=max(some) + 1)
            narrowed[at] = {one for one in some if before < one < after} or some
    return narrowed


def _index(names: Sequence[Sequence[str]]) -> dict[str, set[int]]:
    """Folded names → the classes that have it."""
    classes: dict[str, set[int]] = defaultdict(set)
    for number, some in enumerate(names):
        for name in some:
            classes[fold(name)].add(number)
    return dict(classes)


def _strange(unknown: Sequence[str], found: Sequence[str], names: Sequence[Sequence[str]], where: str) -> str:
    """What to say of labels that mean no class: each with the name that is nearest."""
    known = {fold(name): name for some in names for name in some}
    shown = []
    for label in unknown[:_SHOWN]:
        near = difflib.get_close_matches(fold(label), list(known), n=1, cutoff=0.7)
        shown.append(f"{label!r} ({known[near[0]]!r}?)" if near else repr(label))
    more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
    return (
        f"{where} has labels that are no class of the set, {len(unknown)} of {len(found)}: {', '.join(shown)}{more}; "
        f"rename them to classes of the set ({names[0][0]!r}, …), or take them out"
    )
