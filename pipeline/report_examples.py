"""What the report shows of the data: rows, pictures and groups, taken from a few parts of each table.

The parts are chosen by hash, and so are the rows and pictures among them: the same stages give the same examples, and
a larger set does not take longer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dedup.tables import GROUP
from pipeline.pictures import Chunks, packed, thumbnail
from pipeline.records import OUTCOME, PAIR, QUERY
from pipeline.report_plots import Numbers
from pipeline.web.urls import host_of, registered_domain
from shards import choice
from shards.files import join, open_input, read_batches
from shards.manifest import Manifest, Part
from shards.tables import name_of

PARTS_READ = 16  # parts of a table that examples are taken from
ROWS_READ = 500_000  # rows of them at most
CHUNKS_READ = 64  # chunks in which the pictures of duplicates are looked for

KEPT = 24  # samples shown
OF_A_QUERY = 4  # pictures shown of each query
PER_REASON = 6  # rows shown of each reason that a stage has
NEAR, SAME = 9, 3  # groups shown of near-duplicates, and of images with the same bytes
REPLACED = 3  # pictures shown of those that one keeper replaced
TOP = 12  # entries of a list
_TRIES = 8  # pairs looked up for each picture wanted: the images of the others were not fetched, or are duplicates

Rows = list[dict[str, Any]]


# ── chosen by hash ────────────────────────────────────────────────────────────────────────────────


def in_order(seed: int, scope: str, ids: Sequence[bytes]) -> list[int]:
    """Positions of ids in the order in which they are chosen: by hash, then by id."""
    ranks = choice.rank(seed, "report", scope, ids).tolist()
    return sorted(range(len(ids)), key=lambda i: (ranks[i], ids[i]))


def first(rows: pa.Table, most: int, column: str, seed: int, scope: str) -> pa.Table:
    """The `most` rows that are chosen first by the ids, or URLs, in a column."""
    ids = rows[column].cast(pa.binary()).to_pylist()
    return rows.take(pa.array(in_order(seed, scope, ids)[:most], pa.int64()))


def some_parts(manifest: Manifest, table: str, seed: int, most: int) -> list[Part]:
    """Some parts of a table, chosen by hash; all of them where there are few."""
    parts = manifest.of(table)
    return [parts[i] for i in in_order(seed, table, [part.name.encode() for part in parts])[:most]]


def some_rows(manifest: Manifest, schema: pa.Schema, seed: int) -> Iterator[pa.Table]:
    """The rows that examples of a table are taken from, a row group at a time."""
    count = 0
    for part in some_parts(manifest, name_of(schema), seed, PARTS_READ):
        for rows in read_batches(join(manifest.folder, part.name), schema):
            yield rows
            count += rows.num_rows
            if count >= ROWS_READ:
                return


def by_reason(manifest: Manifest, schema: pa.Schema, column: str, seed: int) -> dict[str, Rows]:
    """Some rows of each reason of a table, chosen by the ids in a column; an empty reason is none."""
    found: dict[str, pa.Table] = {}
    for rows in some_rows(manifest, schema, seed):
        for reason in filter(None, pc.unique(rows["reason"]).to_pylist()):
            some = rows.filter(pc.equal(rows["reason"], reason))
            some = pa.concat_tables([found[reason], some]) if reason in found else some
            found[reason] = first(some, PER_REASON, column, seed, reason)
    return {reason: rows.to_pylist() for reason, rows in found.items()}


# ── pictures ──────────────────────────────────────────────────────────────────────────────────────


def kept_samples(match: Manifest, pack: Manifest, seed: int) -> Rows:
    """Some pairs whose images are in the shards, each with its row there and a thumbnail."""
    pairs = PAIR.empty_table()
    for rows in some_rows(match, PAIR, seed):
        pairs = first(pa.concat_tables([pairs, rows]), _TRIES * KEPT, "pair_id", seed, "kept")
    return _in_shards(pairs, pack, KEPT)


def of_queries(match: Manifest, pack: Manifest, queries: Sequence[int], seed: int) -> dict[int, Rows]:
    """The same of the pairs that were kept for each of some queries."""
    pairs = dict.fromkeys(queries, PAIR.empty_table())
    for rows in some_rows(match, PAIR, seed):
        query, row = pc.list_flatten(rows["kept_for"]), pc.list_parent_indices(rows["kept_for"])
        for wanted in queries:
            some = rows.take(row.filter(pc.equal(query, wanted)))
            pairs[wanted] = first(
                pa.concat_tables([pairs[wanted], some]), _TRIES * OF_A_QUERY, "pair_id", seed, f"query {wanted}"
            )
    return {query: _in_shards(some, pack, OF_A_QUERY) for query, some in pairs.items()}


def _in_shards(pairs: pa.Table, pack: Manifest, most: int) -> Rows:
    shown: dict[bytes, dict[str, Any]] = {}
    for pair in pairs.to_pylist():
        if len(shown) < most and pair["image_id"] not in shown and (found := packed(pack, pair["image_id"])):
            sample, image = found
            shown[pair["image_id"]] = {**pair, "sample": sample, "picture": thumbnail(image)}
    return list(shown.values())


def duplicates(dedup: Manifest, fetch: Manifest, pack: Manifest | None, seed: int) -> Rows:
    """Some groups, near-duplicates first: a keeper and some of what it replaced, with their thumbnails.

    What was replaced is in a chunk, but its id does not say in which: it is looked for in some of them. A keeper is
    found in the shards by its id.
    """
    chunks = Chunks(fetch, some_parts(fetch, "chunk", seed, CHUNKS_READ))
    groups: dict[bool, dict[bytes, Rows]] = {False: {}, True: {}}  # same bytes? → keeper → what it replaced
    for rows in some_rows(dedup, GROUP, seed):
        dropped = rows.filter(pc.and_(pa.array(chunks.have(rows["image_id"])), pc.invert(rows["keep"])))
        for row in dropped.to_pylist():
            if row["image_id"] == row["kept_by"]:
                continue  # of a group that goes as a whole, the image that the others are compared with
            groups[row["same_bytes"]].setdefault(row["kept_by"], []).append(row)
        for same_bytes, most in ((False, NEAR), (True, SAME)):
            keepers = sorted(groups[same_bytes])
            chosen = in_order(seed, "group", keepers)[:most]
            groups[same_bytes] = {keepers[i]: groups[same_bytes][keepers[i]] for i in chosen}
    return [_group(keeper, rows, chunks, pack, seed) for some in groups.values() for keeper, rows in some.items()]


def _group(keeper: bytes, rows: Rows, chunks: Chunks, pack: Manifest | None, seed: int) -> dict[str, Any]:
    chosen = in_order(seed, "replaced", [row["image_id"] for row in rows])[:REPLACED]
    replaced = [{**rows[i], "picture": thumbnail(chunks.image(rows[i]["image_id"]))} for i in chosen]
    image = chunks.image(keeper)
    if image is None and pack and (found := packed(pack, keeper)):
        image = found[1]
    gone = any(row.get("reason") == "placeholder" for row in rows)
    more = len(rows) - len(replaced)
    return {"keeper": keeper, "gone": gone, "picture": thumbnail(image), "replaced": replaced, "more": more}


# ── what the pairs and images are like ────────────────────────────────────────────────────────────


def survey(match: Manifest, seed: int) -> dict[str, Any]:
    """Queries, languages, text sources, domains and words a text of the pairs that were read, most frequent first."""
    wanted, languages, sources, hosts = Counter[int](), Counter[str](), Counter[str](), Counter[str]()
    read, words = 0, []
    for rows in some_rows(match, PAIR, seed):
        read += rows.num_rows
        wanted.update(pc.list_flatten(rows["kept_for"]).to_pylist())
        languages.update(lang or "unknown" for lang in rows["lang"].to_pylist())
        sources.update(rows["text_source"].to_pylist())
        hosts.update(host_of(url) for url in rows["image_url"].to_pylist())
        words.append(pc.add(pc.count_substring(rows["text"], " "), 1).to_numpy())  # their white space is folded
    domains = Counter[str]()
    for host, n in hosts.items():
        domains[registered_domain(host)] += n
    return {
        "read": read,
        "all": sum(part.rows for part in match.of("pair")),
        "queries": _to_show(wanted, seed),
        "asked": len(wanted),
        "pairs_a_query": np.array(sorted(wanted.values(), reverse=True), np.float64),
        "words": np.concatenate([np.empty(0), *words]),
        "lists": {"Languages": top(languages), "Texts from": top(sources), "Domains of the images": top(domains)},
    }


def _to_show(wanted: Counter[int], seed: int) -> dict[int, int]:
    """Half of them the most frequent queries, half chosen by hash among those with pictures enough."""
    most = dict(list(top(wanted).items())[: TOP // 2])
    others = sorted(query for query, n in wanted.items() if n >= OF_A_QUERY and query not in most)
    chosen = in_order(seed, "queries", [b"%d" % query for query in others])[: TOP - len(most)]
    return most | {others[i]: wanted[others[i]] for i in chosen}


def top(counts: Counter[Any]) -> dict[Any, int]:
    """The most frequent, equals by their name."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:TOP])


