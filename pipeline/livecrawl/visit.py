"""A visit to one site, which is a registered domain: from its seeds and sitemaps along its links, breadth first.

One request at a time, each as a guest (see client.py), and none twice: what failed, or was refused for the moment, is
not tried again. A redirect is a URL of its own that leads to another. What leads to another domain is counted and not
followed, also where that domain is visited as well, from seeds of its own.

What was received is read in a thread: a page or a sitemap may have been made to take seconds, and other sites, visited
by the same loop, must not miss their answers meanwhile. The visit itself waits for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO

from pipeline.inputs.archives import warc
from pipeline.livecrawl.frontier import Found, Frontier
from pipeline.livecrawl.links import is_file, links
from pipeline.livecrawl.sitemaps import MAX_SITEMAP_BYTES, MAX_SITEMAP_URLS, parse
from pipeline.livecrawl.warcwriter import WarcWriter, stored_headers
from pipeline.web.client import Client, Reply, user_agent
from pipeline.web.detail import one_line
from pipeline.web.urls import domain_of, normalise, origin_of

MAX_WAITING = 10_000
"""URLs of a site that are remembered, or ten for each page that may be asked for, if that is more."""
MAX_LINKS = 2_000
"""New URLs that are taken from one page; an archive's list of all its articles has as many."""
MAX_SITEMAPS = 32
"""Of a site that are read; with MAX_SITEMAP_URLS in each, more than any budget."""
MAX_ORIGINS = 100
"""Origins (scheme, host, port) of a site that are asked, each for its robots.txt first: some sites have a host for
every word."""

_REDIRECT = "too_many_redirects"  # the client follows none


@dataclass(frozen=True, kw_only=True)
class VisitConfig:
    """As whom, how far and how politely sites are visited: the recipe's [crawl] and [fetch] tables have the words."""

    seed: int
    crawl_id: str
    depth: int
    pages_per_domain: int
    max_page_bytes: int
    contact: str
    connect_to: str
    requests_per_second: float
    domains_at_once: int
    deadline_hours: float
    timeout: float
    max_redirects: int


