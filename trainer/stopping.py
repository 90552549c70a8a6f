"""SIGTERM and Ctrl-C: a training discards the step it is in, writes a checkpoint, and ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from core.errors import Failure

_SIGNALS = (signal.SIGTERM, signal.SIGINT)  # a scheduler's, and Ctrl-C


class StopRequested(BaseException):
    """A signal arrived within `StopSignals.interruptible`."""


class Interrupted(Exception):
    """A step was interrupted by a signal, and none of its effects are left."""


class _Terminated(BaseException):
    """SIGTERM arrived within `ended_by_sigterm`; no `except Exception` may catch it."""


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM raises Failure, so that leases are released and half-written files removed on the way out.

    It would otherwise end the process on the spot: on an object store the next run would wait for the lease to expire.
    """

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # schedulers repeat it
        raise _Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except _Terminated:
        raise Failure("ended by SIGTERM; what was committed stays, the same command goes on from there") from None
    finally:
        signal.signal(signal.SIGTERM, before)


class StopSignals:
    """Within its block the first signal is recorded in `received`.

    A second Ctrl-C raises KeyboardInterrupt. A second SIGTERM is ignored: schedulers send it while a checkpoint is
    being written.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._is_interruptible = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._remember) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """For code without effects to undo: a signal raises StopRequested in it, at once if it came before."""
        self._is_interruptible = True
        try:
            if self.received:
                raise StopRequested
            yield
        finally:
            self._is_interruptible = False

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = signal.Signals(number)
            signal.signal(signal.SIGINT, self._before[signal.SIGINT])
            if self._is_interruptible:
                raise StopRequested

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
