"""match: candidate → pair and plan. A pair is a candidate whose text holds a query, and no query takes too many.

    openwit match --recipe recipes/real.toml

The CLIP paper (section 2.2) searches for pairs whose text includes one of 500,000 queries and balances the classes by
at most 20,000 pairs a query. Here that limit is exact, and which pairs a query takes is decided by a hash of (seed,
query, pair): one answer on any engine, in any order. Rows never move: keys are shuffled, verdicts come back to the part
that the row is in.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any

import apache_beam as beam
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from core import choice
from core.command import exit_now
from core.files import digest, join
from core.recipe import Recipe
from core.tables import ID, declare, read_batches, read_table
from pipeline.stage import Definition, Stage, main_of
from pipeline.tables import CANDIDATE, MARK, PAIR, PLAN, query_texts
from pipeline.tasks.attempt import Attempt, Task
from pipeline.tasks.shuffle import Keyed, Regroup, partition, split
from pipeline.text.matching import Matcher
from pipeline.web.manners import Manners
from pipeline.web.urls import domain_of

RULES_VERSION = 2
LIBRARIES = ("ada-url", "publicsuffixlist")

PARTITIONS = 64  # of a shuffle; a partition is held in memory while its rows are compared


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The recipe's [match] table."""

    require_query: bool = True  # whether a text without any query is dropped
    max_pairs_per_query: Annotated[int, msgspec.Meta(ge=1)] = 20_000  # the paper's limit
    lanes: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 16  # fetch tasks that may run side by side


FOUND = declare(
    "found",
    2,
    {
        "row": (pa.int64(), "row of the candidate in its part"),
        "pair_id": (ID, "of the candidate"),
        "image_id": (ID, "of the candidate"),
        "domain": (pa.string(), "registered domain of the image, or its address"),
        "queries": (pa.list_(pa.int32()), "ids of the queries found in the text, ascending"),
        "uid": (pa.string(), "of the candidate | null"),
    },
)

# What the shuffle says of a row: dropped for a reason, or taken (no reason) by a query's quota. A row of which nothing
# is said was left out by the quotas of all its queries.
NO_QUERY = -1  # takes the rows without a query, where none is required
VERDICT = pa.schema([("part", pa.int64()), ("row", pa.int64()), ("reason", pa.string()), ("query", pa.int32())])


def determined_by(recipe: Recipe) -> dict[str, Any]:
    """Quotas go to pairs that can be fetched: what a domain can serve politely limits what is chosen of it."""
    manners = recipe.shared("fetch", Manners)
    return {"max_images_per_domain": manners.images_per_domain, "rate": manners.requests_per_second}


def run(stage: Stage[Config]) -> None:
    queries, candidates = stage.reads["queries"], stage.reads["filter"]
    texts = tuple(queries.paths("query"))
    manners = stage.recipe.shared("fetch", Manners)

    # candidate → found: the queries in each text                                 a task a part
    job = stage.job("found", ("require_query",))
    tasks = [
        Task(part.task, digest(part.sha256, queries.digest), (join(candidates.folder, part.name), texts))
        for part in candidates.of("candidate")
    ]
    found = {part.task: stage.path(part) for part in stage.parts(stage.run(job, find_queries, tasks), "found")}

    # found → pair: no duplicates, domain budget, so many pairs a query           keys are shuffled, a task a part
    job = stage.job("pairs", all_inputs=True)
    ends = [
        Task(task.id, args=(task.args[0], found[task.id]), number=number)
        for number, task in enumerate(task for task in tasks if task.id in found)
    ]
    verdicts = functools.partial(judge, stage.seed, manners.images_per_domain, stage.config.max_pairs_per_query, texts)
    pairs = stage.shuffle(job, verdicts, commit_pairs, ends, ends)

    # pair, mark → plan: each image once, in the lane that owns its domain        URLs are shuffled, a task a lane
    job = stage.job("plan", all_inputs=True)
    reads = [Task(part.task, args=(stage.path(part), "pair")) for part in stage.parts(pairs, "pair")]
    reads += [Task(f"marks of {path}", args=(path, "mark")) for path in stage.reads["crawl"].paths("mark")]
    lanes = [Task(f"lane{lane:05d}", number=lane) for lane in range(stage.config.lanes)]
    images = functools.partial(images_by_lane, stage.config.lanes)
    commit = functools.partial(commit_plan, manners.requests_per_second)
    stage.shuffle(job, images, commit, reads, lanes)