class Visit:
    """One visit. `rows` has a row of the table `page` for every URL that was met, in the order of the visit."""

    def __init__(
        self, domain: str, seeds: Sequence[str], config: VisitConfig, client: Client, archive: BinaryIO
    ) -> None:
        self.rows: list[dict[str, Any]] = []
        self._domain, self._config, self._client = domain, config, client
        self._archive = WarcWriter(archive, _about(domain, config), datetime.now(UTC))
        self._frontier = Frontier(domain, config.seed, max(MAX_WAITING, 10 * config.pages_per_domain))
        for url in seeds:
            self._frontier.add(url, 0, "seed")
        self._origins = set(map(origin_of, seeds))
        self._asked = 0  # requests for pages
        self._ends_at = time.monotonic() + config.deadline_hours * 3600
        self._files = self._nofollow = self._sitemaps_not_read = 0

    async def run(self) -> None:
        """Visit the site until nothing is left of it, or of the budget. OSError where the archive cannot be written."""
        if self._config.depth > 0:
            await self._read_sitemaps()
        while found := self._frontier.pop():
            reason = self._refusal(found)
            self.rows.append(self._row(found, Reply(reason=reason)) if reason else await self._ask(found))

    @property
    def notes(self) -> dict[str, int]:
        """Links and sitemaps that the visit did not go into."""
        return {
            "links_to_other_domains": self._frontier.elsewhere,
            "links_beyond_the_frontier": self._frontier.beyond,
            "links_to_files": self._files,
            "links_marked_nofollow": self._nofollow,
            "sitemaps_not_read": self._sitemaps_not_read,
        }

    # ── pages ──

    def _refusal(self, found: Found) -> str:
        """Why a URL is not asked for."""
        if found.depth > self._config.depth:
            return "too_deep"
        if self._asked >= self._config.pages_per_domain:
            return "page_budget"
        if time.monotonic() >= self._ends_at:
            return "deadline"
        if origin_of(found.url) not in self._origins and len(self._origins) >= MAX_ORIGINS:
            return "too_many_hosts"
        return ""

    async def _ask(self, found: Found) -> dict[str, Any]:
        """Ask for a URL and keep the page that it is; the row that says what became of it."""
        self._origins.add(origin_of(found.url))
        reply = await self._client.fetch_page(found.url, self._config.max_page_bytes)
        self._asked += reply.attempts
        if reply.reason == _REDIRECT:
            return self._row(found, reply, *self._redirect(self._frontier, found, reply))
        if reply.reason or reply.asked_at is None:
            return self._row(found, reply)
        problem = await asyncio.to_thread(self._keep, found, reply, reply.asked_at)
        return self._row(found, reply, problem.reason, problem.detail) if problem else self._row(found, reply)

    def _keep(self, found: Found, reply: Reply, asked_at: datetime) -> warc.Problem | None:
        """Write the page that a reply holds to the archive, and take its links; or why it is no page."""
        headers = stored_headers(reply.headers, len(reply.body))
        page = warc.page(found.url, headers, reply.body, self._config.max_page_bytes)
        if isinstance(page, warc.Problem):
            return page
        asked = _asked_with(found.url, self._config.contact)
        self._archive.exchange(found.url, asked_at, asked, headers, reply.body)
        there = links(page)
        self._nofollow += there.nofollow
        self._discover(there.urls, found.depth + 1, "link", found.url, MAX_LINKS)
        return None

    def _redirect(self, frontier: Frontier, found: Found, reply: Reply) -> tuple[str, str]:
        """(reason, detail) of a URL that leads to another, which goes to the frontier if it is of this site."""
        location = reply.header("location") or ""
        target = normalise(location, found.url)
        if target is None:
            return "url_invalid", one_line(f"to {location}")
        if domain_of(target) != self._domain:
            return "out_of_scope", one_line(f"to {target}")
        if target == found.url:
            return "too_many_redirects", "to itself"
        if found.hops >= self._config.max_redirects:
            return "too_many_redirects", one_line(f"to {target}")
        frontier.add(target, found.depth, "redirect", found.url, found.hops + 1)
        return "redirected", one_line(f"to {target}")

    def _discover(self, urls: Iterable[str], depth: int, found_by: str, found_from: str, most: int) -> None:
        """Take what is no file by its name into the frontier."""
        urls = list(urls)
        pages = [url for url in urls if not is_file(url)]
        self._files += len(urls) - len(pages)
        self._frontier.discover(pages, depth, found_by, found_from, most)

    def _row(self, found: Found, reply: Reply, reason: str = "", detail: str = "") -> dict[str, Any]:
        return {
            "page_url": found.url,
            "domain": self._domain,
            "depth": found.depth,
            "found_by": found.found_by,
            "found_from": found.found_from,
            "reason": reason or reply.reason,
            "detail": detail or reply.detail or None,
            "http_status": reply.http_status,
            "visited_at": reply.asked_at,
        }

    # ── sitemaps ──

    async def _read_sitemaps(self) -> None:
        """Those that the robots.txt of the seeds' hosts name and, where one is an index, those that it names."""
        waiting = Frontier(self._domain, self._config.seed, MAX_SITEMAPS)
        for origin in sorted(self._origins):
            named = [normalise(url, f"{origin}/") for url in await self._client.sitemaps(f"{origin}/")]
            waiting.discover(filter(None, named), 0, "robots.txt", f"{origin}/robots.txt", MAX_SITEMAPS)
        while found := waiting.pop():
            if time.monotonic() >= self._ends_at:
                self._sitemaps_not_read += 1
                continue
            reply = await self._client.fetch_page(found.url, MAX_SITEMAP_BYTES)
            if reply.reason == _REDIRECT and self._redirect(waiting, found, reply)[0] == "redirected":
                continue
            await asyncio.to_thread(self._take_sitemap, waiting, found, reply)
        self._sitemaps_not_read += waiting.elsewhere + waiting.beyond

    def _take_sitemap(self, waiting: Frontier, found: Found, reply: Reply) -> None:
        """Take the pages that a sitemap names and, where it is an index that robots.txt named, its sitemaps."""
        sitemap = parse(reply.body)
        self._sitemaps_not_read += bool(reply.reason or sitemap.problem)
        pages = filter(None, (normalise(url, found.url) for url in sitemap.pages))
        self._discover(pages, 1, "sitemap", found.url, MAX_SITEMAP_URLS)
        if found.depth == 0:
            named = [normalise(url, found.url) for url in sitemap.sitemaps]
            waiting.discover(filter(None, named), 1, "sitemap", found.url, MAX_SITEMAPS)


def _asked_with(url: str, contact: str) -> list[tuple[str, str]]:
    """The headers of a request as the client sends it."""
    host = origin_of(url).partition("//")[2]
    return [("Host", host), ("User-Agent", user_agent(contact)), ("Accept-Encoding", "identity"), ("Accept", "*/*")]


def _about(domain: str, config: VisitConfig) -> dict[str, str]:
    """The fields of the archive's warcinfo record."""
    agent = user_agent(config.contact)
    about = {
        "software": agent.partition(" ")[0],
        "operator": config.contact,
        "http-header-user-agent": agent,
        "robots": "RFC 9309, unreachable means no; rel, meta and header nofollow",
        "format": "WARC File Format 1.1",
        "conformsTo": "http://iipc.github.io/warc-specifications/specifications/warc-format/warc-1.1/",
        "isPartOf": config.crawl_id,
        "description": f"HTML pages of {domain}; the bodies have no content or transfer coding",
    }
    return {name: value for name, value in about.items() if value}
