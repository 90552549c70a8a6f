"""Pages that were made to hurt are read in seconds, and pages that people read as they are."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.inputs.archives.warc import Page
from pipeline.inputs.pages.bounds import MANY_ATTRIBUTES, MAX_ATTRIBUTES, MAX_IN_LARGE_TAGS, MAX_TAGS, bounded
from pipeline.inputs.pages.extract import REASONS, candidates
from pipeline.livecrawl.links import links

BYTES = 5_000_000  # crawl.max_page_bytes
SECONDS = 10  # what takes 3 at most


def filled(unit: str, start: str = "", end: str = "") -> str:
    """A page of BYTES."""
    return start + unit * ((BYTES - len(f"{start}{end}".encode())) // len(unit.encode())) + end


def numbered(unit: str, count: int) -> str:
    return "".join(unit.replace("N", f"{n:x}") for n in range(count))


# ── pages as people write them ──

DESCRIPTION = "<a title=\"<b>1 > 0</b> and 'more'\" data-x='<i class=\"y\">' href=/x/?a=1>"
ORDINARY = {
    "nothing": "",
    "no tags": "1 < 2 and 3 <4, a<b or <3",
    "markup in attributes": DESCRIPTION * 5_000,
    "many attributes": f"<svg{numbered(' a-N=1', MANY_ATTRIBUTES)}>" * 500,
    "more in a few tags": f"<svg{numbered(' a-N=1', MAX_ATTRIBUTES - 1)}>" * (MAX_IN_LARGE_TAGS // MAX_ATTRIBUTES),
    "quotes forgotten": f"<img alt=\"He said \"{'so and '*500}\" to me\">" * 20,
    "icons": numbered("<i class='icon icon-N'></i> <code id=N>f(<a href=#N>x</a>)</code> ", 5_000),
    "old fonts": "<font face=Arial size=2><b>A</b> <i>word</i><br></font><p>" * 3_000,
    "fonts around blocks": numbered("<font color='#00000N'>", 16) + "<p>A word</p>" * 4_000,
    "a script": "<script>for(i=0;i<n&&a<b;i++){x=\"<p class='\"+y+\"'>\"}</script>" * 4_000,
    "several bodies": "<html lang=en><body class=x id=y><p>A page in a page" * 100,
}  # fmt: skip


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_page_is_read_to_its_end(name: str) -> None:
    assert bounded(ORDINARY[name]) == (ORDINARY[name], None)


# ── pages that were made to hurt ──

LARGE = numbered(" N", MAX_ATTRIBUTES - 10)
FLOOD = f"<a{numbered(' N', 100_000)}>"
CJK = "".join(map(chr, range(0x4E00, 0x4E00 + 5_000)))
TAGS, ATTRIBUTES = "too_many_tags", "too_many_attributes"
HOSTILE: dict[str, tuple[Callable[[], str], str | None]] = {  # page, what is too much of it
    # tags without end, seen from each place where one may start
    "starts": (lambda: filled("<a"), TAGS),
    "starts behind attributes": (lambda: filled("<a", "<a" + " a" * 1_999), TAGS),
    "starts in attributes": (lambda: filled("<a b=x" + "y" * 5_000 + " "), None),
    "starts in quotes": (lambda: filled("<a b=\"<c d='"), ATTRIBUTES),
    "one long name": (lambda: "<a" * 29_000 + "x" * 4_900_000, None),
    "one long attribute": (lambda: filled("/", "<a"), None),
    # attributes
    "a flood": (lambda: FLOOD, ATTRIBUTES),
    "floods below the limit": (lambda: filled(f"<a{LARGE}>"), ATTRIBUTES),
    "floods of the largest that are not large": (lambda: filled(f"<a{numbered(' N', MANY_ATTRIBUTES - 1)}>"), None),
    "bodies": (lambda: numbered("<body" + "".join(f" a{n}xN" for n in range(90)) + ">", 6_000), ATTRIBUTES),
    "<html>s": (lambda: numbered(f"<html{LARGE.replace(' ', ' Nx')}>", 300), ATTRIBUTES),
    "a flood behind no comment": (lambda: f"<!-- <a b=' -->{FLOOD}'", ATTRIBUTES),
    "a flood in a style that is none": (lambda: f"<svg><style><i x='</style>{FLOOD}'", ATTRIBUTES),
    "a flood behind a script": (lambda: f"<script>a<b c='</script>{FLOOD}'", ATTRIBUTES),
    "a flood behind what is no space": (lambda: f'<a \xa0=">"{FLOOD[2:]}', ATTRIBUTES),
    "a flood in a value without quotes": (lambda: f"<i x=<a/{FLOOD[3:].replace(' ', '/')}", ATTRIBUTES),
    # nesting, and what formatting tags make of it
    "lists": (lambda: filled("<ul><li>"), TAGS),
    "options": (lambda: filled("<option>", "<select>"), TAGS),
    "misnesting": (lambda: "<b><div>" * 7_400 + "</b>" * 14_800, None),
    "formatting": (lambda: f"<p>{numbered('<b a=N>', 5_000)}</p>{'<p>x</p>' * 5_000}", TAGS),
    "formatting around blocks": (
        lambda: f"<p>{numbered('<b a=N>' + '<div>' * 9 + '</b>', 1_000)}{'<p>x' * 17_000}",
        TAGS,
    ),
    "formatting that seems to end": (lambda: f"<p>{numbered('<b a=N><!--</b>-->', 5_000)}{'<p>x' * 9_000}", TAGS),
    "long formatting": (lambda: f"<p>{numbered('<b a=N' + 'x' * 40_000 + '>', 20)}{'<p>x' * 20_000}", TAGS),
    "different formatting": (lambda: numbered(f"<b a=N{numbered(' bN', 20)}>", 30_000), TAGS),
    "formatting by name alone": (lambda: "<p>" + "<b><i><u><s><tt><em><big>" * 3 + "<p>x" * 29_900, None),
    # what stands around images
    "captions in captions": (lambda: "<figure><img src=a><figcaption>" * 2_000 + "<i>x</i>" * 11_000, None),
    "a long text in captions": (lambda: filled("x", "<figure><img src=a><figcaption>" * 2_000), None),
    "spaces in captions": (lambda: filled(" ", "<figure><img src=a><figcaption>" * 2_000), None),
    "figures around a long link": (
        lambda: filled("x", "<figure><img src=a alt=A>" * 2_000 + "<a href='http://creativecommons.org/", "'>"),
        None,
    ),
    "figures around what is no licence": (
        lambda: filled("creativecommons.or", "<figure><img src=a alt=A>" * 2_000 + "<a href='", "'>"),
        None,
    ),
    "sources": (lambda: "<picture>" + "<source srcset='http://['>" * 26_000 + "<img alt=A>" * 2_000, None),
    "pictures in pictures": (lambda: "<picture><img alt=A>" * 2_000 + "<source srcset=', '>" * 25_000, None),
    "one long source": (lambda: filled(", ", "<picture><source srcset='", "'>" + "<img alt=A>" * 2_000), None),
    # URLs
    "hosts": (lambda: filled(f"<a href='http://{CJK}.test/'>"), None),
    "hosts in escapes": (lambda: filled(f"<a href='http://{''.join(f'%{b:02x}' for b in CJK.encode())}.test/'>"), None),
    "placeholders": (lambda: filled("-lazy.lazy.lazy.lazy.lazy.", "<img alt=A src='", "'>"), None),
    "directives": (lambda: filled(",", "<meta name=robots content='", "'>"), None),
}  # fmt: skip


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_page_made_to_hurt_takes_seconds(name: str) -> None:
    made, reason = HOSTILE[name]
    html = made()
    read, excess = bounded(html)
    assert excess == reason and html.startswith(read) and (len(read) < len(html)) == (reason is not None)
    page = Page("http://a.test/d/page.html", html.encode(), "utf-8", (), 0, None)
    assert len(page.body) <= BYTES
    began = time.process_time()
    assert {row.reason for row in candidates(page)} <= {None, *REASONS}
    found = time.process_time()
    assert len(links(page).urls) <= MAX_TAGS
    assert found - began < SECONDS and time.process_time() - found < SECONDS


# ── counting in one pass finds what counting from each place finds ──

SLOW = re.compile(  # quadratic time: from wherever a tag may start, attributes as the HTML standard reads them
    r"<[a-zA-Z][^\t\n\f\r />]*+(?:[\t\n\f\r /]*+(?>=?[^\t\n\f\r />=]++|=)(?:[\t\n\f\r ]*+=[\t\n\f\r ]*+"
    rf"(?:\"[^\"]*+\"|'[^']*+'|[^\t\n\f\r >\"'][^\t\n\f\r >]*+)?+)?+){{{MAX_ATTRIBUTES}}}"
)
PIECES = ["<a", "<b x", "<p ", " c=<d", "='", '="', "'", '"', ">", "/", "<", "=", " = ", " b", "\n", "\xa0", "-->", "x"]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join),
            st.sampled_from([1, 1, 1, 2, 700, 1_999, 2_000]),
        ),
        max_size=9,
    )
)
def test_no_flood_is_missed_and_none_imagined(runs: list[tuple[str, int]]) -> None:
    html = "".join(piece * times for piece, times in runs)
    flood = SLOW.search(html)
    read, excess = bounded(html)
    if html.count("<") <= MAX_TAGS and excess != TAGS:
        assert (len(read), excess) == ((flood.start(), ATTRIBUTES) if flood else (len(html), None))
