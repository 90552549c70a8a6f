"""Batches from a pack: the order of the samples, their crops and captions are pure functions of the seed.

So a run resumes at any step without reading what came before, and neither the threads that decode nor the number of
ranks changes what is trained on. (Given the same numpy and Pillow, which draw and resize the crops.)
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from core import choice
from core.errors import Failure
from shards.format import Ids, id_at, key_of
from shards.order import Integers, Stream
from shards.reader import Damaged, Sample, Shards
from trainer.images import ImageError, decode, training_crop
from trainer.tokenizer import Tokenizer

J = TypeVar("J")
R = TypeVar("R")

CHUNK = 32  # examples that a thread decodes at a time
MOST_DAMAGED = 100  # damaged samples in a row, after which a run stops even if it may replace them

OnDamage = Literal["stop", "replace"]


@dataclass
class SkippedSamples:
    """Samples that could not be trained on, counted by reason, with a sentence about the first one of each reason."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, sentence: str) -> None:
        """Count a sample."""
        self.counts[reason] += 1
        self.first.setdefault(reason, sentence)

    def update(self, later: SkippedSamples) -> None:
        """Add those of a later batch."""
        self.counts.update(later.counts)
        self.first = {**later.first, **self.first}

    def take(self) -> SkippedSamples:
        """Return all of them and start anew at zero."""
        taken = SkippedSamples(self.counts, self.first)
        self.counts, self.first = Counter(), {}
        return taken

    @property
    def example(self) -> str:
        """A sentence about one of them."""
        return next(iter(self.first.values()), "")

    def __bool__(self) -> bool:
        return bool(self.counts)

    def __str__(self) -> str:
        """The count of each reason, the most frequent first: "3 broken_image, 1 shard_cut"."""
        reasons = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{n:,} {reason}" for reason, n in reasons)


@dataclass(frozen=True)
class Batch:
    """Row i of each: an image, a caption of it, and the number of their sample in the pack.

    `name(i)`: the sample of row i for a message, its key and its tar.
    `skipped`: of a pack the samples that were replaced in this batch, of a stream those that were skipped before it.
    The sum over the batches of all steps is the run's.
    """

    images: Tensor  # uint8 [b, size, size, 3]
    ids: Tensor  # int64 [b, context]
    samples: Integers  # int64 [b]
    skipped: SkippedSamples = field(default_factory=SkippedSamples)
    name: Callable[[int], str] = str


def split(ids: Ids, seed: int, holdout: float) -> tuple[Integers, Integers]:
    """The numbers of the samples to train on and of those held out: int64 [n], int64 [m], ascending.

    A sample's side is a hash of its id alone, so it does not change with what else is packed.
    """
    raw = ids.tobytes()
    ranks = choice.rank(seed, "holdout", "", (raw[at : at + 16] for at in range(0, len(raw), 16)))
    held_out = ranks / 2.0**64 < holdout  # what `choice.fraction` says, for all at once
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def captions(sample: Sample) -> list[str]:
    """All texts of a sample, its own first."""
    return [caption["text"] for caption in sample.meta["captions"]]


def picture(shards: Shards, number: int, sample: Sample) -> Image.Image:
    """The image of a sample. Damaged where it does not decode: the stage that stored it had decoded it."""
    try:
        return decode(sample.image)
    except ImageError as error:
        raise Damaged(
            error.reason,
            f"{sample.key}.{sample.ext} in {tar_of(shards, number)} does not decode ({error}): "
            "erase it from the pack, or fetch and pack again",
        ) from error


def tar_of(shards: Shards, number: int) -> str:
    """The path of the tar that holds a sample."""
    shard = shards.names[int(np.searchsorted(np.cumsum(shards.sizes), number, side="right"))]
    return f"{shards.folder}/{shard}.tar"