def steps(stage: Stage[Config]) -> dict[str, int]:
    """How many tasks each step has, once those before it are done."""
    parts = len(stage.reads["filter"].of("candidate"))
    return {"found": parts, "pairs": parts, "plan": stage.config.lanes}


# ── found: which queries each text holds ─────────────────────────────────────────────────────────


def find_queries(task: Task, config: Config, attempt: Attempt) -> None:
    """One part: rows whose text holds a query (or all, where none is required) with the ids of the queries."""
    path, texts = task.args
    matcher = _matcher(texts)
    first = 0
    for rows in read_batches(path, CANDIDATE):
        queries = pa.array(matcher.find(rows["text"].to_pylist()), pa.list_(pa.int32()))
        keep = pc.greater(pc.list_value_length(queries), 0)
        if not config.require_query:
            keep = pa.array(np.ones(rows.num_rows, bool))
        out = rows.filter(pc.invert(keep))
        attempt.count_in("pairs", rows.num_rows)
        attempt.drop_rows("pairs", out, pa.array(["no_query"] * out.num_rows, pa.string()))
        numbers = pa.array(np.arange(first, first + rows.num_rows))
        columns = [numbers, rows["pair_id"], rows["image_id"], _domains(rows["image_url"]), queries, rows["uid"]]
        attempt.rows(pa.table(columns, schema=FOUND).filter(keep), FOUND)
        first += rows.num_rows


@functools.cache
def _matcher(paths: tuple[str, ...]) -> Matcher:
    return Matcher(query_texts(paths))


def _domains(urls: pa.ChunkedArray) -> pa.Array:
    return pa.array([domain_of(url) for url in urls.to_pylist()], pa.string())


# ── pairs: the verdict over every row ────────────────────────────────────────────────────────────


def judge(seed: int, budget: int, limit: int, texts: tuple[str, ...], reads: beam.PCollection) -> beam.PCollection:
    """Parts of the found table in, verdicts over their rows out, each to the part that its row is in."""
    # Task: a part of the found table
    keys = reads | "ReadKeys" >> beam.FlatMap(read_keys).with_output_types(Keyed)
    # (partition of the pair, [part, row, pair_id, image_id, domain, queries, uid])
    one = keys | "KeepOneOfEach" >> Regroup(keep_one_of_each, tag="verdicts")
    # (partition of the domain, the same without uid)
    within_budget = functools.partial(keep_within_budget, seed, budget)
    few = one.main | "KeepWithinBudget" >> Regroup(within_budget, tag="verdicts")
    # (partition of the query, [part, row, pair_id, query])
    taken = few.main | "TakeSome" >> Regroup(functools.partial(take_some, seed, limit, texts))
    # (part, [part, row, reason, query])
    return (one.verdicts, few.verdicts, taken) | beam.Flatten()


def read_keys(task: Task) -> Iterator[Keyed]:
    """The keys of one found part, by partition of the pair."""
    for rows in read_batches(task.args[1], FOUND):
        keys = rows.replace_schema_metadata().add_column(0, "part", pa.array(np.full(rows.num_rows, task.number)))
        yield from split(keys, partition(keys["pair_id"], PARTITIONS))


def keep_one_of_each(keys: pa.Table) -> Iterator[Any]:
    """Of the rows with one pair_id the first goes on to its domain, by uid if they have any, else by part and row; the
    rest are duplicates."""
    keys = keys.sort_by([(name, "ascending") for name in ("pair_id", "uid", "part", "row")])  # no uid comes last
    ids = keys["pair_id"].to_numpy()
    first = np.ones(len(ids), bool)
    first[1:] = ids[1:] != ids[:-1]
    kept = keys.filter(pa.array(first)).drop_columns("uid")
    yield from split(kept, _text_partition(kept["domain"]))
    yield from _say(keys.filter(pa.array(~first)), "exact_duplicate")


