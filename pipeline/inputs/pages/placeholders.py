"""Which URLs name no picture: blanks that a script will replace, blurred previews, templates that nobody filled."""

from __future__ import annotations

import re
from typing import Literal

EXTENSION = r"(?:jpe?g|jpe|jfif|png|gif|webp|avif|bmp|tiff?|hei[cf]|jxl|svgz?)"
"""How names of pictures end, as a regular expression."""
PICTURE = re.compile(rf"\.{EXTENSION}(?:$|[?#&:;!])", re.IGNORECASE | re.ASCII)
"""Where a picture's extension ends a URL, its path, or a URL within its query."""

_UNFILLED = re.compile(  # of Angular, Liquid, JavaScript, ERB, Wicket, printf and others, and of strings put together
    r"\{\{|\{%|\$\{|#\{|<%|\[\[|%7B%7B|%s|%\([a-z]|%%[a-z]|\{[a-z_][\w.]{0,40}\}|%7B[a-z_]\w{0,40}%7D|\{\.\w{1,40}\}"
    r"|^(?:\$[a-z_]|@[a-z_]+\.[a-z])|(?-i:__[A-Z][A-Z_]{1,40}__)|'\s{0,9}\+|\+\s{0,9}'",
    re.IGNORECASE | re.ASCII,
)


def words_of(text: str) -> frozenset[str]:
    """Its words, as a set."""
    return frozenset(text.split())


_NOTHING = frozenset(["null", "none", "undefined", "nan", "true", "false", "[object object]"])

# The words of a file's name. All of them blanks or words that go with them: a blank; one among others: perhaps one.
_BLANKS = words_of(
    "blank dummy lazyload lazyloader lazyloading lgray lgrey lightgray lightgrey lqip"
    " missing noimage noimg nophoto nopic nopicture placehold placeholder preload preloader spacer"
    " throbber transp transparent notfound"
)
_BLANK_DRAWINGS = words_of(  # as GIF, PNG, SVG
    "b black clear dot empty gray grey lazy load loader loading mu none px s shim skeleton spinner t trans white x"
)
_SUSPECTS = words_of("1x1 gray grey lazy loader loading pixel shim")  # pixels count visits, too: the filter knows them
_BESIDE = words_of(
    "ajax animated anim base bg circle color default dark for gif icon image images img jpg large lazy light lo medium"
    " no not available found photo pic picture pixel png post product ratio rectangle small square"
    " svg the thumb thumbnail wide"
)
_TELLING = _BLANKS | _BLANK_DRAWINGS | _SUSPECTS | {"no"}
_SHOWN = words_of("available image img photo pic picture thumb thumbnail")
_DRAWN = frozenset(["gif", "png", "svg"])
_NAME = re.compile(r"([^/]*)\.(gif|png|svg|jpe?g|webp|avif)(?:$|;)")
_FORM = re.compile(r"(?:1?\d|2[01])x(?:1?\d|2[01])")
_WORD = re.compile(r"[a-z]+|\d{1,4}x\d{1,4}")
_HOSTS = re.compile(r"https?://(?:[\w-]+\.)*(?:placehold\.(?:it|co|jp)|placeholder\.(?:com|pics)|dummyimage\.com)/")

# A preview is both small and of low quality, or blurred.
_BLURRED = re.compile(r"[?&]blur=[1-9]|[,/&]blur[_(:=]?\d|e_blur|:blur\(|[?&/_-]lqip(?![a-z])")
_COARSE = re.compile(r"[?&](?:q|quality)=[1-3]?\d(?:&|$)|[,/]q_[1-3]?\d[,/]")
_SMALL = re.compile(
    r"[?&](?:w|width|h|height)=[1-6]?\d(?:&|$)|[,/][wh]_[1-6]?\d[,/]|/max/[1-6]\d/|/resize:fit:[1-6]\d/"
)
_SMALL_NAME = re.compile(r"[_-][1-6]\dx(?:[1-6]\d)?(?![\da-z])")


def unfilled(value: str) -> bool:
    """Whether an attribute's value is a template that a script was to fill, or what a script wrote by mistake."""
    may_be = "{" in value or "%" in value or "__" in value or "'" in value or "[[" in value  # the search is slow
    if (may_be or value[:1] in ("$", "@")) and _UNFILLED.search(value):
        return True
    return len(value) < 16 and value.lower() in _NOTHING


def blank(url: str) -> Literal["no", "perhaps", "yes"]:
    """Whether a normalised URL names a blank or a preview instead of a picture, as far as a URL can tell."""
    low = url.lower()
    path = low.partition("?")[0]
    name = _NAME.match(path, path.rfind("/") + 1)
    by_name = _blank_name(name[1], name[2] in _DRAWN) if name else "no"
    if by_name == "yes" or (("blur" in low or "lqip" in low) and _BLURRED.search(low)):
        return "yes"
    if ("placehold" in low or "dummy" in low) and _HOSTS.match(low):
        return "yes"
    may_be = "=" in low or "w_" in low or "h_" in low or "/max/" in low or "fit:" in low  # the search is slow
    small = may_be and _SMALL.search(low)
    if small or (name and _SMALL_NAME.search(name[1][-40:])):
        return "yes" if _COARSE.search(low) else "perhaps"
    return by_name


def _blank_name(name: str, drawn: bool) -> Literal["no", "perhaps", "yes"]:
    words = set(_WORD.findall(name))
    if words.isdisjoint(_TELLING) and not _FORM.fullmatch(name):
        return "no"
    sizes = {word for word in words if word[0].isdigit()}
    if drawn and sizes == words:
        return "yes"  # 1x1.gif, and 16x9.png, which keeps the room of a picture of that form
    blanks = words & (_BLANKS | _BLANK_DRAWINGS if drawn else _BLANKS)
    if "no" in words and not _SHOWN.isdisjoint(words):
        blanks |= {"no"}
    if blanks and _BESIDE.issuperset(words - blanks - sizes):
        return "yes"
    return "no" if words.isdisjoint(_BLANKS | _SUSPECTS) else "perhaps"
