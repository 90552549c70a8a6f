"""The list of queries, counted by hand from a tiny encyclopedia."""

from __future__ import annotations

import gzip
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from pipeline.tables import CANDIDATE, PAIR, PLAN, QUERY
from tests.pipeline.upstream import Project, Values, pair, table_of
from tests.small import contents

PAGE = "<page><title>{}</title><ns>{}</ns><id>1</id>{}<revision><id>2</id><text>{}</text></revision></page>"


def dump(*pages: str) -> str:
    return f'<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/">{"".join(pages)}</mediawiki>'


ONE = (
    PAGE.format("Dogs", 0, "", "Hot rod\nThe '''dog'''.\nThe [[Canis|dog]]\n{{the|the}}the dog, the cat"),
    PAGE.format("Talk:Dogs", 1, "", "zebra zebra zebra"),
)
OTHER = (
    PAGE.format("Cats", 0, "", "The cat the\nHot rod (zebra)"),
    PAGE.format("Cat", 0, '<redirect title="Cats" />', "zebra zebra zebra"),
)
# Sixteen words: the 6, dog 3, cat 2, hot 2, rod 2, zebra 1. Side by side: the dog 3, the cat 2, hot rod 2, cat the 1.
# PMI in bits: hot rod log2(2·16/(2·2)) = 3; the dog log2(3·16/(6·3)) = the cat log2(2·16/(6·2)) = 1.4.
FIRST_HOUR = "en Hot_Rod 40 0\nen Golden_Gate 50 0\nen Seldom 69 0\nde Golden 900 0\nen Talk:Dog 900 0\nen !!! 80 0\n"
SECOND_HOUR = "en.m Golden_Gate 30 0\nen.m Hot_Rod 30 0\nen The_Cat 500 0\nen Zebra_Finch 70 0\n"
WORDNET = {
    "data.adj": "00000001 00 a 01 golden(a) 0 000 | of gold\n",
    "data.adv": "00000001 00 r 01 hot 0 000 | hotly\n",
    "data.noun": "00000001 00 n 02 Zebra_finch 0 Canis_familiaris 0 000 | a bird, and a dog\n",
    "data.verb": "00000001 00 v 01 dog 0 000 | to follow\n",
}

BY_HAND = [
    ("My DOG", "list", 0),
    ("red bike", "list", 0),
    ("the", "unigram", 6),
    ("dog", "unigram", 3),
    ("cat", "unigram", 2),
    ("hot", "unigram", 2),
    ("rod", "unigram", 2),
    ("hot rod", "bigram", 2),
    ("the dog", "bigram", 3),  # as informative as "the cat", and more frequent
    ("The Cat", "title", 500),
    ("Golden Gate", "title", 80),
    ("Zebra Finch", "title", 70),
    ("Canis familiaris", "wordnet", 0),
    ("golden", "wordnet", 0),
]


@pytest.fixture
def sources(tmp_path: Path) -> Values:
    """The recipe's [queries] table over all the files above."""
    (tmp_path / "one.xml").write_text(dump(*ONE))
    (tmp_path / "other.xml").write_text(dump(*OTHER))
    (tmp_path / "pageviews-1").write_text(FIRST_HOUR)
    (tmp_path / "pageviews-2.gz").write_bytes(gzip.compress(SECOND_HOUR.encode()))
    (tmp_path / "own.txt").write_text("\ufeffMy  DOG\n\n  \nred\tbike\n---\nMy dog\n")
    with zipfile.ZipFile(tmp_path / "wordnet.zip", "w") as archive:
        for name, text in WORDNET.items():
            archive.writestr(f"dict/{name}", text)
    return {
        "queries.wikipedia": [str(tmp_path / "one.xml"), str(tmp_path / "other.xml")],
        "queries.pageviews": [str(tmp_path / "pageviews-*")],
        "queries.wordnet": [str(tmp_path / "wordnet.zip")],
        "queries.lists": [str(tmp_path / "own.txt")],
        "queries.min_unigram_count": 2,
        "queries.min_bigram_count": 2,
        "queries.bigrams": 2,
    }


def built(folder: Path, sources: Values, **values: object) -> Project:
    folder.mkdir(exist_ok=True)
    project = Project(folder, {**sources, **{f"queries.{key}": value for key, value in values.items()}})
    project.run("queries")
    return project


