"""A crawl of live sites on 127.0.0.1: whom it asks for what, what it keeps, and what becomes of the rest, by name."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fastwarc.warc import ArchiveIterator as FastIterator
from fastwarc.warc import WarcRecord, WarcRecordType
from warcio.archiveiterator import ArchiveIterator

from demo.localweb import Behaviour, LocalWeb, Request
from pipeline.tables import CANDIDATE, FETCH_REASONS, MARK, PAGE, PAGE_REASONS
from pipeline.web.client import user_agent
from tests.pipeline.livecrawl.live import CONTACT, HTML, asked, html, image, pages, project, texts, to, txt, untyped
from tests.pipeline.upstream import NO_VALUES, Project
from tests.pipeline.web.hosts import location

# ── a small web ──

SITES: dict[str, Behaviour] = {
    # links, robots.txt and a sitemap
    "a.test/robots.txt": txt("User-agent: *\nDisallow: /private/\nSitemap: /s.xml.idx\nSitemap: http://b.test/s.xml\n"),
    "a.test/s.xml.idx": txt(
        "<sitemapindex><sitemap><loc>http://www.a.test/s1.xml</loc></sitemap>"
        "<sitemap><loc>http://a.test/gone.xml</loc></sitemap></sitemapindex>"
    ),
    "www.a.test/s1.xml": location("http://a.test/s2.xml"),
    "a.test/s2.xml": txt(
        "<urlset><url><loc>http://a.test/hidden.html</loc></url><url><loc>http://b.test/</loc></url>"
        "<url><loc>http://a.test/private/listed.html</loc></url></urlset>"
    ),
    "a.test/": html(
        image("0", "The first page")
        + to("one", "/one#top", "/private/x.html", "http://www.a.test/", "http://b.test/x", "/p.pdf", "/moved", "/404")
        + "<a href=/unwanted rel='external nofollow'>no</a><map><area href=/area></map>"
    ),
    "a.test/one": html(image("1", "Page one") + to("two", "/")),
    "a.test/two": html(image("2", "Page two") + to("three")),
    "a.test/three": html(image("3", "Page three") + to("four")),
    "a.test/four": html(image("4", "Nobody comes so far")),
    "a.test/area": html(image("5", "In an area")),
    "a.test/hidden.html": html(image("6", "Only in the sitemap")),
    "a.test/unwanted": html(image("7", "Nobody follows")),
    "www.a.test/": html(image("8", "Of another host")),
    "a.test/private/x.html": html("secret"),
    "a.test/private/listed.html": html("secret"),
    # redirects
    "a.test/moved": location("/moved2", 301),
    "a.test/moved2": location("http://www.a.test/three", 302),
    "www.a.test/three": html(image("9", "Where it moved to")),
    "r.test/": html(to("/out", "/loop", "/local", "/user", "/1")),
    "r.test/out": location("http://b.test/"),
    "r.test/loop": location("/loop"),
    "r.test/local": location("http://127.0.0.1:9/"),
    "r.test/user": location("http://me:secret@r.test/"),
    **{f"r.test/{i}": location(f"/{i + 1}") for i in range(1, 9)},
    # nobody asked for it
    "b.test": html(image("b", "Elsewhere")),
    # marks against use
    "m.test/": html(image("m", "Marked by its header") + to("/meta", "/bare"), **{"X-Robots-Tag": "noai"}),
    "m.test/meta": html("<meta name=robots content='noimageai, nofollow'>" + image("n", "By its HTML") + to("/unseen")),
    "m.test/bare": html(image("m", "The same picture without a mark")),
    # what is no page
    "k.test/": html(to(*"0123456789")),
    "k.test/0": Behaviour(body=b"<p>text", headers={"Content-Type": "text/plain"}),
    "k.test/1": Behaviour(
        body=b"<!doctype html><img src=x.jpg alt='XHTML is one'>", headers={"Content-Type": "application/xhtml+xml"}
    ),
    "k.test/2": untyped(b"<!doctype html><img src=x alt='No type at'>"),
    "k.test/3": untyped(b"GIF89a"),
    "k.test/4": html("x" * 20_000),
    "k.test/5": Behaviour(endless=True, body=b"<p>on and on", headers=HTML),
    "k.test/6": html(""),
    "k.test/7": Behaviour(status=500, body=b"busy"),
    "k.test/8": Behaviour(status=200, body=b"", headers=HTML),
    "k.test/9": html("cut", **{"Content-Length": "999"}),
    # robots.txt that says no, or nothing
    "closed.test": html(image("c", "Closed")),
    "closed.test/robots.txt": txt("User-agent: *\nDisallow: /\nSitemap: http://closed.test/s.xml\n"),
    "silent.test": html(image("s", "Silent")),
    "silent.test/robots.txt": Behaviour(status=503),
}
SEEDS = [
    "http://a.test/",
    "http://r.test",
    "http://m.test/",
    "http://k.test/",
    "http://closed.test/",
    "http://silent.test/",
]

EXPECTED = {  # URL → depth, how it was found, what became of it
    "http://a.test/": (0, "seed", ""),
    "http://a.test/hidden.html": (1, "sitemap", ""),
    "http://a.test/private/listed.html": (1, "sitemap", "robots_disallowed"),
    "http://a.test/one": (1, "link", ""),
    "http://a.test/private/x.html": (1, "link", "robots_disallowed"),
    "http://www.a.test/": (1, "link", ""),
    "http://a.test/moved": (1, "link", "redirected"),
    "http://a.test/moved2": (1, "redirect", "redirected"),
    "http://www.a.test/three": (1, "redirect", ""),
    "http://a.test/404": (1, "link", "http_404"),
    "http://a.test/area": (1, "link", ""),
    "http://a.test/two": (2, "link", ""),
    "http://a.test/three": (3, "link", ""),
    "http://a.test/four": (4, "link", "too_deep"),
    "http://r.test/": (0, "seed", ""),
    "http://r.test/out": (1, "link", "out_of_scope"),
    "http://r.test/loop": (1, "link", "too_many_redirects"),
    "http://r.test/local": (1, "link", "out_of_scope"),
    "http://r.test/user": (1, "link", "url_invalid"),
    "http://r.test/1": (1, "link", "redirected"),
    **{f"http://r.test/{i}": (1, "redirect", "redirected") for i in range(2, 6)},
    "http://r.test/6": (1, "redirect", "too_many_redirects"),
    "http://m.test/": (0, "seed", ""),
    "http://m.test/meta": (1, "link", ""),
    "http://m.test/bare": (1, "link", ""),
    "http://k.test/": (0, "seed", ""),
    **{
        f"http://k.test/{i}": (1, "link", reason)
        for i, reason in enumerate(
            ["not_html", "", "", "not_html", "too_many_bytes", "too_many_bytes", "", "http_5xx", "empty_body"]
        )
    },
    "http://k.test/9": (1, "link", "truncated_body"),
    "http://closed.test/": (0, "seed", "robots_disallowed"),
    "http://silent.test/": (0, "seed", "robots_unreachable"),
}


@dataclass(frozen=True)
class Visited:
    """The small web, visited."""

    made: Project
    requests: list[Request]
    found: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def visited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visited]:
    with LocalWeb({}, SITES) as web:
        made = project(tmp_path_factory.mktemp("visited"), web, SEEDS, {"crawl.max_page_bytes": 10_000})
        made.run("crawl")
        yield Visited(made, list(web.requests), pages(made))


def test_every_url_that_is_met_has_a_row_and_a_reason(visited: Visited) -> None:
    found = {url: (row["depth"], row["found_by"], row["reason"]) for url, row in visited.found.items()}
    assert found == EXPECTED
    reasons = Counter(reason for _, _, reason in EXPECTED.values())
    kept = reasons.pop("")
    facts = visited.made.manifest("crawl").facts
    assert facts["counts"]["pages"] == {"in": len(EXPECTED), "kept": kept, "dropped": dict(reasons)}
    assert reasons.keys() <= FETCH_REASONS.keys() | PAGE_REASONS
    assert facts["counts"]["records"]["kept"] == kept, "what the visit keeps is what is read of it"
    assert facts["notes"] == {
        "links_to_other_domains": 2,  # a link, and one in the sitemap
        "links_to_files": 1,
        "links_marked_nofollow": 2,  # one of its own, one on a page that says so
        "sitemaps_not_read": 3,  # of another domain, gone, forbidden
    }


def test_the_server_was_asked_for_just_these_once_each_nearest_first(visited: Visited) -> None:
    unasked = {"robots_disallowed", "robots_unreachable", "too_deep"}
    rows = [row for row in visited.made.rows("crawl", PAGE) if row["reason"] not in unasked]
    log = asked(sorted(visited.requests))  # as they arrived: a request is logged once it is answered
    sitemaps = ["http://a.test/s.xml.idx", "http://www.a.test/s1.xml", "http://a.test/s2.xml", "http://a.test/gone.xml"]
    assert Counter(log) == Counter([row["page_url"] for row in rows] + sitemaps)
    assert "b.test" not in {request.host for request in visited.requests}
    for domain in {row["domain"] for row in rows}:
        mine = [row for row in rows if row["domain"] == domain]
        order = [url for url in log if url in {row["page_url"] for row in mine}]
        assert order == [row["page_url"] for row in mine], "rows are in the order of the visit"
        assert [row["depth"] for row in mine] == sorted(row["depth"] for row in mine)
    robots = Counter(request.host for request in visited.requests if request.path == "/robots.txt")
    assert set(robots.values()) == {1} and len(robots) == len(SEEDS) + 1
    assert {request.user_agent for request in visited.requests} == {user_agent(CONTACT)}
    assert all((row["visited_at"] is None) == (row["reason"] in unasked) for row in visited.found.values())


def test_candidates_are_those_of_the_pages_that_were_kept(visited: Visited) -> None:
    kept = {url for url, (_, _, reason) in EXPECTED.items() if not reason}
    a, www, m, k = "http://a.test", "http://www.a.test", "http://m.test", "http://k.test"
    assert texts(visited.made) == {
        (f"{a}/", f"{a}/0.jpg", "The first page"),
        (f"{a}/one", f"{a}/1.jpg", "Page one"),
        (f"{a}/two", f"{a}/2.jpg", "Page two"),
        (f"{a}/three", f"{a}/3.jpg", "Page three"),
        (f"{a}/area", f"{a}/5.jpg", "In an area"),
        (f"{a}/hidden.html", f"{a}/6.jpg", "Only in the sitemap"),
        (f"{www}/", f"{www}/8.jpg", "Of another host"),
        (f"{www}/three", f"{www}/9.jpg", "Where it moved to"),
        (f"{m}/", f"{m}/m.jpg", "Marked by its header"),
        (f"{m}/meta", f"{m}/n.jpg", "By its HTML"),
        (f"{m}/bare", f"{m}/m.jpg", "The same picture without a mark"),
        (f"{k}/1", f"{k}/x.jpg", "XHTML is one"),
        (f"{k}/2", f"{k}/x", "No type at"),
    }
    assert {url for url, _, _ in texts(visited.made)} < kept
    assert {row["crawl_id"] for row in visited.made.rows("crawl", CANDIDATE)} == {"LIVE"}


def test_what_a_live_page_says_against_use_speaks_for_its_images(visited: Visited) -> None:
    """In its header as in its HTML; the page itself is read, or nobody would know which images it means."""
    marks = {row["text"]: row["opt_out"] for row in visited.made.rows("crawl", CANDIDATE) if "//m." in row["page_url"]}
    bare = "The same picture without a mark"
    assert marks == {"Marked by its header": "noai", "By its HTML": "noimageai", bare: None}
    marked = {(row["image_url"], row["opt_out"]) for row in visited.made.rows("crawl", MARK)}
    assert marked == {("http://m.test/m.jpg", "noai"), ("http://m.test/n.jpg", "noimageai")}


def test_the_archives_hold_the_pages_as_they_were_served(visited: Visited) -> None:
    """Read by two libraries, digests checked; the offset of a candidate is that of the record it came from."""
    kept = {url for url, (_, _, reason) in EXPECTED.items() if not reason}
    at = {row["page_url"]: (row["warc_file"], row["warc_offset"]) for row in visited.made.rows("crawl", CANDIDATE)}
    bodies, ids = {}, []
    for path in map(Path, visited.made.manifest("crawl").paths("warc")):
        with path.open("rb") as file:
            archive = ArchiveIterator(file, check_digests="raise")
            kinds = []
            for record in archive:
                head, body = record.rec_headers, record.content_stream().read()
                kinds.append(record.rec_type)
                ids.append(head["WARC-Record-ID"])
                assert head.protocol == "WARC/1.1" and head["WARC-Block-Digest"]
                if record.rec_type == "response":
                    url = head["WARC-Target-URI"]
                    bodies[url] = body
                    row = visited.found[url]
                    date = datetime.fromisoformat(head["WARC-Date"])
                    assert timedelta(0) <= date - row["visited_at"] < timedelta(milliseconds=1)
                    assert head["WARC-Payload-Digest"] and head["WARC-Concurrent-To"] == ids[-2]
                    assert at.get(url, (path.name, archive.get_record_offset())) == (
                        path.name,
                        archive.get_record_offset(),
                    )
            pairs = len(kinds) // 2
            assert kinds == ["warcinfo", *["request", "response"] * pairs]
        fast = {
            url: body
            for record in FastIterator(io.BytesIO(path.read_bytes()), parse_http=False)
            for url, body in as_fastwarc_reads(record)
        }
        assert fast.items() <= bodies.items() and len(fast) == pairs
    assert len(set(ids)) == len(ids) and bodies.keys() == kept
    assert bodies["http://a.test/"] == SITES["a.test/"].body


def as_fastwarc_reads(record: WarcRecord) -> Iterator[tuple[str, bytes]]:
    """The URL and body of a response whose digests hold."""
    if record.record_type == WarcRecordType.response:
        record.freeze()
        assert record.verify_block_digest()
        record.parse_http()
        assert record.verify_payload_digest()
        yield record.headers["WARC-Target-URI"], record.reader.read()


def test_the_page_table_is_declared_for_what_it_holds(visited: Visited) -> None:
    table = visited.made.table("crawl", PAGE)
    assert table.num_rows == len(EXPECTED) and table["depth"].type == pa.int32()
    froms = {
        row["found_by"]: row["found_from"] for row in visited.made.rows("crawl", PAGE) if "//a." in row["page_url"]
    }
    assert froms["seed"] is None and froms["sitemap"] == "http://a.test/s2.xml"
    details = {url: row["detail"] for url, row in visited.found.items() if row["reason"] == "out_of_scope"}
    assert details == {"http://r.test/out": "to http://b.test/", "http://r.test/local": "to http://127.0.0.1:9/"}


# ── the same again ──


def without_places(made: Project) -> list[dict[str, Any]]:
    places = ("warc_file", "warc_offset")
    return [{k: v for k, v in row.items() if k not in places} for row in made.rows("crawl", CANDIDATE)]


def without_times(made: Project) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "visited_at"} for row in made.rows("crawl", PAGE)]


def test_two_visits_and_two_workers_find_the_same(visited: Visited, tmp_path: Path) -> None:
    with LocalWeb({}, SITES) as web:
        values = {"crawl.max_page_bytes": 10_000, "engine.workers": 2, "fetch.domains_at_once": 2}
        made = project(tmp_path, web, SEEDS[::-1], values)
        made.run("crawl")
        assert Counter(asked(web.requests)) == Counter(asked(visited.requests))
    assert without_places(made) == without_places(visited.made)
    assert without_times(made) == without_times(visited.made)


def test_a_site_is_visited_again_only_where_the_recipe_asks_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sites = {f"{name}.test/": html(image(name, f"Picture {name}")) for name in "abc"}
    with LocalWeb({}, sites) as web:
        made = project(tmp_path, web, ["http://a.test/", "http://b.test/"])
        made.run("crawl")
        web.requests.clear()
        for values in (NO_VALUES, {"fetch.timeout": 3.0, "fetch.contact": "me@a.test"}):
            made.run("crawl", values)
            assert "nothing to do" in capsys.readouterr().out
        made.run("crawl", {"crawl.seeds": ["http://b.test/", "http://c.test/"], "crawl.truncated": "skip"})
        assert asked(web.requests) == ["http://c.test/"]
        assert {text for _, _, text in texts(made)} == {"Picture b", "Picture c"}
        assert len(list((made.of("crawl") / "warc").iterdir())) == 2
        web.requests.clear()
        made.run("crawl", {"crawl.crawl_id": "again"})
        assert sorted(asked(web.requests)) == ["http://a.test/", "http://b.test/"]


def test_archives_and_live_sites_together(visited: Visited, tmp_path: Path) -> None:
    """The archive of one crawl is an archive like all others."""
    archive = next(path for path in visited.made.manifest("crawl").paths("warc") if "/a.test-" in path)
    with LocalWeb({}, {"z.test/": html(image("z", "Live"))}) as web:
        made = project(tmp_path, web, ["http://z.test/"], {"crawl.warc": [archive]})
        made.run("crawl")
    of_a = {row for row in texts(visited.made) if "a.test" in row[0]}
    assert texts(made) == of_a | {("http://z.test/", "http://z.test/z.jpg", "Live")} and len(of_a) == 8