def keep_within_budget(seed: int, budget: int, keys: pa.Table) -> Iterator[Any]:
    """Of each domain the `budget` images of the smallest hashes go on, with all their pairs, to their queries."""
    images, keep = keys["image_id"].to_numpy(), np.ones(keys.num_rows, bool)
    for domain, rows in _groups(keys["domain"].to_numpy()):
        distinct = np.unique(images[rows])
        if len(distinct) > budget:
            ranks = choice.rank(seed, "domain_budget", domain, distinct)
            keep[rows] = np.isin(images[rows], distinct[np.lexsort((distinct, ranks))[:budget]])
    kept = keys.filter(pa.array(keep))
    yield from _say(keys.filter(pa.array(~keep)), "domain_budget")
    yield from _say(kept.filter(pc.equal(pc.list_value_length(kept["queries"]), 0)), None, query=NO_QUERY)
    queries = pc.list_flatten(kept["queries"])
    asking = kept.select(["part", "row", "pair_id"]).take(pc.list_parent_indices(kept["queries"]))
    asking = asking.append_column("query", queries)
    yield from split(asking, queries.to_numpy().astype(np.int64) % PARTITIONS)


def take_some(seed: int, limit: int, texts: tuple[str, ...], asking: pa.Table) -> Iterator[Keyed]:
    """Each query takes the `limit` pairs of the smallest hashes among those that hold it."""
    names = query_texts(texts)
    ids, chosen = asking["pair_id"].to_numpy(), []
    for query, rows in _groups(asking["query"].to_numpy()):
        if len(rows) > limit:
            ranks = choice.rank(seed, "query_quota", names[query], ids[rows])
            rows = rows[np.lexsort((ids[rows], ranks))[:limit]]
        chosen.append(rows)
    taken = asking.take(pa.array(np.concatenate(chosen)))
    yield from split(_verdicts(taken, None, taken["query"]), taken["part"].to_numpy())


def commit_pairs(task: Task, verdicts: pa.Table | None, config: Config, attempt: Attempt) -> None:
    """One part of candidates: the rows that a quota took become pairs, every other one goes under its reason."""
    path, found_path = task.args
    found = read_table(found_path, FOUND, ["row", "queries"])
    rows = read_table(path, CANDIDATE).take(found["row"])
    verdicts = (verdicts or VERDICT.empty_table()).sort_by([("row", "ascending"), ("query", "ascending")])
    place = np.searchsorted(found["row"].to_numpy(), verdicts["row"].to_numpy())
    takes = verdicts["reason"].is_null().to_numpy()
    kept = np.zeros(rows.num_rows, bool)
    kept[place[takes]] = True
    reasons = np.full(rows.num_rows, "query_quota", object)  # unless a verdict says so, every query it holds was full
    reasons[place[~takes]] = verdicts["reason"].to_numpy()[~takes]
    attempt.count_kept("pairs", int(kept.sum()))
    attempt.drop_rows("pairs", rows.filter(pa.array(~kept)), pa.array(reasons[~kept], pa.string()))
    queries = verdicts["query"].to_numpy()
    by_query = takes & (queries != NO_QUERY)
    ends = np.cumsum(np.bincount(place[by_query], minlength=rows.num_rows)[kept])
    takers = pa.ListArray.from_arrays(pa.array([0, *ends], pa.int32()), pa.array(queries[by_query], pa.int32()))
    pairs = rows.append_column("queries", found["queries"]).filter(pa.array(kept))
    attempt.rows(pairs.append_column("kept_for", takers), PAIR)


