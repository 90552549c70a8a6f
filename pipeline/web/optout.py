"""Marks by which a site says that its pictures are not for us: in response headers and in a page's meta tags.

A mark is one of noai, noimageai, noml, noindex, noimageindex, none and tdm. Marks count that are addressed to everyone
or to our product token. Sources: https://developers.google.com/search/docs/crawling-indexing/robots-meta-tag
(X-Robots-Tag and meta robots), DeviantArt 2022 (noai, noimageai), https://noml.info (noml),
https://www.w3.org/community/tdmrep/ (TDM).
"""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.web.robots import PRODUCT_TOKEN

ROBOTS_MARKS = frozenset({"noai", "noimageai", "noml", "noindex", "noimageindex", "none"})
TDM_MARK = "tdm"

_WITH_VALUE = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})
_AS_COMMA = str.maketrans({";": ",", '"': " ", "'": " "})  # how lists are written that should have commas
_FOR_US = frozenset({PRODUCT_TOKEN.lower(), "robots", "*"})


def header_marks(headers: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """The marks in a response's headers (name, value), sorted, each once."""
    marks: set[str] = set()
    for name, value in headers:
        match name.lower():
            case "x-robots-tag":
                marks |= _robots_tag(value)
            case "tdm-reservation":
                marks |= _tdm(value)
    return tuple(sorted(marks))


def meta_marks(content: str, name: str = "robots") -> tuple[str, ...]:
    """The marks in one `<meta name=… content=…>` of a page, sorted, each once; none if `name` is not about us."""
    match name.strip().lower():
        case "tdm-reservation":
            marks = _tdm(content)
        case scope if scope in _FOR_US:
            marks = _directives(content)
        case _:
            marks = set()
    return tuple(sorted(marks))


def _robots_tag(value: str) -> set[str]:
    """`noindex, otherbot: noai, nofollow` -> {noindex}: a bot's name stands for all that follow it in the header."""
    marks: set[str] = set()
    for_us = True
    for item in value.translate(_AS_COMMA).split(","):
        name, colon, rest = item.partition(":")
        name = name.strip().lower()
        if colon and name not in _WITH_VALUE and not any(map(str.isspace, name)):  # "25 Jun 2030 15:00" names no bot
            for_us, item = name in _FOR_US, rest
        if for_us:
            marks |= _directives(item)
    return marks


def _directives(text: str) -> set[str]:
    """The marks among words that neither have a value nor are one (`max-image-preview: none` is no mark)."""
    words = text.lower().translate(_AS_COMMA).replace(",", " , ").replace(":", " : ").split()
    around = zip(["", *words], words, [*words[1:], ""], strict=False)
    return {word for before, word, after in around if ":" not in (before, after)} & ROBOTS_MARKS


def _tdm(value: str) -> set[str]:
    """1 reserves. A header that was sent twice may arrive as one, "0, 1"."""
    return {TDM_MARK} if "1" in value.translate(_AS_COMMA).replace(",", " ").split() else set()
