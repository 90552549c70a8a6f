"""A training is asked to stop by a signal: it undoes the step it is in, writes a checkpoint, and ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGTERM, signal.SIGINT)  # a scheduler's, and Ctrl-C


class Asked(BaseException):
    """A signal came while nothing was done that would have to be undone."""


class Interrupted(Exception):
    """A step was asked to stop; nothing of what it did is left."""


class StopSignals:
    """While its block runs a signal is remembered. A second Ctrl-C interrupts; a second SIGTERM, as schedulers send it
    while a checkpoint is being written, does nothing."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._waiting = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._remember) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Nothing in the block has to be undone: a signal raises Asked in it, or one that came before."""
        self._waiting = True
        try:
            if self.received:
                raise Asked
            yield
        finally:
            self._waiting = False

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = signal.Signals(number)
            signal.signal(signal.SIGINT, self._before[signal.SIGINT])
            if self._waiting:
                raise Asked

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
