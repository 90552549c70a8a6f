"""Who becomes a pair: the limits are hard, the choice is a hash, and neither order nor parts change the answer."""

from __future__ import annotations

import functools
import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from pipeline.ids import image_id
from pipeline.match import keep_one_of_each, keep_within_budget, take_some
from pipeline.tables import QUERY
from pipeline.tasks.shuffle import Keyed, partition, split
from tests.pipeline.match_rules import DOMAIN, SEED, Found, by_the_rules, crowd, held
from tests.pipeline.upstream import table_of

# ── the steps of the shuffle, rows arriving as chance has it ──


def verdicts(
    folder: Path,
    rows: Sequence[Found],
    queries: Sequence[str],
    cap: int = 10**6,
    budget: int = 10**6,
    require_query: bool = True,
    chance: int = 0,
    seed: int = SEED,
) -> dict[int, list[int] | str]:
    """Row → the queries that took it, or why it went: by ChoosePairs' steps, without Beam."""
    order = random.Random(chance)
    there = [n for n, row in enumerate(rows) if held(row, queries) or not require_query]
    keys = pa.table(
        {
            "part": pa.array([n % 3 for n in there], pa.int64()),
            "row": pa.array(there, pa.int64()),
            "pair_id": pa.array([rows[n].id for n in there], pa.binary(16)),
            "image_id": pa.array([image_id(rows[n].url) for n in there], pa.binary(16)),
            "domain": pa.array([rows[n].domain for n in there], pa.string()),
            "queries": pa.array([held(rows[n], queries) for n in there], pa.list_(pa.int32())),
            "uid": pa.array([rows[n].uid for n in there], pa.string()),
        }
    )
    said: list[Keyed] = []

    def step(work: Callable[[pa.Table], Iterable[Any]], keyed: Iterable[Keyed]) -> list[Keyed]:
        on: list[Keyed] = []
        for table in arriving(keyed, order):
            for one in work(table):
                (said if isinstance(one, beam.pvalue.TaggedOutput) else on).append(getattr(one, "value", one))
        return on

    distinct = step(keep_one_of_each, split(keys, partition(keys["pair_id"], 5)))
    asking = step(functools.partial(keep_within_budget, seed, budget), distinct)
    said += step(functools.partial(take_some, seed, cap, query_file(folder, tuple(queries))), asking)
    return verdict_of_each(there, said)


def arriving(keyed: Iterable[Keyed], order: random.Random) -> Iterator[pa.Table]:
    """The tables of each key in one, keys and tables and rows shuffled."""
    by_key = defaultdict(list)
    for key, table in keyed:
        by_key[key].append(table.take(order.sample(range(table.num_rows), table.num_rows)))
    for key in order.sample(sorted(by_key), len(by_key)):
        yield pa.concat_tables(order.sample(by_key[key], len(by_key[key])))


def query_file(folder: Path, queries: tuple[str, ...]) -> tuple[str]:
    path = folder / f"{'-'.join(queries)}.parquet"
    pq.write_table(table_of(QUERY, [{"id": n, "text": text} for n, text in enumerate(queries)]), path)
    return (str(path),)


def verdict_of_each(rows: Iterable[int], said: Iterable[Keyed]) -> dict[int, list[int] | str]:
    """A verdict on each row, "query_quota" where nothing was said; nobody may say two things of one row."""
    verdict: dict[int, list[int] | str] = {}
    for part, table in said:
        for row in table.to_pylist():
            assert row["part"] == part == row["row"] % 3, "it comes back to the part that the row is in"
            if row["reason"] is not None:
                assert row["row"] not in verdict
                verdict[row["row"]] = row["reason"]
            else:
                takers = verdict.setdefault(row["row"], [])
                assert isinstance(takers, list) and row["query"] not in takers
                takers += [row["query"]] if row["query"] >= 0 else []
    return {row: sorted(found) if isinstance(found := verdict.get(row, "query_quota"), list) else found for row in rows}


FOUND = st.builds(
    Found,
    st.sampled_from(sorted(DOMAIN)),
    st.integers(0, 4),
    st.lists(st.sampled_from(["dog", "red", "cat", "sofa"]), min_size=1, max_size=4).map(" ".join),
)


@hypothesis(max_examples=60, deadline=None)
@given(
    rows=st.lists(FOUND, max_size=60),
    queries=st.permutations(["dog", "red dog", "cat", "red"]),
    cap=st.integers(1, 6),
    budget=st.integers(1, 4),
    require_query=st.booleans(),
    chance=st.integers(0, 1000),
)
def test_pairs_are_those_of_the_rules_however_rows_arrive(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[Found],
    queries: list[str],
    cap: int,
    budget: int,
    require_query: bool,
    chance: int,
) -> None:
    found = verdicts(tmp_path_factory.getbasetemp(), rows, queries, cap, budget, require_query, chance)
    kept = {rows[n].id: takers for n, takers in found.items() if isinstance(takers, list)}
    assert kept == by_the_rules(rows, queries, cap, budget, require_query)
    went = Counter(reason for reason in found.values() if isinstance(reason, str))
    assert went["exact_duplicate"] == len(found) - len({rows[n].id for n in found})
    assert went.keys() <= {"exact_duplicate", "domain_budget", "query_quota"}
    within = {rows[n] for n, reason in found.items() if reason not in ("exact_duplicate", "domain_budget")}
    for n in range(len(queries)):
        asking = sum(n in held(row, queries) for row in within)
        assert sum(n in takers for takers in kept.values()) == min(asking, cap), "the limit is exact"


