"""Tables of image URLs with captions, as others publish them: Parquet, CSV or TSV, plain or gzipped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from shards.errors import Failure, UsageError
from shards.files import open_input

# What a column is called: img2dataset and DataComp; LAION; cc2dataset.
_URL = ("url", "URL", "image_url")
_TEXT = ("caption", "text", "TEXT", "alt")
_PAGE = ("page_url",)
_BLOCK = 4 << 20  # bytes of CSV read at a time


class Row(NamedTuple):
    """One row of the table."""

    number: int  # from 0
    url: str  # as written
    text: str  # as written, "" where the table has none
    page_url: str


def rows(path: str) -> Iterator[Row]:
    """The rows of a table, in order; Failure where it cannot be read, UsageError where it has no column of URLs."""
    number = 0
    try:
        for batch in _batches(path):
            columns = [_column(batch, names) for names in (_URL, _TEXT, _PAGE)]
            if columns[0] is None:
                has = ", ".join(batch.schema.names)
                raise UsageError(f"{path} has no column of image URLs (it has {has}): call one {' or '.join(_URL)}")
            cells = [["" for _ in range(batch.num_rows)] if column is None else column for column in columns]
            for url, text, page in zip(*cells, strict=True):
                yield Row(number, url or "", text or "", page or "")
                number += 1
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise Failure(
            f"{path} cannot be read after row {number} ({error}): get it again, or take it out of crawl.urls"
        ) from error


def _batches(path: str) -> Iterator[pa.RecordBatch]:
    name = path.lower().removesuffix(".gz")
    with open_input(path) as file:
        if name.endswith(".parquet"):
            with pq.ParquetFile(file) as table:
                yield from table.iter_batches()
        elif name.endswith((".csv", ".tsv")):
            stream = pa.CompressedInputStream(file, "gzip") if path.lower().endswith(".gz") else file
            yield from pyarrow.csv.open_csv(
                stream,
                read_options=pyarrow.csv.ReadOptions(block_size=_BLOCK),
                parse_options=pyarrow.csv.ParseOptions(
                    delimiter="\t" if name.endswith(".tsv") else ",", newlines_in_values=True
                ),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types={name: pa.string() for name in (*_URL, *_TEXT, *_PAGE)}
                ),
            )
        else:
            raise UsageError(
                f"{path} is no table that crawl.urls can read: give .parquet, .csv or .tsv (or .csv.gz, .tsv.gz)"
            )


def _column(batch: pa.RecordBatch, names: tuple[str, ...]) -> list[str | None] | None:
    for name in names:
        if name in batch.schema.names:
            return [None if value is None else str(value) for value in batch[name].to_pylist()]
    return None
