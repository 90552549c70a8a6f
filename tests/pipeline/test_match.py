"""Who becomes a pair: the limits are hard, the choice is a hash, and neither order nor parts change the answer."""

from __future__ import annotations

import functools
import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from pipeline import attempt
from pipeline.match import keep_one_of_each, keep_within_budget, take_some
from pipeline.packed import Keyed, partition, split
from pipeline.records import CANDIDATE, DROP, MARK, PAIR, PLAN, QUERY, image_id, pair_id
from shards import choice
from shards.files import read_table
from tests.pipeline.upstream import NO_VALUES, Project, Values, pair, table_of

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


# ── the rules, written down once more: a row at a time, as the docstrings promise them ──


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


# ── the stage, from parts to parts ──

Parts = Mapping[str, Sequence[Found]]


def candidates(rows: Sequence[Found]) -> pa.Table:
    said = ({"page_url": row.page, "opt_out": row.opt_out, "uid": row.uid} for row in rows)
    return table_of(CANDIDATE, [pair(row.url, row.text, **more) for row, more in zip(rows, said, strict=True)])


def matched(
    folder: Path,
    queries: Sequence[str],
    parts: Parts,
    match: Values = NO_VALUES,
    budget: int = 10**6,
    marks: Sequence[dict[str, Any]] = (),
) -> Project:
    """match with these settings of its own, run over hand-written queries and parts of candidates."""
    rate = {"fetch.requests_per_second": budget + 0.5, "fetch.deadline_hours": 1 / 3600}
    project = Project(folder, {**rate, "match.lanes": 2, **{f"match.{key}": value for key, value in match.items()}})
    texts = [{"id": n, "text": text, "source": "list"} for n, text in enumerate(queries)]
    project.write("queries", {"queries": [table_of(QUERY, texts)]})
    project.write("crawl", {"warc": [table_of(MARK, marks)] if marks else []})
    project.write("filter", {name: [candidates(rows)] for name, rows in parts.items()})
    project.run("match")
    return project


def kept_for(project: Project) -> dict[bytes, list[int]]:
    """pair_id → kept_for, and that no pair is there twice and none is there for a query that it does not hold."""
    pairs = project.rows("match", PAIR)
    assert all(set(pair["kept_for"]) <= set(pair["queries"]) for pair in pairs)
    found = {pair["pair_id"]: pair["kept_for"] for pair in pairs}
    assert len(found) == len(pairs)
    return found


def dropped(project: Project, rows: Sequence[Found]) -> dict[str, int]:
    """Reasons with their counts; every row is a pair or dropped by one name, in the counts as in the tables."""
    counts = project.manifest("match").counts.get("pairs", {"in": 0, "kept": 0, "dropped": {}})
    drops = project.rows("match", DROP)
    pairs = kept_for(project)
    assert counts["in"] == len(rows) and counts["kept"] == len(pairs)
    assert Counter(drop["reason"] for drop in drops) == counts["dropped"]
    assert sorted([*pairs, *(drop["pair_id"] for drop in drops)]) == sorted(row.id for row in rows)
    return dict(counts["dropped"])


def planned(project: Project) -> list[dict[str, Any]]:
    return sorted(project.rows("match", PLAN), key=lambda row: bytes(row["image_id"]))


def sample(n: int, seed: int) -> list[Found]:
    chance = random.Random(seed)
    words = ["dog", "red", "cat", "sofa"]
    return [
        Found(
            chance.choice(sorted(DOMAIN)), chance.randrange(12), " ".join(chance.choices(words, k=chance.randint(1, 4)))
        )
        for _ in range(n)
    ]


def test_parts_and_batches_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, queries, settings = sample(300, 3), ["dog", "red dog", "cat", "red"], {"max_pairs_per_query": 9}
    one = matched(tmp_path / "one", queries, {"a": rows}, settings, budget=7)
    monkeypatch.setattr(attempt, "ROW_GROUP", 70)  # rows; a part is read in several batches
    shuffled = random.Random(3).sample(rows, len(rows))
    parts = {"b": shuffled[:200], "c": [], "a": shuffled[200:]}
    some = matched(tmp_path / "some", queries, parts, settings, budget=7)
    expected = by_the_rules(rows, queries, 9, 7, True)
    assert kept_for(one) == kept_for(some) == expected
    assert planned(one) == planned(some)
    assert {row["image_url"] for row in planned(one)} == {row.url for row in rows if row.id in expected}
    reasons = dropped(one, rows)
    assert reasons == dropped(some, rows)
    assert reasons.keys() == {"no_query", "exact_duplicate", "domain_budget", "query_quota"}, "the sample has them all"
    # the same where texts without a query stay
    some.run("match", {"match.require_query": False})
    assert kept_for(some) == by_the_rules(rows, queries, 9, 7, False)
    assert "no_query" not in dropped(some, rows) and [] in kept_for(some).values()


