"""People and a model on the same pictures (section 4.4; Table 2 and Figure 16).

In the paper five people each named the breed of the 3,669 test pictures of Oxford-IIIT Pets, with "I don't know" as an
answer, after no, one or two example pictures a breed: one file of answers for each of the three. Accuracies are shares
from 0 to 1, as a mean over classes: the share of right answers to a class's pictures, averaged over the classes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from core.errors import Failure, UsageError
from evaluation.annotations import as_path, fold_all, folded, near, read_rows, refuse
from evaluation.labels import MISSING
from evaluation.wording import listed

COLUMNS = {
    "person": (
        *("person", "annotator", "annotator_id", "worker", "worker_id", "user", "user_id", "rater", "rater_id"),
        *("participant", "participant_id", "subject", "subject_id"),
    ),
    "image": ("image", "image_id", "file", "filename", "path", "picture", "key"),
    # "class" is none: it may be the right one. "label" is what tools for annotation write.
    "answer": ("answer", "label", "response", "choice", "annotation", "guess", "prediction", "predicted"),
}
# Where no class is called so. Others, a question mark or "n/a", are refused: they may also mean that nothing was asked.
DONT_KNOW = frozenset(
    (
        *("i don't know", "i dont know", "i do not know", "don't know", "dont know", "do not know", "dunno", "idk"),
        *("i'm not sure", "i am not sure", "not sure", "unsure", "unknown", "no idea", "can't tell", "cannot tell"),
    )
)


_NOBODY = {word.casefold() for word in MISSING} | {"na"}  # what pandas, Excel and R write for a gap


@dataclass(frozen=True)
class Answer:
    """What a person said of a picture: a class, or None for "I don't know"."""

    person: str
    image: str
    said: str | None


def read_answers(path: str, truth: Mapping[str, str]) -> list[Answer]:
    """The answers of a file (CSV, TSV or JSON lines: person, image, answer) on the pictures of `truth`, which says the
    class of each.

    Classes are compared without capitals, and "_" is a space. Failure names the lines of unknown pictures, unknown
    answers, empty cells, persons spelled in two ways, and of a person who answered for a picture twice.
    """
    classes = fold_all(sorted(set(truth.values())), "the classes")
    images: dict[str, str] = {}
    for image in truth:
        if images.setdefault(_as_path(image), image) != image:
            raise UsageError(
                f"the set has the pictures {images[_as_path(image)]!r} and {image!r}, which differ in capitals, blanks "
                "or _ alone, and are not told apart in answers: rename one of them"
            )
    rows = read_rows(path, COLUMNS)
    persons: dict[str, tuple[str, int]] = {}
    asked: dict[tuple[str, str], int] = {}
    problems: list[tuple[int, str]] = []
    answers = []
    for row in rows:
        person, image, said = row.cells["person"], row.cells["image"], folded(row.cells["answer"])
        first, at = persons.setdefault(folded(person), (person, row.line))
        before = asked.setdefault((person, _as_path(image)), row.line)
        if person.casefold() in _NOBODY:
            problems.append((row.line, f"person is {person!r}, as programs write an empty cell"))
        if first != person:
            problems.append((row.line, f"{person!r} is {first!r} in line {at}"))
        if before != row.line:
            problems.append((row.line, f"{person} answered for {image} in line {before} already"))
        if _as_path(image) not in images:
            problems.append((row.line, f"no picture {image!r} in the set{near(image, images.values())}"))
        if said not in classes and not is_dont_know(said):
            problems.append((row.line, f"no class {row.cells['answer']!r}{near(said, classes.values())}"))
        answers.append(Answer(person, images.get(_as_path(image), image), classes.get(said)))
    refuse(path, problems, "correct these lines or take them out")
    return answers


def is_dont_know(answer: str) -> bool:
    """Whether an answer says that its person does not know: by any apostrophe, full stop at its end, or capitals."""
    return folded(answer).replace("’", "'").replace("`", "'").rstrip(".! ") in DONT_KNOW


def _as_path(image: str) -> str:
    return folded(as_path(image)) if image else image


@dataclass(frozen=True)
class Comparison:
    """A row of Table 2, and what stands behind it. None where nothing can be averaged.

    `accuracy`: "I don't know" is wrong. `majority`: of a picture's most frequent answer, "I don't know" among them;
    pictures where two answers are as frequent (`ties`) are left out. `on_guesses` and `majority_on_guesses`: the same
    without the answers "I don't know"; pictures that nobody guessed (`unguessed`) are left out.
    """

    accuracy: float | None
    majority: float | None
    on_guesses: float | None
    majority_on_guesses: float | None
    persons: int
    pictures: int
    answers: int
    unknown: int
    ties: int
    ties_on_guesses: int
    unguessed: int
    unseen: tuple[str, ...]  # classes of the set without any answer: not in the means


def compare(answers: Sequence[Answer], truth: Mapping[str, str]) -> Comparison:
    """Table 2 of a set of answers. `truth`: picture → class, all of the set, also those without an answer."""
    if not answers:
        raise Failure("there are no answers to compare: give at least one")
    guesses = [answer for answer in answers if answer.said is not None]
    voted, ties = _votes(answers)
    guessed, ties_on_guesses = _votes(guesses)
    seen = {answer.image for answer in answers}
    return Comparison(
        accuracy=_mean_per_class((truth[one.image], one.said == truth[one.image]) for one in answers),
        majority=_mean_per_class((truth[image], said == truth[image]) for image, said in voted.items()),
        on_guesses=_mean_per_class((truth[one.image], one.said == truth[one.image]) for one in guesses),
        majority_on_guesses=_mean_per_class((truth[image], said == truth[image]) for image, said in guessed.items()),
        persons=len({answer.person for answer in answers}),
        pictures=len(seen),
        answers=len(answers),
        unknown=len(answers) - len(guesses),
        ties=ties,
        ties_on_guesses=ties_on_guesses,
        unguessed=len(seen - {answer.image for answer in guesses}),
        unseen=tuple(sorted(set(truth.values()) - {truth[image] for image in seen})),
    )


def model_accuracy(right: Mapping[str, bool], truth: Mapping[str, str], answers: Sequence[Answer]) -> float | None:
    """The model's accuracy on the pictures that people answered for: mean over classes. `right`: of each picture."""
    seen = sorted({answer.image for answer in answers})
    missing = [image for image in seen if image not in right]
    if missing:
        raise Failure(
            f"the model has no answer for {len(missing)} pictures: {listed(missing)}; evaluate it on all of them"
        )
    return _mean_per_class((truth[image], right[image]) for image in seen)


