"""The sources of other people's tars: paths, patterns, object stores, web servers and shell commands."""

from __future__ import annotations

import base64
import gzip
import http.client
import itertools
import os
import re
import select
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from glob import has_magic
from pathlib import Path
from typing import Any, Protocol, TypeVar

from braceexpand import braceexpand

from core import recipe as recipes
from core.credentials import public_text
from core.errors import UsageError, describe
from core.files import filesystem, join, shown

PIPE = "pipe:"
WEB = ("http://", "https://")
_READ = 8 << 20  # bytes that a store is asked for at once
_TRIES = 4  # at a server that hangs up
PATIENCE = 300.0  # seconds that a command may write nothing
_TIMEOUT = 10.0  # seconds that a server may send nothing; a training that is asked to stop may wait for it
_POLL = 500  # milliseconds between checks of `stop`
_TRANSIENT = (TimeoutError, ConnectionError, http.client.HTTPException, urllib.error.URLError)
_IN_URLS = "!$%&'()*+,/:;=?@~"  # stand for themselves
_GZIP = b"\x1f\x8b"
_TAR = (".tar", ".tar.gz", ".tgz")
_SEVERAL = re.compile(r"(\.tar|\.tgz|\.gz|\})::|::pipe:")  # sources in one string, as open_clip has them
_NO_DATA = {  # how files begin that stand where a tar or weights should
    b"version https://git-lfs": "a pointer of Git LFS without the file: run `git lfs pull` there",
    b"<": "a web page, perhaps with an error of the server: open it to see what it says",
}
_COMPRESSED = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK": "zip", b"PAR1": "parquet"}

R = TypeVar("R")


