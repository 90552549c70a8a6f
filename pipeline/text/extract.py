"""Images with their texts out of one HTML page: every one found is kept or has a reason, and carries the page's marks.

An <img> names one image, by the first of: src (unless it is a placeholder), the attributes that lazy loading uses,
srcset, the <source>s of its <picture>. The src comes first because the other ways into the data (WAT archives, URL
tables) know only that: the same picture gets the same image_id whichever way it came.
Its texts are its alt, its title and the caption of the closest <figure>.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser, LexborNode

from pipeline.records import fold
from pipeline.text.charset import decode
from pipeline.text.warc import Page
from pipeline.web.optout import header_marks, meta_marks
from pipeline.web.urls import normalise

MAX_TAGS = 30_000
"""A page is read up to this many `<`: nesting costs the parser (lexbor) quadratic time, 30,000 open tags 1 to 2 s."""
MAX_ATTRIBUTES = 2_000
"""A page is read up to a tag with this many attributes, which cost quadratic time as well: 100,000 take a minute."""
MAX_IMAGES = 2_000
"""Images of a page that are taken; more are lists for machines."""
MAX_TEXT_CHARS = 10_000
"""A longer text is no caption; CLIP reads the first 76 tokens."""
MAX_CLIMB = 32
"""How many elements up a <figure> or <picture> is looked for."""

REASONS = (
    "no_text",
    "no_url",
    "data_uri",
    "url_invalid",
    "text_too_long",
    "repeated_on_page",
    "too_many_images",
    "too_many_tags",
    "too_many_attributes",
)

_LAZY = ("data-src", "data-lazy-src", "data-original", "data-lazy", "data-img-src", "data-original-src")
_LAZY_SETS = ("data-srcset", "data-lazy-srcset")
_PLACEHOLDER = re.compile(
    r"(?:^|[/_.-])(?:1x1|blank|dummy|grey|gray|lazy|lazyload|loader|loading|pixel|placeholder|spacer|transparent|trans)"
    r"(?![a-z])[\w.-]{0,40}\.(?:gif|png|svg|jpe?g|webp)$",
    re.IGNORECASE,
)
_INLINE_ELEMENTS = (
    "-text -comment a abbr b bdi bdo cite code em font i kbd mark q s small span strong sub sup time u wbr"
)
_INLINE = frozenset(_INLINE_ELEMENTS.split())
_SILENT = frozenset({"script", "style", "noscript", "template"})


class Found(NamedTuple):
    """An image with one of its texts, as a row of the candidate table will have it; or why it will not be one."""

    image_url: str  # as normalise gives it; as written in the page where the reason speaks of the URL
    text: str  # white space folded
    text_source: str  # alt | title | figcaption
    image_source: str  # the attribute that named the image: src, srcset, data-src …, or "source srcset"
    licence: str | None
    opt_out: str | None
    reason: str | None  # None: a candidate; else one of REASONS


class Marks(NamedTuple):
    """What a page says about all that is on it."""

    base: str  # what relative URLs are relative to
    licence: str | None
    opt_out: str | None


class Figure(NamedTuple):
    """What a <figure> says about the images in it."""

    caption: str  # white space folded
    licence: str | None


def candidates(page: Page) -> Iterator[Found]:
    """Every image of the page with each of its texts, in the page's order; `reason` says why a row is no candidate.

    An image without a usable URL, or without any text, is one row. Nothing that a page holds makes it raise.
    """
    html, excess = bounded(decode(page.body, page.charset))
    tree = LexborHTMLParser(html)
    marks = marks_of(tree, page)
    seen: set[tuple[str, str]] = set()
    figures: dict[int, Figure] = {}
    for n, image in enumerate(tree.css("img")):
        for row in _rows(image, marks, figures) if n < MAX_IMAGES else [_dropped(marks, "too_many_images")]:
            if row.reason is not None:
                yield row
            elif (row.image_url, row.text) in seen:
                yield row._replace(reason="repeated_on_page")
            else:
                seen.add((row.image_url, row.text))
                yield row
    if excess:
        yield _dropped(marks, excess)


def marks_of(tree: LexborHTMLParser, page: Page) -> Marks:
    """The page's base URL, its licence, and its marks against use, from its header and its HTML.

    The licence is what the page calls so (rel=license), else its Creative Commons link if it has only one: of several,
    each may be about one image.
    """
    base, licence = "", None
    commons: set[str] = set()
    opt_out = set(header_marks(page.headers))
    for node in tree.css("base[href], meta[name][content], [rel~=license i][href], a[href*='creativecommons.org/' i]"):
        attributes = {name: value or "" for name, value in node.attributes.items()}
        if node.tag == "base":
            base = base or normalise(attributes["href"], page.url) or ""
        elif node.tag == "meta":
            opt_out.update(meta_marks(attributes["content"], attributes["name"]))
        elif url := normalise(attributes["href"], base or page.url):
            if "license" in attributes.get("rel", "").lower().split():
                licence = licence or url
            elif _COMMONS.match(url):
                commons.add(url)
    if len(commons) == 1:
        licence = licence or commons.pop()
    return Marks(base or page.url, licence, ",".join(sorted(opt_out)) or None)


_COMMONS = re.compile(r"https?://(?:www\.)?creativecommons\.org/(?:licen[cs]es|publicdomain)/")


_FLOOD = re.compile(  # wherever a tag may start, attributes as the HTML standard reads them
    r"<[a-zA-Z][^\s/>]*+(?:[\s/]*+(?:=?[^\s/>=]++|=)"
    rf"(?:\s*+=\s*+(?:\"[^\"]*+\"|'[^']*+'|[^\s>\"'][^\s>]*+)?+)?+){{{MAX_ATTRIBUTES}}}"
)


def bounded(html: str) -> tuple[str, str | None]:
    """The page as far as it can be parsed in a second or two, and what is too much in the rest."""
    excess = None
    if flood := _FLOOD.search(html):
        html, excess = html[: flood.start()], "too_many_attributes"
    if html.count("<") > MAX_TAGS:
        html, excess = "<".join(html.split("<", MAX_TAGS + 1)[:-1]), "too_many_tags"
    return html, excess


def _rows(image: LexborNode, marks: Marks, figures: dict[int, Figure]) -> list[Found]:
    """The rows of one <img>, alt first. `figures` are those read so far, by node."""
    attributes = image.attributes
    node, picture = _around(image)
    source, url, reason = _image_url(attributes, picture, marks.base)
    if reason:
        return [_dropped(marks, reason, url[:100], source)]
    figure = Figure("", None)
    if node:
        figure = figures.get(node.mem_id) or figures.setdefault(node.mem_id, _figure(node, marks.base))
    texts = {
        "alt": fold(attributes.get("alt") or ""),
        "title": fold(attributes.get("title") or ""),
        "figcaption": figure.caption,
    }
    found = Found(url, "", "", source, figure.licence or marks.licence, marks.opt_out, None)
    rows = [
        found._replace(text=text, text_source=text_source)
        if len(text) <= MAX_TEXT_CHARS
        else found._replace(text=text[:100], text_source=text_source, reason="text_too_long")
        for text_source, text in texts.items()
        if text
    ]
    return rows or [found._replace(reason="no_text")]


def _dropped(marks: Marks, reason: str, url: str = "", source: str = "") -> Found:
    return Found(url, "", "", source, marks.licence, marks.opt_out, reason)


def _around(image: LexborNode) -> tuple[LexborNode | None, LexborNode | None]:
    """The closest <figure> and the <picture> that hold the image."""
    figure = picture = None
    node = image.parent
    for _ in range(MAX_CLIMB):
        if node is None or figure is not None:
            break
        if node.tag == "figure":
            figure = node
        elif node.tag == "picture":
            picture = picture or node
        node = node.parent
    return figure, picture


def _figure(node: LexborNode, base: str) -> Figure:
    """The text of a figure's <figcaption>, which is a child of it, and the Creative Commons licence it links to."""
    caption = next((_text(child) for child in node.iter() if child.tag == "figcaption"), "")
    link = node.css_first("a[href*='creativecommons.org/' i]")
    url = link and normalise(link.attributes.get("href") or "", base)
    return Figure(caption, url if url and _COMMONS.match(url) else None)


