"""The links of an HTML page that a guest may follow: <a href> and <area href>, unless the page asks not to."""

from __future__ import annotations

import re
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser

from pipeline.inputs.archives.warc import Page
from pipeline.inputs.pages.bounds import bounded
from pipeline.inputs.pages.charset import decode
from pipeline.inputs.pages.extract import marks_of
from pipeline.web.optout import header_marks, meta_marks
from pipeline.web.urls import normalise


class Links(NamedTuple):
    """Where a page leads to."""

    urls: list[str]  # normalised, each once, in the page's order
    nofollow: int  # links that are marked so and are not among them


def links(page: Page) -> Links:
    """The links of a page, as far as it can be parsed in a second or two; nothing that it holds makes this raise."""
    tree = LexborHTMLParser(bounded(decode(page.body, page.charset, page.url))[0])
    base = marks_of(tree, page).base
    anchors = [node.attributes for node in tree.css("a[href], area[href]")]
    if _asks_not_to_follow(tree, page):
        return Links([], len(anchors))
    marked = ["nofollow" in (anchor.get("rel") or "").lower().split() for anchor in anchors]
    found = [
        normalise(anchor["href"] or "", base) for anchor, nofollow in zip(anchors, marked, strict=True) if not nofollow
    ]
    return Links(list(dict.fromkeys(filter(None, found))), sum(marked))


def is_file(url: str) -> bool:
    """Whether a URL's path ends like that of something which is no page."""
    _, dot, extension = url.partition("?")[0].rpartition("/")[2].rpartition(".")
    return bool(dot) and _FILE.fullmatch(extension) is not None


_FILE = re.compile(
    r"7z|aac|ai|apk|atom|avi|avif|bin|bmp|bz2|css|csv|deb|dmg|docx?|eot|epub|eps|exe|flac|flv|gif|gz|heic"
    r"|ico|ics|iso|jar|jpe?g|js|json|m4[av]|mkv|mobi|mov|mp[34]|mpe?g|msi|od[pst]|og[gv]|otf|pdf|png|pp[st]x?|ps|psd"
    r"|rar|rdf|rpm|rss|rtf|svgz?|swf|tar|tgz|tiff?|torrent|tsv|ttf|wav|web[mp]|wm[av]|woff2?|xlsx?|xml|xz|zip|zst",
    re.IGNORECASE,
)


def _asks_not_to_follow(tree: LexborHTMLParser, page: Page) -> bool:
    """Whether headers or <meta> say nofollow, or none, to everyone or to us."""
    marks = set(header_marks((name, _as_none(value)) for name, value in page.headers))
    for node in tree.css("meta[name][content]"):
        marks.update(meta_marks(_as_none(node.attributes["content"] or ""), node.attributes["name"] or ""))
    return "none" in marks


def _as_none(directives: str) -> str:
    """With `none` for each nofollow, which is a half of it: optout knows that mark, and whom it is addressed to."""
    return re.sub(r"\bnofollow\b", "none", directives, flags=re.IGNORECASE)
