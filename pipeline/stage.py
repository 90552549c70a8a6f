"""Running a stage: read its table of the recipe, see whether all is done already, run its tasks, write its manifest.

A stage is a row in core/registry.py and a module with a docstring, a `Definition` named STAGE, and its `main`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Generic, Self, TypeVar

import apache_beam as beam
import msgspec
import pyarrow as pa

from core import recipe as recipes
from core import runs
from core.command import run_recipe
from core.errors import Failure, WorkToDo
from core.exclusive import exclusive
from core.files import digest, join, names_in, shown
from core.inputs import Memory, Source, names_of, stats_of, without_copies
from core.manifest import MANIFEST, Manifest, Part, Receipt, read_all_receipts, sha256s_read
from core.registry import STAGES, module_of
from pipeline import engines
from pipeline.tasks.attempt import Attempt, Job, Task
from pipeline.tasks.lanes import ForEachLane, ForEachTask, Lane, in_lanes
from pipeline.tasks.progress import TaskProgress
from pipeline.tasks.shuffle import Shuffle

C = TypeVar("C", bound=msgspec.Struct)  # Config of a stage
K = TypeVar("K")  # what the tasks of one step get: mostly that Config

PACKAGES = ("apache-beam", "pyarrow", "pillow", "numpy")  # whose versions a person asks for


@dataclass(frozen=True, kw_only=True)
class Definition(Generic[C]):
    """What the module of a stage says of it."""

    config: type[C]  # the recipe's table of the stage's name: a frozen msgspec Struct
    run: Callable[[Stage[C]], None]
    rules_version: int  # raised when the same rows would be judged otherwise
    libraries: tuple[str, ...] = ()  # whose versions decide on what it writes, beside pyarrow's
    steps: Callable[[Stage[C]], dict[str, int]] = lambda stage: {}  # how many tasks each step of `run` will have
    sources: Callable[[C], dict[str, list[str]]] = lambda config: {}  # the raw files that it reads, by kind: patterns
    check: Callable[[Stage[C]], None] = lambda stage: None  # what is wrong with the recipe, before anything is touched
    determined_by: Callable[[recipes.Recipe], dict[str, Any]] = lambda recipe: {}  # whatever else decides on its bytes

    def files(self, recipe: recipes.Recipe, name: str, config: C) -> dict[str, list[str]]:
        """The raw files by kind, sorted; UsageError where they cannot be listed from here."""
        patterns = self.sources(config)
        return {kind: recipes.files(some, recipe.path, f"{name}.{kind}") for kind, some in patterns.items()}

    def facts(self, recipe: recipes.Recipe, name: str, config: C, inputs: Mapping[str, str]) -> dict[str, Any]:
        """What determines the bytes of a stage, as its manifest has it."""
        return {
            "stage": name,
            "rules_version": self.rules_version,
            "seed": recipe.run.seed,
            "config": recipes.in_manifest(config),
            "inputs": inputs,
            "determined_by": {
                "libraries": {name: version(name) for name in ("pyarrow", *self.libraries)},
                **self.determined_by(recipe),
            },
        }


def definition_of(name: str) -> Definition[Any]:
    """The definition of a stage that Beam carries."""
    definition: Definition[Any] = module_of(name).STAGE
    return definition


class Stage(Generic[C]):
    """One stage of one recipe, as its module's `run` sees it once `look` was called."""

    engine: engines.Engine  # what its steps run on, while they do
    reads: dict[str, Manifest]  # of the stages that it reads
    sources: dict[str, list[Source]]  # the raw files by kind, sorted by id
    copies: list[str]  # a line about each file that is another's copy
    facts: dict[str, Any]  # what determines its bytes
    facts_digest: str

    def __init__(self, recipe: recipes.Recipe, name: str, definition: Definition[C]) -> None:
        self.recipe, self.name = recipe, name
        self.config: C = recipe.config(name, definition.config)
        self.engine_config = recipe.config("engine", engines.Config)
        self.seed = recipe.run.seed
        self.folder = recipe.folder(name)
        self.raw_bytes = 0  # of all raw files together
        self.memory = Memory({})
        self._definition = definition
        self._receipts: list[Receipt] = []
        self._work: dict[str, dict[str, float]] = {}  # what this process did of each step, see runs.how_it_ran

    def look(self) -> Self:
        """Find out what the stage reads: of each stage its manifest, of each raw file what it holds.

        UsageError where something is not there. It may take a while: new raw files are read, large ones in part.
        """
        self.reads = {stage: runs.require_finished(self.recipe, stage, self.name) for stage in STAGES[self.name].reads}
        self.memory = Memory(runs.known_raw_files(self.folder))
        inputs = {stage: manifest.digest for stage, manifest in self.reads.items()}
        self.sources, self.copies = {}, []
        for kind, some in self._sources().items():
            inputs |= {f"{kind}:{source.id}": source.digest for source in some}
            self.sources[kind], copies = without_copies(some, self.memory.whole)
            self.copies += copies
        self.facts = self._definition.facts(self.recipe, self.name, self.config, inputs)
        self.facts_digest = runs.facts_digest(self.facts)
        return self

    def _sources(self) -> dict[str, list[Source]]:
        files = self._definition.files(self.recipe, self.name, self.config)
        paths = [path for some in files.values() for path in some]
        if self.recipe.check and paths and MANIFEST not in names_in(self.folder):
            raise WorkToDo  # which is known without reading them
        stats = stats_of(paths)
        self.raw_bytes = sum(stat.size for stat in stats.values())
        names = names_of(paths)
        if unsure := self.memory.unsure(stats):  # of a run that was killed, what a task has read is in its receipt
            read = sha256s_read(read_all_receipts(self.folder))
            for path in unsure:
                if sha256 := read.get(Source(path, self.memory.digest_of(path), names[path]).id):
                    self.memory.learn(path, sha256)
        digests = self.memory.digests(stats)
        return {kind: [Source(path, digests[path], names[path]) for path in some] for kind, some in files.items()}

    # ── running tasks ──

    def job(self, step: str, uses: Sequence[str] | None = None, all_inputs: bool = False) -> Job[C]:
        """What the tasks of one step share.

        `uses`: the keys of the Config that the step looks at, None for all; editing another does not undo it.
        What each task reads is in the task; with `all_inputs` each depends on everything that the stage reads.
        """
        facts = {key: value for key, value in self.facts.items() if key != "inputs" or all_inputs}
        if uses is not None:
            facts["config"] = {key: facts["config"][key] for key in uses}
        return Job(
            folder=self.folder,
            step=step,
            step_digest=digest(facts),
            seed=self.seed,
            config=self.config,
            facts_digest=self.facts_digest,
            lease_seconds=self.engine_config.lease_seconds,
            all_inputs=all_inputs,
        )

    def run(self, job: Job[K], work: Callable[[Task, K, Attempt], None], tasks: Sequence[Task]) -> list[Receipt]:
        """Do `work(task, config, attempt)` for each task that has no receipt; return the receipts of all."""
        return self._run(lambda missing: self.engine.run(ForEachTask(job, work), in_lanes(missing)), job, tasks)

    def run_lanes(self, job: Job[K], work: Callable[[Lane, K], None], tasks: Sequence[Task]) -> list[Receipt]:
        """Do `work(lane, config)` for each lane that has tasks without a receipt; return the receipts of all."""
        return self._run(lambda missing: self.engine.run(ForEachLane(job, work), in_lanes(missing)), job, tasks)

    def shuffle(
        self,
        job: Job[K],
        rows: Callable[[beam.PCollection], beam.PCollection],
        commit: Callable[[Task, pa.Table | None, K, Attempt], None],
        reads: Sequence[Task],
        tasks: Sequence[Task],
    ) -> list[Receipt]:
        """Shuffle what `reads` name to the tasks that it ends in, in one pipeline, unless all of these have receipts.

        See tasks/shuffle.py: `rows` builds the steps, `commit` does a task with the rows that came to it.
        """
        shuffle = Shuffle(job, rows, commit)
        return self._run(lambda missing: self.engine.shuffle(shuffle, reads, tasks), job, tasks)

    def _run(self, work: Callable[[Sequence[Task]], None], job: Job[Any], tasks: Sequence[Task]) -> list[Receipt]:
        for task in tasks:
            if not (task.inputs or job.all_inputs):
                raise TypeError(f"task {task.id} of {job.step} names no input: its receipt would outlive what it reads")
        done = job.receipts(tasks)
        missing = [task for task in tasks if task.id not in done]
        started = time.monotonic()
        if missing:
            with TaskProgress(self.name, job, missing, list(done.values())):
                work(missing)
            done |= job.receipts(missing)
        seconds = round(time.monotonic() - started, 3)
        self._work[job.step] = {"here": len(missing), "of": len(tasks), "seconds": seconds}
        receipts = []
        for task in tasks:
            receipt = done.get(task.id) or job.done(task)  # a listing of a store may be late
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

    def finish(self, started: float, require_lock: Callable[[], None]) -> Manifest:
        """Declare the stage complete, and say how it ran. `require_lock` raises Failure once it is another's."""
        runs.require_unchanged(self.recipe, self.name, self.reads.values())
        read = sha256s_read(self._receipts)
        for source in (source for some in self.sources.values() for source in some if source.id in read):
            self.memory.learn(source.path, read[source.id])
        more = {"engine": self.engine.name, "raw_bytes": self.raw_bytes, "raw_files": self.memory.known}
        run = runs.how_it_ran(started, PACKAGES, self._work, **more)
        return runs.publish_manifest(self.folder, self.facts, self._receipts, run, require_lock)


