"""Every way in which the answer to "may I?" can end, on a real web: what the client makes of a robots.txt that …"""

import asyncio
import gzip
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import pytest

from demo.localweb import Behaviour, LocalWeb, Request
from pipeline.tables import FETCH_REASONS
from pipeline.web.addresses import parse_connect_to
from pipeline.web.client import Client, Limits, Reply
from pipeline.web.politeness import RateLimiter
from pipeline.web.robots import MAX_AGE_SECONDS, MAX_ROBOTS_BYTES
from tests.pipeline.web.hosts import BODY, location

CONTACT = "https://example.org/robot"
PATIENT = Limits()
NO_MORE: Mapping[str, Behaviour] = {}
NO = b"User-agent: *\nDisallow: /\n"
YES = b"User-agent: *\nAllow: /\n"
ZIPPED = gzip.compress(b"".join(b"Allow: /%d\n" % n for n in range(0, 10**6, 997)) + NO)  # the rule that matters: last
LARGE = {f"X-{i}": "x" * 1000 for i in range(31)}  # more than readers of archives take, less than the parser does
TOO_LARGE = b"".join(b"X: x\r\n" for _ in range(200))
IS_200 = b"HTTP/1.1 200 OK\r\n"


def says(body: bytes = NO, **headers: str) -> Behaviour:
    return Behaviour(body=body, headers={name.replace("_", "-"): value for name, value in headers.items()})


def raw(head: bytes, body: bytes = NO) -> Behaviour:
    return Behaviour(raw=head + b"Content-Length: %d\r\n\r\n" % len(body) + body)


def zipped(body: bytes, coding: str = "gzip") -> Behaviour:
    return says(body, Content_Encoding=coding)


# what became of a picture whose robots.txt is that of its host: reason, and what its detail says of it
ALLOWED, DISALLOWED = ("", ""), ("robots_disallowed", "")


def unreachable(detail: str) -> tuple[str, str]:
    return "robots_unreachable", detail


