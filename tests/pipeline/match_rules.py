"""The rules of match, written down once more: a row at a time, as the docstrings promise them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from core import choice
from pipeline.ids import image_id, pair_id

SEED = 1  # that of Project
DOMAIN = {"x.a.test": "a.test", "y.a.test": "a.test", "b.test": "b.test", "127.0.0.1": "127.0.0.1"}


class Found(NamedTuple):
    """A candidate, by what match looks at."""

    host: str
    image: int
    text: str
    page: str = ""
    opt_out: str | None = None
    uid: str | None = None  # in the URL table that it came from

    @property
    def url(self) -> str:
        return f"http://{self.host}/{self.image}.jpg"

    @property
    def id(self) -> bytes:
        return pair_id(self.url, self.text)

    @property
    def domain(self) -> str:
        return DOMAIN.get(self.host, self.host)


def crowd(n: int, text: str = "a dog") -> list[Found]:
    """n images with one text, each on a domain of its own."""
    return [Found(f"site{i}.test", i, text) for i in range(n)]


def held(row: Found, queries: Sequence[str]) -> list[int]:
    return [n for n, query in enumerate(queries) if f" {query} " in f" {row.text} "]


def by_the_rules(
    rows: Iterable[Found], queries: Sequence[str], cap: int, budget: int, require_query: bool
) -> dict[bytes, list[int]]:
    """pair_id → kept_for."""
    pairs = {row.id: row for row in rows if held(row, queries) or not require_query}
    images = defaultdict(set)
    for row in pairs.values():
        images[row.domain].add(image_id(row.url))
    within = set[bytes]()
    for domain, some in images.items():
        within.update(sorted(some, key=lambda id_: (rank("domain_budget", domain, id_), id_))[:budget])
    pairs = {id_: row for id_, row in pairs.items() if image_id(row.url) in within}
    takers: dict[bytes, list[int]] = {id_: [] for id_, row in pairs.items() if not held(row, queries)}
    for n, query in enumerate(queries):
        asking = [id_ for id_, row in pairs.items() if n in held(row, queries)]
        for id_ in sorted(asking, key=lambda id_: (rank("query_quota", query, id_), id_))[:cap]:
            takers.setdefault(id_, []).append(n)
    return takers


def rank(purpose: str, scope: str, id_: bytes) -> int:
    return int(choice.rank(SEED, purpose, scope, [id_])[0])
