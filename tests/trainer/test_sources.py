"""Which shards a recipe means, and their bytes wherever they lie."""

import gzip
import threading
import time
from pathlib import Path

import fsspec
import pytest

from core.errors import UsageError
from tests import stores
from tests.trainer.others import img2dataset_folder, web
from trainer import sources
from trainer.sources import ShardError, name_of, opened, shards_in


def found(*sources: str) -> list[str]:
    return [shard.rpartition("/")[2] for shard in shards_in(sources, "recipes/a.toml", "train.shards")]


def read(shard: str) -> bytes:
    with opened(shard, threading.Event()) as file:
        parts = []
        while data := file.read(1000):
            parts.append(data)
    return b"".join(parts)


# ── which ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return img2dataset_folder(tmp_path_factory.mktemp("others") / "data", each=4)


@pytest.mark.parametrize("word", ["", "/", "/*.tar", "/{00000..00002}.tar", "/{00000,0000[12]}.tar"])
def test_a_folder_a_pattern_and_a_range_stand_for_their_tars(folder: Path, word: str) -> None:
    assert found(f"{folder}{word}") == ["00000.tar", "00001.tar", "00002.tar"]


def test_compressed_tars_in_a_folder_are_not_left_out(tmp_path: Path) -> None:
    for name in ("1.tar", "2.tar.gz", "3.tgz", "4.parquet"):
        (tmp_path / name).write_bytes(b"")
    assert found(str(tmp_path)) == ["1.tar", "2.tar.gz", "3.tgz"]
    (tmp_path / "1.tar").unlink()
    assert found(str(tmp_path)) == ["2.tar.gz", "3.tgz"]
    (tmp_path / "3.tar.gz").write_bytes(b"")
    with pytest.raises(UsageError, match=r"train.shards has .*3\.tar\.gz and .*3\.tgz, which look like one"):
        found(str(tmp_path))


def test_words_are_put_together_and_a_shard_is_read_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OTHERS", str(folder))
    assert found("${OTHERS}/00002.tar", str(folder), f"{folder}/00001.tar") == ["00002.tar", "00000.tar", "00001.tar"]
    (tmp_path / "a{1,2}.tar").write_bytes(b"")
    assert found(f"{tmp_path}/a{{1,2}}.tar") == ["a{1,2}.tar"]  # what is there under its very name


