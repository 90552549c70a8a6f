"""A random walk through the life of a run: its stages are started, killed, paused, run by two at once and with other
recipes, its files are cut off and taken away; then all is run to its end, and nothing may show.

What a walk does is a function of its seed alone; when a signal arrives is a share of the time that the stage takes
undisturbed, or the moment at which a file changes. After each step what must hold is looked at: tests/promises.py.
"""

from __future__ import annotations

import inspect
import os
import re
import shutil
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from signal import Signals
from typing import Any

from core.files import filesystem
from core.manifest import MANIFEST
from core.registry import STAGES
from core.runs import BEGUN
from tests.forks import Command
from tests.promises import MADE_ANEW, NOT_READY, PARTS, RECIPES, WORKER_KILLED, Run, World, sha256
from tests.small import FOLDERS, PIPELINE

_BOOKS = (MANIFEST, PARTS, BEGUN)  # which a damage hits as often as all parts and receipts together

# ── the steps of a walk ───────────────────────────────────────────────────────────────────────────

_SIGNS = ("", "", "", MANIFEST, MANIFEST, PARTS, BEGUN, "_receipts")


@dataclass(frozen=True)
class Moment:
    """In the life of a command: after a share of its stage's seconds, or then as a file or folder changes next."""

    share: float
    sign: str  # empty: none is waited for
    beyond: float  # seconds more

    @staticmethod
    def drawn(rng: Random) -> Moment:
        sign = rng.choice(_SIGNS)
        return Moment(round(rng.uniform(0.02, 0.6 if sign else 1.1), 3), sign, rng.choice((0.0, 0.0, 0.001, 0.005)))

    def __str__(self) -> str:
        return f"{self.share}{self.sign and f', then {self.sign} + {self.beyond} s'}"


VALUES: Mapping[str, Callable[[Random], Any]] = {  # what a step may need to know, and how it is drawn
    "stage": lambda rng: rng.choice(PIPELINE),
    "recipe": lambda rng: rng.choice((0, 0, 0, 0, *range(1, len(RECIPES)))),
    "other": lambda rng: rng.randrange(len(RECIPES)),
    "stopped": lambda rng: rng.random() < 0.7,
    "upstream": lambda rng: round(rng.random(), 3),  # of the stages that one reads
    "prepared": lambda rng: rng.random() < 0.8,  # the stages before it are done
    "afresh": lambda rng: rng.random() < 0.6,  # its folder is removed
    "moment": Moment.drawn,
    "share": lambda rng: round(rng.uniform(0.02, 1.1), 3),  # of the stage's seconds
    "number": lambda rng: rng.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)),
    "is_book": lambda rng: rng.random() < 0.5,
    "which": lambda rng: round(rng.random(), 3),  # of the files that there are
    "how": lambda rng: rng.choice(("remove", "empty", "half", "shorter", "longer")),
}
WEIGHTS = {
    "run": 3,
    "kill": 6,
    "kill_a_worker": 1,
    "pause": 2,
    "two_at_once": 2,
    "remake_upstream": 3,
    "wake_a_worker": 1,
    "damage": 8,
    "remove_folder": 1,
    "status": 1,
}


@dataclass(frozen=True)
class Step:
    """One action and what it was drawn with."""

    action: str
    values: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.action}({', '.join(f'{name}={value}' for name, value in self.values.items())})"


def plan(seed: int) -> tuple[int, list[Step]]:
    """How many stages are complete when the walk begins, and its steps."""
    rng = Random(f"walk {seed}")
    complete, steps = rng.randint(0, len(PIPELINE)), []
    for _ in range(rng.randint(3, 6)):
        (action,) = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))
        needs = list(inspect.signature(getattr(Walker, action)).parameters)[1:]
        steps.append(Step(action, {name: VALUES[name](rng) for name in needs}))
    return complete, steps


