"""Raw inputs: what identifies a file that a stage reads, and the proof of what a task has read of it.

Before a stage begins, a file is known by its size and its bytes; one above 64 MiB by its size and a sample of them,
for reading terabytes twice would cost days. The task that reads it digests all of it as it goes by: its receipt says
what the file held, and where that is not what the stage began with, the task fails. What was found out of a file is
remembered in the stage's `_run.json` for as long as its size and time stay the same: a rerun costs a listing.
"""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import xxhash

from core.credentials import public
from core.errors import Failure
from core.files import (
    digest,
    entries_in,
    file_name,
    file_size,
    filesystem,
    is_local,
    open_input,
    watching,
)

SAMPLED_ABOVE = 64 << 20  # bytes; larger files are known by a sample of theirs

_BLOCK = 1 << 20  # bytes of it, and that are read at once
_FILES_AT_ONCE = 16  # that are read side by side, each in blocks
_SETTLED = 2_000_000_000  # nanoseconds; a file written to more lately may change again without a new time


# ── sources ──


@dataclass(frozen=True)
class Source:
    """A raw input file. Its name and digest identify it; its path may differ between machines."""

    path: str
    digest: str
    longer: str = ""  # its name with some of its folders, where another file of the stage has the same: see `names_of`

    @property
    def name(self) -> str:
        """What rows say of their origin: the file's own name, with as many folders as tell it from the others."""
        return self.longer or own_name(self.path)

    @property
    def id(self) -> str:
        """Names the file by its name and what it holds: the same on every machine, another when a byte changes."""
        of = self.digest if self.stem == self.name else digest(self.name, self.digest)  # what the stem leaves out, too
        return f"{self.stem}-{of[:12]}"

    @property
    def stem(self) -> str:
        """What the id says of the file's name: never like that of a hidden file, or of one that is being written."""
        return file_name(self.name)[-80:].lstrip(".")


def own_name(path: str) -> str:
    """The last part of a path as it may stand in tables, whatever bytes it is made of."""
    return _text(public(path)).rsplit("/", 1)[-1]


