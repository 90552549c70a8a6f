"""How far a loop is: a bar on a terminal, else a line whenever the count doubled or a minute passed."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from types import TracebackType
from typing import Literal, Self

from rich import progress
from rich.console import Console

_MINUTE = 60.0  # seconds between lines at the most


class Progress:
    """Shows `done` of `total` while its block runs, on stdout or stderr; the first line comes with `first` of them."""

    def __init__(
        self, name: str, unit: str, total: int, done: int = 0, *, first: int = 1, to: Literal["stdout", "stderr"]
    ) -> None:
        self._name, self._unit, self._total, self._to = name, unit, total, to
        self._said, self._said_at = max(float(done), first / 2), time.monotonic()
        self._first, self._started = done, self._said_at
        self._bar: progress.Progress | None = None
        if getattr(sys, to).isatty():
            self._bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TimeElapsedColumn(),
                progress.TextColumn("eta"),
                progress.TimeRemainingColumn(),
                progress.TextColumn("{task.fields[note]}"),
                console=Console(stderr=to == "stderr"),
                transient=True,
            )
            self._task = self._bar.add_task(f"{name} {unit}", total=total, completed=done, note="")

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def at(self, done: int, note: str = "") -> None:
        """So many are done; `note` is what else a person wants to know."""
        if self._bar:
            self._bar.update(self._task, completed=done, note=note)
            return
        now = time.monotonic()
        if done >= 2 * self._said or now - self._said_at >= _MINUTE:
            self._said, self._said_at = done, now
            line = f"{self._name}: {done:,}/{self._total:,} {self._unit}{note and ', '}{note}{self._left(done, now)}"
            print(line, file=getattr(sys, self._to), flush=True)

    def _left(self, done: int, now: float) -> str:
        """How long it takes yet at the speed so far, where that is more than a minute: ", 1:05:00 left"."""
        made = done - self._first
        seconds = (now - self._started) / made * (self._total - done) if made else 0.0
        return f", {timedelta(seconds=round(seconds))} left" if seconds > _MINUTE else ""
