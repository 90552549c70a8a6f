"""How much a visit asks of a site, and when: budgets, traps, patience, leases and kills, and what goes out."""

from __future__ import annotations

import gzip
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from tempfile import gettempdir

import pytest
from warcio.archiveiterator import ArchiveIterator

from core.errors import Failure
from demo.localweb import Behaviour, LocalWeb
from pipeline.crawl import visit_lane
from pipeline.livecrawl.visit import VisitConfig
from pipeline.tasks.attempt import Attempt, Job, Task
from pipeline.tasks.lanes import Lane
from pipeline.web.client import user_agent
from tests.pipeline.livecrawl.live import CONTACT, HTML, asked, html, image, pages, project, texts, to, txt
from tests.pipeline.upstream import Project
from tests.pipeline.web.hosts import answering
from tests.running import ROOT, environment, openwit, start, wait_until

# ── budgets, traps, patience ──


def test_a_trap_costs_no_more_than_the_budget(tmp_path: Path) -> None:
    """Each page leads to two that were never seen; depth bounds one visit, the budget of pages the other."""
    with LocalWeb({}, {"trap.test": html(to("0/", "1/") + image("t", "A trap"))}) as web:
        deep = project(tmp_path / "deep", web, ["http://trap.test/"], {"crawl.depth": 4})
        deep.run("crawl")
        assert len(asked(web.requests)) == 2**5 - 1
        assert Counter(row["reason"] for row in pages(deep).values()) == {"": 31, "too_deep": 32}
        web.requests.clear()
        values = {"crawl.depth": 1000, "crawl.pages_per_domain": 40}
        wide = project(tmp_path / "wide", web, ["http://trap.test/"], values)
        wide.run("crawl")
        assert len(asked(web.requests)) == 40
        assert Counter(row["reason"] for row in pages(wide).values()) == {"": 40, "page_budget": 41}
        one = {url for url, row in pages(wide).items() if not row["reason"]}
        other = project(tmp_path / "other", web, ["http://trap.test/"], {**values, "run.seed": 2})
        other.run("crawl")
    two = {url for url, row in pages(other).items() if not row["reason"]}
    assert len(one) == len(two) == 40 and one != two, "which of the last ones are visited is the seed's choice"


def test_the_seeds_alone(tmp_path: Path) -> None:
    behaviours = {"a.test": html(to("/1")), "a.test/robots.txt": txt("Sitemap: http://a.test/s.xml")}
    with LocalWeb({}, behaviours) as web:
        made = project(tmp_path, web, ["http://a.test/0", "http://a.test/x"], {"crawl.depth": 0})
        made.run("crawl")
        assert sorted(asked(web.requests)) == ["http://a.test/0", "http://a.test/x"]
    assert {url: row["reason"] for url, row in pages(made).items()} == {
        "http://a.test/0": "",
        "http://a.test/x": "",
        "http://a.test/1": "too_deep",
    }


def test_a_site_of_many_hosts_is_asked_at_some_of_them(tmp_path: Path) -> None:
    hosts = [f"http://h{i}.farm.test/" for i in range(130)]
    with LocalWeb({}, {"www.farm.test": html(to(*hosts))}) as web:
        made = project(tmp_path, web, ["http://www.farm.test/"])
        made.run("crawl")
        assert len({request.host for request in web.requests}) == 100
    reasons = Counter(row["reason"] for row in pages(made).values())
    assert reasons == {"": 1, "http_404": 99, "too_many_hosts": 31}


def test_a_server_that_asks_for_patience_gets_it_and_is_not_asked_again(tmp_path: Path) -> None:
    behaviours = {
        "a.test/": html(to(*(f"/{i}" for i in range(9)))),
        **{f"a.test/{i}": Behaviour(status=429, headers={"Retry-After": "1"}) for i in range(9)},
    }
    with LocalWeb({}, behaviours) as web:
        made = project(tmp_path, web, ["http://a.test/"], {"fetch.deadline_hours": 1.5 / 3600})
        made.run("crawl")
        times = [request.time for request in web.requests if request.path[1:].isdigit()]
        assert 1 < len(times) == len(set(asked(web.requests))) - 1 < 6
    assert all(later - earlier > 0.95 for earlier, later in pairwise(times))
    reasons = Counter(row["reason"] for row in pages(made).values())
    assert reasons == {"": 1, "http_429": len(times), "deadline": 9 - len(times)}


