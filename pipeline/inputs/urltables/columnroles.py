"""What the columns of a URL table are: which of them has the pictures' URLs, the captions, the pages, the ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from core.errors import UsageError
from pipeline.inputs.urltables import urlcolumn
from pipeline.inputs.urltables.tablecolumns import Options, listed, plain

# What a column is called, in lower case and without spaces, "_", "-" and ".". Of the captions, a row's is the first
# that is not empty. (Those of pictures are in urlcolumn.py; "url" beside one of them is the page's.)
TEXT_NAMES = ("caption", "captions", "text", "texts", "alttext", "alt")
PAGE_NAMES = ("pageurl", "page", "sourceurl", "source", "referrer", "referer")


class Roles(NamedTuple):
    """The names of the columns that are looked at; empty where there is none."""

    url: str
    texts: tuple[str, ...]
    page: str
    uid: str

    @property
    def own(self) -> frozenset[str]:
        """The columns that the candidate holds anyway: none of the others."""
        page = self.page if plain(self.page) == "pageurl" else ""
        return frozenset({self.url, self.texts[0], page, self.uid})


def roles(names: Sequence[str], options: Options, shown: str, first: Sequence[Mapping[str, Any]] = ()) -> Roles:
    """Which columns of a table are looked at; UsageError where it is not clear which is the URL or the caption.

    `first` are the first rows, by these names: where a name does not say whether a column's URLs are pictures' or
    pages', its cells do.
    """
    known: dict[str, list[str]] = {}
    for name in names:
        known.setdefault(plain(name), []).append(name)
    url = _given(options.url_column, "url_column", names, shown)
    if not url:
        others = {name for key in (*TEXT_NAMES, *PAGE_NAMES) for name in known.get(key, [])}
        images = urlcolumn.candidates(names, known, first, others, shown)
        url = _only(images, "url_column", names, shown)
    if not url:
        raise UsageError(
            f"{shown} has no column of image URLs that is known by its name (it has {listed(names)}): "
            "say which it is by crawl.url_column"
        )
    given = _given(options.text_column, "text_column", names, shown)
    texts = [given] if given else [_only(known.get(key, []), "text_column", names, shown) for key in TEXT_NAMES]
    texts = [name for name in texts if name and name != url]
    if not texts:
        raise UsageError(
            f"{shown} has no column of captions that is known by its name (it has {listed(names)}): "
            "say which it is by crawl.text_column"
        )
    pages = [name for key in (*PAGE_NAMES, "url") for name in known.get(key, []) if name not in {url, *texts}]
    uid = next((name for name in known.get("uid", []) if name not in {url, *texts}), "")
    return Roles(url, tuple(texts), pages[0] if pages else "", uid)


def has_url(names: Sequence[str], options: Options) -> bool:
    """Whether one of the names is that of a column of image URLs."""
    wanted = {plain(options.url_column)} if options.url_column else urlcolumn.NAMES
    return any(plain(name) in wanted for name in names)


def _given(name: str, key: str, names: Sequence[str], shown: str) -> str:
    if not name:
        return ""
    found = [name] * names.count(name) or [other for other in names if plain(other) == plain(name)]
    if not found:
        raise UsageError(f"{shown} has no column {name} (it has {listed(names)}): correct crawl.{key}")
    return _only(found, key, names, shown)


def _only(found: Sequence[str], key: str, names: Sequence[str], shown: str) -> str:
    if len(found) > 1 and len(set(found)) == 1:
        raise UsageError(f"{shown} has {len(found)} columns called {found[0]}: rename all but one")
    if len(found) > 1:
        raise UsageError(
            f"{shown} has several columns that may be meant, {listed(found)}: say which it is by crawl.{key}"
        )
    return found[0] if found else ""
