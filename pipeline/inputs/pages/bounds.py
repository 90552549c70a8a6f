"""How far a page can be read in a second or two: what costs the parser (lexbor) more than its bytes is counted first.

A page that was made to hurt can hide a tag from every reader but the parser, in a comment that is none or in a script
that is part of a drawing. So each place where a tag may start is counted from, whatever stands around it; and since
what follows from two such places is the same as soon as they meet, the count takes time linear in the page.
"""

from __future__ import annotations

import re

MAX_TAGS = 30_000
"""A page is read up to this many `<`: nesting costs the parser quadratic time, 30,000 open tags 1 to 2 s."""
MAX_ATTRIBUTES = 2_000
"""A page is read up to a tag with this many attributes, which cost quadratic time as well: 100,000 take a minute. All
<html> and all <body> are one tag here: the parser gathers their attributes."""
MANY_ATTRIBUTES = 100
"""A tag with more is not found in pages that people read; what all of them cost is bounded by the next."""
MAX_IN_LARGE_TAGS = 100_000
"""Attributes of a page in tags that have more than MANY_ATTRIBUTES: 2,000 in each of 50 tags take 0.2 s."""
MAX_REOPENED_BYTES = 1 << 30
"""The parser, as browsers do, opens a formatting tag that a block interrupted again in the next block: 5,000 <b> in
5,000 paragraphs make 25 million elements. What these may come to, if each of the page's tags were such a block."""

_SPACE = r"[\t\n\f\r ]"  # that of HTML; \s has more, and a tag would seem to end where it does not
_ATTRIBUTE = re.compile(  # as the HTML standard reads them
    rf"[\t\n\f\r /]*+(?:=?[^\t\n\f\r />=]++|=)"
    rf"(?:{_SPACE}*+={_SPACE}*+(?:\"[^\"]*+\"|'[^']*+'|[^\t\n\f\r >\"'][^\t\n\f\r >]*+)?+)?+"
)
_NAME = re.compile(r"<[a-zA-Z][^\t\n\f\r />]*+")
_PLAIN = re.compile(  # text, and tags of few attributes that no other tag may start in
    r"(?:[^<]*+<(?:(?![a-zA-Z])|[a-zA-Z][^\t\n\f\r />]*+(?:>|(?:[\t\n\f\r /]*+[^\t\n\f\r />=<]++"
    rf"(?:{_SPACE}*+={_SPACE}*+(?:\"[^\"<]*+\"|'[^'<]*+'|[^\t\n\f\r >\"'<][^\t\n\f\r ><]*+)|(?!{_SPACE}*+=))"
    rf"){{0,{MANY_ATTRIBUTES}}}+[\t\n\f\r /]*+>)))*+[^<]*+"
)
_GATHERED = re.compile(r"<(?:html|body)(?=[\t\n\f\r /])", re.IGNORECASE | re.ASCII)

# Those of which the parser keeps a list (https://html.spec.whatwg.org/#the-list-of-active-formatting-elements), up to
# _EQUAL that are equal: b big code em font i nobr s small strike strong tt u. Not <a>, which ends the one before it.
# What else this finds are no elements; it is a third faster than their names.
_FORMATTING = re.compile(
    r"<[bceinfstu](?:ig|ode|m|ont|obr|mall|trike|trong|t)?(?=[\t\n\f\r /])", re.IGNORECASE | re.ASCII
)
_INLINE = r"(?:a|abbr|b|big|br|cite|code|em|font|i|img|nobr|s|small|span|strike|strong|sub|sup|tt|u)"
_WRITTEN = (
    rf"(?:{_SPACE}++[^\t\n\f\r />=<\"']++(?:=(?:\"[^\"<>]*+\"|'[^'<>]*+'|[^\t\n\f\r ><\"'=`]++))?+)*+{_SPACE}*+/?+>"
)
_CLOSED = re.compile(  # with little more than words in it: then it leaves the list
    rf"<([a-z]++){_WRITTEN}(?:[^<]++|<(?!/?\1[\t\n\f\r />])(?:{_INLINE}{_WRITTEN}|/{_INLINE}>)){{0,20}}+</\1>",
    re.IGNORECASE | re.ASCII,
)
_EQUAL = 3  # formatting tags that may stand in the list
_ELEMENT_BYTES, _ATTRIBUTE_BYTES = 300, 150  # that the parser takes for one, besides its text


def bounded(html: str) -> tuple[str, str | None]:
    """The page as far as it can be parsed in a second or two, and what is too much in the rest."""
    excess = None
    if html.count("<") > MAX_TAGS:
        html, excess = "<".join(html.split("<", MAX_TAGS + 1)[:-1]), "too_many_tags"
    tags = _Tags(html)
    if (end := tags.end_by_attributes()) is not None:
        html, excess = html[:end], "too_many_attributes"
    if (end := tags.end_by_formatting(len(html))) is not None:
        html, excess = html[:end], "too_many_tags"
    return html, excess


class _Tags:
    """The attributes of the tags that a page may have, counted on from each place once."""

    def __init__(self, html: str) -> None:
        self._html = html
        self._rest: dict[int, tuple[int, int]] = {}  # by a place between attributes: those to come, the tag's end

    def end_by_attributes(self) -> int | None:
        """Where the page has to be cut so that no tag, nor all large ones, has too many; None where it need not be."""
        flood = self._first_flood()
        gathered = 0
        for tag in _GATHERED.finditer(self._html, 0, len(self._html) if flood is None else flood):
            gathered += self._attributes(tag.end())[0]
            if gathered >= MAX_ATTRIBUTES:
                return tag.start()
        return flood

    def _first_flood(self) -> int | None:
        at = in_large = 0
        while (at := _end(_PLAIN, self._html, at)) < len(self._html):
            start, at, known = at, _end(_NAME, self._html, at), len(self._rest)
            attributes, _ = self._attributes(at)
            if attributes > MANY_ATTRIBUTES:
                in_large += len(self._rest) - known  # the others belong to a tag that was counted
            if attributes >= MAX_ATTRIBUTES or in_large > MAX_IN_LARGE_TAGS:
                return start
        return None

    def end_by_formatting(self, until: int) -> int | None:
        """Where the page, up to `until`, has to be cut so that not too much is opened again."""
        room = MAX_REOPENED_BYTES // max(1, self._html.count("<", 0, until)) // _EQUAL
        seen: set[str] = set()
        for tag in _FORMATTING.finditer(self._html, 0, until):
            start = tag.start()
            if _CLOSED.match(self._html, start, until):
                continue
            attributes, end = self._attributes(tag.end())
            written = self._html[start:end] if end - start < 2_000 else f"at {start}"
            if written not in seen:
                seen.add(written)
                room -= _ELEMENT_BYTES + attributes * _ATTRIBUTE_BYTES + end - start
            if room < 0:
                return start
        return None

    def _attributes(self, at: int) -> tuple[int, int]:
        """How many attributes stand from `at`, a place behind a tag's name, to its end; and where that is.

        No more than MAX_ATTRIBUTES are counted.
        """
        places: list[int] = []
        while at not in self._rest and len(places) < MAX_ATTRIBUTES:
            found = _ATTRIBUTE.match(self._html, at)
            if not found:
                self._rest[at] = 0, at
                break
            places.append(at)
            at = found.end()
        else:
            if at not in self._rest:
                return MAX_ATTRIBUTES, at
        attributes, end = self._rest[at]
        for place in reversed(places):
            attributes += 1
            self._rest[place] = attributes, end
        return attributes, end


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where what the pattern finds at a place ends, which may be there."""
    found = pattern.match(text, at)
    return found.end() if found else at
