"""Planted leaks: found, judged, and gone after decontaminate and another pack, with all else as it was."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

import openwit
from core.exclusive import exclusive
from core.tables import read_table
from dedup.overlap import read_overlap
from dedup.tables import CAPTION, FINGERPRINT, GROUP, OVERLAP
from evaluation.leaks import split
from pipeline.ids import image_id
from tests.dedup.planted import LEAKED, N, edited, jpeg, overlap, packed, prints, url_of
from tests.documents import block
from tests.pipeline.upstream import Project, table_of
from tests.shards.helpers import caption_rows


def test_planted_leaks_are_found_measured_and_taken_out(made: Project, capsys: pytest.CaptureFixture[str]) -> None:
    made.run("pack")
    before = packed(made)
    rows = [row for row in overlap(made) if row["leak"]]
    assert {row["key"] for row in rows} == {f"{i:03}.jpg" for i in LEAKED}
    assert all(row["packed"] and row["image_id"] == image_id(url_of(int(row["key"][:3]))) for row in rows)
    by_key = {row["key"]: row for row in rows}
    assert by_key["000.jpg"]["kept_by"] == image_id("http://web.test/0.jpg")
    assert by_key["000.jpg"]["caption"] == "a dog at http://web.test/0.jpg"
    assert [by_key[f"{i:03}.jpg"]["mirrored"] for i in LEAKED] == [False, False, True, False, True, True]
    assert [by_key[f"{i:03}.jpg"]["bordered"] for i in LEAKED] == [False, False, False, True, True, False]

    right = {f"{i:03}.jpg": i % 2 == 0 for i in range(N)}  # all leaked ones, and 54 of the 114 others
    one = split("set", right, {row["key"] for row in rows})
    assert (one.n, one.overlap, one.correct, one.correct_overlap) == (120, 6, 60, 6)
    assert one.all_minus_clean == pytest.approx(60 / 120 - 54 / 114, abs=1e-12)
    assert one.p == pytest.approx((54 / 114) ** 6, rel=1e-12)
    assert one.interval == pytest.approx((0.0025 ** (1 / 6) - 54 / 114, 1 - 54 / 114), abs=1e-12)

    capsys.readouterr()
    assert openwit.main(["decontaminate", *made.words()]) == 0
    path = made.folder / "decontaminate.txt"
    assert "7 images hold 6 evaluation pictures" in capsys.readouterr().out
    assert openwit.main(["pack", *made.words(), "--set", f'pack.drop=["{path}"]']) == 0
    assert packed(made) == {
        url: image for url, image in before.items() if "leak" not in url and url != "http://web.test/0.jpg"
    }
    listed = path.read_bytes()
    assert read_overlap(str(made.folder / "overlap.parquet"))[1]["pack"] != made.manifest("pack").digest
    assert not any(row["packed"] for row in overlap(made) if row["leak"])
    assert "overlap: 0 of 120 evaluation pictures are in the dataset" in capsys.readouterr().out
    assert read_overlap(str(made.folder / "overlap.parquet"))[1]["pack"] == made.manifest("pack").digest
    assert openwit.main(["decontaminate", *made.words()]) == 0 and path.read_bytes() == listed


REVIEW = {"format": "openwit leak review 1", "detector": "ph256", "reviewer": "me", "date": "2026-01-31"}


def review_of(made: Project, **more: Any) -> Path:
    about = read_overlap(str(made.folder / "overlap.parquet"))[1]["sets"]["set"]
    said = {
        **REVIEW,
        "set": "set",
        "pictures": about["pictures"],
        "threshold": 0,
        "verdicts": [{"key": "040.jpg", "image_id": image_id(url_of(40)).hex(), "verdict": "same"}],
    }
    path = made.folder.parent / "review.json"
    path.write_text(json.dumps({**said, **more}))
    return path


def test_a_review_decides(made: Project) -> None:
    first = {row["key"]: row["d256"] for row in overlap(made) if row["leak"]}
    assert all(first.values())
    rows = overlap(made, "--review", str(review_of(made)))
    assert {row["key"] for row in rows if row["leak"]} == {"040.jpg"}
    assert {row["verdict"] for row in rows if row["key"] == "040.jpg"} == {"same"}
    pair_ = {"key": "040.jpg", "image_id": image_id(url_of(40)).hex(), "verdict": "different"}
    rows = overlap(made, "--review", str(review_of(made, threshold=40, verdicts=[pair_])))
    assert {row["key"] for row in rows if row["leak"]} == first.keys() - {"040.jpg"}
    about = read_overlap(str(made.folder / "overlap.parquet"))[1]["sets"]["set"]
    assert (about["threshold"], about["reviewer"], about["asked"]) == (40, "me", N)
    assert len(about["known_by"]) == 32 and {"040.jpg", *about["known_by"]} <= {f"{i:03}.jpg" for i in range(N)}
    words = ["--pictures", str(made.folder.parent / "set.tar"), "--review", str(made.folder)]
    assert openwit.main(["overlap", *made.words(), *words]) == 2


def test_a_key_that_stands_twice_is_named(made: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Else the last value would count, and a person who edits the file does not see which that is."""
    overlap(made)
    path = review_of(made)
    path.write_text(path.read_text().replace('"threshold": 0', '"threshold": 0, "threshold": 60'))
    words = ["--pictures", str(made.folder.parent / "set.tar"), "--review", str(path)]
    assert openwit.main(["overlap", *made.words(), *words]) == 1
    assert "review.json is no review ('threshold' stands in it twice)" in capsys.readouterr().err


