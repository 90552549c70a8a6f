"""Files that exist whole or not at all: paths, atomic publishing, digests.

Paths are local or anything fsspec knows (s3://…, gs://…, memory://…).
"""

from __future__ import annotations

import errno
import functools
import hashlib
import io
import json
import os
import re
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from glob import has_magic
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, cast

import fsspec
from fsspec.registry import known_implementations

from core.credentials import public
from core.errors import Failure, UsageError, describe
from core.stores import create_object

_REQUESTS = 64  # that a store is asked side by side
_AT_ONCE = 1000  # names in one request to remove, small files that are read together
TEMPORARY = ".tmp-"  # begins the name of a file that is being written


# ── paths ─────────────────────────────────────────────────────────────────────────────────────────


def filesystem(path: str) -> tuple[Any, str]:
    """The fsspec file system that owns a path, and the path as it knows it."""
    last = path.rpartition("::")[2].partition("://")[0]  # the protocol of a store, in a chain the last one
    options = {last: _s3_options()} if last in {"s3", "s3a"} else {}
    try:
        fs, inner = fsspec.core.url_to_fs(path, use_listings_cache=False, **options)  # others write there, too
    except ImportError:
        package = known_implementations.get(last, {"class": last})["class"].partition(".")[0]
        raise UsageError(
            f"{path} is read by {package}, which is not here: pip install {package}, then run again"
        ) from None
    except ValueError as error:
        raise UsageError(f"{path} is on no file system that is known ({error}): correct it") from None
    return fs, inner


def _s3_options() -> dict[str, Any]:
    """How s3fs is used, over what fsspec's own configuration says.

    s3fs opens ten connections by default, so that more requests would wait for one another. By default it also uploads
    ten pieces of a file at once, each of 50 MiB in memory; with one it saves a request for a file's size when it reads.
    """
    configured = fsspec.config.conf.get("s3", {})
    pool = {"max_pool_connections": _REQUESTS, **configured.get("config_kwargs", {})}
    return {"max_concurrency": configured.get("max_concurrency", 1), "config_kwargs": pool}


def is_local(path: str) -> bool:
    """Whether the path is on this machine's own file system."""
    return isinstance(filesystem(path)[0], fsspec.implementations.local.LocalFileSystem)


def absolute(path: str) -> str:
    """The path as one who works in another folder would write it."""
    return path if "://" in path else str(Path(path).absolute())


def shown(path: str) -> str:
    """The path as a person who works here would write it: shorter, where it is below; of a URL no credentials."""
    if "://" in path:
        return public(path)
    here = str(Path.cwd())
    return path[len(here) + 1 :] if path.startswith(f"{here}/") else path


def join(folder: str, *names: str) -> str:
    """Names below a folder; works on local paths and on URLs."""
    return "/".join([folder.rstrip("/"), *names])


def open_input(path: str) -> BinaryIO:
    """A file to read; Failure names it where it is missing."""
    fs, inner = filesystem(path)
    watch = _watches.get().get(path)
    try:
        file = cast(BinaryIO, fs.open(inner, "rb"))
    except PermissionError:
        raise Failure(f"{path} may not be read: change its permissions, or name another file in the recipe") from None
    except FileNotFoundError:
        raise _missing(path) from None
    return watch(file) if watch else file


def _missing(path: str) -> Failure:
    return Failure(f"{path} is not there: give its right path in the recipe, or run the stage that makes it")


Watch = Callable[[BinaryIO], BinaryIO]
_watches: ContextVar[Mapping[str, Watch]] = ContextVar("watches", default=MappingProxyType({}))


@contextmanager
def watching(path: str, watch: Watch) -> Iterator[None]:
    """While the block runs, whoever opens this file reads it through `watch`, however deep within the block."""
    token = _watches.set({**_watches.get(), path: watch})
    try:
        yield
    finally:
        _watches.reset(token)


def read_bytes(path: str) -> bytes:
    """The whole of a small file."""
    with open_input(path) as file:
        return file.read()


def names_in(folder: str) -> list[str]:
    """Sorted names of what is directly in a folder; none where it does not exist."""
    return sorted(entries_in(folder, detail=False))


