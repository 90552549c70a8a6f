"""Zero-shot classification (paper, section 3.1): the names of the classes, put into sentences, are the classifier."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from core.errors import Failure
from core.progress import Progress
from core.tables import declare
from core.tars import tar_members
from evaluation.intervals import share
from evaluation.labels import read
from trainer.data import in_order
from trainer.evals.encoder import AHEAD, Encoder
from trainer.images import ImageError, decode, evaluation_crop
from trainer.model import unit

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
    """A row of EXAMPLE for each labelled picture, the rows of results, and how many files had no label."""

    examples: pa.Table
    results: list[dict[str, Any]]
    unlabelled: int


def evaluate(encoder: Encoder, pictures: str, labels: str, templates: Sequence[str], threads: int) -> Predictions:
    """Classify the labelled pictures of a tar (evaluation/labels.py). Failure where the two do not fit together."""
    labelled = read(pictures, labels)
    label_of, classes = labelled.label_of, labelled.classes
    classifier = ensemble(encoder.texts([t.replace("{}", c) for c in classes for t in templates]), len(classes))
    names: list[str] = []

    def crops() -> Iterator[npt.NDArray[np.uint8]]:
        files = tar_members(pictures, MAX_BYTES, label_of.__contains__)
        bodies = ((name, body) for name, body in files if name in label_of)
        with Progress("eval", "pictures", len(label_of), to="stdout") as progress:
            for name, crop in in_order(lambda some: _crop(*some, pictures, encoder.image_size), bodies, threads, AHEAD):
                names.append(name)
                progress.at(len(names))
                yield crop

    features = encoder.images(crops())
    examples = _examples(names, [label_of[name] for name in names], classes, encoder.scale * features @ classifier.T)
    ranks = examples["rank"].to_numpy()
    results = [
        share("zero-shot", f"top-{k}", int((ranks <= k).sum()), len(ranks), min(1.0, k / len(classes))) for k in TOP
    ]
    return Predictions(examples, results, labelled.unlabelled)


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


def _crop(name: str, data: bytes, path: str, size: int) -> tuple[str, npt.NDArray[np.uint8]]:
    try:
        return name, evaluation_crop(decode(data), size)
    except ImageError as error:
        raise Failure(f"{name} in {path} does not decode ({error}): restore it, or take its line out") from error
