"""What stands around the images of a page: figures, links, <picture>s, maps, languages. Each is read once."""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Iterable, MutableMapping
from functools import cached_property
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser, LexborNode

from pipeline.ids import fold
from pipeline.inputs.pages.captions import KINDS, MAX_CLIMB, above_of, captions, within
from pipeline.inputs.pages.sources import Named, Where, judge, largest
from pipeline.inputs.pages.templates import filled
from pipeline.web.urls import normalise

MAX_TEXT_CHARS = 10_000
"""A longer text is no caption; CLIP reads the first 76 tokens."""
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


class Surroundings(NamedTuple):
    """What holds the children of an element: itself and all around it."""

    depth: int
    lang: str | None  # that the closest element declares that does
    holders: dict[str, tuple[LexborNode, int]]  # the closest of each tag in _HOLDERS and of each role, with its depth

    def holder(self, kind: str) -> LexborNode | None:
        """The closest element of a kind, if it is close."""
        node, depth = self.holders.get(kind, (None, 0))
        return node if self.depth - depth < MAX_CLIMB else None

    def captioned(self, kind: str) -> LexborNode | None:
        """The closest element whose caption of a kind is about what stands here, if it has one."""
        holder = "figure" if kind == "figcaption" else kind
        _, depth = self.holders.get(within(kind), (None, 0))
        return self.holder(holder) if depth < self.holders.get(holder, (None, 0))[1] else None


_HOLDERS = frozenset({"figure", "picture", "a", "noscript", "svg"})
_NOWHERE = Surroundings(0, None, {})


def lang_of(attributes: dict[str, str | None]) -> str | None:
    """The language that an element declares, in lower case."""
    lang = attributes.get("lang") or attributes.get("xml:lang")
    return None if lang is None else lang.strip()[:MAX_LANGUAGE_CHARS].lower() or None


class Around:
    """What stands around the images of a page, each read once, however many images are in it."""

    def __init__(self, tree: LexborHTMLParser, where: Where, chars: int, may_be_captions: Iterable[LexborNode]) -> None:
        self._tree = tree
        self._where = where
        self._captions = captions(may_be_captions)
        self._places: dict[int, Surroundings] = {}  # by node, as the next two
        self._caption_texts: dict[int, str | None] = {}
        self._images: dict[int, dict[str, str | None]] = {}
        self._texts: dict[int, Texts] = {}
        self._nodes, self._chars = MAX_TEXT_NODES, 2 * chars  # that may still be read

    def place(self, node: LexborNode) -> Surroundings:
        """What holds an element."""
        new: list[LexborNode] = []
        above = node.parent
        while above is not None and above.mem_id not in self._places:
            new.append(above)
            above = above.parent
        place = self._places[above.mem_id] if above is not None else _NOWHERE
        roles = self._captions.roles
        for element in reversed(new):
            tag, node_id, depth, holders = element.tag, element.mem_id, place.depth + 1, place.holders
            if tag in _HOLDERS and (tag != "a" or "href" in element.attributes):
                holders = {**holders, tag or "": (element, depth)}
            for role in roles.get(node_id, ()) if roles else ():
                holders = {**holders, role: (element, depth)}
            place = Surroundings(depth, self._langs.get(node_id, place.lang), holders)
            self._places[node_id] = place
        return place

    def captions(self, place: Surroundings) -> Texts:
        """The captions of what holds an image, each with its kind."""
        texts: Texts = []
        for kind in KINDS if self._captions.of else ():
            holder = place.captioned(kind)
            caption = self._captions.of.get((holder.mem_id, kind)) if holder else None
            if caption is None:
                continue
            if caption.mem_id not in self._caption_texts:
                self._caption_texts[caption.mem_id] = self.text(caption)
            texts.append((kind, self._caption_texts[caption.mem_id]))
        return texts

    def licence(self, figure: LexborNode | None) -> str | None:
        """The licence of Creative Commons that a figure links to."""
        return self._licences.get(figure.mem_id) if figure else None

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

    def source(self, picture: LexborNode | None, for_script: bool) -> Named | None:
        """What the <source>s of a picture name, for a script or at once: the first that is usable, else the first."""
        if picture is None:
            return None
        return (self._sources_for_script if for_script else self._sources).get(picture.mem_id)

    def areas(self, usemap: str) -> list[str]:
        """The texts of the areas of a map, for the first image that is divided by it."""
        return self._areas.pop(usemap.strip().removeprefix("#"), [])

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
    def _langs(self) -> dict[int, str]:
        nodes = self._tree.css(r"[lang], [xml\:lang]")
        return {node.mem_id: lang for node in nodes if (lang := lang_of(node.attributes))}

    @cached_property
    def _licences(self) -> dict[int, str | None]:
        """Of figures that link to Creative Commons, by node: their first such link, if it is to a licence."""
        found: dict[int, str | None] = {}
        for link in self._tree.css("a[href*='creativecommons.org/' i]"):
            url = normalise(link.attributes["href"] or "", self._where.base)
            for node in above_of(link):
                if node.tag == "figure":
                    found.setdefault(node.mem_id, url if url and COMMONS.match(url) else None)
        return found

    @cached_property
    def _sources(self) -> dict[int, Named]:
        return self._sources_by("srcset")

    @cached_property
    def _sources_for_script(self) -> dict[int, Named]:
        return self._sources_by("data-srcset", "data-lazy-srcset", "data-src", for_script=True)

    def _sources_by(self, *names: str, for_script: bool = False) -> dict[int, Named]:
        """By <picture>, the image that its <source>s name by one of these attributes; by data-src only in templates."""
        found: dict[int, Named] = {}
        for node in self._tree.css(", ".join(f"source[{name}]" for name in names)):
            attributes: MutableMapping[str, str | None] = node.attributes
            values = ((name, attributes.get(name) or "") for name in names)
            value = next((value for name, value in values if "{" in value or (value and name != "data-src")), "")
            pictures = [above for above in above_of(node) if above.tag == "picture"] if value else []
            if pictures and "{" in value:  # then the image says with what it is filled
                attributes = ChainMap(attributes, self._image_of(pictures[0]))
            url = largest(filled(value, attributes, by_default=for_script))
            if not url:
                continue
            named = Named("source srcset", judge(url, self._where))
            for picture in (above.mem_id for above in pictures):
                if picture not in found or (found[picture].judged.failure and not named.judged.failure):
                    found[picture] = named
        return found

    def _image_of(self, picture: LexborNode) -> dict[str, str | None]:
        """The attributes of the <img> in a <picture>."""
        if picture.mem_id not in self._images:
            image = next((child for child in picture.iter() if child.tag == "img"), None)
            self._images[picture.mem_id] = image.attributes if image else {}
        return self._images[picture.mem_id]

    @cached_property
    def _areas(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for node in self._tree.css("map area[alt]"):
            text = fold(node.attributes["alt"] or "")
            above = next((above for above in above_of(node) if above.tag == "map"), None) if text else None
            if above is not None:
                found.setdefault(above.attributes.get("name") or above.attributes.get("id") or "", []).append(text)
        return found
