"""Five ways to write a page of pictures, as five kinds of sites do it.

A layout is a function of a page that gives the part of its HTML between header and footer. What a page says of a
picture stands in the `Shown`; how the picture is named in the HTML is a habit of the layout.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from html import escape
from typing import NamedTuple
from urllib.parse import urlsplit

PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
WAITING = "/img/placeholder.gif"  # what stands in src until a script puts the picture there; never asked for
STYLE = (
    "body{font:16px/1.5 Georgia,serif;margin:0 auto;max-width:60em;padding:0 1em;color:#333}"
    "header,footer{display:flex;gap:1em;align-items:center;border-bottom:1px solid #ccc;padding:.6em 0}"
    "footer{border:0;border-top:1px solid #ccc;font-size:85%;margin-top:2em}"
    ".grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(15em,1fr));gap:1em}"
    "figure{margin:0}figcaption{font-size:85%;color:#666}img{max-width:100%;height:auto}"
    "table.list{width:100%;border-collapse:collapse}table.list td{border-top:1px solid #ddd;padding:.5em}"
)


class Shown(NamedTuple):
    """A picture on a page, with what is said of it; a text that is empty is not there."""

    url: str
    alt: str = ""
    title: str = ""
    figcaption: str = ""

    @property
    def texts(self) -> dict[str, str]:
        """Its texts by their source, as the candidate table names it."""
        sources = {"alt": self.alt, "title": self.title, "figcaption": self.figcaption}
        return {source: text for source, text in sources.items() if text}


class Words(NamedTuple):
    """What is on every page of a language, whatever it shows."""

    home: str
    following: str
    before: str
    about: str
    price: str
    rights: str
    sentences: tuple[str, ...]


class PageOf(NamedTuple):
    """What a layout needs to know."""

    url: str
    title: str
    words: Words
    shown: list[Shown]
    links: Mapping[str, str]  # text of the link → URL
    head: str = ""  # more elements of the head: marks, licence
    charset: str = "utf-8"


def render(layout: str, page: PageOf, language: str) -> bytes:
    """The whole page."""
    words, here = page.words, urlsplit(page.url).netloc
    links = "".join(
        f'<li><a href="{escape(_href(page.url, url))}">{escape(text)}</a></li>' for text, url in page.links.items()
    )
    html = f"""<!DOCTYPE html>
<html lang="{language}">
<head>
<meta charset="{page.charset}">
<title>{escape(page.title)}</title>
{page.head}<style>{STYLE}</style>
</head>
<body>
<header><a href="/"><img src="/img/logo.png" alt="logo" width="48" height="48"></a> <b>{escape(here)}</b>
<a href="/">{words.home}</a> <a href="#about">{words.about}</a></header>
<h1>{escape(page.title)}</h1>
{LAYOUTS[layout](page)}
<nav><ul>
{links}
</ul></nav>
<footer id="about"><img src="/img/icons/mail.png" alt="{words.about}" width="16" height="16">
<a href="mailto:editor@{here}">editor@{here}</a> {words.rights}</footer>
</body>
</html>
"""
    return html.encode(page.charset, "xmlcharrefreplace")


def gallery(page: PageOf) -> str:
    """A grid of figures."""
    figures = "\n".join(
        f"<figure>{_img(page, shown, 'src', 'relative')}"
        + (f"<figcaption>{escape(shown.figcaption)}</figcaption>" if shown.figcaption else "")
        + "</figure>"
        for shown in page.shown
    )
    return f'<div class="grid">\n{figures}\n</div>'


def blog(page: PageOf) -> str:
    """An article with pictures between its paragraphs, some of them in several sizes."""
    parts = []
    for i, shown in enumerate(page.shown):
        parts.append(f"<p>{page.words.sentences[(len(page.url) + i) % len(page.words.sentences)]}</p>")
        parts.append(f"<p>{_img(page, shown, 'srcset' if i % 3 == 2 else 'src', 'absolute')}</p>")
    return "<article>\n" + "\n".join(parts) + "\n</article>"


def shop(page: PageOf) -> str:
    """A list of products in a table."""
    rows = "\n".join(
        f"<tr><td>{_img(page, shown, 'src', 'protocol')}</td><td>No. {_number(shown)}</td>"
        f"<td>{page.words.price} {4 + _number(shown) % 37}.50</td></tr>"
        for shown in page.shown
    )
    return f'<table class="list">\n{rows}\n</table>'


def magazine(page: PageOf) -> str:
    """Pictures that a script loads when they come into view, each in a way of its own."""
    ways = ("data-src", "data-srcset", "picture", "data-src", "srcset")
    return (
        '<div class="grid">\n'
        + "\n".join(
            f'<section class="story">{_img(page, shown, ways[i % len(ways)], "root")}'
            f"<p>{page.words.sentences[i % len(page.words.sentences)]}</p></section>"
            for i, shown in enumerate(page.shown)
        )
        + "\n</div>"
    )


def old(page: PageOf) -> str:
    """A page of the nineties: a centred table, and the texts in titles."""
    cells = [f"<TD ALIGN=center>{_img(page, shown, 'src', 'relative')}</TD>" for shown in page.shown]
    rows = "\n".join(f"<TR>{''.join(cells[i : i + 2])}</TR>" for i in range(0, len(cells), 2))
    return f"<CENTER><TABLE BORDER=1 CELLPADDING=6>\n{rows}\n</TABLE></CENTER>"


LAYOUTS: dict[str, Callable[[PageOf], str]] = {
    layout.__name__: layout for layout in (gallery, blog, shop, magazine, old)
}


def _img(page: PageOf, shown: Shown, way: str, form: str) -> str:
    """The element: `way` is the attribute that names the picture, `form` how its URL is written."""
    url = escape(_written(page.url, shown.url, form))
    said = f' alt="{escape(shown.alt)}"' + (f' title="{escape(shown.title)}"' if shown.title else "")
    match way:
        case "src":
            return f'<img src="{url}"{said}>'
        case "srcset":
            return f'<img srcset="{url}{_query(url)}small=1 80w, {url} 160w" sizes="15em"{said}>'
        case "data-src":
            return f'<img class="lazy" src="{PIXEL}" data-src="{url}"{said}>'
        case "data-srcset":
            return f'<img class="lazy" src="{WAITING}" data-srcset="{url}{_query(url)}small=1 1x, {url} 2x"{said}>'
        case _:
            return f'<picture><source srcset="{url} 160w"><img{said}></picture>'


def _query(url: str) -> str:
    return "&amp;" if "?" in url else "?"


def _written(page: str, url: str, form: str) -> str:
    """A URL as a page writes it: absolute, without its protocol, or if it is of the same host from its root or here."""
    if form == "protocol":
        return url.removeprefix("http:")
    return _href(page, url, relative=form == "relative") if form in ("relative", "root") else url


def _href(page: str, url: str, relative: bool = False) -> str:
    here, there = urlsplit(page), urlsplit(url)
    if here.netloc != there.netloc:
        return url
    path = posixpath.relpath(there.path, posixpath.dirname(here.path)) if relative else there.path
    return path + (f"?{there.query}" if there.query else "")


def _number(shown: Shown) -> int:
    return sum(shown.url.encode()) % 900 + 100
