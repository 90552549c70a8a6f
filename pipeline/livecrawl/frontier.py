"""The frontier of one site: the URLs found and not yet taken out, each once, nearest to a seed first.

URLs that are as many links away from a seed come in the order of a hash: where a budget ends among them, chance has
chosen, and neither the alphabet nor the page that was read first.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Iterable
from typing import NamedTuple

from core import choice
from pipeline.web.urls import domain_of


class Found(NamedTuple):
    """A URL, and the shortest way to it that was met."""

    depth: int  # links from a seed; a sitemap counts as one, a redirect as none
    rank: int  # its place among those of the same depth
    url: str  # normalised
    found_by: str  # seed | sitemap | link | redirect
    found_from: str | None  # the URL that named it; None for a seed
    hops: int  # redirects that led here


class Frontier:
    """The URLs of one registered domain; at most `most` of them come from links and sitemaps."""

    def __init__(self, domain: str, seed: int, most: int) -> None:
        self._domain, self._seed, self._most = domain, seed, most
        self._depth: dict[str, int] = {}  # of every URL seen; a redirect may lead to one by a shorter way
        self._waiting: list[Found] = []
        self.elsewhere = 0  # links that led to other domains
        self.beyond = 0  # links for which there was no room

    def add(self, url: str, depth: int, found_by: str, found_from: str | None = None, hops: int = 0) -> None:
        """A URL that there is always room for: a seed, or where a redirect leads."""
        self._add([url], len(self._depth) + 1, depth, found_by, found_from, hops)

    def discover(self, urls: Iterable[str], depth: int, found_by: str, found_from: str, most: int) -> None:
        """URLs that a page or a sitemap names; of those that are new and of this domain, `most` are taken."""
        unique = dict.fromkeys(urls)
        here = [url for url in unique if domain_of(url) == self._domain]
        self.elsewhere += len(unique) - len(here)
        self._add(here, min(self._most, len(self._depth) + most), depth, found_by, found_from, 0)

    def pop(self) -> Found | None:
        """The next URL to take out; None where none is left."""
        while self._waiting:
            found = heapq.heappop(self._waiting)
            if found.depth == self._depth[found.url]:
                return found
        return None

    def _add(
        self, urls: Iterable[str], full: int, depth: int, found_by: str, found_from: str | None, hops: int
    ) -> None:
        new = [url for url in urls if depth < self._depth.get(url, sys.maxsize)]
        ranks = choice.rank(self._seed, "frontier", self._domain, map(str.encode, new)).tolist()
        for rank, url in sorted(zip(ranks, new, strict=True)):
            if url not in self._depth and len(self._depth) >= full:
                self.beyond += 1
                continue
            self._depth[url] = depth
            heapq.heappush(self._waiting, Found(depth, rank, url, found_by, found_from, hops))
