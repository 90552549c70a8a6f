"""Words: one canonical form for queries, captions and articles, so that what is counted is what is found.

MetaCLIP's rule compares strings as they are, with spaces put around seven punctuation marks: "dog" misses "Dog" and
"(dog)", and "St. Louis" can never be found. Here text becomes tokens: case and width folded, a word is a run of
letters, digits and marks ("1.5" is one), every other character is a token of its own. So is every letter of a script
that does not put spaces between words.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

UNSPACED = (  # letters of scripts without spaces between words, as a range of a regular expression
    r"\u0e01-\u0eff\u0f40-\u0fbc\u1000-\u109f\u1780-\u17d3"  # Thai, Lao, Tibetan, Burmese, Khmer
    r"\u3005-\u3007\u3040-\u312f\u31f0-\u31ff"  # kana, bopomofo
    r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
)

_PLAIN = str.maketrans(
    dict.fromkeys("‘’ʼ′", "'")
    | dict.fromkeys("“”„″", '"')
    | dict.fromkeys("‐‑‒–—―−", "-")
    | dict.fromkeys("™℠", " ")  # NFKC would make them letters: Legotm
    | {"\u200b": " "}  # the zero width space: a break between words that nobody sees
    | dict.fromkeys("\u00ad\u200c\u200d\u2060\ufeff", "")  # seen by nobody: hyphenation, joiners
    | dict.fromkeys("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069", "")  # direction
)
_NOT_PLAIN = re.compile(f"[{''.join(map(chr, _PLAIN))}]")
_LONG_CHARS = 1_000  # of a text that may take long to normalise: marks on one letter cost quadratic time
_MOST_MARKS = 30  # on one letter, by Unicode's Stream-Safe Text Format (UAX 15, section 13)
_MAY_BE_MARKS = re.compile(rf"[^\w\s]{{{_MOST_MARKS + 1}}}")  # a hundred times faster than to look for them
_ASCII_TOKEN = re.compile(r"[a-z0-9]++(?:(?<=[0-9])[.,][0-9]++)*+|\S")


def tokens(text: str) -> list[str]:
    """The tokens of a text, in order: "St. Louis (1.5 km)" -> st . louis ( 1.5 km )."""
    if text.isascii():
        return _ASCII_TOKEN.findall(text.lower())
    if _NOT_PLAIN.search(text):
        text = text.translate(_PLAIN)
    if len(text) > _LONG_CHARS and _MAY_BE_MARKS.search(text):
        text = _heaps().sub(r"\1", text)
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _token().findall(folded)


def is_word(token: str) -> bool:
    """Whether a token is a word and not punctuation."""
    return token[0].isalnum()


@cache
def _token() -> re.Pattern[str]:
    letter, mark = rf"[^\W_{UNSPACED}]", f"[{_marks()}]"
    return re.compile(rf"{letter}++(?:{mark}++{letter}*+)*+(?:(?<=\d)[.,]\d++)*+|\S")


@cache
def _heaps() -> re.Pattern[str]:
    """More marks on one letter than any language puts there."""
    mark = f"[{_marks()}]"
    return re.compile(rf"({mark}{{{_MOST_MARKS}}}){mark}+")


def _marks() -> str:
    """All combining marks, as a range of a regular expression; `\\w` knows only letters, digits and _."""
    return "".join(chr(c) for c in range(0x1F000) if unicodedata.category(chr(c)).startswith("M"))
