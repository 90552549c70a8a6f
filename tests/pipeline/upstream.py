"""What the stages before the one under test leave behind, written by hand; and stages run in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

import openwit
from pipeline.attempt import Attempt, Job, Task
from shards.files import read_table
from shards.manifest import Manifest, Receipt, read_manifest, write_manifest
from shards.recipe import STAGES
from shards.tables import name_of
from tests.running import settings


@dataclass(frozen=True)
class Project:
    """A recipe of its own in a folder; its stages run in this process."""

    folder: Path
    values: Mapping[str, object] = field(default_factory=dict)  # of the recipe: {"fetch.contact": "me@a.test"}

    def of(self, stage: str) -> Path:
        """The folder of a stage."""
        return self.folder / f"{STAGES.index(stage)}_{stage}"

    def write(self, stage: str, tasks: Mapping[str, Sequence[pa.Table]]) -> None:
        """Finish a stage without running it: each task commits the given tables."""
        receipts = []
        for task, tables in tasks.items():
            with self.attempt(stage, task) as attempt:
                for table in tables:
                    attempt.rows(table, table.schema)
            receipts.append(self.receipt(stage, task))
        write_manifest(str(self.of(stage)), {"stage": stage}, receipts)

    def attempt(self, stage: str, task: str) -> Attempt:
        """An attempt at a task of a stage, for what is more than tables."""
        return Attempt(_job(self.of(stage)), Task(task))

    def receipt(self, stage: str, task: str) -> Receipt:
        """What that attempt committed."""
        receipt = _job(self.of(stage)).done(Task(task))
        assert receipt is not None
        return receipt

    def words(self, **values: object) -> list[str]:
        """Command line words after the verb."""
        recipe = self.folder / "recipe.toml"
        recipe.touch()
        base = {"run.out": str(self.folder), "run.seed": 1, "engine.workers": 1}
        return ["--recipe", str(recipe), *settings(**{**base, **self.values, **values})]

    def run(self, stage: str, status: int = 0, **values: object) -> None:
        """Run a stage; the test fails unless it ends with that status."""
        assert openwit.main([stage, *self.words(**values)]) == status

    def manifest(self, stage: str) -> Manifest:
        found = read_manifest(str(self.of(stage)))
        assert found is not None
        return found

    def table(self, stage: str, schema: pa.Schema) -> pa.Table:
        """All rows of a stage's table, part after part."""
        paths = self.manifest(stage).paths(name_of(schema))
        return pa.concat_tables([schema.empty_table(), *(read_table(path, schema) for path in paths)])

    def rows(self, stage: str, schema: pa.Schema) -> list[dict[str, Any]]:
        """The same as Python's objects."""
        return list(self.table(stage, schema).to_pylist())


def _job(folder: Path) -> Job[None]:
    return Job(str(folder), "made", "basis", 1, None)


def table_of(schema: pa.Schema, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows of a declared table; a column that a row does not name is empty."""
    blank = {column.name: _blank(column) for column in schema}
    return pa.Table.from_pylist([{**blank, **row} for row in rows], schema=schema)


def _blank(column: pa.Field) -> Any:
    if column.nullable:
        return None
    if pa.types.is_fixed_size_binary(column.type):
        return bytes(column.type.byte_width)
    return "" if pa.types.is_string(column.type) else [] if pa.types.is_list(column.type) else 0
