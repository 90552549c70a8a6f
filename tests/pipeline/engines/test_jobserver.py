"""What job servers leave in the temporary folder is removed by the next one, once their owners are dead."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from pipeline.engines.jobserver import _own, remove_left_behind


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def started(temporary: Path, engine: str = "spark") -> tuple[subprocess.Popen[bytes], Path]:
    """A process that holds a folder as its owner does, and the folder."""
    folder = Path(tempfile.mkdtemp(prefix=f"openwit-{engine}-"))
    owner = _own(folder)
    (folder / "log.txt").write_text("why it failed")
    (folder / "blocks").mkdir()
    (folder / "blocks" / "shuffled").write_text("gigabytes")
    process = subprocess.Popen(["sleep", "600"], pass_fds=[owner])
    os.close(owner)
    return process, folder


def ended(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("engine", ["spark", "flink"])
def test_what_a_dead_owner_left_is_removed_and_what_a_living_one_uses_stays(temporary: Path, engine: str) -> None:
    living, used = started(temporary, engine)
    dead, left = started(temporary, engine)
    ended(dead)
    whole = names(used)
    try:
        remove_left_behind()
        assert names(used) == whole == ["blocks", "blocks/shuffled", "log.txt", "owner"]
        assert names(left) == ["log.txt", "owner"], "the log may be why somebody looks"
    finally:
        ended(living)
    os.utime(left / "log.txt", (0, 0))
    remove_left_behind()
    assert names(temporary) == [used.name, f"{used.name}/log.txt", f"{used.name}/owner"]


def test_what_is_not_known_to_be_left_stays(temporary: Path, tmp_path: Path) -> None:
    dead, left = started(temporary)
    ended(dead)
    os.utime(left / "log.txt", (0, 0))
    elsewhere = tmp_path / "elsewhere"
    left.rename(elsewhere)
    (temporary / "openwit-spark-link").symlink_to(elsewhere)
    for name in ("openwit-spark-unmarked", "openwit-worker-1", "openwit-other-1", "openwit-spark-fooled"):
        (temporary / name / "blocks").mkdir(parents=True)
    (temporary / "openwit-spark-fooled" / "owner").symlink_to(elsewhere / "owner")
    (temporary / "openwit-spark-file").touch()
    before = names(temporary), names(elsewhere)
    remove_left_behind()
    assert (names(temporary), names(elsewhere)) == before


def test_a_link_within_is_not_followed(temporary: Path, tmp_path: Path) -> None:
    dead, left = started(temporary)
    ended(dead)
    (tmp_path / "mine" / "data").mkdir(parents=True)
    (left / "link").symlink_to(tmp_path / "mine")
    (left / "blocks" / "link").symlink_to(tmp_path / "mine")
    remove_left_behind()
    assert names(left) == ["log.txt", "owner"]
    assert (tmp_path / "mine" / "data").is_dir()


def test_folders_of_other_users_stay(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead, left = started(temporary)
    ended(dead)
    before, uid = names(left), os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    remove_left_behind()
    assert names(left) == before
