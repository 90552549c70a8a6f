"""A caption's text as a reader of the page would have seen it.

Tools leave traces in texts: a CMS escapes its own tags and entities, an editor pastes characters that nobody sees, a
windows-1252 page says that it is Latin-1. What has meaning stays: words, signs, the joiners of Persian, Indic scripts
and emoji. What cannot be undone for certain stays as well, for the rules to drop: scripts, templates, mojibake.
"""

from __future__ import annotations

import re
from html import unescape
from html.entities import html5

from pipeline.ids import fold
from pipeline.text.words import UNSPACED

MAX_ROUNDS = 8
"""How often a text is looked at again: taking one thing away can lay another bare, such as "&amp;lt;br&amp;gt;"."""

_UNSEEN = (  # zero width: soft hyphen, marks of direction, joiners that only forbid a break, anchors; controls
    "\x00-\x08\x0e-\x1b\x7f\u00ad\u061c\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffc"
)
_TRACE = re.compile(rf"[<&\x80-\x9f\u200b{_UNSEEN}]|\[/[biuBIU]]")  # one of these is in all that is cleaned
_UNSEEN_CHARS = re.compile(f"[{_UNSEEN}]+")
_ZERO_WIDTH_SPACE = re.compile(  # Khmer and Thai put it between words where no space is seen: there it stays
    f"(?<![{UNSPACED}\u200b])\u200b++|\u200b++(?![{UNSPACED}])"
)

_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_AMPERSANDS = re.compile(r"&(?:(?:amp|AMP|#0{0,3}38|#[xX]0{0,3}26);)+")  # escaped once or many times

_INLINE = (
    "a abbr acronym b bdi bdo big cite code del dfn em font i ins kbd mark nobr q s samp small span strike strong sub"
    " sup tt u var wbr"
)
_BLOCK = (
    "address article blockquote br center dd div dl dt figcaption figure footer h1 h2 h3 h4 h5 h6 header hr li ol p"
    " pre section table tbody td th thead tr ul"
)
_ATTRIBUTES = r"""(?:\s+[\w:.-]+\s*=\s*(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>=]+))*+\s*/?"""  # not "a<b and c>d"


def _either_case(names: str) -> str:
    """As tools write them: lower or upper case; "<Code>" may be the title of a film."""
    return "|".join([*names.split(), *names.upper().split()])


_TAG = re.compile(
    rf"</?(?:{_either_case(_INLINE)}|[A-Za-z]\w{{0,9}}:\w{{1,20}}){_ATTRIBUTES}>"  # with <o:p> and <st1:place> of Word
    rf"|(</?(?:{_either_case(_BLOCK)}){_ATTRIBUTES}>)"
    r"|<!--[^<>]*-->"
)
_BBCODE = re.compile(r"\[([biuBIU])]([^\[\]]*)\[/\1]")
_PLACEHOLDER = re.compile("<(PERSON|person|NAME|LOCATION|ORGANIZATION|DATE|DATE_TIME)>")  # for a name that was hidden

_C1 = re.compile("[\x80-\x9f]")
_NOT_WINDOWS = re.compile("[\x81\x8d\x8f\x90\x9d]")  # the five codes that windows-1252 does not have
_WINDOWS = {n: bytes([n]).decode("cp1252") for n in range(0x80, 0xA0) if not _NOT_WINDOWS.match(chr(n))}
_UTF8_AS_LATIN = re.compile("[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_HIGH = re.compile("[\x80-\xff]")


def clean(text: str) -> str:
    """The text without the traces of tools, white space folded; a text that has none comes back as it is.

    Cleaning again changes nothing: the result is a text that a round leaves alone. A text that is not done after
    MAX_ROUNDS was built to keep us busy, and comes back as it is.
    """
    if not _TRACE.search(text) or _is_mojibake(text):
        return text
    before = text
    for _ in range(MAX_ROUNDS):
        after = _round(before)
        if after == before:
            return after
        before = after
    return text


def _round(text: str) -> str:
    if _C1.search(text) and not _NOT_WINDOWS.search(text):
        text = text.translate(_WINDOWS)
    if "&" in text:
        text = _ENTITY.sub(_character, _AMPERSANDS.sub("&", text))
    if "<" in text:
        text = _TAG.sub(lambda tag: " " if tag[1] else "", text)
        text = _PLACEHOLDER.sub(lambda name: name[1].lower().replace("_", " "), text)
    if "[/" in text:
        text = _BBCODE.sub(r"\2", text)
    return fold(_UNSEEN_CHARS.sub("", _ZERO_WIDTH_SPACE.sub(" ", text)))


def _character(entity: re.Match[str]) -> str:
    """What an entity stands for; itself if there is no such entity. (unescape alone takes "&notice;" for "¬ice;".)"""
    return unescape(entity[0]) if entity[0][1] == "#" or entity[0][1:] in html5 else entity[0]


def _is_mojibake(text: str) -> bool:
    """All that is not ASCII reads as UTF-8 that was taken for Latin-1: a soft hyphen there is half of an "í"."""
    rest = _UTF8_AS_LATIN.sub("", text)
    return rest != text and not _HIGH.search(rest)
