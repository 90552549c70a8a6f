"""A web on paper: its pages, what each file of it is made of, and what is true of it. Nothing is painted here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import NamedTuple
from urllib.parse import urlsplit

from demo.hosts import Host
from demo.layouts import Shown
from demo.misbehaviour import GUARDED
from demo.pictures import Picture, encode, paint
from demo.truth import NOT_PLANNED, Page, Planted, Text, Truth


class Size(NamedTuple):
    """How much web there is."""

    english: int = 50  # pictures a class on English pages
    foreign: int = 4  # and in each other language
    copies: int = 25  # near-duplicates of each kind
    placeholders: int = 60  # URLs of the one placeholder
    evaluation: int = 20  # pictures a class to evaluate with that are on no page …
    leaks: int = 12  # … and pictures that are on one all the same


@dataclass
class Draft:
    """A page to be written."""

    host: Host
    url: str
    title: str
    shown: list[Shown] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)  # text → URL
    reasons: dict[str, str] = field(default_factory=dict)  # text → the filter's reason, where an English one is dropped
    found_by: str = "link"
    head: str = ""  # elements of the head
    opt_out: str = ""
    expected: str = "crawled"


@dataclass
class Plan:
    """What there is so far."""

    seed: int
    size: Size
    truth: Truth = field(default_factory=Truth)
    drafts: list[Draft] = field(default_factory=list)
    files: dict[str, Callable[[], bytes]] = field(default_factory=dict)  # host/path → its bytes
    images: dict[str, Planted] = field(default_factory=dict)  # by URL; what is expected if they are asked for
    numbers: Counter[str] = field(default_factory=Counter)  # of the files in each host's folder of pictures


def place(plan: Plan, url: str, make: Callable[[], bytes], image: Planted | None = None) -> str:
    """Put a file where a URL leads, and give the URL back. `image` is what is known of it, for the truth."""
    plan.files[url.removeprefix("http://").partition("?")[0]] = make
    if image:
        plan.images[url] = image
    return url


def place_picture(plan: Plan, picture: Picture, host: str, folder: str = "/pictures/", kind: str = "picture") -> str:
    """Put a picture on a host, under a number, in one of three formats; its URL."""
    rng = Random(f"{plan.seed} suffix {picture.name}")
    suffix = rng.choices(("jpg", "png", "webp"), (6, 1.5, 2.5))[0]
    url = new_url(plan, host, suffix, folder)
    return place(plan, url, partial(body_of, picture, suffix), Planted(url, picture.thing.name, kind, "success"))


def new_url(plan: Plan, host: str, suffix: str, folder: str = "/pictures/") -> str:
    """The next number in a folder of a host."""
    plan.numbers[host] += 1
    return f"http://{host}{folder}{plan.numbers[host]:04d}.{suffix}"


def body_of(picture: Picture, suffix: str) -> bytes:
    """A picture as a file."""
    return encode(paint(picture), suffix)


def show(draft: Draft, url: str, text: str, rng: Random, reason: str = "") -> None:
    """Put an image with one text somewhere on a page; `reason` is the filter's, if it must drop the text."""
    shown = Shown(url, title=text) if draft.host.layout == "old" else Shown(url, alt=text)
    draft.shown.insert(rng.randint(0, len(draft.shown)), shown)
    if reason:
        draft.reasons[text] = reason


def finish(plan: Plan) -> None:
    """The truth about all drafts: pages, texts, and what becomes of each image."""
    truth = plan.truth
    marked: set[str] = set()
    wanted: set[str] = set()
    for draft in plan.drafts:
        host = draft.host
        truth.pages.append(Page(draft.url, host.language, host.layout, draft.found_by, draft.expected, draft.opt_out))
        if draft.found_by == "seed":
            truth.seeds.append(draft.url)
        if draft.expected != "crawled":
            truth.never_asked.append(draft.url)
            continue
        for shown in draft.shown:
            if draft.opt_out:
                marked.add(shown.url)
            for source, text in shown.texts.items():
                reason = draft.reasons.get(text) or ("" if host.language == "en" else "language_not_wanted")
                truth.texts.append(Text(shown.url, draft.url, text, source, reason or "kept"))
                if not reason:
                    wanted.add(shown.url)
    for url, image in plan.images.items():
        expected = "opted_out" if url in marked else image.expected
        if url not in wanted:
            expected = NOT_PLANNED
        truth.images.append(image._replace(expected=expected))
        if expected == NOT_PLANNED or url in marked or urlsplit(url).netloc in GUARDED:
            truth.never_asked.append(url)