def image_sizes(fetch: Manifest, seed: int) -> tuple[Numbers, dict[str, int]]:
    """Of the images that were fetched, among those read: pixels of the longer side, and how many of each format."""
    sides, formats = [np.empty(0)], Counter[str]()
    for rows in some_rows(fetch, OUTCOME, seed):
        rows = rows.filter(pc.equal(rows["reason"], ""))
        sides.append(pc.max_element_wise(rows["original_width"], rows["original_height"]).drop_null().to_numpy())
        formats.update(name or "unknown" for name in rows["format"].to_pylist())
    return np.concatenate(sides).astype(np.float64), top(formats)


def query_texts(queries: Manifest | None, ids: set[int]) -> dict[int, str]:
    """The texts of some queries."""
    texts: dict[int, str] = {}
    for path in queries.paths("query") if queries else []:
        for rows in read_batches(path, QUERY, ["id", "text"]):
            some = rows.filter(pc.is_in(rows["id"], pa.array(sorted(ids), pa.int32())))
            texts |= dict(zip(some["id"].to_pylist(), some["text"].to_pylist(), strict=True))
    return texts


def query_sources(queries: Manifest) -> dict[str, int]:
    """How many queries came from each source."""
    found = Counter[str]()
    for path in queries.paths("query"):
        for rows in read_batches(path, QUERY, ["source"]):
            found.update(rows["source"].to_pylist())
    return top(found)


def by_class(results: Manifest) -> Rows:
    """Of each class of the zero-shot pictures, the best first: how many, how many right, what else they were taken for.

    The table is the trainer's, whose schema is not known here: its columns are asked for by name.
    """
    said: dict[str, Counter[str]] = {}
    for path in results.paths("zeroshot_example"):
        with open_input(path) as file:
            rows = pq.read_table(file, columns=["label", "predicted"]).to_pydict()
        for label, predicted in zip(rows["label"], rows["predicted"], strict=True):
            said.setdefault(label, Counter())[predicted] += 1
    classes = [
        {"label": label, "n": counts.total(), "right": counts.pop(label, 0), "taken_for": list(top(counts).items())[:1]}
        for label, counts in said.items()
    ]
    return sorted(classes, key=lambda row: (-row["right"] / row["n"], row["label"]))