def listed(project: Project) -> list[tuple[str, str, int]]:
    """(text, source, count) of each query; its id is its place."""
    rows = project.rows("queries", QUERY)
    assert [row["id"] for row in rows] == list(range(len(rows)))
    return [(row["text"], row["source"], row["count"]) for row in rows]


def test_the_list_is_that_counted_by_hand(tmp_path: Path, sources: Values) -> None:
    project = built(tmp_path / "out", sources)
    assert listed(project) == BY_HAND
    manifest = project.manifest("queries")
    assert manifest.counts == {
        "queries": {
            "in": len(BY_HAND) + 7,
            "kept": len(BY_HAND),
            # --- and !!!; My dog, Hot Rod, Zebra finch, dog and hot
            "dropped": {"not_a_word": 2, "already_in_list": 5},
        }
    }
    assert manifest.facts["notes"] == {"articles": 2, "words_too_rare": 1}


def test_a_full_list_takes_no_more(tmp_path: Path, sources: Values) -> None:
    project = built(tmp_path / "out", sources, max_queries=8)
    assert listed(project) == BY_HAND[:8]
    assert project.manifest("queries").counts["queries"] == {
        "in": len(BY_HAND) + 7,
        "kept": 8,
        "dropped": {"not_a_word": 2, "already_in_list": 4, "list_is_full": 7},
    }


def test_the_least_counts_are_kept_to(tmp_path: Path, sources: Values) -> None:
    values = {"min_unigram_count": 3, "bigrams": 9, "min_bigram_count": 3, "min_title_views": 71, "lists": []}
    assert listed(built(tmp_path / "out", sources, **values)) == [
        ("the", "unigram", 6),
        ("dog", "unigram", 3),
        ("the dog", "bigram", 3),
        ("The Cat", "title", 500),
        ("Golden Gate", "title", 80),
        ("Canis familiaris", "wordnet", 0),
        ("Zebra finch", "wordnet", 0),
        ("golden", "wordnet", 0),
        ("hot", "wordnet", 0),
    ]


def test_the_order_of_the_dumps_changes_no_byte(tmp_path: Path, sources: Values) -> None:
    one = built(tmp_path / "one", sources)
    dumps = sources["queries.wikipedia"]
    assert isinstance(dumps, list)
    other = built(tmp_path / "other", sources, wikipedia=dumps[::-1])
    assert contents(one.of("queries")) == contents(other.of("queries"))


def test_articles_count_the_same_in_one_dump_or_two(tmp_path: Path, sources: Values) -> None:
    (tmp_path / "both.xml").write_text(dump(*OTHER, *ONE))
    assert listed(built(tmp_path / "out", sources, wikipedia=[str(tmp_path / "both.xml")])) == BY_HAND


def test_nothing_is_counted_twice(tmp_path: Path, sources: Values, capsys: pytest.CaptureFixture[str]) -> None:
    """Other sources and a shorter list count no dump again; the same settings do nothing at all."""
    project = built(tmp_path / "out", sources)
    receipts = [*project.of("queries").glob("_receipts/[wvp]*")]
    steps = Counter(path.name.split(".")[0] for path in receipts)
    assert steps == {"words": 2, "views": 2, "vocabulary": 1, "pairs": 2}
    counted = {path: path.stat().st_mtime_ns for path in receipts}
    project.run("queries")
    assert "nothing to do" in capsys.readouterr().out
    project.run("queries", {"queries.lists": [], "queries.max_queries": 9})
    assert listed(project) == BY_HAND[2:11]
    again = {path for path in receipts if path.stat().st_mtime_ns != counted[path]}
    assert {path.name for path in again} == {"vocabulary.vocabulary.json"}


def test_without_sources_the_list_is_empty_and_match_can_use_it(tmp_path: Path) -> None:
    project = built(tmp_path, {})
    assert listed(project) == []
    for stage in ("crawl", "filter"):
        project.write(stage, {"a": [table_of(CANDIDATE, [pair("http://a.test/1.jpg", "a dog")])]})
    project.run("match", {"match.lanes": 1})
    assert project.manifest("match").counts["pairs"] == {"in": 1, "kept": 0, "dropped": {"no_query": 1}}
    assert project.rows("match", PAIR) == project.rows("match", PLAN) == []