def test_one_request_at_a_time_to_a_site_and_sites_side_by_side(tmp_path: Path) -> None:
    """Twelve answers that take longer than the time between two turns, four of each of three sites."""
    answer = Behaviour(body=f"<!doctype html>{to(*'123')}".encode(), headers=HTML, delay=0.5)
    with LocalWeb({}, {f"{name}.test": answer for name in "abc"}) as web:
        seeds = [f"http://{name}.test/" for name in "abc"]
        made = project(tmp_path, web, seeds, {"fetch.requests_per_second": 4.0, "crawl.depth": 1})
        made.run("crawl")
        times = {name: [r.time for r in web.requests if r.host == f"{name}.test"] for name in "abc"}
    pages_only = {name: some[1:] for name, some in times.items()}
    assert all(len(some) == 4 and some[-1] - some[0] > 3 * 0.5 - 0.15 for some in pages_only.values())
    assert all(some[0] - times[name][0] > 1 / 4 - 0.15 for name, some in pages_only.items()), "robots.txt has a turn"
    began, ended = (which(moment for some in times.values() for moment in some) for which in (min, max))
    assert ended - began < 2 * 3 * 0.5, "two sites one after another take longer"


FOREIGN = "".join(map(chr, range(0x4E00, 0x4E00 + 340)))  # a host that takes a third of a millisecond to normalise


@pytest.mark.parametrize("where", ["sitemap", "page"])
def test_a_site_that_takes_long_to_read_does_not_make_its_neighbour_late(tmp_path: Path, where: str) -> None:
    """14,000 URLs take some 4 seconds, and the neighbour has 2 for an answer."""
    urls = [f"http://{n}{FOREIGN}.test/" for n in range(14_000)]
    listed = "".join(f"<url><loc>{url}</loc></url>" for url in urls if where == "sitemap")
    sites = {
        "slow.test/robots.txt": txt("Sitemap: http://slow.test/s.xml"),
        "slow.test/s.xml": Behaviour(body=gzip.compress(f"<urlset>{listed}</urlset>".encode())),
        "slow.test/": html(to(*urls) if where == "page" else ""),
        "quick.test": Behaviour(body=f"<!doctype html>{to('0/', '1/')}".encode(), headers=HTML, delay=0.1),
    }
    values = {"crawl.depth": 4, "crawl.max_page_bytes": 20_000_000, "fetch.timeout": 2.0}
    with LocalWeb({}, sites) as web:
        made = project(tmp_path, web, ["http://slow.test/", "http://quick.test/"], values)
        made.run("crawl")
    assert made.manifest("crawl").facts["notes"]["links_to_other_domains"] == len(urls), "all of them were read"
    quick = Counter(row["reason"] for row in pages(made).values() if row["domain"] == "quick.test")
    assert quick == {"": 31, "too_deep": 32}


# ── a visit that ends early ──


@pytest.mark.program
def test_killed_it_visits_again_only_what_it_had_not_finished(tmp_path: Path) -> None:
    sites = {
        "quick.test": html(to(*"123") + image("q", "Quick")),
        "slow.test/": html(to(*"1234") + image("s", "Slow")),
        **{f"slow.test/{i}": Behaviour(body=b"<!doctype html>", headers=HTML, delay=0.5) for i in "1234"},
    }
    with LocalWeb({}, sites) as web:
        made = project(tmp_path, web, ["http://quick.test/", "http://slow.test/"])
        words = made.words()
        process = start("crawl", *words)
        receipts = made.of("crawl") / "_receipts"
        wait_until(lambda: receipts.exists() and any("quick" in path.name for path in receipts.iterdir()))
        wait_until(lambda: "http://slow.test/1" in asked(web.requests) or "http://slow.test/2" in asked(web.requests))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert not (made.of("crawl") / "_manifest.json").exists()
        killed = time.time()  # what was under way then is logged later, when its answer has been held back long enough
        said = openwit("crawl", *words)
        again = Counter(asked([request for request in web.requests if request.time > killed]))
    assert again == Counter(f"http://slow.test/{path}" for path in ["", *"1234"])
    assert "kept 9 of 9 pages" in said and {text for _, _, text in texts(made)} == {"Quick", "Slow"}
    assert list(made.of("crawl").rglob(".tmp-*")) == []


