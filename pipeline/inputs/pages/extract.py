"""Images with their texts out of one HTML page: every one found is kept or has a reason, and carries the page's marks.

Elements: <img>, <amp-img>, <amp-anim>, <input type=image>, an <image> of SVG, an <object> that is an image; last the
og:image and twitter:image of the page's head that have a text. Not a video's poster nor a background: what is written
there is about something else. Which URL names an image: `sources`.

Texts of an image: its alt, title and aria-label (in SVG its <title> and <desc>, of an <object> what stands in it), the
captions of what it stands in (`captions`), the alts of the areas of its map. Where there is none of these, those of the
link around it: its title, its aria-label, its own text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser, LexborNode

from pipeline.ids import fold
from pipeline.inputs.archives.warc import Page
from pipeline.inputs.pages.around import COMMONS, MAX_TEXT_CHARS, Around, Surroundings, Texts, lang_of
from pipeline.inputs.pages.bounds import bounded
from pipeline.inputs.pages.captions import CAPTIONS
from pipeline.inputs.pages.cards import PROPERTIES, cards
from pipeline.inputs.pages.charset import decode
from pipeline.inputs.pages.placeholders import PICTURE
from pipeline.inputs.pages.shadow import SHOWN, opened
from pipeline.inputs.pages.sources import Named, Sources, Where, choose, judge, rival, stem
from pipeline.web.optout import header_marks, meta_marks
from pipeline.web.urls import normalise

MAX_IMAGES = 2_000
"""Images of a page that are taken; more are lists for machines."""

REASONS = (
    "no_text",
    "no_url",
    "data_uri",
    "url_invalid",
    "placeholder",
    "text_too_long",
    "repeated_on_page",
    "too_many_images",
    "too_many_tags",
    "too_many_attributes",
)

_ELEMENTS = ("img", "amp-img", "amp-anim", "input", "image", "object")
_LOOKED_AT = ", ".join((*_ELEMENTS, CAPTIONS, SHOWN))
_URL_ATTRIBUTE = {"object": "data", "image": "href"}  # of the others it is src


Element = tuple[LexborNode, str]
"""An element with its tag."""


class Found(NamedTuple):
    """An image with one of its texts, as a row of the candidate table will have it; or why it will not be one."""

    image_url: str  # as normalise gives it; as written in the page where the reason speaks of the URL
    text: str  # white space folded
    text_source: str  # alt | title | figcaption …, as the candidate table lists them
    image_source: str  # the attribute that named the image: src, srcset, data-src …, "source srcset", "noscript src"
    licence: str | None
    opt_out: str | None
    page_lang: str | None  # that the closest element declares, else the page's head or header
    reason: str | None  # None: a candidate; else one of REASONS


class Marks(NamedTuple):
    """What a page says about all that is on it."""

    base: str  # what relative URLs are relative to
    licence: str | None
    opt_out: str | None
    lang: str | None  # by a meta tag or the header
    cards: tuple[tuple[str, str], ...]  # (property, content) of what the head says about the page's own image


class Image(NamedTuple):
    """An element that shows an image, with what says which."""

    node: LexborNode
    tag: str
    attributes: dict[str, str | None]  # src names the image whatever the element
    place: Surroundings
    sources: Sources  # of its <picture>
    instead: str | None  # what a script will put in its place


def candidates(page: Page) -> Iterator[Found]:
    """Every image of the page with each of its texts, in the page's order; `reason` says why a row is no candidate.

    An image without a usable URL, or without any text, is one row. Nothing that a page holds makes it raise.
    """
    html, excess = bounded(decode(page.body, page.charset, page.url))
    tree, looked_at = _parsed(html)
    marks = marks_of(tree, page)
    seen: set[tuple[str, str]] = set()
    for row in _rows_of_page(tree, looked_at, marks, Where(marks.base, normalise(page.url) or page.url), len(html)):
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
    """The page's base URL, its licence, its marks against use and its language, from its header and its HTML.

    The licence is what the page calls so (rel=license), else its Creative Commons link if it has only one: of several,
    each may be about one image.
    """
    base, licence, lang = "", None, None
    commons: set[str] = set()
    opt_out = set(header_marks(page.headers))
    of_image: list[tuple[str, str]] = []
    for node in tree.css("base[href], meta[content], [rel~=license i][href], a[href*='creativecommons.org/' i]"):
        attributes = {name: value or "" for name, value in node.attributes.items()}
        if node.tag == "base":
            base = base or normalise(attributes["href"], page.url) or ""
        elif node.tag == "meta":
            name, content = attributes.get("name", ""), attributes["content"]
            opt_out.update(meta_marks(content, name))
            if (about := (attributes.get("property") or name).strip().lower()) in PROPERTIES:
                of_image.append((about, content))
            elif attributes.get("http-equiv", "").strip().lower() == "content-language":
                lang = lang or lang_of({"lang": content})
        elif url := normalise(attributes["href"], base or page.url):
            if "license" in attributes.get("rel", "").lower().split():
                licence = licence or url
            elif COMMONS.match(url):
                commons.add(url)
    if len(commons) == 1:
        licence = licence or commons.pop()
    lang = lang or lang_of({"lang": dict(page.headers).get("content-language")})
    return Marks(base or page.url, licence, ",".join(sorted(opt_out)) or None, lang, tuple(of_image))


def _parsed(html: str) -> tuple[LexborHTMLParser, list[Element]]:
    """The page's tree, and its elements that may be images or captions, with their tags."""
    tree, looked_at = _tree(html)
    if any(tag == "template" for _, tag in looked_at):
        tree, looked_at = _tree(opened(html))
    return tree, looked_at


