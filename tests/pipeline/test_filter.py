"""The filter over parts of candidates: languages named, drops counted, some of each kept to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

import pipeline.filter
from pipeline.tables import CANDIDATE, DROP, REJECT
from pipeline.tasks import attempt
from tests.pipeline.upstream import Project, pair, table_of

GERMAN = "Ein brauner Hund läuft über die große Wiese hinter dem Haus"
ENGLISH = "A brown dog runs over the large meadow behind the house"


def filtered(folder: Path, parts: Mapping[str, Sequence[str]], **values: object) -> Project:
    """filter, run over parts of texts; each text is that of an image of its own."""
    project = Project(folder, {f"filter.{key}": value for key, value in values.items()})
    made = {
        name: [table_of(CANDIDATE, [pair(f"http://a.test/{name}{n}.jpg", text) for n, text in enumerate(texts)])]
        for name, texts in parts.items()
    }
    project.write("crawl", made)
    project.run("filter")
    return project


def texts(project: Project) -> list[str]:
    return [row["text"] for row in project.rows("filter", CANDIDATE)]


def test_without_rules_everything_passes_and_its_language_is_named(tmp_path: Path) -> None:
    parts = {"a": [ENGLISH, "", "IMG_1234.jpg"], "b": [GERMAN, "犬が走っています", "\ufffd" * 2000]}
    project = filtered(tmp_path, parts, rules=[])
    rows = project.rows("filter", CANDIDATE)
    assert [row["text"] for row in rows] == [*parts["a"], *parts["b"]]
    assert [row["lang"] for row in rows if row["text"][:1] in "AE犬"] == ["en", "en", "de", "ja"]
    assert all(row["lang"] and 0 < row["lang_score"] <= 1 for row in rows)
    before = project.table("crawl", CANDIDATE).drop(["lang", "lang_score"])
    assert project.table("filter", CANDIDATE).drop(["lang", "lang_score"]) == before, "nothing else changed"
    assert project.manifest("filter").counts == {"pairs": {"in": 6, "kept": 6, "dropped": {}}}
    assert project.rows("filter", DROP) == project.rows("filter", REJECT) == []


def test_drops_are_counted_listed_and_leave_with_their_reason(tmp_path: Path) -> None:
    a = [ENGLISH, "IMG_1234.jpg", "photo", GERMAN, "dog", "IMG_1235.jpg"]
    b = ["beach.png", "A second dog runs behind the house"]
    project = filtered(tmp_path, {"a": a, "b": b})
    assert texts(project) == [ENGLISH, b[1]]
    reasons = {"is_a_filename": 3, "is_boilerplate": 1, "too_short": 1, "language_not_wanted": 1}
    assert project.manifest("filter").counts == {"pairs": {"in": 8, "kept": 2, "dropped": reasons}}
    drops = project.rows("filter", DROP)
    assert Counter(row["reason"] for row in drops) == reasons
    rejects = {row["text"]: row for row in project.rows("filter", REJECT)}
    assert {text: row["reason"] for text, row in rejects.items()} == {
        "IMG_1234.jpg": "is_a_filename",
        "IMG_1235.jpg": "is_a_filename",
        "beach.png": "is_a_filename",
        "photo": "is_boilerplate",
        "dog": "too_short",
        GERMAN: "language_not_wanted",
    }
    assert rejects[GERMAN]["lang"] == "de"
    kept = {row["pair_id"] for row in project.rows("filter", CANDIDATE)}
    ids = [row["pair_id"] for row in project.rows("crawl", CANDIDATE)]
    assert sorted([*kept, *(row["pair_id"] for row in drops)]) == sorted(ids)


def test_texts_are_cleaned_before_any_rule_and_ids_stay(tmp_path: Path) -> None:
    """Each text as a table or page had it, and as it leaves; the ids are those of the texts as found."""
    found = {
        "Epic <i>Killers of the Flower Moon</i> Earns its Length": "Epic Killers of the Flower Moon Earns its Length",
        "A <PERSON> is walking a brown dog": "A person is walking a brown dog",
        "\u0093The Tower\u0094 \u0097 a brown dog": "“The Tower” — a brown dog",
        "A brown\u200bdog on the lawn": "A brown dog on the lawn",
        "Salt &amp;amp; pepper shakers": "Salt & pepper shakers",
    }
    broken = ["A <script>alert()</script> dog", "The dog\xe2\x80\x99s long walk", "&lt;br&gt;"]
    project = filtered(tmp_path, {"a": [*found, *broken]}, languages=[])
    assert texts(project) == list(found.values())
    assert project.manifest("filter").counts["pairs"]["dropped"] == {
        "has_markup": 1,
        "broken_encoding": 1,
        "too_short": 1,
    }
    ids = [row["pair_id"] for row in project.rows("crawl", CANDIDATE)]
    assert [row["pair_id"] for row in project.rows("filter", CANDIDATE)] == ids[: len(found)]


@pytest.mark.parametrize("order", [["too_few_words", "too_short", "is_boilerplate"], ["is_boilerplate", "too_short"]])
def test_the_first_rule_in_the_order_asked_names_the_drop(tmp_path: Path, order: list[str]) -> None:
    project = filtered(tmp_path, {"a": ["photo", "dog", ENGLISH, GERMAN]}, rules=order)
    first = {"too_few_words": {"too_few_words": 2}, "is_boilerplate": {"is_boilerplate": 1, "too_short": 1}}[order[0]]
    assert project.manifest("filter").counts["pairs"]["dropped"] == first
    assert texts(project) == [ENGLISH, GERMAN], "rules that were not asked for drop nothing"


def test_of_each_reason_some_are_kept_to_look_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen a reason and a task, however the rows lie in it."""
    monkeypatch.setattr(attempt, "ROW_GROUP", 30)  # rows; a part is read in several batches
    many = [f"IMG_{n}.jpg" for n in range(100)]
    project = filtered(tmp_path, {"a": [*many, *["photo"] * 20], "b": many[:40], "c": many[:3]})
    assert project.manifest("filter").counts["pairs"]["dropped"] == {"is_a_filename": 143, "is_boilerplate": 20}
    files = project.manifest("filter").of("reject")
    assert [(part.task, part.rows) for part in files] == [("a", 32), ("b", 16), ("c", 3)]
    rejects = [row for row in project.rows("filter", REJECT) if row["image_url"].startswith("http://a.test/a")]
    assert Counter(row["reason"] for row in rejects) == {"is_a_filename": 16, "is_boilerplate": 16}
    assert project.table("filter", DROP).num_rows == 163, "every drop is listed"


