"""Tables of image URLs, written in every form that others publish them in, and read back."""

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import UsageError
from pipeline.inputs.urltables.urltable import Options, check, rows

FORMS = (
    ".parquet",
    ".csv",
    ".tsv",
    ".csv.gz",
    ".tsv.gz",
    ".CSV",
    ".csv.bz2",
    ".tsv.xz",
    ".csv.zst",
    ".json",
    ".jsonl.gz",
)
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: bytes(pa.compress(data, "zstd", asbytes=True)),
}
Columns = Mapping[str, Sequence[object]]


def write(folder: Path, form: str, columns: Columns) -> str:
    """A table as pandas and others would write it in that form."""
    path = folder / f"table{form}"
    if form == ".parquet":
        pq.write_table(pa.table(dict(columns)), path)
        return str(path)
    text = io.StringIO()
    values = [
        list(pa.array(column).to_pylist() if not isinstance(column, pa.Array) else column.to_pylist())
        for column in columns.values()
    ]
    if ".json" in form:
        objects = [json.dumps(dict(zip(columns, row, strict=True))) for row in zip(*values, strict=True)]
        text.write("\n".join(objects) if ".jsonl" in form else f"[{', '.join(objects)}]")
    else:
        writer = csv.writer(text, delimiter="\t" if ".tsv" in form else ",")
        writer.writerow(columns)
        writer.writerows(zip(*values, strict=True))
    data = text.getvalue().encode()
    path.write_bytes(PACKERS.get(form.rpartition(".")[2], bytes)(data))
    return str(path)


def put(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    return str(folder / name)


def read(path: str, **options: Any) -> list[tuple[str, tuple[str, ...]]]:
    """The URL and the captions of each row, or why it is none; the table has passed the check before."""
    check(path, Options(**options))
    return [(row.reason or row.url, row.texts) for row in rows(path, Options(**options))]


def refused(path: str, **options: Any) -> str:
    """What is said of a table before anything runs; whoever reads it all the same is told the same of its columns."""
    with pytest.raises(UsageError) as error:
        check(path, Options(**options))
    return str(error.value)


URLS = ["http://a.test/1.jpg", "http://a.test/2.jpg"]
TEXTS = ["A dog, running", 'Two\n"lines"']
