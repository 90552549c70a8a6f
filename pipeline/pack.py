"""pack: chunks → shards 00000.tar …, sorted by image_id, minus the duplicates, each image with all its captions.

    openwit pack --recipe recipes/real.toml

What is packed may be less: [pack.where] keeps what a column of its outcome or a score says, for example

    [pack]
    scores = ["scores/*.parquet"]         # tables of image_id, name and value, as `openwit embed` writes them

    [pack.where]
    width = ">= 256"                      # a column of the table outcome
    "clip:ViT-B/32" = ">= 0.28"           # a score by its name

[pack] drop = ["out/real/decontaminate.txt"] leaves out the images of a list of keys, as `openwit decontaminate` writes
it: 32 hex a line.

image_id is a hash, so merging the sorted chunks by ranges of it is a global shuffle, and a sample's shard is a pure
function of its id. A task owns consecutive shards and reads its range of every chunk by index, as much at a time as
the recipe's memory allows.
"""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections import Counter
from collections.abc import Container, Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from operator import itemgetter
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core import recipe as recipes
from core.command import exit_now
from core.errors import Failure, UsageError
from core.files import digest, join, shown, to_json
from core.manifest import Manifest, pinned
from dedup.tables import CAPTION, GROUP
from pipeline.inputs.urltables import owncolumns
from pipeline.stage import Definition, Stage, main_of
from pipeline.tables import OUTCOME, UNWANTED, query_texts
from pipeline.tasks.attempt import Attempt, Task
from shards import droplists, scores
from shards.format import (
    SAMPLE,
    TarWriter,
    ids_in,
    range_of,
    sample_json,
    sample_row,
    shard_name,
    shards_of,
    stats_json,
    write_rows,
)
from shards.merge import Run, merge_range, read_range
from shards.scores import SCORE

RULES_VERSION = 2

LISTED = "drop_list"  # under which name an image goes that pack.drop lists

SHARDS_A_TASK = 8  # consecutive ones: neighbouring ranges share the row groups that are read for them

_SIDE_BY_SIDE = 16  # files of scores whose names are looked at


class Inputs(NamedTuple):
    """The stages that shards are made of: the folder of each and the digest of its manifest."""

    queries: tuple[str, str]
    crawl: tuple[str, str]
    fetch: tuple[str, str]
    dedup: tuple[str, str]


class Unwanted(NamedTuple):
    """What says which images are not wanted, beside conditions on their outcomes."""

    scored: list[str]  # parts of the table score that have those of its images
    listed: list[bytes]  # ids that pack.drop lists, ascending


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The recipe's [pack] table."""

    samples_per_shard: Annotated[int, msgspec.Meta(ge=1)] = 10_000  # on average; fixes the number of shards
    shards: Annotated[int, msgspec.Meta(ge=0, lt=2**32)] = (
        0  # that number itself, to keep it as a set grows; 0 = derive
    )
    memory_mib: Annotated[int, msgspec.Meta(ge=16)] = 1024  # what one task may hold beside the program itself
    where: dict[str, str] = {}  # column of OUTCOME or name of a score → what a sample must meet to stay: ">= 0.28"
    scores: Annotated[tuple[str, ...], recipes.RUNTIME] = ()  # files of the table score
    drop: Annotated[tuple[str, ...], recipes.RUNTIME] = ()  # lists of keys (image_ids) that are left out, a line each

    def __post_init__(self) -> None:
        wanted = names_of_scores(self)
        if not self.scores and (wrong := scores.unknown(self.where, scores.comparable(OUTCOME))):
            raise ValueError(f"where: {wrong}, and pack.scores names no files of scores")
        if self.scores and not wanted:
            raise ValueError("scores are given, and where asks for none of them: ask, or leave scores out")


def names_of_scores(config: Config) -> list[str]:
    """The scores that the recipe asks for, sorted: whatever is no column."""
    return [c.name for c in scores.conditions(config.where.items(), OUTCOME) if c.name not in OUTCOME.names]


def check(stage: Stage[Config]) -> None:
    """UsageError where the recipe asks for a score that its files do not have, or for those of this very pack.

    Failure where a list of keys holds something else.
    """
    own = stage.recipe.folder("embed")
    files = [source.path for source in stage.sources["scores"]]
    if any(path.startswith(f"{own}/") for path in files):
        raise UsageError(
            f"{stage.recipe.path}: pack.scores names {shown(own)}, which was made of the pack that is now to be "
            "another: copy the scores out of it, and name the copies"
        )
    if files:
        with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
            there = set[str]().union(*pool.map(scores.names_in, files))
        if wrong := scores.unknown(stage.config.where, [*scores.comparable(OUTCOME), *sorted(there)]):
            raise UsageError(f"{stage.recipe.path}: pack.where: {wrong}")
    for source in stage.sources["drop"]:
        droplists.read_keys(source.path)  # what is wrong with one is said before the shards that are there go


