"""match from parts to parts: pairs, drops and the plan, whatever the parts and their order."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from core.tables import read_table
from pipeline.ids import image_id
from pipeline.tables import CANDIDATE, DROP, MARK, PAIR, PLAN, QUERY
from pipeline.tasks import attempt
from tests.pipeline.match_rules import DOMAIN, Found, by_the_rules, crowd
from tests.pipeline.upstream import NO_VALUES, Project, Values, pair, table_of

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
