"""What the queries, pairs and images are like: counts for the report's lists and plots, and rows behind each entry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.manifest import Manifest
from core.tables import read_batches
from pipeline.tables import OUTCOME, PAIR, QUERY
from pipeline.web.urls import domain_of
from report.examples import OF_A_QUERY, Rows, by_value, in_order, some_rows
from report.plots import Numbers

TOP = 12  # entries of a list
PER_ENTRY = 3  # rows shown of each


def survey(match: Manifest, seed: int) -> dict[str, Any]:
    """Queries, languages, text sources, domains and words a text of the pairs that were read, most frequent first."""
    wanted, counts = Counter[int](), {title: Counter[str]() for title in LISTS}
    read, words = 0, []
    for rows in _pairs(match, seed):
        read += rows.num_rows
        wanted.update(pc.list_flatten(rows["kept_for"]).to_pylist())
        words.append(pc.add(pc.count_substring(rows["text"], " "), 1).to_numpy())  # their white space is folded
        for title, column in LISTS.items():
            counts[title].update(rows[column].to_pylist())
    return {
        "read": read,
        "all": sum(part.rows for part in match.of("pair")),
        "queries": _to_show(wanted, seed),
        "asked": len(wanted),
        "pairs_a_query": np.array(sorted(wanted.values(), reverse=True), np.float64),
        "words": np.concatenate([np.empty(0), *words]),
        "lists": {
            title: (top(counts[title]), _behind(_pairs(match, seed), column, "pair_id", seed, top(counts[title])))
            for title, column in LISTS.items()
        },
    }


LISTS = {"Languages": "lang", "Texts from": "text_source", "Domains of the images": "domain"}
"""Lists of the survey, and the column that each counts."""


def _pairs(match: Manifest, seed: int) -> Iterator[pa.Table]:
    """Some pairs, with the registered domain of each image."""
    for rows in some_rows(match, PAIR, seed):
        languages = pc.fill_null(rows["lang"], "unknown")
        rows = rows.set_column(rows.column_names.index("lang"), "lang", languages)
        yield rows.append_column("domain", pa.array(map(domain_of, rows["image_url"].to_pylist()), pa.string()))


def _behind(
    tables: Iterable[pa.Table], column: str, key: str, seed: int, entries: Mapping[str, int]
) -> dict[str, Rows]:
    """Some rows behind each entry of a list."""
    listed = pa.array(list(entries), pa.string())
    return by_value((rows.filter(pc.is_in(rows[column], listed)) for rows in tables), column, key, seed, PER_ENTRY, {})


def _to_show(wanted: Counter[int], seed: int) -> dict[int, int]:
    """Half of them the most frequent queries, half chosen by hash among those with pictures enough."""
    most = dict(list(top(wanted).items())[: TOP // 2])
    others = sorted(query for query, n in wanted.items() if n >= OF_A_QUERY and query not in most)
    chosen = in_order(seed, "queries", [b"%d" % query for query in others])[: TOP - len(most)]
    return most | {others[i]: wanted[others[i]] for i in chosen}


def top(counts: Counter[Any]) -> dict[Any, int]:
    """The most frequent, equals by their name."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:TOP])


Listed = tuple[dict[str, int], dict[str, Rows]]  # how many of each entry, and some rows behind each


def image_sizes(fetch: Manifest, seed: int) -> tuple[Numbers, Listed]:
    """Of the images that were fetched, among those read: pixels of the longer side, and how many of each format."""
    sides, formats = [np.empty(0)], Counter[str]()
    for rows in _fetched(fetch, seed):
        sides.append(pc.max_element_wise(rows["original_width"], rows["original_height"]).drop_null().to_numpy())
        formats.update(rows["format"].to_pylist())
    listed = top(formats)
    return np.concatenate(sides).astype(np.float64), (
        listed,
        _behind(_fetched(fetch, seed), "format", "image_id", seed, listed),
    )


def _fetched(fetch: Manifest, seed: int) -> Iterator[pa.Table]:
    for rows in some_rows(fetch, OUTCOME, seed):
        yield rows.filter(pc.equal(rows["reason"], ""))


def query_texts(queries: Manifest | None, ids: set[int]) -> dict[int, str]:
    """The texts of some queries."""
    texts: dict[int, str] = {}
    for path in queries.paths("query") if queries else []:
        for rows in read_batches(path, QUERY, ["id", "text"]):
            some = rows.filter(pc.is_in(rows["id"], pa.array(sorted(ids), pa.int32())))
            texts |= dict(zip(some["id"].to_pylist(), some["text"].to_pylist(), strict=True))
    return texts


def query_sources(queries: Manifest, seed: int) -> Listed:
    """How many queries came from each source."""
    found = Counter[str]()
    for rows in _queries(queries):
        found.update(rows["source"].to_pylist())
    return top(found), _behind(_queries(queries), "source", "text", seed, top(found))


def _queries(queries: Manifest) -> Iterator[pa.Table]:
    for path in queries.paths("query"):
        yield from read_batches(path, QUERY)