def run(stage: Stage[Config]) -> None:
    shards = number_of_shards(stage)

    # file of scores → score, by the task that will want it                        a task a file
    job = stage.job("scores", ())
    names = names_of_scores(stage.config)
    asked = [Task(s.id, digest(s.digest, names, shards), (s, names, shards)) for s in stage.sources["scores"]]
    scored: dict[str, list[str]] = {}
    for part in stage.parts(stage.run(job, split_scores, asked), "score") if asked else []:
        scored.setdefault(part.name.split("/")[1], []).append(stage.path(part))

    # chunk, outcome, group, caption → shard, sample, stats                         a task some consecutive shards
    job = stage.job("shards", all_inputs=True)
    inputs = Inputs(*(stage.reads[name].pin for name in Inputs._fields))
    lists = tuple(stage.sources["drop"])
    tasks = [
        Task(f"shards{first:08d}", args=(inputs, scored.get(f"{first:08d}", []), lists, shards, first, end))
        for first in range(0, shards, SHARDS_A_TASK)
        for end in [min(first + SHARDS_A_TASK, shards)]
    ]
    packed = stage.run(job, pack_shards, tasks)

    # → sizes.json, which open_clip reads                                          one small task
    job = stage.job("sizes", all_inputs=True)
    sizes = tuple((part.name, part.rows) for part in stage.parts(packed, "shard"))
    stage.run(job, write_sizes, [Task("sizes", args=sizes)])


