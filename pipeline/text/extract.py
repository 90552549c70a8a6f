"""Images with their texts out of one HTML page: every one found is kept or has a reason, and carries the page's marks.

An <img> names one image, by the first of: src (unless it is a placeholder), the attributes that lazy loading uses,
srcset, the <source>s of its <picture>. The src comes first because the other ways into the data (WAT archives, URL
tables) know only that: the same picture gets the same image_id whichever way it came.
Its texts are its alt, its title and the caption of the closest <figure>.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser, LexborNode

from pipeline.records import fold
from pipeline.text.bounds import bounded
from pipeline.text.charset import decode
from pipeline.text.warc import Page
from pipeline.web.optout import header_marks, meta_marks
from pipeline.web.urls import normalise

MAX_IMAGES = 2_000
"""Images of a page that are taken; more are lists for machines."""
MAX_TEXT_CHARS = 10_000
"""A longer text is no caption; CLIP reads the first 76 tokens."""
MAX_CLIMB = 32
"""How many elements up a <figure> or <picture> is looked for."""
MAX_CAPTION_NODES = 100_000
"""Elements and texts of a page that are read for captions; more are captions within captions, each read for all."""

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
_PLACEHOLDER_CHARS = 64  # that it can find, from the end
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

    caption: str | None  # white space folded; None: the captions of this page are too long together
    licence: str | None


class Judged(NamedTuple):
    """The image that an attribute names."""

    url: str  # as normalise gives it; how it starts in the page where that is none
    failure: str | None  # data_uri | url_invalid


def candidates(page: Page) -> Iterator[Found]:
    """Every image of the page with each of its texts, in the page's order; `reason` says why a row is no candidate.

    An image without a usable URL, or without any text, is one row. Nothing that a page holds makes it raise.
    """
    html, excess = bounded(decode(page.body, page.charset, page.url))
    tree = LexborHTMLParser(html)
    marks = marks_of(tree, page)
    seen: set[tuple[str, str]] = set()
    around = _Around(tree, marks.base, len(html))
    for n, image in enumerate(tree.css("img")):
        for row in _rows(image, marks, around) if n < MAX_IMAGES else [_dropped(marks, "too_many_images")]:
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


def _rows(image: LexborNode, marks: Marks, around: _Around) -> list[Found]:
    """The rows of one <img>, alt first."""
    attributes = image.attributes
    figure, picture = _figure_and_picture(image)
    source, url, reason = _image_url(attributes, picture, around)
    if reason:
        return [_dropped(marks, reason, url, source)]
    said = around.figure(figure)
    texts = {
        "alt": fold(attributes.get("alt") or ""),
        "title": fold(attributes.get("title") or ""),
        "figcaption": said.caption,
    }
    found = Found(url, "", "", source, said.licence or marks.licence, marks.opt_out, None)
    rows = [
        found._replace(text=text, text_source=text_source)
        if text is not None and len(text) <= MAX_TEXT_CHARS
        else found._replace(text=(text or "")[:100], text_source=text_source, reason="text_too_long")
        for text_source, text in texts.items()
        if text != ""
    ]
    return rows or [found._replace(reason="no_text")]


def _dropped(marks: Marks, reason: str, url: str = "", source: str = "") -> Found:
    return Found(url, "", "", source, marks.licence, marks.opt_out, reason)


# ── what stands around an image ──


def _figure_and_picture(image: LexborNode) -> tuple[LexborNode | None, LexborNode | None]:
    """The closest <figure> and the <picture> that hold the image."""
    figure = picture = None
    for node in _above(image):
        if node.tag == "figure":
            figure = node
            break
        if node.tag == "picture":
            picture = picture or node
    return figure, picture


def _above(node: LexborNode) -> Iterator[LexborNode]:
    """The elements that hold a node, the closest first."""
    above = node.parent
    for _ in range(MAX_CLIMB):
        if above is None:
            return
        yield above
        above = above.parent


class _Around:
    """What stands around the images of a page, each read once, however many images are in it."""

    def __init__(self, tree: LexborHTMLParser, base: str, chars: int) -> None:
        self.base = base
        self._tree = tree
        self._figures: dict[int, Figure] = {}  # by node
        self._nodes, self._chars = MAX_CAPTION_NODES, 2 * chars  # that may still be read for captions

    def figure(self, node: LexborNode | None) -> Figure:
        """What a figure says; nothing if there is none."""
        if node is None:
            return Figure("", None)
        if node.mem_id not in self._figures:
            caption = next((child for child in node.iter() if child.tag == "figcaption"), None)
            text = "" if caption is None else self._text(caption)
            self._figures[node.mem_id] = Figure(text, self._licences.get(node.mem_id))
        return self._figures[node.mem_id]

    def source(self, picture: LexborNode | None) -> Judged | None:
        """What the <source>s of a picture name: the first that is usable, else the first."""
        return None if picture is None else self._sources.get(picture.mem_id)

    def _text(self, node: LexborNode) -> str | None:
        """The text that a reader sees in a node, a space around elements that are not inline, white space folded.

        No more of it than shows that it is too long; None where too much was read of this page already.
        """
        parts: list[str] = []
        size = 0  # of its words
        for inner in node.traverse(include_text=True):
            self._nodes -= 1
            if min(self._nodes, self._chars) < 0:
                return None
            if inner.tag not in _INLINE or (inner.prev and inner.prev.tag not in _INLINE):
                parts.append(" ")
            if inner.tag == "-text" and not (inner.parent and inner.parent.tag in _SILENT):
                text = inner.text(deep=False)
                parts.append(text)
                self._chars -= len(text)
                size += sum(map(len, text.split()))
                if size > MAX_TEXT_CHARS:
                    break
        return fold("".join(parts))

    @cached_property
    def _licences(self) -> dict[int, str | None]:
        """Of figures that link to Creative Commons, by node: their first such link, if it is to a licence."""
        found: dict[int, str | None] = {}
        for link in self._tree.css("a[href*='creativecommons.org/' i]"):
            url = normalise(link.attributes["href"] or "", self.base)
            for node in _above(link):
                if node.tag == "figure":
                    found.setdefault(node.mem_id, url if url and _COMMONS.match(url) else None)
        return found

    @cached_property
    def _sources(self) -> dict[int, Judged]:
        found: dict[int, Judged] = {}
        for node in self._tree.css("source"):
            url = largest(node.attributes.get("srcset") or node.attributes.get("data-srcset") or "")
            pictures = [above.mem_id for above in _above(node) if above.tag == "picture"] if url else []
            if not pictures:
                continue
            judged = _judged(url, self.base)
            for picture in pictures:
                if picture not in found or (found[picture].failure and not judged.failure):
                    found[picture] = judged
        return found


# ── which URL an image has ──


def _image_url(
    attributes: dict[str, str | None], picture: LexborNode | None, around: _Around
) -> tuple[str, str, str | None]:
    """Which attribute names the image, its URL, and why there is none: no_url, data_uri, url_invalid."""
    first: tuple[str, str, str] | None = None
    for source, (url, failure) in _named(attributes, picture, around):
        if failure is None:
            return source, url, None
        first = first or (source, url, failure)
    return first or ("", "", "no_url")


def _named(
    attributes: dict[str, str | None], picture: LexborNode | None, around: _Around
) -> Iterator[tuple[str, Judged]]:
    """(attribute, what it names) of all that may name the image, the best first."""
    base = around.base
    src = (attributes.get("src") or "").strip()
    lazy = [(name, value.strip()) for name in _LAZY if (value := attributes.get(name)) and value.strip()]
    path = src.partition("?")[0]
    if src and not _PLACEHOLDER.search(path, max(0, len(path) - _PLACEHOLDER_CHARS)):
        yield "src", _judged(src, base)
        src = ""
    for name, value in lazy:
        yield name, _judged(value, base)
    for name in ("srcset", *_LAZY_SETS):
        if url := largest(attributes.get(name) or ""):
            yield name, _judged(url, base)
    if source := around.source(picture):
        yield "source srcset", source
    if src:  # it looked like a placeholder, but there is nothing better
        yield "src", _judged(src, base)


def _judged(value: str, base: str) -> Judged:
    if value[:5].lower() == "data:":
        return Judged(value[:100], "data_uri")
    url = normalise(value, base)
    return Judged(url, None) if url else Judged(value[:100], "url_invalid")


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
