import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import files
from core.errors import Failure
from core.files import (
    Pending,
    digest,
    filesystem,
    is_local,
    join,
    names_in,
    open_input,
    publish,
    publishing,
    read_bytes,
    remove,
    remove_all,
    to_json,
)

MiB = 1 << 20


# ── paths ──


@pytest.mark.parametrize(
    ("folder", "names", "path"),
    [
        ("out", ("a", "b.json"), "out/a/b.json"),
        ("/out/", ("a",), "/out/a"),
        ("s3://bucket/out/", ("a",), "s3://bucket/out/a"),
    ],
)
def test_join(folder: str, names: tuple[str, ...], path: str) -> None:
    assert join(folder, *names) == path


def test_local_and_other_paths(tmp_path: Path) -> None:
    assert is_local(str(tmp_path))
    assert is_local("relative/path")
    assert not is_local("memory://files/a")


def test_a_store_is_asked_side_by_side_and_nothing_is_set_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    assert filesystem("s3://bucket/x")[0].config_kwargs == {"max_pool_connections": 64}
    assert filesystem("simplecache::s3://bucket/x")[0].fs.config_kwargs == {"max_pool_connections": 64}
    assert "s3" not in fsspec.config.conf
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"max_pool_connections": 9}})
    assert filesystem("s3://bucket/x")[0].config_kwargs == {"max_pool_connections": 9}


@pytest.mark.parametrize("root", ["memory://files/names", "local"])
def test_names_and_removal(root: str, tmp_path: Path) -> None:
    folder = str(tmp_path / "names") if root == "local" else root
    assert names_in(folder) == []
    for name in ("b", "a", "c"):
        publish(join(folder, name), b"")
    assert names_in(folder) == ["a", "b", "c"]
    remove(join(folder, "b"))
    remove(join(folder, "b"))
    assert names_in(folder) == ["a", "c"]
    remove_all(folder, ["a", "b", "c"])
    assert names_in(folder) == []


@pytest.mark.parametrize("path", ["memory://files/nothing", "/nowhere/nothing"])
def test_a_missing_input_is_named(path: str) -> None:
    with pytest.raises(Failure, match=f"{path} is not there"):
        open_input(path)


# ── publishing ──


@pytest.mark.parametrize("root", ["memory://files/published", "local"])
def test_what_is_published_is_whole_and_knows_its_digest(root: str, tmp_path: Path) -> None:
    folder = str(tmp_path / "deep" / "er") if root == "local" else root
    with publishing(join(folder, "a")) as file:
        file.write(b"one ")
        file.write(memoryview(b"two"))
        assert "a" not in names_in(folder)
        assert file.tell() == 7
    assert read_bytes(join(folder, "a")) == b"one two"
    assert (file.length, file.sha256) == (7, hashlib.sha256(b"one two").hexdigest())
    publish(join(folder, "a"), b"new")
    assert read_bytes(join(folder, "a")) == b"new"
    assert names_in(folder) == ["a"]


@pytest.mark.parametrize("root", ["memory://files/failed", "local"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_there_is_nothing_or_what_was_there_before(
    root: str, error: type[BaseException], tmp_path: Path
) -> None:
    folder = str(tmp_path) if root == "local" else root
    publish(join(folder, "old"), b"old")
    for name in ("old", "new"):
        with pytest.raises(error), publishing(join(folder, name)) as file:
            file.write(b"half")
            raise error
    assert names_in(folder) == ["old"]
    assert read_bytes(join(folder, "old")) == b"old"


def test_a_name_without_a_folder_is_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    publish("plain", b"x")
    assert (tmp_path / "plain").read_bytes() == b"x"


def test_a_file_at_the_root_is_meant_for_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    class Seen(Exception):
        pass

    def see(folder: str) -> Pending:
        raise Seen(folder)

    monkeypatch.setattr(files, "Pending", see)
    with pytest.raises(Seen, match=r"^/$"):
        publish("/part", b"")


def test_a_name_is_given_late(tmp_path: Path) -> None:
    pending = Pending(str(tmp_path))
    pending.file.write(b"x")
    pending.place(f"part-{pending.file.sha256[:8]}")
    assert names_in(str(tmp_path)) == [f"part-{hashlib.sha256(b'x').hexdigest()[:8]}"]


def run(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)


def test_a_killed_writer_leaves_no_file_under_the_name(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from core.files import publishing
with publishing(sys.argv[1]) as file:
    file.write(b"x" * 100_000)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = run(code, str(tmp_path / "part"))
    assert done.returncode == -signal.SIGKILL
    assert [name.startswith(".tmp-") for name in names_in(str(tmp_path))] == [True]


@pytest.mark.parametrize(
    ("folder", "remedy"),
    [("{disk}", "move the recipe's run.out"), ("memory://files/full", "set TMPDIR to a folder of another disk")],
)
def test_no_room_is_one_sentence_and_leaves_nothing(folder: str, remedy: str, tmp_path: Path) -> None:
    code = """
import resource, sys
from core.errors import Failure
from core.files import publishing
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    with publishing(sys.argv[1]) as file:
        for _ in range(100):
            file.write(b"x" * 1000)
except Failure as failure:
    print(failure)
"""
    done = run(code, join(folder.format(disk=tmp_path), "part"))
    assert done.stdout.startswith(f"no room to write {gettempdir() if '://' in folder else tmp_path}")
    assert done.stdout.endswith(f": free some disk, or {remedy}, then run again\n")
    assert names_in(str(tmp_path)) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_at_the_end_is_said_too(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Failure, match=f"no room to write {tmp_path}/part: free some disk"):
        publish(str(tmp_path / "part"), b"x")
    assert names_in(str(tmp_path)) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"")
    with pytest.raises(Failure, match=rf"cannot write {tmp_path}/file/deeper \(Not a directory\): make its folder"):
        publish(str(tmp_path / "file" / "deeper" / "part"), b"")
    with pytest.raises(Failure, match=rf"cannot write {tmp_path}/folder \(Is a directory\)"):
        publish(str(tmp_path / "folder"), b"")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(Failure, match=rf"cannot write {tmp_path} \(Permission denied\)"):
        publish(str(tmp_path / "part"), b"")


def test_an_input_that_fails_is_not_taken_for_the_output(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), publishing(str(tmp_path / "part")):
        raise PermissionError(errno.EACCES, "an input of the caller")


# ── digests ──


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(JSON)
def test_a_value_has_one_json(value: Any) -> None:
    said = to_json(value)
    assert json.loads(said) == value
    assert to_json(json.loads(said)) == said


def test_a_name_that_is_not_utf_8_is_read_back_as_it_was() -> None:
    name = os.fsdecode(b"caf\xe9.warc")
    assert json.loads(to_json({name: [name]})) == {name: [name]}


def test_a_digest_depends_on_values_and_not_on_their_order() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert len({digest(), digest(1), digest("1"), digest([1]), digest(1, 1), digest([1, 1])}) == 6
    # Receipts hold these: when it changes, every finished task is done again.
    assert digest("filter", {"min_words": 3}) == "874a91268aefb341abe58a0148ce80fb2a6f6e13f96dbfd19c27f51d1fbebd47"