def _text(path: str) -> str:
    """The path with what is not UTF-8 in it, which no table can hold, written as \\xff."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def names_of(paths: Iterable[str]) -> dict[str, str]:
    """The name of each file: its own, or with as many of its folders before it as no other file shares.

    So a/part-0.parquet and b/part-0.parquet are told apart, on every machine by the same names.
    """
    folders = {path: _text(public(path)).split("/") for path in paths}
    names: dict[str, str] = {}
    for n in range(1, max(map(len, folders.values()), default=0) + 1):
        endings = {path: "/".join(parts[-n:]) for path, parts in folders.items()}
        shared = Counter(endings.values())
        names |= {
            path: ending
            for path, ending in endings.items()
            if path not in names and (shared[ending] == 1 or n >= len(folders[path]))
        }
    return names


def without_copies(
    sources: Sequence[Source], whole: Callable[[str], str] = lambda path: ""
) -> tuple[list[Source], list[str]]:
    """Of files of the same name and content the first; a line about each of the others.

    `whole(path)` is asked about files of the same name and digest: it tells apart those that differ all the same.
    """
    alike = Counter((own_name(source.path), source.digest) for source in sources)
    first: dict[tuple[str, str, str], Source] = {}
    said = []
    for source in sources:
        key = own_name(source.path), source.digest
        kept = first.setdefault((*key, whole(source.path) if alike[key] > 1 else ""), source)
        if kept is not source:
            said.append(f"{source.name} is a copy of {kept.name}: it is read once")
    return sorted(first.values(), key=lambda source: source.id), said


# ── what identifies a file ──


def digest_file(path: str) -> str:
    """What identifies an input file: sha256 (hex) of its size and its bytes.

    Above 64 MiB, of its size and of 64 blocks of 1 MiB spread evenly over it, the first and the last among them: an
    archive of a gigabyte is known by reading a sixteenth of it.
    """
    with open_input(path) as file:
        size = file_size(path)
        hashed = hashlib.sha256(f"{size}\n".encode())
        for start, end in sample_blocks(size):
            file.seek(start)
            hashed.update(file.read(end - start))
    return hashed.hexdigest()


def sample_blocks(size: int) -> Iterator[tuple[int, int]]:
    """The bytes of a file of so many that `digest_file` looks at, ascending: from the first to before the second."""
    if size <= SAMPLED_ABOVE:
        yield from ((start, min(start + _BLOCK, size)) for start in range(0, size, _BLOCK))
    else:
        starts = ((size - _BLOCK) * i // 63 for i in range(64))
        yield from ((start, start + _BLOCK) for start in starts)


@dataclass(frozen=True)
class Stat:
    """What a listing says of a file: its size (bytes), and a stamp that is another when it was written anew."""

    size: int
    stamp: str = ""  # empty where the listing has nothing that would tell


def stats_of(paths: Sequence[str]) -> dict[str, Stat]:
    """What listings say of some files; on a store their folders are listed, each once."""
    found = {path: _local_stat(path) for path in paths if is_local(path)}
    there = [path for path in paths if path not in found]
    folders = sorted({path.rpartition("/")[0] for path in there if not path.startswith(("http:", "https:"))})
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        listed = dict(zip(folders, pool.map(entries_in, folders), strict=True))
        entries = [listed.get(path.rpartition("/")[0], {}).get(path.rpartition("/")[2]) for path in there]
        found |= dict(zip(there, pool.map(_stat, there, entries), strict=True))
    return found


def _local_stat(path: str) -> Stat:
    try:
        about = os.stat(filesystem(path)[1])  # noqa: PTH116 (a Path takes ten times as long to make)
    except OSError as error:
        raise Failure(
            f"{path} cannot be looked at ({os.strerror(error.errno or 0)}): put it back, or correct the recipe"
        ) from error
    # The second time is when the first was set: whoever keeps the time of a file that it writes over changes that.
    is_settled = time.time_ns() - max(about.st_mtime_ns, about.st_ctime_ns) > _SETTLED
    return Stat(about.st_size, f"{about.st_mtime_ns} {about.st_ctime_ns}" if is_settled else "")


def _stat(path: str, entry: Mapping[str, Any] | None) -> Stat:
    if entry is None:
        fs, inner = filesystem(path)
        entry = cast(Mapping[str, Any], fs.info(inner))
    said = [str(entry[key]) for key in _STAMPS if entry.get(key)]
    return Stat(int(entry.get("size") or 0), " ".join(said))


_STAMPS = ("ETag", "etag", "generation", "md5Hash", "LastModified", "last_modified", "Last-Modified", "updated")


class Memory:
    """What is known of the raw files of one stage, by path. `known` is that of an earlier run, as JSON has it."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        self.known: dict[str, dict[str, Any]] = dict(known)
        self.is_new = False  # whether anything is known that was not before

    def digests(self, stats: Mapping[str, Stat]) -> dict[str, str]:
        """What identifies each file, read only where it is not as remembered."""
        with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            found = dict(zip(stats, pool.map(self._digest, stats, stats.values()), strict=True))
        self.known = {key: self.known[key] for key in map(_key, stats)}  # of others, the book would grow with each run
        return found

    def _digest(self, path: str, stat: Stat) -> str:
        known = self.known.get(_key(path), {})
        if stat.stamp and known.get("size") == stat.size and known.get("stamp") == stat.stamp:
            return str(known["digest"])
        found = {"size": stat.size, "stamp": stat.stamp, "sample": digest_file(path)}
        found["digest"] = found["sample"]
        if stat.size > SAMPLED_ABOVE and known.get("sample") == found["sample"]:
            # It was written to, and the sample cannot tell whether bytes that are not in it are others now.
            found["sha256"] = _sha256(path)
            is_same = found["sha256"] == known.get("sha256")
            found["digest"] = known["digest"] if is_same else digest(found["sample"], found["sha256"])
        self.known[_key(path)] = found
        self.is_new = True
        return str(found["digest"])

    def unsure(self, stats: Mapping[str, Stat]) -> list[str]:
        """Large files that may have been written to since, where it is not known what all of them held before."""
        return [path for path, stat in stats.items() if self._is_unsure(self.known.get(_key(path), {}), stat)]

    def _is_unsure(self, known: Mapping[str, Any], stat: Stat) -> bool:
        if stat.size <= SAMPLED_ABOVE or known.get("size") != stat.size or "sha256" in known:
            return False
        return not stat.stamp or known.get("stamp") != stat.stamp

    def digest_of(self, path: str) -> str:
        """What identified a file that is known."""
        return str(self.known[_key(path)]["digest"])

    def whole(self, path: str) -> str:
        """What tells a large file from another of the same sample: its sha256, which may take reading all of it.

        Of other files nothing: their digest is of all of their bytes.
        """
        known = self.known.get(_key(path), {})
        if known.get("size", 0) <= SAMPLED_ABOVE:
            return ""
        if "sha256" not in known:
            self.learn(path, _sha256(path))
        return str(known["sha256"])

    def learn(self, path: str, sha256: str) -> None:
        """What a task found a whole file to hold."""
        known = self.known.get(_key(path))
        if known and known.get("sha256") != sha256:
            known["sha256"], self.is_new = sha256, True


