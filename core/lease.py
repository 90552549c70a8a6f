"""Leases: one process at a time works on a thing, though processes die, stop, and are taken for dead.

A lease is a row of small files beside each other, `<path>.00000001`, `.00000002` …: whoever creates the next one (a
file can be created once) holds it, and says at intervals that it is alive by writing its file again. Another takes
over when the holder has let go, is known to be dead, or has said nothing for the length of the lease. No clock is
compared with another's: who waits measures by its own, and a holder that finds by its own clock that it was silent for
too long (stopped, swapped out, asleep) has to win the next file before it goes on.

Works wherever creating a file fails when it exists: local disks, NFS, S3 and Google's store (by conditional put).
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from core.errors import Failure
from core.files import create, names_in, publish, read_bytes, to_json

_SURE = 0.75  # of the lease's length: how long after saying so a holder trusts that it holds it
_POLL = 0.05  # of the lease's length: between two looks of one who waits


@dataclass(frozen=True)
class _Holder:
    """What a holder writes of itself."""

    id: str
    machine: str  # where a process number means what it means here
    pid: int
    born: str  # when that process was started, in the machine's own unit
    beat: int = 0  # how often it has said that it is alive
    released: bool = False

    def is_dead(self) -> bool:
        """Whether it is a process of this machine that is no more."""
        return self.machine == _machine() and _born(self.pid) != self.born


class Lease:
    """Held while its block runs; the block calls `check` before whatever others must not do at the same time.

    `path`: what the lease is on, a file's name that nothing else has; `seconds`: how long its holder may be silent.
    Entering waits until it is free; with `wait=False` it raises Failure when its holder turns out to be alive.
    """

    def __init__(self, path: str, seconds: float, wait: bool = True) -> None:
        self._folder, _, self._name = path.rpartition("/")
        self._path, self._seconds, self._wait = path, seconds, wait
        self._me = _Holder(uuid.uuid4().hex, _machine(), os.getpid(), _born(os.getpid()))
        self._generation = 0  # the number of the file that is ours
        self._sure_until = float("-inf")
        self._lost = False
        self._lock = threading.Lock()  # check and the thread that renews
        self._end = threading.Event()

    def __enter__(self) -> Self:
        self._acquire()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        with suppress(Failure):  # then its length has to pass: nothing worse
            if not self._lost:
                self._say(released=True)

    def check(self) -> None:
        """Return while the lease is ours; Failure once another has taken it."""
        with self._lock:
            if not self._lost and _clock() >= self._sure_until:
                self._take_again()
            if self._lost:
                raise Failure(
                    f"{self._path} was taken over by another worker while this one was silent: what was not committed "
                    "is left to it"
                )

    # ── getting it ──

    def _acquire(self) -> None:
        seen: tuple[int, str, int] | None = None
        since = began = _clock()
        while True:
            generation, holder = self._latest()
            now = (generation, holder.id, holder.beat) if holder else None
            if now != seen:
                seen, since = now, _clock()
            free = generation == 0 or (holder is not None and (holder.released or holder.is_dead()))
            if free or _clock() - since >= self._seconds:
                if self._take(generation, holder):
                    return
            elif not self._wait and _clock() - began >= 1.5 * self._seconds:
                raise Failure(f"{self._path} is held by a process that is alive: wait for it, or end it first")
            time.sleep(_POLL * self._seconds)

    def _take(self, generation: int, before: _Holder | None) -> bool:
        """Create the next file; False if another was faster."""
        begun = _clock()
        if not create(self._file(generation + 1), to_json(asdict(self._me))):
            return False
        if before and not before.released:
            now = self._read(generation)
            if now and now.beat != before.beat:  # it came back to life as we took over, and trusts its word for a while
                time.sleep(self._seconds)
                begun = _clock()
        self._generation, self._sure_until = generation + 1, begun + _SURE * self._seconds
        self._end.clear()
        return True

    # ── keeping it ──

    def _keep(self) -> None:
        while not self._end.wait(self._seconds / 4):
            with self._lock, suppress(Failure, OSError):  # said again at the next turn; `check` knows how late it is
                if not self._lost and _clock() < self._sure_until:
                    self._renew()

    def _renew(self) -> None:
        begun = _clock()
        self._say()
        if self._latest()[0] == self._generation:  # only after our word is there: see _take
            self._sure_until = begun + _SURE * self._seconds
        else:
            self._lost = True

    def _take_again(self) -> None:
        generation, holder = self._latest()
        if generation != self._generation or not self._take(generation, holder):
            self._lost = True

    def _say(self, released: bool = False) -> None:
        self._me = _Holder(**{**asdict(self._me), "beat": self._me.beat + 1, "released": released})
        publish(self._file(self._generation), to_json(asdict(self._me)))

    # ── files ──

    def _file(self, generation: int) -> str:
        return f"{self._path}.{generation:08d}"

    def _latest(self) -> tuple[int, _Holder | None]:
        """The highest number there is, 0 if none, and what its holder says (None where it cannot be read yet)."""
        start = f"{self._name}."
        numbers = [
            int(name[len(start) :])
            for name in names_in(self._folder)
            if name.startswith(start) and name[len(start) :].isdigit()
        ]
        generation = max(numbers, default=0)
        return generation, self._read(generation) if generation else None

    def _read(self, generation: int) -> _Holder | None:
        try:
            return _Holder(**json.loads(read_bytes(self._file(generation))))
        except (Failure, ValueError, TypeError):
            return None  # being written, or just removed


def _clock() -> float:
    """Seconds that also pass while the process is stopped and the machine asleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def _machine() -> str:
    """One name for all processes that see each other's numbers; on other systems than Linux, one for each process."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"{socket.gethostname()} {os.getpid()}"


def _born(pid: int) -> str:
    """When a process was started, by field 22 of proc_pid_stat(5); empty if there is none, or only its remains."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
