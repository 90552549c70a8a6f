"""Counts of words and pairs, against counting by hand."""

import math
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.text import ngrams
from pipeline.text.ngrams import Pairs, add, best_bigrams, count_pairs, count_words

TEXTS = ["A dog, a Dog's life.\nNew York: new york\nNEW", "York 犬 1.5"]


def named(pairs: Pairs, vocabulary: list[str]) -> dict[tuple[str, str], int]:
    return {
        (vocabulary[int(key) >> 32], vocabulary[int(key) & 0xFFFFFFFF]): int(count)
        for key, count in zip(pairs.keys, pairs.counts, strict=True)
    }


def test_words() -> None:
    expected = {"a": 2, "dog": 2, "s": 1, "life": 1, "new": 3, "york": 3, "犬": 1, "1.5": 1}
    assert count_words(TEXTS) == expected


def test_pairs_do_not_cross_punctuation_lines_or_texts() -> None:
    vocabulary = sorted(count_words(TEXTS))
    assert named(count_pairs(TEXTS, vocabulary), vocabulary) == {
        ("a", "dog"): 2,
        ("s", "life"): 1,
        ("new", "york"): 2,
        ("york", "犬"): 1,
        ("犬", "1.5"): 1,
    }
    assert named(count_pairs(TEXTS, ["york", "new"]), ["york", "new"]) == {("new", "york"): 2}
    assert len(count_pairs([], ["a"]).keys) == 0
    assert len(add().keys) == 0


LINES = st.lists(st.lists(st.sampled_from("abcdé"), max_size=12).map(" ".join), max_size=30)


@settings(deadline=None)
@given(LINES, st.integers(1, 20))
def test_pairs_as_counted_by_hand(texts: list[str], buffer: int) -> None:
    vocabulary = ["é", "c", "b", "a"]
    by_hand = Counter(pair for text in texts for pair in pairwise(text.split()) if set(pair) <= set(vocabulary))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ngrams, "_BUFFER", buffer)
        pairs = count_pairs(texts, vocabulary)
    assert named(pairs, vocabulary) == by_hand
    assert (np.diff(pairs.keys) > 0).all()
    halves = add(count_pairs(texts[::2], vocabulary), count_pairs(texts[1::2], vocabulary))
    assert np.array_equal(halves.keys, pairs.keys)
    assert np.array_equal(halves.counts, pairs.counts)


def test_pmi_is_the_formula_s() -> None:
    words = Counter({"new": 40, "york": 10, "the": 500, "cat": 20, "rare": 1, "pair": 1, "filler": 428})
    vocabulary = ["cat", "new", "pair", "rare", "the", "york"]
    pairs = Pairs(np.array([1 << 32 | 5, 3 << 32 | 2, 4 << 32 | 0]), np.array([8, 1, 15]))
    found = best_bigrams(pairs, words, vocabulary, top=2, least=5)
    assert [(bigram.text, bigram.occurs) for bigram in found] == [("new york", 8), ("the cat", 15)]
    expected = [math.log2(8 * 1000 / (40 * 10)), math.log2(15 * 1000 / (500 * 20))]
    assert [bigram.pmi for bigram in found] == pytest.approx(expected)
    assert best_bigrams(pairs, words, vocabulary, top=9, least=1)[0].text == "rare pair", "why there is a least count"
    assert best_bigrams(pairs, words, vocabulary, top=1, least=5) == found[:1]
    assert best_bigrams(pairs, words, vocabulary, top=1, least=99) == []


def test_equal_pairs_are_ordered_by_their_text() -> None:
    words = Counter(dict.fromkeys("abcdef", 5))
    pairs = Pairs(np.array([4 << 32 | 5, 2 << 32 | 3, 0 << 32 | 1]), np.array([5, 5, 5]))
    for top in (1, 2, 3):
        assert [b.text for b in best_bigrams(pairs, words, list("abcdef"), top, 1)] == ["a b", "c d", "e f"][:top]


def test_a_real_text(data: Path) -> None:
    text = (data / "queries" / "wikitext2.valid.txt").read_text(encoding="utf-8")
    words = count_words([text])
    for word in ("the", "of", "dog"):
        assert words[word] == len(re.findall(rf"\b{word}\b", text, re.IGNORECASE)), word
    vocabulary = sorted(word for word, count in words.items() if count >= 5)
    best = {bigram.text for bigram in best_bigrams(count_pairs([text], vocabulary), words, vocabulary, 100, 10)}
    assert {"los angeles", "hong kong"} & best
