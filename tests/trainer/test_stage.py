"""What train and eval share: one run at a time, room on the disk, and how far they are."""

import contextlib
import fcntl
import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.progress import Progress

from shards.errors import Failure, UsageError
from shards.recipe import Recipe
from trainer import progress, stage
from trainer.progress import Watch

Usage = namedtuple("Usage", ["total", "used", "free"])


def test_a_second_run_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    with stage.alone(str(tmp_path / "a"), "train"), (tmp_path / "a/_lock").open() as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(Failure, match="train is already running on .*/a: wait for it"), again(tmp_path):
            pass
    with again(tmp_path):
        pass


def again(folder: Path) -> contextlib.AbstractContextManager[None]:
    return stage.alone(str(folder / "a"), "train")


def test_what_a_killed_run_left_half_written_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".tmp-abc").write_bytes(b"half")
    (tmp_path / "checkpoint-00000001.pt").write_bytes(b"whole")
    with stage.alone(str(tmp_path), "train"):
        assert {path.name for path in tmp_path.iterdir()} == {"_lock", "checkpoint-00000001.pt"}


def test_a_disk_without_room_is_said_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 40, 0, 300 << 20))
    with stage.alone(str(tmp_path), "train", room=44 << 20):
        pass
    with (
        pytest.raises(Failure, match=r"only 300 MiB are free on the disk of .* \(301 MiB at the least\)"),
        stage.alone(str(tmp_path), "train", room=45 << 20),
    ):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(Failure, match=r"cannot write .*/file/7_train \(Not a directory\)"),
        stage.alone(f"{tmp_path}/file/7_train", "train"),
    ):
        pass


def test_a_key_that_matches_several_files_is_an_error(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.gz").write_bytes(b"")
    recipe = Recipe("r.toml", {})
    assert stage.source(recipe, "train.merges", f"{tmp_path}/a*.gz") == f"{tmp_path}/a.gz"
    with pytest.raises(UsageError, match=r"r\.toml: train\.merges matches 2 files: name one"):
        stage.source(recipe, "train.merges", f"{tmp_path}/*.gz")


def test_counts_balance_and_name_only_what_was_dropped() -> None:
    assert stage.counted(5, held_out=2, over=0) == {"in": 7, "kept": 5, "dropped": {"held_out": 2}}


# ── progress ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    yield now


def said(text: str) -> list[str]:
    return [line.split(" ")[1] for line in text.splitlines()]


def test_a_line_whenever_the_count_doubled_or_a_minute_passed(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Watch("train", "steps", 2000) as watch:
        for done in range(1, 101):
            watch.at(done, "loss 1.000")
            clock[0] += 1.0 if done > 64 else 0.0
    text = capsys.readouterr().out
    assert text.splitlines()[0] == "train: 1/2,000 steps, loss 1.000"
    assert said(text) == ["1/2,000", "2/2,000", "4/2,000", "8/2,000", "16/2,000", "32/2,000", "64/2,000"]
    with Watch("train", "steps", 2000, done=1000) as watch:
        for done in range(1001, 1200):
            clock[0] += 1.0
            watch.at(done)
    assert said(capsys.readouterr().out) == ["1,060/2,000", "1,120/2,000", "1,180/2,000"]


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    notes: list[str] = []
    monkeypatch.setattr(progress.sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(Progress, "update", lambda self, task, completed, note: notes.append(f"{completed} {note}"))
    with Watch("train", "steps", 3) as watch:
        watch.at(1, "a")
        watch.at(2, "b")
    assert notes == ["1 a", "2 b"]
    assert "train: " not in capsys.readouterr().out
