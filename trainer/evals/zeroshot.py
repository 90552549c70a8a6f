"""Zero-shot classification (paper, section 3.1): the names of the classes, put into sentences, are the classifier."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from shards.errors import Failure
from shards.files import read_bytes, tar_members
from shards.tables import declare
from trainer.data import in_order
from trainer.evals.features import Encoder
from trainer.evals.intervals import share
from trainer.images import ImageError, decode, evaluation_crop
from trainer.model import unit
from trainer.progress import Watch

EXAMPLE = declare(
    "zeroshot_example",
    1,
    {
        "key": (pa.string(), "the picture's name in its tar; sorted by it"),
        "label": (pa.string(), "its class"),
        "predicted": (pa.string(), "the class whose text is nearest"),
        "rank": (pa.int32(), "of its class among all, from 1; a class just as near counts as nearer"),
        "correct": (pa.bool_(), "rank = 1"),
        "score": (pa.float32(), "probability of the predicted class: softmax of scale x cosine"),
    },
)

MAX_BYTES = 64 << 20  # of one picture
TOP = (1, 5)


@dataclass(frozen=True)
class Predictions:
    """A row of EXAMPLE for each labelled picture, the rows of results, and how many pictures had no label."""

    examples: pa.Table
    results: list[dict[str, Any]]
    unlabelled: int


def evaluate(encoder: Encoder, pictures: str, labels: str, templates: Sequence[str], threads: int) -> Predictions:
    """Classify the pictures of a tar by a file of lines "name<TAB>label". Failure where they do not fit together."""
    label_of = read_labels(labels)
    classes = sorted(set(label_of.values()))
    classifier = ensemble(encoder.texts([t.replace("{}", c) for c in classes for t in templates]), len(classes))
    names: list[str] = []
    unlabelled = 0

    def labelled() -> Iterator[tuple[str, bytes]]:
        nonlocal unlabelled
        for name, data in tar_members(pictures, MAX_BYTES):
            if name in label_of:
                yield name, data
            else:
                unlabelled += 1

    def crops() -> Iterator[npt.NDArray[np.uint8]]:
        with Watch("eval", "pictures", len(label_of)) as watch:
            for name, crop in in_order(
                lambda some: _crop(*some, pictures, encoder.image_size), labelled(), threads, 64
            ):
                names.append(name)
                watch.at(len(names))
                yield crop

    features = encoder.images(crops())
    _check_complete(names, label_of, pictures, labels)
    examples = _examples(names, [label_of[name] for name in names], classes, encoder.scale * features @ classifier.T)
    ranks = examples["rank"].to_numpy()
    results = [
        share("zero-shot", f"top-{k}", int((ranks <= k).sum()), len(ranks), min(1.0, k / len(classes))) for k in TOP
    ]
    return Predictions(examples, results, unlabelled)


def ensemble(texts: Tensor, classes: int) -> Tensor:
    """The classifier, unit [classes, e]: the mean over a class's sentences, unit [classes * sentences, e], by class.

    Averaged as features, not as probabilities, so that many sentences cost no more than one (section 3.1.4).
    """
    return unit(texts.view(classes, -1, texts.shape[1]).mean(dim=1))


def _examples(names: Sequence[str], labels: Sequence[str], classes: Sequence[str], logits: Tensor) -> pa.Table:
    """Rows of EXAMPLE for logits [n, classes]."""
    number = {name: i for i, name in enumerate(classes)}
    own = logits[torch.arange(len(names)), torch.tensor([number[label] for label in labels])]
    rank = (~(logits < own[:, None])).sum(dim=1)  # not smaller: equal ones count, its own too, and what is no number
    score, predicted = logits.softmax(dim=1).max(dim=1)
    columns = {
        "key": names,
        "label": labels,
        "predicted": [classes[i] for i in predicted.tolist()],
        "rank": rank.tolist(),
        "correct": (rank == 1).tolist(),
        "score": score.tolist(),
    }
    return pa.table(columns, schema=EXAMPLE).sort_by("key")


# ── pictures and labels ───────────────────────────────────────────────────────────────────────────


def read_labels(path: str) -> dict[str, str]:
    """Names of pictures → labels, of lines "name<TAB>label". Failure names the line that is none."""
    try:
        lines = [line.decode() for line in read_bytes(path).splitlines()]
    except UnicodeDecodeError as error:
        raise Failure(f"{path} is not UTF-8 ({error}): convert it") from None
    labels: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        name, tab, label = line.partition("\t")
        if not name or not tab or not label:
            raise Failure(f"{path}, line {number} is not a name, a tab and a label: correct it")
        if name in labels:
            raise Failure(f"{path}, line {number} labels {name} a second time: remove one of the lines")
        labels[name] = label
    if not labels:
        raise Failure(f"{path} holds no labels: give a file of lines of a name, a tab and a label")
    return labels


def _crop(name: str, data: bytes, path: str, size: int) -> tuple[str, npt.NDArray[np.uint8]]:
    try:
        return name, evaluation_crop(decode(data), size)
    except ImageError as error:
        raise Failure(f"{name} in {path} does not decode ({error}): restore it, or take its line out") from error


def _check_complete(names: Sequence[str], label_of: Mapping[str, str], pictures: str, labels: str) -> None:
    """A tar that was cut short ends like any other: only its labels tell."""
    if len(names) > len(set(names)):
        raise Failure(f"{pictures} holds {len(names) - len(set(names))} pictures twice: remove one of each")
    missing = sorted(label_of.keys() - set(names))
    if missing:
        raise Failure(
            f"{pictures} lacks {len(missing)} of the {len(label_of)} pictures that {labels} names, {missing[0]} for "
            "one: restore it, or take their lines out"
        )
