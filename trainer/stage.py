"""What `train` and `eval` share with the stages before them: inputs, "nothing to do", one run at a time, the books.

The rules are those of pipeline/stage.py, which carries Beam and so is out of reach here.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from shards import recipe as recipes
from shards.errors import Failure, UsageError
from shards.files import Hashed, digest, filesystem, is_local, join, publish, remove, to_json
from shards.manifest import Counts, Manifest, Part, Receipt, missing_part, read_manifest, write_manifest

_LEAST_ROOM = 256 << 20  # bytes; below this no stage can do anything useful
_PACKAGES = ("openwit", "torch", "numpy", "pillow", "tokenizers", "pyarrow")


def finished(recipe: recipes.Recipe, stage: str, reader: str) -> Manifest:
    """The manifest of a stage before this one; UsageError with the command to run where it has none."""
    manifest = read_manifest(recipe.folder(stage))
    if manifest is None:
        raise UsageError(
            f"{reader} reads what {stage} makes, and {recipe.folder(stage)} is not finished: "
            f"run openwit {stage} --recipe {recipe.path} first"
        )
    return manifest


def source(recipe: recipes.Recipe, key: str, path: str) -> str:
    """The one file that a key of the recipe names; UsageError where it is not there, or matches several."""
    found = recipes.files([path], recipe.path, key)
    if len(found) != 1:
        raise UsageError(f"{recipe.path}: {key} matches {len(found)} files: name one")
    return found[0]


def up_to_date(folder: str, facts: Mapping[str, Any]) -> bool:
    """Whether the folder's manifest was written for the same facts and all its parts are there."""
    manifest = read_manifest(folder)
    if manifest is None or any(manifest.facts.get(key) != value for key, value in facts.items()):
        return False
    return missing_part(manifest) is None


@contextmanager
def alone(folder: str, name: str, room: int = 0) -> Iterator[None]:
    """One run at a time, with room for so many bytes; what a killed run left half-written is removed."""
    if not is_local(folder):
        yield
        return
    path = Path(folder)
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
        for left in path.rglob(".tmp-*"):
            left.unlink()
        free, needed = shutil.disk_usage(folder).free, room + _LEAST_ROOM
        if free < needed:
            raise Failure(
                f"only {free >> 20} MiB are free on the disk of {folder}: free some ({needed >> 20} MiB at the least), "
                "or move the recipe's run.out"
            )
        yield


def part(table: str, name: str, rows: int, file: Hashed) -> Part:
    """The row of `_parts.parquet` for a file that was published."""
    return Part(table, "all", name, rows, file.length, file.sha256)


def counted(kept: int, **dropped: int) -> dict[str, Any]:
    """The counts of one unit, for a manifest: all that came in is kept, or dropped by a name."""
    named = {reason: n for reason, n in dropped.items() if n}
    return {"in": kept + sum(named.values()), "kept": kept, "dropped": named}


def finish(folder: str, facts: Mapping[str, Any], parts: Sequence[Part], counts: Counts, run: bytes) -> None:
    """Declare the folder complete, and remove what is no part of it (a training's checkpoints)."""
    write_manifest(folder, facts, [Receipt(facts["stage"], "all", digest(facts), tuple(parts), counts)])
    publish(join(folder, "_run.json"), run)
    kept = {"_manifest.json", "_parts.parquet", "_run.json", "_lock", *(part.name for part in parts)}
    fs, inner = filesystem(folder)
    for path in sorted(fs.find(inner)):
        name = path[len(inner) :].lstrip("/")
        if name not in kept:
            remove(join(folder, name))


def how_it_ran(started: float, **said: Any) -> bytes:
    """What a person wants to know and no digest may hold: command, host, versions, seconds."""
    return to_json(
        {
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            "seconds": round(time.time() - started, 3),
            "host": platform.node(),
            "machine": machine(),
            "python": platform.python_version(),
            "versions": {package: version(package) for package in _PACKAGES},
            **said,
        }
    )


def device() -> torch.device:
    """Where models run: the first CUDA device, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def machine() -> str:
    """What the last bits of a float depend on, beside torch itself: the processor and how many threads share a sum."""
    if device().type == "cuda":
        return torch.cuda.get_device_name()
    return f"CPU {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
