import pyarrow as pa
import pytest

from core.errors import Failure
from core.tables import ID, check, declare, name_of

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