@pytest.mark.parametrize(("n", "cap"), [(0, 5), (4, 5), (5, 5), (6, 5), (60, 5), (60, 1)])
def test_a_query_takes_so_many_or_all_that_there_are(tmp_path: Path, n: int, cap: int) -> None:
    found = list(verdicts(tmp_path, crowd(n), ["dog"], cap).values())
    assert found.count([0]) == min(n, cap) and found.count("query_quota") == n - min(n, cap)


def test_a_pair_stays_when_one_of_its_queries_takes_it(tmp_path: Path) -> None:
    """A rare query that goes with a full one: its pairs stay, and count for the full one only if that took them."""
    rows = [*crowd(50), *(Found(f"rare{i}.test", i, "a dog barks") for i in range(3))]
    found = verdicts(tmp_path, rows, ["dog", "barks"], cap=4)
    assert Counter(query for takers in found.values() if isinstance(takers, list) for query in takers) == {0: 4, 1: 3}
    assert all(1 in takers for n, takers in found.items() if n >= 50)


def test_a_choice_depends_on_the_seed_and_on_nothing_else_that_is_asked(tmp_path: Path) -> None:
    rows = crowd(50, "a red dog")

    def taken(queries: Sequence[str], seed: int = SEED) -> set[int]:
        dog = queries.index("dog")
        found = verdicts(tmp_path, rows, queries, cap=5, seed=seed)
        return {n for n, takers in found.items() if isinstance(takers, list) and dog in takers}

    assert taken(["dog"]) == taken(["red", "a", "dog"]) != taken(["dog"], seed=2)
    assert len(taken(["dog"])) == len(taken(["dog"], seed=2)) == 5


# ── the choice is even over the ids ──


def unevenness(ids: Iterable[bytes]) -> float:
    """Chi-square of ids over 64 bins by their first bits: 63 ± 11 where they are spread by chance."""
    bins = np.bincount([id_[0] >> 2 for id_ in ids], minlength=64)
    return float(((bins - bins.mean()) ** 2 / bins.mean()).sum())


EVEN = 63 + 6 * math.sqrt(2 * 63)


@pytest.mark.parametrize(("cap", "budget"), [(1_500, 10**6), (10**6, 1_500)])
def test_what_is_kept_is_spread_evenly_over_the_ids(tmp_path: Path, cap: int, budget: int) -> None:
    """A choice by smallest id would fill the first shards and leave the others empty."""
    rows = [Found("b.test", i, "a dog") for i in range(6_000)]
    kept = [rows[n] for n, found in verdicts(tmp_path, rows, ["dog"], cap, budget).items() if found == [0]]
    for ids in ([row.id for row in kept], [image_id(row.url) for row in kept]):
        assert len(ids) == 1_500 and unevenness(ids) < EVEN
    for every in ([row.id for row in rows], [image_id(row.url) for row in rows]):
        assert unevenness(every) < EVEN < unevenness(sorted(every)[:1_500]), "the smallest ids are not"


# ── duplicates and budgets ──


def test_the_budget_counts_images_and_keeps_all_pairs_of_one(tmp_path: Path) -> None:
    texts = ["a dog", "the dog", "dog and cat"]
    rows = [Found(host, image, text) for host in ("x.a.test", "y.a.test") for image in range(5) for text in texts]
    found = verdicts(tmp_path, [*rows, Found("b.test", 1, "dog")], ["dog", "cat"], budget=3)
    assert found.pop(len(rows)) == [0]
    per_image = Counter(rows[n].url for n, verdict in found.items() if verdict != "domain_budget")
    assert list(per_image.values()) == [3, 3, 3], "the hosts of one domain share its budget"


def test_the_budget_comes_before_the_quota(tmp_path: Path) -> None:
    """Quotas go to pairs that can be fetched: of twenty images of one domain only one can, so both limits are met."""
    queries = ["dog", "cat", "sofa", "lamp", "tree", "car"]
    rows = [*(Found("x.a.test", n, " ".join(queries)) for n in range(20)), Found("b.test", 1, " ".join(queries))]
    found = list(verdicts(tmp_path, rows, queries, cap=2, budget=1).values())
    assert found.count([0, 1, 2, 3, 4, 5]) == 2 and found.count("domain_budget") == 19
