"""Raw inputs: what identifies a file, what is remembered of it, and the proof of what was read of it."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import random
import time
from pathlib import Path

import fsspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core import inputs
from core.errors import Failure
from core.files import open_input
from core.inputs import SAMPLED_ABOVE, Memory, Reading, Source, digest_file, names_of, reading, stats_of

MIB = 1 << 20
LONG_AGO = time.time_ns() - 3600 * 10**9


def written(path: Path, data: bytes | bytearray, at: int = LONG_AGO) -> str:
    """A file with these bytes, written at that time (nanoseconds since 1970)."""
    path.write_bytes(data)
    os.utime(path, ns=(at, at))
    return str(path)


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def digests(memory: Memory, path: str) -> str:
    return memory.digests(stats_of([path]))[path]


# ── what identifies a file ──


def by_hand(size: int, blocks: list[bytes]) -> str:
    return hashlib.sha256(b"%d\n" % size + b"".join(blocks)).hexdigest()


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, 3 * MIB + 17])
def test_a_file_is_known_by_all_its_bytes(size: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    body = bytearray(hashlib.shake_256(b"body").digest(size))
    path.write_bytes(body)
    assert digest_file(str(path)) == by_hand(size, [bytes(body)])
    if size:
        before = digest_file(str(path))
        body[-1] ^= 1
        path.write_bytes(body)
        assert digest_file(str(path)) != before


def test_a_large_file_is_known_by_its_size_and_64_blocks(tmp_path: Path) -> None:
    size = 1000 * MIB + 5
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(size)
        file.write(b"first")
        file.seek(size - 4)
        file.write(b"last")
    first, last = b"first".ljust(MIB, b"\0"), b"last".rjust(MIB, b"\0")
    assert digest_file(str(path)) == by_hand(size, [first, *[bytes(MIB)] * 62, last])
    before = digest_file(str(path))
    for at in (0, (size - MIB) * 31 // 63, size - 1):  # in the first, a middle and the last block
        with path.open("r+b") as file:
            file.seek(at)
            file.write(b"?")
        assert digest_file(str(path)) != before
        before = digest_file(str(path))
    with path.open("ab") as file:
        file.truncate(size + 1)
    assert digest_file(str(path)) != before


def test_the_largest_file_that_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "SAMPLED_ABOVE", 2 * MIB)
    path = tmp_path / "file"
    path.write_bytes(bytes(2 * MIB))
    assert digest_file(str(path)) == by_hand(2 * MIB, [bytes(2 * MIB)])
    path.write_bytes(bytes(2 * MIB + 1))
    assert digest_file(str(path)) == by_hand(2 * MIB + 1, [bytes(MIB)] * 64)


def test_a_file_has_one_digest_wherever_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"same")
    fsspec.filesystem("memory").pipe_file("/files/same", b"same")
    assert digest_file(str(tmp_path / "file")) == digest_file("memory://files/same")


# ── what was read of it ──


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, 3 * MIB + 1, SAMPLED_ABOVE, SAMPLED_ABOVE + 1])
def test_what_is_read_in_order_is_digested_as_it_goes_by(tmp_path: Path, size: int) -> None:
    data = noise(size)
    path = written(tmp_path / "file", data)
    with reading(Source(path, digest_file(path))) as seen, open_input(path) as file:
        assert b"".join(iter(lambda: file.read(777_777), b"")) == data
        assert seen.sha256 == hashlib.sha256(data).hexdigest()  # already, before the block has ended
    assert seen.sample == digest_file(path)


def test_what_is_read_in_any_order_or_not_at_all_is_digested_too(tmp_path: Path) -> None:
    data, chance = noise(SAMPLED_ABOVE + 12_345), random.Random(1)
    path = written(tmp_path / "file", data)
    with reading(Source(path, digest_file(path))) as seen:
        for _ in range(3):  # as one who sniffs, reads a footer, and reads some columns
            with open_input(path) as file:
                for _ in range(20):
                    start = chance.randrange(len(data))
                    file.seek(start)
                    assert file.read(1000) == data[start : start + 1000]
    assert seen.sha256 == hashlib.sha256(data).hexdigest() and seen.sample == digest_file(path)


def test_a_file_that_is_not_the_promised_one_is_a_failure(tmp_path: Path) -> None:
    path = written(tmp_path / "file", b"before")
    source = Source(path, digest_file(path))
    written(tmp_path / "file", b"after!")
    with pytest.raises(Failure, match="file was changed after this stage had begun"), reading(source):
        Path(path).read_bytes()


def test_a_file_that_grows_while_it_is_read_is_a_failure(tmp_path: Path) -> None:
    path = written(tmp_path / "file", noise(1000))
    with pytest.raises(Failure, match="was changed"), reading(Source(path, digest_file(path))):
        with open_input(path) as file:
            file.read()
        with Path(path).open("ab") as more:
            more.write(b"more")


@pytest.mark.parametrize("restored", [False, True])
def test_who_reads_twice_reads_the_same_twice(tmp_path: Path, restored: bool) -> None:
    """The first look may be at all of a file; what is made of it comes of the second."""
    data = noise(3 * MIB + 5)
    path = written(tmp_path / "file", data)
    with pytest.raises(Failure, match="was changed"), reading(Source(path, digest_file(path))):
        with open_input(path) as file:
            assert file.read() == data
        written(tmp_path / "file", data[: 2 * MIB] + b"other" + data[2 * MIB + 5 :])
        with open_input(path) as file:
            file.read()
        if restored:
            written(tmp_path / "file", data)


def test_what_was_read_before_it_was_digested_is_held_against_that(tmp_path: Path) -> None:
    """As of a Parquet file, of which the footer comes first."""
    data = noise(3 * MIB + 5)
    path = written(tmp_path / "file", data[:-5] + b"wrong")
    with (
        pytest.raises(Failure, match="was changed"),
        reading(Source(path, digest_file(written(tmp_path / "of", data)))),
    ):
        with open_input(path) as file:
            file.seek(-5, io.SEEK_END)
            assert file.read() == b"wrong"
        written(tmp_path / "file", data)


def test_a_file_that_is_gone_when_its_turn_comes_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "file", b"there")
    source = Source(path, digest_file(path))
    Path(path).unlink()
    with pytest.raises(Failure, match=r"file cannot be looked at \(No such file"), reading(source):
        pass


DATA = random.Random(7).randbytes(4 * MIB + 99)


@pytest.fixture(scope="module")
def long_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(tmp_path_factory.mktemp("long") / "file", DATA)


MOVES = st.tuples(
    st.integers(0, 3000),  # bytes to read
    st.sampled_from([io.SEEK_SET, io.SEEK_CUR, io.SEEK_END]),
    st.integers(-5 * MIB, 5 * MIB),
)


@given(st.lists(MOVES, max_size=12))
@example([(0, io.SEEK_SET, 500_000), (1, io.SEEK_SET, 10), (100, io.SEEK_CUR, 2_000_000), (9, io.SEEK_SET, 0)])
def test_a_file_is_read_and_moved_in_as_any_other(long_file: str, moves: list[tuple[int, int, int]]) -> None:
    expected = io.BytesIO(DATA)
    with Reading(long_file).watch(io.BytesIO(DATA)) as file:
        for size, whence, offset in moves:
            assert file.read(size) == expected.read(size)
            start = {io.SEEK_SET: 0, io.SEEK_CUR: expected.tell(), io.SEEK_END: len(DATA)}[whence]
            offset = max(offset, -start)
            assert file.seek(offset, whence) == expected.seek(offset, whence) == file.tell()


class Broken(io.BytesIO):
    """A file of a disk that fails."""

    def read(self, size: int | None = -1, /) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_file_that_cannot_be_read_on_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "file", b"lost")
    with (
        Reading(path).watch(Broken()) as file,
        pytest.raises(Failure, match=r"file cannot be read .*Input/output error"),
    ):
        file.read(1)


# ── what is remembered of it ──


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were written a moment ago count as old ones, for nobody can set back the time of an inode."""
    monkeypatch.setattr(inputs, "_SETTLED", -1)


