"""vocabulary: byte-pair merges learnt from the captions of a pack, written as OpenAI's tokenizer reads them.

openwit vocabulary --recipe recipes/real.toml [--merges 48894] [--to merges.txt.gz]
openwit vocabulary --pack out/real/6_pack

The same captions make the same bytes, however many processes count their words. The file is OpenAI's text form: gzip,
a `#version` line, a merge a line, no line end at the end (their reader would take an empty line for a merge).
"""

from __future__ import annotations

import argparse
import functools
import gzip
import heapq
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice, pairwise
from pathlib import Path

try:
    import tokenizers  # noqa: F401 (what trainer.tokenizer needs)
except ModuleNotFoundError:
    if __name__ != "__main__":
        raise
    sys.exit("vocabulary: tokenizers is not installed: pip install '.[train]', then run again")

from core import claim, command
from core.errors import Failure, UsageError
from core.files import join, publish, shown
from core.manifest import Manifest, pinned
from core.progress import Progress
from core.recipe import read
from core.runs import cores, require_finished
from shards.reader import Shards, finished
from trainer.tokenizer import END_OF_WORD, MERGES, Splitter

LEAST = 2  # occurrences that a pair needs to be merged
MAX_WORD = 256  # bytes; longer strings are no words, and merging costs the square of the length

Pair = tuple[str, str]


# ── learning ──────────────────────────────────────────────────────────────────────────────────────


def learn(words: Mapping[str, int], most: int = MERGES) -> list[Pair]:
    """Learn at most `most` merges from words (spelt as `Splitter` does) and their counts.

    Byte-pair encoding: the most frequent pair of adjacent pieces is merged, repeatedly (Sennrich et al., Neural Machine
    Translation of Rare Words with Subword Units, section 3.2). Of equally frequent pairs the one whose line in the file
    is the smallest, byte by byte. It ends early where no pair occurs LEAST times.
    """
    spelt, often = [], []
    for word, n in words.items():
        if 0 < len(word) <= MAX_WORD:
            spelt.append([*word[:-1], word[-1] + END_OF_WORD])
            often.append(n)
    counts: Counter[Pair] = Counter()
    places: defaultdict[Pair, set[int]] = defaultdict(set)  # numbers of the words that contain a pair, or did before
    for i, (pieces, times) in enumerate(zip(spelt, often, strict=True)):
        _count(pieces, times, i, counts, places)
    # A pair's count may have fallen since it was queued; a pair whose count rose was queued again.
    queue = [(-n, pair) for pair, n in counts.items()]
    heapq.heapify(queue)
    merges: list[Pair] = []
    while queue and len(merges) < most:
        n, pair = heapq.heappop(queue)
        now = counts[pair]
        if now < LEAST:
            continue
        if now != -n:
            heapq.heappush(queue, (-now, pair))
            continue
        merges.append(pair)
        risen: set[Pair] = set()
        for i in places.pop(pair):
            after = _merged(spelt[i], pair)
            if len(after) < len(spelt[i]):
                for old in pairwise(spelt[i]):
                    counts[old] -= often[i]
                _count(after, often[i], i, counts, places)
                risen.update(new for new in pairwise(after) if "".join(pair) in new)
                spelt[i] = after
        for new in risen:
            heapq.heappush(queue, (-counts[new], new))
    return merges


def _count(word: list[str], n: int, number: int, counts: Counter[Pair], places: defaultdict[Pair, set[int]]) -> None:
    """Count the pairs of a word that stands in n places."""
    for pair in pairwise(word):
        counts[pair] += n
        places[pair].add(number)


def _merged(word: list[str], pair: Pair) -> list[str]:
    """The pieces of a word with every occurrence of a pair as one piece, from the left."""
    pieces: list[str] = []
    for piece in word:
        if pieces and (pieces[-1], piece) == pair:
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return pieces


def to_file(merges: Iterable[Pair]) -> bytes:
    """A merges file: `#version: 0.2`, then a merge a line, gzip without a time."""
    return gzip.compress("\n".join(["#version: 0.2", *map(" ".join, merges)]).encode(), mtime=0)


# ── the words of a pack ───────────────────────────────────────────────────────────────────────────


