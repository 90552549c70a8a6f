"""147 pages as people publish them, held against what another parser and another rule find in them.

The oracle knows no names of attributes: an image may show any URL that stands in its tag, in a <source> of its
<picture> or in the same image's copy within <noscript>, and shows none that a person has seen to be a blank, or that is
the src of three images of the page with different alts though each of their tags names a URL that no other names.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline.ids import fold
from pipeline.inputs.archives.warc import Page, pages
from pipeline.inputs.pages.charset import decode
from pipeline.inputs.pages.extract import Found, candidates
from pipeline.web.urls import normalise

BLANKS = re.compile(  # looked at one by one: what of these pages is no picture
    r"/(?:1x1(?:\.trans)?|blank|pixel|placeholder|shim|no-image|missing-image|loading|ajax[-_]loader|5x3|spacer|mu|b)"
    r"\.(?:gif|png|svg)(?:\?|$)"
)
OTHER_THAN_URLS = {"alt", "title", "class", "id", "style", "width", "height", "sizes", "name", "rel", "type", "role"}
LINKS = {"data-permalink", "data-link", "data-href", "data-pin-url", "longdesc"}


@dataclass
class Shown:
    """An <img> as the oracle sees it."""

    alt: str
    src: str
    urls: set[str] = field(default_factory=set)  # that it may show


class Oracle(HTMLParser):
    """The images of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.base, self.page = page, page
        self.images: list[Shown] = []
        self._sources: list[str] | None = None  # of the <picture> that is open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in reversed(attrs)}
        if tag == "base" and values.get("href"):
            self.base = normalise(values["href"], self.page) or self.base
        elif tag == "picture":
            self._sources = []
        elif tag == "source" and self._sources is not None:
            self._sources += self._urls(values)
        elif tag in ("img", "amp-img"):
            src = normalise(values.get("src", ""), self.base) if values.get("src", "").strip() else None
            urls = {*self._urls(values), *(self._sources or ())}
            self.images.append(Shown(fold(values.get("alt", "")), src or "", urls - {self.page, self.base}))

    def handle_endtag(self, tag: str) -> None:
        if tag == "picture":
            self._sources = None

    def _urls(self, values: dict[str, str]) -> list[str]:
        found = []
        for name, value in values.items():
            if name in OTHER_THAN_URLS or name in LINKS or name.startswith(("on", "aria-")):
                continue
            for word in [value.strip(), *re.split(r",?\s+", value.strip())]:
                is_path = "/" in word or re.search(r"\.(?:jpe?g|png|gif|webp|svg)", word)
                if is_path and not re.search(r"[<{\"]|^data:", word) and (url := normalise(word, self.base)):
                    found.append(url)
        return found


def blanks(images: list[Shown]) -> set[str]:
    """The URLs of a page that are no pictures."""
    sharing: dict[str, list[Shown]] = defaultdict(list)
    for image in images:
        sharing[image.src].append(image)
    found = {url for image in images for url in image.urls if BLANKS.search(url)}
    for src, some in sharing.items():
        own = [image for image in some if image.urls - {src}]
        if (
            src
            and len({image.alt for image in own}) > 2
            and len({min(image.urls - {src}) for image in own}) == len(own)
        ):
            found.add(src)
    return found


@pytest.fixture(scope="module")
def read(data: Path) -> list[tuple[list[Shown], list[Found]]]:
    """Of each page: what the oracle saw, what we found."""
    both = []
    for page in pages(str(data / "realpages" / "realpages.warc.gz"), 5_000_000):
        assert isinstance(page, Page)
        oracle = Oracle(page.url)
        oracle.feed(decode(page.body, page.charset))
        both.append((oracle.images, list(candidates(page))))
    assert len(both) == 147
    return both


def test_alts_with_a_url_of_their_own_are_found(read: list[tuple[list[Shown], list[Found]]]) -> None:
    there = missed = 0
    for images, rows in read:
        no_picture = blanks(images)
        ours = {(row.image_url, row.text) for row in rows if row.reason in (None, "repeated_on_page")}
        for image in images:
            if image.alt and (urls := image.urls - no_picture):
                there += 1
                missed += ours.isdisjoint((url, image.alt) for url in urls)
    assert there > 1_700
    assert missed <= there / 100, f"{missed} of {there}"


def test_no_pair_has_a_blank_as_its_image(read: list[tuple[list[Shown], list[Found]]]) -> None:
    seen = 0
    for images, rows in read:
        no_picture = blanks(images)
        seen += len(no_picture)
        assert [row for row in rows if row.reason is None and row.image_url in no_picture] == []
    assert seen > 20


def test_a_picture_is_one_pair_with_its_alt(read: list[tuple[list[Shown], list[Found]]]) -> None:
    """The copy in a <noscript> and the image that is loaded late are one and the same."""
    again = 0
    for images, rows in read:
        alts = {image.alt for image in images}
        again += sum(row.reason == "repeated_on_page" and row.text in alts for row in rows)
    assert again > 300


def test_languages(read: list[tuple[list[Shown], list[Found]]]) -> None:
    declared = [languages for _, rows in read if (languages := {row.page_lang for row in rows if row.page_lang})]
    assert len(declared) > 120
    assert {"de-de", "de_at", "en-us", "pt-br", "pl"} <= set[str]().union(*declared)