def test_a_file_with_the_same_size_and_times_is_not_read_again(settled: None, tmp_path: Path) -> None:
    memory, path = Memory({}), written(tmp_path / "file", b"one")
    assert digests(memory, path) == digest_file(path) and memory.is_new
    ((key, known),) = memory.known.items()
    again = Memory({key: {**known, "digest": "as remembered"}})
    assert digests(again, path) == "as remembered" and not again.is_new
    written(tmp_path / "file", b"two")  # with the same size, and the time of before set by hand
    assert digests(again, path) == digest_file(path)


def test_a_file_that_was_just_written_is_read_again(tmp_path: Path) -> None:
    memory, path = Memory({}), written(tmp_path / "file", b"one", time.time_ns())
    digests(memory, path)
    ((key, known),) = memory.known.items()
    assert digests(Memory({key: {**known, "digest": "as remembered"}}), path) == digest_file(path)


@pytest.mark.parametrize("is_known", [True, False])
def test_a_byte_that_the_sample_leaves_out_is_seen_to_have_changed(
    settled: None, tmp_path: Path, is_known: bool
) -> None:
    data = bytearray(noise(SAMPLED_ABOVE + 4 * MIB))
    memory, path = Memory({}), written(tmp_path / "file", data)
    first = digests(memory, path)
    if is_known:  # a task has read all of it since
        memory.learn(path, hashlib.sha256(data).hexdigest())
        os.utime(path, ns=(LONG_AGO + 1, LONG_AGO + 1))
        assert digests(memory, path) == first  # it was touched, and holds what it held
    data[MIB + 10] ^= 1
    written(tmp_path / "file", data, LONG_AGO + 2)
    assert digest_file(path) == memory.known[next(iter(memory.known))]["sample"]
    changed = digests(memory, path)
    assert changed != first
    assert digests(Memory(memory.known), path) == changed
    with reading(Source(path, changed)):
        pass
    with pytest.raises(Failure, match="was changed"), reading(Source(path, hashlib.sha256(b"").hexdigest())):
        pass


def test_what_is_no_input_any_longer_is_forgotten(tmp_path: Path) -> None:
    memory, paths = Memory({}), [written(tmp_path / name, b"x") for name in ("one", "two")]
    memory.digests(stats_of(paths))
    memory.digests(stats_of(paths[1:]))
    assert len(memory.known) == 1


def test_no_password_is_remembered(tmp_path: Path) -> None:
    memory, path = Memory({}), written(tmp_path / "secret", b"x")
    digests(memory, path)
    assert "secret" not in str(memory.known)


# ── names ──


def test_a_name_is_fit_for_files_and_tables() -> None:
    hidden = Source("/data/.tmp-1.warc.gz", "0" * 64)
    assert hidden.name == ".tmp-1.warc.gz" and hidden.id.startswith("tmp-1.warc.gz-")
    latin = os.fsdecode("/data/caf\xe9.warc".encode("latin-1"))
    assert Source(latin, "0" * 64).name == r"caf\xe9.warc" and Source(latin, "0" * 64).name.encode()
    other = os.fsdecode("/data/caf\xe8.warc".encode("latin-1"))
    assert len({*names_of([latin, other]).values()}) == 2