def _votes(answers: Iterable[Answer]) -> tuple[dict[str, str | None], int]:
    """The most frequent answer of each picture, and the number of pictures without a single one."""
    of_image: dict[str, Counter[str | None]] = defaultdict(Counter)
    for answer in answers:
        of_image[answer.image][answer.said] += 1
    most = {image: [said for said, n in votes.items() if n == max(votes.values())] for image, votes in of_image.items()}
    return {image: said[0] for image, said in most.items() if len(said) == 1}, sum(len(s) > 1 for s in most.values())


def _mean_per_class(results: Iterable[tuple[str, bool]]) -> float | None:
    shares = _share_by_class(results)
    return float(np.mean([shares[name] for name in sorted(shares)])) if shares else None


def _share_by_class(results: Iterable[tuple[str, bool]]) -> dict[str, float]:
    of_class: dict[str, list[bool]] = defaultdict(list)
    for name, right in results:
        of_class[name].append(right)
    return {name: float(np.mean(found)) for name, found in of_class.items()}


@dataclass(frozen=True)
class Hardness:
    """A class of Figure 16: the model's mean probability of the correct class over the class's pictures, and the share
    of right answers of each group of people (None where they saw none of its pictures)."""

    name: str
    pictures: int
    model: float
    people: Mapping[str, float | None]


def hardness(
    probability: Mapping[str, float], truth: Mapping[str, str], groups: Mapping[str, Sequence[Answer]]
) -> list[Hardness]:
    """Figure 16: the classes from the hardest for the model to the easiest. `probability`: picture → what the model
    gives its correct class; `groups`: "zero-shot", "one-shot" … → answers."""
    missing = [image for image in truth if image not in probability]
    if missing:
        raise Failure(
            f"{len(missing)} pictures have no probability: {listed(missing)}; evaluate the model on all of them"
        )
    bad = [image for image in truth if not 0 <= probability[image] <= 1]
    if bad:
        raise UsageError(
            f"{bad[0]} has the probability {probability[bad[0]]}: give shares from 0 to 1, after a softmax"
        )
    of_class: dict[str, list[float]] = defaultdict(list)
    for image, name in truth.items():
        of_class[name].append(probability[image])
    people = {
        group: _share_by_class((truth[one.image], one.said == truth[one.image]) for one in answers)
        for group, answers in groups.items()
    }
    rows = [
        Hardness(name, len(found), float(np.mean(found)), {group: shares.get(name) for group, shares in people.items()})
        for name, found in of_class.items()
    ]
    return sorted(rows, key=lambda row: (row.model, row.name))


def agreement(rows: Sequence[Hardness], group: str) -> float | None:
    """Whether what is hard for the model is hard for people: Spearman's rank correlation over classes. None for fewer
    than three classes, or where all are equally hard."""
    pairs = [(row.model, share) for row in rows if (share := row.people[group]) is not None]
    if len(pairs) < 3 or any(len(set(side)) == 1 for side in zip(*pairs, strict=True)):
        return None
    return float(spearmanr(*zip(*pairs, strict=True)).statistic)