def number_of_shards(stage: Stage[Config]) -> int:
    """As many as the recipe says, or as hold so many samples each."""
    kept = stage.reads["dedup"].counts["images"]["kept"]
    return stage.config.shards or max(1, -(-kept // stage.config.samples_per_shard))


def steps(stage: Stage[Config]) -> dict[str, int]:
    """How many tasks each step has, once those before it are done."""
    asked = {"scores": len(stage.sources["scores"])} if stage.sources["scores"] else {}
    return {**asked, "shards": -(-number_of_shards(stage) // SHARDS_A_TASK), "sizes": 1}


def split_scores(task: Task, config: Config, attempt: Attempt) -> None:
    """One file of scores: what the recipe asks for, sorted, a part for each task that packs some of its images."""
    source, names, shards = task.args
    with attempt.reading(source) as path:
        rows = scores.read_scores(path, names)
    tasks = shards_of(ids_in(rows["image_id"]), shards) // SHARDS_A_TASK  # ascending, as the ids are
    for number in np.unique(tasks).tolist():
        start, end = np.searchsorted(tasks, [number, number + 1]).tolist()
        place = f"score/{number * SHARDS_A_TASK:08d}/{task.id}-{{sha256}}.parquet"
        with attempt.file("score", place) as part:
            part.rows = end - start
            pq.write_table(rows.slice(start, end - start), part.file, compression="zstd", write_page_checksum=True)


def pack_shards(task: Task, config: Config, attempt: Attempt) -> None:
    """The shards of one task, one after another."""
    inputs, scored, lists, shards, first, end = task.args
    listed: set[bytes] = set()
    for source in lists:
        with attempt.reading(source) as path:
            listed |= droplists.read_keys(path)
    unwanted = Unwanted(scored, sorted(listed))
    for shard in range(first, end):
        pack_shard(shard, shards, inputs, unwanted, config, attempt)


def pack_shard(shard: int, shards: int, inputs: Inputs, unwanted: Unwanted, config: Config, attempt: Attempt) -> None:
    """One shard: the images fetched in its range that are no duplicates and wanted, with captions; the failed in its
    table.
    """
    name = shard_name(shard, shards)
    statuses: Counter[tuple[str, str]] = Counter()
    with (
        attempt.file("shard", f"{name}.tar") as tar_part,
        TarWriter(tar_part.file) as tar,
        attempt.file("sample", f"{name}.parquet") as table_part,
    ):
        rows = merged(*range_of(shard, shards), inputs, unwanted, config, tar, attempt)
        counted = (row for row in rows if statuses.update([(row["status"], row["reason"])]) is None)
        table_part.rows = write_rows(table_part.file, SAMPLE, counted)
        tar_part.rows = statuses["success", ""]
    with attempt.file("stats", f"{name}_stats.json") as part:
        part.file.write(stats_json({"status": s, "reason": r} for s, r in statuses.elements()))
    attempt.count_kept("images", statuses["success", ""])


def merged(
    lo: bytes, hi: bytes | None, inputs: Inputs, says: Unwanted, config: Config, tar: TarWriter, attempt: Attempt
) -> Iterator[dict[str, Any]]:
    """Write the samples of a range to its tar; their rows of SAMPLE and those of the failed, ascending by image_id.

    Outcomes, captions and images come in the order of the ids, so they are joined as they stream by.
    """
    queries, fetch, dedup = pinned(*inputs.queries), pinned(*inputs.fetch), pinned(*inputs.dedup)
    texts, kinds = query_texts(tuple(queries.paths("query"))), _kinds(*inputs.crawl)
    groups = read_range(dedup.paths("group"), GROUP, lo, hi)
    dropped = groups.filter(pc.invert(groups["keep"])).select(["image_id", "reason"]).to_pylist()
    left_out = {row["image_id"]: row["reason"] for row in dropped}
    tars = {part.task: part.name for part in fetch.of("chunk_tar")}
    runs = [Run(join(fetch.folder, tars[part.task]), join(fetch.folder, part.name)) for part in fetch.of("chunk")]
    outcomes = read_range(fetch.paths("outcome"), OUTCOME, lo, hi)
    captioned = read_range(dedup.paths("caption"), CAPTION, lo, hi)
    if config.where or says.listed:
        end = None if hi is None else bisect_left(says.listed, hi)
        listed = set(says.listed[bisect_left(says.listed, lo) : end])
        unwanted = _unwanted(config, outcomes, read_range(says.scored, SCORE, lo, hi), listed, left_out, attempt)
        captioned = captioned.filter(
            pa.array([id_ not in unwanted for id_ in captioned["image_id"].to_pylist()], pa.bool_())
        )
        left_out |= unwanted
    memory = config.memory_mib << 20
    # Half is for rows on their way and what the allocator keeps; the tables are held twice while they are sorted.
    room = max(memory // 8, memory // 2 - 2 * (outcomes.nbytes + captioned.nbytes))
    images = merge_range(runs, lo, hi, room, left_out)
    captions = groupby(_rows(captioned), key=itemgetter("image_id"))
    for outcome in _rows(outcomes):
        image_id = outcome["image_id"]
        if outcome["reason"]:
            yield sample_row(outcome, [], None)
            continue
        attempt.count_in("images", 1)
        if image_id in left_out:
            attempt.count_dropped("images", left_out[image_id], 1)
            continue
        stored_id, ext, image = next(images, (b"", "", b""))
        captions_id, some = next(captions, (b"", iter(())))
        if not stored_id == image_id == captions_id:
            raise _apart(min(filter(None, (stored_id, image_id, captions_id))), fetch, dedup)
        own = list(some)
        said = sample_json(outcome, own, texts, owncolumns.values(own[0]["columns"], kinds))
        stored = tar.add(image_id, ext, image, own[0]["text"], said)
        yield sample_row(outcome, own, stored)
    if left := next(images, None) or next(captions, None):
        raise _apart(left[0], fetch, dedup)


def _unwanted(
    config: Config,
    outcomes: pa.Table,
    scored: pa.Table,
    listed: Set[bytes],
    duplicates: Container[bytes],
    attempt: Attempt,
) -> dict[bytes, str]:
    """The images of a range, no duplicates, that the recipe does not want, and why: listed in a table of their own.

    `listed`: the keys of drop lists in the range. Those of no image that was fetched are noted: where a list is of
    another pack, that is all of them.
    """
    fetched = outcomes.filter(pc.equal(outcomes["reason"], ""))
    found = scores.unwanted(scores.conditions(config.where.items(), OUTCOME), fetched, scored)
    there = listed & set(fetched["image_id"].to_pylist())
    if listed:
        attempt.note("keys_of_drop_lists_without_image", len(listed - there))
    found |= dict.fromkeys(there, LISTED)
    found = {image_id: reason for image_id, reason in sorted(found.items()) if image_id not in duplicates}
    attempt.rows(pa.table([[*found], [*found.values()]], schema=UNWANTED), UNWANTED)
    return found


def _apart(image_id: bytes, fetch: Manifest, dedup: Manifest) -> Failure:
    return Failure(
        f"image {image_id.hex()} lacks one of its outcome and picture in {fetch.folder} and its captions in "
        f"{dedup.folder}: these are of different runs, or one was changed by hand; run fetch and dedup again"
    )


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows of a table, a few of them at a time as Python's objects, which take ten times the room."""
    for batch in table.to_batches(max_chunksize=256):
        yield from batch.to_pylist()


def write_sizes(task: Task, config: Config, attempt: Attempt) -> None:
    """sizes.json: samples a shard, by its file's name."""
    with attempt.file("sizes", "sizes.json") as part:
        part.file.write(to_json(dict(task.args)))


@functools.cache
def _kinds(folder: str, digest: str) -> dict[str, str]:
    return owncolumns.kinds(pinned(folder, digest))


def sources(config: Config) -> dict[str, list[str]]:
    """The raw files: scores, and lists of keys."""
    return {"scores": [*config.scores], "drop": [*config.drop]}


STAGE = Definition(config=Config, run=run, steps=steps, check=check, rules_version=RULES_VERSION, sources=sources)
main = main_of("pack")

if __name__ == "__main__":
    exit_now(main)
