"""The pictures of each evaluation set that did not leak, an id a line: what can be evaluated instead of all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from core.files import file_name_of_its_own, join, names_in, publish, read_bytes, remove_all
from dedup.overlap import leaked
from evaluation.leaks import clean_ids


def file_of(name: str) -> str:
    """What the list of a set is called, beside the stages' folders."""
    return f"clean-{file_name_of_its_own(name)}.txt"


def write_clean(
    out: str, table: pa.Table, asked: Mapping[str, Sequence[str]], before: tuple[pa.Table, Mapping[str, Any]] | None
) -> None:
    """Write the list of each set in the table OVERLAP. `asked`: set → ids of all its pictures.

    A set of `before` that was not asked about again keeps its pictures; the shards may be others now, and so its leaks.
    """
    for name, ids in asked.items():
        _write(out, table, name, ids)
    if before is None:
        return
    there = names_in(out)
    for name, about in before[1]["sets"].items():
        if name in asked or file_of(name) not in there:
            continue
        old = read_bytes(join(out, file_of(name))).decode().splitlines()
        every = {*old, *_leaked(before[0], name)}
        if len(every) == about["asked"]:
            _write(out, table, name, every)
        else:  # a run ended between the table and this list
            forget(out, [name])


def forget(out: str, names: Iterable[str]) -> None:
    """Remove the lists of sets that the table has no more."""
    remove_all(out, [file_of(name) for name in names])


def _write(out: str, table: pa.Table, name: str, ids: Iterable[str]) -> None:
    clean = clean_ids(dict.fromkeys(ids), _leaked(table, name))
    publish(join(out, file_of(name)), "".join(f"{id_}\n" for id_ in clean).encode())


def _leaked(table: pa.Table, name: str) -> set[str]:
    return set(leaked(table.filter(pc.equal(table["eval_set"], name)))["key"].to_pylist())
