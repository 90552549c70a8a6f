"""Running a stage: read its table of the recipe, see whether all is done already, run its tasks, write its manifest.

A stage is a module with a docstring, `Config` (a frozen msgspec Struct), `READS` (the stages before it),
`RULES_VERSION` (raise it when the same rows would be judged otherwise) and `run(stage)`; optionally `sources(config)`,
the raw files it reads by kind, and `determined_by(recipe)`, whatever else decides on its bytes.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic, TypeVar

import apache_beam as beam

from pipeline.attempt import Job, Task
from pipeline.engine import run_local, run_shuffle
from pipeline.progress import Watch, top_drops
from shards import recipe as recipes
from shards.command import run_recipe
from shards.errors import Failure, UsageError
from shards.files import digest, digest_file, filesystem, is_local, join, publish, remove
from shards.manifest import Manifest, Part, Receipt, missing_part, read_manifest, write_manifest

C = TypeVar("C")


@dataclass(frozen=True)
class Source:
    """A raw input file: where it is, and what it is wherever it is."""

    path: str
    digest: str

    @property
    def name(self) -> str:
        """The file's own name, without its folder."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def id(self) -> str:
        """Names the file by what it holds: the same on every machine, another when a byte changes."""
        return f"{re.sub(r'[^A-Za-z0-9._-]+', '_', self.name)[:80]}-{self.digest[:12]}"


class Stage(Generic[C]):
    """One stage of one recipe, as its module's `run` sees it."""

    def __init__(self, recipe: recipes.Recipe, name: str, module: Any) -> None:
        self.recipe, self.name = recipe, name
        self.config: C = recipe.config(name, module.Config)
        self.seed = recipe.run.seed
        self.folder = recipe.folder(name)
        self.reads = {stage: self._finished(stage) for stage in module.READS}
        self.sources = self._sources(module)
        inputs = {stage: manifest.digest for stage, manifest in self.reads.items()}
        inputs |= {f"{kind}:{source.id}": source.digest for kind, some in self.sources.items() for source in some}
        self.facts: dict[str, Any] = {
            "stage": name,
            "rules_version": module.RULES_VERSION,
            "seed": self.seed,
            "config": recipes.in_manifest(self.config),
            "inputs": inputs,
            "determined_by": module.determined_by(recipe) if hasattr(module, "determined_by") else {},
        }
        self._receipts: list[Receipt] = []

    def _finished(self, stage: str) -> Manifest:
        manifest = read_manifest(self.recipe.folder(stage))
        if manifest is None:
            raise UsageError(
                f"{self.name} reads what {stage} makes, and {self.recipe.folder(stage)} is not finished: "
                f"run openwit {stage} --recipe {self.recipe.path} first"
            )
        return manifest

    def _sources(self, module: Any) -> dict[str, list[Source]]:
        if not hasattr(module, "sources"):
            return {}
        found = {}
        for kind, patterns in module.sources(self.config).items():
            paths = recipes.files(patterns, self.recipe.path, f"{self.name}.{kind}")
            by_id = {source.id: source for source in (Source(path, digest_file(path)) for path in paths)}
            found[kind] = [by_id[id_] for id_ in sorted(by_id)]
        return found

    # ── running tasks ──

    def job(self, step: str) -> Job[C]:
        """What the tasks of one step share; what each of them reads is in the task."""
        facts = {key: value for key, value in self.facts.items() if key != "inputs"}
        return Job(self.folder, step, digest(facts), self.seed, self.config)

    def shuffle_job(self, step: str) -> Job[C]:
        """The same for a step whose every task depends on all inputs."""
        return Job(self.folder, step, digest(self.facts), self.seed, self.config)

    def run(self, transform: beam.PTransform, job: Job[C], tasks: Sequence[Task]) -> list[Receipt]:
        """Run the tasks that have no receipt, dealt to the recipe's workers; return the receipts of all."""
        workers = self.recipe.config("engine", recipes.Engine).workers
        return self._run(lambda missing: run_local(transform, missing, workers), job, tasks)

    def shuffle(
        self, transform: beam.PTransform, job: Job[C], reads: Sequence[Task], ends_in: Sequence[Task]
    ) -> list[Receipt]:
        """Run a transform that shuffles what `reads` name, in one pipeline, unless all it ends in has receipts."""
        return self._run(lambda missing: run_shuffle(transform, reads, ends_in), job, ends_in)

    def _run(self, work: Callable[[Sequence[Task]], None], job: Job[C], tasks: Sequence[Task]) -> list[Receipt]:
        done = {task.id: receipt for task in tasks if (receipt := job.done(task))}
        missing = [task for task in tasks if task.id not in done]
        if missing:
            with Watch(self.name, job, missing, list(done.values())):
                work(missing)
        receipts = []
        for task in tasks:
            receipt = done.get(task.id) or job.done(task)
            if receipt is None:
                raise Failure(f"task {task.id} of {self.name} ended without a receipt: run the same command again")
            receipts.append(receipt)
        self._receipts += receipts
        return receipts

    def parts(self, receipts: Iterable[Receipt], table: str) -> list[Part]:
        """The parts of one table among what a step of this stage committed, sorted by task."""
        return sorted(part for receipt in receipts for part in receipt.parts if part.table == table)

    def path(self, part: Part) -> str:
        """Where a part of this stage is."""
        return join(self.folder, part.name)

    # ── the whole ──

    def up_to_date(self) -> bool:
        """Whether the stage's manifest was written for the same facts and all its parts are there."""
        manifest = read_manifest(self.folder)
        if manifest is None or any(manifest.facts.get(key) != value for key, value in self.facts.items()):
            return False
        return missing_part(manifest) is None

    def finish(self) -> Manifest:
        """Write the manifest, and remove what no receipt of this run names."""
        manifest = write_manifest(self.folder, self.facts, self._receipts)
        named = {part.name for part in manifest.parts}
        named |= {f"_receipts/{receipt.step}.{receipt.task}.json" for receipt in self._receipts}
        for name in _files_below(self.folder):
            if name not in named and name not in OUR_BOOKS:
                remove(join(self.folder, name))
        return manifest