class Walker(Run):
    """Takes the steps of a walk, those of WEIGHTS, on a folder of its own."""

    def run(self, stage: str, recipe: int) -> None:
        """Run the stages up to this one."""
        self.bring(stage, recipe)

    def kill(self, stage: str, recipe: int, prepared: bool, afresh: bool, moment: Moment, number: Signals) -> None:
        """End the launcher in the middle."""
        command = self._begin(stage, recipe, prepared, afresh)
        self._wait_until(moment, command)
        command.signal(number)
        self.end(command, *(() if prepared else (NOT_READY,)), sent=number)

    def kill_a_worker(self, stage: str, recipe: int, afresh: bool, share: float) -> None:
        """The launcher says so and fails, unless all was done."""
        command = self._begin(stage, recipe, True, afresh, workers=2)
        worker = self._a_worker(command, share)
        if worker is None:
            self.end(command)
        else:
            command.signal_worker(signal.SIGKILL, worker)
            self.end(command, WORKER_KILLED)

    def pause(self, stage: str, recipe: int, afresh: bool, moment: Moment, share: float, other: int) -> None:
        """Stop the launcher for some time, in which another one starts."""
        command = self._begin(stage, recipe, True, afresh)
        self._wait_until(moment, command)
        command.signal(signal.SIGSTOP)
        second = self.start(stage, other)
        second.wait(share * self.world.seconds[stage])
        command.signal(signal.SIGCONT)
        self.end_both(second, command)

    def two_at_once(self, stage: str, recipe: int, other: int, afresh: bool, moment: Moment) -> None:
        """Start a stage twice."""
        command = self._begin(stage, recipe, True, afresh)
        self._wait_until(moment, command)
        self.end_both(self.start(stage, other), command)

    def remake_upstream(self, stage: str, afresh: bool, moment: Moment, stopped: bool, upstream: float) -> None:
        """While a stage works, or is stopped, one that it reads runs with another recipe."""
        command = self._begin(stage, 0, True, afresh)
        self._wait_until(moment, command)
        if stopped:
            command.signal(signal.SIGSTOP)
        if reads := STAGES[stage].reads:
            remade = reads[int(upstream * len(reads))]
            self.end(self.start(remade, 1 + PIPELINE.index(remade)))
        command.signal(signal.SIGCONT)
        self.end(command, MADE_ANEW, NOT_READY)

    def wake_a_worker(self, stage: str, recipe: int, share: float, other: int) -> None:
        """Stop a worker and kill its launcher; it wakes when another run, of another recipe, is done."""
        command = self._begin(stage, recipe, True, True, workers=2)
        worker = self._a_worker(command, share)
        if worker is None:
            self.end(command)
            return
        command.signal_worker(signal.SIGSTOP, worker)
        command.signal(signal.SIGKILL)
        try:
            self.bring(stage, other)
        finally:
            command.signal_worker(signal.SIGCONT, worker)
        self.end(command, sent=signal.SIGKILL)

    def damage(self, stage: str, is_book: bool, which: float, how: str) -> None:
        """Cut off a file of a stage's folder, make it longer, or take it away."""
        files = [path for path in self.files(stage) if not re.search(r"/(_lock|_leases/|\.tmp-)", path)]
        files = [path for path in files if path.endswith(_BOOKS) == is_book] or files
        if not files:
            return
        path = files[int(which * len(files))]
        data = self.read(path) or b""
        left = {"empty": b"", "half": data[: len(data) // 2], "shorter": data[:-1], "longer": data + b"\0"}.get(how)
        if left == data:
            return  # of an empty file nothing can be cut off
        if left is None:
            self.fs.rm(path)
        else:
            self.fs.pipe_file(path, left)
        self.damaged[path] = sha256(left)

    def remove_folder(self, stage: str) -> None:
        """Take away all of a stage."""
        if files := self.files(stage):
            self.fs.rm(f"{self.root}/{FOLDERS[stage]}", recursive=True)
        self.damaged = {path: left for path, left in self.damaged.items() if path not in files}

    # ── moments of commands ──

    def _begin(self, stage: str, recipe: int, prepared: bool, afresh: bool, workers: int = 1) -> Command:
        place = PIPELINE.index(stage)
        if prepared and place:
            self.bring(PIPELINE[place - 1], recipe)
        if afresh:
            self.remove_folder(stage)
        return self.start(stage, recipe, **{"engine.workers": workers})

    def _wait_until(self, moment: Moment, command: Command) -> None:
        """Wait for a moment of a command, or for its end."""
        command.wait(moment.share * self.world.seconds[command.words[0]])
        if moment.sign:
            path = f"{self.root}/{FOLDERS[command.words[0]]}/{moment.sign}"
            before = self._state(path)
            while command.wait(0.0005) is None and self._state(path) == before:
                pass
            command.wait(moment.beyond)

    def _a_worker(self, command: Command, share: float) -> int | None:
        """A worker process, so long after it was there; None where the stage needs none or has ended."""
        while command.wait(0.01) is None:
            if workers := command.workers():
                command.wait(share * self.world.seconds[command.words[0]])
                return workers[0]
        return None

    def _state(self, path: str) -> object:
        """What changes when a file is written or removed, or one in a folder."""
        try:
            if "://" not in self.out:
                return os.stat(path).st_mtime_ns  # noqa: PTH116 (in a hurry)
            return sorted((entry["name"], entry.get("ETag")) for entry in self.fs.ls(path, detail=True))
        except FileNotFoundError:
            return None


def walk(world: World, seed: int, out: str, folder: Path) -> None:
    """Take a walk on `out`; `folder` is for what has to lie on the disk."""
    complete, steps = plan(seed)
    walker, taken = Walker(world, out), [f"{complete} of {len(PIPELINE)} stages are complete"]
    fs, root = filesystem(out)
    try:
        for stage in PIPELINE[:complete]:
            fs.put(str(world.undisturbed / FOLDERS[stage]), f"{root}/{FOLDERS[stage]}", recursive=True)
        for step in steps:
            taken.append(str(step))
            getattr(walker, step.action)(**step.values)
            walker.hold()
        taken.append("to the end")
        walker.hold_at_the_end(folder)
    except Exception as error:
        walker.kill_all()
        raise AssertionError("\n  ".join([f"walk {seed}:", *taken, f"{type(error).__name__}: {error}"])) from error
    fs.rm(root, recursive=True)
    shutil.rmtree(folder, ignore_errors=True)
