"""The demo's tokenizer: merges learnt from its encyclopedia, in the form of OpenAI's bpe_simple_vocab_16e6.txt.gz."""

from __future__ import annotations

import bz2
import re
from collections import Counter

from trainer.vocabulary import learn, to_file

MERGES = 600
_MARKUP = re.compile(r"<[^>]*>|&\w+;|https?://\S+")


def made_of(dump: bytes) -> bytes:
    """A merges file that makes most of a dump's English words one token each."""
    text = _MARKUP.sub(" ", bz2.decompress(dump).decode()).lower()
    return to_file(learn(Counter(re.findall(r"[a-z]+", text)), MERGES))
