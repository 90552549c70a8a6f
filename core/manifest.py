"""Receipts and manifests: how a task is committed and how a stage is declared complete.

A *part* is written first, then its *receipt* under the task's fixed name: the receipt is the commit. When every task
has one, `_parts.parquet` and last `_manifest.json` are written from them: the manifest's existence means complete, and
readers take their list of files from it, never from a glob.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import Failure
from core.files import create, filesystem, is_local, join, names_in, publish, publishing, read_many, remove, to_json
from core.listing import sizes_below
from core.tables import check, declare

PARTS = declare(
    "parts",
    1,
    {
        "table": (pa.string(), "what the file holds"),
        "name": (pa.string(), "path below the stage's folder"),
        "task": (pa.string(), "the task that committed it"),
        "rows": (pa.int64(), "rows of a table, samples of a tar"),
        "bytes": (pa.int64(), "size of the file"),
        "sha256": (pa.string(), "of the file, hex"),
    },
)

SCHEMA_VERSION = 1  # of receipts and manifests
MANIFEST = "_manifest.json"
RECEIPTS = "_receipts"  # the folder of receipts, below a stage's
Counts = dict[str, dict[str, Any]]  # unit → {"in": n, "kept": n, "dropped": {reason: n}}


@dataclass(frozen=True, order=True)
class Part:
    """One file that a task committed: a row of `_parts.parquet`."""

    table: str
    task: str
    name: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Receipt:
    """That a task is done: what it read, wrote and counted. `basis` is the digest of all that determined it."""

    step: str
    task: str
    basis: str
    parts: tuple[Part, ...]
    counts: Counts
    notes: dict[str, int] = field(default_factory=dict)
    read: dict[str, str] = field(default_factory=dict)  # raw files by id: the sha256 of all that each held, hex


def receipt_path(folder: str, step: str, task: str) -> str:
    """The fixed name under which a task's receipt stands."""
    return join(folder, receipt_name(step, task))


def receipt_name(step: str, task: str) -> str:
    """The same below the stage's folder."""
    return f"{RECEIPTS}/{step}.{task}.json"


def write_receipt(folder: str, receipt: Receipt) -> None:
    """Commit a task: from now on its parts exist."""
    publish(receipt_path(folder, receipt.step, receipt.task), receipt_bytes(receipt))


def receipt_bytes(receipt: Receipt) -> bytes:
    """A receipt as it is written."""
    return to_json({"schema_version": SCHEMA_VERSION, **asdict(receipt)})


def read_receipts(folder: str, step: str, tasks: Sequence[str]) -> dict[str, Receipt]:
    """The receipts of those tasks that have one, by task; those of another version of openwit count as none."""
    found = {}
    for task, raw in zip(tasks, read_many(folder, [receipt_name(step, task) for task in tasks]), strict=True):
        if raw:  # an empty one is what a power failure leaves
            try:
                if receipt := parse_receipt(raw):
                    found[task] = receipt
            except msgspec.MsgspecError as error:
                path = receipt_path(folder, step, task)
                raise Failure(f"{path} is damaged ({error}): remove it and run the stage again") from error
    return found


def read_all_receipts(folder: str) -> list[Receipt]:
    """All receipts of a stage, whatever they were given for."""
    tasks: dict[str, list[str]] = {}
    for name in names_in(join(folder, RECEIPTS)):
        step, _, task = name.removesuffix(".json").partition(".")
        if step:  # a name that begins with a dot is half-written
            tasks.setdefault(step, []).append(task)
    return [receipt for step, some in tasks.items() for receipt in read_receipts(folder, step, some).values()]


def sha256s_read(receipts: Iterable[Receipt]) -> dict[str, str]:
    """What tasks found the raw files to hold, by id: the sha256 of all that each held."""
    return {source: sha256 for receipt in receipts for source, sha256 in receipt.read.items()}


class _Stamp(msgspec.Struct):
    schema_version: int


def parse_receipt(raw: bytes) -> Receipt | None:
    """The receipt that `raw` is, None where another version of openwit wrote it; MsgspecError where it is damaged."""
    if msgspec.json.decode(raw, type=_Stamp).schema_version != SCHEMA_VERSION:
        return None
    if not raw.endswith(b"}\n"):
        raise msgspec.DecodeError("its last byte is missing")
    return msgspec.json.decode(raw, type=Receipt)


def add_up(receipts: Iterable[Receipt]) -> tuple[Counts, dict[str, int]]:
    """The counts and the notes of all receipts together."""
    counts: Counts = {}
    notes: dict[str, int] = {}
    for receipt in receipts:
        for unit, count in receipt.counts.items():
            total = counts.setdefault(unit, {"in": 0, "kept": 0, "dropped": {}})
            total["in"] += count["in"]
            total["kept"] += count["kept"]
            for reason, n in count["dropped"].items():
                total["dropped"][reason] = total["dropped"].get(reason, 0) + n
        for note, n in receipt.notes.items():
            notes[note] = notes.get(note, 0) + n
    return counts, notes


def balance(counts: Counts, folder: str = "") -> None:
    """Raise Failure where rows in are not rows kept plus rows dropped by a name; `folder` is where, for the message."""
    for unit, total in counts.items():
        lost = total["in"] - total["kept"] - sum(total["dropped"].values())
        if lost:
            said = (
                f"{lost} of {total['in']} {unit} are neither kept nor dropped by a name"
                if lost > 0
                else f"{total['in']} {unit} came in, and {total['in'] - lost} are kept or dropped"
            )
            raise Failure(f"{f'{folder}: ' if folder else ''}{said}: this is a bug, report it")


