"""Tables of image URLs with captions, as others publish them: Parquet, CSV or TSV, plain or gzipped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
    """The rows of a table, in order; Failure where it cannot be read, UsageError where it has no column of URLs.

    Only the three columns are looked at; bytes that are no UTF-8 become U+FFFD, as in web pages.
    """
    number = 0
    try:
        for batch in _batches(path):
            for url, text, page in zip(*(_texts(batch, known) for known in (_URL, _TEXT, _PAGE)), strict=True):
                yield Row(number, url, text, page)
                number += 1
    except (pa.ArrowException, OSError) as error:  # OSError: a gzip or a page of Parquet that does not decompress
        raise Failure(
            f"{path} cannot be read after row {number} ({error}): get it again, or take it out of crawl.urls"
        ) from error


def _batches(path: str) -> Iterator[pa.RecordBatch]:
    name = path.lower().removesuffix(".gz")
    if name.endswith(".parquet"):
        with open_input(path) as file, pq.ParquetFile(file) as table:
            yield from table.iter_batches(columns=_columns(table.schema_arrow.names, path))
    elif name.endswith((".csv", ".tsv")):
        with _open_csv(path, None) as table:
            columns = _columns(table.schema.names, path)
        with _open_csv(path, columns) as table:
            yield from table
    else:
        raise UsageError(
            f"{path} is no table that crawl.urls can read: give .parquet, .csv or .tsv (or .csv.gz, .tsv.gz)"
        )


@contextmanager
def _open_csv(path: str, columns: list[str] | None) -> Iterator[pa.RecordBatchReader]:
    """A CSV or TSV, with the columns asked for as bytes: a type that is guessed of its start may not fit the rest."""
    name = path.lower()
    parse = pyarrow.csv.ParseOptions(
        delimiter="\t" if name.removesuffix(".gz").endswith(".tsv") else ",", newlines_in_values=True
    )
    with (
        open_input(path) as file,
        pyarrow.csv.open_csv(
            pa.CompressedInputStream(file, "gzip") if name.endswith(".gz") else file,
            read_options=pyarrow.csv.ReadOptions(block_size=_BLOCK),
            parse_options=parse,
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=columns, column_types=dict.fromkeys(columns or (), pa.binary())
            ),
        ) as table,
    ):
        yield table


def _columns(names: list[str], path: str) -> list[str]:
    """Those of a table's columns that are read."""
    found = [name for known in (_URL, _TEXT, _PAGE) if (name := _first(known, names))]
    if _first(_URL, names) is None:
        raise UsageError(
            f"{path} has no column of image URLs (it has {', '.join(names)}): call one {' or '.join(_URL)}"
        )
    for name in found:
        if names.count(name) > 1:
            raise UsageError(f"{path} has {names.count(name)} columns called {name}: rename all but one")
    return found


def _texts(batch: pa.RecordBatch, known: tuple[str, ...]) -> list[str]:
    """The column that has one of the known names, "" where a value or the whole of it is missing."""
    name = _first(known, batch.schema.names)
    if name is None:
        return [""] * batch.num_rows
    values = batch[name].cast(pa.string(), safe=False).cast(pa.binary())  # numbers, too; whatever the bytes are
    return [(value or b"").decode("utf-8", "replace") for value in values.to_pylist()]


def _first(known: tuple[str, ...], names: list[str]) -> str | None:
    return next((name for name in known if name in names), None)
