"""Rows of Parquet, in batches that are bounded by bytes, whatever the row groups are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.files import open_input
from pipeline.inputs.urltables.tablefile import Damaged, TableFile

_BYTES = 4 << 20  # of a batch, as far as the file says how large its rows are
_ROWS = 512  # in a batch: a dictionary may hold rows of a megabyte that the file says nothing of
_BUFFER = 1 << 20  # bytes read at a time of a column: else a column of a row group is read whole


def names(table: TableFile) -> list[str]:
    """The columns of the table; Damaged where it has no footer."""
    with open_input(table.path) as file:
        try:
            return list(pq.read_schema(file).names)
        except (pa.ArrowException, OSError) as error:
            raise Damaged(error, table.path) from error


def batches(table: TableFile) -> Iterator[list[list[Any]]]:
    """The columns of some rows after the other, as Python has their values; Damaged where a page is."""
    with open_input(table.path) as file:
        try:
            with pq.ParquetFile(file, buffer_size=_BUFFER) as parquet:
                for batch in parquet.iter_batches(batch_size=_batch_rows(parquet.metadata)):
                    columns = [_values(column) for column in batch.columns]
                    yield columns
        except (pa.ArrowException, OSError) as error:
            raise Damaged(error, table.path) from error


def _batch_rows(metadata: pq.FileMetaData) -> int:
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    row = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
    return int(max(1, min(_ROWS, _BYTES // max(row, 1))))


def _values(column: pa.Array) -> list[Any]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _values(column.cast(kind.value_type, safe=False))
    if pa.types.is_timestamp(kind):
        utc = column.cast(pa.timestamp(kind.unit, "UTC" if kind.tz else None))
        return [text and _time(text) for text in utc.cast(pa.string()).to_pylist()]
    try:
        return list(column.to_pylist())
    except _ODD:
        return [_value(scalar) for scalar in column]


# Texts that are no UTF-8, of writers that do not look at what they mark as text; times that Python does not have.
_ODD = (ValueError, OverflowError, pa.ArrowException)


class _Unreadable:
    """Stands for a value that Python has no form for."""


def _time(text: str) -> str | _Unreadable:
    return _Unreadable() if text.startswith("<") else text.replace(" ", "T")  # <value out of range: …>


def _value(scalar: pa.Scalar) -> Any:
    """A value of which some part may have no form in Python: that part alone is replaced."""
    kind = scalar.type
    if not scalar.is_valid:
        return None
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return scalar.as_buffer().to_pybytes().decode("utf-8", "replace")
    if pa.types.is_dictionary(kind):
        return _value(scalar.value)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return [_value(item) for item in scalar.values]
    if pa.types.is_map(kind):
        return [(_value(item["key"]), _value(item["value"])) for item in scalar.values]
    if pa.types.is_struct(kind):
        return {field.name: _value(scalar[i]) for i, field in enumerate(kind)}
    try:
        return scalar.as_py()
    except _ODD:
        return _Unreadable()
