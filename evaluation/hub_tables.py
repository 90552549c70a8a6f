"""Labelled pictures as Hugging Face's datasets stores them: folders with metadata.*, and Parquet with pictures inside.

Class names of a Parquet file are in its schema, under the key "huggingface"; without them a number is its own name.
"""

from __future__ import annotations

import csv
import io
import json
import math
import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import Failure
from core.files import open_input, read_bytes
from evaluation.class_folders import natural, walk
from evaluation.examples import MAX_BYTES, Pictures, listed
from evaluation.labels import match, normal, read_text

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_LABELS = ("label", "labels", "class", "cls", "category", "target", "fine_label")
_IMAGES = ("image", "img", "picture")
_AT_ONCE = 64  # pictures that are decoded from Parquet together

Label = tuple[str, ...]  # the classes of a picture, as the data spell them


# ── metadata.csv, .jsonl, .parquet ────────────────────────────────────────────────────────────────


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
    rows = list(_rows(path))
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
        given[name] = _label(row.get(label), f"{path}, line {line}")
    tree = walk(base)
    meant = match(list(given), list(tree.files))
    if missing := sorted(given.keys() - set(meant.values())):
        raise Failure(
            f"{base} lacks {len(missing):,} of the {len(given):,} pictures that {path.name} names, {listed(missing)}: "
            "restore them, or take their lines out"
        )
    ids = sorted(meant)
    classes, labels = _numbered([given[meant[name]] for name in ids])
    without = len(tree.files) - len(ids)
    left_out = tree.left_out | ({"without_a_row": without} if without else {})

    def read() -> Iterator[tuple[str, tuple[bytes, ...]]]:
        for name in ids:
            yield name, (_picture(read_bytes(str(tree.files[name])), name, str(base)),)

    return Pictures(str(base), classes, tuple(ids), labels, read, left_out)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a file of metadata, with their line numbers, from 1."""
    if path.suffix == ".parquet":
        with open_input(str(path)) as file:
            for number, row in enumerate(_opened(file, str(path)).read().to_pylist(), start=1):
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
        yield from _csv_rows(path)


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
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


def _label(value: Any, where: str) -> Label:
    """A cell as class names: a text, a whole number, or a list of such."""
    if isinstance(value, list):
        return tuple(dict.fromkeys(name for one in value for name in _label(one, where)))
    if isinstance(value, float) and not math.isnan(value) and value.is_integer():
        value = int(value)  # as pandas writes whole numbers in a column with gaps
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Failure(f"{where} has no label ({value!r}): add it, or take the row out")
    text = " ".join(unicodedata.normalize("NFC", str(value)).split())
    if not text or text.lower() == "nan":
        raise Failure(f"{where} has no label ({value!r}): add it, or take the row out")
    return (text,)


def _numbered(labels: Sequence[Label]) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """Class names in their order, numbers by their value, and each picture's numbers among them."""
    classes = sorted({name for some in labels for name in some}, key=natural)
    number = {name: i for i, name in enumerate(classes)}
    return tuple(classes), tuple(tuple(sorted(number[name] for name in some)) for some in labels)


# ── Parquet with pictures inside ──────────────────────────────────────────────────────────────────


def tables_in(folder: Path, base: Path, split: str) -> list[str]:
    """The Parquet files of a split: those in its folder, or test-00000-of-00001.parquet in the folder or data/."""
    for place in dict.fromkeys((base, folder, folder / "data")):
        names = sorted((entry.name for entry in place.glob("*.parquet") if entry.name[0] != "."), key=natural)
        if not names:
            continue
        named = [name for name in names if re.match(rf"{re.escape(split)}([-_.]|$)", name)]
        if named or base != folder:
            chosen = named or names
        elif any(re.match(r"(train|test|val|valid|validation|dev)[-_.]", name) for name in names):
            raise Failure(f"{place} has {listed(names)} and no table of the split {split}: give the folder of one")
        else:
            chosen = names
        _require_whole(chosen, place)
        return [f"{place}/{name}" for name in chosen]
    return []


def _require_whole(names: Sequence[str], place: Path) -> None:
    """Files that count themselves (-00000-of-00003) are all there."""
    counted: dict[tuple[str, int], set[int]] = defaultdict(set)
    for name in names:
        if found := re.search(r"(.*)-([0-9]{5})-of-([0-9]{5})", name):
            counted[found[1], int(found[3])].add(int(found[2]))
    for (stem, count), numbers in counted.items():
        if missing := [f"{stem}-{number:05d}-of-{count:05d}" for number in range(count) if number not in numbers]:
            raise Failure(f"{place} lacks {listed(missing)}: download the files")