def test_of_exact_duplicates_the_first_by_part_and_row_stays(tmp_path: Path) -> None:
    def copy(page: str) -> Found:
        return Found("b.test", 1, "a dog", page)

    other = Found("b.test", 1, "a cat", "same image, other text")
    parts = {"b": [copy("b0"), other], "c": [copy("c0")], "a": [Found("b.test", 1, "a"), copy("a1"), copy("a2")]}
    project = matched(tmp_path, ["dog", "cat"], parts)
    assert {row["text"]: row["page_url"] for row in project.rows("match", PAIR)} == {"a dog": "a1", "a cat": other.page}
    assert dropped(project, [row for rows in parts.values() for row in rows]) == {"no_query": 1, "exact_duplicate": 3}


def test_of_exact_duplicates_the_smallest_uid_of_a_url_table_stays(tmp_path: Path) -> None:
    rows = [Found("b.test", 1, "a dog", uid=uid) for uid in (None, "7", "3", None, "5")]
    project = matched(tmp_path, ["dog"], {"a": rows[:2], "b": rows[2:]})
    assert [row["uid"] for row in project.rows("match", PAIR)] == ["3"]


# ── the plan ──


def test_the_plan_asks_for_each_image_once_and_gives_a_domain_to_one_lane(tmp_path: Path) -> None:
    sites = [f"site{n}.test" for n in range(30)]
    urls = [(f"{sub}{site}", image) for site in sites for sub in ("", "www.") for image in (1, 2)]
    parts = {"a": [Found(*url, "a dog") for url in urls], "b": [Found(*url, "the dog") for url in urls]}
    project = matched(tmp_path, ["dog"], parts, {"lanes": 7})
    plan = project.rows("match", PLAN)
    assert sorted(row["image_url"] for row in plan) == sorted({row.url for row in parts["a"]})
    assert all(row["image_id"] == image_id(row["image_url"]) for row in plan)
    lanes = defaultdict(set)
    for row in plan:
        assert row["image_url"].split("/")[2].endswith(row["domain"])
        lanes[row["domain"]].add(row["lane"])
    assert sorted(lanes) == sorted(sites) and all(len(lane) == 1 for lane in lanes.values())
    assert len(set.union(*lanes.values())) > 3, "the domains are dealt to the lanes"
    manifest = project.manifest("match")
    assert [part.task for part in manifest.of("plan")] == [f"lane{n:05d}" for n in range(7)]
    for n, path in enumerate(manifest.paths("plan")):
        lane = read_table(path, PLAN)
        assert lane["image_id"].to_pylist() == sorted(lane["image_id"].to_pylist())
        assert set(lane["lane"].to_pylist()) <= {n}
    assert manifest.counts["images"] == {"in": 120, "kept": 120, "dropped": {}}


def test_a_page_that_opts_out_speaks_for_its_image_whatever_became_of_its_own_rows(tmp_path: Path) -> None:
    shown, other, elsewhere = (Found("b.test", image, "a dog") for image in (1, 2, 3))
    marks = [
        {"image_id": image_id(row.url), "image_url": row.url, "opt_out": marks}
        for row, marks in ((shown, "noai,tdm"), (elsewhere, "noai"))
    ]
    plan = planned(matched(tmp_path, ["dog"], {"p": [shown, other]}, marks=marks))
    assert {row["image_url"]: row["opt_out"] for row in plan} == {shown.url: "noai,tdm", other.url: None}


def test_the_plan_unites_the_marks_of_pages_and_says_how_long_a_domain_takes(tmp_path: Path) -> None:
    parts = {
        "a": [Found("x.a.test", 1, "a dog", opt_out="noai"), Found("y.a.test", 2, "a dog"), Found("b.test", 3, "dog")],
        "b": [
            Found("x.a.test", 1, "the dog", opt_out="noimageai,tdm"),
            Found("y.a.test", 2, "the dog", opt_out="noai,tdm"),
        ],
        "c": [Found("x.a.test", 1, "my dog")],
    }
    plan = planned(matched(tmp_path, ["dog"], parts, budget=9))
    assert {(row["image_url"][-5:], row["opt_out"]) for row in plan} == {
        ("1.jpg", "noai,noimageai,tdm"),
        ("2.jpg", "noai,tdm"),
        ("3.jpg", None),
    }
    hours = {row["domain"]: row["domain_hours"] for row in plan}
    assert hours == {"a.test": pytest.approx(2 / 9.5 / 3600), "b.test": pytest.approx(1 / 9.5 / 3600)}


# ── little or nothing ──


@pytest.mark.parametrize(
    ("queries", "parts", "require_query", "pairs"),
    [
        ([], {}, True, 0),
        (["dog"], {"a": [], "b": crowd(3), "c": crowd(2, "no query"), "d": crowd(2)}, True, 3),
        ([], {"a": crowd(3)}, False, 3),
    ],
    ids=["nothing", "parts with nothing to keep", "no queries and none asked for"],
)
def test_there_may_be_nothing(
    tmp_path: Path, queries: list[str], parts: Parts, require_query: bool, pairs: int
) -> None:
    project = matched(tmp_path, queries, parts, {"require_query": require_query})
    rows = [row for part in parts.values() for row in part]
    reasons = dropped(project, rows)
    assert len(kept_for(project)) == len(planned(project)) == pairs == len(rows) - sum(reasons.values())
    assert len(project.manifest("match").of("plan")) == 2, "every lane has its plan"
