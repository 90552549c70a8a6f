"""Nothing that gives access to an input is in what openwit writes or prints, whatever becomes of the input."""

from __future__ import annotations

import base64
import gzip
import json
import random
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import openwit
from core import credentials
from core.command import exit_now
from core.runs import BEGUN
from pipeline.tables import CANDIDATE
from tests import running
from tests.pipeline.test_crawl import archive, page
from tests.pipeline.upstream import Project

pytestmark = pytest.mark.program

SIGNATURE = "d2VsbDQ3MTE/c2lnbmVk+0="
USER, PASSWORD = "alice0815", "correcthorse"
TOKEN, SHORT = "Zk9-t0ken.4711", "s3cr3t"
SECRETS = (SIGNATURE, quote(SIGNATURE, safe=""), USER, PASSWORD, TOKEN, SHORT, "X-Amz-Signature")
BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@dataclass
class Store:
    """A server that gives its files to those who have the secret of the path: /signed, /user, /TOKEN, /SHORT."""

    files: dict[str, bytes]
    port: int = 0
    ends: str = ""  # cut, expired: how it answers whoever asks for bytes beyond the first 6 MiB …
    after: Path = Path()  # … once this file is there
    has_ended: bool = False
    asked: set[str] = field(default_factory=set)

    def may(self, path: str, query: str, authorization: str) -> bool:
        door = path.split("/")[1]
        return {
            "signed": unquote(query) == f"X-Amz-Signature={SIGNATURE}",
            "user": authorization == BASIC,
            TOKEN: True,
            SHORT: True,
        }.get(door, False)


class Handler(BaseHTTPRequestHandler):
    """Files with ranges, as stores give them."""

    def __init__(self, store: Store, *args: object) -> None:
        self.store = store
        super().__init__(*args)  # type: ignore[arg-type]

    def log_message(self, *_: object) -> None:
        """Nothing of the server's is in what is looked through."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        body = self.store.files.get(path.rsplit("/", 1)[-1])
        self.store.asked.add(path.split("/")[1])
        if not self.store.may(path, query, self.headers.get("Authorization", "")):
            self.send_error(403)
            return
        if body is None:
            self.send_error(404)
            return
        start, end = 0, len(body)
        if found := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, end = int(found[1]), min(len(body), int(found[2]) + 1 if found[2] else len(body))
        length = end - start
        if self.store.ends and self.store.after.exists() and end > 6 << 20:
            self.store.has_ended = True
            if self.store.ends == "expired":
                self.send_error(403)
                return
            end = start + (1 << 20)
        self.send_response(206 if found else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(length))
        if found:
            self.send_header("Content-Range", f"bytes {start}-{start + length - 1}/{len(body)}")
        self.end_headers()
        if self.command == "GET":
            with suppress(ConnectionError):  # who asked may have gone
                self.wfile.write(body[start:end])


def table(*names: str) -> bytes:
    return "".join(
        f"{row}\n" for row in ["url,caption", *(f"http://a.test/{name}.jpg,A {name}" for name in names)]
    ).encode()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(credentials, "_shown", {})
    monkeypatch.setattr(credentials, "_filled_in", None)
    monkeypatch.setenv("MY_TOKEN", TOKEN)
    monkeypatch.setenv("MY_SHORT", SHORT)
    monkeypatch.setenv("MY_SIGNATURE", SIGNATURE)
    one = Path(archive(tmp_path / "one.warc.gz", page("http://a.test/one", "<img src=1.jpg alt='A red dog'>")))
    two = Path(archive(tmp_path / "two.warc.gz", page("http://a.test/two", "<img src=2.jpg alt='A blue cat'>")))
    files = {"one.warc.gz": one.read_bytes(), "two.warc.gz": two.read_bytes(), "t.csv": table("bird", "fish")}
    made = Store({**files, "u.csv": table("horse"), "cut.warc.gz": files["one.warc.gz"][:-30]})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, made)) as server:
        made.port = server.server_port
        Thread(target=server.serve_forever, daemon=True).start()
        yield made
        server.shutdown()


def found_in(text: str | bytes) -> list[str]:
    """The secrets that a text holds."""
    raw = text.encode() if isinstance(text, str) else text
    return [secret for secret in SECRETS if secret.encode() in raw]


def leaks(folder: Path) -> dict[str, list[str]]:
    """The secrets in all that is below a folder: in names, bytes, and the contents of tables."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        held = found_in(name)
        if path.is_file():
            held += found_in(path.read_bytes())
            if path.suffix == ".parquet":
                held += found_in(repr(pq.read_table(path).to_pylist()))
        if held:
            found[name] = held
    return found


