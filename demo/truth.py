"""What is planted in the demo's web, and what must become of it: known to the tests, never to the pipeline.

Everything here is said for a crawl that asks for English texts with the filter's usual rules, and that fetches with a
timeout of SLOWER_THAN seconds at most.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from core.files import publish, to_json

SLOWER_THAN = 3.0  # seconds: what slow hosts take is more
NOT_PLANNED = "not_planned"  # of an image: none of its texts is kept, or it is on forbidden pages only


class Page(NamedTuple):
    """A page of HTML."""

    url: str
    language: str
    layout: str
    found_by: str  # seed | link | sitemap
    expected: str  # crawled | robots_disallowed | robots_unreachable
    opt_out: str  # its marks against use, as its meta tags have them


class Text(NamedTuple):
    """A text of an image on a page that may be crawled: a row of the candidate table."""

    image_url: str
    page_url: str
    text: str
    source: str  # alt | title | figcaption
    expected: str  # kept | the filter's reason to drop it


class Planted(NamedTuple):
    """An image as pages name it."""

    url: str
    label: str  # its class, "red triangle"; empty where it shows none
    kind: str  # picture | copy | placeholder | leak | odd | furniture
    expected: str  # success | a reason of the fetch | NOT_PLANNED


class Copy(NamedTuple):
    """A near-duplicate."""

    original: str  # URL
    copy: str  # URL
    kind: str  # resized | re-encoded | mirrored | bordered


class Leak(NamedTuple):
    """An evaluation picture that is on the web."""

    name: str  # in the tar of evaluation pictures
    url: str
    kind: str  # same bytes | re-encoded


@dataclass(frozen=True)
class Truth:
    """All of it. Lists are sorted."""

    seeds: list[str] = field(default_factory=list)  # front pages; every page is reached by links from them, or by …
    sitemaps: list[str] = field(default_factory=list)  # … these, which robots.txt names
    pages: list[Page] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    images: list[Planted] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    leaks: list[Leak] = field(default_factory=list)
    never_asked: list[str] = field(default_factory=list)  # URLs that pages name and that a polite guest leaves alone

    @property
    def placeholders(self) -> list[str]:
        """URLs of the one picture that stands where others are missing."""
        return [image.url for image in self.images if image.kind == "placeholder"]


_ROWS: dict[str, type[Any]] = {"pages": Page, "texts": Text, "images": Planted, "copies": Copy, "leaks": Leak}


def write(path: Path, truth: Truth) -> None:
    """As JSON: a list of objects a table."""
    tables = {
        name: sorted(rows) if name not in _ROWS else [row._asdict() for row in sorted(rows)]
        for name, rows in vars(truth).items()
    }
    publish(str(path), to_json(tables))


def read(path: Path) -> Truth:
    """What `write` wrote."""
    tables = json.loads(path.read_text(encoding="utf-8"))
    return Truth(
        **{name: [_ROWS[name](**row) for row in rows] if name in _ROWS else rows for name, rows in tables.items()}
    )