def _tree(html: str) -> tuple[LexborHTMLParser, list[Element]]:
    tree = LexborHTMLParser(html)
    return tree, [(node, node.tag or "") for node in tree.css(_LOOKED_AT)]


def _rows_of_page(
    tree: LexborHTMLParser, looked_at: list[Element], marks: Marks, where: Where, chars: int
) -> Iterator[Found]:
    around = Around(tree, where, chars, (node for node, tag in looked_at if tag not in _ELEMENTS))
    nodes = [(node, tag) for node, tag in looked_at if tag in _ELEMENTS and _shows_an_image(node, tag)]
    images = [_image(node, tag, around) for node, tag in nodes[:MAX_IMAGES]]
    shared = _shared(images, where)
    named = [_instead(image, where) or choose(image.attributes, image.sources, where, shared) for image in images]
    for n, image in enumerate(images):
        yield from _rows(image, _copy(n, images, named) or named[n], marks, around)
    for _ in nodes[MAX_IMAGES:]:
        yield _dropped(marks, "too_many_images")
    root = tree.css_first("html[lang]") if marks.cards else None
    lang = lang_of(root.attributes) if root else None
    for source, url, text in cards(marks.cards):
        yield from _with_texts(Named(source, judge(url, where)), [(f"{source}:alt", fold(text))], marks, None, lang)


# ── an image ──


def _shows_an_image(node: LexborNode, tag: str) -> bool:
    if tag == "input":
        return (node.attributes.get("type") or "").strip().lower() == "image"
    if tag == "object":
        kind, data = (node.attributes.get(name) or "" for name in ("type", "data"))
        return kind.strip().lower().startswith("image/") or (not kind and PICTURE.search(data) is not None)
    return True


def _image(node: LexborNode, tag: str, around: Around) -> Image:
    attributes, place = node.attributes, around.place(node)
    if own := _URL_ATTRIBUTE.get(tag):
        attributes = {**attributes, "src": attributes.get(own) or attributes.get("xlink:href")}
    instead = _full(node) if "preview" in (attributes.get("class") or "").split() else None
    return Image(node, tag, attributes, place, partial(around.source, place.holder("picture")), instead)


def _full(preview: LexborNode) -> str | None:
    """The picture that progressive-image.js puts in the place of a preview: where what is around that leads.

    Source: https://github.com/craigbuckler/progressive-image.js
    """
    around = preview.parent.attributes if preview.parent else {}
    is_replaced = {"progressive", "replace"} <= set((around.get("class") or "").split())
    return (around.get("data-href") or around.get("href")) if is_replaced else None


