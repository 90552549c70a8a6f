"""The planted truth, held against the parts of the pipeline that will meet it."""

import asyncio
import io
from collections import Counter
from itertools import pairwise
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree

import pytest
from selectolax.lexbor import LexborHTMLParser

from demo import misbehaviour
from demo.captions import LANGUAGES
from demo.hosts import HOSTS
from demo.localweb import LocalWeb
from demo.misbehaviour import BEHAVIOURS, ODD, SECONDS
from demo.pictures import CLASSES
from demo.plan import Plan, Size
from demo.sites import plan_web
from demo.truth import NOT_PLANNED, SLOWER_THAN, Text, Truth
from demo.web import Web
from pipeline.decoding.picture import Options, Refused, store
from pipeline.ids import fold
from pipeline.inputs.archives.warc import Page
from pipeline.inputs.pages.charset import decode
from pipeline.inputs.pages.extract import candidates
from pipeline.tables import FETCH_REASONS
from pipeline.text.language import detect
from pipeline.text.rules import RULES, Row, Thresholds, verdict
from pipeline.web.addresses import parse_connect_to
from pipeline.web.client import Client, Limits, Reply
from pipeline.web.politeness import RateLimiter
from pipeline.web.urls import normalise, registered_domain


@pytest.fixture(scope="module")
def whole() -> Plan:
    """The demo's web in its full size, on paper."""
    return plan_web(1, Size())


def body(web: Web, url: str) -> bytes:
    """What LocalWeb serves for a page."""
    file = LocalWeb(web.sites).file(urlsplit(url).netloc, urlsplit(url).path)
    assert file, url
    return file.read_bytes()


def test_it_is_a_web_of_many_sites(whole: Plan) -> None:
    truth = whole.truth
    hosts = {urlsplit(url).netloc for url in [page.url for page in truth.pages] + [image.url for image in truth.images]}
    assert len(hosts) >= 50
    assert len({registered_domain(host) for host in hosts}) >= 45
    assert len(truth.pages) >= 400
    assert {page.layout for page in truth.pages} == {"gallery", "blog", "shop", "magazine", "old"}
    assert {page.language for page in truth.pages} == set(LANGUAGES) == {"en", "de", "es", "fr"}
    assert truth.seeds == [f"http://{name}/" for name in (*(host.name for host in HOSTS), *misbehaviour.GUARDED)]
    assert all(normalise(url) == url for url in [image.url for image in truth.images])


def test_classes_are_balanced(whole: Plan) -> None:
    ordinary = Counter(image.label for image in whole.truth.images if image.kind == "picture")
    wanted = Counter(image.label for image in whole.truth.images if image.expected == "success" and image.label)
    assert set(wanted) == set(ordinary) == {thing.name for thing in CLASSES}
    assert len(CLASSES) == 48
    assert min(ordinary.values()) >= 62 and max(ordinary.values()) <= 68
    assert min(wanted.values()) >= 48 and max(wanted.values()) <= 60


def test_what_is_extracted_from_the_pages_is_what_was_planted(drawn: Web) -> None:
    found = Counter[tuple[str, str, str, str]]()
    ways = Counter[str]()
    opted_out = {}
    for page in drawn.truth.pages:
        if page.expected == "crawled":
            for row in candidates(Page(page.url, body(drawn, page.url), None, (), 0, None)):
                assert row.reason is None, (page.url, row)
                found[row.image_url, page.url, row.text, row.text_source] += 1
                ways[row.image_source] += 1
                opted_out[page.url] = row.opt_out or ""
    assert found == Counter((text.image_url, text.page_url, text.text, text.source) for text in drawn.truth.texts)
    assert set(ways) == {"src", "srcset", "data-src", "data-srcset", "source srcset"}
    assert opted_out == {page.url: page.opt_out for page in drawn.truth.pages if page.expected == "crawled"}
    assert Counter(filter(None, opted_out.values())) == {"noai,noimageai": 1, "noai": 1, "tdm": 1}


def test_the_filter_drops_what_it_is_said_to_drop(whole: Plan) -> None:
    texts = whole.truth.texts
    languages, scores = detect([text.text for text in texts], [text.page_url for text in texts])
    got = [
        verdict(Row(text=text.text, image_url=text.image_url, lang=lang, lang_score=float(score)), Thresholds())
        or "kept"
        for text, lang, score in zip(texts, languages, scores, strict=True)
    ]
    assert [(text, reason) for text, reason in zip(texts, got, strict=True) if text.expected != reason] == []
    assert set(got) == {"kept", *RULES}  # each rule has something to do
    assert all(fold(text.text) == text.text for text in texts)
    page_of = {page.url: page.language for page in whole.truth.pages}
    right = [page_of[text.page_url] == lang for text, lang in zip(texts, languages, strict=True) if is_caption(text)]
    assert sum(right) > 0.99 * len(right)


def is_caption(text: Text) -> bool:
    return text.expected in ("kept", "language_not_wanted")


