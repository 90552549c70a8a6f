"""Who becomes a pair: the limits are hard, the choice is a hash, and neither order nor parts change the answer."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import Phase, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from pipeline import attempt
from pipeline.match import take_some
from pipeline.records import CANDIDATE, DROP, PAIR, PLAN, QUERY, image_id, pair_id
from shards import choice
from shards.files import read_table
from tests.pipeline.upstream import NO_VALUES, Project, table_of
from tests.small import contents

SEED = 1  # the one that Project sets
DOMAIN = {"x.a.test": "a.test", "y.a.test": "a.test", "b.test": "b.test", "127.0.0.1": "127.0.0.1"}


class Found(NamedTuple):
    """A candidate, by what match looks at."""

    host: str
    image: int
    text: str
    page: str = ""
    opt_out: str | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}/{self.image}.jpg"

    @property
    def id(self) -> bytes:
        return pair_id(self.url, self.text)


Parts = Mapping[str, Sequence[Found]]


def table(rows: Iterable[Found]) -> pa.Table:
    return table_of(
        CANDIDATE,
        [
            {
                "pair_id": row.id,
                "image_id": image_id(row.url),
                "image_url": row.url,
                "page_url": row.page,
                "text": row.text,
                "opt_out": row.opt_out,
            }
            for row in rows
        ],
    )


def matched(
    folder: Path, queries: Sequence[str], parts: Parts, match: Mapping[str, object] = NO_VALUES, budget: int = 10**6
) -> Project:
    """match with these settings of its own, run over hand-written queries and parts of candidates."""
    rate = {"fetch.requests_per_second": budget + 0.5, "fetch.deadline_hours": 1 / 3600}
    project = Project(folder, {**rate, "match.lanes": 2, **{f"match.{key}": value for key, value in match.items()}})
    texts = [{"id": n, "text": text, "source": "list"} for n, text in enumerate(queries)]
    project.write("queries", {"queries": [table_of(QUERY, texts)]})
    project.write("filter", {name: [table(rows)] for name, rows in parts.items()})
    project.run("match")
    return project


def kept(project: Project) -> dict[bytes, list[int]]:
    """kept_for of each pair, and that no pair is there twice."""
    pairs = project.table("match", PAIR)
    found = dict(zip(pairs["pair_id"].to_pylist(), pairs["kept_for"].to_pylist(), strict=True))
    assert len(found) == pairs.num_rows
    return found


def dropped(project: Project) -> dict[str, int]:
    """Reasons with their counts, the same in the manifest and in the drop table."""
    reasons = counts_of(project)["dropped"]
    assert Counter(row["reason"] for row in project.rows("match", DROP)) == reasons
    return dict(reasons)


def counts_of(project: Project) -> dict[str, Any]:
    return project.manifest("match").counts.get("pairs", {"in": 0, "kept": 0, "dropped": {}})


# ── against the rules, written down once more, a row at a time ──


def by_the_rules(
    rows: Iterable[Found], queries: Sequence[str], cap: int, budget: int, require_query: bool
) -> dict[bytes, list[int]]:
    """pair_id → kept_for, as the docstrings promise it."""
    holds = {row: [q for q, query in enumerate(queries) if f" {query} " in f" {row.text} "] for row in rows}
    pairs = {row.id: row for row in holds if holds[row] or not require_query}
    images = defaultdict(set)
    for row in pairs.values():
        images[DOMAIN[row.host]].add(image_id(row.url))
    within = set[bytes]()
    for domain, some in images.items():
        within.update(sorted(some, key=lambda id_: (rank("domain_budget", domain, id_), id_))[:budget])
    pairs = {id_: row for id_, row in pairs.items() if image_id(row.url) in within}
    takers: dict[bytes, list[int]] = {id_: [] for id_, row in pairs.items() if not holds[row]}
    for q, query in enumerate(queries):
        asking = [id_ for id_, row in pairs.items() if q in holds[row]]
        for id_ in sorted(asking, key=lambda id_: (rank("query_quota", query, id_), id_))[:cap]:
            takers.setdefault(id_, []).append(q)
    return takers


def rank(purpose: str, scope: str, id_: bytes) -> int:
    return int(choice.rank(SEED, purpose, scope, [id_])[0])


FOUND = st.builds(
    Found,
    st.sampled_from(sorted(DOMAIN)),
    st.integers(0, 4),
    st.lists(st.sampled_from(["dog", "red", "cat", "sofa"]), min_size=1, max_size=4).map(" ".join),
)


@hypothesis(max_examples=10, deadline=None, phases=[Phase.generate])
@given(
    rows=st.lists(FOUND, max_size=60),
    queries=st.permutations(["dog", "red dog", "cat", "red"]),
    cap=st.integers(1, 6),
    budget=st.integers(1, 4),
    require_query=st.booleans(),
    data=st.data(),
)
def test_the_pairs_are_those_of_the_rules_however_the_rows_lie(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[Found],
    queries: list[str],
    cap: int,
    budget: int,
    require_query: bool,
    data: st.DataObject,
) -> None:
    expected = by_the_rules(rows, queries, cap, budget, require_query)
    settings = {"max_pairs_per_query": cap, "require_query": require_query}
    folder = tmp_path_factory.mktemp("match")
    one = matched(folder / "one", queries, {"a": rows}, settings, budget)
    shuffled = data.draw(st.permutations(rows))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), min_size=2, max_size=2)))
    bounds = [0, *cuts, len(rows)]
    parts = {name: shuffled[bounds[n] : bounds[n + 1]] for n, name in enumerate("bca")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attempt, "ROW_GROUP", 4)  # a part is read in several batches
        some = matched(folder / "some", queries, parts, settings, budget)
    for project in (one, some):
        assert kept(project) == expected
        _balanced(project, rows)
    assert dropped(one) == dropped(some)
    assert planned(one) == planned(some)


def _balanced(project: Project, rows: Sequence[Found]) -> None:
    """Every row is a pair or dropped by a name, in the counts as in the tables."""
    counts = counts_of(project)
    went = [row["pair_id"] for row in project.rows("match", DROP)]
    assert counts["in"] == len(rows) == counts["kept"] + sum(dropped(project).values())
    assert sorted([*went, *kept(project)]) == sorted(row.id for row in rows)


# ── the query's limit ──


def crowd(n: int, text: str = "a dog") -> list[Found]:
    """n images with one text, each on a domain of its own."""
    return [Found(f"site{i}.test", i, text) for i in range(n)]


@pytest.mark.parametrize(("n", "cap"), [(4, 5), (5, 5), (6, 5), (60, 5), (60, 1)])
def test_a_query_takes_so_many_or_all_that_there_are(tmp_path: Path, n: int, cap: int) -> None:
    project = matched(tmp_path, ["dog"], {"a": crowd(n)}, {"max_pairs_per_query": cap})
    assert list(kept(project).values()) == [[0]] * min(n, cap)
    assert dropped(project) == ({"query_quota": n - cap} if n > cap else {})


def test_a_pair_stays_when_one_of_its_queries_takes_it(tmp_path: Path) -> None:
    """A rare query that goes with a full one: its pairs stay, and count for the full one only if that took them."""
    rows = [*crowd(50), *(Found(f"rare{i}.test", i, "a dog barks") for i in range(3))]
    project = matched(tmp_path, ["dog", "barks"], {"a": rows}, {"max_pairs_per_query": 4})
    takers = Counter(query for queries in kept(project).values() for query in queries)
    assert takers == {0: 4, 1: 3}
    rare = [row for row in project.rows("match", PAIR) if row["text"] == "a dog barks"]
    assert len(rare) == 3 and all(row["queries"] == [0, 1] and 1 in row["kept_for"] for row in rare)


def test_other_queries_do_not_change_what_a_query_takes(tmp_path: Path) -> None:
    rows = crowd(50, "a red dog")
    alone = set(kept(matched(tmp_path / "a", ["dog"], {"a": rows}, {"max_pairs_per_query": 5})))
    among = kept(matched(tmp_path / "b", ["red", "a", "dog"], {"a": rows}, {"max_pairs_per_query": 5}))
    assert {id_ for id_, queries in among.items() if 2 in queries} == alone


def test_another_seed_takes_others(tmp_path: Path) -> None:
    project = matched(tmp_path, ["dog"], {"a": crowd(50)}, {"max_pairs_per_query": 10})
    before = set(kept(project))
    project.run("match", {"run.seed": 2})
    assert len(before) == len(kept(project)) == 10 and before != set(kept(project))


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
    project = matched(tmp_path, ["dog"], {"a": rows}, {"max_pairs_per_query": cap}, budget)
    pairs = project.table("match", PAIR)
    for name in ("pair_id", "image_id"):
        chosen = pairs[name].to_pylist()
        assert len(chosen) == 1_500 and unevenness(chosen) < EVEN
    every = sorted(row.id for row in rows)
    assert unevenness(every) < EVEN < unevenness(every[:1_500]), "the smallest ids are not"


def test_a_query_takes_the_same_in_whatever_order_it_is_asked(tmp_path: Path) -> None:
    project = Project(tmp_path, {})
    project.write("queries", {"queries": [table_of(QUERY, [{"id": 0, "text": "dog"}])]})
    texts = tuple(project.manifest("queries").paths("query"))
    ids = [row.id for row in crowd(200)]

    def taken(order: Sequence[int]) -> set[int]:
        asking = {"part": [0] * 200, "row": list(order), "pair_id": pa.array([ids[n] for n in order], pa.binary(16))}
        rows = pa.table({**asking, "query": pa.array([0] * 200, pa.int32())})
        return {row for _, verdicts in take_some(SEED, 20, texts, rows) for row in verdicts["row"].to_pylist()}

    forwards = taken(range(200))
    assert len(forwards) == 20 and forwards == taken(range(199, -1, -1)) != set(range(20))


# ── duplicates ──


def test_of_exact_duplicates_the_first_by_part_and_row_stays(tmp_path: Path) -> None:
    def copy(page: str) -> Found:
        return Found("b.test", 1, "a dog", page)

    other = Found("b.test", 1, "a cat", "same image, other text")
    parts = {
        "b": [copy("b0"), other],
        "c": [copy("c0")],
        "a": [other._replace(text="no query"), copy("a1"), copy("a2")],
    }
    project = matched(tmp_path, ["dog", "cat"], parts)
    assert {row["text"]: row["page_url"] for row in project.rows("match", PAIR)} == {"a dog": "a1", "a cat": other.page}
    assert dropped(project) == {"no_query": 1, "exact_duplicate": 3}


# ── the domain's budget ──


def test_the_budget_counts_images_and_keeps_all_pairs_of_one(tmp_path: Path) -> None:
    texts = ["a dog", "the dog", "dog and cat"]
    rows = [Found(host, image, text) for host in ("x.a.test", "y.a.test") for image in range(5) for text in texts]
    project = matched(tmp_path, ["dog", "cat"], {"a": [*rows, Found("b.test", 1, "dog")]}, budget=3)
    per_image = Counter(row["image_url"] for row in project.rows("match", PAIR))
    assert per_image.pop("http://b.test/1.jpg") == 1
    assert list(per_image.values()) == [3, 3, 3], "the hosts of one domain share its budget"
    assert dropped(project) == {"domain_budget": 7 * 3}


def test_the_budget_comes_before_the_quota(tmp_path: Path) -> None:
    """Quotas go to pairs that can be fetched: of twenty images of one domain only one can, so both limits are met."""
    queries = ["dog", "cat", "sofa", "lamp", "tree", "car"]
    text = " ".join(queries)
    rows = [*(Found("x.a.test", image, text) for image in range(20)), Found("b.test", 1, text)]
    project = matched(tmp_path, queries, {"a": rows}, {"max_pairs_per_query": 2}, budget=1)
    assert list(kept(project).values()) == [[0, 1, 2, 3, 4, 5]] * 2
    assert dropped(project) == {"domain_budget": 19}


# ── texts without a query ──


def test_texts_without_a_query_are_never_capped(tmp_path: Path) -> None:
    rows = [*crowd(30, "nothing known"), *crowd(5)]
    project = matched(tmp_path / "a", ["dog"], {"a": rows}, {"max_pairs_per_query": 2, "require_query": False})
    assert Counter(map(tuple, kept(project).values())) == {(): 30, (0,): 2}
    assert dropped(project) == {"query_quota": 3}
    project = matched(tmp_path / "b", ["dog"], {"a": rows}, {"max_pairs_per_query": 2})
    assert dropped(project) == {"query_quota": 3, "no_query": 30}


# ── the plan ──


def planned(project: Project) -> list[dict[str, Any]]:
    return sorted(project.rows("match", PLAN), key=lambda row: bytes(row["image_id"]))


def test_the_plan_asks_for_each_image_once_and_gives_a_domain_to_one_lane(tmp_path: Path) -> None:
    sites = [f"site{n}.test" for n in range(30)]
    rows = [
        Found(f"{sub}{site}", i, text)
        for site in sites
        for sub in ("", "www.")
        for i in (1, 2)
        for text in ("a dog", "dog")
    ]
    project = matched(tmp_path, ["dog"], {"a": rows[::2], "b": rows[1::2]}, {"lanes": 7})
    plan = project.rows("match", PLAN)
    assert sorted(row["image_url"] for row in plan) == sorted({row.url for row in rows})
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


def test_the_plan_unites_the_marks_of_all_pages(tmp_path: Path) -> None:
    parts = {
        "a": [Found("b.test", 1, "a dog", opt_out="noai"), Found("b.test", 2, "a dog"), Found("b.test", 3, "a dog")],
        "b": [
            Found("b.test", 1, "the dog", opt_out="noimageai,tdm"),
            Found("b.test", 2, "the dog", opt_out="noai,tdm"),
        ],
        "c": [Found("b.test", 1, "my dog")],
    }
    plan = planned(matched(tmp_path, ["dog"], parts))
    assert {row["image_url"][-5:]: row["opt_out"] for row in plan} == {
        "1.jpg": "noai,noimageai,tdm",
        "2.jpg": "noai,tdm",
        "3.jpg": None,
    }


def test_the_plan_says_how_long_a_domain_takes(tmp_path: Path) -> None:
    rows = [
        *(Found(host, n, "a dog") for host in ("x.a.test", "y.a.test") for n in range(9)),
        Found("b.test", 1, "dog"),
    ]
    project = matched(tmp_path, ["dog"], {"a": rows}, budget=10_000)
    project.run("match", {"fetch.requests_per_second": 0.5, "fetch.deadline_hours": 24})
    hours = {row["domain"]: row["domain_hours"] for row in project.rows("match", PLAN)}
    assert hours == {"a.test": pytest.approx(18 / 0.5 / 3600), "b.test": pytest.approx(1 / 0.5 / 3600)}


# ── little or nothing ──


@pytest.mark.parametrize("require_query", [True, False])
@pytest.mark.parametrize(
    ("queries", "parts", "pairs"),
    [
        (["dog"], {}, 0),
        ([], {}, 0),
        (["dog"], {"a": []}, 0),
        (["dog"], {"a": [], "b": crowd(3), "c": []}, 3),
        (["dog"], {"a": crowd(2, "no query"), "b": crowd(3)}, 3),
        (["dog"], {"a": crowd(2), "b": crowd(2)}, 2),  # all of b are duplicates
        ([], {"a": crowd(3)}, 0),
    ],
    ids=["no parts", "nothing", "no rows", "empty parts", "none of a part", "all of a part twice", "no queries"],
)
def test_there_may_be_nothing(
    tmp_path: Path, queries: list[str], parts: Parts, pairs: int, require_query: bool
) -> None:
    project = matched(tmp_path, queries, parts, {"require_query": require_query})
    rows = [row for part in parts.values() for row in part]
    expected = by_the_rules([row._replace(host="b.test") for row in rows], queries, 99, 99, require_query)
    assert len(kept(project)) == (pairs if require_query else len({row.id for row in rows})) == len(expected)
    assert len(planned(project)) == len({row.url for row in rows}) or require_query
    assert len(project.manifest("match").of("plan")) == 2
    before = contents(project.of("match"))
    project.run("match")
    assert contents(project.of("match")).keys() == before.keys()