def _instead(image: Image, where: Where) -> Named | None:
    """What a script puts in the place of an image, if that is one for sure."""
    named = Named("link href", judge(image.instead, where)) if image.instead else None
    return named if named and _is_sure(named) else None


def _shared(images: list[Image], where: Where) -> set[str]:
    """The URLs in the src of several images that show different pictures by what else names them: placeholders."""
    times = Counter(src for image in images if (src := image.attributes.get("src")) and src[:5].lower() != "data:")
    shown: dict[str, set[str]] = {}
    for image in images:
        src = image.attributes.get("src") or ""
        if times[src] > 1 and (picture := rival(image.attributes, image.sources, where) or _linked(image)):
            shown.setdefault(src, set()).add(picture)
    urls = {src: judge(src, where).url for src, pictures in shown.items() if len(pictures) > 1}
    return {url for src, url in urls.items() if len(shown[src] - {stem(url)}) > 1}


def _linked(image: Image) -> str | None:
    """The picture that the link around an image leads to."""
    link = image.place.holder("a")
    href = (link.attributes.get("href") or "") if link else ""
    return stem(href) if PICTURE.search(href) else None


_BESIDE = (1, 2, -1, -2)  # where among the images the copy for readers without scripts may stand


def _copy(n: int, images: list[Image], named: list[Named]) -> Named | None:
    """What names the copy in a <noscript> beside an image that nothing names for sure."""
    if _is_sure(named[n]) or images[n].place.holder("noscript"):
        return None
    alt = images[n].attributes.get("alt") or ""
    for at in (n + step for step in _BESIDE if 0 <= n + step < len(images)):
        is_copy = images[at].place.holder("noscript") and (images[at].attributes.get("alt") or "") == alt
        if is_copy and _is_sure(named[at]):
            return Named(f"noscript {named[at].source}", named[at].judged)
    return None


def _is_sure(named: Named) -> bool:
    return not named.judged.failure and not named.judged.doubtful


def _rows(image: Image, named: Named, marks: Marks, around: Around) -> list[Found]:
    """The rows of one element."""
    node, tag, attributes, place, *_ = image
    lang = lang_of(attributes) or place.lang
    if tag in _URL_ATTRIBUTE and named.source == "src":
        named = named._replace(source=_URL_ATTRIBUTE[tag])
    if tag in _AMP and not attributes.keys().isdisjoint(("placeholder", "fallback")):  # what stands there meanwhile
        named = named._replace(judged=named.judged._replace(failure=named.judged.failure or "placeholder"))
    if named.judged.failure:
        return _with_texts(named, [], marks, None, lang)
    texts: Texts = [(name, fold(value)) for name in _TEXTS if (value := attributes.get(name))]
    if tag == "image":
        texts += around.drawing(node) + around.drawing(place.holder("svg"))
    elif tag == "object":
        texts.append(("object", around.text(node)))
    texts += around.captions(place)
    if usemap := attributes.get("usemap"):
        texts += [("area alt", text) for text in around.areas(usemap)]
    if all(text == "" for _, text in texts):
        texts = around.link(place.holder("a"))
    return _with_texts(named, texts, marks, around.licence(place.holder("figure")), lang)


_TEXTS = ("alt", "title", "aria-label")
_AMP = frozenset({"amp-img", "amp-anim"})


def _with_texts(named: Named, texts: Texts, marks: Marks, licence: str | None, lang: str | None) -> list[Found]:
    """A row for each text that is not empty; one without a text where there is none, or no image."""
    url, failure, _ = named.judged
    licence, lang = licence or marks.licence, lang or marks.lang

    def row(text: str, text_source: str, reason: str | None) -> Found:
        return Found(url, text, text_source, named.source, licence, marks.opt_out, lang, reason)

    if failure:
        return [row("", "", failure)]
    rows = [
        row(text, text_source, None)
        if text is not None and len(text) <= MAX_TEXT_CHARS
        else row((text or "")[:100], text_source, "text_too_long")
        for text_source, text in texts
        if text != ""
    ]
    return rows or [row("", "", "no_text")]


def _dropped(marks: Marks, reason: str) -> Found:
    return Found("", "", "", "", marks.licence, marks.opt_out, marks.lang, reason)