def test_one_part_in_one_part_out(tmp_path: Path) -> None:
    project = filtered(tmp_path, {"b": [ENGLISH], "a": ["photo"], "c": []})
    assert [(part.task, part.rows) for part in project.manifest("filter").of("candidate")] == [("a", 0), ("b", 1)]
    assert project.manifest("filter").counts["pairs"] == {"in": 2, "kept": 1, "dropped": {"is_boilerplate": 1}}


def test_a_part_that_was_lost_is_made_again_and_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = filtered(tmp_path, {"a": [ENGLISH], "b": [ENGLISH]})
    one, other = (Path(path) for path in project.manifest("filter").paths("candidate"))
    before, untouched = one.read_bytes(), other.stat().st_mtime_ns
    for harm in (one.unlink, lambda: one.write_bytes(before[:-1])):
        harm()
        project.run("filter")
        assert one.read_bytes() == before and other.stat().st_mtime_ns == untouched
    capsys.readouterr()
    project.run("filter")
    assert "filter: nothing to do" in capsys.readouterr().out


def on_pages(
    folder: Path, pages: Sequence[tuple[str, str | None, Sequence[str]]], text_source: str = "alt", **values: object
) -> Project:
    """filter, run over one part: of each page its URL, the language that it declares and its texts."""
    project = Project(folder, {f"filter.{key}": value for key, value in values.items()})
    rows = [
        pair(f"http://a.test/{n}-{i}.jpg", text, page_url=url, page_lang=declared, text_source=text_source)
        for n, (url, declared, said) in enumerate(pages)
        for i, text in enumerate(said)
    ]
    project.write("crawl", {"a": [table_of(CANDIDATE, rows)]})
    project.run("filter")
    return project


SHORT = ["GIMP B&W Tree Final", "Photograph of Albert Einstein.", "Great Cormorant"]
AROUND = ["A brown dog on the beach", "Sunset over the lake", "Two children in the old park"]
FOREIGN = ["Ein Kormoran", "Albert Einstein in Bern", "Der Baum im Winter", "Ein roter Fuchs", "Alte Brücke am Fluss"]


def test_short_captions_follow_their_page(tmp_path: Path) -> None:
    project = on_pages(
        tmp_path / "none", [("http://a.test/en", None, [*AROUND, *SHORT]), ("http://a.test/de", None, FOREIGN)]
    )
    assert texts(project) == [*AROUND, *SHORT]
    assert project.manifest("filter").counts["pairs"]["dropped"] == {"language_not_wanted": 5}
    pages = [("http://a.test/en", "en-GB", [*AROUND, *SHORT]), ("http://a.test/de", "en", FOREIGN)]
    assert texts(on_pages(tmp_path / "template", pages)) == [*AROUND, *SHORT]
    assert texts(on_pages(tmp_path / "german", pages, languages=["de", "fr"])) == FOREIGN