@dataclass(frozen=True)
class Manifest:
    """A finished stage: the facts that determine its bytes, its parts, its counts."""

    folder: str
    digest: str
    facts: dict[str, Any]
    parts: tuple[Part, ...]

    def of(self, table: str) -> list[Part]:
        """The parts of one table, by task and name."""
        return [part for part in self.parts if part.table == table]

    def paths(self, table: str) -> list[str]:
        """The files of one table, by task and name."""
        return [join(self.folder, part.name) for part in self.of(table)]

    @property
    def pin(self) -> tuple[str, str]:
        """What a task is given of it: folder and digest, for `pinned`; lists of files would be too much to carry."""
        return self.folder, self.digest

    @property
    def counts(self) -> Counts:
        return cast(Counts, self.facts["counts"])


def write_manifest(folder: str, facts: Mapping[str, Any], receipts: Iterable[Receipt]) -> Manifest:
    """Declare a stage complete: `_parts.parquet`, then `_manifest.json`.

    On a store Failure where there is a manifest: `remove_manifest` was called when the work began, so it is that of
    another run, which has taken the folder over and is done.
    """
    path = join(folder, MANIFEST)
    if not is_local(folder) and read_many(folder, [MANIFEST]) != [None]:
        raise _of_another_run(path)
    receipts = sorted(receipts, key=lambda receipt: (receipt.step, receipt.task))
    counts, notes = add_up(receipts)
    balance(counts, folder)
    parts = sorted(part for receipt in receipts for part in receipt.parts)
    read = sha256s_read(receipts)
    rows = pa.Table.from_pylist([asdict(part) for part in parts], schema=PARTS)
    with publishing(join(folder, "_parts.parquet")) as file:
        pq.write_table(rows, file, compression="zstd", write_page_checksum=True)
        parts_digest = file.sha256
    said = {"schema_version": SCHEMA_VERSION, **facts, "counts": counts, "notes": notes, "parts_sha256": parts_digest}
    raw = to_json(said | ({"read": read} if read else {}))
    if is_local(folder):
        publish(path, raw)
    elif not create(path, raw):
        raise _of_another_run(path)
    return Manifest(folder, hashlib.sha256(raw).hexdigest(), json.loads(raw), tuple(parts))


def _of_another_run(path: str) -> Failure:
    return Failure(f"{path} was written by another run meanwhile: run the same command again, it starts from there")


def withdraw(manifest: Manifest) -> None:
    """Remove a manifest that was written while another run took the folder over; one that is that run's own stays.

    That run may replace it between the look and the removal, which then hits its manifest: the stage counts as not
    complete, and the next run completes it from its receipts.
    """
    (raw,) = read_many(manifest.folder, [MANIFEST])
    if raw is not None and hashlib.sha256(raw).hexdigest() == manifest.digest:
        remove_manifest(manifest.folder)


def remove_manifest(folder: str) -> None:
    """Before a stage is worked on: a manifest's existence means complete, and it no longer is."""
    remove(join(folder, MANIFEST))


def read_manifest(folder: str) -> Manifest | None:
    """The manifest of a finished stage, None where there is none; Failure where it and `_parts.parquet` disagree."""
    path = join(folder, MANIFEST)
    (raw,) = read_many(folder, [MANIFEST])
    if raw is None:
        return None
    facts = _parsed(raw)
    if facts.get("schema_version") not in {None, SCHEMA_VERSION}:
        raise Failure(f"{path} was written by another version of openwit: remove it and run the stage again")
    (listing,) = read_many(folder, ["_parts.parquet"])
    if listing is None or not facts or hashlib.sha256(listing).hexdigest() != facts.get("parts_sha256"):
        if read_many(folder, [MANIFEST]) != [raw]:
            return read_manifest(folder)  # the stage was made anew between the two
        raise Failure(
            f"{path} is damaged or does not belong to its _parts.parquet: remove both and run the stage again"
        )
    copied = pa.BufferOutputStream()  # Arrow's own memory: a thread of it may free this while Python shuts down
    copied.write(listing)
    table = pq.read_table(pa.BufferReader(copied.getvalue()))
    check(table.schema, PARTS, join(folder, "_parts.parquet"))
    parts = tuple(Part(**row) for row in table.to_pylist())
    return Manifest(folder, hashlib.sha256(raw).hexdigest(), facts, parts)


def _parsed(raw: bytes) -> dict[str, Any]:
    """What a manifest says; nothing where it is damaged."""
    try:
        said = json.loads(raw)
    except ValueError:
        return {}
    is_whole = isinstance(said, dict) and "schema_version" in said and raw.endswith(b"}\n")
    return cast(dict[str, Any], said) if is_whole else {}


@functools.lru_cache(maxsize=16)
def pinned(folder: str, digest: str) -> Manifest:
    """The manifest that a task was given by its digest; Failure where it is no longer the one."""
    manifest = read_manifest(folder)
    if manifest is None or manifest.digest != digest:
        raise Failure(
            f"{folder} was made anew while it was read: run the same command again, it starts from what is there"
        )
    return manifest


def missing_part(manifest: Manifest) -> str | None:
    """The first part that is not there with its size, None where all are; by one listing."""
    return first_missing(manifest.folder, manifest.parts, sizes_below(manifest.folder))


def first_missing(folder: str, parts: Iterable[Part], sizes: Mapping[str, int] | None = None) -> str | None:
    """The same of some parts of a folder. What is not among the `sizes` of a listing is asked for by its name."""
    for part in parts:
        if (sizes or {}).get(part.name) != part.bytes and _size(join(folder, part.name)) != part.bytes:
            return part.name
    return None


def _size(path: str) -> int | None:
    fs, inner = filesystem(path)
    try:
        return int(fs.size(inner))
    except (FileNotFoundError, NotADirectoryError):
        return None
