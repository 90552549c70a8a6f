"""Which words and which pairs of words an encyclopedia uses: the counts behind two of the four kinds of queries.

The CLIP paper takes all words that occur 100 times or more in the English Wikipedia and the "bi-grams with high
pointwise mutual information". Of a pair that occurs c12 times, of words that occur c1 and c2 times among N words,
PMI = log2(c12 N / (c1 c2)). It is at most log2(N / c12), highest for pairs seen once, and grows with N: a threshold
(MetaCLIP's 30) admits at N = 2.5e9 only words seen twice. So: the N best with a least count, which means the same in
every corpus.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from pipeline.text.words import is_word, tokens

_BUFFER = 4_000_000  # words whose pairs are counted at a time: 100 MB
_BREAK = -1  # between two lines, and for what is no word of the vocabulary


class Pairs(NamedTuple):
    """How often words of a vocabulary follow each other."""

    keys: np.ndarray  # int64 [n], ascending: number of the first word << 32 | number of the second
    counts: np.ndarray  # int64 [n]


class Bigram(NamedTuple):
    """Two words that belong together."""

    text: str
    occurs: int
    pmi: float  # bits


def count_words(texts: Iterable[str]) -> Counter[str]:
    """How often each word occurs, in the canonical form of pipeline/text/words.py. Counters of parts add up."""
    found: Counter[str] = Counter()
    for text in texts:
        for line in text.splitlines():  # most lines are ASCII, which is faster
            found.update(tokens(line))
    return Counter({token: count for token, count in found.items() if is_word(token)})


def count_pairs(texts: Iterable[str], vocabulary: Sequence[str]) -> Pairs:
    """How often two words of the vocabulary stand side by side in a line, no punctuation between them.

    The vocabulary (words by number) bounds the memory, 16 bytes a distinct pair.
    """
    number = {word: n for n, word in enumerate(vocabulary)}
    runs: list[Pairs] = []
    for numbers in _buffers(texts, number):
        first, second = numbers[:-1].astype(np.int64), numbers[1:].astype(np.int64)
        beside = (first != _BREAK) & (second != _BREAK)
        keys, counts = np.unique(first[beside] << 32 | second[beside], return_counts=True)
        runs.append(Pairs(keys, counts.astype(np.int64)))
        while len(runs) > 1 and len(runs[-2].keys) < 2 * len(runs[-1].keys):  # each row is merged log(n) times
            runs.append(add(runs.pop(), runs.pop()))
    return add(*runs)


def add(*parts: Pairs) -> Pairs:
    """The counts of several parts of a corpus together; the vocabulary must be the same."""
    if not parts:
        return Pairs(np.empty(0, np.int64), np.empty(0, np.int64))
    keys = np.concatenate([part.keys for part in parts])
    counts = np.concatenate([part.counts for part in parts])
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    return Pairs(keys[starts], np.add.reduceat(counts, starts) if len(starts) else counts)


def best_bigrams(pairs: Pairs, words: Counter[str], vocabulary: Sequence[str], top: int, least: int) -> list[Bigram]:
    """The `top` pairs of highest PMI among those that occur `least` times or more; ties by count, then by text."""
    often = pairs.counts >= least
    keys, counts = pairs.keys[often], pairs.counts[often]
    single = np.array([words[word] for word in vocabulary], dtype=np.float64)
    first, second = keys >> 32, keys & 0xFFFF_FFFF
    pmi = np.log2(counts * float(words.total()) / (single[first] * single[second]))
    if len(keys) > top:  # only those as good as the last that may be among them are sorted
        few = pmi >= np.partition(pmi, -top)[-top]
        first, second, counts, pmi = first[few], second[few], counts[few], pmi[few]
    found = [
        Bigram(f"{vocabulary[a]} {vocabulary[b]}", int(count), float(bits))
        for a, b, count, bits in zip(first, second, counts, pmi, strict=True)
    ]
    return sorted(found, key=lambda bigram: (-bigram.pmi, -bigram.occurs, bigram.text))[:top]


def _buffers(texts: Iterable[str], number: dict[str, int]) -> Iterator[np.ndarray]:
    """The numbers of the words in order, int32, _BREAK where no pair may be, in arrays of some _BUFFER."""
    numbers = array("i", [_BREAK])
    for text in texts:
        for line in text.splitlines():
            numbers.extend([number.get(token, _BREAK) for token in tokens(line)])
            numbers.append(_BREAK)
        if len(numbers) >= _BUFFER:
            yield np.array(numbers, dtype=np.int32)
            numbers = array("i", [_BREAK])
    yield np.array(numbers, dtype=np.int32)
