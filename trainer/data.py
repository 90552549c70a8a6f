"""Batches out of a pack folder: which sample stands where, its crop and its caption are pure functions of the seed.

So a run resumes at any step without reading what came before, and neither the threads that decode nor the ranks that
share a batch change what is trained on. (The same numpy and Pillow taken for granted: they draw and resize the crops.)
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from core import choice
from core.errors import Failure
from shards.format import Ids
from shards.order import Integers, Stream
from shards.reader import Sample, Shards
from trainer.images import ImageError, decode, training_crop
from trainer.tokenizer import Tokenizer

J = TypeVar("J")
R = TypeVar("R")

_CHUNK = 32  # examples that a thread makes at a time


@dataclass(frozen=True)
class Batch:
    """Row i of each: an image, a caption of it, and the number of their sample in the pack."""

    images: Tensor  # uint8 [b, size, size, 3]
    ids: Tensor  # int64 [b, context]
    samples: Integers  # int64 [b]


def split(ids: Ids, seed: int, holdout: float) -> tuple[Integers, Integers]:
    """The numbers of the samples to train on and of those held out: int64 [n], int64 [m], ascending.

    A hash of its id alone decides on a sample, so it stays on its side whatever else is packed.
    """
    raw = ids.tobytes()
    ranks = choice.rank(seed, "holdout", "", (raw[at : at + 16] for at in range(0, len(raw), 16)))
    held_out = ranks / 2.0**64 < holdout  # what `choice.fraction` says, for all at once
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def captions(sample: Sample) -> list[str]:
    """All texts of a sample, its own first."""
    return [caption["text"] for caption in sample.meta["captions"]]


def picture(shards: Shards, number: int, sample: Sample) -> Image.Image:
    """The image of a sample. Failure where it does not decode: the stage that stored it had decoded it."""
    try:
        return decode(sample.image)
    except ImageError as error:
        shard = shards.names[int(np.searchsorted(np.cumsum(shards.sizes), number, side="right"))]
        raise Failure(
            f"{sample.key}.{sample.ext} in {shards.folder}/{shard}.tar does not decode ({error}): "
            "erase it from the pack, or fetch and pack again"
        ) from error


class Examples:
    """What a run trains on: the samples of a pack that are not held out, as the endless stream of `shards.order`."""

    def __init__(
        self, shards: Shards, tokenizer: Tokenizer, image_size: int, context: int, seed: int, holdout: float
    ) -> None:
        self._shards, self._tokenizer = shards, tokenizer
        self._image_size, self._context = image_size, context
        self._seed = seed
        self.trained, self.held_out = split(shards.image_ids, seed, holdout)

    def batches(
        self, first: int, last: int, size: int, threads: int, rank: int = 0, world: int = 1
    ) -> Generator[Batch]:
        """One rank's share of the batches of the steps first to last - 1, made ahead by threads.

        Raises UsageError where the ranks do not divide the batch, and Failure where a sample is damaged.
        """
        stream = Stream(len(self.trained), self._seed)
        share = size // world
        chunks = -(-share // _CHUNK)  # of a batch

        def jobs() -> Iterator[tuple[Integers, Integers]]:
            for step in range(first, last):
                samples = self.trained[stream.batch(step, size, rank, world)]
                epochs = np.arange(step * size + rank * share, step * size + (rank + 1) * share) // stream.n
                for at in range(0, share, _CHUNK):
                    yield samples[at : at + _CHUNK], epochs[at : at + _CHUNK]

        with closing(in_order(self._make, jobs(), threads, chunks + threads)) as made:
            while parts := list(itertools.islice(made, chunks)):
                images, ids, samples = zip(*parts, strict=True)
                yield Batch(torch.from_numpy(np.concatenate(images)), torch.cat(ids), np.concatenate(samples))

    def _make(self, job: tuple[Integers, Integers]) -> tuple[npt.NDArray[np.uint8], Tensor, Integers]:
        """The examples of some samples, each in its epoch."""
        samples, epochs = job
        places = zip(samples.tolist(), epochs.tolist(), strict=True)
        crops, texts = zip(*(self._example(number, epoch) for number, epoch in places), strict=True)
        return np.stack(crops), self._tokenizer.encode(texts, self._context), samples

    def _example(self, number: int, epoch: int) -> tuple[npt.NDArray[np.uint8], str]:
        """The crop and the caption of one sample in one epoch."""
        sample = self._shards.sample(number)
        image_id = bytes.fromhex(sample.key)
        texts = captions(sample)
        text = texts[self._draw("caption", epoch, image_id) % len(texts)]
        random = np.random.default_rng(self._draw("crop", epoch, image_id))
        return training_crop(picture(self._shards, number, sample), self._image_size, random), text

    def _draw(self, purpose: str, epoch: int, image_id: bytes) -> int:
        return int(choice.rank(self._seed, purpose, str(epoch), [image_id])[0])


def in_order(work: Callable[[J], R], jobs: Iterable[J], threads: int, ahead: int) -> Generator[R]:
    """work(job) for each job, in their order, made by threads; at most `ahead` are begun and not yet taken.

    An error in a thread is raised here, as itself, when its turn comes. No thread is left when the iterator is closed.
    """
    pool = ThreadPoolExecutor(threads)
    begun: deque[Future[R]] = deque()
    try:
        for job in jobs:
            begun.append(pool.submit(work, job))
            if len(begun) >= ahead:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
