import errno
import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow.parquet as pq
import pytest

from core.files import open_input, publishing
from core.manifest import Receipt, read_manifest, write_manifest
from shards.__main__ import main
from shards.format import SAMPLE, write_rows
from shards.reader import Shards
from shards.verify import verify
from tests.shards.damage import CHANGES, CUTS, Damage, damage
from tests.shards.helpers import made_images, make_pack

IMAGES = made_images(60)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return make_pack(tmp_path / "pack", IMAGES, shards=4, failed={"http://failed.test/1": "dns"})


def troubles(folder: str) -> dict[str, list[str]]:
    return {part.name: wrong for part, wrong in verify(folder) if wrong}


def test_a_pack_as_it_was_written_has_no_troubles(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert [part.name for part, _ in verify(folder)] == [
        *(f"0000{i}.parquet" for i in range(4)),
        *(f"0000{i}.tar" for i in range(4)),
        "sizes.json",
        *(f"0000{i}_stats.json" for i in range(4)),
    ]
    assert troubles(folder) == {}
    assert main(["verify", folder]) == 0
    assert capsys.readouterr().out == f"{folder}: 4 shards with 60 samples are as they were packed\n"


@pytest.mark.parametrize("how", [*CUTS.values(), *CHANGES.values()], ids=[*CUTS, *CHANGES])
def test_every_damage_to_a_tar_is_found(folder: str, how: Damage, capsys: pytest.CaptureFixture[str]) -> None:
    damage(folder, "00001", how)
    found = troubles(folder)
    assert list(found) == ["00001.tar"]
    assert "the manifest says" in found["00001.tar"][0]
    assert main(["verify", folder]) == 1
    said = capsys.readouterr()
    assert said.out == f"00001.tar {'; '.join(found['00001.tar'])}\n"
    remedy = "restore them, or remove them and run openwit pack again"
    assert said.err == f"verify: 1 of 13 files in {folder} are damaged: {remedy}\n"


def test_the_damaged_samples_are_counted_and_the_first_is_named(folder: str) -> None:
    keys = pq.read_table(f"{folder}/00001.parquet", columns=["key", "offset"]).drop_null()["key"].to_pylist()
    middle = damage(folder, "00001", CHANGES["byte of a json flipped"])
    assert troubles(folder)["00001.tar"][1] == (
        f"1 of {len(keys)} samples are damaged or missing, the first is {keys[middle]}"
    )
    damage(folder, "00001", CUTS["cut at a member's end"])
    assert troubles(folder)["00001.tar"][1] == (
        f"{len(keys) - middle} of {len(keys)} samples are damaged or missing, the first is {keys[middle]}"
    )


@pytest.mark.parametrize("name", ["00002.parquet", "00002_stats.json", "sizes.json"])
def test_damage_to_any_other_file_is_found(folder: str, name: str) -> None:
    path = Path(folder, name)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    assert "the manifest says" in troubles(folder)[name][0]
    path.unlink()
    assert troubles(folder)[name] == ["is missing"]


def test_a_file_that_the_disk_does_not_give_is_found(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: str) -> BinaryIO:
        if path.endswith("00001_stats.json"):
            raise OSError(errno.EIO, "Input/output error")
        return open_input(path)

    monkeypatch.setattr("shards.verify.open_input", broken)
    assert troubles(folder) == {"00001_stats.json": ["cannot be read ([Errno 5] Input/output error)"]}


def test_a_tar_without_its_table_is_still_checked(folder: str) -> None:
    Path(folder, "00002.parquet").unlink()
    assert troubles(folder)["00002.tar"] == [
        f"{folder}/00002.parquet is not there: give its right path in the recipe, or run the stage that makes it"
    ]
    damage(folder, "00001", CUTS["cut inside a body"])
    Path(folder, "00001.parquet").unlink()
    assert "bytes, the manifest says" in troubles(folder)["00001.tar"][1]


# ── a writer that was wrong: every file is that of the manifest, but they do not fit each other ──


def certify(folder: str) -> None:
    """Write the manifest anew for the files as they are now."""
    manifest = read_manifest(folder)
    assert manifest is not None
    raw = {part.name: Path(folder, part.name).read_bytes() for part in manifest.parts}
    parts = tuple(
        replace(part, bytes=len(raw[part.name]), sha256=hashlib.sha256(raw[part.name]).hexdigest())
        for part in manifest.parts
    )
    write_manifest(folder, {"stage": "pack"}, [Receipt("shards", "all", "", parts, {})])


def swap(folder: str, suffix: str) -> None:
    one, other = (Path(folder, f"0000{shard}.{suffix}") for shard in range(2))
    one_was, other_was = one.read_bytes(), other.read_bytes()
    one.write_bytes(other_was)
    other.write_bytes(one_was)


def retable(folder: str, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    rows = [row for row in pq.read_table(f"{folder}/00000.parquet").to_pylist() if row["offset"] is not None]
    with publishing(f"{folder}/00000.parquet") as file:
        write_rows(file, SAMPLE, change(rows))


def test_tars_under_each_others_names_are_found(folder: str) -> None:
    swap(folder, "tar")
    certify(folder)
    assert all("samples are damaged or missing" in wrong[0] for wrong in troubles(folder).values())
    assert list(troubles(folder)) == ["00000.tar", "00001.tar"]
    swap(folder, "parquet")
    certify(folder)
    assert all("of its samples belong to other shards" in wrong[1] for wrong in troubles(folder).values())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda _: [],
            ["its table has 0 samples, the manifest says N", "is T bytes long, its samples end it at 10240"],
        ),
        (
            lambda rows: rows[:-1],
            ["its table has N-1 samples, the manifest says N", "is T bytes long, its samples end"],
        ),
        (lambda rows: rows[::-1], ["its table is not sorted by image_id", "N of N samples are damaged or missing"]),
        (lambda rows: [{**rows[0], "stored_sha256": bytes(32)}, *rows[1:]], ["1 of N samples are damaged or missing"]),
        (lambda rows: [{**rows[0], "xxh3": 1}, *rows[1:]], ["1 of N samples are damaged or missing"]),
        (lambda rows: [{**rows[0], "ext": "png"}, *rows[1:]], ["1 of N samples are damaged or missing"]),
        (lambda rows: [{**rows[0], "text_size": 3}, *rows[1:]], ["1 of N samples are damaged or missing"]),
        (lambda rows: [{**rows[0], "key": "0" * 32}, *rows[1:]], ["1 of N samples are damaged or missing"]),
        (lambda rows: [{**rows[0], "text_size": None}, *rows[1:]], ["its table has samples that it does not give"]),
    ],
)
def test_a_table_that_does_not_fit_its_tar_is_found(folder: str, change: Any, expected: list[str]) -> None:
    n = int(Shards(folder).sizes[0])
    size = Path(folder, "00000.tar").stat().st_size
    retable(folder, change)
    certify(folder)
    found = troubles(folder)
    assert list(found) == ["00000.tar"]
    for sentence, start in zip(found["00000.tar"], expected, strict=True):
        assert sentence.startswith(start.replace("N-1", str(n - 1)).replace("N", str(n)).replace("T", str(size)))


# ── the command ──


def test_wrong_use_has_status_2_and_says_so_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"verify: {tmp_path} is not a finished pack (no _manifest.json with shards): give the folder of one\n"
    )


@pytest.mark.parametrize("words", [[], ["verify"], ["polish", "."], ["verify", ".", "."]])
def test_words_that_are_no_command_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_a_damaged_manifest_is_said(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(folder, "_manifest.json").write_text("{")
    assert main(["verify", folder]) == 1
    assert "_manifest.json is damaged" in capsys.readouterr().err


def test_it_runs_as_a_module(folder: str) -> None:
    command = [sys.executable, "-m", "shards", "verify", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("are as they were packed\n")
