"""Planted leaks: found, judged, and gone after decontaminate and another pack, with all else as it was."""

from __future__ import annotations

import io
import json
import shlex
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

import openwit
from core.errors import Failure
from core.exclusive import exclusive
from core.tables import read_table
from dedup.hashes import fingerprints
from dedup.overlap import EvalSet, hashed, read_overlap
from dedup.tables import CAPTION, FINGERPRINT, GROUP, OVERLAP
from evaluation import sets
from evaluation.leaks import split
from pipeline.ids import image_id
from pipeline.tables import CANDIDATE, QUERY
from shards.reader import Shards
from tests.dedup.made import scene, table
from tests.documents import block
from tests.pipeline.upstream import Project, pair, table_of
from tests.shards.helpers import QUERIES, caption_rows

N = 120  # pictures of the evaluation set; a twentieth of them leaked
LEAKED = range(0, N, 20)


def jpeg(picture: Image.Image, quality: int = 90) -> bytes:
    to = io.BytesIO()
    picture.save(to, "JPEG", quality=quality)
    return to.getvalue()


def edited(i: int) -> Image.Image:
    """A leaked picture as the web has it: smaller, saved roughly, mirrored, framed, or two of these."""
    picture = scene(1000 + i)
    return [
        picture.resize((160, 120)),
        Image.open(io.BytesIO(jpeg(picture, 20))),
        ImageOps.mirror(picture),
        ImageOps.expand(picture, 30, "white"),
        ImageOps.expand(ImageOps.mirror(picture), 30, "black"),
        ImageOps.mirror(picture.resize((200, 150))),
    ][list(LEAKED).index(i)]


def url_of(i: int) -> str:
    return f"http://leak.test/{i}.jpg"


def prints(bodies: dict[str, bytes]) -> Any:
    urls = sorted(bodies, key=image_id)
    ids = np.frombuffer(b"".join(map(image_id, urls)), np.uint8).reshape(-1, 16)
    found = fingerprints([Image.open(io.BytesIO(bodies[url])) for url in urls])
    return table(found | {"image_id": ids, "sha256": np.repeat(ids, 2, axis=1)})


@pytest.fixture(scope="module")
def bodies() -> dict[str, bytes]:
    clean = {f"http://web.test/{i}.jpg": jpeg(scene(i)) for i in range(60)}
    return clean | {url_of(i): jpeg(edited(i)) for i in LEAKED}


@pytest.fixture
def made(tmp_path: Path, bodies: dict[str, bytes]) -> Project:
    """All stages before pack, and a tar of the evaluation set; one leaked picture has a duplicate that was dropped."""
    project = Project(tmp_path / "out", {"pack.shards": 3})
    project.write("queries", {"q": [table_of(QUERY, [{"id": id_, "text": text} for id_, text in QUERIES.items()])]})
    project.write("crawl", {"w": [table_of(CANDIDATE, [pair(url, "a text") for url in bodies])]})
    copy, keeper = url_of(0), "http://web.test/0.jpg"
    project.write_fetch({"c0": bodies})
    kept = sorted(bodies.keys() - {copy}, key=image_id)
    captions = table_of(CAPTION, [row for url in kept for row in caption_rows(url, [f"a dog at {url}"])])
    apart = {"same_bytes": False}
    groups: list[dict[str, Any]] = [
        {"image_id": image_id(copy), "kept_by": image_id(keeper), "keep": False, "reason": "near_duplicate", **apart},
        {"image_id": image_id(keeper), "kept_by": image_id(keeper), "keep": True, "reason": None, **apart},
    ]
    rows = table_of(GROUP, sorted(groups, key=lambda row: row["image_id"]))
    project.write("dedup", {"c0": [prints(bodies)], "captions": [captions], "groups": [rows]}, images=len(kept))
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for i in range(N):
            body = jpeg(scene(1000 + i))
            member = tarfile.TarInfo(f"{i:03}.jpg")
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return project


