"""What a robots.txt says to one robot: its records, grouped as RFC 9309 has it, from whatever bytes a server sends.

RFC 9309, section 2.2: other records (Crawl-delay, Sitemap, what nobody knows) don't interfere with groups. Where a file
is unclear, as "User-agent: *, otherbot", what it forbids counts and what it allows does not.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import quote

from chardetng_py import EncodingDetector

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_INVISIBLE = re.compile("[\0\xad\u200b-\u200f\u2060\ufeff]+")  # pasted along; a mark where files were put together
_RECORD = re.compile(  # with the misspellings that crawlers know, and without a colon
    r"(?P<agent>user[\s_\-\u2010-\u2015]*agents?)|(?P<disallow>d[ei]a?s+a?l+[oa]w(?:s|ed)?)|(?P<allow>allow)"
    r"|(?P<delay>crawl[\s_-]*delay)|(?P<sitemap>site-?maps?)|(?P<signal>content-signals?)",
    re.IGNORECASE,
)
_SEPARATOR = re.compile(r"[\s\"']*[:=;,\uff1a]\s*|\s+|$")
_NEXT = re.compile(r"(?<=\s)(?=(?:user-?agent|disallow|allow|crawl-delay|sitemap)\s*[:=;])", re.IGNORECASE)
_PAGE = re.compile(r"\s*<(?:!doctype|html|\?xml)", re.IGNORECASE)
_BREAK = re.compile(  # a line end as HTML has it, or as program text has it
    r"</?(?:body|br|div|li|ol|p|pre|table|textarea|tr|ul|xmp)(?:\s[^<>]*)?/?>"
    r"|\\[rn](?=\s*(?:$|[#\"'\\]|user|d[ei]a?s|allow|crawl|site-?map|content-s))",
    re.IGNORECASE,
)
_TAG = re.compile(r"</?(?:a|b|code|em|font|i|span|strong|td|th|tt)(?:\s[^<>]*)?>|&(?:nbsp|quot);", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z_-]+")  # a version behind it, as in "OpenWIT/1.0", is not part of it
_ADDRESS = re.compile(r"https?://[^/]*", re.IGNORECASE)
_NO_TRAINING = re.compile(r"\bai-train\s*=\s*no\b", re.IGNORECASE)
_SECONDS = re.compile(r"\d{1,9}(?:[.,]\d{1,9})?|[.,]\d{1,9}")
_QUOTES = "\"'`\u2018\u2019\u201a\u201c\u201d\u201e\xab\xbb"
_OPENING, _CLOSING = _QUOTES + "([{<", _QUOTES + ")]}>,;"
_BETWEEN = re.compile(rf"(?<![\s,;|{_QUOTES}])[\s,;|{_QUOTES}]+(?=/)")  # the look behind: to begin once in a long run
_ALL_WITH = re.compile(r"[/*]*\*[)\]}>,;]")  # "/*;" forbids addresses with a ";", not all


class Said(NamedTuple):
    """What a robots.txt says to a robot."""

    rules: tuple[tuple[str, str], ...]  # (allow | disallow, pattern), in the file's order
    crawl_delay: float  # seconds, the longest that is asked for; 0 if none is
    sitemaps: tuple[str, ...]  # as written, of the whole file
    no_training: bool  # Content-Signal: ai-train=no (https://contentsignals.org)


@dataclass
class _Group:
    """Who is addressed: us or all, for certain or (maybe_) perhaps, and what they are told."""

    us: bool = False
    all: bool = False
    maybe_us: bool = False
    maybe_all: bool = False
    rules: list[tuple[str, str]] = field(default_factory=list)
    delay: float = 0.0
    has_rules: bool = False  # of empty patterns, too
    no_training: bool = False

    @property
    def addressed(self) -> bool:
        return self.us or self.all or self.maybe_us or self.maybe_all


def said(body: bytes, product_token: str) -> Said:
    """What a robots.txt says to a robot of this name (RFC 9309 section 2.2.1): to it, or else to all."""
    groups, asked = [_Group()], [_Group()]  # the first have no robots: rules before any are nobody's
    sitemaps = []
    before = ""
    for name, value in _records(body):
        if name == "sitemap":
            sitemaps.append(value.strip(_QUOTES))
            continue
        if name == "signal":
            groups[-1].no_training |= _NO_TRAINING.search(value) is not None
        elif name == "agent":
            if groups[-1].has_rules or len(groups) == 1:
                groups.append(_Group())
            if before != "agent":  # a delay is for the robots right above it only: the RFC has none
                asked.append(_Group())
            _address(groups[-1], value, product_token.lower())
            _address(asked[-1], value, product_token.lower())
        elif name == "delay":
            seconds = _SECONDS.match(value.lstrip(_QUOTES))
            asked[-1].delay = max(asked[-1].delay, float(seconds[0].replace(",", ".")) if seconds else 0.0)
        else:
            groups[-1].has_rules = True
            if groups[-1].addressed:
                groups[-1].rules.extend((name, pattern) for pattern in _patterns(name, value))
        before = name
    rules = [rule for group, surely in _for_us(groups) for rule in group.rules if surely or rule[0] == "disallow"]
    delay = max((group.delay for group, _ in _for_us(asked)), default=0.0)
    no_training = groups[0].no_training or any(group.no_training for group, _ in _for_us(groups))
    return Said(tuple(rules), delay, tuple(sitemaps), no_training)


def _for_us(groups: list[_Group]) -> Iterator[tuple[_Group, bool]]:
    """The groups that hold for us, and whether they surely do: what is perhaps for us counts where it forbids."""
    named = any(group.us for group in groups)
    for group in groups:
        surely = group.us if named else group.all
        if surely or group.maybe_us or (group.maybe_all and not named):
            yield group, surely


def _address(group: _Group, value: str, us: str) -> None:
    """Note whether a User-agent line means us: by its first word, or, less clearly, by what else it holds."""
    value = value.strip(_QUOTES)
    token = _TOKEN.match(value)
    group.us |= token is not None and token[0].lower() == us
    group.all |= re.match(r"\*(?:\s|$)", value) is not None
    group.maybe_us |= any(word.lower() == us for word in _TOKEN.findall(value))
    words = re.split(r"[\s,;|()\"'`]+", value)  # "[*]" is for all, "Googlebot/*" is not
    group.maybe_all |= any("*" in word and not _is_named(word) for word in words) or not _is_named(value)


def _is_named(text: str) -> bool:
    return any(map(str.isalnum, text))


def _patterns(name: str, value: str) -> Iterator[str]:
    """The patterns that a rule stands for: more than one where it may be read in several ways and forbids."""
    if name == "allow" or not value:
        yield value
        return
    value = value.strip(_QUOTES)
    parts = [value, *_BETWEEN.split(value)]
    bare = [part.lstrip(_OPENING).rstrip(_CLOSING) for part in parts if not _ALL_WITH.fullmatch(part)]
    for pattern in dict.fromkeys([*parts, *filter(None, bare)]):
        if address := _ADDRESS.match(pattern):
            pattern = pattern[address.end() :]
            if not pattern.strip("/*"):  # all of a host, most likely of another
                continue
        yield pattern if pattern.startswith(("/", "*")) else f"/{pattern}"


def _records(body: bytes) -> Iterator[tuple[str, str]]:
    """(agent | allow | disallow | delay | sitemap | signal, value) of each line that has one of them."""
    for text in _plain_lines(body):
        line = text.partition("#")[0]
        for part in _NEXT.split(line):  # "User-agent: * Disallow: /", where line ends were lost
            part = part.strip()
            if part.startswith(tuple(_OPENING)):
                part = part.lstrip(_OPENING).rstrip(_CLOSING).strip()
            found = _RECORD.match(part)
            separator = found and _SEPARATOR.match(part, found.end())
            if found and separator and found.lastgroup:
                yield found.lastgroup, part[separator.end() :]


def _plain_lines(body: bytes) -> Iterator[str]:
    """Its lines without HTML. A whole page stays as it is: one that says "not found" may quote a robots.txt."""
    is_page = None
    for line in _lines(body):
        line = _INVISIBLE.sub("", line)
        if is_page is None and line.strip():
            is_page = _PAGE.match(line) is not None
        yield from [line] if is_page else _BREAK.sub("\n", _TAG.sub(" ", line)).split("\n")


def _lines(body: bytes) -> Iterator[str]:
    """Its lines. One that is no UTF-8 comes in each reading that its server may mean: of three kinds at most."""
    for mark, wide in _MARKS:
        if body.startswith(mark):
            yield from body.decode(wide, "replace").splitlines()
            return
    head = body[:1024]
    if head.count(0) > len(head) // 3:  # UTF-16 without a mark
        big = head[::2].count(0) > head[1::2].count(0)
        yield from body.decode("utf-16-be" if big else "utf-16-le", "replace").splitlines()
        return
    plain = body.replace(b"\0", b"")
    try:
        text = plain.decode("utf-8")
    except UnicodeDecodeError:
        yield from _undeclared(plain)
    else:
        yield from text.splitlines()


def _undeclared(plain: bytes) -> Iterator[str]:
    """The lines of a file that is no UTF-8."""
    detector = EncodingDetector()
    detector.feed(plain, last=True)
    guessed = detector.guess(tld=None, allow_utf8=False)
    for line in plain.splitlines():
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError:
            as_bytes = quote(line, safe=bytes(range(128)))  # "/caf%E9", as a server of that encoding has it in URLs
            yield from dict.fromkeys([line.decode(guessed, "replace"), line.decode("cp1252", "replace"), as_bytes])
