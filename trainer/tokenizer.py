"""OpenAI's byte-pair tokenizer, from its merges file bpe_simple_vocab_16e6.txt.gz (paper, section 2.4).

Ids: 0-255 the bytes, 256-511 the bytes at the end of a word, then one id a merge, then start and end of text. A file
of fewer merges, learnt from other texts, makes a smaller vocabulary in the same way.

One difference from the released tokenizer: a caption that spells "<|endoftext|>" gets the ids of those letters; with
the special id it could cut itself short. Texts are repaired by ftfy as there; another version of it may give other ids.
"""

from __future__ import annotations

import gzip
import html
import io
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import ftfy
import numpy as np
import tokenizers
from tokenizers import models, pre_tokenizers

from core.errors import Failure, UsageError
from core.files import read_bytes

if TYPE_CHECKING:
    from torch import Tensor

MERGES = 48_894  # at most are used, of the released file's 262,144: 49,152 less the 256 bytes twice and the two marks
_MAX_BYTES = 16 << 20  # of a merges file, decompressed: the released one has 3.2 million
MAX_CHARS = 10_000  # of one text are read: the context holds far less, and a hostile caption must not cost seconds

END_OF_WORD = "</w>"

_WORDS = tokenizers.Regex(r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+")


class Tokenizer:
    """Texts to ids and back; `vocab` ids, of which the last two are `start` and `end`.

    Raises UsageError when `path` is not a merges file.
    """

    def __init__(self, path: str | Path) -> None:
        characters = _byte_characters()
        symbols = list(characters.values())
        merges = _read_merges(str(path), {*symbols, *(s + END_OF_WORD for s in symbols)})
        self._pieces = [*symbols, *(s + END_OF_WORD for s in symbols), *(a + b for a, b in merges)]
        self.start, self.end = len(self._pieces), len(self._pieces) + 1
        self.vocab = self.end + 1
        self._bytes = {character: byte for byte, character in characters.items()}
        vocabulary = {piece: id_ for id_, piece in enumerate(self._pieces)}
        self._bpe = tokenizers.Tokenizer(models.BPE(vocabulary, merges, end_of_word_suffix=END_OF_WORD))
        self._bpe.pre_tokenizer = _splitter()

    def encode(self, texts: Sequence[str], context: int = 77) -> Tensor:
        """Ids int64 [n, context]: start, the text, end, zeros; a longer text is cut so that `end` stays last."""
        rows = np.zeros((len(texts), context), dtype=np.int64)
        for row, text in zip(rows, texts, strict=True):
            ids = self._bpe.encode(clean(text)).ids[: context - 2]
            row[: len(ids) + 2] = [self.start, *ids, self.end]
        import torch  # here, for whoever only learns merges needs none of it

        return torch.from_numpy(rows)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of one row of ids, cleaned, with a space after each word but the last; stops at the end mark."""
        pieces: list[str] = []
        for id_ in ids:
            if id_ == self.end:
                break
            if id_ != self.start:
                pieces.append(self._pieces[id_])
        spaced = ((piece.removesuffix(END_OF_WORD), piece.endswith(END_OF_WORD)) for piece in pieces)
        raw = b"".join(bytes(self._bytes[c] for c in piece) + b" " * ends for piece, ends in spaced)
        return raw.decode("utf-8", errors="replace").rstrip(" ")


def clean(text: str) -> str:
    """What is tokenized: repaired by ftfy (wrong decoding, quotes, full-width letters, NFC), entities resolved twice
    (the web escapes twice), white space folded to single spaces, lower case."""
    text = html.unescape(html.unescape(ftfy.fix_text(text[:MAX_CHARS])))
    return " ".join(text.split()).lower()


class Splitter:
    """Texts to words, each spelt in one visible character a byte: what merges are learnt from and applied to."""

    def __init__(self) -> None:
        self._split = _splitter()

    def words(self, text: str) -> list[str]:
        """The words of a text, which is cleaned first."""
        return [word for word, _ in self._split.pre_tokenize_str(clean(text))]


def _splitter() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_WORDS, behavior="removed", invert=True),  # the words are what stays
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _byte_characters() -> dict[int, str]:
    """A visible character for each byte, in the order of the ids: first the visible of latin-1 as themselves."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {byte: chr(byte) for byte in visible} | {byte: chr(256 + i) for i, byte in enumerate(hidden)}


def _read_merges(path: str, known: set[str]) -> list[tuple[str, str]]:
    """The first MERGES merges; both sides of a merge are in `known` or are made by a merge before it."""
    try:
        data = read_bytes(path)
    except (Failure, OSError) as error:
        raise _not_the_merges(path, f"it cannot be read ({error})") from error
    if data.startswith(b"#version"):
        raise UsageError(f"{path} holds merges as plain text: compress it (gzip -n), as OpenAI's tokenizer reads it")
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            text = file.read(_MAX_BYTES + 1).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise _not_the_merges(path, f"it cannot be read ({error})") from error
    if len(text) > _MAX_BYTES:
        raise _not_the_merges(path, f"it holds more than {_MAX_BYTES:,} bytes")
    if "\r" in text:
        raise _not_the_merges(path, "its lines end in CR LF, as on Windows")
    header, *lines = text.rstrip("\n").split("\n")
    if "#version" not in header or not lines:
        raise _not_the_merges(path, "it holds no '#version' line followed by merges")
    merges: list[tuple[str, str]] = []
    space = _byte_characters()[ord(" ")]  # no word has one here, so GPT-2's merges would all be read, and not one used
    for number, line in enumerate(lines[:MERGES], start=2):
        left, _, right = line.partition(" ")
        if not {left, right} <= known:
            raise _not_the_merges(path, f"line {number} merges what no line before it made")
        if line.startswith(space):
            raise _not_the_merges(path, f"line {number} has a word that begins with a space, as GPT-2's have")
        known.add(left + right)
        merges.append((left, right))
    return merges


def _not_the_merges(path: str, reason: str) -> UsageError:
    return UsageError(
        f"{path} is not a tokenizer's merges file: {reason}; "
        "take clip/bpe_simple_vocab_16e6.txt.gz from the repository openai/CLIP"
    )