def test_a_judgement_that_is_not_given_again_is_missed(made: Project, capsys: pytest.CaptureFixture[str]) -> None:
    overlap(made)
    overlap(made, "--review", str(review_of(made)))
    assert "is not any more" not in capsys.readouterr().out
    assert len({row["key"] for row in overlap(made) if row["leak"]}) == len(LEAKED)
    assert "overlap: set was judged by me, and is not any more: this run has no --review" in capsys.readouterr().out


def test_a_set_that_is_not_asked_about_again_stays(made: Project, capsys: pytest.CaptureFixture[str]) -> None:
    overlap(made)  # a review names the pictures that it is of
    first = overlap(made, "--review", str(review_of(made)))
    assert {row["key"] for row in first if row["leak"]} == {"040.jpg"}
    other = made.folder.parent / "other"
    other.mkdir()
    (other / "a.jpg").write_bytes(jpeg(edited(0)))
    assert openwit.main(["overlap", *made.words(), "--pictures", str(other)]) == 0
    said = capsys.readouterr().out
    assert "set in " in said and "stays as it is" in said and "1 of 1 evaluation pictures are in the dataset" in said
    path = str(made.folder / "overlap.parquet")
    rows = read_table(path, OVERLAP).to_pylist()
    assert [row for row in rows if row["eval_set"] == "set"] == first
    assert {name: one["threshold"] for name, one in read_overlap(path)[1]["sets"].items()} == {"set": 0, "other": 40}
    assert openwit.main(["decontaminate", *made.words()]) == 0
    listed = (made.folder / "decontaminate.txt").read_text()
    assert image_id(url_of(40)).hex() in listed and image_id(url_of(0)).hex() in listed


def test_the_ids_that_did_not_leak_are_listed(made: Project) -> None:
    """Of each set, also of one that is not asked about again when the shards are others."""
    made.run("pack")
    names = {f"{i:03}.jpg" for i in range(N)}
    leaks = {f"{i:03}.jpg" for i in LEAKED}
    again = f"動物={made.folder.parent}/set.tar"
    overlap(made, "--pictures", again)
    files = sorted(made.folder.glob("clean-*.txt"))
    assert len(files) == 2 and files[0].name == "clean-_-" + files[0].stem[-8:] + ".txt"
    assert [file.read_text().splitlines() for file in files] == [sorted(names - leaks)] * 2
    overlap(made, "--review", str(review_of(made)))
    assert set(files[1].read_text().split()) == names - {"040.jpg"}  # as it was judged
    assert openwit.main(["decontaminate", *made.words()]) == 0
    assert openwit.main(["pack", *made.words(), "--set", f'pack.drop=["{made.folder}/decontaminate.txt"]']) == 0
    overlap(made)
    assert [set(file.read_text().split()) for file in files] == [names] * 2
    files[0].write_text("000.jpg\n")  # of another state of the table, as if a run had been killed
    overlap(made)
    assert not files[0].exists() and files[1].exists()
    overlap(made, "--pictures", again)
    made.write("dedup", {"c1": [FINGERPRINT.empty_table()]})
    overlap(made)
    assert not files[0].exists() and set(files[1].read_text().split()) == names