class Examples:
    """Training examples: the samples of a pack that are not held out, in the order of `shards.order`, without end.

    A damaged sample raises Failure, or is replaced by the sample at its row one step later, or two, …: a function of
    the order alone, and within an epoch never a sample that is in the batch already.
    """

    def __init__(
        self,
        shards: Shards,
        tokenizer: Tokenizer,
        image_size: int,
        context: int,
        seed: int,
        holdout: float,
        on_damage: OnDamage = "stop",
    ) -> None:
        self.shards, self._tokenizer = shards, tokenizer
        self._image_size, self._context = image_size, context
        self._seed, self._on_damage = seed, on_damage
        self.trained, self.held_out = split(shards.image_ids, seed, holdout)

    def batches(
        self, first: int, last: int, size: int, threads: int, rank: int = 0, world: int = 1
    ) -> Generator[Batch]:
        """One rank's share of the batches of the steps first to last - 1, made ahead by threads.

        Raises UsageError where the ranks do not divide the batch, and Failure where a sample is damaged and may not be
        replaced.
        """
        stream = Stream(len(self.trained), self._seed)
        share = size // world
        chunks = -(-share // CHUNK)  # of a batch

        def jobs() -> Iterator[tuple[Integers, Integers]]:
            for step in range(first, last):
                samples = self.trained[stream.batch(step, size, rank, world)]
                positions = np.arange(step * size + rank * share, step * size + (rank + 1) * share)
                for at in range(0, share, CHUNK):
                    yield samples[at : at + CHUNK], positions[at : at + CHUNK]

        def make(job: tuple[Integers, Integers]) -> tuple[npt.NDArray[np.uint8], Tensor, Integers, SkippedSamples]:
            return self._make(*job, size, stream)

        with closing(in_order(make, jobs(), threads, chunks + threads)) as made:
            while parts := list(itertools.islice(made, chunks)):
                images, ids, samples, skipped = zip(*parts, strict=True)
                numbers = np.concatenate(samples)
                name = partial(self._name, numbers)
                batch = Batch(torch.from_numpy(np.concatenate(images)), torch.cat(ids), numbers, name=name)
                for skipped_here in skipped:
                    batch.skipped.update(skipped_here)
                yield batch

    def _name(self, samples: Integers, row: int) -> str:
        number = int(samples[row])
        return f"{key_of(id_at(self.shards.image_ids, number))} in {tar_of(self.shards, number)}"

    def _make(
        self, samples: Integers, positions: Integers, size: int, stream: Stream
    ) -> tuple[npt.NDArray[np.uint8], Tensor, Integers, SkippedSamples]:
        """The examples of some samples, which stand at these positions of the stream; `size` positions are a step."""
        crops, texts, used, skipped = [], [], samples.copy(), SkippedSamples()
        for row, (number, position) in enumerate(zip(samples.tolist(), positions.tolist(), strict=True)):
            crop, text, used[row] = self._sound(number, position, size, stream, skipped)
            crops.append(crop)
            texts.append(text)
        return np.stack(crops), self._tokenizer.encode(texts, self._context), used, skipped

    def _sound(
        self, number: int, position: int, size: int, stream: Stream, skipped: SkippedSamples
    ) -> tuple[npt.NDArray[np.uint8], str, int]:
        """The example of a sample, or of the first sound one in its row of the steps behind, and its number."""
        damage: Damaged | None = None
        for _ in range(MOST_DAMAGED):
            try:
                crop, text = self._example(number, position // stream.n)
            except Damaged as error:
                if self._on_damage == "stop":
                    raise Failure(f'{error}; or set train.on_damage = "replace"') from error
                damage = damage or error
                position += size
                number = int(self.trained[stream.samples(np.array([position]))[0]])
                continue
            if damage:
                skipped.add(damage.reason, str(damage))
            return crop, text, number
        raise Failure(f"{self.shards.folder}: {MOST_DAMAGED} samples in a row are damaged; the first: {damage}")

    def _example(self, number: int, epoch: int) -> tuple[npt.NDArray[np.uint8], str]:
        """The crop and the caption of one sample in one epoch."""
        sample = self.shards.sample(number)
        image_id = bytes.fromhex(sample.key)
        texts = captions(sample)
        text = texts[self._draw("caption", epoch, image_id) % len(texts)]
        random = np.random.default_rng(self._draw("crop", epoch, image_id))
        return training_crop(picture(self.shards, number, sample), self._image_size, random), text

    def _draw(self, purpose: str, epoch: int, image_id: bytes) -> int:
        return int(choice.rank(self._seed, purpose, str(epoch), [image_id])[0])


def in_order(
    work: Callable[[J], R],
    jobs: Iterable[J],
    threads: int,
    ahead: int,
    at_error: Callable[[], None] = lambda: None,
) -> Generator[R]:
    """work(job) for each job, in their order, made by threads; at most `ahead` are begun and not yet taken.

    An error in a thread is raised here, as itself, when its turn comes. No thread is left when the iterator is closed.
    `at_error` is called before threads are waited for after an error, or a signal: it may end what they wait for.
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
    except GeneratorExit:
        raise
    except BaseException:
        at_error()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
