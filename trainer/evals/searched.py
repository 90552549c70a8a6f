"""Sets without classes: captions of pictures and pictures of captions (Table 13), places of pictures (Table 17)."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch

from core.errors import Failure
from core.files import digest
from evaluation import metrics
from evaluation.examples import Captioned
from trainer.evals import judged
from trainer.evals.context import ModelContext
from trainer.evals.encoder import Floats
from trainer.evals.eval_sets import EvalSet
from trainer.evals.kept import Made
from trainer.evals.retrieval import TOP, chance, ranks
from trainer.evals.tables import EXAMPLE, RESULT, Rows

RULES_VERSION = 3
SENTENCES = {"paper": "a photo of {}", "contextless": "{}", "clip_benchmark": "{}"}  # what a caption is put into

_ROWS = 1024  # of a matrix of similarities, at once


def captions(context: ModelContext, one: EvalSet) -> Rows:
    """Rows of results for retrieval in both directions, by each choice of prompts that there is for captions.

    All captions of a picture are right answers for it; the same text at another picture is a wrong one.
    """
    vectors, choices = context.vectors, context.config.prompts
    known = [choice for choice in choices if choice in SENTENCES]
    if not known:
        raise Failure(f"captions have no prompts {', '.join(choices)}: give one of {', '.join(SENTENCES)}")
    found = one.at.open_captions()
    context.remark(one.at.remarks(found))
    if left := [choice for choice in choices if choice not in known]:
        context.remark([f"{one.name}: captions have no prompts {', '.join(left)}: left out"])
    texts, owner = found.texts()
    images = vectors.pictures(one, "test", found, ("feature",))["feature"]
    rows: Rows = []
    for choice in known:
        sentences = [SENTENCES[choice].replace("{}", text) for text in texts]
        features = vectors.texts(f"{one.task}.{choice}", sentences)
        both = [context.asked(one.name, direction, choice) for direction in ("image-to-text", "text-to-image")]
        basis = digest(RULES_VERSION, vectors.basis(one, "test"), found.ids, sentences, owner.tolist())
        make = functools.partial(_search, both, found, images, features)
        made = context.kept.tables("retrieval", f"{one.task}.{choice}", basis, (RESULT, EXAMPLE), make)
        rows += made["result"].to_pylist()
    return rows


def _search(both: Sequence[judged.Asked], pictures: Captioned, images: Floats, texts: Floats) -> Made:
    """Results and examples of both directions."""
    found = [_direction(asked, pictures, images, texts) for asked in both]
    rows = [row for _, some in found for row in some]
    return Made([pa.Table.from_pylist(rows, schema=RESULT), pa.concat_tables([examples for examples, _ in found])])


def _direction(asked: judged.Asked, pictures: Captioned, images: Floats, texts: Floats) -> tuple[pa.Table, Rows]:
    """Examples and results of one direction: recall among all candidates of the set.

    images, texts: unit features, float32 [n, e] of the pictures, [captions, e] of all of their captions.
    """
    ids, (sentences, owner) = pictures.ids, pictures.texts()
    picture_number = np.arange(len(ids))
    if asked.method == "image-to-text":
        queries, candidates, wanted, offered = images, texts, picture_number, owner
        names, labels, answers = list(ids), [list(some) for some in pictures.captions], sentences
    else:
        queries, candidates, wanted, offered = texts, images, owner, picture_number
        names = [f"{name}#{n}" for name, some in zip(ids, pictures.captions, strict=True) for n in range(len(some))]
        labels, answers = [[ids[picture]] for picture in owner.tolist()], list(ids)
    found = ranks(*(torch.from_numpy(np.array(some)) for some in (queries, candidates, wanted, offered))).numpy()
    right = np.bincount(offered, minlength=len(ids))[wanted]
    rows = [asked.share(f"recall@{k}", found <= k, chance(k, len(offered), right)) for k in TOP if k < len(offered)]
    examples = judged.examples(
        asked, names, labels, lambda some: queries[some] @ candidates.T, answers, found, probabilities=False
    )
    return examples, rows


def places(context: ModelContext, one: EvalSet) -> Rows:
    """Rows of results for geolocation: where the nearest of the reference pictures was taken, by distance.

    The references are the set's train split: the paper has a million.
    """
    if "train" not in one.splits:
        raise Failure(
            f"{one.at.path} has no reference pictures: put pictures with metadata.csv (file_name, latitude, longitude) "
            f"into {one.at.path}/train, and those of the set into {one.at.path}/test"
        )
    test, references = one.at.open_places(), one.at.open_places(one.splits["train"])
    context.remark([*one.at.remarks(test), *one.at.left_out(references)])
    asked, vectors = context.asked(one.name, "nearest"), context.vectors
    images = vectors.pictures(one, "test", test, ("feature",))["feature"]
    others = vectors.pictures(one, "train", references, ("feature",))["feature"]
    context.remark(vectors.in_several_splits(one))

    def make() -> Made:
        nearest = np.concatenate(
            [np.argmax(images[at : at + _ROWS] @ others.T, axis=1) for at in range(0, len(images), _ROWS)]
        )
        distances = metrics.haversine_km(test.places, references.places[nearest])
        rows = [asked.share(f"within {radius} km", distances <= radius, None) for radius in metrics.RADII_KM]
        labels = [[f"{latitude:.6f}, {longitude:.6f}"] for latitude, longitude in test.places.tolist()]
        examples = judged.examples(
            asked,
            test.ids,
            labels,
            lambda some: images[some] @ others.T,
            references.ids,
            None,
            probabilities=False,
        )
        return Made([pa.Table.from_pylist(rows, schema=RESULT), examples])

    where = digest(test.places.tolist(), references.places.tolist())
    basis = digest(RULES_VERSION, vectors.basis(one, "test", "train"), where)
    made = context.kept.tables("geolocation", one.task, basis, (RESULT, EXAMPLE), make)
    rows: Rows = made["result"].to_pylist()
    return rows
