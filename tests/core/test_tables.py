import errno
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import Failure
from core.tables import ID, check, declare, name_of, open_table, read_batches, read_table

TABLE = declare("thing", 2, {"id": (ID, "its id"), "size": (pa.int64(), "bytes | null")})
NUMBERS = declare("numbers", 3, {"n": (pa.int64(), "any"), "word": (pa.string(), "any | null")})


# ── schemas ──


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


# ── files ──


@pytest.fixture
def part(tmp_path: Path) -> str:
    path = str(tmp_path / "part.parquet")
    rows = pa.table({"n": range(100), "word": ["a", None] * 50}).cast(NUMBERS)
    with pq.ParquetWriter(path, NUMBERS, write_page_checksum=True) as writer:
        writer.write_table(rows, row_group_size=30)
    return path


def test_a_part_is_read_whole_or_by_row_groups(part: str) -> None:
    assert read_table(part, NUMBERS)["n"].to_pylist() == list(range(100))
    assert read_table(part, NUMBERS, ["word"]).column_names == ["word"]
    batches = list(read_batches(part, NUMBERS, ["n"]))
    assert [batch.num_rows for batch in batches] == [30, 30, 30, 10]
    assert pa.concat_tables(batches)["n"].to_pylist() == list(range(100))


def test_a_folder_that_is_named_like_a_part_promises_nothing(part: str, tmp_path: Path) -> None:
    folder = tmp_path / "of-0123456789abcdef.parquet"
    folder.mkdir()
    moved = Path(part).rename(folder / "part.parquet")
    assert read_table(str(moved), NUMBERS).num_rows == 100


def test_a_part_of_another_table_or_version_is_refused(part: str) -> None:
    newer = declare("numbers", 4, {"n": (pa.int64(), "any")})
    for schema in (newer, declare("letters", 3, {"n": (pa.int64(), "any")})):
        with pytest.raises(Failure, match=f"{part} holds numbers version 3, not"):
            read_table(part, schema)
        with pytest.raises(Failure, match=f"{part} holds numbers version 3, not"):
            list(read_batches(part, schema))


@pytest.mark.parametrize("left", [0, 3, 200, -1])
def test_a_truncated_part_is_named(part: str, left: int) -> None:
    raw = Path(part).read_bytes()
    Path(part).write_bytes(raw[:left])
    with pytest.raises(Failure, match=f"{part} is damaged"):
        read_table(part, NUMBERS)


def test_a_flipped_bit_in_a_page_is_seen(part: str) -> None:
    raw = bytearray(Path(part).read_bytes())
    about = pq.ParquetFile(part).metadata.row_group(1).column(0)
    raw[about.data_page_offset + about.total_compressed_size - 9] ^= 1
    Path(part).write_bytes(raw)
    with pytest.raises(Failure, match=f"{part} is damaged"):
        read_table(part, NUMBERS)


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"part\.parquet is not there"):
        read_table(str(tmp_path / "part.parquet"), NUMBERS)


# ── what cannot be read ──


@pytest.fixture
def misnamed(part: str) -> str:
    """A part whose name carries another digest."""
    return str(Path(part).rename(part.replace(".parquet", "-0123456789abcdef.parquet")))


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
    misnamed: str, whole: bool, error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Failing(error)
    monkeypatch.setattr("core.tables.open_input", lambda path: file)
    with (
        pytest.raises(Failure, match=f"{misnamed} cannot be read .*run the same command again"),
        open_table(misnamed, NUMBERS, whole),
    ):
        pytest.fail("it was opened")
    assert file.closed


def test_an_error_of_the_caller_is_not_the_files(part: str) -> None:
    with pytest.raises(OSError, match="the caller's disk is full"), open_table(part, NUMBERS) as file:
        assert file.read().num_rows == 100
        raise OSError(errno.ENOSPC, "the caller's disk is full")


def test_a_file_whose_digest_is_wrong_is_closed(misnamed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO(Path(misnamed).read_bytes())
    monkeypatch.setattr("core.tables.open_input", lambda path: file)
    with pytest.raises(Failure, match="is not as it was written"):
        read_table(misnamed, NUMBERS)
    assert file.closed
