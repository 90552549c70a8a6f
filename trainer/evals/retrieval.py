"""Retrieval among samples that were never trained on: the caption of an image, and the image of a caption."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from scipy.stats import hypergeom
from torch import Tensor

from core import choice
from core.progress import Progress
from core.tables import declare
from evaluation.intervals import share
from shards.format import id_at
from shards.order import Integers
from shards.reader import Shards
from trainer.data import captions, in_order, picture
from trainer.evals.encoder import AHEAD, Encoder
from trainer.images import evaluation_crop

EXAMPLE = declare(
    "retrieval_example",
    1,
    {
        "direction": (pa.string(), "image-to-text | text-to-image"),
        "key": (pa.string(), "image_id of the query's sample, hex"),
        "caption": (pa.int32(), "number of the caption that is the query, from 0; null where the image is | null"),
        "rank": (pa.int32(), "of the best right answer, from 1; a wrong one just as near counts as nearer"),
        "candidates": (pa.int32(), "texts or images it was found among"),
    },
)

POOL = 5_000  # images at the most, as many as COCO's test set: recall falls as the pool grows
TOP = (1, 5, 10)
_ROWS = 256  # of the matrix of similarities, at once


def evaluate(
    encoder: Encoder, shards: Shards, held_out: Integers, seed: int, threads: int
) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Rows of EXAMPLE and of results for the held-out samples (one at the least), a fixed choice of POOL of them.

    All captions of an image are right answers for it; the same text at another image is a wrong one, as on the
    published benchmarks. The intervals take queries for independent, which the captions of one image are not quite.
    """
    chosen = choose(shards, held_out, seed)
    keys: list[str] = []
    texts: list[list[str]] = []

    def load(number: int) -> tuple[str, list[str], npt.NDArray[np.uint8]]:
        sample = shards.sample(number)
        return sample.key, captions(sample), evaluation_crop(picture(shards, number, sample), encoder.image_size)

    def crops() -> Iterator[npt.NDArray[np.uint8]]:
        with Progress("eval", "held-out images", len(chosen), to="stdout") as progress:
            for key, of_image, crop in in_order(load, chosen, threads, AHEAD):
                keys.append(key)
                texts.append(of_image)
                progress.at(len(keys))
                yield crop

    images = encoder.images(crops())
    text_features = encoder.texts([text for of_image in texts for text in of_image])
    image_number = torch.arange(len(keys))
    owner = image_number.repeat_interleave(torch.tensor([len(of_image) for of_image in texts]))
    tables, results = [], []
    for direction, queries, candidates, asked, offered in (
        ("image-to-text", images, text_features, image_number, owner),
        ("text-to-image", text_features, images, owner, image_number),
    ):
        found = ranks(queries, candidates, asked, offered)
        right = torch.bincount(offered, minlength=len(keys))[asked].numpy()  # right answers of each query
        for k in TOP:
            hits = int((found <= k).sum())
            results.append(share(direction, f"recall@{k}", hits, len(found), chance(k, len(offered), right)))
        columns = {
            "direction": [direction] * len(found),
            "key": [keys[i] for i in asked.tolist()],
            "caption": _caption_numbers(texts) if direction == "text-to-image" else [None] * len(found),
            "rank": found.tolist(),
            "candidates": [len(offered)] * len(found),
        }
        tables.append(pa.table(columns, schema=EXAMPLE))
    return pa.concat_tables(tables), results


def choose(shards: Shards, held_out: Integers, seed: int) -> list[int]:
    """The held-out samples that are asked for, ascending: POOL by smallest hash where there are more."""
    order = choice.rank(seed, "retrieval", "", (id_at(shards.image_ids, i) for i in held_out)).argsort(kind="stable")
    return sorted(held_out[order[:POOL]].tolist())


def ranks(queries: Tensor, candidates: Tensor, asked: Tensor, offered: Tensor) -> Tensor:
    """The rank of each query's best right answer, from 1: int64 [q], for unit features [q, e] and [n, e].

    Candidate j answers query i when offered[j] = asked[i]. A wrong candidate that is not farther counts as nearer: a
    model that maps everything onto one point finds nothing.
    """
    found = []
    for at in range(0, len(queries), _ROWS):
        similar = queries[at : at + _ROWS] @ candidates.T
        right = asked[at : at + _ROWS, None] == offered[None, :]
        best = similar.masked_fill(~right, -torch.inf).amax(dim=1, keepdim=True)
        found.append(1 + (~right & ~(similar < best)).sum(dim=1))
    return torch.cat(found)


def chance(k: int, candidates: int, right: npt.NDArray[np.int64]) -> float:
    """What guessing gets: the share of queries with one of their `right` answers among k drawn of all candidates."""
    return float(np.mean(1 - hypergeom.pmf(0, candidates, right, min(k, candidates))))


def _caption_numbers(texts: list[list[str]]) -> list[int]:
    return [number for of_image in texts for number in range(len(of_image))]