def test_what_was_read_with_credentials_says_nothing_of_them(
    store: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    at = f"127.0.0.1:{store.port}"
    inputs = {
        "crawl.warc": [
            f"http://{at}/signed/one.warc.gz?X-Amz-Signature={quote(SIGNATURE, safe='')}",
            f"http://{USER}:{PASSWORD}@{at}/user/two.warc.gz",
            f"http://{at}/${{MY_TOKEN}}/two.warc.gz",
        ],
        "crawl.urls": [
            f"http://{at}/signed/t.csv?X-Amz-Signature=${{MY_SIGNATURE}}",
            f"http://{at}/${{MY_SHORT}}/u.csv",
            f"simplecache::http://{at}/${{MY_TOKEN}}/t.csv",
        ],
    }
    project = Project(tmp_path / "out", {**inputs, "filter.languages": [], "filter.rules": []})
    project.folder.mkdir()
    (project.folder / "recipe.toml").touch()
    words = [*project.words(), "--set", f'engine.conf={{"fs.s3a.secret.key"="{TOKEN}"}}', "--set", "engine.workers=2"]
    printed = running.openwit("crawl", *words)
    assert store.asked >= {"signed", "user", TOKEN, SHORT}, "all doors were asked at"
    assert project.manifest("crawl").counts["pairs"]["kept"] == 5
    files = {row["warc_file"] for row in project.rows("crawl", CANDIDATE)}
    assert files == {"one.warc.gz", "${MY_TOKEN}/two.warc.gz", "${MY_TOKEN}/t.csv", "u.csv"}
    for verb in ("filter", "report", "status", "plan"):
        project.run(verb)
    project.run("crawl")
    assert openwit.main(["explain", "http://a.test/1.jpg", *project.words()]) == 0
    printed += "".join(capfd.readouterr())
    assert "is a copy of" in printed and "up to date" in printed and "1_crawl" in printed
    assert found_in(printed) == []
    assert leaks(project.folder) == {}
    command = json.loads((project.of("crawl") / "_run.json").read_text())["command"]
    assert f'one.warc.gz?…", "http://{at}/user/two.warc.gz", "http://{at}/${{MY_TOKEN}}/' in " ".join(command)
    assert "engine.conf=…" in command


FAILURES = {  # what is read → what is said of it
    "a signature that is wrong": ("http://{at}/signed/one.warc.gz?X-Amz-Signature=" + SIGNATURE + "x", ""),
    "a file that is not there": ("http://{at}/signed/no.warc.gz?X-Amz-Signature=${{MY_SIGNATURE}}", ""),
    "a token and no file": ("http://{at}/${{MY_TOKEN}}/no.warc.gz", "http://{at}/${{MY_TOKEN}}/no.warc.gz"),
    "a short token and no file": ("http://{at}/${{MY_SHORT}}/no.warc.gz", "http://{at}/${{MY_SHORT}}/no.warc.gz"),
    "a pattern": ("http://{at}/${{MY_TOKEN}}/*.arc", "http://{at}/${{MY_TOKEN}}/*.arc"),
    "nobody who listens": (
        "http://" + USER + ":" + PASSWORD + "@127.0.0.1:1/${{MY_TOKEN}}/one.warc.gz",
        "${{MY_TOKEN}}",
    ),
    "a chain": ("simplecache::http://{at}/${{MY_TOKEN}}/no.warc.gz", "simplecache::http://{at}/${{MY_TOKEN}}/no"),
    "a damaged archive": ("http://{at}/${{MY_SHORT}}/cut.warc.gz", "http://{at}/${{MY_SHORT}}/cut.warc.gz"),
    "a scheme that is none": (
        "ftps9://" + USER + ":" + PASSWORD + "@host/${{MY_TOKEN}}/x",
        "ftps9://host/${{MY_TOKEN}}",
    ),
    "a folder of this machine": ("/nowhere/${{MY_TOKEN}}/one.warc.gz", "/nowhere/${{MY_TOKEN}}/one.warc.gz"),
}


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
@pytest.mark.parametrize("what", FAILURES)
def test_a_failure_says_what_the_recipe_says(
    store: Store,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    debug: bool,
) -> None:
    at = f"127.0.0.1:{store.port}"
    path, says = (text.format(at=at) for text in FAILURES[what])
    status, said = ended(Project(tmp_path / "out", {"crawl.warc": [path]}), "crawl", debug, capfd, monkeypatch)
    assert status in {1, 2} and says in said
    assert found_in(said) == []
    assert leaks(tmp_path / "out") == {}


@pytest.mark.parametrize(("ends", "truncated"), [("cut", "fail"), ("expired", "skip")])
@pytest.mark.parametrize("name", ["big.csv", "big.csv.gz", "big.parquet", "big.warc"])
def test_a_server_that_gives_no_more_in_the_middle_of_a_file(
    store: Store,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    ends: str,
    truncated: str,
) -> None:
    store.files[name] = large(tmp_path / name)
    url = f"http://{USER}:{PASSWORD}@127.0.0.1:{store.port}/${{MY_TOKEN}}/{name}?X-Amz-Signature=${{MY_SIGNATURE}}"
    kind = "warc" if "warc" in name else "urls"
    project = Project(tmp_path / "out", {f"crawl.{kind}": [url], "crawl.truncated": truncated})
    store.ends, store.after = ends, project.of("crawl") / BEGUN
    status, said = ended(project, "crawl", False, capfd, monkeypatch)
    assert store.has_ended
    assert status == 1 or (truncated, kind) == ("skip", "urls"), said
    assert found_in(said) == []
    assert leaks(tmp_path / "out") == {}


def large(path: Path) -> bytes:
    """A file of some 10 MB, of which a library reads the beginning and then the rest."""
    noise = random.Random(1)
    if path.suffix == ".warc":
        with gzip.open(
            archive(path, *(page(f"http://a.test/{n}", noise.randbytes(1 << 20).hex()) for n in range(5)))
        ) as file:
            return file.read()
    urls = [f"http://a.test/{n}.jpg" for n in range(3000)]
    texts = [noise.randbytes(3500).hex() for _ in urls]
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"url": urls, "caption": texts}), path, row_group_size=500)
        return path.read_bytes()
    lines = "".join(f"{url},{text}\n" for url, text in zip(urls, texts, strict=True)).encode()
    return gzip.compress(b"url,caption\n" + lines, 1) if path.suffix == ".gz" else b"url,caption\n" + lines


def ended(
    project: Project, verb: str, debug: bool, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str]:
    """The exit status of a verb in this process, and all that was printed until then."""
    project.folder.mkdir(exist_ok=True)
    words = [verb, *project.words(), *(["--debug"] if debug else [])]
    ends: list[int] = []
    monkeypatch.setattr("os._exit", ends.append)
    monkeypatch.setattr("core.command.guard_streams", lambda: None)
    exit_now(lambda _: openwit.main(words))
    return ends[0], "".join(capfd.readouterr())
