"""Folders with a file of metadata, as Hugging Face's ImageFolder reads them: metadata.csv, .jsonl or .parquet.

A row has file_name, the path of a picture below the folder of the file, and what is known of the picture.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import Failure
from core.files import open_input
from evaluation.class_folders import Tree, body, is_like_a_split, natural, walk
from evaluation.classes import require_single
from evaluation.examples import Captioned, Pictures, Placed, require_no_pointer
from evaluation.labels import MISSING, match, normal, read_text
from evaluation.wording import listed

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_CAPTIONS = ("caption", "captions", "text", "texts", "sentence", "sentences", "raw")
_LATITUDES, _LONGITUDES = ("latitude", "lat"), ("longitude", "lon", "lng", "long")
_SPLITS = ("split", "subset", "partition", "usage")
_LABELS = ("label", "labels", "class", "cls", "category", "target", "fine_label")

_LIST = re.compile(r"""\[\s*(["']).*\1\s*\]""")  # of texts, as JSON and Python write one

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


@dataclass(frozen=True)
class Table:
    """A file of metadata whose pictures are all there."""

    path: Path
    columns: list[str]
    classes: Mapping[str, tuple[str, ...]]  # column → the names of the classes that it has by number
    rows_of: dict[str, list[tuple[int, dict[str, Any]]]]  # id, a picture's path → its rows, with their line numbers
    tree: Tree

    def files(self) -> dict[str, Any]:
        """What Files is made of."""
        without = len(self.tree.files) - len(self.rows_of)

        def read() -> Iterator[tuple[str, tuple[bytes, ...]]]:
            for name in self.rows_of:
                yield name, (body(self.tree.files[name]),)

        left_out = self.tree.beside_listing() | ({"without_a_row": without} if without else {})
        return {"path": str(self.path.parent), "ids": tuple(self.rows_of), "read": read, "left_out": left_out}

    def one_row_each(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The row of each picture, in the order of the ids. Failure where a picture has two."""
        for name, rows in self.rows_of.items():
            if len(rows) > 1:
                first, second = rows[0][0], rows[1][0]
                raise Failure(f"{self.path}, line {second} names {name} again, after line {first}: remove one of them")
            yield rows[0]


def read_table(path: Path) -> Table:
    """A file of metadata, joined with the pictures in its folder. Failure names rows without one."""
    rows = list(rows_of(path))
    if not rows:
        raise Failure(f"{path} holds no rows: give one a picture")
    columns = list(dict.fromkeys(name for _, row in rows for name in row))
    if "file_name" not in columns:
        raise Failure(f"{path} has no column file_name, but {listed(columns)}: add it, the path of each picture")
    given: dict[str, str] = {}  # normal name → the name as given first
    rows_by: dict[str, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    for line, row in rows:
        name = row.get("file_name")
        if not isinstance(name, str) or not name.strip():
            raise Failure(f"{path}, line {line} has no file_name: add it, or take the line out")
        rows_by[given.setdefault(normal(name), name)].append((line, row))
    for column in columns:
        require_one_split(column, [row.get(column) for _, row in rows], str(path))
    tree = walk(path.parent)
    meant = matched(list(rows_by), tree, str(path))
    splits = sorted({part for name in meant for part in name.split("/")[:-1] if is_like_a_split(part)})
    if len(splits) > 1:
        raise Failure(
            f"{path} names pictures in {listed(splits)}, which look like splits: leave the rows of one of them, or put "
            "a file with its own rows into each"
        )
    classes: dict[str, tuple[str, ...]] = {}
    if path.suffix == ".parquet":
        with open_input(str(path)) as file:
            schema = opened(file, str(path)).schema_arrow
        classes = {column: class_names_in(schema, column) for column in columns}
    return Table(path, columns, classes, {name: rows_by[meant[name]] for name in sorted(meant)}, tree)


def says_split(column: str) -> bool:
    """Whether a column has the name of one that says of which split a row is."""
    return column.strip().lower() in _SPLITS


def require_one_split(column: str, values: Sequence[Any], path: str) -> None:
    """Failure where a column says that rows are of several splits: tested is one of them."""
    if says_split(column) and len(found := sorted(set(map(str, values)))) > 1:
        raise Failure(
            f"{path} has rows of {listed(found)} in its column {column}: leave those of one, or make a folder a split"
        )


def matched(given: Sequence[str], tree: Tree, source: str) -> dict[str, str]:
    """Pictures of a folder → the given names that mean them; Failure where a name means none. `source` gave them."""
    meant = match(given, list(tree.files))
    if missing := sorted(set(given) - set(meant.values())):
        raise Failure(
            f"{source} names {len(given):,} pictures, of which {len(missing):,} are not in its folder, "
            f"{listed(missing)}: restore them, or take their lines out"
        )
    return meant


def read_metadata(path: Path, column: str = "") -> Pictures:
    """The labelled pictures that a file of metadata names; ids are their paths."""
    table = read_table(path)
    label = label_column(table.columns, column, str(path))
    cells = [label_cell(row.get(label), f"{path}, line {line}") for line, row in table.one_row_each()]
    if names := table.classes.get(label, ()):
        classes, labels = names, by_number(cells, names, list(table.rows_of), str(path))
    else:
        classes, labels = numbered(cells, str(path))
    return Pictures(**table.files(), classes=classes, labels=labels)


def has_only_captions(columns: Iterable[str]) -> bool:
    """Whether there is a column of captions among some, and none of labels."""
    names = {name.strip().lower() for name in columns}
    return not names.isdisjoint(_CAPTIONS) and names.isdisjoint(_LABELS)


def read_captions(path: Path) -> Captioned:
    """Pictures with captions: a row a caption, or a list of captions a row."""
    table = read_table(path)
    column = one_column(table.columns, _CAPTIONS, str(path), "captions", "caption")
    captions = []
    for rows in table.rows_of.values():
        some = [text for line, row in rows for text in caption_cell(row.get(column), f"{path}, line {line}")]
        captions.append(tuple(some))
    return Captioned(**table.files(), captions=tuple(captions))


def read_places(path: Path) -> Placed:
    """Pictures with the columns latitude and longitude, in degrees."""
    table = read_table(path)
    columns = [
        one_column(table.columns, names, str(path), "positions", names[0]) for names in (_LATITUDES, _LONGITUDES)
    ]
    places = []
    for line, row in table.one_row_each():
        where = f"{path}, line {line}"
        places.append([_degrees(row.get(name), most, where) for name, most in zip(columns, (90.0, 180.0), strict=True)])
    return Placed(**table.files(), places=np.array(places, np.float64))


def _degrees(value: Any, most: float, where: str) -> float:
    """A cell as degrees, of at most so many either way."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if isinstance(value, bool) or not abs(found) <= most:
        raise Failure(f"{where} has the position {value!r}, not degrees from -{most:g} to {most:g}: correct it")
    return found


def caption_cell(value: Any, where: str) -> list[str]:
    """A cell as captions: a text, or a list of texts; white space is folded."""
    some = value if isinstance(value, list) else [value]
    texts = [" ".join(text.split()) if isinstance(text, str) else "" for text in some]
    if not texts or not MISSING.isdisjoint(texts):
        raise Failure(f"{where} has no caption ({value!r}): add it, or take the row out")
    if lists := [text for text in texts if _LIST.fullmatch(text)]:
        raise Failure(f"{where} has a list in one cell ({lists[0][:60]}): write a row a caption, or metadata.jsonl")
    return texts


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
        if len(header) == 1 and (mark := re.search("[;\t]", header[0])):
            raise Failure(f"{path} has {mark[0]!r} between its columns ({header[0]!r}): save it with commas")
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
    return given if given and given in columns else one_column(columns, _LABELS, path, "labels", "label")


def one_column(columns: Sequence[str], names: Sequence[str], path: str, what: str, best: str) -> str:
    """The one of the columns that has one of the names; Failure where none or several have."""
    found = [name for name in columns if name.strip().lower() in names]
    if len(found) != 1:
        why = f"several columns of {what}, {listed(found)}" if found else f"no column of {what}, but {listed(columns)}"
        raise Failure(f"{path} has {why}: call the one that holds them {best}")
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
    if text in MISSING:
        raise Failure(f"{where} has no label ({value!r}): add it, or take the row out")
    if text[0] == "[" and text[-1] == "]":
        raise Failure(
            f"{where} has a list in one cell ({text[:60]}): write metadata.jsonl, where a label may be a list"
        )
    return (text,)


def by_number(
    cells: Sequence[Label], names: Sequence[str], rows: Sequence[str], path: str
) -> tuple[tuple[int, ...], ...]:
    """Labels that are numbers of classes; Failure names the first of the rows that has another."""
    for row, some in zip(rows, cells, strict=True):
        if wrong := [text for text in some if not (text.isdecimal() and int(text) < len(names))]:
            raise Failure(
                f"{path}, {row} has the label {wrong[0]}, and the schema names {len(names)} classes: give a split that "
                "has labels"
            )
    return tuple(tuple(sorted(map(int, some))) for some in cells)


def class_names_in(schema: pa.Schema, column: str) -> tuple[str, ...]:
    """The names that Hugging Face's datasets put into the schema for a column of numbers; none: empty."""
    text = (schema.metadata or {}).get(b"huggingface")
    try:
        feature: Any = json.loads(text)["info"]["features"][column] if text else {}
    except (ValueError, KeyError, TypeError):
        return ()
    while isinstance(feature, list) or (isinstance(feature, dict) and "feature" in feature):
        feature = (feature or [{}])[0] if isinstance(feature, list) else feature["feature"]
    names = feature.get("names") if isinstance(feature, dict) else None
    return tuple(map(str, names.values() if isinstance(names, Mapping) else names or ()))


def numbered(labels: Sequence[Label], path: str) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """Class names in their order, numbers by their value, and each picture's numbers among them.

    Failure where a name of the table at `path` is several classes in one.
    """
    classes = sorted({name for some in labels for name in some}, key=natural)
    require_single(classes, path)
    number = {name: i for i, name in enumerate(classes)}
    return tuple(classes), tuple(tuple(sorted(number[name] for name in some)) for some in labels)


def opened(file: Any, path: str) -> pq.ParquetFile:
    """A Parquet file, its footer read; Failure where it is none, or cut."""
    require_no_pointer(path)
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise Failure(f"{path} is no whole Parquet file ({error}): restore it, or download it again") from error
