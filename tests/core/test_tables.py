import errno
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import Failure
from core.tables import ID, check, declare, name_of, open_table, read_table

TABLE = declare("thing", 2, {"id": (ID, "its id"), "size": (pa.int64(), "bytes | null")})


def test_a_declared_table_says_what_it_is() -> None:
    assert TABLE.names == ["id", "size"]
    assert TABLE.types == [pa.binary(16), pa.int64()]
    assert [field.nullable for field in TABLE] == [False, True]
    assert TABLE.metadata == {b"table": b"thing", b"schema_version": b"2"}
    assert TABLE.field("size").metadata == {b"meaning": b"bytes | null"}
    assert name_of(TABLE) == "thing"


def test_a_file_of_the_table_passes() -> None:
    check(TABLE, declare("thing", 2, {}), "here")


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (declare("thing", 1, {}), "here holds thing version 1, not thing version 2"),
        (declare("other", 2, {}), "here holds other version 2, not thing version 2"),
        (pa.schema({"id": ID}), "here holds no table version ?, not thing version 2"),
    ],
)
def test_any_other_file_is_refused(found: pa.Schema, sentence: str) -> None:
    with pytest.raises(Failure) as failure:
        check(found, TABLE, "here")
    assert str(failure.value).startswith(sentence)
    assert "run the stage that wrote it again" in str(failure.value)


# ── what cannot be read ──


NUMBERS = declare("number", 1, {"n": (pa.int64(), "a number")})


@pytest.fixture
def part(tmp_path: Path) -> str:
    path = str(tmp_path / "part-0123456789abcdef.parquet")
    with pq.ParquetWriter(path, NUMBERS) as writer:
        writer.write_table(pa.table([range(100)], schema=NUMBERS))
    return path


class Failing(io.RawIOBase):
    """A file of a store that gives no byte."""

    def __init__(self, error: OSError) -> None:
        self._error = error

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return 1000 if whence == io.SEEK_END else offset

    def tell(self) -> int:
        return 1000

    def readinto(self, buffer: object) -> int:
        raise self._error


@pytest.mark.parametrize("whole", [True, False], ids=["digested", "parsed"])
@pytest.mark.parametrize(
    "error", [ConnectionResetError("the store has gone"), OSError(errno.EIO, "Input/output error"), TimeoutError()]
)
def test_what_a_store_does_not_give_is_not_damaged(
    part: str, whole: bool, error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Failing(error)
    monkeypatch.setattr("core.tables.open_input", lambda path: file)
    with (
        pytest.raises(Failure, match=f"{part} cannot be read .*run the same command again"),
        open_table(part, NUMBERS, whole),
    ):
        pytest.fail("it was opened")
    assert file.closed


def test_an_error_of_the_caller_is_not_the_files(part: str) -> None:
    with pytest.raises(OSError, match="the caller's disk is full"), open_table(part, NUMBERS) as file:
        assert file.read().num_rows == 100
        raise OSError(errno.ENOSPC, "the caller's disk is full")


def test_a_file_whose_digest_is_wrong_is_closed(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO(Path(part).read_bytes())
    monkeypatch.setattr("core.tables.open_input", lambda path: file)
    with pytest.raises(Failure, match="is not as it was written"):
        read_table(part, NUMBERS)
    assert file.closed
