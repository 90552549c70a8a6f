"""How every table of the project is declared (a schema with a name, a version, a unit or meaning a column) and read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import Failure
from core.files import open_input

ID = pa.binary(16)  # image_id and pair_id: the first 16 bytes of a sha256


def declare(name: str, version: int, columns: Mapping[str, tuple[pa.DataType, str]]) -> pa.Schema:
    """A schema whose metadata says what it is: `{b"table": name, b"schema_version": version}`.

    Each column comes as (type, meaning); a meaning that ends in "| null" marks the column as nullable.
    """
    fields = [
        pa.field(column, type_, nullable=meaning.endswith("| null"), metadata={"meaning": meaning})
        for column, (type_, meaning) in columns.items()
    ]
    return pa.schema(fields, metadata={"table": name, "schema_version": str(version)})


def name_of(schema: pa.Schema) -> str:
    """The table's name, as `declare` was given it."""
    return _said(schema)[0]


def check(schema: pa.Schema, expected: pa.Schema, where: str) -> None:
    """Raise Failure unless a file's schema is the expected table at the expected version."""
    found, wanted = _said(schema), _said(expected)
    if found != wanted:
        raise Failure(
            f"{where} holds {' version '.join(found)}, not {' version '.join(wanted)}: "
            "it was written by another version of openwit; run the stage that wrote it again"
        )


def _said(schema: pa.Schema) -> tuple[str, str]:
    metadata = schema.metadata or {}
    return metadata.get(b"table", b"no table").decode(), metadata.get(b"schema_version", b"?").decode()


def read_table(path: str, schema: pa.Schema, columns: list[str] | None = None) -> pa.Table:
    """A whole part as an Arrow table, checked against its declared schema."""
    with open_table(path, schema) as file:
        return file.read(columns=columns)


def read_batches(path: str, schema: pa.Schema, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """A part as tables of thousands of rows, a row group each."""
    with open_table(path, schema) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns=columns)


@contextmanager
def open_table(path: str, schema: pa.Schema) -> Iterator[pq.ParquetFile]:
    """A part as a Parquet file, checked against its declared schema; Failure names it where it is damaged."""
    source = open_input(path)
    try:
        with source, pq.ParquetFile(source, page_checksum_verification=True) as file:
            check(file.schema_arrow, schema, path)
            yield file
    except (pa.ArrowInvalid, OSError) as error:  # OSError is what pyarrow raises for a page that does not decompress
        raise Failure(f"{path} is damaged ({error}): remove it and run the stage that wrote it again") from error
