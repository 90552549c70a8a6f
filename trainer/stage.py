"""What `train`, `eval` and `embed` share as stages: input files, and parts and counts for the manifest.

How a run of any stage begins and ends is in core/runs.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core import recipe as recipes
from core import runs
from core.errors import UsageError
from core.files import Hashed, Pending, digest, join
from core.inputs import Source, digest_file
from core.manifest import Counts, Manifest, Part, Receipt
from core.tables import name_of
from trainer import hardware

_PACKAGES = ("torch", "numpy", "pillow", "tokenizers", "pyarrow")


def source(recipe: recipes.Recipe, key: str, path: str) -> str:
    """The one file that a key of the recipe names; UsageError where it is not there, or matches several."""
    found = recipes.files([path], recipe.path, key)
    if len(found) != 1:
        raise UsageError(f"{recipe.path}: {key} matches {len(found)} files: name one")
    return found[0]


def merges_of(recipe: recipes.Recipe, path: str, trained: Manifest) -> Source:
    """The merges file that a model was trained with; UsageError where `path`, the recipe's train.merges, is another."""
    found = source(recipe, "train.merges", path)
    if (known := digest_file(found)) != trained.facts["inputs"]["merges"]:
        raise UsageError(f"{recipe.path}: train.merges is not the file that the model was trained with: set it back")
    return Source(found, known)


def part(table: str, name: str, rows: int, file: Hashed) -> Part:
    """The row of `_parts.parquet` for a file that was published."""
    return Part(table, "all", name, rows, file.length, file.sha256)


def write_part(folder: str, place: str, task: str, rows: pa.Table, row_group_size: int) -> Part:
    """A task's part in the folder `place`; its name ends in its digest, so that no two runs write the same file."""
    pending = Pending(join(folder, place))
    try:
        pq.write_table(rows, pending.file, compression="zstd", row_group_size=row_group_size, write_page_checksum=True)
        name = f"{task}-{pending.file.sha256[:16]}.parquet"
        pending.place(name)
    except BaseException:
        pending.discard()
        raise
    return Part(name_of(rows.schema), task, f"{place}/{name}", rows.num_rows, pending.file.length, pending.file.sha256)


def counted(kept: int, **dropped: int) -> dict[str, Any]:
    """The counts of one unit, for a manifest: all that came in is kept, or dropped by a name."""
    named = {reason: n for reason, n in dropped.items() if n}
    return {"in": kept + sum(named.values()), "kept": kept, "dropped": named}


def finish(
    folder: str,
    facts: Mapping[str, Any],
    parts: Sequence[Part],
    counts: Counts,
    run: bytes,
    require_lock: Callable[[], None],
) -> None:
    """Declare the folder complete, and only then remove what is no part of it: a training's checkpoints.

    `require_lock` raises Failure once the folder is another run's.
    """
    receipt = Receipt(facts["stage"], "all", digest(facts), tuple(parts), counts)
    runs.publish_manifest(folder, facts, [receipt], run, require_lock)


def how_it_ran(started: float, work: Mapping[str, Mapping[str, float]], **more: Any) -> bytes:
    """`_run.json` of a run that began so many seconds after 1970: see `runs.how_it_ran`."""
    return runs.how_it_ran(started, _PACKAGES, work, machine=hardware.machine(), **more)
