"""The client: asks the web for one URL at a time, with hard limits, and has a name for whatever goes wrong.

Redirects are followed here and not by aiohttp, so that each hop is checked as the first URL was: address, robots.txt,
turn. A hop is one request, and nothing is retried.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Self

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError, DecompressSizeError
from yarl import URL

from core.errors import UsageError
from pipeline.web.addresses import AddressForbidden, ConnectTo, GuardedResolver, is_forbidden_literal
from pipeline.web.detail import of_error, one_line
from pipeline.web.optout import header_marks
from pipeline.web.politeness import RateLimiter, retry_after
from pipeline.web.robots import MAX_ROBOTS_BYTES, MAX_ROBOTS_REDIRECTS, PRODUCT_TOKEN, Robots, RobotsReply
from pipeline.web.urls import MAX_URL_CHARS, domain_of, host_of, normalise, origin_of, registered_domain

DNS_CACHE_SECONDS = 300
KEEP_ALIVE_SECONDS = 4.0
"""How long an idle connection is kept: less than the 5 seconds after which Apache and Node close it on their side."""

BAD_PORTS = frozenset(range(1024)) - {80, 443} | {
    1719,
    1720,
    1723,
    2049,
    3659,
    4045,
    4190,
    5060,
    5061,
    6000,
    6379,
    6566,
}
"""Ports at which a page could make us talk to a mail server or a database: those of the system but for the web's own,
and a few above (https://fetch.spec.whatwg.org/#port-blocking; 6379 is Redis)."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NAMED_STATUSES = frozenset({403, 404, 410, 429})
_NO_CODINGS = frozenset({"", "identity", "chunked"})  # or one that the parser has undone


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one URL may cost. Seconds are those of its requests together; waiting for turns and robots.txt is extra."""

    max_bytes: int = 20 * 2**20  # of a body, decoded
    total_seconds: float = 30.0
    connect_seconds: float = 10.0
    max_redirects: int = 5
    max_header_bytes: int = 16 * 2**10  # of one header
    max_headers: int = 128
    max_head_bytes: int = 30 * 2**10  # of all of them: 32 KiB are what readers of archives take (FastWARC)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What became of one URL: on success `reason` is empty and `body` whole, else `reason` is one of FETCH_REASONS."""

    reason: str = ""
    detail: str = ""  # for a person to read
    http_status: int | None = None  # of the last response
    final_url: str | None = None  # the last one asked for, or refused
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()  # of the last response, in its order
    attempts: int = 0  # requests, robots.txt not counted
    asked_at: datetime | None = None  # when the last one began; None if there was none

    def header(self, name: str) -> str | None:
        """The value of the first header of that name, in upper or lower case; None if there is none."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class Client:
    """A guest on the web. `contact`, a URL or e-mail address, goes into every request: it says who is asking.

    async with Client("https://example.org/our-robot", RateLimiter(rate=1.0)) as client:
        reply = await client.fetch_image("https://example.com/a.jpg")

    `may_ask` is called before each request, and what it raises is raised: how a worker learns that it must ask no more.
    `clock` (seconds, monotonic) tells the age of what a robots.txt said; an argument for the tests' sake.
    """

    def __init__(
        self,
        contact: str,
        limiter: RateLimiter,
        limits: Limits | None = None,
        connect_to: ConnectTo | None = None,
        may_ask: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._user_agent = user_agent(contact)
        self._limiter = limiter
        self._limits = limits or Limits()
        self._connect_to = connect_to or {}
        self._may_ask = may_ask
        self._robots = Robots(self._robots_txt, clock)

    async def __aenter__(self) -> Self:
        self._resolver = GuardedResolver(self._connect_to)
        self._session = aiohttp.ClientSession(
            # No limit on connections: the limiter is one, by domain, and whoever calls decides how many URLs at once.
            connector=aiohttp.TCPConnector(
                resolver=self._resolver,
                ttl_dns_cache=DNS_CACHE_SECONDS,
                keepalive_timeout=KEEP_ALIVE_SECONDS,
                limit=0,
            ),
            middlewares=(_only_once,),
            headers={"User-Agent": self._user_agent, "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._limits.connect_seconds),
            max_line_size=self._limits.max_header_bytes,
            max_field_size=self._limits.max_header_bytes,
            max_headers=self._limits.max_headers,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await self._resolver.close()

    async def get(self, url: str) -> Reply:
        """Ask for a URL and follow its redirects, each hop in a turn of its domain. Does not look at robots.txt."""
        return await self._follow(url, self._limits)

    async def fetch_image(self, url: str) -> Reply:
        """Ask for a picture (or page) as a guest: `get`, where robots.txt allows each hop and no header opts out.

        The body of an answer that opts out is not read.
        """
        return await self._follow(url, self._limits, guest=True)

    async def fetch_page(self, url: str, max_bytes: int) -> Reply:
        """Ask for one page as a guest; a redirect is not followed, but comes back with reason too_many_redirects.

        What its headers say against the use of its pictures does not keep us from reading it: whoever reads it heeds
        that together with what its HTML says.
        """
        limits = replace(self._limits, max_redirects=0, max_bytes=max_bytes)
        return await self._follow(url, limits, guest=True, marks=False)

    async def sitemaps(self, url: str) -> tuple[str, ...]:
        """The sitemaps that the robots.txt of a normalised URL's origin names, as written there."""
        return (await self._robots.rules(url)).sitemaps

    async def _robots_txt(self, url: str) -> RobotsReply:
        limits = replace(self._limits, max_redirects=MAX_ROBOTS_REDIRECTS, max_bytes=MAX_ROBOTS_BYTES + 1)
        reply = await self._follow(url, limits, robots=True)
        return RobotsReply(
            http_status=reply.http_status,
            body=reply.body if reply.reason in ("", "empty_body") else None,
            reason=reply.reason,
            detail=reply.detail,
            elsewhere=reply.final_url is not None and origin_of(reply.final_url) != origin_of(url),
        )

    async def _follow(
        self, url: str, limits: Limits, *, guest: bool = False, marks: bool = True, robots: bool = False
    ) -> Reply:
        reply = Reply()
        seconds = limits.total_seconds
        for hop in range(1, limits.max_redirects + 2):
            target = normalise(url, base=reply.final_url)
            if target is None:
                detail = one_line(f"no http(s) URL of at most {MAX_URL_CHARS} characters: {url}")
                return replace(reply, reason="url_invalid", detail=detail)
            reason, detail = await self._refusal(target, guest)
            if reason:
                return replace(reply, reason=reason, detail=detail, final_url=target)
            domain = domain_of(target)
            async with self._limiter.turn(domain):
                self._may_ask()
                begun = time.monotonic()
                at = datetime.now(UTC)
                reply = await self._ask(target, limits, seconds, guest and marks, robots)
                reply = replace(reply, attempts=hop, asked_at=at)
                seconds -= time.monotonic() - begun
            if reply.http_status == 429 or (reply.http_status == 503 and reply.header("retry-after")):
                self._limiter.hold(domain, retry_after(reply.header("retry-after") or "", datetime.now(UTC)))
            location = reply.header("location")
            if reply.reason or reply.http_status not in _REDIRECTS or location is None:
                return reply
            url = location
        return replace(reply, reason="too_many_redirects", detail=f"more than {limits.max_redirects}")

    async def _refusal(self, url: str, guest: bool) -> tuple[str, str]:
        """(reason, detail) why a URL must not be asked for; ("", "") if it may."""
        host = host_of(url)
        if is_forbidden_literal(host):
            return "address_forbidden", f"{host} is not a public address"
        if URL(url, encoded=True).port in BAD_PORTS:
            return "url_invalid", "its port belongs to another protocol than HTTP"
        if not guest:
            return "", ""
        rules = await self._robots.rules(url)
        self._limiter.slow_down(registered_domain(host), rules.crawl_delay)
        return rules.refusal(url)

    async def _ask(self, url: str, limits: Limits, seconds: float, heed: bool, robots: bool) -> Reply:
        """One request. A redirect comes back as it is, its body unread; of a robots.txt the beginning is enough."""
        reply = Reply(final_url=url)
        target = URL(url, encoded=True)  # as normalised: yarl's own quoting would ask for another URL
        try:
            request = self._session.get(target, allow_redirects=False, auto_decompress=not robots)
            async with asyncio.timeout(seconds), request as response:
                headers = tuple((name, _decoded(value)) for name, value in response.headers.items())
                reply = replace(reply, http_status=response.status, headers=headers)
                if reason := _reason_of_status(reply, robots):
                    return replace(reply, reason=reason, detail=f"status {response.status}")
                if sum(len(name) + len(value.encode()) + 4 for name, value in headers) > limits.max_head_bytes:
                    detail = f"more than {limits.max_head_bytes:,} bytes of headers"
                    return replace(reply, reason="http_error", detail=detail)
                if response.status in _REDIRECTS:
                    return reply
                if heed and (marks := header_marks(headers)):
                    return replace(reply, reason="opted_out", detail=f"headers: {', '.join(marks)}")
                reason, body = await _read(response, limits.max_bytes, cut=robots)
                if robots and not reason:
                    reason, body = _undone(body, headers, limits.max_bytes)
                return replace(reply, reason=reason, body=body)
        except Exception as error:  # noqa: BLE001 (whatever a server brings aiohttp to raise, it costs its own URL)
            reason, detail = explain(error, answered=reply.http_status is not None)
            return replace(reply, reason=reason, detail=detail)


def user_agent(contact: str) -> str:
    """`OpenWIT/<version> (+<contact>)`. Raises UsageError unless the contact is a URL or an e-mail address."""
    if not (contact.isascii() and contact.isprintable() and ("@" in contact or "://" in contact)):
        raise UsageError(
            f"contact = {contact!r}: sites that we ask must be able to reach you; give a URL or an e-mail address"
        )
    return f"{PRODUCT_TOKEN}/{version('openwit')} (+{contact})"


def explain(error: Exception, answered: bool) -> tuple[str, str]:
    """(reason, detail) for whatever a request can raise; `answered`: the headers of an answer had come already."""
    match error:
        case AddressForbidden():
            reason = "address_forbidden"
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            reason = "url_invalid"
        case aiohttp.ClientConnectorDNSError():
            reason = "dns"
        case aiohttp.ClientSSLError() | aiohttp.ServerFingerprintMismatch():
            reason = "tls"
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
            reason = "connect"
        case TimeoutError():
            reason = "timeout_total"
        case _ if isinstance(error.__cause__, ContentEncodingError | DecompressSizeError):
            reason = "bad_encoding"
        case aiohttp.ClientPayloadError() | aiohttp.ClientConnectionError() | OSError() if answered:
            reason = "truncated_body"
        case _:
            reason = "http_error"
    return reason, of_error(error)


class NoAnswer(aiohttp.ClientError):
    """The connection was closed instead of an answer."""


async def _only_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keeps aiohttp from sending a request again by itself, as it does after these two errors."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise NoAnswer(str(error)) from error


async def _read(response: aiohttp.ClientResponse, max_bytes: int, cut: bool) -> tuple[str, bytes]:
    """(reason, body): a longer body is refused, or cut to its first `max_bytes` where `cut` says so."""
    if (response.content_length or 0) > max_bytes and not cut:
        return "too_many_bytes", b""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > max_bytes:
            return ("", bytes(body[:max_bytes])) if cut else ("too_many_bytes", b"")
    return ("", bytes(body)) if body else ("empty_body", b"")


def _undone(body: bytes, headers: Sequence[tuple[str, str]], max_bytes: int) -> tuple[str, bytes]:
    """(reason, body): the first `max_bytes` of a body, its coding undone. We ask for none, but some servers have one.

    Not by aiohttp, which takes a gzip stream that ends too early, or a coding that it does not know, for whole.
    """
    values = ",".join(value for name, value in headers if name.lower() in ("content-encoding", "transfer-encoding"))
    codings = [coding for coding in values.lower().replace(" ", "").split(",") if coding not in _NO_CODINGS]
    if not codings:
        return "", body
    if codings not in (["gzip"], ["x-gzip"]):
        return "bad_encoding", b""
    try:
        with gzip.open(io.BytesIO(body)) as file:
            body = file.read(max_bytes)
    except EOFError:
        return "truncated_body", b""
    except (OSError, zlib.error):
        return "bad_encoding", b""
    return ("", body) if body else ("empty_body", b"")


def _reason_of_status(reply: Reply, robots: bool) -> str:
    """Why a status alone ends it. A robots.txt may have any of 2xx, but for 206: that is a part, and we ask for all."""
    status = reply.http_status or 0
    if status in _NAMED_STATUSES:
        return f"http_{status}"
    if 400 <= status < 600:
        return f"http_{status // 100}xx"
    is_redirect = status in _REDIRECTS and reply.header("location") is not None
    is_whole = status == 200 or (robots and 200 <= status < 300 and status != 206)
    return "" if is_whole or is_redirect else "http_error"


def _decoded(value: str) -> str:
    """A header without the lone surrogates by which aiohttp keeps bytes that are no UTF-8."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