def test_what_a_web_server_or_a_command_gives_is_not_asked_for_yet() -> None:
    assert shards_in(["https://other.test/{08..11}.tar?key=1"], "a.toml", "train.shards") == [
        f"https://other.test/{number}.tar?key=1" for number in ("08", "09", "10", "11")
    ]
    assert shards_in(["pipe:cat x{0..1}.tar | head -c 9"], "a.toml", "train.shards") == [
        "pipe:cat x0.tar | head -c 9",
        "pipe:cat x1.tar | head -c 9",
    ]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("{folder}/{{00000..00004}}.tar", r"train.shards names .*0000[34]\.tar, which is not there"),
        ("{folder}/{{00000..00004.tar", "correct the range"),
        ("{folder}/nothing", "which is not there"),
        ("{folder}/..", r"\*\.tar, which is not there"),
        ("pipe:cat {{0..1", "correct the range"),
        ("{folder}/00000.tar::{folder}/00001.tar", "has several sources: give each as an entry of its own"),
        ("pipe:cat a.tar::pipe:cat b.tar", "has several sources"),
        ("ftp://127.0.0.1:9/x.tar", r"which cannot be looked for \(ConnectionRefusedError"),
    ],
)
def test_a_word_that_stands_for_nothing_is_an_error(folder: Path, word: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        found(word.format(folder=folder))


@pytest.mark.parametrize("sources", [[], [""], ["x.tar", " "], ["pipe: "]])
def test_no_word_at_all_is_an_error(sources: list[str]) -> None:
    with pytest.raises(UsageError, match=r"a.toml: train.shards is empty, or has an empty entry: name shards"):
        shards_in(sources, "a.toml", "train.shards")


# ── their bytes ───────────────────────────────────────────────────────────────────────────────────


def test_a_file_is_read_and_gzip_is_undone(folder: Path, tmp_path: Path) -> None:
    data = (folder / "00000.tar").read_bytes()
    assert read(f"{folder}/00000.tar") == data
    packed = tmp_path / "a.tar.gz"
    packed.write_bytes(gzip.compress(data))
    assert read(str(packed)) == data
    packed.write_bytes(gzip.compress(data)[:-200])
    with pytest.raises(ShardError) as cut:
        read(str(packed))
    assert cut.value.reason == "shard_cut"
    packed.write_bytes(b"\x1f\x8b" + bytes(1000))
    with pytest.raises(ShardError) as broken:
        read(str(packed))
    assert broken.value.reason == "shard_damaged"


def test_a_store_is_read_by_fsspec(folder: Path, moto: str) -> None:
    with stores.used(moto):
        bucket = stores.new_bucket()
        fsspec.filesystem("s3").put(f"{folder}/", f"s3://{bucket}/set/", recursive=True)
        expected = [f"s3://{bucket}/set/0000{i}.tar" for i in range(3)]
        for word in ("set", "set/", "set/*.tar", "set/{00000..00002}.tar"):
            assert shards_in([f"s3://{bucket}/{word}"], "a.toml", "train.shards") == expected
        assert read(expected[1]) == (folder / "00001.tar").read_bytes()
        with pytest.raises(ShardError) as missing:
            read(f"s3://{bucket}/set/00009.tar")
        assert missing.value.reason == "shard_unreadable"


def test_a_web_server_that_hangs_up_is_asked_for_the_rest(folder: Path) -> None:
    with web(folder) as server:
        server.hang_up_after = [7_000]
        assert read(f"{server.url}/00000.tar") == (folder / "00000.tar").read_bytes()
        assert server.asked == [("/00000.tar", ""), ("/00000.tar", "bytes=7000-")]


def test_a_web_server_that_gives_no_rest_is_an_error_and_no_short_shard(folder: Path) -> None:
    with web(folder) as server:
        server.hang_up_after, server.ranges = [7_000], False
        with pytest.raises(ShardError, match="hung up after 7,000 bytes"):
            read(f"{server.url}/00000.tar")


def test_a_url_may_have_spaces_and_letters(tmp_path: Path) -> None:
    (tmp_path / "a b é%20.tar").write_bytes(b"some bytes")
    with web(tmp_path) as server:
        assert read(f"{server.url}/a b é%2520.tar") == b"some bytes"


def test_what_a_web_server_does_not_have_is_asked_for_once(folder: Path) -> None:
    with web(folder) as server:
        with pytest.raises(ShardError, match="404") as missing:
            read(f"{server.url}/00009.tar")
        assert missing.value.reason == "shard_unreadable" and len(server.asked) == 1


def test_a_command_is_read_and_its_failure_is_an_error(folder: Path) -> None:
    data = (folder / "00000.tar").read_bytes()
    assert read(f"pipe:cat {folder}/00000.tar | cat") == data
    with pytest.raises(ShardError, match="exit status 3") as failed:
        read(f"pipe:head -c 2000 {folder}/00000.tar; exit 3")
    assert failed.value.reason == "shard_unreadable"


def test_a_command_that_is_left_early_is_gone_with_what_it_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with opened(f"pipe:(echo $BASHPID; sh -c 'echo $$ > {pid}; exec sleep 600') | cat", threading.Event()) as file:
        file.read(1)
        while not pid.exists() or not pid.read_text().strip():
            time.sleep(0.01)
    deadline = time.monotonic() + 10
    while is_running(int(pid.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_nobody_waits_for_a_command_that_says_nothing_once_told_to_stop() -> None:
    stop = threading.Event()
    timer = threading.Timer(0.1, stop.set)
    timer.start()
    began = time.monotonic()
    with pytest.raises(ShardError, match="reading was stopped"), opened("pipe:exec sleep 600", stop):
        pass
    timer.join()
    assert time.monotonic() - began < 60


def test_a_command_that_says_nothing_for_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PATIENCE", 0.2)
    with pytest.raises(ShardError, match="wrote nothing for"), opened("pipe:exec sleep 600", threading.Event()):
        pass


def test_a_user_is_known_to_the_server_and_to_no_message(folder: Path) -> None:
    with web(folder) as server:
        url = server.url.replace("http://", "http://user:a%40secret@")
        assert read(f"{url}/00000.tar") == (folder / "00000.tar").read_bytes()
        assert server.users == ["Basic dXNlcjphQHNlY3JldA=="]
        with pytest.raises(ShardError) as error:
            read(f"{url}/00009.tar?signature=secret")
        assert "secret" not in f"{error.value} {name_of(f'{url}/00009.tar?signature=secret')}"
