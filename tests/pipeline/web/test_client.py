"""The client against a web on 127.0.0.1 whose hosts misbehave, each in its way, and the name it has for each."""

import asyncio
import gzip
import http.server
import random
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import aiohttp
import pytest

from core.errors import UsageError
from demo.localweb import Behaviour, LocalWeb
from pipeline.tables import FETCH_REASONS
from pipeline.web.addresses import parse_connect_to
from pipeline.web.client import Client, Limits, Reply, explain, user_agent
from pipeline.web.detail import MAX_DETAIL_CHARS
from pipeline.web.politeness import RateLimiter
from tests.pipeline.web.hosts import BEHAVIOURS, BODY, EXPECTED, LIMITS, answering, location

CONTACT = "https://example.org/robot"
READER_GONE = "127.0.0.1:1"
LOCALHOST = (
    "127.0.0.1 2130706433 0x7f000001 0177.0.0.1 127.1 0 [::1] [::ffff:127.0.0.1] [::ffff:7f00:1] [64:ff9b::7f00:1]"
)


@pytest.fixture(scope="module")
def web() -> Iterator[LocalWeb]:
    with LocalWeb({}, BEHAVIOURS) as web:
        yield web


def fetch(
    urls: Sequence[str],
    connect_to: str,
    limits: Limits = LIMITS,
    budget: RateLimiter | None = None,
    guest: bool = True,
) -> list[Reply]:
    """All URLs at once, in a budget that never waits unless another is given."""

    async def ask() -> list[Reply]:
        patience = budget or RateLimiter(rate=1e9, concurrency=100)
        async with Client(CONTACT, patience, limits, parse_connect_to(connect_to)) as client:
            return await asyncio.gather(*map(client.fetch_image if guest else client.get, urls))

    return asyncio.run(ask())


@pytest.fixture(scope="module")
def replies(web: LocalWeb) -> dict[str, Reply]:
    found = fetch([f"http://{host}.test/img/a.jpg" for host in EXPECTED], web.connect_to)
    return dict(zip(EXPECTED, found, strict=True))


@pytest.mark.parametrize("host", EXPECTED)
def test_each_host_has_its_reason(host: str, replies: dict[str, Reply]) -> None:
    reply = replies[host]
    assert (reply.reason, reply.attempts) == EXPECTED[host], reply.detail
    assert not reply.reason or reply.reason in FETCH_REASONS
    assert bool(reply.body) == (reply.reason == "")
    assert len(reply.detail) <= MAX_DETAIL_CHARS and (not reply.detail or reply.detail.isprintable())


def test_every_behaviour_is_expected() -> None:
    hosts = {key.partition(".test")[0] for key in BEHAVIOURS}
    assert hosts - set(EXPECTED) == {"hop1", "hop2", "hop3"}


def test_what_a_reply_says(replies: dict[str, Reply]) -> None:
    good, moved, refused = replies["good"], replies["moved"], replies["toclosed"]
    assert (good.body, good.http_status, good.final_url) == (BODY, 200, "http://good.test/img/a.jpg")
    assert replies["gzip"].body == BODY
    assert good.header("content-length") == good.header("Content-Length") == str(len(BODY))
    assert good.header("ETag") is None
    assert (moved.body, moved.http_status, moved.final_url) == (BODY, 200, "http://good.test/b.jpg")
    assert (refused.http_status, refused.final_url) == (302, "http://closed.test/")
    assert replies["loop"].final_url == "http://loop.test/again"
    assert replies["noai"].detail == "headers: noai, noindex"
    assert replies["tolocal"].detail == "127.0.0.1 is not a public address"
    assert replies["robots500"].detail == "robots.txt: status 500"
    assert replies["closed"].http_status is None


def test_requests_are_honest_and_once_each(web: LocalWeb, replies: dict[str, Reply]) -> None:
    """One robots.txt a host, though redirects come to good.test nine times; none of the addresses is asked at all."""
    assert {request.user_agent for request in web.requests} == {user_agent(CONTACT)}
    assert {request.method for request in web.requests} == {"GET"}
    asked = Counter((request.host, request.path) for request in web.requests)
    robots = {host: n for (host, path), n in asked.items() if path == "/robots.txt"}
    assert robots.pop("robotsloop.test") == 6
    assert robots.pop("closed.test") == 2  # its own, and robotsmoved.test's
    assert {host: n for host, n in robots.items() if n != 1} == {}
    assert asked["good.test", "/img/a.jpg"] == asked["good.test", "/b.jpg"] == 1
    assert asked["closes.test", "/img/a.jpg"] == asked["halfhead.test", "/img/a.jpg"] == 1
    assert "127.0.0.1" not in {request.host for request in web.requests}


