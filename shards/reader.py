"""Reading a finished pack folder: any sample by its number, or all of them in order, each proven before it is given.

The files are those of the manifest. A shard that is missing or has another size is found when the folder is opened, a
table that is not the manifest's when it is read (sha256), so also that of a pack which was made again meanwhile, and a
changed byte of a tar when its sample is read (xxh3 over the whole sample, headers too, as the table has it);
`python -m shards verify` checks it all.
"""

from __future__ import annotations

import functools
import hashlib
import os
import resource
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from core.errors import Failure, UsageError
from core.files import filesystem, is_local, join, read_bytes
from core.manifest import Manifest, read_manifest
from core.tables import check
from shards.format import SAMPLE, Ids, ids_in, members

_HANDLES = (16, 256)  # shards held open at once: a quarter of what the process may open, within these
_AHEAD = 8 << 20  # bytes that `iterate` reads at once


class Damaged(Failure):
    """One sample is not as it was packed. `reason`: changed_bytes, or why it does not decode."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(reason, sentence)  # both, so that it can be pickled
        self.reason = reason

    def __str__(self) -> str:
        return str(self.args[1])


@dataclass(frozen=True)
class Sample:
    """One image with its texts; `meta` is its .json, whose "captions" are all of them."""

    key: str
    image: bytes
    ext: str
    text: str
    meta: dict[str, Any]


@dataclass(frozen=True)
class _Index:
    """Where the samples of one shard are: offset int64 [n], length int64 [n], xxh3 uint64 [n]; 24 bytes a sample."""

    offset: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]
    xxh3: npt.NDArray[np.uint64]


_INDEX = ["offset", "length", "xxh3"]


def _index_of(table: pa.Table) -> _Index:
    return _Index(*(table[name].to_numpy() for name in _INDEX))


class _Handle:
    """An open file that is closed when nobody holds it any more: a shard may be evicted while a thread reads it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)


def _open(path: str) -> _Handle:
    return _Handle(os.open(path, os.O_RDONLY))


