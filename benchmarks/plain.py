"""The same rules in plain loops that read and write the same Parquet: what a stage would cost without its promises.

    python -m benchmarks.plain STAGE RECIPE OUT

No tasks, no receipts, no digests, no resume, no shuffle: one process, everything in memory, one file a table.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from core import choice
from core.manifest import Manifest, read_manifest
from core.recipe import Recipe, files, read
from pipeline import crawl, fetch, filter, match
from pipeline.decoding.decoder import Decoder
from pipeline.decoding.picture import Picture
from pipeline.ids import ids_of
from pipeline.inputs.archives import warc
from pipeline.inputs.pages.extract import candidates
from pipeline.tables import CANDIDATE, DROP, OUTCOME, PAIR, PLAN
from pipeline.text.clean import clean
from pipeline.text.language import detect
from pipeline.text.matching import Matcher
from pipeline.text.rules import verdict
from pipeline.web.addresses import parse_connect_to
from pipeline.web.client import Client, Limits
from pipeline.web.politeness import RateLimiter
from pipeline.web.urls import domain_of, normalise
from shards.format import CHUNK, TarWriter


class Table:
    """A Parquet file being written, in the row groups that a stage writes."""

    def __init__(self, out: Path, name: str, schema: pa.Schema) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(out / f"{name}.parquet", schema, compression="zstd", write_page_checksum=True)
        self._schema, self._rows = schema, list[dict[str, Any]]()

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) == 16_384:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows.clear()


def rows_of(manifest: Manifest, table: str) -> Iterator[Any]:
    for path in manifest.paths(table):
        for batch in pq.ParquetFile(path).iter_batches(16_384):
            yield from batch.to_pylist()


def finished(recipe: Recipe, stage: str) -> Manifest:
    found = read_manifest(recipe.folder(stage))
    assert found is not None, f"{stage} has not run"
    return found


def plain_crawl(recipe: Recipe, out: Path) -> None:
    config = recipe.config("crawl", crawl.Config)
    kept, dropped = Table(out, "candidate", CANDIDATE), Table(out, "drop", DROP)
    for path in files(config.warc, recipe.path, "crawl.warc"):
        origin = {"crawl_id": config.crawl_id, "warc_file": Path(path).name, "lang": None, "lang_score": None}
        for page in warc.pages(path, config.max_page_bytes):
            if isinstance(page, warc.Problem) or (page_url := normalise(page.url)) is None:
                continue
            for found in candidates(page):
                ids = ids_of(found.image_url, found.text)
                row = {**found._asdict(), "page_url": page_url, "warc_offset": page.offset, **ids, **origin}
                (dropped if row["reason"] else kept).add(row)
    kept.close()
    dropped.close()


def plain_filter(recipe: Recipe, out: Path) -> None:
    config = recipe.config("filter", filter.Config)
    kept, dropped = Table(out, "candidate", CANDIDATE), Table(out, "drop", DROP)
    rows = rows_of(finished(recipe, "crawl"), "candidate")
    pages = groupby(rows, lambda row: row["page_url"])
    while some := [row for _, page in islice(pages, 512) for row in page]:
        some = [row | {"text": clean(row["text"])} for row in some]
        texts, urls, declared = ([row[name] for row in some] for name in ("text", "page_url", "page_lang"))
        found = detect(texts, urls, declared)
        for row, lang, score in zip(some, *found, strict=True):
            row |= {"lang": lang, "lang_score": score}
            reason = verdict(row, config)
            (dropped if reason else kept).add({**row, "reason": reason})
    kept.close()
    dropped.close()


def plain_match(recipe: Recipe, out: Path) -> None:
    config, seed = recipe.config("match", match.Config), recipe.run.seed
    guest = recipe.config("fetch", fetch.Config)
    names = [row["text"] for row in rows_of(finished(recipe, "queries"), "query")]
    matcher, first, dropped = Matcher(names), dict[bytes, dict[str, Any]](), Table(out, "drop", DROP)
    rows = rows_of(finished(recipe, "filter"), "candidate")
    while some := list(islice(rows, 4096)):
        for row, queries in zip(some, matcher.find([row["text"] for row in some]), strict=True):
            if not queries and config.require_query:
                dropped.add({**row, "reason": "no_query"})
            elif row["pair_id"] in first:
                dropped.add({**row, "reason": "exact_duplicate"})
            else:
                domain = domain_of(row["image_url"])
                first[row["pair_id"]] = {**row, "queries": queries, "kept_for": [], "domain": domain}
    images: dict[str, set[bytes]] = {}
    for row in first.values():
        images.setdefault(row["domain"], set()).add(row["image_id"])
    budget = guest.images_per_domain
    allowed = {domain: set(_few(seed, "domain_budget", domain, ids, budget)) for domain, ids in images.items()}
    asking: dict[int, list[bytes]] = {}
    for row in first.values():
        if row["image_id"] in allowed[row["domain"]]:
            for query in row["queries"]:
                asking.setdefault(query, []).append(row["pair_id"])
    for query, pairs in sorted(asking.items()):
        for pair in _few(seed, "query_quota", names[query], pairs, config.max_pairs_per_query):
            first[pair]["kept_for"].append(query)
    kept = Table(out, "pair", PAIR)
    for row in first.values():
        if row["kept_for"]:
            kept.add(row)
        else:
            over = row["image_id"] not in allowed[row["domain"]]
            dropped.add({**row, "reason": "domain_budget" if over else "query_quota"})
    kept.close()
    dropped.close()
    _plain_plan([row for row in first.values() if row["kept_for"]], config.lanes, guest.requests_per_second, out)


def _few(seed: int, purpose: str, of: str, ids: Any, most: int) -> list[bytes]:
    ids = sorted(ids)
    return ids if len(ids) <= most else [ids[i] for i in np.argsort(choice.rank(seed, purpose, of, ids))[:most]]


def _plain_plan(pairs: list[dict[str, Any]], lanes: int, rate: float, out: Path) -> None:
    images = {row["image_id"]: row for row in pairs}
    domains = Counter(row["domain"] for row in images.values())
    plan = Table(out, "plan", PLAN)
    for _, row in sorted(images.items()):
        lane = xxhash.xxh3_64_intdigest(f"lane:{row['domain']}".encode()) % lanes
        plan.add({**row, "lane": lane, "domain_hours": domains[row["domain"]] / rate / 3600})
    plan.close()


def plain_fetch(recipe: Recipe, out: Path) -> None:
    asyncio.run(_plain_fetch(recipe, out))


async def _plain_fetch(recipe: Recipe, out: Path) -> None:
    config = recipe.config("fetch", fetch.Config)
    limits = Limits(max_bytes=config.max_bytes, total_seconds=config.timeout, max_redirects=config.max_redirects)
    outcomes, index = Table(out, "outcome", OUTCOME), Table(out, "chunk", CHUNK)
    budget, connect_to = RateLimiter(config.requests_per_second), parse_connect_to(config.connect_to)
    async with (
        Client(config.contact, budget, limits, connect_to) as client,
        Decoder(fetch.options(config)) as decoder,
    ):

        async def one_domain(rows: list[dict[str, Any]]) -> list[fetch.Fetched]:
            return [await fetch.fetch_image(row, client, decoder) for row in rows]

        for number, path in enumerate(finished(recipe, "match").paths("plan")):
            domains: dict[str, list[dict[str, Any]]] = {}
            for row in pq.read_table(path).to_pylist():
                domains.setdefault(row["domain"], []).append(row)
            fetched = [one for some in await asyncio.gather(*map(one_domain, domains.values())) for one in some]
            with (out / f"{number}.tar").open("wb") as file, TarWriter(file) as tar:
                for one in sorted(fetched, key=lambda one: one.row["image_id"]):
                    outcomes.add(fetch.outcome(one))
                    if isinstance(one.stored, Picture):
                        index.add(tar.add(one.row["image_id"], config.encode_format, one.stored.body))
    outcomes.close()
    index.close()


LOOPS = {"crawl": plain_crawl, "filter": plain_filter, "match": plain_match, "fetch": plain_fetch}

if __name__ == "__main__":
    LOOPS[sys.argv[1]](read(sys.argv[2]), Path(sys.argv[3]))
