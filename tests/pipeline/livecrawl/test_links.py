"""Links that a guest follows, and those that a page asks not to follow."""

from __future__ import annotations

import time

import pytest

from pipeline.inputs.archives.warc import Page
from pipeline.inputs.pages.bounds import MAX_TAGS
from pipeline.livecrawl.links import is_file, links


def page(html: str, *headers: tuple[str, str]) -> Page:
    return Page("http://a.test/d/page.html", html.encode(), None, headers, 0, None)


def test_links_are_those_that_a_browser_would_offer() -> None:
    found = links(
        page(
            "<a href=b.html>b</a> <a href='../c?x=1#top'>c</a> <A HREF=' //www.a.test/d\n'>d</A>"
            "<a href='b.html#two'>b</a>"
            "<map><area href=/e></map> <a name=f>f</a> <a href>here</a> <a href='mailto:me@a.test'>me</a>"
            "<a href='javascript:alert(1)'>js</a> <a href='ftp://a.test/'>ftp</a> <a href='http://me:pw@a.test/'>user</a>"
            "<!-- <a href=no1> --> <script>'<a href=no2>'</script> <link rel=next href=no3>"
        )
    )
    assert found.urls == [
        "http://a.test/d/b.html",
        "http://a.test/c?x=1",
        "http://www.a.test/d",
        "http://a.test/e",
        "http://a.test/d/page.html",
    ]
    assert found.nofollow == 0


def test_a_base_is_what_links_are_relative_to() -> None:
    found = links(page("<base href=/x/><base href=/y/><a href=b>b</a>"))
    assert found.urls == ["http://a.test/x/b"]


TWO = "<a href=/1>1</a><a href=/2 rel='noopener NoFollow'>2</a>"


@pytest.mark.parametrize(
    ("meta", "headers", "followed"),
    [
        ("", (), True),
        ("<meta name=robots content=noindex>", (("x-robots-tag", "noai"),), True),
        ("<meta name=googlebot content=nofollow>", (("x-robots-tag", "googlebot: nofollow"),), True),
        ("<meta name=description content='a nofollow guide'>", (), True),
        ("<meta name=ROBOTS content='index, NoFollow'>", (), False),
        ("<meta name=robots content=none>", (), False),
        ("<meta name=OpenWIT content=nofollow>", (), False),
        ("", (("x-robots-tag", "noindex, nofollow"),), False),
        ("", (("x-robots-tag", "openwit: none"),), False),
    ],
)
def test_a_page_that_asks_not_to_follow(meta: str, headers: tuple[tuple[str, str], ...], followed: bool) -> None:
    assert links(page(meta + TWO, *headers)) == ((["http://a.test/1"], 1) if followed else ([], 2))


@pytest.mark.parametrize("url", ["/a.jpg", "/a.PDF", "/d.html/a.tar.gz?x=y.html", "/a.webm", "/feed.xml"])
def test_files_are_known_by_their_names(url: str) -> None:
    assert is_file(f"http://a.test{url}")


@pytest.mark.parametrize("url", ["/", "/a.html", "/a.php?file=b.pdf", "/a.pdf/", "/v1.5", "/jpg", "/pdf.aspx"])
def test_pages_are_no_files(url: str) -> None:
    assert not is_file(f"http://a.zip{url}")


def test_a_page_of_links_is_read_as_far_as_tags_go() -> None:
    started = time.process_time()
    found = links(page("".join(f"<a href=/{i}>" for i in range(10 * MAX_TAGS))))
    assert 0 < len(found.urls) <= MAX_TAGS and time.process_time() - started < 10