def _handles() -> int:
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    least, most = _HANDLES
    return most if allowed == resource.RLIM_INFINITY else max(least, min(most, allowed // 4))


def finished(folder: str) -> Manifest:
    """The manifest of a pack folder; UsageError where it has none or is of another stage."""
    manifest = read_manifest(folder)
    if manifest is None or not manifest.of("shard"):
        raise UsageError(f"{folder} is not a finished pack (no _manifest.json with shards): give the folder of one")
    return manifest


class Shards:
    """The samples of a pack folder, numbered from 0 in the order of the shards. Threads may share it.

    `sizes`: samples of each shard, int64 [shards]. `digest`: of the manifest, so of the whole content.
    An index of a shard is read when its first sample is, then kept: opening costs one listing of the folder.
    `manifest`: of the folder, where it was read before: what is read is that pack and none that was made since.
    """

    def __init__(self, folder: str, manifest: Manifest | None = None) -> None:
        manifest = manifest or finished(folder)
        rows = {part.name.removesuffix(".tar"): part.rows for part in manifest.of("shard")}
        self.folder = folder
        self.digest = manifest.digest
        self.names = sorted(rows)
        self.sizes = np.array([rows[name] for name in self.names], dtype=np.int64)
        self._ends: list[int] = np.cumsum(self.sizes).tolist()
        self._fs, self._inner = filesystem(folder)
        self._local = is_local(folder)
        self._sha256 = {part.name: part.sha256 for part in manifest.of("sample")}
        self._indexes: dict[int, _Index] = {}
        self._handle = functools.lru_cache(_handles())(_open)
        self._check_sizes(manifest)

    def _check_sizes(self, manifest: Manifest) -> None:
        found = {entry["name"].rsplit("/", 1)[-1]: entry["size"] for entry in self._fs.ls(self._inner, detail=True)}
        for part in manifest.of("shard") + manifest.of("sample"):
            path = join(self.folder, part.name)
            if part.name not in found:
                raise Failure(f"{path} is missing: restore it, or pack again")
            if found[part.name] != part.bytes:
                raise Failure(
                    f"{path} has {found[part.name]} bytes, its manifest says {part.bytes}: restore it, or pack again"
                )

    def __len__(self) -> int:
        return self._ends[-1]

    @functools.cached_property
    def image_ids(self) -> Ids:
        """The ids of all samples, ascending: S16 [n], 16 bytes a sample; reads every index, which is kept."""
        columns = []
        for shard in range(len(self.names)):
            table = self._table(shard, ["image_id", *_INDEX])
            self._indexes.setdefault(shard, _index_of(table))
            columns.append(ids_in(table["image_id"]))
        return np.concatenate(columns)

    def sample(self, i: int) -> Sample:
        """The i-th sample. Damaged where its bytes are not those that were packed."""
        shard, row = self._place(i)
        index = self._index(shard)
        start = int(index.offset[row])
        span = self._read(shard, start, start + int(index.length[row]))
        return self._proven(shard, span, start, int(index.xxh3[row]))

    def captions(self, i: int) -> list[str]:
        """All texts of the i-th sample, its own first."""
        return [caption["text"] for caption in self.sample(i).meta["captions"]]

    def iterate(self, start: int = 0) -> Iterator[Sample]:
        """The samples from the start-th on, in order, read some megabytes at a time."""
        if start == len(self):
            return
        first, row = self._place(start)
        for shard in range(first, len(self.names)):
            index = self._index(shard)
            ends = index.offset + index.length
            while row < len(ends):
                begin = int(index.offset[row])
                after = max(row + 1, int(np.searchsorted(ends, begin + _AHEAD, side="right")))
                block = self._read(shard, begin, int(ends[after - 1]))
                for at, end, xxh3 in zip(index.offset[row:after], ends[row:after], index.xxh3[row:after], strict=True):
                    yield self._proven(shard, block[at - begin : end - begin], int(at), int(xxh3))
                row = after
            row = 0

    def _place(self, i: int) -> tuple[int, int]:
        """The shard of the i-th sample and its row among the shard's samples."""
        if not 0 <= i < len(self):
            raise IndexError(f"sample {i} of {len(self)}")
        shard = bisect_right(self._ends, i)
        return shard, i - (self._ends[shard - 1] if shard else 0)

    def _index(self, shard: int) -> _Index:
        found = self._indexes.get(shard)
        if found is None:  # two threads may both read it: they find the same
            found = self._indexes[shard] = _index_of(self._table(shard, _INDEX))
        return found

    def _table(self, shard: int, columns: list[str]) -> pa.Table:
        """Columns of a shard's table, of the samples that have an image; read once, so that it is what was hashed."""
        name = f"{self.names[shard]}.parquet"
        path = join(self.folder, name)
        try:
            data = read_bytes(path)
        except OSError as error:
            raise Failure(f"{path} cannot be read ({error}): restore it, or pack again") from error
        if hashlib.sha256(data).hexdigest() != self._sha256[name]:
            raise Failure(
                f"{path} is not the one that the manifest names: the pack was made again since it was opened, or the "
                "file is damaged; open it anew, then restore the file, or pack again"
            )
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            check(file.schema_arrow, SAMPLE, path)
            table = file.read(columns=columns)
        return table.filter(pc.is_valid(table["offset"]))

    def _read(self, shard: int, start: int, end: int) -> bytes:
        """The bytes of a shard from start to end."""
        name = f"{self.names[shard]}.tar"
        try:
            if self._local:
                handle = self._handle(f"{self._inner}/{name}")  # held by its name, so open until it was read
                data = os.pread(handle.fd, end - start, start)
            else:
                data = bytes(self._fs.cat_file(f"{self._inner}/{name}", start, end))
        except OSError as error:
            raise Failure(f"{join(self.folder, name)} cannot be read ({error}): restore it, or pack again") from error
        if len(data) != end - start:
            raise Failure(
                f"{join(self.folder, name)} was cut short: of {end - start} bytes from byte {start} on there are "
                f"{len(data)}; restore it, or pack again"
            )
        return data

    def _proven(self, shard: int, span: bytes, start: int, xxh3: int) -> Sample:
        found = xxhash.xxh3_64_intdigest(span)
        if found != xxh3:
            raise Damaged(
                "changed_bytes",
                f"{join(self.folder, self.names[shard])}.tar is damaged: the {len(span)} bytes of the sample at byte "
                f"{start} have xxh3 {found:016x}, its table says {xxh3:016x}; if the pack was not made again since it "
                "was opened, restore it, or pack again",
            )
        (name, image), (_, text), (_, meta) = members(span)
        key, ext = name.split(".")
        return Sample(key, image, ext, text.decode(), msgspec.json.decode(meta))
