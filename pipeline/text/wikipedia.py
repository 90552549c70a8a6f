"""Wikipedia's dumps: the articles with their texts as words to count, and how often each was read.

Articles: dumps.wikimedia.org, enwiki-…-pages-articles*.xml.bz2 (or unpacked). Views: the hourly files pageviews-….gz.
"""

from __future__ import annotations

import bz2
import gzip
import html
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple, cast
from urllib.parse import unquote
from xml.etree import ElementTree

from core.errors import Failure
from core.files import open_input


class Article(NamedTuple):
    """A page of the encyclopedia itself: no redirect, no talk, no template."""

    title: str
    markup: str  # wikitext, see `plain`


def articles(path: str) -> Iterator[Article]:
    """The articles of a dump, plain or bz2, in its order, one in memory at a time.

    Failure if the file ends early or is no dump.
    """
    with _opened(path) as file:
        try:
            events = ElementTree.iterparse(file, events=("start", "end"))
            root = next(events)[1]
            for event, element in events:
                if event == "end" and _name(element) == "page":
                    page = {_name(child): child for child in element}
                    if page["ns"].text == "0" and "redirect" not in page:
                        yield Article(page["title"].text or "", page["revision"].findtext("{*}text") or "")
                    root.clear()  # else the tree grows with the file
        except (ElementTree.ParseError, EOFError, OSError, KeyError) as error:
            raise Failure(f"{path} cannot be read to its end as a dump ({error!r}): get it again") from error


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]  # the namespace says which version of the format it is


def views(path: str, projects: tuple[str, ...] = ("en", "en.m")) -> Counter[str]:
    """Views by title in one hourly file (plain or gzip): lines of `project title count bytes`, "_" for spaces.

    `projects` are added up: en.m is the English Wikipedia on telephones. Pages outside the encyclopedia are left out.
    """
    found: Counter[str] = Counter()
    wanted = tuple(f"{project} ".encode() for project in projects)
    with _opened(path) as file:
        try:
            for line in file:
                if line.startswith(wanted):
                    _, title, count, *_ = line.decode("utf-8", "replace").split(" ")
                    if not _NO_ARTICLE.match(title):
                        found[unquote(title, errors="replace").replace("_", " ")] += int(count)
        except (ValueError, EOFError, OSError, zlib.error) as error:
            raise Failure(f"{path} cannot be read to its end as page views ({error!r}): get it again") from error
    return found


_NO_ARTICLE = re.compile(
    r"-$|Main_Page$|(?:Special|Media|Talk|User|Wikipedia|WP|Project|File|Image|MediaWiki|Template|Help|Category|Portal"
    r"|Draft|TimedText|Module)(?:_talk)?:",
    re.IGNORECASE,
)

# ── wikitext ──

_NESTS = re.compile(  # what opens and closes parts that are not prose, and the headings at which nothing is open
    r"(?P<open>\{\{|^[ :]*\{\||<(?P<element>ref|math|gallery|timeline|source|syntaxhighlight|score|chem|code|imagemap)"
    r"\b(?:[^<>/]|/(?!>))*>)"
    r"|(?P<close>\}\}|^\|\}(?!\})|</(?:ref|math|gallery|timeline|source|syntaxhighlight|score|chem|code|imagemap)\s*>)"
    r"|(?P<heading>^==+[^=\n])",
    re.MULTILINE | re.IGNORECASE,
)
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_LINK = re.compile(r"\[\[([^\[\]]*)\]\]")
_ELSEWHERE = re.compile(r"\w[\w -]{0,30}:(?=\S)")  # File:…, Category:…, de:…
_EXTERNAL = re.compile(r"\[(?:https?:)?//[^\s\[\]]*([^\[\]\n]*)\]|https?://\S+")
_REST = re.compile(r"'{2,}|^[=*#:;]+|=+[ \t]*$|</?[a-z][^<>]*>|__[A-Z]+__", re.MULTILINE | re.IGNORECASE)
_LINK_DEPTH = 4  # links within the captions of pictures within …


def plain(markup: str) -> str:
    """Wikitext as prose: without templates, tables, references, formulas, pictures; links as they are read.

    Good for counting words, in time linear in the length. Part of an article is lost where a bracket is never closed,
    up to the next heading.
    """
    text = _prose(_COMMENT.sub("", markup))
    for _ in range(_LINK_DEPTH):
        text, found = _LINK.subn(_link_text, text)
        if not found:
            break
    text = _EXTERNAL.sub(r"\1", text)
    return html.unescape(_REST.sub("", text))


def _prose(markup: str) -> str:
    """What stands in no template, table or element of _NESTS."""
    parts, depth, start = [], 0, 0
    for mark in _NESTS.finditer(markup):
        if mark["open"]:
            if depth == 0:
                parts.append(markup[start : mark.start()])
            depth += 1
        elif mark["close"] and depth:
            depth -= 1
            start = mark.end()
        elif mark["heading"] and depth:  # something was never closed
            depth, start = 0, mark.start() - 1
    if depth == 0:
        parts.append(markup[start:])
    return " ".join(parts)


def _link_text(link: re.Match[str]) -> str:
    target, _, text = link[1].partition("|")
    if _ELSEWHERE.match(target):
        return ""
    return text or target.removeprefix(":")


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    """The file's content, unpacked by its first bytes."""
    with open_input(path) as file:
        magic = file.read(3)
        file.seek(0)
        if magic == b"BZh":
            with bz2.open(file) as unpacked:
                yield cast(IO[bytes], unpacked)
        elif magic.startswith(b"\x1f\x8b"):
            with gzip.open(file) as unpacked:
                yield cast(IO[bytes], unpacked)
        else:
            yield file
