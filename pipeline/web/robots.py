"""robots.txt: asked for once an origin and day, and obeyed as RFC 9309 has it; its patterns are protego's."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from protego import Protego

from pipeline.web.robotstxt import Said, said
from pipeline.web.urls import origin_of

PRODUCT_TOKEN = "OpenWIT"
"""The name that site owners write in robots.txt and X-Robots-Tag to mean us (RFC 9309 section 2.2.1)."""

MAX_ROBOTS_BYTES = 500 * 1024
"""What is read of a robots.txt; the rest is as if it were not there (RFC 9309 section 2.5)."""

MAX_ROBOTS_REDIRECTS = 5
"""RFC 9309 section 2.3.1.2."""

MAX_AGE_SECONDS = 24 * 3600.0
"""How long what a robots.txt said, or that it said nothing, is relied upon (RFC 9309 section 2.4)."""

_HOST_OUT_OF_REACH = frozenset({"address_forbidden", "dns", "connect", "tls"})


@dataclass(frozen=True, kw_only=True)
class RobotsReply:
    """What came back for a robots.txt, redirects followed."""

    http_status: int | None  # of the last response
    body: bytes | None = None  # whole, or all that is read of it; None where it could not be read, or was not
    reason: str = ""  # one of FETCH_REASONS, where there is none
    detail: str = ""
    elsewhere: bool = False  # a redirect led to another origin, whose failures say nothing of this one


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What an origin lets us do. `reason` (one of FETCH_REASONS) is not empty where that is nothing at all."""

    parsed: Protego
    reason: str = ""
    detail: str = ""
    no_training: bool = False  # the file reserves training, as X-Robots-Tag: noai does for one answer

    def refusal(self, url: str) -> tuple[str, str]:
        """(reason, detail) why a normalised URL of this origin may not be asked for; ("", "") if it may."""
        if self.reason:
            return self.reason, self.detail
        if not self.parsed.can_fetch(url, PRODUCT_TOKEN):
            return "robots_disallowed", ""
        if self.no_training:
            return "opted_out", "robots.txt: Content-Signal: ai-train=no"
        return "", ""

    @property
    def crawl_delay(self) -> float:
        """Seconds between two requests that the file asks for; 0 if it does not say."""
        return self.parsed.crawl_delay(PRODUCT_TOKEN) or 0.0

    @property
    def sitemaps(self) -> tuple[str, ...]:
        """The sitemaps that the file names, each once, as it writes them: of any host, relative ones too."""
        return tuple(dict.fromkeys(self.parsed.sitemaps))


class Robots:
    """The rules of every origin met so far. `fetch` asks for one robots.txt, redirects followed.

    `clock` (seconds, monotonic) is an argument for the tests' sake.
    """

    def __init__(
        self, fetch: Callable[[str], Awaitable[RobotsReply]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._known: dict[str, tuple[float, Rules]] = {}  # since when, on the clock, before the request: no older
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def rules(self, url: str) -> Rules:
        """The rules for a normalised URL: fetched for its origin once in 24 hours, by who asks first; others wait."""
        origin = origin_of(url)
        async with self._locks[origin]:
            now = self._clock()
            since, rules = self._known.get(origin, (now, None))
            if rules is None or now - since >= MAX_AGE_SECONDS:
                rules = judge(await self._fetch(f"{origin}/robots.txt"))
                self._known[origin] = now, rules
            return rules


def judge(reply: RobotsReply) -> Rules:
    """The rules that follow from a reply (RFC 9309 section 2.3.1).

    2xx: what it says, if all of it could be read. 4xx: all is allowed, but for 429, which says that we are too many
    already. Anything else, 5xx and no answer at all: nothing is allowed, reason robots_unreachable, or the reason why
    the host itself is out of reach (dns, connect, tls, address_forbidden).
    """
    status = reply.http_status or 0
    if 200 <= status < 300 and reply.body is not None:
        says = _said(reply.body)
        return Rules(parsed=_matcher(says), no_training=says.no_training)
    if 400 <= status < 500 and status != 429:
        return Rules(parsed=parse(b""))
    out_of_reach = reply.reason in _HOST_OUT_OF_REACH and not reply.elsewhere
    reason = reply.reason if out_of_reach else "robots_unreachable"
    return Rules(parsed=parse(b""), reason=reason, detail=f"robots.txt: {reply.detail or reply.reason}")


def parse(body: bytes) -> Protego:
    """The rules of a robots.txt for our product token."""
    return _matcher(_said(body))


def _said(body: bytes) -> Said:
    """What the whole lines among its first MAX_ROBOTS_BYTES bytes say to us."""
    if len(body) > MAX_ROBOTS_BYTES:  # half a rule is another rule: "Disallow: /private" cut to "Disallow: /"
        end = max(body.rfind(b"\n", 0, MAX_ROBOTS_BYTES), body.rfind(b"\r", 0, MAX_ROBOTS_BYTES))
        body = body[: end + 1]
    return said(body, PRODUCT_TOKEN)


def _matcher(says: Said) -> Protego:
    """Protego for the patterns, given one group, ours.

    To it, another record between two User-agent lines would end the first group; and it keeps each rule of a group for
    each of its names, half a billion in a file of 500 KiB made for that.
    """
    lines = [f"User-agent: {PRODUCT_TOKEN}", f"Crawl-delay: {says.crawl_delay}"]
    lines += [f"{name}: {pattern}" for name, pattern in says.rules]
    lines += [f"Sitemap: {address}" for address in says.sitemaps]
    return Protego.parse("\n".join(lines))