def _say(keys: pa.Table, reason: str | None, query: int | None = None) -> Iterator[Any]:
    """Verdicts over rows, aside from the stream, keyed by the part that each row is in."""
    said = _verdicts(keys, reason, pa.array([query] * keys.num_rows, pa.int32()))
    yield from (beam.pvalue.TaggedOutput("verdicts", keyed) for keyed in split(said, keys["part"].to_numpy()))


def _verdicts(keys: pa.Table, reason: str | None, queries: pa.Array) -> pa.Table:
    reasons = pa.array([reason] * keys.num_rows, pa.string())
    return pa.table([keys["part"], keys["row"], reasons, queries], schema=VERDICT)


def _text_partition(texts: pa.ChunkedArray) -> np.ndarray:
    """A partition of each text by a hash of it: int64 [n]."""
    hashes = (xxhash.xxh3_64_intdigest(text.encode()) % PARTITIONS for text in texts.to_pylist())
    return np.fromiter(hashes, np.int64, len(texts))


def _groups(values: np.ndarray) -> Iterator[tuple[Any, np.ndarray]]:
    """Each distinct value with the rows that have it, ascending."""
    order = np.argsort(values, kind="stable")
    bounds = np.flatnonzero(values[order][1:] != values[order][:-1]) + 1
    for rows in np.split(order, bounds) if len(order) else []:
        yield values[rows[0]], rows


# ── plan: each image once, in the lane that owns its domain ──────────────────────────────────────

ASKED = pa.schema(
    [
        ("image_id", ID),
        ("image_url", pa.string()),
        ("domain", pa.string()),
        ("opt_out", pa.string()),
        ("pair", pa.bool_()),
    ]
)


def images_by_lane(lanes: int, reads: beam.PCollection) -> beam.PCollection:
    """Parts of pairs and of marks in, the images that they speak of out, by lane."""
    # (lane, [image_id, image_url, domain, opt_out, whether a pair wants it])
    return reads | "ReadImages" >> beam.FlatMap(read_images, lanes).with_output_types(Keyed)


def read_images(task: Task, lanes: int) -> Iterator[Keyed]:
    """The images that one part of pairs asks for, or of marks speaks of, by lane. A domain belongs to one lane."""
    path, table = task.args
    for rows in read_batches(path, PAIR if table == "pair" else MARK, MARK.names):
        wanted = pa.array([table == "pair"] * rows.num_rows)
        domains = _domains(rows["image_url"])
        asked = pa.table([rows["image_id"], rows["image_url"], domains, rows["opt_out"], wanted], schema=ASKED)
        asked = asked.group_by(ASKED.names).aggregate([]).select(ASKED.names)
        lane = [xxhash.xxh3_64_intdigest(f"lane:{domain}".encode()) % lanes for domain in asked["domain"].to_pylist()]
        yield from split(asked, np.array(lane, np.int64))


def commit_plan(rate: float, task: Task, asked: pa.Table | None, config: Config, attempt: Attempt) -> None:
    """One lane: its images sorted by id. An image that any page of the crawl opts out of will not be asked for."""
    rows = (asked or ASKED.empty_table()).to_pylist()
    marks: dict[bytes, set[str]] = {}
    for row in rows:
        marks.setdefault(row["image_id"], set()).update((row["opt_out"] or "").split(","))
    images = {row["image_id"]: row for row in rows if row["pair"]}
    per_domain = Counter(image["domain"] for image in images.values())
    plan = [
        {
            **image,
            "lane": task.number,
            "opt_out": ",".join(sorted(marks[image_id] - {""})) or None,
            "domain_hours": per_domain[image["domain"]] / rate / 3600,
        }
        for image_id, image in sorted(images.items())
    ]
    attempt.count_in("images", len(plan))
    attempt.count_kept("images", len(plan))
    attempt.rows(pa.Table.from_pylist(plan, schema=PLAN), PLAN)


STAGE = Definition(
    config=Config, run=run, steps=steps, rules_version=RULES_VERSION, libraries=LIBRARIES, determined_by=determined_by
)
main = main_of("match")

if __name__ == "__main__":
    exit_now(main)