NO_HTTP, CUT = unreachable("ClientResponseError"), unreachable("ClientPayloadError")
ANSWERS: dict[str, tuple[Behaviour | None, tuple[str, str]]] = {
    # 2xx: what it says
    "yes": (says(YES), ALLOWED),
    "no": (says(), DISALLOWED),
    "empty": (says(b""), ALLOWED),
    "empty-and-zipped": (zipped(b""), ALLOWED),
    "page": (says(b"<!doctype html><title>Not found</title>", Content_Type="text/html"), ALLOWED),
    "untyped": (says(Content_Type="application/octet-stream"), DISALLOWED),
    "continue": (raw(b"HTTP/1.1 100 Continue\r\n\r\n" + IS_200), DISALLOWED),
    "hints": (raw(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + IS_200), DISALLOWED),
    "upgradable": (raw(IS_200 + b"Upgrade: h2,h2c\r\nConnection: Upgrade\r\n"), DISALLOWED),
    "old": (Behaviour(raw=b"HTTP/1.0 200 OK\r\n\r\n" + NO), DISALLOWED),
    "noai": (says(YES, X_Robots_Tag="noai"), ALLOWED),  # marks are about pictures
    # 2xx, read to the size that is read
    "long": (says(NO + b"#" * MAX_ROBOTS_BYTES), DISALLOWED),
    "long-and-late": (says(b"#" * MAX_ROBOTS_BYTES + b"\n" + NO), ALLOWED),
    "endless": (Behaviour(endless=True, body=NO + b"#" * 50_000 + b"\n"), DISALLOWED),
    "bomb": (zipped(gzip.compress(NO + bytes(10**8))), DISALLOWED),
    "members": (zipped(b"".join(map(gzip.compress, (b"", b"User-agent: *\n", b"Disallow: /\n")))), DISALLOWED),
    "many-members": (zipped(gzip.compress(NO) + gzip.compress(b"") * 20_000), DISALLOWED),
    # 2xx that was not read whole
    "large-head": (Behaviour(body=NO, headers=LARGE), unreachable("more than 30,720 bytes of headers")),
    "too-large-head": (raw(IS_200 + TOO_LARGE), NO_HTTP),
    "long-header": (raw(IS_200 + b"X: " + b"x" * 20_000 + b"\r\n"), NO_HTTP),
    "longer-than-sent": (says(YES, Content_Length="999"), CUT),
    "huge-by-its-word": (says(YES, Content_Length="99999999999"), CUT),
    "chunk-cut": (Behaviour(raw=IS_200 + b"Transfer-Encoding: chunked\r\n\r\nff\r\nUser"), CUT),
    "no-chunk": (
        Behaviour(raw=IS_200 + b"Transfer-Encoding: chunked\r\n\r\nUser-agent: *\n"),
        unreachable(""),
    ),
    "part": (Behaviour(status=206, body=YES, headers={"Content-Range": "bytes 0-23/99"}), unreachable("status 206")),
    # codings that nobody asked for
    "zipped": (zipped(ZIPPED), DISALLOWED),
    "x-zipped": (zipped(ZIPPED, "X-GZIP"), DISALLOWED),
    "zipped-for-the-way": (Behaviour(raw=IS_200 + b"Transfer-Encoding: gzip\r\n\r\n" + ZIPPED), DISALLOWED),
    "zipped-and-cut": (zipped(ZIPPED[:-200]), unreachable("truncated_body")),
    "zipped-without-its-sum": (zipped(ZIPPED[:-8]), unreachable("truncated_body")),
    "zipped-and-damaged": (zipped(ZIPPED[:999] + b"####" + ZIPPED[1003:]), unreachable("bad_encoding")),
    "zipped-by-its-word": (zipped(YES), unreachable("bad_encoding")),
    "deflated": (zipped(zlib.compress(NO), "deflate"), unreachable("bad_encoding")),
    "packed-by-whom": (zipped(YES, "compress"), unreachable("bad_encoding")),
    "zipped-twice": (zipped(gzip.compress(gzip.compress(NO)), "gzip, gzip"), unreachable("bad_encoding")),
    # no answer
    "closes": (Behaviour(raw=b""), unreachable("NoAnswer")),
    "half-a-head": (Behaviour(raw=b"HTTP/1.1 200 OK\r\nContent-"), unreachable("NoAnswer")),
    "garbage": (Behaviour(raw=b"\x00\x01\x02\r\n\r\n" + YES), NO_HTTP),
    "no-number": (Behaviour(raw=b"HTTP/1.1 OK\r\n\r\n" + YES), NO_HTTP),
    "no-http": (Behaviour(raw=YES), NO_HTTP),
    "switches": (raw(b"HTTP/1.1 101 Switching Protocols\r\n", YES), unreachable("status 101")),
    "always-continue": (Behaviour(raw=b"HTTP/1.1 100 Continue\r\n\r\n" * 9), unreachable("NoAnswer")),
    # redirects
    "to-no": (location("http://no.test/robots.txt"), DISALLOWED),
    "to-yes": (location("http://yes.test/robots.txt"), ALLOWED),
    "to-missing": (location("http://missing.test/robots.txt"), ALLOWED),
    "to-busy": (location("http://busy.test/robots.txt"), unreachable("status 503")),
    "to-large-head": (location("http://large-head.test/robots.txt"), unreachable("bytes of headers")),
    "five-hops": (location("/5"), DISALLOWED),
    "six-hops": (location("http://five-hops.test/robots.txt"), unreachable("more than 5")),
    "loop": (location("/robots.txt"), unreachable("more than 5")),
    "nowhere": (Behaviour(status=302), unreachable("status 302")),
    "to-nothing": (location(""), unreachable("more than 5")),
    "choices": (Behaviour(status=300, headers={"Location": "http://yes.test/robots.txt"}), unreachable("status 300")),
    "redirect-with-large-head": (
        Behaviour(status=302, headers={"Location": "http://yes.test/robots.txt", **LARGE}),
        unreachable("bytes of headers"),
    ),
    "to-file": (location("file:///etc/hosts"), unreachable("no http(s) URL")),
    "to-mail": (location("http://yes.test:25/robots.txt"), unreachable("its port")),
    "to-loopback": (location("http://127.0.0.1:9/robots.txt"), unreachable("127.0.0.1 is not a public address")),
    "to-metadata": (location("http://169.254.169.254/"), unreachable("169.254.169.254 is not a public address")),
    "to-inside": (location("http://localhost:9999/"), unreachable("AddressForbidden: localhost is at ")),
    "to-no-name": (location(f"http://{'a' * 64}.invalid/"), unreachable("ClientConnectorDNSError")),
    "to-deaf": (location("http://deaf.test/robots.txt"), unreachable("ClientConnectorError")),
    "to-tls": (location("https://yes.test/robots.txt"), unreachable("ClientConnectorSSLError")),
    # the host itself
    "deaf": (None, ("connect", "ClientConnectorError")),
}
MORE = {
    "missing.test/robots.txt": Behaviour(status=404),
    "busy.test/robots.txt": Behaviour(status=503),
    **{f"five-hops.test/{i}": location(f"/{i - 1}") for i in (5, 4, 3, 2)},
    "five-hops.test/1": says(),
}


def guest(connect_to: str, limits: Limits, clock: Callable[[], float] = time.monotonic) -> Client:
    return Client(CONTACT, RateLimiter(rate=1e9, concurrency=100), limits, parse_connect_to(connect_to), clock=clock)


async def secrets(client: Client, hosts: Iterable[str]) -> list[Reply]:
    """What becomes of a picture of each host, all asked for at once."""
    return await asyncio.gather(*(client.fetch_image(f"http://{host}.test/secret.jpg") for host in hosts))