class ShardError(Exception):
    """A shard that cannot be read to its end. `reason`: shard_unreadable (the file, the server, the command),
    shard_damaged (a header, a member that no picture is), shard_cut, shard_short (whole, but it lacks samples)."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


class Readable(Protocol):
    """A file object that a shard is read from."""

    def read(self, n: int, /) -> bytes:
        """At most n bytes; none at the end."""
        ...


def shards_in(sources: Sequence[str], recipe: str, key: str) -> list[str]:
    """Expand a recipe's list of sources into shards, each once, sorted within each source.

    A source is a path, a pattern, a folder (all tars in it), a URL of a web server, or `pipe:` and a shell command;
    each may have ranges, {00000..00099}. UsageError where one matches nothing; URLs are checked when they are read.
    """
    if not sources or not all(source.removeprefix(PIPE).strip() for source in sources):
        raise UsageError(f"{recipe}: {key} is empty, or has an empty entry: name shards")
    found: dict[str, None] = {}
    for source in sources:
        path = recipes.expand(source, recipe)
        if _SEVERAL.search(path):  # a chain to fsspec, which would read the first one alone
            raise UsageError(f"{recipe}: {key}: {name_of(path)} has several sources: give each as an entry of its own")
        if path.startswith((PIPE, *WEB)):
            found |= dict.fromkeys(_ranges(path, recipe, key))
        else:
            words = [path] if Path(path).exists() else _ranges(path, recipe, key)
            patterns = [pattern for word in words for pattern in _tars_in(word)]
            found |= dict.fromkeys(recipes.files(patterns, recipe, key))
    stems = Counter(map(_stem, found))
    if twice := [name_of(shard) for shard in found if stems[_stem(shard)] > 1]:
        raise UsageError(f"{recipe}: {key} has {twice[0]} and {twice[1]}, which look like one: name either of them")
    return list(found)


def _stem(shard: str) -> str:
    """The same of a tar and of its compressed copy beside it."""
    ending = "" if shard.startswith(PIPE) else next(filter(shard.endswith, _TAR), "")
    return shard.removesuffix(ending)


def _ranges(path: str, recipe: str, key: str) -> list[str]:
    try:
        return list(braceexpand(path, escape=False))
    except ValueError as error:
        raise UsageError(f"{recipe}: {key}: {name_of(path)}: {error}: correct the range") from None


def _tars_in(path: str) -> list[str]:
    """A path, or where it is a folder patterns of the tars in it; on a store what is not called like a tar is one."""
    if path.endswith(_TAR) or has_magic(path) or ("://" not in path and not Path(path).is_dir()):
        return [path]
    there = [] if "://" in path else [ending for ending in _TAR if any(Path(path).glob(f"*{ending}"))]
    return [join(path, f"*{ending}") for ending in there or _TAR[:1]]


def no_data(start: bytes) -> str:
    """What a file is that begins like this and holds no data, with the remedy; empty where nothing tells."""
    return next((said for mark, said in _NO_DATA.items() if start.startswith(mark)), "")


def no_tar(start: bytes) -> str:
    """What a file is that begins like this and is no tar; empty where nothing tells."""
    form = next((name for mark, name in _COMPRESSED.items() if start.startswith(mark)), "")
    return no_data(start) or (f"{form}, and only plain tars and gzip are read: write it anew as one" if form else "")


def name_of(shard: str) -> str:
    """A shard as messages have it: without credentials."""
    return public_text(shard) if shard.startswith(PIPE) else shown(shard)


@contextmanager
def opened(shard: str, stop: threading.Event) -> Iterator[Readable]:
    """The bytes of a shard, decompressed if it is gzip. Every error of the source is raised as ShardError.

    `pipe:` is a shell command that writes the tar. It can do anything, so it is only ever taken from a recipe. Its
    process group is killed when the shard is closed early. Once `stop` is set, no read waits any longer.
    """
    with closing(_Source(shard, stop)) as source:
        first = source.read(len(_GZIP))
        source.put_back(first)
        yield _Unzipped(source) if first == _GZIP else source


class _Source:
    """A shard's bytes before decompression. Exceptions of fsspec's backends become ShardError."""

    def __init__(self, shard: str, stop: threading.Event) -> None:
        self._kept = b""
        self._file = self._do(lambda: _open(shard, stop))

    def read(self, n: int, /) -> bytes:
        kept, self._kept = self._kept[:n], self._kept[n:]
        return kept or self._do(lambda: bytes(self._file.read(n)))

    def put_back(self, data: bytes) -> None:
        """`data` is what is read next."""
        self._kept = data

    def close(self) -> None:
        self._file.close()

    def _do(self, work: Callable[[], R]) -> R:
        try:
            return work()
        except Exception as error:
            raise ShardError("shard_unreadable", public_text(describe(error))) from error


def _open(shard: str, stop: threading.Event) -> Any:
    if shard.startswith(PIPE):
        return _Command(shard.removeprefix(PIPE), stop)
    if shard.startswith(WEB):
        return _Download(shard, stop)
    fs, inner = filesystem(shard)
    return fs.open(inner, "rb", block_size=_READ)


class _Command:
    """The output of a shell command; an exit status other than 0 raises at its end.

    webdataset's own pipe waits up to two hours for a command whose output is no longer read.
    """

    def __init__(self, command: str, stop: threading.Event) -> None:
        self._shell = subprocess.Popen(command, shell=True, stdout=subprocess.PIPE, bufsize=0, start_new_session=True)
        assert self._shell.stdout
        self._output, self._stop = self._shell.stdout, stop
        self._ready = select.poll()
        self._ready.register(self._output, select.POLLIN)

    def read(self, n: int) -> bytes:
        began = time.monotonic()
        while not self._ready.poll(_POLL):
            if self._stop.is_set():
                raise OSError("reading was stopped")
            if time.monotonic() - began > PATIENCE:
                raise OSError(f"the command wrote nothing for {PATIENCE:,.0f} seconds")
        data = self._output.read(n)
        if not data and (status := self._shell.wait()):
            raise OSError(f"the command ended with exit status {status}")
        return data

    def close(self) -> None:
        self._output.close()
        if self._shell.returncode is None:  # so its process number is still its own, and the group's
            with suppress(ProcessLookupError):
                os.killpg(self._shell.pid, signal.SIGKILL)
            self._shell.wait()


class _Download:
    """A file on a web server: one request, and range requests for the rest where the server closes the connection.

    Servers close slow connections, and a shard is read only as fast as its samples are trained on.
    """

    def __init__(self, url: str, stop: threading.Event) -> None:
        parts = urllib.parse.urlsplit(url)
        user, _, host = parts.netloc.rpartition("@")
        path, query = (urllib.parse.quote(part, _IN_URLS) for part in (parts.path, parts.query))  # spaces and letters
        self._url, self._stop = parts._replace(netloc=host, path=path, query=query).geturl(), stop
        self._user = urllib.parse.unquote(user).encode()
        self._answer: http.client.HTTPResponse | None = None
        self._at = 0
        self._length: int | None = None
        self._version: str | None = None

    def read(self, n: int) -> bytes:
        for attempt in itertools.count(1):
            try:
                return self._read(n)
            except _TRANSIENT as error:
                self.close()
                final = isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code != 429
                if final or attempt == _TRIES:
                    raise
            if self._stop.wait(2.0**attempt / 2):
                raise OSError("reading was stopped")
        raise AssertionError

    def _read(self, n: int) -> bytes:
        self._answer = self._answer or self._ask()
        data = self._answer.read(n)
        self._at += len(data)
        if not data and self._length is not None and self._at < self._length:
            raise http.client.IncompleteRead(data, self._length - self._at)
        return data

    def _ask(self) -> http.client.HTTPResponse:
        request = urllib.request.Request(self._url)
        if self._user:  # not sent on to the target of a redirect
            request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(self._user).decode()}")
        if self._at:
            request.add_header("Range", f"bytes={self._at}-")
            if self._version and not self._version.startswith("W/"):
                request.add_header("If-Range", self._version)
        try:
            answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT)
        except urllib.error.HTTPError as error:
            error.close()
            raise
        if not self._at:
            length = answer.headers["Content-Length"]
            self._length = int(length) if length else None
            self._version = answer.headers["ETag"]
        elif answer.status != http.client.PARTIAL_CONTENT:
            answer.close()
            raise OSError(f"the server hung up after {self._at:,} bytes, and does not give the rest alone")
        return answer

    def close(self) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None


class _Unzipped:
    """The decompressed bytes of a gzip file."""

    def __init__(self, source: _Source) -> None:
        self._file: Any = gzip.GzipFile(fileobj=source, mode="rb")  # type: ignore[call-overload]

    def read(self, n: int, /) -> bytes:
        try:
            return bytes(self._file.read(n))
        except EOFError as error:
            raise ShardError("shard_cut", f"gzip: {error}") from error
        except (OSError, zlib.error) as error:
            raise ShardError("shard_damaged", f"gzip: {error}") from error
