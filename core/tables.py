"""How every table of the project is declared (a schema with a name, a version, a unit or meaning a column) and read."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import Failure
from core.files import open_input, unreadable
from core.stores import is_io_error

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
    return _identity(schema)[0]


def check(schema: pa.Schema, expected: pa.Schema, where: str) -> None:
    """Raise Failure unless a file's schema is the expected table at the expected version."""
    found, wanted = _identity(schema), _identity(expected)
    if found != wanted:
        raise Failure(
            f"{where} holds {' version '.join(found)}, not {' version '.join(wanted)}: "
            "it was written by another version of openwit; run the stage that wrote it again"
        )


def _identity(schema: pa.Schema) -> tuple[str, str]:
    """Which table it is, and its version."""
    metadata = schema.metadata or {}
    return metadata.get(b"table", b"no table").decode(), metadata.get(b"schema_version", b"?").decode()


_PROVEN = re.compile(r"-([0-9a-f]{16})\.parquet$")  # how the names of parts end: with their digest


def read_table(path: str, schema: pa.Schema, columns: list[str] | None = None) -> pa.Table:
    """A whole part as an Arrow table, checked against its declared schema and the digest in its name."""
    with open_table(path, schema, whole=True) as file:
        return file.read(columns=columns)


def read_batches(path: str, schema: pa.Schema, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """A part as tables of thousands of rows, a row group each, checked in the same way."""
    with open_table(path, schema, whole=True) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns=columns)


@contextmanager
def open_table(path: str, schema: pa.Schema, whole: bool = False) -> Iterator[pq.ParquetFile]:
    """A part as a Parquet file, checked against its declared schema; Failure names it where it is damaged.

    With `whole` all of its bytes are held against the digest in its name, if that has one. Who reads a few of its rows
    goes without: a changed page is found by its own checksum.
    """
    with open_input(path) as source:
        if whole and (named := _PROVEN.search(path)):
            _prove(source, named[1], path)
        with _Part(path, source) as file:
            check(file.schema_arrow, schema, path)
            yield file


class _Part(pq.ParquetFile):
    """A Parquet file that names itself where it cannot be read. What the caller's block raises is not about it."""

    def __init__(self, path: str, source: BinaryIO) -> None:
        self._named = path
        with _failing(path):
            super().__init__(source, page_checksum_verification=True)

    def read(self, *words: Any, **named: Any) -> pa.Table:
        with _failing(self._named):
            return super().read(*words, **named)

    def read_row_group(self, *words: Any, **named: Any) -> pa.Table:
        with _failing(self._named):
            return super().read_row_group(*words, **named)


@contextmanager
def _failing(path: str) -> Iterator[None]:
    """Tell bytes that a disk or a store does not give from bytes that are not as they were written."""
    try:
        yield
    except Exception as error:
        if is_io_error(error):
            raise unreadable(path, error) from error
        if not isinstance(error, pa.ArrowInvalid | OSError):  # OSError: a page that does not decompress
            raise
        raise Failure(f"{path} is damaged ({error}): remove it and run the stage that wrote it again") from error


def _prove(file: BinaryIO, sha256: str, path: str) -> None:
    with _failing(path):
        found = hashlib.file_digest(cast(Any, file), "sha256").hexdigest()
    if not found.startswith(sha256):
        raise Failure(
            f"{path} is not as it was written (its sha256 begins with {found[:16]}): "
            "remove it and run the stage that wrote it again"
        )
    file.seek(0)
