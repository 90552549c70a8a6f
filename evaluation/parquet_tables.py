"""Labelled pictures in Parquet, as Hugging Face's datasets writes them: a column of files, and one of labels.

Class names are in the schema, under the key "huggingface"; without them a number is its own name.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import Failure
from core.files import open_input
from evaluation.class_folders import natural
from evaluation.examples import MAX_BYTES, Pictures
from evaluation.labels import normal
from evaluation.metadata_files import (
    Label,
    by_number,
    class_names_in,
    has_only_captions,
    label_cell,
    label_column,
    numbered,
    opened,
    require_one_split,
    says_split,
)
from evaluation.wording import listed

_IMAGES = ("image", "img", "picture")
_SPLIT = re.compile(r"(^|[-_.])(train|test|val|valid|validation|dev)[-_.]", re.IGNORECASE)  # in a table's name
_AT_ONCE = 64  # pictures that are decoded from Parquet together


def tables_in(folder: Path, base: Path, split: str) -> list[str]:
    """The Parquet files of a split: those in its folder, or test-00000-of-00001.parquet in the folder or data/."""
    for place in dict.fromkeys((base, folder, folder / "data")):
        names = sorted((entry.name for entry in place.glob("*.parquet") if entry.name[0] != "."), key=natural)
        if not names:
            continue
        chosen = [name for name in names if is_of_split(name, split)]
        if not chosen and place == base:
            if base == folder and any(_SPLIT.search(name) for name in names):
                raise Failure(f"{place} has {listed(names)} and no table of the split {split}: give the folder of one")
            chosen = names
        if chosen:
            _require_whole(chosen, place)
            return [f"{place}/{name}" for name in chosen]
    return []


def is_of_split(name: str, split: str) -> bool:
    """Whether a table has the name of one of a split: test.parquet, test-00000-of-00001.parquet, not test_extra-…"""
    return re.fullmatch(rf"{re.escape(split)}([-_.][0-9].*)?\.parquet", name) is not None


def _require_whole(names: Sequence[str], place: Path) -> None:
    """Files that count themselves (-00000-of-00003) are all there."""
    counted: dict[tuple[str, int], set[int]] = defaultdict(set)
    first: dict[str, str] = {}
    for name in names:
        if found := re.search(r"(.*)-([0-9]{5})-of-([0-9]{5})", name):
            if found[0] in first:
                raise Failure(f"{place} has {first[found[0]]} and {name}, two versions of a table: leave one of them")
            first[found[0]] = name
            counted[found[1], int(found[3])].add(int(found[2]))
    for (stem, count), numbers in counted.items():
        if missing := [f"{stem}-{number:05d}-of-{count:05d}" for number in range(count) if number not in numbers]:
            raise Failure(f"{place} lacks {listed(missing)}: download the files")


def read_tables(path: str, tables: Sequence[str], column: str = "") -> Pictures:
    """The labelled pictures of Parquet files; an id is the path stored with a picture, or else table and row."""
    names: list[str] = []
    cells: list[Label] = []
    shared: tuple[str, ...] | None = None
    image = ""
    for table in tables:
        with open_input(table) as file:
            whole = opened(file, table)
            image, classes, rows = _labels_of(whole, table, column)
            if shared is not None and classes != shared:
                raise Failure(f"{table} has other class names than {tables[0]}: give the tables of one set")
            shared = classes
            cells += rows
            names += _names(whole, image, table)
    if len(set(names)) != len(names) or not all(names):
        names = _by_row(tables, names)
    if shared:
        classes, labels = shared, tuple(tuple(sorted(map(int, some))) for some in cells)
    else:
        classes, labels = numbered(cells, path)

    def read() -> Iterator[tuple[str, tuple[bytes, ...]]]:
        waiting = iter(names)
        for table in tables:
            with open_input(table) as file:
                for batch in opened(file, table).iter_batches(_AT_ONCE, columns=[image]):
                    for value in batch.column(0).to_pylist():
                        body = value["bytes"] if isinstance(value, dict) else value
                        name = next(waiting)
                        yield name, (_picture(body, name, table),)

    return Pictures(path=path, ids=tuple(names), read=read, classes=classes, labels=labels)


def _labels_of(table: pq.ParquetFile, path: str, column: str) -> tuple[str, tuple[str, ...], list[Label]]:
    """The column of pictures, the class names in the schema (none: empty), and the labels.

    Where there are class names a label is the number of one: two classes may have the same name.
    """
    schema = table.schema_arrow
    images = [field.name for field in schema if _holds_pictures(field.type)]
    if len(images) > 1:
        images = [name for name in images if name in _IMAGES]
    if len(images) != 1:
        raise Failure(f"{path} has {len(images)} columns of pictures among {listed(schema.names)}: call the one image")
    others = [name for name in schema.names if name != images[0]]
    if column not in others and has_only_captions(others):
        raise Failure(
            f"{path} has captions and no labels: for retrieval write its pictures to files, and metadata.csv beside "
            "them with the columns file_name and caption"
        )
    label = label_column(others, column, path)
    names = class_names_in(schema, label)
    values = table.read([label]).column(0).to_pylist()
    rows = [label_cell(value, f"{path}, row {number}") for number, value in enumerate(values)]
    if names:
        by_number(rows, names, [f"row {number}" for number in range(len(rows))], path)
    for other in filter(says_split, schema.names):
        require_one_split(other, table.read([other]).column(0).to_pylist(), path)
    return images[0], names, rows


def _holds_pictures(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return "bytes" in [kind.field(i).name for i in range(kind.num_fields)]
    return any(is_bytes(kind) for is_bytes in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view))


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
            rows = opened(file, table).metadata.num_rows
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
