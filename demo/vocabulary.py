"""The demo's tokenizer: merges learnt from its encyclopedia, in the form of OpenAI's bpe_simple_vocab_16e6.txt.gz."""

from __future__ import annotations

import bz2
import gzip
import re
from collections import Counter
from itertools import pairwise

MERGES = 600
_MARKUP = re.compile(r"<[^>]*>|&\w+;|https?://\S+")


def learn(dump: bytes) -> bytes:
    """The merges that make most of a dump's English words one token each, gzip.

    Again and again the pair that stands in the most places becomes one piece, of equals the first in the alphabet
    (Sennrich et al., Neural Machine Translation of Rare Words with Subword Units, section 3.2).
    """
    text = _MARKUP.sub(" ", bz2.decompress(dump).decode()).lower()
    words = {(*word[:-1], f"{word[-1]}</w>"): n for word, n in Counter(re.findall(r"[a-z]+", text)).items()}
    merges: list[tuple[str, str]] = []
    while len(merges) < MERGES:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, n in words.items():
            for pair in pairwise(word):
                pairs[pair] += n
        if not pairs:
            break
        merges.append(min(pairs, key=lambda pair: (-pairs[pair], pair)))
        words = {_merged(word, merges[-1]): n for word, n in words.items()}
    return gzip.compress("\n".join(["#version: 0.2", *map(" ".join, merges)]).encode(), mtime=0)


def _merged(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    pieces: list[str] = []
    for piece in word:
        if pieces and (pieces[-1], piece) == pair:
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return tuple(pieces)
