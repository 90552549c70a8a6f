"""Batches from WebDataset tars of other tools (img2dataset, DataComp, open_clip's users), like those of a pack.

Such tars have no index, so they are streamed: shards in an order by hash, several of them read at a time, their samples
shuffled in webdataset's buffer and decoded by threads. `Streams.limitations` says what a stream cannot guarantee.

A pass reads all shards once, in an order of its own. In that order shards are assigned to the ranks, round robin over
the passes, and a rank's shards to its readers. So neither uneven shards nor fewer shards than ranks block a rank: one
without a shard in this pass has one in the next. The shuffle buffer is emptied at the end of a pass: otherwise a small
data set would be in a batch several times.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import webdataset
import xxhash
from torch import Tensor

from core import choice
from core.errors import Failure, UsageError
from core.files import digest, file_size, is_local
from pictures.drawing import is_drawing
from trainer.data import CHUNK, MOST_DAMAGED, Batch, OnDamage, SkippedSamples, in_order
from trainer.images import ImageError, decode, training_crop
from trainer.sources import PIPE, WEB, name_of
from trainer.tars import CAPTIONS, IMAGES, Members, RawSample, Skipped, samples_of
from trainer.tokenizer import Tokenizer

SHUFFLE = 5_000  # samples in the shuffle buffer of a rank: 500 MB at 100 KB each
READERS = 4  # shards that a rank reads at a time
_AHEAD = 16  # samples that a reader reads at a time; up to three times as many are buffered


Read = tuple[RawSample, str]  # a sample, and a name of the pass that it was read in
Example = tuple[npt.NDArray[np.uint8], Tensor, int, str, str]  # a row of a batch: crop, ids, number, name and pass


class Streams:
    """Training examples: all samples of some shards, without end. None is held out.

    `images`, `captions`: see `tars.Members`. Batches are a function of the shards, the seed, the step that they begin
    at, the ranks, `shuffle` and `readers`, and not of threads.
    """

    def __init__(
        self,
        shards: Sequence[str],
        tokenizer: Tokenizer,
        image_size: int,
        context: int,
        seed: int,
        on_damage: OnDamage = "stop",
        *,
        images: Sequence[str] = IMAGES,
        captions: Sequence[str] = CAPTIONS,
        shuffle: int = SHUFFLE,
        readers: int = READERS,
    ) -> None:
        self._shards, self._tokenizer = list(shards), tokenizer
        self._image_size, self._context = image_size, context
        self._seed, self._on_damage = seed, on_damage
        self._members = Members.named(images, captions)
        self._shuffle, self._readers = shuffle, readers

    def limitations(self) -> str:
        """What a stream cannot guarantee and a pack does, in a sentence."""
        commands = sum(shard.startswith(PIPE) for shard in self._shards)
        shell = f", {commands:,} of them by commands of the recipe in a shell" if commands else ""
        return (
            f"{len(self._shards):,} shards are read as streams{shell}: a sample may come more or less than once an "
            "epoch, a run that goes on after a stop draws a new order, another number of ranks gets other batches, and "
            "nothing is held out; a pack gives all of that"
        )

    def batches(
        self, first: int, last: int, size: int, threads: int, rank: int = 0, world: int = 1
    ) -> Generator[Batch]:
        """One rank's share of the batches of the steps first to last - 1, made ahead by threads.

        The order is drawn by (seed, first): going on after a kill is a new pass, and always the same one.

        Raises UsageError where the ranks do not divide the batch, and Failure where a sample or a shard is damaged and
        may not be replaced, where none is sound, or where there are fewer than a batch has.
        """
        share, rest = divmod(size, world)
        if rest:
            raise UsageError(f"a batch of {size} cannot be shared by {world} ranks: give a batch size they divide")
        skipped, stop = SkippedSamples(), threading.Event()
        ahead = -(-share // CHUNK) + threads
        ready: deque[Example] = deque()
        with (
            closing(self._samples(first, rank, world, skipped, stop)) as samples,
            closing(in_order(self._make, _jobs(samples, skipped), threads, ahead)) as made,
        ):
            try:
                for step in range(first, last):
                    skipped_here = SkippedSamples()
                    self._fill(ready, share, made, skipped_here)
                    images, ids, numbers, names, passes = zip(*(ready.popleft() for _ in range(share)), strict=True)
                    begins_a_pass = step == first and world == 1
                    _require_enough(numbers, names, passes, size, 1 if begins_a_pass else 2)
                    which, name = np.array(numbers, dtype=np.int64), names.__getitem__
                    yield Batch(torch.from_numpy(np.stack(images)), torch.stack(ids), which, skipped_here, name)
            finally:
                stop.set()  # before closing the others, which waits for their threads

    def _fill(self, ready: deque[Example], share: int, made: Iterator[_Decoded], skipped_here: SkippedSamples) -> None:
        """Take examples that could be decoded until there are enough for a batch."""
        failed = 0  # samples in a row
        while len(ready) < share:
            examples, skipped, tried = next(made)
            skipped_here.update(skipped)
            ready.extend(examples)
            failed = 0 if examples else failed + tried
            if failed >= MOST_DAMAGED:
                raise Failure(
                    f"{failed:,} samples in a row are damaged ({skipped_here}); the first: {skipped_here.example}"
                )

    # ── reading ───────────────────────────────────────────────────────────────────────────────────

    def _samples(
        self, first: int, rank: int, world: int, skipped: SkippedSamples, stop: threading.Event
    ) -> Generator[Read]:
        """The samples of one rank, pass after pass, each with the name of its pass."""
        empty = 0  # shards since the last sample
        for number in itertools.count():
            scope = f"{first}.{number}"
            shards = self._shards_of_rank(scope, number, rank, world)
            generator = random.Random(f"{self._seed}.{scope}.{rank}")
            empty += len(shards)
            with closing(self._interleaved(shards, skipped, stop)) as interleaved:
                for raw in webdataset.shuffle(self._shuffle, initial=self._shuffle, rng=generator)(interleaved):
                    empty = 0
                    yield raw, scope
            if empty >= len(self._shards):
                raise Failure(
                    f"none of {len(self._shards):,} shards ({name_of(self._shards[0])} …) has a sample with a picture "
                    f"and a caption ({skipped or 'they are empty'}): give other shards, or say with train.image and "
                    "train.caption what theirs are called"
                )

    def _shards_of_rank(self, scope: str, number: int, rank: int, world: int) -> list[str]:
        """The shards of one rank in one pass; over all passes the ranks' numbers of shards differ by at most one."""
        n = len(self._shards)
        ranks = choice.rank(self._seed, "shards", scope, (i.to_bytes(8, "big") for i in range(n)))
        order = np.argsort(ranks, kind="stable").tolist()
        return [self._shards[shard] for i, shard in enumerate(order) if (number * n + i) % world == rank]

    def _interleaved(
        self, shards: Sequence[str], skipped: SkippedSamples, stop: threading.Event
    ) -> Generator[RawSample]:
        """The samples of some shards, one from each reader in turn."""
        readers = min(self._readers, len(shards))
        with ExitStack() as stack:
            reading = [
                stack.enter_context(closing(self._read(shards[reader::readers], skipped, stop)))
                for reader in range(readers)
            ]
            while reading:
                for reader in list(reading):
                    raw = next(reader, None)
                    if raw is None:
                        reading.remove(reader)
                    else:
                        yield raw

    def _read(self, shards: Sequence[str], skipped: SkippedSamples, stop: threading.Event) -> Generator[RawSample]:
        """The samples of shards one after the other, read ahead by a thread."""
        members = self._members

        def chained() -> Generator[RawSample | Skipped]:
            for shard in shards:
                if not stop.is_set():
                    yield from samples_of(shard, members, stop)

        with closing(chained()) as found:
            some = in_order(lambda _: list(itertools.islice(found, _AHEAD)), itertools.repeat(None), 1, 3, stop.set)
            with closing(some), _set_at_error(stop):
                for read in some:
                    if not read:
                        return
                    for sample in read:
                        if isinstance(sample, RawSample):
                            yield sample
                        else:
                            self._skip(sample, skipped)

    def _skip(self, sample: Skipped, skipped: SkippedSamples) -> None:
        sentence = f"{name_of(sample.shard)}{f': {sample.key}' if sample.key else ''}: {sample.reason}: {sample.detail}"
        if sample.is_damage and self._on_damage == "stop":
            raise Failure(
                f'{sentence}; mend it, take it out of train.shards, or go on without it: train.on_damage = "replace"'
            )
        skipped.add(sample.reason, sentence)

    # ── decoding ──────────────────────────────────────────────────────────────────────────────────

    def _make(self, job: tuple[list[Read], SkippedSamples]) -> _Decoded:
        """The examples of those samples that can be decoded."""
        raws, skipped = job
        crops, texts, numbers, names, passes = [], [], [], [], []
        for raw, scope in raws:
            try:
                crop, text = self._example(raw, scope)
            except ImageError as error:
                self._skip(Skipped(error.reason, raw.shard, raw.key, error.args[1]), skipped)
                continue
            crops.append(crop)
            texts.append(text)
            numbers.append(_number(raw))
            names.append(f"{raw.key} in {name_of(raw.shard)}")
            passes.append(scope)
        ids = self._tokenizer.encode(texts, self._context)
        return _Decoded(list(zip(crops, ids, numbers, names, passes, strict=True)), skipped, len(raws))

    def _example(self, raw: RawSample, scope: str) -> tuple[npt.NDArray[np.uint8], str]:
        """The crop and the caption of one sample in one pass."""
        if is_drawing(raw.image):  # whoever made it decides how long it takes: fetch draws in processes that may die
            raise ImageError("format_unsupported", "SVG, which is drawn where pictures are fetched, and not here")
        key = raw.key.encode("utf-8", "surrogateescape")
        caption, crop = (int(choice.rank(self._seed, what, scope, [key])[0]) for what in ("caption", "crop"))
        text = raw.captions[caption % len(raw.captions)]
        return training_crop(decode(raw.image), self._image_size, np.random.default_rng(crop)), text