def overlap(made: Project, *more: str) -> list[dict[str, Any]]:
    words = ["--pictures", str(made.folder.parent / "set.tar"), *more]
    assert openwit.main(["overlap", *made.words(), *words]) == 0
    return list(read_table(str(made.folder / "overlap.parquet"), OVERLAP).to_pylist())


def packed(made: Project) -> dict[str, bytes]:
    return {sample.meta["url"]: sample.image for sample in Shards(str(made.of("pack"))).iterate()}


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


def test_several_sets_and_folders(made: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "photos"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "1.jpg").write_bytes(jpeg(scene(1000)))
    (folder / "2.jpg").write_bytes(jpeg(scene(5000)))
    (folder / ".DS_Store").write_bytes(b"\0")
    rows = overlap(made, "--pictures", str(folder), "--pictures", f"again={folder}")
    assert {(row["eval_set"], row["key"]) for row in rows if row["leak"] and row["eval_set"] != "set"} == {
        ("photos", "a/1.jpg"),
        ("again", "a/1.jpg"),
    }
    said = capsys.readouterr().out
    assert "overlap: 1 of 2 evaluation pictures are in the dataset of photos\n" in said
    assert "overlap: 8 of 124 evaluation pictures are in the dataset" in said
    words = ["--pictures", str(folder), "--pictures", f"{folder}/"]
    assert openwit.main(["overlap", *made.words(), *words]) == 2
    assert "two evaluation sets are called photos" in capsys.readouterr().err