def _text(node: LexborNode) -> str:
    """The text that a reader sees in a node, a space around elements that are not inline; white space folded."""
    parts = []
    for inner in node.traverse(include_text=True):
        if inner.tag not in _INLINE or (inner.prev and inner.prev.tag not in _INLINE):
            parts.append(" ")
        if inner.tag == "-text" and not (inner.parent and inner.parent.tag in _SILENT):
            parts.append(inner.text(deep=False))
    return fold("".join(parts))


def _image_url(attributes: dict[str, str | None], picture: LexborNode | None, base: str) -> tuple[str, str, str | None]:
    """Which attribute names the image, its URL, and why there is none: no_url, data_uri, url_invalid."""
    first: tuple[str, str, str] | None = None
    for source, value in _named(attributes, picture):
        if value[:5].lower() == "data:":
            failure = "data_uri"
        else:
            url = normalise(value, base)
            if url:
                return source, url, None
            failure = "url_invalid"
        first = first or (source, value, failure)
    return first or ("", "", "no_url")


def _named(attributes: dict[str, str | None], picture: LexborNode | None) -> Iterator[tuple[str, str]]:
    """(attribute, URL as written) of all that may name the image, the best first."""
    src = (attributes.get("src") or "").strip()
    lazy = [(name, value.strip()) for name in _LAZY if (value := attributes.get(name)) and value.strip()]
    if src and not _PLACEHOLDER.search(src.partition("?")[0]):
        yield "src", src
        src = ""
    yield from lazy
    for name in ("srcset", *_LAZY_SETS):
        if url := largest(attributes.get(name) or ""):
            yield name, url
    for node in picture.css("source") if picture else ():
        if url := largest(node.attributes.get("srcset") or node.attributes.get("data-srcset") or ""):
            yield "source srcset", url
    if src:  # it looked like a placeholder, but there is nothing better
        yield "src", src


_CANDIDATE = re.compile(r"[\s,]*([^\s,]\S*)(?:\s+([^,]*))?")
_DESCRIPTOR = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)[wx]\s*")


def largest(srcset: str) -> str:
    """The URL of a srcset's largest image, by its w or x descriptor, the first of equals; "" if there is none.

    Source: https://html.spec.whatwg.org/#parse-a-srcset-attribute; a candidate with a bad descriptor counts as 1x.
    """
    best, size, at = "", -1.0, 0
    while match := _CANDIDATE.match(srcset, at):
        url, descriptor, at = match[1], match[2] or "", match.end()
        if url.endswith(","):  # then there is no descriptor, and the next candidate starts here
            url, descriptor, at = url.rstrip(","), "", match.end(1)
        number = _DESCRIPTOR.fullmatch(descriptor)
        if (value := float(number[1]) if number else 1.0) > size:
            best, size = url, value
    return best