OUR_BOOKS = {"_manifest.json", "_parts.parquet", "_run.json", "_lock"}


def _files_below(folder: str) -> list[str]:
    """Names of all files of a stage, relative to its folder."""
    fs, inner = filesystem(folder)
    return sorted(path[len(inner) :].lstrip("/") for path in fs.find(inner))


def command(module_name: str) -> Callable[[Sequence[str] | None], int]:
    """The command line of a stage: its module's `main`. By name, for classes of __main__ would not pickle."""

    def main(argv: Sequence[str] | None = None) -> int:
        module = importlib.import_module(module_name)
        name = module_name.rsplit(".", 1)[-1]
        return run_recipe(name, module.__doc__ or "", lambda recipe: _main(recipe, name, module), argv)

    return main


def _main(recipe: recipes.Recipe, name: str, module: Any) -> None:
    started = time.time()
    stage: Stage[Any] = Stage(recipe, name, module)
    with _alone(stage.folder, name):
        if stage.up_to_date():
            print(f"{name}: nothing to do, {stage.folder} is up to date")
            return
        remove(join(stage.folder, "_manifest.json"))  # existence means complete, and it no longer is
        module.run(stage)
        manifest = stage.finish()
        publish(join(stage.folder, "_run.json"), _how_it_ran(started))
    print(f"{name}: {summary(manifest)} → {stage.folder} in {time.time() - started:.1f} s")


def summary(manifest: Manifest) -> str:
    """The exit line: what came in and what was kept, a clause a unit; notes are what a reader must know."""
    clauses = [
        f"kept {count['kept']:,} of {count['in']:,} {unit}{top_drops(count['dropped'])}"
        for unit, count in sorted(manifest.counts.items())
    ]
    clauses += [f"{name.replace('_', ' ')} {n:,}" for name, n in sorted(manifest.facts["notes"].items())]
    return "; ".join(clauses) or "done"


def _how_it_ran(started: float) -> bytes:
    """What a person wants to know and no digest may hold: command, host, versions, seconds."""
    said = {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 3),
        "engine": "local",
        "host": platform.node(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in ("openwit", "apache-beam", "pyarrow", "pillow", "numpy")},
    }
    return (json.dumps(said, indent=1, sort_keys=True) + "\n").encode()


@contextmanager
def _alone(folder: str, name: str) -> Iterator[None]:
    """One run of a stage at a time; what a killed run left half-written is removed."""
    if not is_local(folder):
        yield
        return
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / "_lock").open("w")
    except OSError as error:
        raise Failure(
            f"cannot write {folder} ({os.strerror(error.errno or 0)}): make it writable, or move the recipe's run.out"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failure(f"{name} is already running on {folder}: wait for it, or end it first") from None
        for left in path.rglob(".tmp-*"):
            left.unlink()
        _check_room(path)
        yield


_LEAST_ROOM = 256 << 20  # bytes; below this no stage can do anything useful


def _check_room(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < _LEAST_ROOM:
        raise Failure(
            f"only {free >> 20} MiB are free on the disk of {folder}: free some ({_LEAST_ROOM >> 20} MiB at the "
            "least), or move the recipe's run.out"
        )