def test_a_worker_that_lost_its_lane_asks_no_more_and_commits_nothing(tmp_path: Path) -> None:
    """The other workers' side of it, leases and their length, is in tests/test_lanes.py."""
    allowed = iter(range(5))

    class Taken(Lane):
        def check(self) -> None:
            if next(allowed, None) is None:
                raise Failure("taken over by another worker")

        def begin(self, task: Task) -> Attempt:
            raise AssertionError(f"{task.id} is another's")

    with LocalWeb({}, {f"{name}.test": html(to("0/", "1/")) for name in "ab"}) as web:
        config = VisitConfig(
            seed=1,
            crawl_id="",
            depth=9,
            pages_per_domain=99,
            max_page_bytes=9999,
            contact=CONTACT,
            connect_to=web.connect_to,
            requests_per_second=500.0,
            domains_at_once=2,
            deadline_hours=1.0,
            timeout=9.0,
            max_redirects=5,
        )
        tasks = [Task(name, args=(f"{name}.test", [f"http://{name}.test/"])) for name in "ab"]
        with pytest.raises(Failure, match="taken over"):
            visit_lane(
                Taken(
                    Job(
                        folder=str(tmp_path), step="pages", step_digest="basis", seed=1, config=config, facts_digest=""
                    ),
                    tasks,
                ),
                config,
            )
        assert len(web.requests) <= 5 and {request.host for request in web.requests} == {"a.test", "b.test"}


# ── what a user can do wrong, and what goes out ──


def test_without_a_contact_nobody_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with LocalWeb({}, {"a.test": html("")}) as web:
        made = project(tmp_path, web, ["http://a.test/"], {"fetch.contact": ""})
        made.run("crawl", status=2)
        said = capsys.readouterr().err
        assert "recipe.toml: fetch.contact = ''" in said and said.count("\n") == 1
        made.run("crawl", {"fetch.contact": CONTACT, "crawl.seeds": ["http://a.test/", "a.test"]}, status=2)
        assert "crawl.seeds names 'a.test', which is no http(s) URL" in capsys.readouterr().err
        assert web.requests == []
        made.run("crawl", {"fetch.contact": CONTACT, "crawl.seeds": ["http://me:secret@a.test/"]}, status=2)
        said = capsys.readouterr().err
        assert "crawl.seeds names 'http://a.test/'" in said and "secret" not in said and "without a user" in said
        made.run("crawl", {"crawl.seeds": []}, status=2)
        assert "there is nothing to crawl: give crawl.seeds, crawl.warc or crawl.urls" in capsys.readouterr().err
        table = tmp_path / "urls.csv"
        table.write_text("url,caption\nhttp://a.test/x.jpg,a dog\n")
        made.run("crawl", {"crawl.seeds": [], "crawl.urls": [str(table)]})  # which needs nobody's address


