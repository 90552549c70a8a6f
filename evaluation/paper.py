"""The CLIP paper's tables and figures as reference data (arXiv 2103.00020 v1), each value with its source.

The files are evaluation/data/paper/*.csv. SOURCE.md beside them says what each source is, and lists where the paper
does not agree with itself, so that no test or plot expects more than it prints. Percentages unless a file says
otherwise there.
"""

from __future__ import annotations

import csv
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from core.errors import Failure, UsageError

DATA = Path(__file__).parent / "data" / "paper"
COLUMNS = ("row", "column", "value", "source", "recalled")

SUITE_12 = (  # the sets of Kornblith et al. (2019), in table 10's order
    "Food101", "CIFAR10", "CIFAR100", "Birdsnap", "SUN397", "StanfordCars", "FGVCAircraft", "VOC2007", "DTD",
    "OxfordPets", "Caltech101", "Flowers102",
)  # fmt: skip
SUITE_27 = (
    *SUITE_12,
    "MNIST", "FER2013", "STL10", "EuroSAT", "RESISC45", "GTSRB", "KITTI", "Country211", "PCam", "UCF101",
    "Kinetics700", "CLEVRCounts", "HatefulMemes", "SST2", "ImageNet",
)  # fmt: skip


@dataclass(frozen=True)
class Value:
    """One number of the paper. `recalled`: no source that can be read has it, so plots draw it apart."""

    value: float
    source: str
    recalled: bool


Table = Mapping[str, Mapping[str, Value]]  # row → column → value


def names() -> list[str]:
    """The tables and figures that there are, "table_11" or "figure_05"."""
    return sorted(path.stem for path in DATA.glob("*.csv"))


@functools.cache
def table(name: str) -> Table:
    """A table or figure, rows and columns in the order of its file. UsageError where there is none of that name."""
    if name not in names():
        raise UsageError(f"there is no {name!r} among the paper's tables: there are {', '.join(names())}")
    return MappingProxyType({row: MappingProxyType(columns) for row, columns in read(DATA / f"{name}.csv").items()})


def read(path: Path) -> dict[str, dict[str, Value]]:
    """A file in the layout of the paper's tables. Failure, with the line, where it is damaged."""
    found: dict[str, dict[str, Value]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        if tuple(next(rows, ())) != COLUMNS:
            raise Failure(f"{path} is damaged: its first line is not {','.join(COLUMNS)}; install openwit again")
        for cells in rows:
            try:
                row, column, number, source, recalled = cells
                value = Value(float(number), source, {"yes": True, "no": False}[recalled])
            except (ValueError, KeyError):
                value = None
            if value is None or not math.isfinite(value.value) or not source or column in found.get(row, ()):
                raise Failure(f"{path} is damaged in line {rows.line_num}: {','.join(cells)}; install openwit again")
            found.setdefault(row, {})[column] = value
    return found


def row(table: Table, name: str) -> dict[str, Value]:
    """A row of a table, by column."""
    return dict(table[name])


def column(table: Table, name: str) -> dict[str, Value]:
    """A column of a table, by row; rows without it are left out."""
    return {row: columns[name] for row, columns in table.items() if name in columns}


def numbers(values: Mapping[str, Value]) -> dict[str, float]:
    """The bare numbers of a row or column."""
    return {name: value.value for name, value in values.items()}
