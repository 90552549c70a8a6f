"""What stands around the images of a page: figures, links, <picture>s, maps, languages. Each is read once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser, LexborNode

from pipeline.records import fold
from pipeline.text.sources import Named, Source, Where, filled, judge, largest
from pipeline.web.urls import normalise

MAX_TEXT_CHARS = 10_000
"""A longer text is no caption; CLIP reads the first 76 tokens."""
MAX_CLIMB = 32
"""How many elements up a <figure>, <picture> or link is looked for."""
MAX_TEXT_NODES = 100_000
"""Elements and texts of a page that are read for texts around images; more are captions within captions, each read
for all."""
MAX_LANGUAGE_CHARS = 35  # of a language tag (RFC 5646, 4.4.1)

COMMONS = re.compile(r"https?://(?:www\.)?creativecommons\.org/(?:licen[cs]es|publicdomain)/")

_INLINE_ELEMENTS = (
    "-text -comment a abbr b bdi bdo cite code em font i kbd mark q s small span strong sub sup time u wbr"
)
_INLINE = frozenset(_INLINE_ELEMENTS.split())
_SILENT = frozenset({"script", "style", "noscript", "template"})


Texts = list[tuple[str, str | None]]
"""(text_source, text with its white space folded; None where too much was read of the page already)."""


class Figure(NamedTuple):
    """What a <figure> says about the images in it."""

    caption: str | None  # white space folded; None: the texts around the images of this page are too long together
    licence: str | None


class Place(NamedTuple):
    """What holds the children of an element: itself and all around it."""

    depth: int
    lang: str | None  # that the closest element declares that does
    holders: dict[str, tuple[LexborNode, int]]  # the closest of each kind in _HOLDERS, with its depth

    def holder(self, tag: str) -> LexborNode | None:
        """The closest element of a kind, if it is close."""
        node, depth = self.holders.get(tag, (None, 0))
        return node if self.depth - depth < MAX_CLIMB else None


_HOLDERS = frozenset({"figure", "picture", "a", "noscript", "svg"})
_NOWHERE = Place(0, None, {})


def lang_of(attributes: dict[str, str | None]) -> str | None:
    """The language that an element declares, in lower case."""
    lang = attributes.get("lang") or attributes.get("xml:lang") or ""
    return lang.strip()[:MAX_LANGUAGE_CHARS].lower() or None


class Around:
    """What stands around the images of a page, each read once, however many images are in it."""

    def __init__(self, tree: LexborHTMLParser, where: Where, chars: int) -> None:
        self._tree = tree
        self._where = where
        self._places: dict[int, Place] = {}  # by node, as the next two
        self._figures: dict[int, Figure] = {}
        self._texts: dict[int, Texts] = {}
        self._nodes, self._chars = MAX_TEXT_NODES, 2 * chars  # that may still be read

    def place(self, node: LexborNode) -> Place:
        """What holds an element."""
        new: list[LexborNode] = []
        above = node.parent
        while above is not None and above.mem_id not in self._places:
            new.append(above)
            above = above.parent
        place = self._places[above.mem_id] if above is not None else _NOWHERE
        for element in reversed(new):
            attributes, tag = element.attributes, element.tag
            depth, holders = place.depth + 1, place.holders
            if tag in _HOLDERS and (tag != "a" or "href" in attributes):
                holders = {**holders, tag or "": (element, depth)}
            place = Place(depth, lang_of(attributes) or place.lang if attributes else place.lang, holders)
            self._places[element.mem_id] = place
        return place

    def figure(self, node: LexborNode | None) -> Figure:
        """What a figure says; nothing if there is none."""
        if node is None:
            return Figure("", None)
        if node.mem_id not in self._figures:
            caption = next((child for child in node.iter() if child.tag == "figcaption"), None)
            text = "" if caption is None else self.text(caption)
            self._figures[node.mem_id] = Figure(text, self._licences.get(node.mem_id))
        return self._figures[node.mem_id]

    def link(self, node: LexborNode | None) -> Texts:
        """The texts of a link."""
        if node is None:
            return []
        if node.mem_id not in self._texts:
            attributes = node.attributes
            self._texts[node.mem_id] = [
                ("link title", fold(attributes.get("title") or "")),
                ("link aria-label", fold(attributes.get("aria-label") or "")),
                ("link", self.text(node)),
            ]
        return self._texts[node.mem_id]

    def drawing(self, node: LexborNode | None) -> Texts:
        """The title and the description that an element of SVG has."""
        if node is None:
            return []
        if node.mem_id not in self._texts:
            children = {child.tag: child for child in reversed(list(node.iter()))}
            self._texts[node.mem_id] = [
                (f"svg {tag}", self.text(children[tag])) for tag in ("title", "desc") if tag in children
            ]
        return self._texts[node.mem_id]

    def source(self, picture: LexborNode | None) -> Source | None:
        """What the <source>s of a picture name, and whether for a script: the first that is usable, else the first."""
        return None if picture is None else self._sources.get(picture.mem_id)

    def areas(self, usemap: str | None) -> list[str]:
        """The texts of the areas of a map, for the first image that is divided by it."""
        return self._areas.pop(usemap.strip().removeprefix("#"), []) if usemap else []

    def text(self, node: LexborNode) -> str | None:
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
            url = normalise(link.attributes["href"] or "", self._where.base)
            for node in _above(link):
                if node.tag == "figure":
                    found.setdefault(node.mem_id, url if url and COMMONS.match(url) else None)
        return found

    @cached_property
    def _sources(self) -> dict[int, Source]:
        found: dict[int, Source] = {}
        for node in self._tree.css("source"):
            offered = list(_sets(node.attributes))
            pictures = [above.mem_id for above in _above(node) if above.tag == "picture"] if offered else []
            if not pictures:
                continue
            judged = [(Named("source srcset", judge(url, self._where)), lazy) for url, lazy in offered]
            best = next((one for one in judged if not one[0].judged.failure), judged[0])
            for picture in pictures:
                if picture not in found or (found[picture][0].judged.failure and not best[0].judged.failure):
                    found[picture] = best
        return found

    @cached_property
    def _areas(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for node in self._tree.css("map area[alt]"):
            text = fold(node.attributes["alt"] or "")
            above = next((above for above in _above(node) if above.tag == "map"), None) if text else None
            if above is not None:
                found.setdefault(above.attributes.get("name") or above.attributes.get("id") or "", []).append(text)
        return found


def _above(node: LexborNode) -> Iterator[LexborNode]:
    """The elements that hold a node, the closest first."""
    above = node.parent
    for _ in range(MAX_CLIMB):
        if above is None:
            return
        yield above
        above = above.parent


def _sets(attributes: dict[str, str | None]) -> Iterator[tuple[str, bool]]:
    """The largest image of each srcset of a <source>, and whether it is there for a script."""
    for name in ("data-srcset", "data-lazy-srcset", "srcset"):
        if url := largest(filled(attributes.get(name) or "", attributes)):
            yield url, name != "srcset"
