"""Which pictures overlap asks about: folders, tars and tables as people have them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import openwit
from core.errors import Failure
from dedup.overlap import EvalSet, hashed
from evaluation import sets
from tests.dedup.made import scene
from tests.dedup.planted import jpeg, overlap
from tests.pipeline.upstream import Project


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