def test_a_request_as_it_goes_out() -> None:
    """The path as it was normalised; no compression asked for, no cookie given back, no word of where we come from."""
    moved = b"HTTP/1.1 302 Found\r\nLocation: /next\r\nSet-Cookie: a=b; Path=/\r\nConnection: close\r\n\r\n"
    with answering(moved, b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n") as (connect_to, heads):
        fetch(["http://a.test/%7e/a%2Fb|c/../d e.jpg?x=%41&y=é+1#z"], connect_to, guest=False)
    lines = [head.decode().rstrip().split("\r\n") for head in heads]
    assert lines[0][0] == "GET /%7e/d%20e.jpg?x=%41&y=%C3%A9+1 HTTP/1.1"
    assert lines[1][0] == "GET /next HTTP/1.1"
    for _, *headers in lines:
        assert sorted(headers) == [
            "Accept-Encoding: identity",
            "Accept: */*",
            "Host: a.test",
            f"User-Agent: {user_agent(CONTACT)}",
        ]


def test_the_user_agent() -> None:
    name, _, rest = user_agent("me@example.org").partition("/")
    assert name == "OpenWIT"
    assert rest.endswith(" (+me@example.org)")


@pytest.mark.parametrize("contact", ["", "me", "me@example.org\r\nX: y", "mé@example.org"])
def test_a_contact_is_required(contact: str) -> None:
    with pytest.raises(UsageError, match="contact"):
        Client(contact, RateLimiter(1.0))


@pytest.mark.parametrize(
    ("behaviour", "limits", "reason"),
    [
        (Behaviour(delay=30, body=BODY), Limits(total_seconds=0.3), "timeout_total"),
        (Behaviour(endless=True, body=b"x", pace=0.05), Limits(total_seconds=0.5), "timeout_total"),
        (location("http://b.test/"), Limits(total_seconds=20, max_redirects=0), "too_many_redirects"),
        (Behaviour(body=BODY), Limits(max_bytes=len(BODY) - 1), "too_many_bytes"),
        (Behaviour(body=BODY, headers={f"X-{i}": "x" for i in range(20)}), Limits(max_headers=20), "http_error"),
        (
            Behaviour(body=BODY, headers={f"X-{i}": "x" * 1000 for i in range(20)}),
            Limits(max_head_bytes=20_000),
            "http_error",
        ),
    ],
)
def test_limits(behaviour: Behaviour, limits: Limits, reason: str) -> None:
    with LocalWeb({}, {"a.test": behaviour}) as web:
        (reply,) = fetch(["http://a.test/a.jpg"], web.connect_to, limits, guest=False)
    assert (reply.reason, reply.attempts) == (reason, 1), reply.detail


def test_the_deadline_is_that_of_all_hops_together() -> None:
    slowly = {
        f"{i}.test": Behaviour(delay=0.4, status=302, headers={"Location": f"http://{i + 1}.test/"}) for i in range(5)
    }
    with LocalWeb({}, slowly) as web:
        (reply,) = fetch(["http://0.test/"], web.connect_to, Limits(total_seconds=1.0), guest=False)
    assert reply.reason == "timeout_total"
    assert reply.attempts in (2, 3)


@pytest.mark.parametrize("host", LOCALHOST.split())
def test_no_spelling_of_an_address_reaches_us(host: str, web: LocalWeb) -> None:
    """aiohttp asks no resolver about these."""
    before = len(web.requests)
    for guest in (True, False):
        (reply,) = fetch([f"http://{host}:{web.port}/"], web.connect_to, guest=guest)
        assert (reply.reason, reply.attempts) == ("address_forbidden", 0)
    assert len(web.requests) == before


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The name system: what each name stands for."""
    known: dict[str, str] = {}

    def getaddrinfo(host: str, port: object, *_: object, **__: object) -> list[tuple[object, ...]]:
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "unknown name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (known[host], 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


@pytest.mark.parametrize("guest", [True, False])
def test_no_name_of_a_private_address_reaches_us(guest: bool, names: dict[str, str]) -> None:
    names["inside.example"] = "127.0.0.1"
    with LocalWeb({}, {"to.test": location("http://inside.example/")}) as web:
        direct, redirected = fetch(
            [f"http://inside.example:{web.port}/", "http://to.test/"], web.connect_to, guest=guest
        )
        assert {request.host for request in web.requests} == {"to.test"}
    assert direct.reason == redirected.reason == "address_forbidden"
    assert "inside.example is at 127.0.0.1" in direct.detail
    assert redirected.final_url == "http://inside.example/"


def test_a_host_out_of_reach(names: dict[str, str]) -> None:
    unknown, deaf, plain = fetch(
        ["http://unknown.example/", "http://deaf.test/", "http://deaf.test:99999/"], f"*.test={READER_GONE}"
    )
    assert (unknown.reason, unknown.attempts) == ("dns", 0)
    assert (deaf.reason, deaf.attempts) == ("connect", 0)
    assert (plain.reason, plain.final_url) == ("url_invalid", None)


def test_tls_is_verified(web: LocalWeb) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(__file__).with_name("self_signed.pem"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        connect_to = f"selfsigned.test=127.0.0.1:{server.server_address[1]},{web.connect_to}"
        urls = ["https://selfsigned.test/a.jpg", "https://good.test/a.jpg"]  # the latter speaks plain HTTP
        for guest, attempts in ((True, 0), (False, 1)):
            unsigned, plain = fetch(urls, connect_to, guest=guest)
            assert (unsigned.reason, unsigned.attempts) == ("tls", attempts)
            assert "CERTIFICATE_VERIFY_FAILED" in unsigned.detail
            assert plain.reason == "tls"
    finally:
        server.shutdown()
        server.server_close()


class Recorded(RateLimiter):
    """A budget that waits for nobody and remembers what it was told."""

    def __init__(self) -> None:
        super().__init__(rate=1e9, concurrency=100)
        self.holds: list[tuple[str, float | None]] = []
        self.delays: list[tuple[str, float]] = []

    def hold(self, domain: str, seconds: float | None) -> None:
        self.holds.append((domain, seconds))

    def slow_down(self, domain: str, crawl_delay: float) -> None:
        self.delays.append((domain, crawl_delay))


def test_what_politeness_is_told() -> None:
    behaviours = {
        "www.a.test": Behaviour(status=429, headers={"Retry-After": "7"}),
        "b.test": Behaviour(status=429),
        "c.test": Behaviour(status=503, headers={"Retry-After": "11"}),
        "d.test": Behaviour(status=503),
        "e.test": Behaviour(status=404, headers={"Retry-After": "13"}),
        "www.a.test/robots.txt": Behaviour(body=b"User-agent: *\nCrawl-delay: 3\n"),
    }
    budget = Recorded()
    with LocalWeb({}, behaviours) as web:
        fetch(
            [f"http://{host}/x.jpg" for host in ("www.a.test", "b.test", "c.test", "d.test", "e.test")],
            web.connect_to,
            budget=budget,
        )
    assert sorted(budget.holds) == [("a.test", 7.0), ("b.test", None), ("c.test", 11.0)]
    assert ("a.test", 3.0) in budget.delays
    assert ("b.test", 0.0) in budget.delays


def test_requests_keep_their_distance() -> None:
    """Robots.txt and pictures of all hosts of one domain, one after the other; two domains side by side."""
    urls = [f"http://{host}/{i}.jpg" for i in range(2) for host in ("x.a.test", "y.a.test", "b.test")]
    with LocalWeb({}, {url[7:]: Behaviour(body=BODY) for url in urls}) as web:
        assert all(not reply.reason for reply in fetch(urls, web.connect_to, budget=RateLimiter(rate=10.0)))
    for domain, count in (("a.test", 6), ("b.test", 3)):
        times = sorted(request.time for request in web.requests if request.host.endswith(domain))
        assert len(times) == count
        assert times[-1] - times[0] > 0.05 * (count - 1)  # 0.1 where nothing delays the first


def test_junk_has_a_reason_too() -> None:
    """Good answers with bytes cut out, changed and put in."""
    chance = random.Random(8)
    whole = b'HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 20\r\nETag: "1"\r\n\r\n' + bytes(20)
    moved = (
        b"HTTP/1.1 301 Moved\r\nLocation: http://good.test/x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    zipped = gzip.compress(BODY)
    packed = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(zipped), zipped)
    behaviours = {}
    for i in range(300):
        junk = bytearray(chance.choice((whole, moved, packed)))
        for _ in range(chance.randrange(1, 8)):
            at = chance.randrange(len(junk))
            junk[at : at + chance.choice((0, 1, 1, 5))] = chance.randbytes(chance.choice((0, 1, 1, 5)))
        behaviours[f"junk.test/{i}"] = Behaviour(raw=bytes(junk))
    with LocalWeb({}, behaviours) as web:
        found = fetch([f"http://{path}" for path in behaviours], web.connect_to, Limits(total_seconds=20))
    assert {reply.reason for reply in found} <= {"", *FETCH_REASONS}
    assert len({reply.reason for reply in found}) >= 4
    for reply in found:
        reply.detail.encode()
        "".join(value for _, value in reply.headers).encode()


def test_every_exception_of_aiohttp_has_a_reason() -> None:
    """Made without calling its constructor: only its class counts."""

    def descendants(kind: type[Exception]) -> Iterator[type[Exception]]:
        for child in kind.__subclasses__():
            yield from (child, *descendants(child))

    kinds = {kind for kind in descendants(aiohttp.ClientError) if kind.__module__.startswith("aiohttp")}
    assert len(kinds) > 20
    reasons = {
        explain(type("Bare", (kind,), {"__str__": lambda _: "x", "__init__": lambda _: None})(), False)[0]
        for kind in kinds
    }
    assert reasons == {"dns", "connect", "tls", "http_error", "url_invalid", "timeout_total"}