def test_the_request_in_the_archive_is_what_went_out(tmp_path: Path) -> None:
    body = b"<!doctype html><title>t</title>"
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
    none = b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    with answering(none, page % (len(body), body)) as (connect_to, heads):
        values: Mapping[str, object] = {
            "crawl.seeds": ["http://a.test:8080/x y?z=é"],
            "fetch.contact": CONTACT,
            "fetch.connect_to": connect_to,
        }
        made = Project(tmp_path, values)
        made.run("crawl")
    (path,) = made.manifest("crawl").paths("warc")
    with Path(path).open("rb") as file:
        blocks = {record.rec_type: record.raw_stream.read() for record in ArchiveIterator(file, no_record_parse=True)}
    assert blocks["request"] == heads[1] and heads[1].startswith(
        b"GET /x%20y?z=%C3%A9 HTTP/1.1\r\nHost: a.test:8080\r\n"
    )
    assert blocks["response"].startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n")
    assert blocks["response"].endswith(body)
    about = dict(line.split(": ", 1) for line in blocks["warcinfo"].decode().splitlines())
    assert about["operator"] == CONTACT and about["http-header-user-agent"] == user_agent(CONTACT)
    assert "RFC 9309" in about["robots"] and about["software"].startswith("OpenWIT/")


def test_a_head_that_readers_of_archives_refuse_is_no_page(tmp_path: Path) -> None:
    """FastWARC gives up a whole archive at a head of more than 32 KiB."""
    large = {f"X-{i}": "\xe9" * 500 for i in range(64)}
    with LocalWeb({}, {"a.test/": html(to("/large") + image("a", "Small")), "a.test/large": html("", **large)}) as web:
        made = project(tmp_path, web, ["http://a.test/"])
        made.run("crawl")
    assert {url: row["reason"] for url, row in pages(made).items()} == {
        "http://a.test/": "",
        "http://a.test/large": "http_error",
    }
    counts = made.manifest("crawl").facts["counts"]
    assert counts["records"]["kept"] == counts["pages"]["kept"] == 1


NOISE = [random.Random(i).randbytes(40).hex() for i in range(500)]
SITEMAP = "".join(f"<url><loc>http://a.test/{name}</loc></url>" for name in NOISE)


@pytest.mark.program
@pytest.mark.parametrize(
    ("web", "place", "remedy"),
    [
        # an archive is written to a temporary file until its site has been visited …
        ({"a.test/": html("".join(NOISE))}, f"cannot write the pages of a.test to {gettempdir()} (", "set TMPDIR"),
        # … and what became of each URL, here more than the archive holds, to the output
        (
            {"a.test/robots.txt": txt("Sitemap: /s.xml"), "a.test/s.xml": txt(f"<urlset>{SITEMAP}</urlset>")},
            "no room to write {out}/page/",
            "move the recipe's run.out",
        ),
    ],
)
def test_a_full_disk_is_said(web: Mapping[str, Behaviour], place: str, remedy: str, tmp_path: Path) -> None:
    with LocalWeb({}, web) as served:
        made = project(tmp_path, served, ["http://a.test/"], {"crawl.pages_per_domain": 1})
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, 8_000))  # noqa: E731
        words = [sys.executable, "-m", "openwit", "crawl", *made.words()]
        done = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 1
    *_, said = done.stderr.splitlines()
    assert said.startswith(f"crawl: {place.format(out=made.of('crawl'))}") and remedy in said
    assert ("TMPDIR" in said) != ("run.out" in said)


def test_no_folder_takes_a_temporary_file() -> None:
    """Not the system's, nor the one we are in: Python tries to write to each."""
    script = """
import resource, tempfile
from pipeline.livecrawl.temporary import TemporaryArchive
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
tempfile.tempdir = None
TemporaryArchive("a.test")
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment(), capture_output=True, text=True)
    said = "cannot write the pages of a.test to a temporary file ([Errno 2] No usable temporary directory found in "
    assert done.returncode == 1 and said in done.stderr and "set TMPDIR" in done.stderr


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no folder in which no file can be made")
def test_an_output_that_refuses_is_not_taken_for_the_temporary_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with LocalWeb({}, {"a.test/": html("")}) as web:
        made = project(tmp_path, web, ["http://a.test/"])
        made.of("crawl").mkdir()
        (made.of("crawl") / "warc").symlink_to("/proc/self")
        made.run("crawl", status=1)
    said = capsys.readouterr().err
    assert f"cannot write {made.of('crawl')}/warc" in said and "No such file" in said
    assert "TMPDIR" not in said