def count_words(texts: Iterable[str]) -> Counter[str]:
    """How often each word stands in some texts, as the tokenizer cleans and splits them."""
    split = Splitter()
    words: Counter[str] = Counter()
    for text in texts:
        words.update(split.words(text))
    return words


def words_of(pack: Manifest, workers: int) -> tuple[Counter[str], int]:
    """How often each word stands in all captions of a pack, and how many captions there are; by so many processes."""
    shards = Shards(pack.folder, pack)
    jobs = [(*pack.pin, int(end - n), int(n)) for end, n in zip(shards.sizes.cumsum(), shards.sizes, strict=True)]
    words: Counter[str] = Counter()
    captions = done = 0
    with Progress("vocabulary", "samples", len(shards), to="stdout") as progress:
        for job, (some, n) in zip(jobs, _counted(jobs, min(workers, len(jobs))), strict=True):
            words.update(some)
            captions += n
            done += job[3]
            progress.at(done)
    return words, captions


Job = tuple[str, str, int, int]  # a pack by folder and digest, its first sample that is counted, how many


def _counted(jobs: Sequence[Job], workers: int) -> Iterator[tuple[Counter[str], int]]:
    if workers <= 1:
        yield from map(_count_shard, jobs)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _init_worker) as pool:
        try:
            yield from pool.map(_count_shard, jobs)
        except BrokenProcessPool as error:
            raise Failure(
                "a process that counts words has ended (was memory short?): run the same command again"
            ) from error


def _count_shard(job: Job) -> tuple[Counter[str], int]:
    folder, digest, first, n = job
    captions = 0

    def texts() -> Iterator[str]:
        nonlocal captions
        for sample in islice(_opened(folder, digest).iterate(first), n):
            for caption in sample.meta["captions"]:
                captions += 1
                yield caption["text"]

    return count_words(texts()), captions


@functools.cache
def _opened(folder: str, digest: str) -> Shards:
    return Shards(folder, pinned(folder, digest))


def _init_worker() -> None:
    """In a process that counts: Ctrl-C is the parent's to answer, and nothing goes on without the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # only children run this
    parent.join()
    os._exit(1)


# ── the command ───────────────────────────────────────────────────────────────────────────────────


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = command.arguments("vocabulary", __doc__ or "")
    parser.add_argument("--pack", metavar="FOLDER", help="shards to learn from; default: those of the recipe")
    parser.add_argument("--merges", type=int, default=MERGES, help=f"at the most; default {MERGES:,}, OpenAI's number")
    parser.add_argument("--to", metavar="FILE", help="default: vocabulary.txt.gz in the recipe's out, or beside FOLDER")
    options = parser.parse_args(argv)
    return command.exit_status("vocabulary", lambda: write_vocabulary(options), options.debug)


def write_vocabulary(options: argparse.Namespace) -> None:
    """Learn the merges of a pack and write them; says in a line how many there are."""
    if not 1 <= options.merges <= MERGES:
        raise UsageError(f"--merges {options.merges}: a tokenizer reads 1 to {MERGES:,} of them: choose a number there")
    started = time.time()
    if options.pack:
        pack = finished(options.pack)
        path = options.to or join(options.pack.rstrip("/").rpartition("/")[0] or ".", "vocabulary.txt.gz")
    else:
        recipe = read(options.recipe, options.set)
        claim.check(recipe)
        pack = require_finished(recipe, "pack", "vocabulary")
        path = options.to or join(recipe.out, "vocabulary.txt.gz")
    if "://" not in path and Path(path).is_dir():
        raise UsageError(f"--to {path} is a folder: name a file, for example {join(path, 'vocabulary.txt.gz')}")
    words, captions = words_of(pack, cores())
    merges = learn(words, options.merges)
    if not merges:
        raise Failure(f"no two letters stand together in {LEAST} places of the {captions:,} captions of {pack.folder}")
    publish(path, to_file(merges))
    cut = f", as many as stand in {LEAST} places" if len(merges) < options.merges else ""
    long = sum(len(word) > MAX_WORD for word in words)
    left = f" ({long:,} longer than {MAX_WORD} bytes left out)" if long else ""
    print(
        f"vocabulary: {len(merges):,} merges{cut} of {len(words):,} words{left} in {captions:,} captions → "
        f"{shown(path)} in {time.time() - started:.1f} s; train.merges takes it"
    )


if __name__ == "__main__":
    command.exit_now(main)
