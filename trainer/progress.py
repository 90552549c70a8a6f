"""How far a loop is: a bar on a terminal, else a line on stdout whenever the count doubled or a minute passed."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_MINUTE = 60.0  # seconds between lines at the most


class Watch:
    """Shows `done` of `total` while its block runs."""

    def __init__(self, name: str, unit: str, total: int, done: int = 0) -> None:
        self._name, self._unit, self._total = name, unit, total
        self._said, self._said_at = done, time.monotonic()
        self._bar: Progress | None = None
        if sys.stdout.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, TextColumn("eta"), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
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
            print(f"{self._name}: {done:,}/{self._total:,} {self._unit}{note and ', '}{note}", flush=True)