def test_captions_name_what_the_picture_shows(whole: Plan) -> None:
    label = {image.url: image.label for image in whole.truth.images}
    said = [(text.text.lower(), label[text.image_url]) for text in whole.truth.texts if text.expected == "kept"]
    for text, name in said:
        assert 4 <= len(text.split()) <= 16, text
        colour, _, shape = name.partition(" ")
        assert not name or (f"{colour} {shape}" in text), (text, name)
    assert len({text for text, _ in said}) > 0.8 * len(said)


def test_every_page_is_found_by_links_or_by_a_sitemap(drawn: Web) -> None:
    truth = drawn.truth
    ways = {page.url: page for page in truth.pages}
    found, ahead = set(truth.seeds), list(truth.seeds)
    while ahead:
        url = ahead.pop()
        if ways[url].expected != "crawled":
            continue
        for link in LexborHTMLParser(decode(body(drawn, url), None)).css("a[href]"):
            href = link.attributes["href"] or ""
            to = urljoin(url, href).partition("#")[0]
            if not href.startswith("mailto:") and to not in found:
                found.add(to)
                ahead.append(to)
    assert found == {page.url for page in truth.pages if page.found_by != "sitemap"}
    listed = set()
    for sitemap in truth.sitemaps:
        listed |= {element.text for element in ElementTree.fromstring(body(drawn, sitemap)).iterfind("{*}url/{*}loc")}
        assert f"Sitemap: {sitemap}" in body(drawn, urljoin(sitemap, "/robots.txt")).decode()
    hidden = {page.url for page in truth.pages if page.found_by == "sitemap"}
    assert hidden and hidden <= listed


async def get(urls: list[str], web: LocalWeb) -> dict[str, Reply]:
    """What the client makes of them; slower than a second and a half is too slow."""
    limits, budget = Limits(total_seconds=1.5, max_bytes=2_000_000), RateLimiter(rate=1000)
    async with Client("https://example.org/robot", budget, limits, parse_connect_to(web.connect_to)) as client:
        return dict(zip(urls, await asyncio.gather(*map(client.fetch_image, urls)), strict=True))


def test_every_image_meets_the_fate_that_was_planned(drawn: Web) -> None:
    expected = {image.url: image.expected for image in drawn.truth.images if image.expected != NOT_PLANNED}
    unasked = {url for url in drawn.truth.never_asked if expected.get(url) == "opted_out"}  # by the marks of its page
    with LocalWeb(drawn.sites, BEHAVIOURS) as web:
        replies = asyncio.run(get(sorted(expected.keys() - unasked), web))
    got = {}
    for url, reply in replies.items():
        stored = None if reply.reason else store(reply.body, Options())
        got[url] = reply.reason or (stored.reason if isinstance(stored, Refused) else "success")
    assert got == {url: expected[url] for url in got}
    assert {odd.url: odd.expected for odd in ODD}.items() <= expected.items()
    assert set(expected.values()) - {"success"} <= set(FETCH_REASONS)
    assert len(set(expected.values())) >= 20
    asked = {f"http://{request.host}{request.path}" for request in web.requests}
    assert not asked & set(drawn.truth.never_asked)
    assert SECONDS > SLOWER_THAN


def test_a_host_that_says_when_to_come_back_is_left_alone_until_then(drawn: Web) -> None:
    held = [odd for odd in ODD if odd.expected == "http_429"]
    assert len(held) > 1 and len({odd.host for odd in held}) == 1
    with LocalWeb(drawn.sites, BEHAVIOURS) as web:
        asyncio.run(get([odd.url for odd in held], web))
    times = [request.time for request in web.requests if request.path != "/robots.txt"]
    assert len(times) == len(held)
    assert all(after - before >= 1 for before, after in pairwise(times))


def test_what_must_not_be_asked_for_is_really_there(drawn: Web) -> None:
    """Else nobody could tell a polite guest from one who finds nothing."""
    truth: Truth = drawn.truth
    local = [url for url in truth.never_asked if urlsplit(url).netloc.endswith(".test")]
    missing = [url for url in local if not LocalWeb(drawn.sites).file(urlsplit(url).netloc, urlsplit(url).path)]
    assert missing == []
    for name in misbehaviour.GUARDED:
        assert sum(urlsplit(url).netloc == name for url in local) >= 3
    assert sum("/private/" in url for url in local) == 2 * (1 + 3)


def test_one_placeholder_stands_for_many_pictures(whole: Plan, drawn: Web) -> None:
    urls = whole.truth.placeholders
    assert len(urls) == len(set(urls)) == 60
    assert len({registered_domain(urlsplit(url).netloc) for url in urls}) == 15
    said = [text.text for text in whole.truth.texts if text.image_url in set(urls)]
    assert len(said) == 60 and len(set(said)) > 55
    assert len({body(drawn, url) for url in drawn.truth.placeholders}) == 1


def test_the_bomb_is_small_until_it_is_opened() -> None:
    (odd,) = (odd for odd in ODD if odd.expected == "too_many_pixels")
    assert odd.file is not None
    bomb = odd.file(b"")
    assert len(bomb) < 100_000
    assert int.from_bytes(bomb[16:20], "big") * int.from_bytes(bomb[20:24], "big") > 128_000_000
    assert io.BytesIO(bomb).read(8) == b"\x89PNG\r\n\x1a\n"
