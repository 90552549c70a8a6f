"""Images in shadow trees that a page declares are found, those in templates that nothing shows are not."""

from __future__ import annotations

import time

import pytest

from pipeline.inputs.archives.warc import Page
from pipeline.inputs.pages.extract import candidates

OPEN = "<template shadowrootmode=open>"


def texts(body: str) -> list[str]:
    page = Page("http://a.test/", body.encode(), "utf-8", (), 0, None)
    return [row.text for row in candidates(page) if row.reason is None]


def img(alt: str) -> str:
    return f"<img src=/{alt}.jpg alt={alt}>"


@pytest.mark.parametrize(
    ("body", "alts"),
    [
        (f"<x-card>{OPEN}{img('A')}</template>{img('B')}</x-card>{img('C')}", "ABC"),
        (f"<div><template shadowrootmode='closed'>{img('A')}</template></div>", "A"),
        (f'<div><TEMPLATE class=x\nshadowRootMode = "OPEN" >{img("A")}</TEMPLATE></div>', "A"),
        (f"<x-a><template shadowroot=open shadowrootmode=open shadowrootdelegatesfocus>{img('A')}</template>", "A"),
        (f"<x-a>{OPEN}<slot></slot><x-b>{OPEN}{img('A')}</template></x-b></template></x-a>{img('B')}", "AB"),
        (f"<x-a>{OPEN}{img('A')}", "A"),
        # what nothing shows
        (f"<template>{img('A')}</template>{img('B')}", "B"),
        (f"<template shadowrootmode=none>{img('A')}</template>{img('B')}", "B"),
        (f"<template shadowrootmode=opened>{img('A')}</template>", ""),
        (f"<template shadowrootmode>{img('A')}</template>", ""),
        (f"<template data-shadowrootmode=open>{img('A')}</template>", ""),
        (f"<template data-x='shadowrootmode=open'>{img('A')}</template><p>shadowrootmode", ""),
        (f"<x-a>{OPEN}<template>{img('A')}</template>{img('B')}</template></x-a>{img('C')}", "BC"),
        (f"<template><x-a>{OPEN}{img('A')}</template></x-a>{img('B')}</template>{img('C')}", "C"),
        (f"<x-a>{OPEN}{img('A')}</template></x-a><template>{img('B')}</template>{img('C')}", "AC"),
        # what only looks like one
        (f"<script>s = '<template>{OPEN}'</script><!-- {OPEN} -->{img('A')}", "A"),
        (f"<template-x shadowrootmode=open>{img('A')}</template-x>", "A"),
        (f"</template></template><x-a>{OPEN}{img('A')}</template></x-a>", "A"),
    ],
)
def test_images_in_shadow_trees(body: str, alts: str) -> None:
    assert texts(body) == list(alts)


def test_a_figure_and_its_caption_may_be_one() -> None:
    assert texts(f"<x-a>{OPEN}<figure><img src=a.jpg><figcaption>A</figcaption></figure></template></x-a>") == ["A"]
    card = f"<x-a>{OPEN}<img src=a.jpg></template></x-a>"
    assert texts(f"<figure>{card}<figcaption>B</figcaption></figure><img src=c.jpg alt=C>") == ["B", "C"]
    assert texts(f"<figure>{card * 50}<figcaption>B</figcaption></figure><img src=c.jpg alt=C>") == ["B", "C"]


@pytest.mark.parametrize(
    "body",
    [
        OPEN * 30_000,
        "<template shadowrootmode=" * 30_000,
        "<template " + "shadowrootmode" * 100_000,
        "<template " + " shadowrootmode = " * 100_000 + ">",
        "<template>" * 15_000 + OPEN * 15_000,
    ],
)
def test_it_takes_linear_time(body: str) -> None:
    began = time.process_time()
    assert texts(body) == []
    assert time.process_time() - began < 20