def _key(path: str) -> str:
    """A path that may hold a password or a signature, as it may stand in a book."""
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()


def _sha256(path: str) -> str:
    with open_input(path) as file:
        return hashlib.file_digest(cast(Any, file), "sha256").hexdigest()


# ── what was read of it ──


@contextmanager
def reading(source: Source) -> Iterator[Reading]:
    """While the block runs, what it reads of a file is digested; Failure at its end unless it is the promised one."""
    seen = Reading(source.path)
    with watching(source.path, seen.watch):
        yield seen
    seen.finish()
    if not seen.is_whole or source.digest not in {seen.sample, seen.sha256, digest(seen.sample, seen.sha256)}:
        raise _changed(source.path)


def _changed(path: str) -> Failure:
    return Failure(f"{public(path)} was changed after this stage had begun: run the same command again")


class Reading:
    """The digests of a file, of which parts are read in any order, mostly from its start to its end.

    Many readers go over a file twice, or look at its end first. So each is given whole blocks, and a block is the same
    whenever it is read: what any of them has seen is what was digested.
    """

    def __init__(self, path: str) -> None:
        self._path, self._at = path, 0  # all before `_at` is digested
        self._seen: dict[int, bytes] = {}  # number of a block → digest of its bytes
        # Not by a listing: on a store that would be of the whole folder, for each task.
        self._size = _local_stat(path).size if is_local(path) else file_size(path)
        self._sha256 = hashlib.sha256()
        self._sample = hashlib.sha256(f"{self._size}\n".encode())
        self._blocks = list(sample_blocks(self._size))[::-1]  # of the sample, those not digested yet, the next one last

    @property
    def sha256(self) -> str:
        """Of all bytes, hex."""
        return self._sha256.hexdigest()

    @property
    def sample(self) -> str:
        """What `digest_file` says of them."""
        return self._sample.hexdigest()

    @property
    def is_whole(self) -> bool:
        """Whether there were as many bytes as at the start."""
        return self._at == self._size

    def watch(self, file: BinaryIO) -> BinaryIO:
        """The same file, whose readers are overheard."""
        return cast(BinaryIO, io.BufferedReader(_Overheard(file, self), _BLOCK))

    def saw(self, number: int, data: bytes) -> None:
        """These are the bytes of that block of the file; Failure where they were others before."""
        found = xxhash.xxh3_128_digest(data)
        if self._seen.setdefault(number, found) != found:
            raise _changed(self._path)
        if number * _BLOCK == self._at:
            self._sha256.update(data)
            while self._blocks and self._blocks[-1][0] < self._at + len(data):
                start, end = self._blocks[-1]
                self._sample.update(memoryview(data)[max(0, start - self._at) : end - self._at])
                if end > self._at + len(data):
                    break  # the rest of what is sampled there comes with the next bytes
                self._blocks.pop()
            self._at += len(data)

    def finish(self) -> None:
        """Read what nobody has read."""
        with self.watch(open_input(self._path)) as file:
            file.seek(self._at)
            while file.read(_BLOCK):
                pass

    def failed(self, error: Exception) -> Failure:
        """That the file could not be read on."""
        said = str(error) or type(error).__name__
        remedy = "see that its disk or store is well, or get the file again"
        return Failure(f"{public(self._path)} cannot be read to its end ({said}): {remedy}")


class _Overheard(io.RawIOBase):
    def __init__(self, file: BinaryIO, reading: Reading) -> None:
        self._file, self._reading = file, reading
        self._at = 0
        self._number, self._block = -1, b""  # the block that was read last

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        number, start = divmod(self._at, _BLOCK)
        if number != self._number:
            self._block = self._read(number)
            self._reading.saw(number, self._block)
            self._number = number
        data = self._block[start : start + len(buffer)]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _read(self, number: int) -> bytes:
        """The whole of a block; less where the file ends."""
        try:
            self._file.seek(number * _BLOCK)
            data = self._file.read(_BLOCK)
            while len(data) < _BLOCK and (more := self._file.read(_BLOCK - len(data))):
                data += more
        except Exception as error:
            raise self._reading.failed(error) from error
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_CUR:  # the file itself is where its last block ended
            offset, whence = self._at + offset, io.SEEK_SET
        self._at = self._file.seek(offset, whence)
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        self._file.close()
        super().close()
