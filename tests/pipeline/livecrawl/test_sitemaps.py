"""Sitemaps as the protocol has them, and such as were made to hurt."""

from __future__ import annotations

import gzip
import time

import pytest

from pipeline.livecrawl.sitemaps import MAX_SITEMAP_ELEMENTS, MAX_SITEMAP_URLS, MAX_SITEMAP_XML_BYTES, parse
from pipeline.web.urls import MAX_URL_CHARS

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
URLS = (
    HEAD
    + """<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" xmlns:image="http://www.google.com/schemas/x">
<url><loc> http://a.test/one?a=1&amp;b=2
</loc><lastmod>2026-01-01</lastmod><image:image><image:loc>http://a.test/a.jpg</image:loc></image:image></url>
<url><loc><![CDATA[http://a.test/é]]></loc></url></urlset>"""
)
INDEX = (
    HEAD
    + """<sm:sitemapindex xmlns:sm="http://www.sitemaps.org/schemas/sitemap/0.9">
<sm:sitemap><sm:loc>http://a.test/s1.xml.gz</sm:loc></sm:sitemap></sm:sitemapindex>"""
)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_what_sitemaps_name(pack: type[bytes]) -> None:
    pages = parse(pack(URLS.encode()))
    assert (pages.pages, pages.sitemaps) == (["http://a.test/one?a=1&b=2", "http://a.test/é"], [])
    index = parse(pack(INDEX.encode()))
    assert (index.pages, index.sitemaps) == ([], ["http://a.test/s1.xml.gz"])
    assert pages.problem == index.problem == ""


def test_what_comes_before_the_damage_counts() -> None:
    cut = parse(URLS[: URLS.index("<![CDATA")].encode())
    assert cut.pages == ["http://a.test/one?a=1&b=2"] and cut.problem


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)
MANY = "<urlset>" + "<url><loc>http://a.test/</loc></url>" * (MAX_SITEMAP_URLS + 1) + "</urlset>"
ESCAPES = b'<?xml version="1.0" encoding="unicode_escape"?><urlset><url><loc>\\x41\xff</loc></url></urlset>'
HOSTILE = {  # body, and what it is refused for
    "nothing": (b"", "no element found"),
    "no XML": (b"<!doctype html><p>not found", "syntax error"),
    "no gzip": (b"\x1f\x8b" + bytes(100), "decompress"),
    "an entity bomb": (f"{BOMB}]><urlset><url><loc>&j;</loc></url></urlset>".encode(), "DTD"),
    "a file of ours": (b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><urlset>&a;</urlset>', "DTD"),
    "a flood of bytes": (gzip.compress(b"<urlset>" + b" " * MAX_SITEMAP_XML_BYTES, 1), "bytes of XML"),
    "a flood of elements": (b"<urlset>" + b"<a/>" * (MAX_SITEMAP_ELEMENTS + 1) + b"</urlset>", "elements"),
    "a million open tags": (b"<a>" * 1_000_000, "deeper"),
    "a tag without end": (b"<urlset " + b"".join(b'a%d="" ' % i for i in range(100_000)), "a tag of more"),
    "too many URLs": (MANY.encode(), "URLs"),
    "an encoding of Python's": (ESCAPES, "not well-formed"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_was_made_to_hurt_is_refused_soon(name: str) -> None:
    body, problem = HOSTILE[name]
    started = time.process_time()
    found = parse(body)
    assert problem in found.problem and time.process_time() - started < 5
    assert len(found.pages) == (MAX_SITEMAP_URLS if body == MANY.encode() else 0)


def test_a_long_url_is_held_only_so_far() -> None:
    found = parse(f"<urlset><url><loc>http://a.test/{'x' * 10**6}</loc></url></urlset>".encode())
    assert not found.problem and MAX_URL_CHARS < len(found.pages[0]) < 3 * MAX_URL_CHARS
