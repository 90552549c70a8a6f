"""Live sites on 127.0.0.1 for a crawl to visit: their pages, a project that visits them, what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from demo.localweb import Behaviour, LocalWeb, Request
from pipeline.tables import CANDIDATE, PAGE
from tests.pipeline.upstream import NO_VALUES, Project, Values

CONTACT = "https://example.org/robot"
HTML = {"Content-Type": "text/html"}


def html(body: str, **headers: str) -> Behaviour:
    return Behaviour(body=f"<!doctype html>{body}".encode(), headers={**HTML, **headers})


def untyped(body: bytes) -> Behaviour:
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    return Behaviour(raw=head + body)


def txt(body: str) -> Behaviour:
    return Behaviour(body=body.encode())


def to(*urls: str) -> str:
    return "".join(f"<a href='{url}'>there</a>" for url in urls)


def image(name: str, text: str) -> str:
    return f"<img src='/{name}.jpg' alt='{text}'>"


def project(folder: Path, web: LocalWeb, seeds: Sequence[str], values: Values = NO_VALUES) -> Project:
    folder.mkdir(exist_ok=True)
    base = {
        "crawl.seeds": list(seeds),
        "crawl.crawl_id": "LIVE",
        "fetch.contact": CONTACT,
        "fetch.connect_to": web.connect_to,
        "fetch.requests_per_second": 500.0,
    }
    return Project(folder, {**base, **values})


def asked(requests: Sequence[Request]) -> list[str]:
    """What the server was asked for besides robots.txt, in order."""
    return [f"http://{request.host}{request.path}" for request in requests if request.path != "/robots.txt"]


def pages(made: Project) -> dict[str, dict[str, Any]]:
    rows = made.rows("crawl", PAGE)
    found = {row["page_url"]: row for row in rows}
    assert len(found) == len(rows), "each URL once"
    return found


def texts(made: Project) -> set[tuple[str, str, str]]:
    return {(row["page_url"], row["image_url"], row["text"]) for row in made.rows("crawl", CANDIDATE)}