class _Decoded(NamedTuple):
    """The outcome of some samples: their examples, what was skipped up to the last one, and the number of samples."""

    examples: list[Example]
    skipped: SkippedSamples
    tried: int


def _require_enough(numbers: Sequence[int], names: Sequence[str], passes: Sequence[str], size: int, most: int) -> None:
    """Failure where a batch has a sample in more passes than `most`, and with it all samples of one of them.

    In two passes a sample may well be: a batch at the end of one goes on with the next. Not where the batch begins one.
    """
    of_sample = Counter(number for number, _ in dict.fromkeys(zip(numbers, passes, strict=True)))
    number, times = of_sample.most_common(1)[0]
    if times > most:
        raise Failure(
            f"train.batch_size = {size:,}, but the shards hold fewer samples: {names[numbers.index(number)]} is "
            f"{times:,} times in one batch, where it is its own negative: make the batch smaller, or name more shards"
        )


@contextmanager
def _set_at_error(stop: threading.Event) -> Iterator[None]:
    """After an error tell the reading threads to stop, before anything waits for them."""
    try:
        yield
    except BaseException:
        stop.set()
        raise


def _jobs(samples: Iterator[Read], skipped: SkippedSamples) -> Iterator[tuple[list[Read], SkippedSamples]]:
    """Chunks of samples, without end, each with what was skipped since the one before."""
    while True:
        some = list(itertools.islice(samples, CHUNK))
        yield some, skipped.take()


def _number(raw: RawSample) -> int:
    """A number for a sample of a stream: a hash of its shard and key, from 0 to 2^63 - 1."""
    return xxhash.xxh3_64_intdigest(f"{name_of(raw.shard)}\n{raw.key}".encode("utf-8", "surrogateescape")) >> 1


def digest_of(shards: Sequence[str]) -> str:
    """A digest of the shards' names and of the sizes of local ones; their content is not read."""
    return digest([[name_of(shard), _size(shard)] for shard in shards])


def _size(shard: str) -> int | None:
    return None if shard.startswith((PIPE, *WEB)) or not is_local(shard) else file_size(shard)
