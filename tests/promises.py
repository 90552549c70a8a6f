"""What must hold of a run's folder, whatever has happened to it, and of the commands that were run on it.

`Run` runs commands and does as they ask; `hold` compares each manifest with the disk when nobody works.
"""

from __future__ import annotations

import hashlib
import re
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals
from typing import Any

from core.errors import Failure
from core.files import digest, filesystem
from core.manifest import MANIFEST, Manifest, balance, read_manifest
from core.runs import METADATA
from tests.forks import Command, Forks
from tests.running import REAL, settings
from tests.small import FOLDERS, PIPELINE, contents, without_inputs

Values = Mapping[str, object]

RECIPES: Sequence[Values] = (  # the walk ends with the first; each other one begins to differ at another stage
    {},
    {"queries.max_queries": 3},
    {"crawl.crawl_id": "another"},
    {"filter.min_words": 4},
    {"match.max_pairs_per_query": 6},
    {"fetch.images_per_chunk": 5, "fetch.image_size": 128},
    {"dedup.max_captions": 1},
    {"pack.samples_per_shard": 9},
    {"run.seed": 2},
)
HANGS = 120.0  # seconds after which a command is taken to hang: undisturbed the longest takes some
PARTS = "_parts.parquet"
_PROGRESS = re.compile(r"\w+: [\d,]+/[\d,]+ \w+(, .*)?")
_NOT_SAID = re.compile(r"Traceback|unexpected|this is a bug|\b[A-Z]\w+(Error|Exception|Warning)\b")
# What Python itself says in a worker process whose parent was killed while it started it.
_WORKER_UNBORN = re.compile(r"Traceback .*\n(  .*\n)*.*reduction\.pickle\.load\(from_parent\)\n(  .*\n)*EOFError: .*\n")
_DESCRIBES = ("schema_version", "counts", "notes", "parts_sha256", "inputs")  # in a manifest, beside what determines it


@dataclass(frozen=True)
class Refusal:
    """A reason for which a command may end without having done its work: its exit status, and what it says of it."""

    status: int
    sentence: re.Pattern[str]


BUSY = Refusal(1, re.compile(r" is already running on |/_lock is held by a process that is alive"))
MADE_ANEW = Refusal(1, re.compile(r" was made anew while "))
NOT_READY = Refusal(2, re.compile(r" is not finished: run openwit | was made from another \w+ than "))
WORKER_KILLED = Refusal(1, re.compile(rf": a worker process ended with status -{signal.SIGKILL:d} "))


@dataclass(frozen=True)
class World:
    """What all walks share: how a command is called, and what undisturbed runs made.

    `expected`: what the first recipe's stages wrote; `seconds`: how long each takes. By what determines a finished
    stage, from the raw files on: its parts in `parts`; `known` leads there from the digests of manifests.
    """

    forks: Forks
    values: Values
    env: Mapping[str, str]
    undisturbed: Path
    seconds: dict[str, float] = field(default_factory=dict)
    expected: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)
    parts: dict[str, frozenset[Any]] = field(default_factory=dict)

    def learn(self, stage: str, manifest: Manifest) -> None:
        """Take a stage for one that is as it should be."""
        self.facts.setdefault(stage, []).append(facts_of(manifest))

    def start(self, verb: str, recipe: int, out: str, **more: object) -> Command:
        """Start a verb with one of the recipes."""
        values = {**self.values, "run.out": out, **RECIPES[recipe], **more}
        return self.forks.start([verb, "--recipe", REAL, *settings(**values)], self.env)


