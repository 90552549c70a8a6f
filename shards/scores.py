"""What programs say of images: the table of scores, and the conditions under which `pack.where` keeps a sample."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.errors import Failure, UsageError
from core.files import open_input
from core.tables import ID, declare
from shards.format import Ids, id_at, ids_in, key_of

SCORE = declare(
    "score",
    1,
    {
        "image_id": (ID, "first 16 bytes of sha256(image_url); sorted by it within a part"),
        "name": (pa.string(), "what is measured, and by whom: clip:ViT-B/32"),
        "value": (pa.float32(), "in the unit that the name implies; of clip:… the cosine of image and own caption"),
    },
)


# ── conditions ────────────────────────────────────────────────────────────────────────────────────

_COMPARE: dict[str, Callable[[pa.ChunkedArray, pa.Scalar], pa.ChunkedArray]] = {
    ">=": pc.greater_equal,
    "<=": pc.less_equal,
    ">": pc.greater,
    "<": pc.less,
    "==": pc.equal,
    "!=": pc.not_equal,
}
_CONDITION = re.compile(r"\s*(>=|<=|==|!=|>|<)\s*(.*?)\s*", re.DOTALL)


@dataclass(frozen=True)
class Condition:
    """That a column or a score compares to a value as said: width >= 256."""

    name: str
    compare: str
    value: float | str

    @property
    def failed(self) -> str:
        """Under which name an image goes that does not meet it …"""
        return f"where:{self.name}"

    @property
    def missing(self) -> str:
        """… and one of which nothing is known."""
        return f"missing:{self.name}"

    def holds(self, values: pa.ChunkedArray) -> list[bool | None]:
        """Whether each value meets it; None where there is none. A float is compared as precisely as it is stored."""
        if isinstance(self.value, str):
            return list(_COMPARE[self.compare](values, pa.scalar(self.value)).to_pylist())
        kind = values.type if pa.types.is_floating(values.type) else pa.float64()
        return list(_COMPARE[self.compare](values.cast(kind), pa.scalar(self.value, kind)).to_pylist())


def conditions(where: Iterable[tuple[str, str]], columns: pa.Schema) -> list[Condition]:
    """Conditions as a recipe has them, {name: ">= 0.28"}, sorted by name: the first that fails names the drop.

    `columns` are those of images; a name that is none of them is a score's. ValueError where one makes no sense.
    """
    return [_condition(name, said, columns) for name, said in sorted(where)]


def comparable(columns: pa.Schema) -> list[str]:
    """The columns that a condition may name: numbers and texts."""
    return [column.name for column in columns if _is_number(column.type) or pa.types.is_string(column.type)]


def _condition(name: str, said: str, columns: pa.Schema) -> Condition:
    match = _CONDITION.fullmatch(said)
    if not match or not match[2]:
        raise ValueError(f'where.{name} = "{said}" is no condition: write a comparison and a value, as ">= 256"')
    compare, value = match.groups()
    if name in columns.names and name not in comparable(columns):
        raise ValueError(f"where.{name}: {name} is neither a number nor a text: name another column")
    if name in columns.names and not _is_number(columns.field(name).type):
        if compare not in ("==", "!="):
            raise ValueError(f'where.{name} = "{said}" compares a text: write "== {value}" or "!= {value}"')
        return Condition(name, compare, value)
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f'where.{name} = "{said}" compares to no number: write one, as ">= 0.28"')
    return Condition(name, compare, number)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def unknown(names: Iterable[str], known: Sequence[str]) -> str:
    """A sentence about the first name that is not among the known ones, with those that are near; empty if all are."""
    for name in sorted({*names} - {*known}):
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known are {', '.join(known)}"
        return f"there is no column or score {name!r}; {hint}"
    return ""


def unwanted(where: Sequence[Condition], images: pa.Table, scores: pa.Table) -> dict[bytes, str]:
    """The images that do not meet a condition, each with the name under which it goes.

    `images` has an image_id and columns, `scores` rows of SCORE that are sorted by it. Failure where an image has two
    different scores of one name.
    """
    ids = ids_in(images["image_id"])
    found: dict[bytes, str] = {}
    for condition in where:
        name = condition.name
        values = images[name] if name in images.column_names else _scores_of(ids, name, scores)
        for i, holds in enumerate(condition.holds(values)):
            if not holds:
                found.setdefault(id_at(ids, i), condition.missing if holds is None else condition.failed)
    return found


def _scores_of(ids: Ids, name: str, scores: pa.Table) -> pa.ChunkedArray:
    """The score of each id under a name: float32 [n], null where it has none."""
    rows = scores.filter(pc.equal(scores["name"], name))
    scored, values = ids_in(rows["image_id"]), rows["value"].to_numpy()
    twice = np.flatnonzero((scored[1:] == scored[:-1]) & (values[1:] != values[:-1]))
    if len(twice):
        raise Failure(
            f"image {key_of(id_at(scored, int(twice[0])))} has two different scores {name!r}: "
            "name the files of one of them alone in pack.scores"
        )
    at = np.minimum(np.searchsorted(scored, ids), max(0, len(scored) - 1))
    there = scored[at] == ids if len(scored) else np.zeros(len(ids), bool)
    taken = values[at] if len(scored) else np.zeros(len(ids), np.float32)
    return pa.chunked_array([pa.array(taken, pa.float32(), mask=~there)])


# ── files of scores ───────────────────────────────────────────────────────────────────────────────


def names_in(path: str) -> set[str]:
    """The names under which a file has scores; mostly by its footer alone. UsageError where it is no such file."""
    try:
        with open_input(path) as source, pq.ParquetFile(source) as file:
            _check(file.schema_arrow, path)
            column = file.schema.names.index("name")
            groups = [file.metadata.row_group(group).column(column).statistics for group in range(file.num_row_groups)]
            if all(about and about.has_min_max and about.min == about.max for about in groups):
                return {about.min for about in groups}
            return {*file.read(["name"])["name"].unique().to_pylist()}
    except (pa.ArrowInvalid, OSError) as error:
        raise UsageError(f"{path} is no table of scores ({error}): name Parquet files in pack.scores") from error


def read_scores(path: str, names: Collection[str]) -> pa.Table:
    """The rows of SCORE that a file has under some names, sorted by image_id; all of them are held in memory.

    A row whose value is null or not a number says nothing of its image, and is left out: pandas and polars write them.
    """
    try:
        with open_input(path) as source, pq.ParquetFile(source) as file:
            _check(file.schema_arrow, path)
            found = [SCORE.empty_table()]
            for batch in file.iter_batches(columns=SCORE.names):
                rows = _with_values(pa.table(batch)).cast(SCORE)
                found.append(rows.filter(pc.is_in(rows["name"], pa.array(sorted(names), pa.string()))))
    except (pa.ArrowInvalid, OSError, ValueError) as error:
        raise Failure(f"{path} is no table of scores, or is damaged ({error}): write it anew") from error
    rows = pa.concat_tables(found).combine_chunks()
    return rows.take(np.argsort(ids_in(rows["image_id"]), kind="stable"))


def _with_values(rows: pa.Table) -> pa.Table:
    rows = rows.select(SCORE.names)
    return rows.filter(pc.invert(pc.is_null(rows["value"], nan_is_null=True)))


def _check(schema: pa.Schema, path: str) -> None:
    """UsageError unless a file has an image_id of 16 bytes, a name and a value."""
    kinds = {field.name: field.type for field in schema}
    image_id, name, value = (kinds.get(column, pa.null()) for column in SCORE.names)
    text = name.value_type if pa.types.is_dictionary(name) else name
    is_variable = pa.types.is_binary(image_id) or pa.types.is_large_binary(image_id)  # as pandas and polars write it
    fits = (pa.types.is_fixed_size_binary(image_id) and image_id.byte_width == 16) or is_variable
    if not (fits and (pa.types.is_string(text) or pa.types.is_large_string(text)) and _is_number(value)):
        said = ", ".join(f"{column} {kind}" for column, kind in kinds.items())
        raise UsageError(
            f"{path} is no table of scores, which has an image_id (16 bytes), a name (text) and a value (number): "
            f"it has {said}"
        )
