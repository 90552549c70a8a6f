"""Leases: one process at a time works on a thing, though processes die, stop, and are taken for dead.

A lease is a row of small files beside each other, `<path>.00000001`, `.00000002` …, one for each generation. Whoever
creates the file of the next generation holds the lease, and renews it by heartbeats: it writes its file again. The
lease has a TTL: another takes over when the holder has released it, is known to be dead, or gave no heartbeat for that
long. No clock is compared with another's: a waiter measures by its own since it last saw a change, and a holder that
finds by its own clock that it was silent for too long (stopped, swapped out, asleep) has to win the next generation
before it goes on.

Works wherever creating a file fails when it exists: local disks, NFS, S3 and Google's store (by conditional put).
`require_exclusive` finds out. Where it does not fail, the last writer of a file holds the lease: who reads another's id
has lost.

Listings may be eventually consistent. So a listing only says where to begin: from there on the file of the next
generation is asked for by its name until there is none. For the same reason the last ones of old generations stay.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from core.errors import Failure, describe
from core.files import create, filesystem, names_in, publish, remove, to_json
from core.stores import may_pass, not_exclusive, read_small, store_of

_TRUSTED = 0.75  # of the TTL: how long after a heartbeat its holder relies on the lease
_HEARTBEATS = 4  # in a TTL
_POLL = 0.05  # of the TTL: between two looks of a waiter
_KEPT = 64  # generations: a listing that is so many late still leads to the newest


@dataclass(frozen=True)
class _Holder:
    """What a holder writes of itself."""

    id: str
    machine: str  # where a process number means what it means here
    pid: int
    born: str  # when that process was started, in the machine's own unit
    beat: int = 0  # heartbeats
    released: bool = False

    def is_dead(self) -> bool:
        """Whether it is a process of this machine that has ended."""
        if self.machine != _machine():
            return False
        born = _start_time(self.pid)
        return born != self.born if born is not None else not _is_running(self.pid)


class Lease:
    """Held while its block runs; the block calls `check` before whatever others must not do at the same time.

    `path`: what the lease is on, a file's name that nothing else has; `seconds`: its TTL.
    Entering waits until it is free; with `wait=False` it raises Failure when its holder turns out to be alive.
    """

    def __init__(self, path: str, seconds: float, wait: bool = True) -> None:
        self._folder, _, self._name = path.rpartition("/")
        self._path, self._seconds, self._wait = path, seconds, wait
        self._me = _Holder(uuid.uuid4().hex, _machine(), os.getpid(), _start_time(os.getpid()) or "")
        self._generation = 0  # that is ours
        self._listed: list[int] = []  # the generations that the last listing showed
        self._trusted_until = float("-inf")
        self._lost = False
        self._lock = threading.Lock()  # check and the thread that renews
        self._end = threading.Event()

    def __enter__(self) -> Self:
        with self._errors_as_failure():
            self._acquire()
        with suppress(Exception):  # the next holder does it
            self._forget_old()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        with suppress(Exception):  # then its TTL has to pass: nothing worse
            if not self._lost and self._is_mine():
                self._write_heartbeat(released=True)

    def require_exclusive(self) -> None:
        """Failure where the file that this lease has created can be created again, so that it would keep nobody out.

        No file of its own is tried: one that a killed run leaves behind would stay.
        """
        with self._lock, self._errors_as_failure():
            if create(self._file(self._generation), to_json({"probe": uuid.uuid4().hex})):
                self._write_heartbeat()  # over the probe
                raise not_exclusive(self._path)

    def check(self) -> None:
        """Return while the lease is ours; Failure once another has taken it. It asks only when a heartbeat is due."""
        with self._lock:
            if self._lost or _clock() >= self._trusted_until:
                with self._errors_as_failure():
                    self._require()

    def confirm(self) -> None:
        """The same, but it always asks: for what must not be done twice, just before and just after it is done."""
        with self._lock, self._errors_as_failure():
            if not self._lost and _clock() < self._trusted_until:
                self._renew()
            self._require()

    def _require(self) -> None:
        if not self._lost and _clock() >= self._trusted_until:
            self._take_again()
        if self._lost:
            raise Failure(
                f"{self._path} was taken over by another worker while this one was silent: what was not committed "
                "is left to it; wait for it, or run the same command again once it has ended"
            )

    @contextmanager
    def _errors_as_failure(self) -> Iterator[None]:
        """Turn an error of the store into a Failure."""
        try:
            yield
        except Exception as error:
            if isinstance(error, Failure) or not (isinstance(error, OSError) or may_pass(error)):
                raise
            raise Failure(
                f"{store_of(self._path)} does not say who holds {self._path} ({describe(error)}): see that it can be "
                "reached, then run again"
            ) from error

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
        """Create the file of the next generation; False if another was faster."""
        begun = _clock()
        if not create(self._file(generation + 1), to_json(asdict(self._me))):
            return False
        self._generation, self._trusted_until = generation + 1, begun + _TRUSTED * self._seconds
        self._lost = not self._is_mine()
        now = None if generation == 0 or (before and before.released) else self._read(generation)
        if now and now != before and not now.released:
            # It came back as we took over, and relies on its heartbeat for a while.
            for _ in range(_HEARTBEATS):
                time.sleep(self._seconds / _HEARTBEATS)
                self._renew()
        return not self._lost

    # ── keeping it ──

    def _keep(self) -> None:
        """Give heartbeats until the end. A store may refuse as it likes: `check` knows how long ago the last was."""
        while not self._end.wait(self._seconds / _HEARTBEATS):
            with self._lock, suppress(Exception):
                if not self._lost and _clock() < self._trusted_until:
                    self._renew()
                elif not self._lost:
                    self._take_again()

    def _renew(self) -> None:
        begun = _clock()
        if not self._lost and self._is_mine():
            self._write_heartbeat()
            if self._bytes(self._generation + 1) is None:  # only after our heartbeat is there: see _take
                self._trusted_until = begun + _TRUSTED * self._seconds
                return
        self._lost = True

    def _take_again(self) -> None:
        generation, holder = self._latest()
        is_ours = generation == self._generation and holder is not None and holder.id == self._me.id
        if not is_ours or not self._take(generation, holder):
            self._lost = True

    def _is_mine(self) -> bool:
        holder = self._read(self._generation)
        return holder is not None and holder.id == self._me.id

    def _write_heartbeat(self, released: bool = False) -> None:
        self._me = replace(self._me, beat=self._me.beat + 1, released=released)
        publish(self._file(self._generation), to_json(asdict(self._me)))

    # ── files ──

    def _file(self, generation: int) -> str:
        return f"{self._path}.{generation:08d}"

    def _latest(self) -> tuple[int, _Holder | None]:
        """The newest generation, 0 if none, and its holder (None where the file is being written)."""
        start = f"{self._name}."
        names = (name[len(start) :] for name in names_in(self._folder) if name.startswith(start))
        self._listed = [int(number) for number in names if number.isdigit()]
        generation = max([*self._listed, self._generation])
        said = self._bytes(generation) if generation else None
        while (following := self._bytes(generation + 1)) is not None:
            generation, said = generation + 1, following
        return generation, _parsed(said)

    def _read(self, generation: int) -> _Holder | None:
        return _parsed(self._bytes(generation))

    def _bytes(self, generation: int) -> bytes | None:
        """The file of a generation; None where there is none."""
        return read_small(*filesystem(self._file(generation)))

    def _forget_old(self) -> None:
        for generation in self._listed:
            if generation <= self._generation - _KEPT:
                remove(self._file(generation))


def _parsed(said: bytes | None) -> _Holder | None:
    """What is in a file of a lease; None while it is being written, and where it never was because the power failed."""
    try:
        return msgspec.json.decode(said or b"", type=_Holder)
    except msgspec.MsgspecError:
        return None


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


def _start_time(pid: int) -> str | None:
    """When a process was started, by field 22 of proc_pid_stat(5); empty for its remains, None if it cannot be seen."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return "" if fields[0] in "ZX" else fields[19]


def _is_running(pid: int) -> bool:
    """Whether there is a process of that number; /proc may be mounted so that it does not show those of others."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