def test_a_pack_of_another_dedup_tells_nothing(
    made: Project, bodies: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    """The copy that it holds is dropped now for another, which it does not hold: it would seem to be no leak."""
    made.run("pack")
    assert all(row["packed"] for row in overlap(made) if row["leak"])
    copy, keeper = image_id(url_of(20)), image_id(url_of(0))
    row = {"kept_by": keeper, "same_bytes": False}
    groups = [
        {**row, "image_id": copy, "keep": False, "reason": "near_duplicate"},
        {**row, "image_id": keeper, "keep": True, "reason": None},
    ]
    captions = caption_rows(url_of(0), ["a dog"])
    tables = {"captions": [table_of(CAPTION, captions)], "groups": [table_of(GROUP, groups)]}
    made.write("dedup", {"c0": [prints(bodies)], **tables}, images=len(bodies) - 1)
    capsys.readouterr()
    assert all(row["packed"] is None for row in overlap(made) if row["leak"])
    said = capsys.readouterr().out
    assert "6_pack is of another run of dedup, so what is in the shards is not known" in said
    assert "overlap: 6 of 120 evaluation pictures" in said


def test_two_at_once_do_not_lose_a_set(made: Project, capsys: pytest.CaptureFixture[str]) -> None:
    overlap(made)
    before = (made.folder / "overlap.parquet").read_bytes()
    with exclusive(str(made.folder / "_overlap"), "overlap"):
        words = ["--pictures", f"again={made.folder.parent}/set.tar"]
        assert openwit.main(["overlap", *made.words(), *words]) == 1
    assert "overlap is already running on " in capsys.readouterr().err
    assert (made.folder / "overlap.parquet").read_bytes() == before


def test_each_set_has_a_sheet_of_its_own(made: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where names differ in letters that file names do not keep."""
    words = [word for name in ("動物", "植物") for word in ("--pictures", f"{name}={made.folder.parent}/set.tar")]
    assert openwit.main(["overlap", *made.words(), *words]) == 0
    assert openwit.main(["sheet", *made.words(), *words]) == 0
    sheets = sorted(made.folder.glob("leaks-*.html"))
    assert len(sheets) == 2 and all(f"{sheet}" in capsys.readouterr().out for sheet in sheets[:1])
    assert {name for name in ("動物", "植物") for sheet in sheets if f"<small>{name}</small>" in sheet.read_text()} == {
        "動物",
        "植物",
    }


STRANGER = {"key": "041.jpg", "image_id": "00" * 16, "verdict": "same"}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"verdicts": [STRANGER]}, f"judges 1 pairs that are no candidates of set, 041.jpg and {'00' * 16} for one"),
        ({"verdicts": [STRANGER, STRANGER]}, "judges 041.jpg and 0000"),
        ({"verdicts": [{**STRANGER, "verdict": "maybe"}]}, "Invalid enum value 'maybe' - at `$.verdicts[0].verdict`"),
        ({"verdicts": [{**STRANGER, "image_id": "7"}]}, "$.verdicts[0].image_id"),
        ({"set": "other"}, "is of the evaluation set 'other', and asked about are set"),
        ({"pictures": "ab" * 32}, "judges other pictures than those of set now (digest abababababab"),
        ({"format": "openwit leak review 2"}, "of the format 'openwit leak review 2', not 'openwit leak review 1'"),
        ({"detector": "sscd"}, "candidates of the detector 'sscd', not 'ph256'"),
        ({"threshold": 65}, "$.threshold"),
        ({"threshold": 61, "verdicts": []}, "the threshold 61, and candidates differ in at most 60 bits"),
        ({"reviewer": ""}, "$.reviewer"),
        ({"reviewer": "  "}, "$.reviewer"),
        ({"date": "yesterday"}, "$.date"),
        ({"note": "x"}, "unknown field `note`"),
    ],
)
def test_a_review_of_something_else_is_named(
    made: Project, more: dict[str, Any], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    overlap(made)
    before = (made.folder / "overlap.parquet").read_bytes()
    words = ["--pictures", str(made.folder.parent / "set.tar"), "--review", str(review_of(made, **more))]
    capsys.readouterr()
    assert openwit.main(["overlap", *made.words(), *words]) == 1
    said = capsys.readouterr().err
    assert says in said and "review.json" in said and said.count("\n") == 1
    assert (made.folder / "overlap.parquet").read_bytes() == before


def test_decontaminate_says_what_it_lacks(made: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert openwit.main(["decontaminate", *made.words()]) == 2
    assert "holds no overlap.parquet: run openwit overlap first" in capsys.readouterr().err
    overlap(made, "--most", "1")
    capsys.readouterr()
    assert openwit.main(["decontaminate", *made.words()]) == 1
    assert "run openwit overlap again with --most 10" in capsys.readouterr().err
    overlap(made)
    made.write("dedup", {"c1": [FINGERPRINT.empty_table()]})
    capsys.readouterr()
    assert openwit.main(["decontaminate", *made.words()]) == 1
    assert "is of another run of dedup" in capsys.readouterr().err


def test_the_commands_of_the_document(
    made: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One after another, on a recipe of that name; between them a person judges."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "real.toml").write_text(
        '[run]\nout = "out/real"\n[pack]\nshards = 3\n[engine]\nworkers = 1\n'
    )
    shutil.copytree(made.folder, tmp_path / "out" / "real")
    (tmp_path / "sets").mkdir()
    (tmp_path / "set.tar").rename(tmp_path / "sets" / "birdsnap.tar")
    for line in block("docs/leaks.md", 0).splitlines():
        if line.startswith("#"):
            html = (tmp_path / "out" / "real" / "leaks-birdsnap.html").read_text()
            data = html.partition('<script id="data" type="application/json">')[2].partition("</script>")[0]
            saved = {"set": "birdsnap", "pictures": json.loads(data)["digest"], "threshold": 30, "verdicts": []}
            (tmp_path / "leaks-birdsnap.json").write_text(json.dumps({**REVIEW, **saved}))
        else:
            assert openwit.main(shlex.split(line)[1:]) == 0, line
    said = capsys.readouterr().out
    assert "sheet: 6 of 6 candidates of birdsnap" in said and "7 images hold 6 evaluation pictures" in said
    assert said.index("overlap: 6 of 120 evaluation") < said.index("overlap: 0 of 120 evaluation")