def entries_in(folder: str, detail: bool = True) -> dict[str, Any]:
    """The same names, each with all that the file system lists of it: its time, among others, under its own word."""
    fs, inner = filesystem(folder)
    try:
        entries = fs.ls(inner, detail=detail)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    named = ((entry["name"] if detail else entry, entry) for entry in entries)
    return {name.rstrip("/").rsplit("/", 1)[-1]: entry for name, entry in named}


def file_size(path: str) -> int:
    """Bytes of a file; Failure names it where it is missing."""
    fs, inner = filesystem(path)
    try:
        size = fs.size(inner)
    except FileNotFoundError:
        raise _missing(path) from None
    if size is None:
        raise Failure(f"{path} comes from a server that does not say its size: download it, and name the copy")
    return int(size)


def read_many(folder: str, names: Sequence[str]) -> list[bytes | None]:
    """The whole of many small files below a folder, None for those that are not there; on a store side by side."""
    fs, inner = filesystem(folder)
    paths = [f"{inner.rstrip('/')}/{name}" for name in names]
    if is_local(folder):
        return [_read_local(path) for path in paths]
    found: list[bytes | None] = []
    for first in range(0, len(paths), _AT_ONCE):
        some = paths[first : first + _AT_ONCE]
        for path, data in zip(some, fs.cat_ranges(some, None, None, on_error="return"), strict=True):
            if isinstance(data, Exception) and not isinstance(data, FileNotFoundError | NotADirectoryError):
                raise unreadable(path, data)
            found.append(None if isinstance(data, Exception) else bytes(data))
    return found


def _read_local(path: str) -> bytes | None:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 (of 50,000 files, a Path takes half of the time)
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: str, error: BaseException) -> Failure:
    """What to say where a disk or a store does not give a file."""
    return Failure(
        f"{path} cannot be read ({describe(error)}): see that its disk or store is well and may be read, then run the "
        "same command again"
    )


def remove(path: str) -> None:
    """Remove a file by its very name; nothing happens where there is none."""
    remove_all(path.rpartition("/")[0], [path.rpartition("/")[2]])


def remove_all(folder: str, names: Sequence[str]) -> None:
    """Remove files below a folder by their very names, whatever characters these have; on a store in bulk."""
    fs, inner = filesystem(folder)
    paths = [f"{inner.rstrip('/')}/{name}" for name in names]
    if is_local(folder):
        for path in paths:
            with os_errors_as_failure(path), suppress(FileNotFoundError):
                Path(path).unlink()
    else:
        for first in range(0, len(paths), _AT_ONCE):
            _remove_objects(fs, paths[first : first + _AT_ONCE])


def _remove_objects(fs: Any, paths: list[str]) -> None:
    """In one request; one by one where fsspec would take a name for a pattern, or stop at the first that is gone."""
    if not any(map(has_magic, paths)):
        with suppress(FileNotFoundError):
            fs.rm(paths)
            return
    with ThreadPoolExecutor(_REQUESTS) as pool:
        list(pool.map(functools.partial(_remove_object, fs), paths))


def _remove_object(fs: Any, path: str) -> None:
    with suppress(FileNotFoundError):
        fs.rm_file(path)


def keep_names(folders: Iterable[str]) -> None:
    """Have the disk keep what was created, renamed and removed in local folders, should the power fail."""
    for folder in folders:
        if is_local(folder) and Path(filesystem(folder)[1]).is_dir():
            handle = os.open(filesystem(folder)[1], os.O_RDONLY)
            try:
                with suppress(OSError):  # some network disks cannot, and keep names by themselves or not at all
                    os.fsync(handle)
            finally:
                os.close(handle)


# ── publishing ────────────────────────────────────────────────────────────────────────────────────


_OUT_OF_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_MOVE_OUT = "move the recipe's run.out"
_MOVE_TEMPORARY = "set TMPDIR to a folder of another disk"


@contextmanager
def os_errors_as_failure(path: str, move: str = _MOVE_OUT) -> Iterator[None]:
    """Say in one sentence what the operating system refused to write, and what to do; `move`: how to go elsewhere."""
    try:
        yield
    except OSError as error:
        if error.errno in _OUT_OF_SPACE:
            raise Failure(f"no room to write {path}: free some disk, or {move}, then run again") from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR}:
            reason = os.strerror(error.errno)
            raise Failure(f"cannot write {path} ({reason}): make its folder writable, or {move}") from error
        raise Failure(
            f"cannot write {path} ({error}): see that its disk or store is well, then run the same command again"
        ) from error