def main_of(name: str) -> Callable[[Sequence[str] | None], int]:
    """The `main` of a stage's module, its command line. By name, for classes of __main__ would not pickle."""

    def main(argv: Sequence[str] | None = None) -> int:
        doc = module_of(name).__doc__ or ""
        return run_recipe(name, doc, lambda recipe: _run_stage(recipe, name, definition_of(name)), argv)

    return main


def _run_stage(recipe: recipes.Recipe, name: str, definition: Definition[Any]) -> None:
    started = time.time()
    stage: Stage[Any] = Stage(recipe, name, definition).look()
    if runs.nothing_to_do(recipe, stage.folder, stage.facts):
        if stage.memory.is_new and not recipe.check:
            with suppress(Failure):  # of a folder that may not be written: they are looked at anew the next time
                runs.remember(stage.folder, stage.memory.known)
        return
    definition.check(stage)
    for line in stage.copies:
        print(f"{name}: {line}", flush=True)
    with exclusive(stage.folder, name) as require_lock:
        runs.begin(stage.folder, stage.facts, stage.memory.known)
        try:
            with engines.opened(stage.engine_config) as stage.engine:
                definition.run(stage)
        except Failure:
            runs.require_unchanged(recipe, name, stage.reads.values())  # that may be why
            raise
        manifest = stage.finish(started, require_lock)
    print(f"{name}: {summary(manifest)} → {shown(stage.folder)} in {time.time() - started:.1f} s")


def summary(manifest: Manifest) -> str:
    """The exit line: what came in and what was kept, a clause a unit; notes are what a reader must know."""
    clauses = [
        f"kept {count['kept']:,} of {count['in']:,} {unit}{runs.top_drops(count['dropped'])}"
        for unit, count in sorted(manifest.counts.items())
    ]
    clauses += [f"{name.replace('_', ' ')} {n:,}" for name, n in sorted(manifest.facts["notes"].items())]
    return "; ".join(clauses) or "done"