def test_folders_as_people_have_them(made: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, elsewhere = tmp_path / "photos", tmp_path / "elsewhere"
    for place in (folder / "cafe\u0301", folder / "__MACOSX", elsewhere):
        place.mkdir(parents=True)
    (folder / "cafe\u0301" / "1.jpg").write_bytes(jpeg(scene(1000)))
    scene(1020).save(folder / "2.ppm")
    (folder / "Thumbs.db").write_bytes(jpeg(scene(1)))
    (folder / "__MACOSX" / "1.jpg").write_bytes(b"x")
    (elsewhere / "3.jpg").write_bytes(jpeg(scene(5000)))
    (folder / "linked").symlink_to(elsewhere)
    (folder / "linked" / "up").symlink_to(folder)
    rows = overlap(made, "--pictures", str(folder))
    assert {row["key"] for row in rows if row["leak"] and row["eval_set"] == "photos"} == {"caf\u00e9/1.jpg", "2.ppm"}
    assert "overlap: 2 of 3 evaluation pictures are in the dataset of photos\n" in capsys.readouterr().out
    (folder / "lost").symlink_to(tmp_path / "gone")
    assert openwit.main(["overlap", *made.words(), "--pictures", str(folder)]) == 1
    assert "photos/lost is a link to what is not there: restore" in capsys.readouterr().err
    (folder / "lost").unlink()
    (folder / "4.heic").write_bytes(b"\0\0\0\x18ftypheic")
    assert openwit.main(["overlap", *made.words(), "--pictures", str(folder)]) == 1
    assert "4.heic in" in capsys.readouterr().err
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        for name in ("./2.ppm", "./__MACOSX/2.jpg", "./.ipynb_checkpoints/2-checkpoint.ppm"):
            tar.add(folder / "2.ppm", name)
    assert openwit.main(["overlap", *made.words(), "--pictures", str(tmp_path / "photos.tar")]) == 0
    assert "1 of 1 evaluation pictures are in the dataset, 2 other files beside them" in capsys.readouterr().out


def in_benchmark_tars(folder: Path, bodies: list[bytes]) -> Path:
    """The test split of a set as CLIP_benchmark has it, in two tars; the train split is of other pictures."""
    for part, some in (("test", bodies), ("train", [jpeg(scene(7000))])):
        (folder / part).mkdir(parents=True)
        (folder / part / "nshards.txt").write_text("2" if part == "test" else "1")
        for shard in range(2 if part == "test" else 1):
            with tarfile.open(folder / part / f"{shard}.tar", "w") as tar:
                for i in range(shard, len(some), 2):
                    for name, body in ((f"s{i:07}.jpg", some[i]), (f"s{i:07}.cls", b"%d" % (i % 2))):
                        member = tarfile.TarInfo(name)
                        member.size = len(body)
                        tar.addfile(member, io.BytesIO(body))
    (folder / "classnames.txt").write_text("cat\ndog\n")
    return folder


def test_tables_and_numbered_tars_are_asked_about_by_the_ids_of_eval(
    made: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else what the leaks do to an accuracy could not be computed of a set in these layouts."""
    bodies = [jpeg(scene(1000)), jpeg(scene(5000)), jpeg(scene(1020))]
    numbered = in_benchmark_tars(tmp_path / "wds_cifar10", bodies)
    rows = {"image": [{"bytes": body, "path": f"{i}.jpg"} for i, body in enumerate(bodies)], "label": [0, 1, 0]}
    (tmp_path / "tables").mkdir()
    pq.write_table(pa.table(rows), tmp_path / "tables" / "test-00000-of-00001.parquet")
    words = [f"cifar10={numbered}", str(tmp_path / "tables"), f"one={tmp_path}/tables/test-00000-of-00001.parquet"]
    found = overlap(made, *(word for path in words for word in ("--pictures", path)))
    leaks = {(row["eval_set"], row["key"]) for row in found if row["leak"] and row["eval_set"] != "set"}
    names = ("tables", "one")
    assert leaks == {
        ("cifar10", "s0000000"),
        ("cifar10", "s0000002"),
        *((n, f"{i}.jpg") for n in names for i in (0, 2)),
    }
    assert "overlap: 2 of 3 evaluation pictures are in the dataset of cifar10\n" in capsys.readouterr().out
    ids = set(sets.find([str(numbered)], "")[0].open().ids)  # type: ignore[union-attr]
    assert {key for name, key in leaks if name == "cifar10"} < ids
    assert openwit.main(["sheet", *made.words(), "--pictures", words[0]]) == 0
    assert "sheet: 2 of 2 candidates of cifar10" in capsys.readouterr().out
    (tmp_path / "tables" / "left.jpg").write_bytes(bodies[0])
    assert openwit.main(["overlap", *made.words(), "--pictures", words[1]]) == 1
    assert "holds test-00000-of-00001.parquet beside its pictures" in capsys.readouterr().err


def test_a_picture_in_a_tar_that_does_not_decode_is_named_by_its_id(tmp_path: Path) -> None:
    numbered = in_benchmark_tars(tmp_path / "set", [jpeg(scene(1)), b"no picture"])
    with pytest.raises(Failure, match=r"s0000001 in .* is no picture that can be decoded"):
        hashed(EvalSet("set", str(numbered)))


def test_what_holds_pictures_and_is_no_tar_is_named(tmp_path: Path) -> None:
    def refused(path: Path, said: str) -> None:
        with pytest.raises(Failure, match=said):
            hashed(EvalSet("set", str(path)))

    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "0.tar").write_bytes(b"x")
    refused(folder, r"set holds no pictures, but 1 other files: give a tar or a folder of them")
    (folder / "logo.jpg").write_bytes(jpeg(scene(1)))
    refused(folder, r"set holds 0\.tar beside its pictures: unpack what holds some of them")
    refused(folder / "logo.jpg", r"logo\.jpg is no tar: give a tar or a folder")
    refused(tmp_path / "set.zip", r"set\.zip is no tar: give a tar or a folder")
    with tarfile.open(tmp_path / "twice.tar", "w") as tar:
        for name in ("logo.jpg", "./logo.jpg"):
            tar.add(folder / "logo.jpg", name)
    refused(tmp_path / "twice.tar", r"twice\.tar holds logo\.jpg twice: remove one")


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
