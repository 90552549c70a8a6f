"""One run at a time on a stage's folder: a lock of the operating system on disks, a lease on stores."""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from core.errors import Failure
from core.files import TEMPORARY, filesystem, is_local, join, remove_all
from core.lease import Lease
from core.listing import behind_links, sizes_below

SILENCE = 60.0  # seconds without a sign of life, after which a run on an object store is taken for dead

_LEAST_ROOM = 256 << 20  # bytes; below this no stage can do anything useful


@contextmanager
def exclusive(folder: str, name: str, room: int = 0) -> Iterator[Callable[[], None]]:
    """One run at a time; what a killed run left half-written is removed.

    With room for so many bytes on a disk. A store has no end; there is only seen to it that TMPDIR has some room, where
    each file is until it is uploaded.

    Gives a function that raises Failure once the folder may be another run's: a lease can be taken over, and whoever
    removes the file that is locked, or the whole folder, lets the next run begin.
    """
    if not is_local(folder):
        _check_room(Path(tempfile.gettempdir()), _LEAST_ROOM, "set TMPDIR to a folder of another disk")
        with Lease(join(folder, "_lock"), SILENCE, wait=False) as lease:
            lease.require_exclusive()
            yield lease.confirm
        return
    path = Path(filesystem(folder)[1])
    with _locked(path, folder, name) as require_lock:
        half = [name for name in sizes_below(folder) if name.rpartition("/")[2].startswith(TEMPORARY)]
        linked = behind_links(folder, half)  # may be another run's; what is ours goes when the stage is complete
        remove_all(folder, [name for name in half if name.rpartition("/")[0] not in linked])
        _check_room(path, room + _LEAST_ROOM, "move the recipe's run.out")
        yield require_lock


@contextmanager
def _locked(path: Path, folder: str, name: str) -> Iterator[Callable[[], None]]:
    """A lock of the operating system, which ends with the process; on a disk that knows none a lease."""
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
        except OSError as error:  # NFS without a lock manager, some FUSE
            if error.errno not in {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}:
                raise
            with Lease(join(folder, "_lock"), SILENCE, wait=False) as lease:
                yield lease.confirm
            return
        yield functools.partial(_check_lock, lock, path / "_lock")


def _check_lock(lock: IO[str], path: Path) -> None:
    try:
        is_there = os.path.samestat(os.fstat(lock.fileno()), path.stat())
    except FileNotFoundError:
        is_there = False
    if not is_there:
        raise Failure(
            f"{path} was removed while this run held it: what was not complete is left to the next run; wait for that, "
            "or run the same command again"
        )


def _check_room(folder: Path, needed: int, move: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Failure(
            f"only {free >> 20} MiB are free on the disk of {folder}: free some ({needed >> 20} MiB at the least), "
            f"or {move}"
        )
