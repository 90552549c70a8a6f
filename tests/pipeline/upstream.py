"""What the stages before the one under test leave behind, written by hand; and stages run in this process."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

import openwit
from core.manifest import Manifest, read_manifest, write_manifest
from core.registry import STAGES
from core.tables import name_of, read_table
from pipeline.ids import image_id, pair_id
from pipeline.tables import OUTCOME, PAIR
from pipeline.tasks.attempt import Attempt, Job, Task
from shards.format import CHUNK, TarWriter
from tests.running import settings
from tests.shards.helpers import outcome

Values = Mapping[str, object]  # {"fetch.contact": "me@a.test"}
NO_VALUES: Values = {}


@dataclass(frozen=True)
class Project:
    """A recipe of its own, whose stages write below a folder and run in this process."""

    folder: Path
    values: Values = field(default_factory=dict)

    def of(self, stage: str) -> Path:
        """The folder of a stage."""
        return self.folder / STAGES[stage].folder

    # ── stages that ran before ──

    def write(self, stage: str, tasks: Mapping[str, Iterable[pa.Table]], images: int = 0) -> None:
        """Finish a stage whose tasks write the given tables; its counts say that it kept so many images."""
        for i, (task, tables) in enumerate(tasks.items()):
            with self._attempt(stage, task) as attempt:
                for table in tables:
                    attempt.rows(table, table.schema)
                attempt.count_in("images", 0 if i else images)
                attempt.count_kept("images", 0 if i else images)
        self._finish(stage, tasks)

    def write_fetch(self, chunks: Mapping[str, Mapping[str, bytes | str]], lost: Container[str] = ()) -> None:
        """Finish a fetch: by chunk and image URL the picture as sent, and stored as it is, or the reason of failure.

        The pictures of `lost` URLs have an outcome but are not in their chunk.
        """
        for task, images in chunks.items():
            found = sorted((image_id(url), url, what) for url, what in images.items())
            with self._attempt("fetch", task) as attempt:
                with attempt.file("chunk_tar", f"chunk_tar/{task}.tar") as part, TarWriter(part.file) as tar:
                    index = [
                        tar.add(id_, "jpg", what)
                        for id_, url, what in found
                        if isinstance(what, bytes) and url not in lost
                    ]
                    part.rows = len(index)
                attempt.rows(pa.Table.from_pylist(index, schema=CHUNK), CHUNK)
                rows = [
                    outcome(url, what if isinstance(what, bytes) else None, _reason(what)) for _, url, what in found
                ]
                attempt.rows(table_of(OUTCOME, rows), OUTCOME)
        self._finish("fetch", chunks)

    def _attempt(self, stage: str, task: str) -> Attempt:
        return Attempt(
            Job(folder=str(self.of(stage)), step="made", step_digest="basis", seed=1, config=None, facts_digest=""),
            Task(task),
        )

    def _finish(self, stage: str, tasks: Iterable[str]) -> None:
        folder = str(self.of(stage))
        receipts = [
            Job(folder=folder, step="made", step_digest="basis", seed=1, config=None, facts_digest="").done(Task(task))
            for task in tasks
        ]
        write_manifest(folder, {"stage": stage}, [receipt for receipt in receipts if receipt])

    # ── the stage that is looked at ──

    def words(self, values: Values = NO_VALUES) -> list[str]:
        """Command line words after the verb."""
        recipe = self.folder / "recipe.toml"
        recipe.touch()
        base = {"run.out": str(self.folder), "run.seed": 1, "engine.workers": 1}
        return ["--recipe", str(recipe), *settings(**{**base, **self.values, **values})]

    def run(self, stage: str, values: Values = NO_VALUES, status: int = 0) -> None:
        """Run a stage; the test fails unless it ends with that status."""
        assert openwit.main([stage, *self.words(values)]) == status

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


def table_of(schema: pa.Schema, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows of a declared table; what a row does not say is null, or empty where the column has no nulls."""
    blank = {column.name: _blank(column) for column in schema}
    said = ({name: value for name, value in row.items() if value is not None} for row in rows)
    return pa.Table.from_pylist([{**blank, **row} for row in said], schema=schema)


def pair(url: str, text: str, **more: Any) -> dict[str, Any]:
    """A row of the table pair, or candidate."""
    return {"image_url": url, "image_id": image_id(url), "text": text, "pair_id": pair_id(url, text), **more}


def pairs(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """A part of pairs."""
    return table_of(PAIR, rows)


def _reason(what: bytes | str) -> str:
    return what if isinstance(what, str) else ""


def _blank(column: pa.Field) -> Any:
    if column.nullable:
        return None
    if pa.types.is_fixed_size_binary(column.type):
        return bytes(column.type.byte_width)
    return "" if pa.types.is_string(column.type) else [] if pa.types.is_list(column.type) else 0