def fetch(
    answers: Mapping[str, Behaviour | None], more: Mapping[str, Behaviour] = NO_MORE, limits: Limits = PATIENT
) -> tuple[list[Reply], list[Request]]:
    """A picture of each host whose robots.txt is such an answer (None: at which nobody listens); all requests."""
    behaviours = {f"{host}.test/robots.txt": answer for host, answer in answers.items() if answer}
    behaviours |= {f"{host}.test": Behaviour(body=BODY) for host in answers}
    deaf = "".join(f"{host}.test=127.0.0.1:1," for host, answer in answers.items() if not answer)

    async def ask(connect_to: str) -> list[Reply]:
        async with guest(deaf + connect_to, limits) as client:
            return await secrets(client, answers)

    with LocalWeb({}, {**behaviours, **more}) as web:
        replies = asyncio.run(ask(web.connect_to))
    return replies, web.requests


@pytest.fixture(scope="module")
def found() -> dict[str, tuple[Reply, int]]:
    """What became of each host's picture, and how often it was asked for."""
    replies, requests = fetch({host: answer for host, (answer, _) in ANSWERS.items()}, MORE)
    asked = Counter(request.host for request in requests if request.path == "/secret.jpg")
    return {host: (reply, asked[f"{host}.test"]) for host, reply in zip(ANSWERS, replies, strict=True)}


@pytest.mark.parametrize("host", ANSWERS)
def test_what_follows_from_a_robots_txt(host: str, found: dict[str, tuple[Reply, int]]) -> None:
    reason, detail = ANSWERS[host][1]
    reply, asked = found[host]
    assert reply.reason == reason, reply.detail
    assert not reason or reason in FETCH_REASONS
    assert detail in reply.detail
    assert reply.detail.startswith("robots.txt: ") == (reason not in ("", "robots_disallowed"))
    assert (asked, reply.attempts, reply.body) == ((0, 0, b"") if reason else (1, 1, BODY))


def test_one_that_does_not_come_in_time_is_none() -> None:
    slow = {
        "silent": Behaviour(delay=30),
        "drips": Behaviour(endless=True, body=b"User-agent: *\n", pace=0.1),
        "moves": Behaviour(status=302, headers={"Location": "/robots.txt"}, delay=0.3),  # a hop is in time, all are not
    }
    replies, requests = fetch(slow, limits=Limits(total_seconds=0.5))
    assert [(reply.reason, reply.attempts) for reply in replies] == [("robots_unreachable", 0)] * len(slow)
    assert all(reply.detail == "robots.txt: TimeoutError" for reply in replies)
    assert {request.path for request in requests} == {"/robots.txt"}


def test_what_follows_from_a_status() -> None:
    """All there are, each with a body that forbids everything where it may have one."""
    answers: dict[str, Behaviour | None] = {str(n): Behaviour(status=n, body=NO) for n in range(200, 600)}
    answers |= {bodiless: Behaviour(status=int(bodiless)) for bodiless in ("204", "304")}
    answers |= {odd: raw(b"HTTP/1.1 %s Odd\r\n" % odd.encode()) for odd in ("000", "099", "101", "600", "999")}
    for status, reply in zip(answers, fetch(answers)[0], strict=True):
        if status in ("206", "429") or status[0] not in "24":
            expected = "robots_unreachable"
        else:
            expected = "robots_disallowed" if status[0] == "2" and status != "204" else ""
        assert reply.reason == expected, status


def test_it_is_asked_for_again_after_a_day() -> None:
    """Once a host, however many pictures, and not a second earlier."""
    yes, no, fails = says(YES), says(), Behaviour(status=503)
    hosts = {"opens": (no, yes), "closes": (yes, no), "goes": (yes, fails), "comes": (fails, yes)}  # on the two days
    allowed = [["robots_disallowed", "", "", "robots_unreachable"], ["", "robots_disallowed", "robots_unreachable", ""]]
    behaviours = {f"{host}.test": Behaviour(body=BODY) for host in hosts}
    found, robots, now = [], [], 0.0

    async def ask(web: LocalWeb) -> None:
        nonlocal now
        async with guest(web.connect_to, PATIENT, lambda: now) as client:
            for time_, served in ((0.0, 0), (MAX_AGE_SECONDS - 1, 1), (MAX_AGE_SECONDS, 1)):
                now = time_
                behaviours.update({f"{host}.test/robots.txt": answers[served] for host, answers in hosts.items()})
                found.append([reply.reason for reply in await secrets(client, [*hosts, *hosts, *hosts])])
                robots.append(sum(request.path == "/robots.txt" for request in web.requests))

    with LocalWeb({}, behaviours) as web:
        asyncio.run(ask(web))
    assert found == [allowed[0] * 3, allowed[0] * 3, allowed[1] * 3]
    assert robots == [4, 4, 8]
