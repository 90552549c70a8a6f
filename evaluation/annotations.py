"""Tables that people bring: CSV, TSV or JSON lines, read with the line of every row, and refused by line and value.

What is settled: byte order marks, UTF-16, any line ends, tabs or commas or semicolons, quotes, capitals and spaces in
the names of columns, other columns beside the wanted ones, blank rows, white space around values, accents in one
character or two. What is refused, all at once and by line: empty cells, rows of another length, damaged quotes.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import Failure, UsageError
from core.files import read_bytes
from core.texts import marked_encoding

_SHOWN = 5  # problems in one message
_NO_TEXT = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"\x1f\x8b", b"PAR1")  # xlsx, ods and zip; xls; gzip; Parquet
_OF_TABLES = re.compile(r"""^[#*•-]|[\t,;"\[\]{}]|^labels?$""", re.IGNORECASE)  # in a line that is more than a name


@dataclass(frozen=True)
class Row:
    """The wanted columns of a row, and the line of the file that it begins on, from 1."""

    line: int
    cells: Mapping[str, str]


def read_rows(path: str, columns: Mapping[str, Sequence[str]]) -> list[Row]:
    """The rows of a table. `columns`: what each wanted column is called here → the names that it may have in a file.

    Raises UsageError where a column is missing or there twice, Failure for what cannot be read, naming lines.
    """
    text = _decoded(path)
    if not text.strip():
        raise Failure(f"{path} is empty: give a table with the columns {', '.join(columns)}")
    if text.lstrip().startswith("["):
        raise UsageError(f"{path} is one JSON list: write an object a line (jq -c '.[]' does)")
    rows = _of_json(path, text, columns) if text.lstrip().startswith("{") else _of_csv(path, text, columns)
    if not rows:
        raise Failure(f"{path} has no row below its header: give at least one")
    gaps = [(row.line, f"{name} is empty") for row in rows for name, value in row.cells.items() if not value]
    refuse(path, gaps, "fill the cell or take the line out")
    return rows


def read_lines(path: str) -> dict[str, int]:
    """The lines of a list of names, and where each stands, from 1; blank ones are left out.

    Failure for what cannot be read, for lines of tables and of lists, and where two names are spelled alike.
    """
    lines = enumerate(map(_clean, re.split(r"\r\n|\r|\n", _decoded(path))), 1)
    names = [(number, line) for number, line in lines if line]
    more = [(number, f"{line[:60]!r} is no name alone") for number, line in names if _OF_TABLES.search(line)]
    refuse(path, more, "give names alone, a line each, without commas, quotes or a header")
    found: dict[str, tuple[str, int]] = {}
    problems: list[tuple[int, str]] = []
    for number, name in names:
        first, at = found.setdefault(folded(name), (name, number))
        if at != number:
            problems.append((number, f"{name!r} is {first!r} of line {at}"))
    refuse(path, problems, "leave one of them")
    return dict(found.values())


def as_path(name: str) -> str:
    """The name of a picture as a path with single slashes, and without the ./ of the folder that it is in."""
    first, *parts = name.replace("\\", "/").split("/")
    return "/".join([*([] if first == "." else [first]), *(part for part in parts if part not in ("", "."))])


def refuse(path: str, problems: Sequence[tuple[int, str]], remedy: str) -> None:
    """Raises Failure where there are problems, given as (line, what is wrong): the first few and how many there are."""
    if problems:
        shown = "; ".join(f"line {line}: {what}" for line, what in sorted(problems)[:_SHOWN])
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise Failure(f"{path}, {shown}{more}: {remedy}")


def folded(name: str) -> str:
    """A name as it is compared: accents composed, without capitals, "_" and white space as one space."""
    return re.sub(r"[\s_]+", " ", unicodedata.normalize("NFC", name)).strip().casefold()


def fold_all(names: Iterable[str], what: str) -> dict[str, str]:
    """Folded names → the names. UsageError where two names differ in nothing that is compared."""
    found: dict[str, str] = {}
    for name in names:
        if found.setdefault(folded(name), name) != name:
            raise UsageError(f"{what} {found[folded(name)]!r} and {name!r} are spelled alike: rename one of them")
    return found


def near(name: str, known: Collection[str]) -> str:
    """ " (…?)" with the most similar of the known names, nothing where none is similar."""
    of = {folded(one): one for one in known}
    found = difflib.get_close_matches(folded(name), of, n=1, cutoff=0.75)
    return f" ({of[found[0]]}?)" if found else ""


def _decoded(path: str) -> str:
    try:
        data = read_bytes(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
    if data.startswith(_NO_TEXT):
        raise Failure(f"{path} is a workbook, an archive or a Parquet file, no text: save its table as CSV in UTF-8")
    encoding = marked_encoding(data)
    if encoding != "utf-16" and len(data) > 1 and 0 in data[:2]:
        encoding = "utf-16-be" if data[0] == 0 else "utf-16-le"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise Failure(f"{path} is not {encoding.removesuffix('-sig').upper()}, line {line}: save it as UTF-8") from None
    if "\0" in text:
        raise Failure(
            f"{path} holds null characters, line {text[: text.index(chr(0))].count(chr(10)) + 1}: save it anew"
        )
    return text


def _which(header: Sequence[str], columns: Mapping[str, Sequence[str]]) -> tuple[dict[str, int], list[str], list[str]]:
    """The wanted columns → their positions; those that are missing; those that are there twice.

    pandas and R write the second of two columns of one name as NAME.1.
    """
    there = [re.sub(r"\.[0-9]+$", "", folded(name).replace(" ", "")) for name in header]
    at: dict[str, int] = {}
    missing: list[str] = []
    twice: list[str] = []
    for column, names in columns.items():
        found = [number for number, name in enumerate(there) if name in {folded(one).replace(" ", "") for one in names}]
        if found:
            at[column] = found[0]
        else:
            missing.append(column)
        if len(found) > 1:
            twice.append(f"{column} ({' and '.join(repr(header[number]) for number in found)})")
    return at, missing, twice


def _of_csv(path: str, text: str, columns: Mapping[str, Sequence[str]]) -> list[Row]:
    start = next(line for line in text.splitlines() if line.strip())
    headers = {mark: next(csv.reader([start], delimiter=mark)) for mark in "\t,;"}
    found = {mark: _which(header, columns) for mark, header in headers.items()}
    mark = min(found, key=lambda mark: len(found[mark][1]))
    at, missing, twice = found[mark]
    if missing or twice:
        names = "; ".join(f"{column}: {', '.join(columns[column])}" for column in columns)
        if missing:
            fault = f"no column {missing[0]} in its first line ({start[:80]!r}); the columns may be called {names}"
        else:
            fault = f"two columns for {twice[0]}: rename the one that is not meant, or take it out"
        raise UsageError(f"{path} has {fault}")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    rows: list[Row] = []
    problems: list[tuple[int, str]] = []
    header: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                if header is None:
                    header = cells
                elif len(cells) != len(header):
                    problems.append((line, f"{len(cells)} cells, and the header has {len(header)}"))
                else:
                    rows.append(Row(line, {name: _clean(cells[number]) for name, number in at.items()}))
            line = reader.line_num + 1
    except csv.Error as error:
        problems.append((line, str(error)))
    refuse(path, problems, "mend the line; a cell that holds the separator needs quotes")
    return rows


def _of_json(path: str, text: str, columns: Mapping[str, Sequence[str]]) -> list[Row]:
    rows: list[Row] = []
    problems: list[tuple[int, str]] = []
    for line, entry in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        if not entry.strip():
            continue
        try:
            cells = json.loads(entry)
        except ValueError as error:
            problems.append((line, f"no JSON ({error})"))
            continue
        if not isinstance(cells, dict):
            problems.append((line, "no JSON object"))
            continue
        at, missing, twice = _which(list(cells), columns)
        values = {name: _whole(list(cells.values())[number]) for name, number in at.items()}
        wrong = [name for name, value in values.items() if isinstance(value, bool | list | dict | float)]
        if missing or twice or wrong:
            problems.append(
                (line, f"{(missing + twice + wrong)[0]} is missing, there twice, or neither text nor number")
            )
            continue
        rows.append(Row(line, {name: _clean("" if value is None else str(value)) for name, value in values.items()}))
    refuse(path, problems, f"give an object a line with {', '.join(columns)}")
    return rows


def _whole(value: Any) -> Any:
    """A value, as a whole number where it is one: pandas writes the numbers of a column with gaps as 7.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _clean(cell: str) -> str:
    return unicodedata.normalize("NFC", cell).strip().strip("\u200b\ufeff\u00a0").strip()
