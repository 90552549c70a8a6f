"""What an evaluation has computed and need not compute again: tables under receipts, by all that determined them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from core.files import digest, file_name, join
from core.listing import sizes_below
from core.manifest import Counts, Receipt, first_missing, read_receipts, write_receipt
from core.tables import name_of, read_table
from trainer import stage


@dataclass(frozen=True)
class Made:
    """Tables of different names, and what was counted on the way."""

    tables: Sequence[pa.Table]
    counts: Counts = field(default_factory=dict)


class Kept:
    """The receipts of a stage's folder, by step and task. `require_lock` raises Failure once it is another run's."""

    def __init__(self, folder: str, require_lock: Callable[[], None]) -> None:
        self._folder, self.require_lock = folder, require_lock
        self._sizes = sizes_below(folder)
        self._receipts: dict[tuple[str, str], Receipt] = {}
        self._made: list[str] = []
        self._prefix = ""

    @property
    def receipts(self) -> list[Receipt]:
        """Of what was asked for, made now or before."""
        return list(self._receipts.values())

    @property
    def made(self) -> int:
        """How many of the receipts were made now."""
        return len(self._made)

    def of_model(self, name: str) -> Kept:
        """The same, for tasks of another model: + stands in no other name of a task."""
        other = copy.copy(self)
        other._prefix = f"{plain_name(name)}+"
        return other

    def tables(
        self, step: str, task: str, basis: str, schemas: Sequence[pa.Schema], make: Callable[[], Made]
    ) -> Mapping[str, pa.Table]:
        """The tables of a task, by name: those that were made for the same `basis`, or what `make` returns now."""
        task = self._prefix + task
        known = self._receipts.get((step, task))  # of this run: its parts may be younger than the listing
        receipt = known or read_receipts(self._folder, step, [task]).get(task)
        is_there = receipt is not None and (
            known is not None or first_missing(self._folder, receipt.parts, self._sizes) is None
        )
        if receipt and receipt.basis == basis and is_there:
            self._receipts[step, task] = receipt
            by_name = {name_of(schema): schema for schema in schemas}
            return {
                part.table: read_table(join(self._folder, part.name), by_name[part.table]) for part in receipt.parts
            }
        made = make()
        self.require_lock()
        parts = tuple(
            sorted(
                stage.write_part(self._folder, name_of(table.schema), task, table, row_group_size=65_536)
                for table in made.tables
            )
        )
        receipt = Receipt(step, task, basis, parts, made.counts)
        write_receipt(self._folder, receipt)
        self._receipts[step, task] = receipt
        self._made.append(task)
        return {name_of(table.schema): table for table in made.tables}


def plain_name(name: str) -> str:
    """A name as tasks and files have it; where that is another, with the digest of the name."""
    safe = file_name(name).lstrip(".")[-60:]
    return safe if safe == name else f"{safe}-{digest(name)[:8]}"