def read_tables(path: str, tables: Sequence[str], column: str = "") -> Pictures:
    """The labelled pictures of Parquet files; an id is the path stored with a picture, or else table and row."""
    names: list[str] = []
    labels: list[Label] = []
    shared: tuple[str, ...] | None = None
    image = ""
    for table in tables:
        with open_input(table) as file:
            opened = _opened(file, table)
            image, classes, rows = _labels_of(opened, table, column)
            if shared is not None and classes != shared:
                raise Failure(f"{table} has other class names than {tables[0]}: give the tables of one set")
            shared = classes
            labels += rows
            names += _names(opened, image, table)
    if len(set(names)) != len(names) or not all(names):
        names = _by_row(tables, names)
    if shared:
        number = {name: i for i, name in enumerate(shared)}
        found = tuple(tuple(sorted(number[name] for name in some)) for some in labels)
        numbered = shared, found
    else:
        numbered = _numbered(labels)

    def read() -> Iterator[tuple[str, tuple[bytes, ...]]]:
        waiting = iter(names)
        for table in tables:
            with open_input(table) as file:
                for batch in _opened(file, table).iter_batches(_AT_ONCE, columns=[image]):
                    for value in batch.column(0).to_pylist():
                        body = value["bytes"] if isinstance(value, dict) else value
                        name = next(waiting)
                        yield name, (_picture(body, name, table),)

    return Pictures(path, numbered[0], tuple(names), numbered[1], read)


def _opened(file: Any, path: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise Failure(f"{path} is no whole Parquet file ({error}): restore it, or download it again") from error


def _labels_of(table: pq.ParquetFile, path: str, column: str) -> tuple[str, tuple[str, ...], list[Label]]:
    """The column of pictures, the class names in the schema (none: empty), and the labels."""
    schema = table.schema_arrow
    images = [field.name for field in schema if _holds_pictures(field.type)]
    if len(images) > 1:
        images = [name for name in images if name in _IMAGES]
    if len(images) != 1:
        raise Failure(f"{path} has {len(images)} columns of pictures among {listed(schema.names)}: call the one image")
    label = label_column([name for name in schema.names if name != images[0]], column, path)
    names = _class_names(schema, label)
    rows: list[Label] = []
    for number, value in enumerate(table.read([label]).column(0).to_pylist()):
        some = _label(value, f"{path}, row {number}")
        if names and not isinstance(value, str):
            wrong = [text for text in some if not (text.isdigit() and int(text) < len(names))]
            if wrong:
                raise Failure(
                    f"{path}, row {number} has the label {wrong[0]}, and the schema names {len(names)} classes: "
                    "give a split that has labels"
                )
            some = tuple(names[int(text)] for text in some)
        rows.append(some)
    return images[0], names, rows


def _holds_pictures(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return "bytes" in [kind.field(i).name for i in range(kind.num_fields)]
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _class_names(schema: pa.Schema, column: str) -> tuple[str, ...]:
    """The names that Hugging Face's datasets put into the schema for a column of numbers."""
    text = (schema.metadata or {}).get(b"huggingface")
    try:
        feature: Any = json.loads(text)["info"]["features"][column] if text else {}
    except (ValueError, KeyError, TypeError):
        return ()
    while isinstance(feature, list) or (isinstance(feature, dict) and "feature" in feature):
        feature = (feature or [{}])[0] if isinstance(feature, list) else feature["feature"]
    names = feature.get("names") if isinstance(feature, dict) else None
    return tuple(map(str, names.values() if isinstance(names, Mapping) else names or ()))


def _names(table: pq.ParquetFile, image: str, path: str) -> list[str]:
    """The paths that the pictures were stored with; empty where there are none."""
    kind = table.schema_arrow.field(image).type
    if not pa.types.is_struct(kind) or kind.get_field_index("path") < 0:
        return [""] * table.metadata.num_rows
    column = table.read([f"{image}.path"]).column(0).combine_chunks()
    return [normal(name) if isinstance(name, str) else "" for name in column.field("path").to_pylist()]


def _by_row(tables: Sequence[str], names: Sequence[str]) -> list[str]:
    """Ids where pictures have no paths, or the same ones: table and row."""
    found = []
    for table in tables:
        with open_input(table) as file:
            rows = _opened(file, table).metadata.num_rows
        stem = posixpath.splitext(posixpath.basename(table))[0]
        found += [f"{stem}/{row:08d}" for row in range(rows)]
    assert len(found) == len(names)
    return found


def _picture(body: bytes | None, name: str, path: str) -> bytes:
    if not body:
        raise Failure(f"{name} in {path} has no bytes: restore it, or take it out")
    if len(body) > MAX_BYTES:
        raise Failure(f"{name} in {path} has more than {MAX_BYTES:,} bytes: take it out")
    return body
