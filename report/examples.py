"""What the report shows of the data: rows, pictures and groups, taken from a few parts of each table.

The parts are chosen by hash, and so are the rows and pictures among them: the same stages give the same examples, and
a larger set does not take longer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from core import choice
from core.files import join
from core.manifest import Manifest, Part
from core.tables import name_of, read_batches
from dedup.tables import CAPTION, GROUP
from pipeline.tables import CANDIDATE, FETCH_REASONS, OUTCOME, PAGE, PAIR, QUERY, REJECT, REJECT_QUERY, REJECT_RECORD
from report.thumbnails import Chunks, find_image, packed, thumbnail

PARTS_READ = 64  # parts of a table that examples are taken from …
MORE_PARTS = 1_000  # … or so many, until there is an example of every reason
ROWS_READ = 500_000  # rows of them at most
CHUNKS_READ = 64  # chunks in which the pictures of duplicates are looked for

KEPT = 24  # samples shown
OF_A_QUERY = 4  # pictures shown of each query
PER_REASON = 6  # rows shown of each reason that a stage has, and of what it kept
NEAR, SAME = 9, 3  # groups shown of near-duplicates, and of images with the same bytes
REPLACED = 3  # pictures shown of those that one keeper replaced
_TRIES = 8  # pairs looked up for each picture wanted: the images of the others were not fetched, or are duplicates

Rows = list[dict[str, Any]]

BEHIND: dict[tuple[str, str], tuple[pa.Schema | None, pa.Schema, str]] = {
    ("queries", "queries"): (QUERY, REJECT_QUERY, "text"),
    ("crawl", "pages"): (PAGE, PAGE, "page_url"),
    ("crawl", "records"): (None, REJECT_RECORD, "warc_offset"),
    ("crawl", "pairs"): (CANDIDATE, REJECT, "pair_id"),
    ("filter", "pairs"): (CANDIDATE, REJECT, "pair_id"),
    ("match", "pairs"): (PAIR, REJECT, "pair_id"),
    ("fetch", "images"): (OUTCOME, OUTCOME, "image_id"),
    ("dedup", "pairs"): (CAPTION, REJECT, "pair_id"),
}
"""What is behind the numbers of a stage's unit: the tables of what it kept and of what it dropped, and the column by
which examples are chosen. One table for both has a reason where a row was dropped."""


# ── chosen by hash ────────────────────────────────────────────────────────────────────────────────


def in_order(seed: int, scope: str, ids: Sequence[bytes]) -> list[int]:
    """Positions of ids in the order in which they are chosen: by hash, then by id."""
    ranks = choice.rank(seed, "report", scope, ids).tolist()
    return sorted(range(len(ids)), key=lambda i: (ranks[i], ids[i]))


def first(rows: pa.Table, most: int, column: str, seed: int, scope: str) -> pa.Table:
    """The `most` rows that are chosen first by the values of a column."""
    return rows.take(pa.array(in_order(seed, scope, choice.as_keys(rows[column]))[:most], pa.int64()))


def some_parts(manifest: Manifest, table: str, seed: int, most: int) -> list[Part]:
    """Some parts of a table, chosen by hash; all of them where there are few."""
    parts = manifest.of(table)
    return [parts[i] for i in in_order(seed, table, [part.name.encode() for part in parts])[:most]]


def some_rows(
    manifest: Manifest, schema: pa.Schema, seed: int, enough: Callable[[], bool] = lambda: True
) -> Iterator[pa.Table]:
    """The rows that examples of a table are taken from, a row group at a time; more parts until there is `enough`."""
    count = 0
    for number, part in enumerate(some_parts(manifest, name_of(schema), seed, MORE_PARTS)):
        if number >= PARTS_READ and enough():
            return
        for rows in read_batches(join(manifest.folder, part.name), schema):
            yield rows
            count += rows.num_rows
            if count >= ROWS_READ:
                return


def by_value(
    tables: Iterable[pa.Table], column: str, key: str, seed: int, most: int, found: dict[str, pa.Table]
) -> dict[str, Rows]:
    """Some rows of each value of a column but the empty one, chosen by another; `found` has those found so far."""
    for rows in tables:
        for value in filter(None, pc.unique(rows[column]).to_pylist()):
            some = rows.filter(pc.equal(rows[column], value))
            some = pa.concat_tables([found[value], some]) if value in found else some
            found[value] = first(some, most, key, seed, value)
    return {value: rows.to_pylist() for value, rows in found.items()}


def elsewhere(stage: str, unit: str) -> set[str]:
    """Reasons of a unit whose rows another stage has: pairs of images that were not fetched."""
    return set(FETCH_REASONS) if (stage, unit) == ("dedup", "pairs") else set()


def behind(manifest: Manifest, stage: str, unit: str, seed: int) -> dict[str, Rows]:
    """Rows behind a stage's numbers of a unit: some of what was kept, as "kept", and some of each reason."""
    kept_in, dropped_in, key = BEHIND[stage, unit]
    reasons = manifest.counts.get(unit, {"dropped": {}})["dropped"].keys() - elsewhere(stage, unit)
    found: dict[str, pa.Table] = {}
    dropped = some_rows(manifest, dropped_in, seed, enough=lambda: reasons <= found.keys())
    shown = by_value(dropped, "reason", key, seed, PER_REASON, found)
    if kept_in is None:
        return shown
    kept = kept_in.empty_table()
    for rows in some_rows(manifest, kept_in, seed):
        rows = rows.filter(pc.equal(rows["reason"], "")) if kept_in is dropped_in else rows
        kept = first(pa.concat_tables([kept, rows]), PER_REASON, key, seed, "kept")
    return {"kept": kept.to_pylist(), **shown}


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


def some_chunks(fetch: Manifest, seed: int) -> Chunks:
    """What was replaced is in a chunk, but its id does not say in which: it is looked for in some of them."""
    return Chunks(fetch, some_parts(fetch, "chunk", seed, CHUNKS_READ))


def duplicates(dedup: Manifest, chunks: Chunks, pack: Manifest | None, seed: int) -> Rows:
    """Some groups, near-duplicates first: a keeper and some of what it replaced, with their thumbnails."""
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
    gone = any(row.get("reason") == "placeholder" for row in rows)
    picture, more = thumbnail(find_image(keeper, chunks, pack)), len(rows) - len(replaced)
    return {"keeper": keeper, "gone": gone, "picture": picture, "replaced": replaced, "more": more}