class Run:
    """One run's folder, the commands that work on it, and what the walk has damaged of it."""

    def __init__(self, world: World, out: str) -> None:
        self.world, self.out = world, out
        self.fs, self.root = filesystem(out)
        self.damaged: dict[str, str | None] = {}  # path → digest of what the walk left there, None: nothing
        self._started: list[Command] = []

    # ── running commands ──

    def start(self, verb: str, recipe: int, **more: object) -> Command:
        """Start a verb with one of the recipes."""
        command = self.world.start(verb, recipe, self.out, **more)
        self._started.append(command)
        return command

    def kill_all(self) -> None:
        """Leave nobody behind."""
        for command in self._started:
            command.kill()

    def run_one(self, stage: str, recipe: int) -> None:
        """Run a stage to its end, undisturbed."""
        command = self.start(stage, recipe)
        assert self.end(command) == 0, command.printed("stderr")

    def bring(self, last: str, recipe: int) -> None:
        """Run the stages up to one, each to its end, doing as they ask where a file is damaged."""
        stages = list(PIPELINE[: PIPELINE.index(last) + 1])
        while stages:
            command = self.start(stages[0], recipe)
            if self.end(command) == 0:
                stages.pop(0)
            else:
                self.remove_damaged(command)
                stages = list(PIPELINE[: PIPELINE.index(last) + 1])

    def end(self, command: Command, *refusals: Refusal, sent: Signals | None = None) -> int:
        """Wait for a command's end; its exit status.

        It is 0, or that of a signal that was sent, or else the command names a damaged file or one of the `refusals`.
        """
        status, verb = command.wait(HANGS), command.words[0]
        if status is None:
            command.kill()
            raise AssertionError(f"{verb} hangs: it said {command.printed('stderr')!r}")
        deadline = time.monotonic() + HANGS
        while command.is_alive():
            assert time.monotonic() < deadline, f"workers of {verb} outlive it"
            time.sleep(0.01)
        said = command.printed("stderr")
        if sent == signal.SIGKILL:
            said = _WORKER_UNBORN.sub("", said)
        assert status in {0, 1, 2, -(sent or 0)}, f"{verb} ended with {status}:\n{said}"
        assert not _NOT_SAID.search(said), f"{verb} said:\n{said}"
        lines = [line for line in said.splitlines() if not _PROGRESS.fullmatch(line)]
        assert len(lines) == (status > 0), f"{verb} ended with {status} and said:\n{said}"
        if status > 0 and not any(it.status == status and it.sentence.search(lines[0]) for it in refusals):
            assert self.damage_named(command), (
                f"{verb} failed for no reason that the walk gave it, and for no damage ({[*self.damaged]}):\n{said}"
            )
        return status

    def end_both(self, *commands: Command) -> None:
        """Wait for the ends of two commands on one folder: one does its work, unless it names a damaged file."""
        done = [self.end(command, BUSY, MADE_ANEW) == 0 for command in commands]
        assert any(done) or any(map(self.damage_named, commands)), "\n".join(
            ["none of two at once came to its end:", *(command.printed("stderr") for command in commands)]
        )

    def damage_named(self, command: Command) -> list[str]:
        """The files that the walk has damaged, and of which a command that failed says so."""
        said = command.printed("stderr")
        named = [path for path in self.damaged if path in said]
        manifest = re.search(r"\S+/_manifest\.json(?= is damaged)", said)
        if manifest and not named:  # "… or does not belong to its _parts.parquet"
            named = [path for path in self.damaged if path.endswith(f"{Path(manifest[0]).parent.name}/{PARTS}")]
        return named

    def remove_damaged(self, command: Command) -> None:
        """Do as a command asks that names a damaged file."""
        for path in self.damage_named(command):
            folder, _, name = path.rpartition("/")
            for both in (MANIFEST, PARTS) if name in (MANIFEST, PARTS) else (name,):
                if self.fs.exists(f"{folder}/{both}"):
                    self.fs.rm(f"{folder}/{both}")
                self.damaged.pop(f"{folder}/{both}", None)

    def status(self, recipe: int) -> None:
        """What is called complete has all its parts."""
        command = self.start("status", recipe)
        if self.end(command):
            return
        for line in command.printed("stdout").splitlines()[1:]:
            stage, said = line.split()[:2]
            if said == "complete" and stage in PIPELINE:
                manifest = read_manifest(f"{self.out}/{FOLDERS[stage]}")
                assert manifest is not None, f"status calls {stage} complete, which has no manifest"
                gone = [part.name for part, data in self.parts(manifest) if data is None or len(data) != part.bytes]
                assert not gone, f"status calls {stage} complete, which lacks {', '.join(gone)}"

    # ── what must hold ──

    def hold(self) -> None:
        """Now that nobody works: what each manifest says is so, but for what the walk has damaged."""
        for path, left in list(self.damaged.items()):
            if sha256(self.read(path)) != left:
                del self.damaged[path]  # it was written again, or removed
        for stage in PIPELINE:
            folder = f"{self.root}/{FOLDERS[stage]}"
            try:
                manifest = read_manifest(f"{self.out}/{FOLDERS[stage]}")
            except Failure as failure:
                assert {f"{folder}/{MANIFEST}", f"{folder}/{PARTS}"} & {*self.damaged}, str(failure)
                continue
            if manifest is not None:
                self._hold_manifest(stage, manifest)

    def _hold_manifest(self, stage: str, manifest: Manifest) -> None:
        assert facts_of(manifest) in self.world.facts[stage], f"{stage} says it was made by {facts_of(manifest)}"
        balance(manifest.counts)
        for part, data in self.parts(manifest):
            if f"{self.root}/{FOLDERS[stage]}/{part.name}" not in self.damaged:
                assert data is not None, f"{stage} is complete without {part.name}"
                assert sha256(data) == part.sha256, f"{stage} is complete, and {part.name} is another"
        self._world_knows(stage, manifest)

    def _world_knows(self, stage: str, manifest: Manifest) -> None:
        """A stage that is made of the same has the same parts, whatever happened on the way."""
        known, parts = self.world.known, self.world.parts
        made_of = {name: known.get(of, "") if name in PIPELINE else of for name, of in manifest.facts["inputs"].items()}
        if not all(made_of.values()):
            return  # of a state that came and went while nobody looked
        key = known[manifest.digest] = digest(facts_of(manifest), made_of)
        found = frozenset(
            part for part in manifest.parts if (stage, part.table) != ("fetch", "outcome")
        )  # it has times
        other = parts.setdefault(key, found) ^ found
        assert not other, f"{stage} is not made of what it says: {', '.join(sorted(part.name for part in other))}"

    def hold_at_the_end(self, folder: Path) -> None:
        """Run all with the first recipe: nothing of what went before shows. `folder`: where a store's files may go."""
        self.bring(PIPELINE[-1], 0)
        self.hold()
        self.status(0)
        for stage in PIPELINE:
            here = Path(self.root) / FOLDERS[stage]
            if "://" in self.out:
                here = folder / FOLDERS[stage]
                self.fs.get(f"{self.root}/{FOLDERS[stage]}", str(here), recursive=True)
            unread = {name for name in self._unread(stage) if name.startswith("_receipts/")}
            found, expected = look(stage, here), self.world.expected[stage]
            differ = [name for name in {*found, *expected} if found.get(name) != expected.get(name)]
            assert set(differ) <= unread, (
                f"{stage} is other than undisturbed: {', '.join(sorted(set(differ) - unread))}"
            )
            manifest = read_manifest(str(here))
            assert manifest is not None
            named = {part.name for part in manifest.parts} | METADATA | receipts(self.world.undisturbed, stage)
            left = [name for name in self._names(stage) if name not in named and not name.startswith("_lock.")]
            assert not left, f"{stage} has files that nobody names: {', '.join(left)}"

    # ── files ──

    def files(self, stage: str) -> list[str]:
        return sorted(self.fs.find(f"{self.root}/{FOLDERS[stage]}"))

    def _names(self, stage: str) -> list[str]:
        return [path.removeprefix(f"{self.root}/{FOLDERS[stage]}/") for path in self.files(stage)]

    def _unread(self, stage: str) -> list[str]:
        """Names of files that the walk has damaged and nobody needed since."""
        start = f"{self.root}/{FOLDERS[stage]}/"
        return [path.removeprefix(start) for path in self.damaged if path.startswith(start)]

    def read(self, path: str) -> bytes | None:
        try:
            return bytes(self.fs.cat_file(path))
        except FileNotFoundError:
            return None

    def parts(self, manifest: Manifest) -> Iterator[tuple[Any, bytes | None]]:
        folder = filesystem(manifest.folder)[1]
        yield from ((part, self.read(f"{folder}/{part.name}")) for part in manifest.parts)


def look(stage: str, folder: Path) -> dict[str, Any]:
    """What a stage wrote, by name, as far as a fixed web determines it; and what it counted."""
    manifest = read_manifest(str(folder))
    assert manifest is not None
    files = without_inputs(folder) if stage in ("dedup", "pack") else contents(folder)
    return {**files, "counts": manifest.counts, "notes": manifest.facts["notes"]}


def facts_of(manifest: Manifest) -> dict[str, Any]:
    """What determines a stage beside what it reads."""
    return {key: value for key, value in manifest.facts.items() if key not in _DESCRIBES}


def receipts(out: Path, stage: str) -> set[str]:
    """The names of a stage's receipts."""
    return {f"_receipts/{path.name}" for path in (out / FOLDERS[stage] / "_receipts").iterdir()}


def sha256(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()