class Hashed(io.RawIOBase):
    """A file to write that knows the sha256 and the length of what went through it. It cannot seek."""

    def __init__(self, file: BinaryIO, path: str, move: str = _MOVE_OUT) -> None:
        self._file, self._path, self._move = file, path, move
        self._sha256 = hashlib.sha256()
        self.length = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._sha256.update(data)
        size = memoryview(data).nbytes
        self.length += size
        with os_errors_as_failure(self._path, self._move):
            self._file.write(data)
        return size

    def tell(self) -> int:
        return self.length

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()


class Pending:
    """A file being written under a name of its own; `place` gives it its final name.

    An object store shows an object only when it is put whole: until then it is a file of this machine without a name,
    below TMPDIR, so that memory does not grow with it and nothing is left of it after a kill.
    """

    def __init__(self, folder: str) -> None:
        self._fs, inner = filesystem(folder)
        self._local = is_local(folder)
        self._folder = inner
        if self._local:
            self._move = _MOVE_OUT
            with os_errors_as_failure(folder):
                Path(inner).mkdir(parents=True, exist_ok=True)
                self._temporary = f"{inner}/{TEMPORARY}{uuid.uuid4().hex}"
                self._raw: Any = Path(self._temporary).open("xb")  # noqa: SIM115 (closed by place or discard)
        else:
            self._move = _MOVE_TEMPORARY
            with os_errors_as_failure("a temporary file", self._move):  # gettempdir fails where no folder takes one
                self._temporary = tempfile.gettempdir()
                self._raw = tempfile.TemporaryFile()  # noqa: SIM115 (the same)
        self.file = Hashed(self._raw, self._temporary, self._move)

    def place(self, name: str) -> None:
        """The file appears whole under `name`, over any file of that name."""
        target = f"{self._folder}/{name}"
        with os_errors_as_failure(target if self._local else self._temporary, self._move):
            self._raw.flush()
        with os_errors_as_failure(target):
            if self._local:
                os.fsync(self._raw.fileno())
                self._raw.close()
                Path(self._temporary).replace(target)
            else:
                self._raw.seek(0)
                self._fs.put_file(f"/dev/fd/{self._raw.fileno()}", target)
                self._raw.close()

    def discard(self) -> None:
        """Nothing is left of the file."""
        with suppress(OSError):
            self._raw.close()
        if self._local:
            Path(self._temporary).unlink(missing_ok=True)


@contextmanager
def publishing(path: str) -> Iterator[Hashed]:
    """A file to write that appears whole under `path` when the block ends well, and not at all otherwise."""
    folder, name = path.rsplit("/", 1) if "/" in path else (".", path)
    pending = Pending(folder or "/")
    try:
        yield pending.file
        pending.place(name)
    except BaseException:
        pending.discard()
        raise


def publish(path: str, data: bytes) -> None:
    """Write a small file whole."""
    with publishing(path) as file:
        file.write(data)


def create(path: str, data: bytes) -> bool:
    """Write a small file if there is none of that name yet; whether it was this call that made it.

    `data` is what no other call writes: by it a store's file is known for ours when the answer was lost.
    """
    fs, inner = filesystem(path)
    with os_errors_as_failure(path):
        if not is_local(path):
            return create_object(fs, inner, path, data)
        Path(inner).parent.mkdir(parents=True, exist_ok=True)
        try:
            with Path(inner).open("xb") as file:
                file.write(data)
        except FileExistsError:
            return False
    return True


def file_name(text: str) -> str:
    """A text as it may stand in the name of a file: what is not of A-Z a-z 0-9 . _ - becomes _."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text)


def file_name_of_its_own(text: str) -> str:
    """The same, and with a part of the text's digest where letters were lost: no two texts have one name."""
    plain = file_name(text)
    return plain if plain == text else f"{plain}-{digest(text)[:8]}"


# ── digests ───────────────────────────────────────────────────────────────────────────────────────


def to_json(value: Any) -> bytes:
    """One form for one value: sorted keys, no white space that depends on anything.

    What is not UTF-8 in the name of a file is escaped as JSON escapes it, and so is read back as it was.
    """
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def digest(*values: Any) -> str:
    """sha256 (hex) of plain values, by their JSON."""
    return hashlib.sha256(to_json(values)).hexdigest()
