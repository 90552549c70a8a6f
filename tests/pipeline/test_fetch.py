"""fetch on a real local web: every URL has one outcome, and the web is asked as by a guest."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from core.errors import Failure
from core.manifest import Part
from core.tables import read_table
from demo.localweb import Behaviour, LocalWeb, Request
from pipeline import fetch
from pipeline.decoding.picture import Picture, store
from pipeline.fetch import Config, Fetched, commit_chunk, options
from pipeline.ids import image_id
from pipeline.tables import FETCH_REASONS, OUTCOME, PLAN
from pipeline.tasks.attempt import Attempt
from pipeline.web.urls import host_of, registered_domain
from shards.format import CHUNK
from tests.dedup.made import scene
from tests.pipeline.upstream import NO_VALUES, Project, Values, table_of
from tests.pipeline.web.hosts import BEHAVIOURS, BODY, EXPECTED, LIMITS


def encoded(image: Image.Image, kind: str = "JPEG") -> bytes:
    to = io.BytesIO()
    image.save(to, kind)
    return to.getvalue()


PICTURE = encoded(scene(1))
SETTINGS = {
    "fetch.contact": "https://example.org/robot",
    "fetch.requests_per_second": 1000.0,
    "fetch.max_bytes": LIMITS.max_bytes,
    "fetch.image_size": 64,
}


def plan(urls: Sequence[str], opted_out: Sequence[str] = ()) -> pa.Table:
    """The plan of one lane."""
    rows = [
        {
            "image_id": image_id(url),
            "image_url": url,
            "domain": registered_domain(host_of(url)),
            "opt_out": "noai,tdm" if url in opted_out else None,
        }
        for url in urls
    ]
    return table_of(PLAN, sorted(rows, key=lambda row: row["image_id"]))


def project(folder: Path, lanes: Mapping[str, pa.Table], web: LocalWeb, values: Values = NO_VALUES) -> Project:
    made = Project(folder, {**SETTINGS, "fetch.connect_to": web.connect_to, **values})
    made.write("match", {lane: [rows] for lane, rows in lanes.items()})
    return made


def outcomes(made: Project) -> dict[str, dict[str, Any]]:
    """What became of each URL, without what another run finds otherwise."""
    rows = made.rows("fetch", OUTCOME)
    found = {row.pop("image_url"): row for row in rows}
    assert len(found) == len(rows)
    for row in rows:
        row.pop("fetched_at")
    return found


def stored(made: Project) -> dict[str, bytes]:
    """Every stored picture by its name in a tar."""
    found = {}
    for path in made.manifest("fetch").paths("chunk_tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file and member.name not in found
                found[member.name] = file.read()
    return found


# ── a web that misbehaves ──

MORE = {
    "large.test": Behaviour(body=encoded(scene(2, 400, 300))),
    "tiny.test": Behaviour(body=encoded(scene(3, 40, 20))),
    "long.test": Behaviour(body=encoded(scene(4, 161, 40))),
    "icon.test": Behaviour(body=encoded(scene(5, 48, 48), "ICO")),
    "cut.test": Behaviour(body=PICTURE[: len(PICTURE) // 2]),
    "floats.test": Behaviour(body=encoded(Image.new("F", (60, 60)), "TIFF")),
    "slow.test": Behaviour(body=PICTURE, delay=60),
}
MORE_EXPECTED = {
    "exact": ("not_an_image", 1),
    "html": ("not_an_image", 1),
    "large": ("too_many_pixels", 1),
    "tiny": ("too_small", 1),
    "long": ("aspect_too_large", 1),
    "icon": ("format_unsupported", 1),
    "cut": ("truncated_image", 1),
    "floats": ("decoder_failed", 1),
    "slow": ("timeout_total", 1),
    "deaf": ("connect", 0),
    "marked": ("opted_out", 0),
}
ELSEWHERE = {  # spoken to over TLS, which it does not speak; no name at all
    "https://good.test/img/a.jpg": ("tls", 0),
    f"http://{'a' * 64}.test.invalid/img/a.jpg": ("dns", 0),
}
BEHAVES = {
    **{host: replace(how, body=PICTURE) if how.body == BODY else how for host, how in BEHAVIOURS.items()},
    "gzip.test": replace(BEHAVIOURS["gzip.test"], body=gzip.compress(PICTURE)),
    **MORE,
}
URLS = {f"http://{host}.test/img/a.jpg": said for host, said in {**EXPECTED, **MORE_EXPECTED}.items()} | ELSEWHERE
A_CHUNK = 16


@dataclass(frozen=True)
class Visit:
    """One lane with several chunks over all of these hosts, fetched."""

    made: Project
    requests: list[Request]
    found: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    with LocalWeb({}, BEHAVES) as web:
        made = project(
            tmp_path_factory.mktemp("visit"),
            {"lane00000": plan(list(URLS), ["http://marked.test/img/a.jpg"])},
            web,
            {
                "fetch.connect_to": f"deaf.test=127.0.0.1:1,{web.connect_to}",
                "fetch.images_per_chunk": A_CHUNK,
                "fetch.timeout": 4.0,
                "fetch.max_image_area": 100_000,
            },
        )
        made.run("fetch")
        yield Visit(made, web.requests, outcomes(made))


@pytest.mark.parametrize("url", URLS)
def test_every_url_has_the_outcome_of_its_host(url: str, visit: Visit) -> None:
    row = visit.found[url]
    reason = row["reason"]
    assert (reason, row["attempts"]) == URLS[url], row["detail"]
    assert row["status"] == (FETCH_REASONS[reason] if reason else "success")
    assert row["image_id"] == image_id(url) and row["fetch_pass"] == 1


def test_no_url_is_lost_and_all_are_counted_by_reason(visit: Visit) -> None:
    assert visit.found.keys() == URLS.keys()
    reasons = Counter(reason for reason, _ in URLS.values())
    kept = reasons.pop("")
    assert visit.made.manifest("fetch").counts["images"] == {"in": len(URLS), "kept": kept, "dropped": dict(reasons)}
    assert reasons.keys() == FETCH_REASONS.keys() - {"decoder_crashed", "decoder_timeout"}


def test_robots_txt_is_asked_for_once_a_host_over_all_chunks(visit: Visit) -> None:
    assert len(visit.made.manifest("fetch").of("chunk_tar")) > 3
    asked = Counter(request.host for request in visit.requests if request.path == "/robots.txt")
    assert asked.pop("robotsloop.test") == 6
    assert asked.pop("closed.test") == 2  # its own, and robotsmoved.test's
    assert set(asked.values()) == {1} and {"good.test", "404.test", "closes.test"} <= asked.keys()


def test_what_is_forbidden_or_opted_out_is_never_asked_for(visit: Visit) -> None:
    asked = {(request.host, request.path) for request in visit.requests}
    never = {host_of(url) for url, (_, attempts) in URLS.items() if not attempts} - {"good.test"}  # only by https
    assert {host for host, path in asked if path == "/img/a.jpg"}.isdisjoint(never) and len(never) > 10
    assert "marked.test" not in {host for host, _ in asked}  # not even for its robots.txt
    assert {path for host, path in asked if host == "closed.test"} == {"/robots.txt"}  # toclosed.test leads there
    assert visit.found["http://marked.test/img/a.jpg"]["detail"] == "a page that shows it says noai,tdm"
    assert {host for host, _ in asked} <= {key.partition("/")[0] for key in BEHAVES}


def test_digests_and_lengths_are_of_the_body_as_sent(visit: Visit) -> None:
    for url, row in visit.found.items():
        behaviour = BEHAVES.get(host_of(url))
        if not row["reason"]:
            body: bytes | None = PICTURE
        elif FETCH_REASONS[row["reason"]] == "failed_to_resize":
            assert behaviour is not None
            body = behaviour.body
        else:
            body = None
        expected = (None, None) if body is None else (len(body), hashlib.sha256(body).digest())
        assert (row["bytes"], row["sha256"]) == expected, url


def test_what_is_stored_is_the_picture_as_the_recipe_wants_it(visit: Visit) -> None:
    picture = store(PICTURE, options(Config(image_size=64)))
    assert isinstance(picture, Picture)
    good = {url for url, (reason, _) in URLS.items() if not reason}
    assert stored(visit.made) == {f"{image_id(url).hex()}.jpg": picture.body for url in good}
    for url in good:
        row = visit.found[url]
        assert (row["width"], row["height"], row["original_width"], row["original_height"]) == (85, 64, 320, 240)
        assert (row["format"], row["http_status"]) == ("JPEG", 200)
    assert visit.found["http://moved.test/img/a.jpg"]["final_url"] == "http://good.test/b.jpg"


def test_a_chunk_is_sorted_bounded_and_what_its_index_says(visit: Visit) -> None:
    manifest = visit.made.manifest("fetch")
    parts: dict[str, dict[str, Part]] = {}
    for part in manifest.parts:
        parts.setdefault(part.task, {})[part.table] = part
    sizes = []
    for task, tables in sorted(parts.items()):
        path = {table: f"{manifest.folder}/{part.name}" for table, part in tables.items()}
        asked = [row["image_id"] for row in read_table(path["outcome"], OUTCOME).to_pylist()]
        index = read_table(path["chunk"], CHUNK).to_pylist()
        sizes.append(len(asked))
        assert asked == sorted(asked), task
        assert tables["chunk_tar"].rows == tables["chunk"].rows == len(index)
        data = Path(path["chunk_tar"]).read_bytes()
        with tarfile.open(path["chunk_tar"]) as tar:
            members = tar.getmembers()
        assert [member.name for member in members] == [f"{row['image_id'].hex()}.jpg" for row in index]
        assert [row["image_id"] for row in index] == sorted(row["image_id"] for row in index)
        for member, row in zip(members, index, strict=True):
            assert (member.offset, member.offset_data, member.size) == (
                row["offset"],
                row["image_offset"],
                row["image_size"],
            )
            body = data[row["image_offset"] : row["image_offset"] + row["image_size"]]
            assert hashlib.sha256(body).digest() == row["sha256"]
    assert sizes == [A_CHUNK] * (len(URLS) // A_CHUNK) + [len(URLS) % A_CHUNK]


def test_a_redirect_to_a_private_address_is_refused_and_named(visit: Visit) -> None:
    row = visit.found["http://tometadata.test/img/a.jpg"]
    assert (row["reason"], row["http_status"]) == ("address_forbidden", 302)
    assert row["final_url"] == "http://169.254.169.254/latest/meta-data/"


# ── runs, chunks and lanes ──


def pictures(hosts: Sequence[str], each: int) -> dict[str, Behaviour]:
    """A picture of its own under each of some paths."""
    return {
        f"{host}/{i}.jpg": Behaviour(body=encoded(scene(100 * n + i, 80, 60)), headers={"ETag": f'"{host}{i}"'})
        for n, host in enumerate(hosts)
        for i in range(each)
    }


def test_committed_chunks_are_not_asked_for_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    behaviours = pictures(["a.test", "b.test"], 6)
    rows = plan([f"http://{path}" for path in behaviours])

    def without_room(name: str, fetched: Sequence[Fetched], attempt: Attempt, config: Config) -> None:
        if name.endswith("-00001"):
            raise Failure("no room for the second chunk")
        commit_chunk(name, fetched, attempt, config)

    with LocalWeb({}, behaviours) as web:
        made = project(tmp_path, {"lane00000": rows}, web, {"fetch.images_per_chunk": 4})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fetch, "commit_chunk", without_room)
            made.run("fetch", status=1)
        assert "no room for the second chunk" in capsys.readouterr().err
        assert not (made.of("fetch") / "_manifest.json").exists()
        before = len(web.requests)
        made.run("fetch")
        asked = Counter(f"http://{request.host}{request.path}" for request in web.requests)
        again = {f"http://{request.host}{request.path}" for request in web.requests[before:]}
    first, second, third = (rows["image_url"].slice(start, 4).to_pylist() for start in (0, 4, 8))
    assert [asked[url] for url in first + second + third] == [1] * 4 + [2] * 4 + [1] * 4
    assert again - {"http://a.test/robots.txt", "http://b.test/robots.txt"} == {*second, *third}
    assert {row["reason"] for row in outcomes(made).values()} == {""} and len(stored(made)) == 12


def test_a_second_run_asks_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with LocalWeb({}, pictures(["a.test"], 2)) as web:
        made = project(tmp_path, {"lane00000": plan(["http://a.test/0.jpg", "http://a.test/1.jpg"])}, web)
        made.run("fetch")
        before = len(web.requests)
        made.run("fetch", {"fetch.requests_per_second": 7.0, "fetch.contact": "me@example.org"})
        assert "nothing to do" in capsys.readouterr().out and len(web.requests) == before


def test_chunks_that_went_away_are_fetched_again(tmp_path: Path) -> None:
    behaviours = pictures(["a.test"], 6)
    rows = plan([f"http://{path}" for path in behaviours])
    with LocalWeb({}, behaviours) as web:
        made = project(tmp_path, {"lane00000": rows}, web, {"fetch.images_per_chunk": 2})
        made.run("fetch")
        chunks = [Path(path) for path in made.manifest("fetch").paths("chunk_tar")]
        data, before = [chunk.read_bytes() for chunk in chunks], len(web.requests)
        chunks[1].unlink()
        chunks[2].write_bytes(data[2][:1000])
        made.run("fetch")
        again = [f"http://{request.host}{request.path}" for request in web.requests[before:]]
    assert [chunk.read_bytes() for chunk in chunks] == data
    assert again == ["http://a.test/robots.txt", *rows["image_url"].slice(2, 4).to_pylist()]


def test_neither_lanes_nor_chunks_nor_the_order_of_the_plan_matter(tmp_path: Path) -> None:
    behaviours = pictures(["a.test", "b.test", "c.test"], 4) | {"b.test/1.jpg": Behaviour(status=410)}
    urls = [f"http://{path}" for path in behaviours]
    by_domain = [plan([url for url in urls if f"//{name}." in url]) for name in "cab"]
    backwards = {f"lane{i:05d}": rows.take([3, 2, 1, 0]) for i, rows in enumerate(by_domain)}
    with LocalWeb({}, behaviours) as web:
        one = project(tmp_path / "one", {"lane00000": plan(urls)}, web, {"fetch.images_per_chunk": 5})
        three = project(tmp_path / "three", backwards, web, {"fetch.images_per_chunk": 3})
        for made in (one, three):
            made.run("fetch")
    assert outcomes(one) == outcomes(three) and stored(one) == stored(three)
    assert len(stored(one)) == 11 and outcomes(one)["http://a.test/0.jpg"]["etag"] == '"a.test0"'


def test_an_empty_lane_and_an_empty_plan(tmp_path: Path) -> None:
    with LocalWeb({}, pictures(["a.test"], 1)) as web:
        made = project(tmp_path / "lane", {"lane00000": plan([]), "lane00001": plan(["http://a.test/0.jpg"])}, web)
        made.run("fetch")
        assert {part.task for part in made.manifest("fetch").parts} == {"lane00001-00000"}
        nothing = project(tmp_path / "plan", {"lane00000": plan([])}, web)
        nothing.run("fetch")
        assert nothing.manifest("fetch").parts == () and len(web.requests) == 2


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"fetch.contact": ""}, "contact = '': sites that we ask must be able to reach you"),
        ({"fetch.contact": "nobody"}, "contact = 'nobody': sites that we ask must be able to reach you"),
        ({"fetch.connect_to": "*.test"}, "connect_to: '*.test' is not HOST-PATTERN=ADDRESS:PORT"),
        ({"fetch.max_aspect_ratio": 0.25}, "max_aspect_ratio = 0.25: must be 1 or more, or 0"),
        ({"fetch.encode_format": "png"}, "encode_quality = 95: must be 0 to 9 for png"),
        ({"fetch.requests_per_second": 0.0}, "requests_per_second: Expected `float` > 0.0"),
    ],
)
def test_wrong_use_is_said_before_anybody_is_asked(
    wrong: dict[str, object], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with LocalWeb({}, pictures(["a.test"], 1)) as web:
        made = project(tmp_path, {"lane00000": plan(["http://a.test/0.jpg"])}, web)
        made.run("fetch", wrong, status=2)
        assert f"/recipe.toml: fetch.{says}" in capsys.readouterr().err and web.requests == []


def test_what_a_domain_can_give_is_its_rate_times_the_deadline() -> None:
    assert Config(requests_per_second=0.5, deadline_hours=2.0).images_per_domain == 3600
    assert Config(requests_per_second=0.001, deadline_hours=0.1).images_per_domain == 1


# ── politeness ──


def test_requests_to_a_domain_never_overlap(tmp_path: Path) -> None:
    """Two hosts of one domain. They wait before they answer, so requests side by side would come closer than that."""
    delay, hosts = 0.15, ["x.a.test", "y.a.test"]
    slowly = {f"{host}/{name}": Behaviour(status=404, delay=delay) for host in hosts for name in (0, 1, "robots.txt")}
    with LocalWeb({}, slowly) as web:
        rows = plan([f"http://{path}" for path in slowly if not path.endswith("txt")])
        project(tmp_path, {"lane00000": rows}, web, {"fetch.images_per_chunk": 3}).run("fetch")
    times = sorted(request.time for request in web.requests)
    assert len(times) == 6
    assert min(later - earlier for earlier, later in pairwise(times)) >= 0.99 * delay


@pytest.mark.parametrize("images_per_chunk", [1, 100])
def test_requests_to_a_domain_keep_its_rate(tmp_path: Path, images_per_chunk: int) -> None:
    rate, urls = 8.0, [f"http://a.test/{i}.jpg" for i in range(4)]
    with LocalWeb({}) as web:
        made = project(tmp_path, {"lane00000": plan(urls)}, web, {"fetch.requests_per_second": rate})
        made.run("fetch", {"fetch.images_per_chunk": images_per_chunk})
    times = sorted(request.time for request in web.requests)
    assert len(times) == 5
    assert times[-1] - times[0] >= 0.5 * 4 / rate  # 4 / rate if nothing held up the first


def test_a_domain_that_asks_for_patience_holds_up_nobody_else(tmp_path: Path) -> None:
    behaviours = {"busy.test": Behaviour(status=429, headers={"Retry-After": "2"}), **pictures(["a.test", "b.test"], 3)}
    urls = [f"http://{path}" for path in behaviours if "/" in path]
    with LocalWeb({}, behaviours) as web:
        project(tmp_path, {"lane00000": plan([*urls, "http://busy.test/1", "http://busy.test/2"])}, web).run("fetch")
    first, second = (r.time for r in web.requests if r.host == "busy.test" and r.path != "/robots.txt")
    others = [r.time for r in web.requests if r.host != "busy.test"]
    assert second - first >= 1.99
    assert len(others) == 8 and max(others) < second
