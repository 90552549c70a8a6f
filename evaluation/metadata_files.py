"""Folders with a file of metadata, as Hugging Face's ImageFolder reads them: metadata.csv, .jsonl or .parquet.

A row has file_name, the path of a picture below the folder of the file, and what is known of the picture.
"""

from __future__ import annotations

import csv
import io
import json
import math
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import Failure
from core.files import open_input
from evaluation.class_folders import body, natural, walk
from evaluation.examples import Pictures, listed, require_no_pointer
from evaluation.labels import match, normal, read_text

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_LABELS = ("label", "labels", "class", "cls", "category", "target", "fine_label")

Label = tuple[str, ...]  # the classes of a picture, as the data spell them


def metadata_of(folder: Path, base: Path) -> Path | None:
    """The file of metadata of a split; Failure where there are two, or one that is not in the split's folder."""
    there = [base / name for name in METADATA if (base / name).exists()]
    if len(there) > 1:
        raise Failure(f"{base} has {listed([path.name for path in there])}: leave the one that holds the labels")
    above = [name for name in METADATA if base != folder and (folder / name).exists()]
    if above and not there:
        raise Failure(f"{folder} has {above[0]} and its split is in {base.name}/: move the rows of the split into it")
    return there[0] if there else None


def read_metadata(path: Path | None, column: str = "") -> Pictures:
    """The pictures that a file of metadata names, in folders beside it; ids are their paths."""
    assert path is not None
    base = path.parent
    rows = list(rows_of(path))
    if not rows:
        raise Failure(f"{path} holds no rows: give one a picture")
    columns = list(dict.fromkeys(name for _, row in rows for name in row))
    if "file_name" not in columns:
        raise Failure(f"{path} has no column file_name, but {listed(columns)}: add it, the path of each picture")
    label = label_column(columns, column, str(path))
    given: dict[str, Label] = {}
    line_of: dict[str, int] = {}
    for line, row in rows:
        name = row.get("file_name")
        if not isinstance(name, str) or not name.strip():
            raise Failure(f"{path}, line {line} has no file_name: add it, or take the line out")
        first = line_of.setdefault(normal(name), line)
        if first != line:
            raise Failure(f"{path}, line {line} names {name} a second time, after line {first}: remove one of them")
        given[name] = label_cell(row.get(label), f"{path}, line {line}")
    tree = walk(base)
    meant = match(list(given), list(tree.files))
    if missing := sorted(given.keys() - set(meant.values())):
        raise Failure(
            f"{base} lacks {len(missing):,} of the {len(given):,} pictures that {path.name} names, {listed(missing)}: "
            "restore them, or take their lines out"
        )
    ids = sorted(meant)
    classes, labels = numbered([given[meant[name]] for name in ids])
    without = len(tree.files) - len(ids)
    left_out = tree.left_out | ({"without_a_row": without} if without else {})

    def read() -> Iterator[tuple[str, tuple[bytes, ...]]]:
        for name in ids:
            yield name, (body(tree.files[name]),)

    return Pictures(str(base), classes, tuple(ids), labels, read, left_out)


def rows_of(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a file of metadata, with their line numbers, from 1."""
    if path.suffix == ".parquet":
        with open_input(str(path)) as file:
            for number, row in enumerate(opened(file, str(path)).read().to_pylist(), start=1):
                yield number, row
    elif path.suffix == ".jsonl":
        for number, line in enumerate(read_text(str(path)).split("\n"), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise Failure(f"{path}, line {number} is no JSON ({error}): correct it") from None
            if not isinstance(row, dict):
                raise Failure(f"{path}, line {number} is no JSON object: give one a picture")
            yield number, row
    else:
        yield from _csv(path)


def _csv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.reader(io.StringIO(read_text(str(path)), newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if len(set(header)) != len(header):
            raise Failure(f"{path} has a column twice in its first line ({', '.join(header)}): rename one")
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(header):
                raise Failure(
                    f"{path}, line {reader.line_num} has {len(row)} cells and the first line {len(header)}: put texts "
                    "that hold commas between quotes"
                )
            yield reader.line_num, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise Failure(f"{path}, line {reader.line_num} is no CSV ({error}): correct it") from None


def label_column(columns: Sequence[str], given: str, path: str) -> str:
    """The column of labels: the given one, or the one that is called so. Failure where none or several are."""
    if given and given in columns:
        return given
    found = [name for name in columns if name in _LABELS]
    if len(found) != 1:
        why = (
            f"several columns of labels ({', '.join(found)})"
            if found
            else f"no column of labels, but {listed(columns)}"
        )
        raise Failure(f"{path} has {why}: call the one that holds the classes label")
    return found[0]


def label_cell(value: Any, where: str) -> Label:
    """A cell as class names: a text, a whole number, or a list of such."""
    if isinstance(value, list):
        return tuple(dict.fromkeys(name for one in value for name in label_cell(one, where)))
    if isinstance(value, float) and not math.isnan(value) and value.is_integer():
        value = int(value)  # as pandas writes whole numbers in a column with gaps
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Failure(f"{where} has no label ({value!r}): add it, or take the row out")
    text = " ".join(unicodedata.normalize("NFC", str(value)).split())
    if not text or text.lower() == "nan":
        raise Failure(f"{where} has no label ({value!r}): add it, or take the row out")
    return (text,)


def numbered(labels: Sequence[Label]) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """Class names in their order, numbers by their value, and each picture's numbers among them."""
    classes = sorted({name for some in labels for name in some}, key=natural)
    number = {name: i for i, name in enumerate(classes)}
    return tuple(classes), tuple(tuple(sorted(number[name] for name in some)) for some in labels)


def opened(file: Any, path: str) -> pq.ParquetFile:
    """A Parquet file, its footer read; Failure where it is none, or cut."""
    require_no_pointer(path)
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise Failure(f"{path} is no whole Parquet file ({error}): restore it, or download it again") from error
