"""Files that exist whole or not at all: paths, atomic publishing, digests.

Paths are local or anything fsspec knows (s3://…, gs://…, memory://…).
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec
from fsspec.registry import known_implementations

from core.errors import Failure, UsageError

_BLOCK = 1 << 20
_WHOLE = 64 * _BLOCK  # bytes; larger inputs are digested by sample, see `digest_file`


# ── paths ─────────────────────────────────────────────────────────────────────────────────────────


def filesystem(path: str) -> tuple[Any, str]:
    """The fsspec file system that owns a path, and the path as it knows it."""
    try:
        fs, inner = fsspec.core.url_to_fs(path, use_listings_cache=False)  # others write there, too
    except ImportError:
        package = known_implementations[path.partition(":")[0]]["class"].partition(".")[0]
        raise UsageError(
            f"{path} is read by {package}, which is not here: pip install {package}, then run again"
        ) from None
    except ValueError as error:
        raise UsageError(f"{path} is on no file system that is known ({error}): correct it") from None
    return fs, inner


def is_local(path: str) -> bool:
    """Whether the path is on this machine's own file system."""
    return isinstance(filesystem(path)[0], fsspec.implementations.local.LocalFileSystem)


def absolute(path: str) -> str:
    """The path as one who works in another folder would write it."""
    return path if "://" in path else str(Path(path).absolute())


def shown(path: str) -> str:
    """The path as a person who works here would write it: shorter, where it is below."""
    here = str(Path.cwd())
    return path[len(here) + 1 :] if path.startswith(f"{here}/") else path


def join(folder: str, *names: str) -> str:
    """Names below a folder; works on local paths and on URLs."""
    return "/".join([folder.rstrip("/"), *names])


def open_input(path: str) -> BinaryIO:
    """A file to read; Failure names it where it is missing."""
    fs, inner = filesystem(path)
    try:
        return cast(BinaryIO, fs.open(inner, "rb"))
    except PermissionError:
        raise Failure(f"{path} may not be read: change its permissions, or name another file in the recipe") from None
    except FileNotFoundError:
        raise Failure(
            f"{path} is not there: give its right path in the recipe, or run the stage that makes it"
        ) from None


def read_bytes(path: str) -> bytes:
    """The whole of a small file."""
    with open_input(path) as file:
        return file.read()


def names_in(folder: str) -> list[str]:
    """Sorted names of what is directly in a folder; none where it does not exist."""
    fs, inner = filesystem(folder)
    try:
        entries = fs.ls(inner, detail=False)
    except FileNotFoundError:
        return []
    return sorted(entry.rstrip("/").rsplit("/", 1)[-1] for entry in entries)


def entries_in(folder: str) -> dict[str, dict[str, Any]]:
    """The same names, each with all that the file system lists of it: its time, among others, under its own word."""
    fs, inner = filesystem(folder)
    try:
        entries = fs.ls(inner, detail=True)
    except FileNotFoundError:
        return {}
    return {entry["name"].rstrip("/").rsplit("/", 1)[-1]: entry for entry in entries}


def file_size(path: str) -> int:
    """Bytes of a file."""
    fs, inner = filesystem(path)
    return int(fs.size(inner))


def remove(path: str) -> None:
    """Remove a file or a folder with all it holds; nothing happens where there is none."""
    fs, inner = filesystem(path)
    with suppress(FileNotFoundError):
        fs.rm(inner, recursive=True)


# ── publishing ────────────────────────────────────────────────────────────────────────────────────


_OUT_OF_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def _said(path: str) -> Iterator[None]:
    """Say in one sentence what the operating system refused to write, and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in _OUT_OF_SPACE:
            raise Failure(
                f"no room to write {path}: free some disk, or move the recipe's run.out, then run again"
            ) from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR}:
            reason = os.strerror(error.errno)
            raise Failure(
                f"cannot write {path} ({reason}): make its folder writable, or move the recipe's run.out"
            ) from error
        raise


class Hashed(io.RawIOBase):
    """A file to write that knows the sha256 and the length of what went through it. It cannot seek."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        self._file, self._path = file, path
        self._sha256 = hashlib.sha256()
        self.length = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._sha256.update(data)
        size = memoryview(data).nbytes
        self.length += size
        with _said(self._path):
            self._file.write(data)
        return size

    def tell(self) -> int:
        return self.length

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()


class Pending:
    """A file being written under a name of its own; `place` gives it its final name."""

    def __init__(self, folder: str) -> None:
        self._fs, inner = filesystem(folder)
        self._local = is_local(folder)
        self._folder = inner
        self._temporary = f"{inner}/.tmp-{uuid.uuid4().hex}"
        with _said(folder):
            if self._local:
                Path(inner).mkdir(parents=True, exist_ok=True)
                self._raw: BinaryIO = Path(self._temporary).open("wb")  # noqa: SIM115 (closed by place or discard)
            else:
                self._raw = io.BytesIO()  # an object store shows an object only when it is put whole
        self.file = Hashed(self._raw, self._temporary)

    def place(self, name: str) -> None:
        """The file appears whole under `name`, over any file of that name."""
        target = f"{self._folder}/{name}"
        with _said(target):
            if self._local:
                self._raw.flush()
                os.fsync(self._raw.fileno())
                self._raw.close()
                Path(self._temporary).replace(target)
            else:
                self._fs.pipe_file(target, cast(io.BytesIO, self._raw).getvalue())

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
    """Write a small file if there is none of that name yet; whether it was this call that made it."""
    fs, inner = filesystem(path)
    with _said(path):
        try:
            if is_local(path):
                Path(inner).parent.mkdir(parents=True, exist_ok=True)
                with Path(inner).open("xb") as file:
                    file.write(data)
            else:
                fs.pipe_file(inner, data, mode="create")
        except FileExistsError:
            return False
    return True


def file_name(text: str) -> str:
    """A text as it may stand in the name of a file: what is not of A-Z a-z 0-9 . _ - becomes _."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text)


# ── digests ───────────────────────────────────────────────────────────────────────────────────────


def to_json(value: Any) -> bytes:
    """One form for one value: sorted keys, no white space that depends on anything."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def digest(*values: Any) -> str:
    """sha256 (hex) of plain values, by their JSON."""
    return hashlib.sha256(to_json(values)).hexdigest()


def digest_file(path: str) -> str:
    """What identifies an input file: sha256 (hex) of its size and its bytes.

    Above 64 MiB, of its size and of 64 blocks of 1 MiB spread evenly over it, the first and the last among them: an
    archive of a gigabyte is known by reading a sixteenth of it.
    """
    with open_input(path) as file:
        size = file_size(path)
        hashed = hashlib.sha256(f"{size}\n".encode())
        if size <= _WHOLE:
            starts: Iterable[int] = range(0, size, _BLOCK)
        else:
            starts = [(size - _BLOCK) * i // 63 for i in range(64)]
        for start in starts:
            file.seek(start)
            hashed.update(file.read(_BLOCK))
    return hashed.hexdigest()
