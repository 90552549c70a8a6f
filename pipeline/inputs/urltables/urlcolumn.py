"""Which column holds the URLs of the pictures: by its name and, where names leave it open, by the first rows.

Many tables call the page of a picture `url` and the picture something else. A column of pictures is known by URLs that
end as names of pictures do; where neither names nor cells tell the two apart, both are given, to be asked about.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from core.errors import UsageError
from pipeline.inputs.pages.placeholders import EXTENSION
from pipeline.inputs.urltables.tablecolumns import listed, plain

# Names as `plain` has them. The first two are pictures' whatever else there is: where one of the first is there, the
# second are not looked at. The third are pictures' where their cells are URLs, and not files, bytes or objects.
SURE = ("imageurl", "imgurl", "pictureurl", "imagelink", "imagesrc", "imgsrc", "originalurl", "photoimageurl")
USUAL = ("photourl", "displayurl", "urltoimage", "imagehref", "imageuri", "imguri", "imagefileurl", "imagedownloadurl")
LIKELY = ("image", "img", "src", "picture", "photo", "mediaurl", "contenturl", "downloadurl", "fileurl", "murl")
NAMES = frozenset({*SURE, *USUAL, *LIKELY, "url"})

SAMPLE = 100  # rows that are looked at
_MOST, _FEW = 0.5, 0.1  # shares of the cells of a column
_DEPTH = 4  # of objects and lists in each other that are looked into

_URL = re.compile(r"\s*(?:https?:)?//[^\s/]|\s*www\.", re.IGNORECASE)
_PICTURE = re.compile(rf"\.{EXTENSION}\s*(?:[?#:!@;&]|$)|[?&](?:format|fm|ext)={EXTENSION}\b", re.IGNORECASE)
_PAGE_OF_FILE = re.compile(r"/wiki/[^/?#]+:|/blob/|[?&]title=[^&]*:", re.IGNORECASE)  # …/wiki/File:A_dog.jpg
_OF_PICTURES = re.compile(r"image|img|photo|picture|media|thumb|^src|src$|poster|artwork")
_SMALL = re.compile(r"thumb|preview|small|tiny|blur|placeholder|lowres|lqip")
# Pictures of somebody or something else than the row is about, and pages that pictures are on.
_OF_OTHERS = re.compile(
    r"avatar|author|user|owner|creator|profile|icon|logo|licen[cs]e|flag|badge|credit|website|landing|page|host|context"
    r"|permalink|publisher|channel|seller|brand"
)


class _Seen(NamedTuple):
    """What the cells of a column are."""

    urls: float  # share of those that are not empty
    pictures: float  # whose URLs look like pictures'
    nested: str  # where in an object or a list a URL stands; empty where none does


def candidates(
    names: Sequence[str],
    known: Mapping[str, Sequence[str]],
    rows: Sequence[Mapping[str, Any]],
    other: Collection[str],
    shown: str,
) -> list[str]:
    """The columns that may be the pictures': one where it is clear, none where no column is.

    `known` has the names by their plain ones; `other` are columns that are something else. UsageError where the URLs
    stand within objects or lists. Without rows the names alone count.
    """
    for tier in (SURE, USUAL):
        if found := [name for key in tier for name in known.get(key, [])]:
            return found
    urls = list(known.get("url", []))
    likely = [name for key in LIKELY for name in known.get(key, [])]
    if not rows or len(urls) > 1:
        return urls or likely
    seen = {name: _look(name, rows) for name in dict.fromkeys(names) if name not in other}
    likely = [name for name in likely if name in seen and seen[name].urls >= _MOST]
    own = seen[urls[0]] if urls and urls[0] in seen else _Seen(0, 0, "")
    if own.pictures >= _MOST:
        return urls
    if urls and own.urls < _MOST:  # names of files, numbers: nothing that could be a page's
        return likely or urls
    found, clear = _pictures(seen, likely) if urls else (likely, True)
    if not found and own.pictures < _FEW:
        _refuse_nested(seen, urls, shown)
    if own.pictures >= _FEW:  # a thumbnail beside some pictures is theirs
        return [*urls, *(name for name in found if not _SMALL.search(plain(name)))]
    return found if found and clear else [*urls, *found]


def _pictures(seen: Mapping[str, _Seen], likely: Sequence[str]) -> tuple[list[str], bool]:
    """The columns beside `url` that may be pictures': the likely ones, else the full ones, else the small ones.

    And whether it is clear that they are, as it is not of columns that are only called as if they were.
    """
    others = [name for name in seen if plain(name) != "url" and not _OF_OTHERS.search(plain(name))]
    pictures = [name for name in others if seen[name].pictures >= _MOST]
    full = [name for name in pictures if not _SMALL.search(plain(name))]
    if likely:
        return [name for name in likely if name in full] or [*likely, *full], True
    named = [name for name in full if _OF_PICTURES.search(plain(name))]
    if pictures:
        return named or full or pictures, True
    return [name for name in others if seen[name].urls >= _MOST and _OF_PICTURES.search(plain(name))], False


def _refuse_nested(seen: Mapping[str, _Seen], urls: Sequence[str], shown: str) -> None:
    """UsageError where URLs of pictures stand within the values of a column."""
    for name, cells in seen.items():
        if cells.nested:
            way = listed([cells.nested])
            beside = f"its {listed(urls)} does not look like a picture's" if urls else "no other column has them"
            raise UsageError(
                f"{shown} has the URLs of its pictures inside {listed([name])} (at .{way}), and {beside}: copy them to "
                f"a column of their own (jq, for each row: .image_url = .{way}), or say which it is by crawl.url_column"
            )


def _look(name: str, rows: Sequence[Mapping[str, Any]]) -> _Seen:
    cells = [cell for row in rows if (cell := row.get(name)) not in (None, "")]
    texts = [cell for cell in cells if isinstance(cell, str)]
    n = max(len(cells), 1)
    nested = next((path for cell in cells if (path := _nested(cell, plain(name), name))), "")
    return _Seen(sum(map(_is_url, texts)) / n, sum(map(is_picture, texts)) / n, nested)


def _is_url(text: str) -> bool:
    return _URL.match(text) is not None


def is_picture(text: str) -> bool:
    """Whether a text is a URL that looks like a picture's, not like a page's about it."""
    return _is_url(text) and _PICTURE.search(text) is not None and _PAGE_OF_FILE.search(text) is None


def _nested(value: Any, about: str, path: str, depth: int = 0) -> str:
    """The way to a URL of a picture within an object or a list, by what it is called or looks like."""
    if isinstance(value, str):
        of_pictures = _OF_PICTURES.search(about) or about.startswith("urls")
        return path if depth and _is_url(value) and (is_picture(value) or of_pictures) else ""
    if depth >= _DEPTH or _OF_OTHERS.search(about):
        return ""
    if isinstance(value, Mapping):
        parts = [(part, about + plain(str(key)), f"{path}.{key}") for key, part in value.items()]
    elif isinstance(value, (list, tuple)):
        parts = [(part, about, f"{path}[{i}]") for i, part in enumerate(value[:1])]
    else:
        return ""
    return next((found for part, said, way in parts if (found := _nested(part, said, way, depth + 1))), "")