def test_few_rows_without_a_page_are_judged_alone(tmp_path: Path) -> None:
    project = on_pages(tmp_path, [("", None, [*AROUND, SHORT[2]]), ("", None, [*FOREIGN[:1]])])
    assert texts(project) == AROUND
    assert project.manifest("filter").counts["pairs"]["dropped"] == {"language_unsure": 1, "language_not_wanted": 1}


def test_a_page_is_judged_whole_wherever_row_groups_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.filter, "MAX_PAGE", 12)  # rows
    pages = [
        ("http://a.test/1", None, [*SHORT, *AROUND]),
        ("http://a.test/2", "de", FOREIGN),
        ("", None, [*SHORT, *AROUND]),
        ("http://a.test/3", "de", [*FOREIGN * 5, *SHORT, *AROUND]),
        ("http://a.test/1", None, [*FOREIGN, *SHORT]),
    ]
    found = []
    for size in (1, 2, 3, 7, 11, 16_384):
        monkeypatch.setattr(attempt, "ROW_GROUP", size)
        found.append(on_pages(tmp_path / str(size), pages, rules=[]).table("filter", CANDIDATE))
    assert [table.equals(found[0]) for table in found] == [True] * 6
    rows = found[0].to_pylist()
    assert [row["lang"] for row in rows[:11]] == ["en"] * 6 + ["de"] * 5
    assert [row["lang"] for row in rows[-8:]] == ["de"] * 8, "a page that comes again is another"


ROWS = [
    "A red barn in the snow",
    "Steam locomotive",
    "Birthday cake with candles",
    "Autumn leaves",
    "The old stone church",
]


def test_rows_of_a_table_follow_the_rows_beside_them(tmp_path: Path) -> None:
    """A table of one language keeps what a table of many, where each row is judged alone, does not."""
    doubtful = ["Great Cormorant", "Siamese cat"]
    of_one = on_pages(tmp_path / "one", [("", None, [*ROWS, *AROUND, *doubtful])])
    assert texts(of_one) == [*ROWS, *AROUND, *doubtful]
    of_many = on_pages(tmp_path / "many", [("", None, [*ROWS, *AROUND, *doubtful, *FOREIGN])])
    assert texts(of_many) == [*ROWS, *AROUND]


def test_rows_of_a_table_that_names_pages_follow_it_too(tmp_path: Path) -> None:
    """A page of one row says nothing that the row does not; one of many German rows stays German."""
    lone = [(f"http://a.test/{n}", None, [text]) for n, text in enumerate([*ROWS, *AROUND, "Great Cormorant"])]
    pages = [*lone, ("http://a.test/de", None, ["Albert Einstein", *FOREIGN[:2], *FOREIGN[3:]])]
    assert texts(on_pages(tmp_path / "table", pages[:-1], text_source="caption"))[-1] == "Great Cormorant"
    assert texts(on_pages(tmp_path / "archive", pages[:-1], text_source="alt"))[-1] != "Great Cormorant"
    assert not {*texts(on_pages(tmp_path / "german", pages, text_source="caption"))} & {*pages[-1][2]}


@pytest.mark.parametrize("source", ["caption", "alt"])
def test_a_stretch_is_judged_whole_wherever_row_groups_end(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stretches are counted from where a table's rows begin; a page ends where its stretch does."""
    monkeypatch.setattr(pipeline.filter, "MAX_STRETCH", 10)  # rows
    rows = [*ROWS, *AROUND, "Great Cormorant", "Siamese cat"]
    pages = [("", None, [*rows, *FOREIGN, *rows, *rows]), ("http://a.test/1", None, rows * 2), ("", None, rows)]
    found = []
    for size in (1, 3, 7, 10, 16_384):
        monkeypatch.setattr(attempt, "ROW_GROUP", size)
        project = on_pages(tmp_path / str(size), pages, text_source=source, rules=[])
        found.append(project.table("filter", CANDIDATE))
    assert [table.equals(found[0]) for table in found] == [True] * 5
    lang = [row["lang"] for row in found[0].to_pylist()]
    assert lang[:10] == ["en"] * 10
    assert lang[10:25] == ["de"] * 5 + ["en"] * 10


@pytest.mark.parametrize("language", ["english", "EN", "en-US", "zh-CN", "jp"])
def test_a_language_that_is_never_found_is_refused(
    tmp_path: Path, language: str, capsys: pytest.CaptureFixture[str]
) -> None:
    project = Project(tmp_path, {"filter.languages": ["en", language]})
    project.write("crawl", {"a": [table_of(CANDIDATE, [pair("http://a.test/0.jpg", ENGLISH)])]})
    project.run("filter", status=2)
    assert f"no language {language!r} is ever found" in capsys.readouterr().err
