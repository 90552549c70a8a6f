"""How every table of the project is declared: a schema with a name, a version, and a unit or meaning a column."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from core.errors import Failure

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
