"""dedup: chunks → fingerprint, group, caption, an index: which images are the same, which stay, what is said of them.

    openwit dedup --recipe recipes/real.toml

Pictures are compared by perceptual hash, exactly: all pairs within 4 of 64 bits are found, and count where they are
within 40 of 256 as well. An image is dropped only for a direct duplicate that is kept; its captions go to that one.
"""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, BinaryIO

import apache_beam as beam
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from dedup import index
from dedup.allpairs import bands, edges_in_bucket, representatives, same_bytes_edges
from dedup.groups import groups
from dedup.hashes import HASH_DEF, columns, fingerprints
from dedup.tables import CAPTION, FINGERPRINT, GROUP
from pipeline.attempt import Attempt, Job, Task
from pipeline.commit import Commit, CommitGroups
from pipeline.packed import Keyed, Regroup, partition, split
from pipeline.records import OUTCOME, PAIR
from pipeline.stage import Stage, command
from shards import choice
from shards.command import leave
from shards.errors import Failure
from shards.files import digest, join, names_in, open_input, read_batches, read_table
from shards.format import CHUNK, ids_in, range_of, shards_of
from shards.merge import read_range
from shards.recipe import Recipe
from shards.tables import ID

READS = ("match", "fetch")
RULES_VERSION = 1
LIBRARIES = ("numpy", "pillow", "scipy")

PICTURES = 256  # decoded and hashed together
PARTITIONS = 64  # of the shuffle by sha256
BUCKETS = 256  # of the shuffle by band, for each band
IMAGES_A_PART = 50_000  # captions of so many images, or fewer, are one part


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The recipe's [dedup] table."""

    distance: Annotated[int, msgspec.Meta(ge=0, le=5)] = 4  # differing bits of 64 up to which a pair is looked at
    distance_256: Annotated[int, msgspec.Meta(ge=0, le=64)] = 40  # and of 256 up to which it counts
    max_captions: Annotated[int, msgspec.Meta(ge=1)] = 16  # an image keeps of all that were found with its duplicates


def determined_by(recipe: Recipe) -> dict[str, Any]:
    """Hashes of another definition cannot be compared."""
    return {"hash_def": HASH_DEF}


def run(stage: Stage[Config]) -> None:
    match, fetch = stage.reads["match"], stage.reads["fetch"]

    # chunk, outcome → fingerprint                                                 a task a chunk
    job = stage.job("fingerprints", uses=())
    by_task = {part.task: [part] for part in fetch.of("chunk")}
    for part in (*fetch.of("chunk_tar"), *fetch.of("outcome")):
        if part.task in by_task:
            by_task[part.task].append(part)
    tasks = [
        Task(task, digest([part.sha256 for part in parts]), tuple(join(fetch.folder, part.name) for part in parts))
        for task, parts in by_task.items()
    ]
    hashed = stage.parts(stage.run(Fingerprint(job), job, tasks), "fingerprint")
    paths = tuple(stage.path(part) for part in hashed)

    # fingerprint → group                                                          hashes are shuffled, one task
    job = stage.job("groups", ("distance", "distance_256"), all_inputs=True)
    reads = [Task(part.task, args=(path,)) for part, path in zip(hashed, paths, strict=True)]
    grouped = stage.shuffle(FindGroups(job), job, reads, [Task("groups", args=(paths,))])
    group_paths = tuple(stage.path(part) for part in stage.parts(grouped, "group"))

    # pair, group, outcome → caption                                               texts are shuffled to their keepers
    job = stage.job("captions", all_inputs=True)
    parts = 1 + sum(part.rows for part in hashed) // IMAGES_A_PART
    reads = [Task(part.task, args=(path,)) for part, path in zip(match.of("pair"), match.paths("pair"), strict=True)]
    ends = [Task(f"captions{i:05d}", number=i, args=(parts, tuple(fetch.paths("outcome")))) for i in range(parts)]
    stage.shuffle(PoolCaptions(job, parts, group_paths), job, reads, ends)

    # fingerprint → index                                                          one task
    job = stage.job("index", uses=(), all_inputs=True)
    stage.run(Commit(job, build_index), job, [Task("index", args=(stage.folder, paths))])


# ── fingerprints ─────────────────────────────────────────────────────────────────────────────────


class Fingerprint(Commit):
    """Names of chunks in, their fingerprints committed."""

    def __init__(self, job: Job[Config]) -> None:
        super().__init__(job, fingerprint_chunk)


def fingerprint_chunk(task: Task, config: Config, attempt: Attempt) -> None:
    """One chunk: every stored picture decoded and hashed."""
    index_path, tar_path, outcome_path = task.args
    about = {row["image_id"]: row for row in read_table(outcome_path, OUTCOME).to_pylist() if not row["reason"]}
    with open_input(tar_path) as tar:
        for rows in read_batches(index_path, CHUNK, ["image_id", "image_offset", "image_size", "sha256"]):
            for first in range(0, rows.num_rows, PICTURES):
                some = rows.slice(first, PICTURES).to_pylist()
                facts = [about[row["image_id"]] for row in some]
                known = {
                    "image_id": [row["image_id"] for row in some],
                    "sha256": [fact["sha256"] for fact in facts],
                    "width": [fact["original_width"] for fact in facts],
                    "height": [fact["original_height"] for fact in facts],
                    "bytes": [fact["bytes"] for fact in facts],
                }
                hashed = fingerprints([stored_picture(tar, tar_path, row) for row in some])
                hashed["ph256"] = pa.FixedSizeBinaryArray.from_buffers(
                    pa.binary(32), len(some), [None, pa.py_buffer(np.ascontiguousarray(hashed["ph256"]))]
                )
                attempt.rows(pa.table({**known, **hashed}).select(FINGERPRINT.names).cast(FINGERPRINT), FINGERPRINT)
                attempt.took("images", len(some))


def stored_picture(tar: BinaryIO, path: str, row: dict[str, Any]) -> Image.Image:
    """One picture of a chunk, opened; Failure where it is not the one that its row of the index knows."""
    tar.seek(row["image_offset"])
    body = tar.read(row["image_size"])
    if hashlib.sha256(body).digest() != row["sha256"]:
        raise Failure(
            f"{path} is damaged: image {row['image_id'].hex()} at byte {row['image_offset']} is not the one its index "
            "knows; remove it and run fetch again"
        )
    return Image.open(io.BytesIO(body))


# ── groups ───────────────────────────────────────────────────────────────────────────────────────

EDGE = pa.schema([("a", ID), ("b", ID)])


class FindGroups(beam.PTransform):
    """Tasks naming fingerprint parts in, the one group table committed."""

    def __init__(self, job: Job[Config]) -> None:
        super().__init__()
        self._job = job

    def expand(self, pcolls: dict[str, beam.PCollection]) -> beam.PCollection:
        config = self._job.config
        # Task: a part of fingerprints
        prints = pcolls["reads"] | "ReadPrints" >> beam.FlatMap(read_prints).with_output_types(Keyed)
        # (partition of sha256, [image_id, sha256, ph64, ph256, flags])
        one = prints | "OneOfEqualBytes" >> Regroup(
            functools.partial(one_of_equal_bytes, config.distance), aside="edges"
        )
        # (band and bucket of its value, [image_id, ph64, ph256, band])
        near = one.main | "NearInBand" >> Regroup(functools.partial(near_in_band, config))
        # (0, [a, b]): the edges of all images, each once
        edges = (one.edges, near) | beam.Flatten()
        return {"tasks": pcolls["tasks"], "rows": edges} | "CommitGroups" >> CommitGroups(self._job, commit_groups)


def read_prints(task: Task) -> Iterator[Keyed]:
    """The hashes of one part, by partition of the sha256."""
    for rows in read_batches(task.args[0], FINGERPRINT, ["image_id", "sha256", "ph64", "ph256", "flags"]):
        yield from split(rows.replace_schema_metadata(), partition(rows["sha256"], PARTITIONS))


def one_of_equal_bytes(distance: int, prints: pa.Table) -> Iterator[Any]:
    """Edges between images of equal bytes; one of each goes on to every band of its hash, unless it is flagged."""
    prints = prints.sort_by("image_id")
    image = columns(prints)
    ids, sha256, ph64 = image["image_id"], image["sha256"], image["ph64"]
    same = same_bytes_edges(ids, sha256, ph64, image["ph256"])
    yield beam.pvalue.TaggedOutput("edges", (0, _edges(prints["image_id"], same)))
    alone = np.flatnonzero((representatives(ids, sha256) == np.arange(len(ids))) & (image["flags"] == 0))
    rows = prints.select(["image_id", "ph64", "ph256"]).take(pa.array(alone))
    for band, values in enumerate(bands(ph64[alone], distance).T):
        marked = rows.append_column("band", pa.array(np.full(len(alone), band)))
        yield from split(marked, band * BUCKETS + values.astype(np.int64) % BUCKETS)


def near_in_band(config: Config, rows: pa.Table) -> Iterator[Keyed]:
    """Edges among images that met under a band's value, each found in the lowest band that two images share."""
    rows = rows.sort_by("image_id")
    image, band = columns(rows), rows["band"][0].as_py()
    near = edges_in_bucket(band, image["image_id"], image["ph64"], image["ph256"], config.distance, config.distance_256)
    yield 0, _edges(rows["image_id"], near)


def _edges(ids: pa.ChunkedArray, found: np.ndarray) -> pa.Table:
    return pa.table([ids.take(pa.array(found["i"])), ids.take(pa.array(found["j"]))], schema=EDGE)


def commit_groups(task: Task, edges: pa.Table | None, config: Config, attempt: Attempt) -> None:
    """All edges together: which images stay."""
    edges = EDGE.empty_table() if edges is None else edges
    linked = pc.unique(pa.chunked_array([*edges["a"].chunks, *edges["b"].chunks], ID))
    kept = 0
    involved = [FINGERPRINT.empty_table()]
    for path in task.args[0]:
        for rows in read_batches(path, FINGERPRINT):
            kept += rows.num_rows
            involved.append(rows.filter(pc.is_in(rows["image_id"], linked)))
    images = pa.concat_tables(involved).sort_by("image_id").combine_chunks()
    ids = ids_in(images["image_id"])
    links = np.empty(edges.num_rows, [("i", np.int64), ("j", np.int64)])
    links["i"] = np.searchsorted(ids, ids_in(edges["a"]))
    links["j"] = np.searchsorted(ids, ids_in(edges["b"]))
    table = groups(images, links)
    for same_bytes, reason in ((True, "same_bytes"), (False, "near_duplicate")):
        gone = pc.and_(pc.invert(table["keep"]), pc.equal(table["same_bytes"], same_bytes))
        attempt.dropped("images", reason, pc.sum(gone).as_py() or 0)
        kept -= pc.sum(gone).as_py() or 0
    attempt.kept("images", kept)
    attempt.rows(table, GROUP)


# ── captions ─────────────────────────────────────────────────────────────────────────────────────


class PoolCaptions(beam.PTransform):
    """Tasks naming pair parts in, caption parts by range of the keeper's id committed."""

    def __init__(self, job: Job[Config], parts: int, group_paths: tuple[str, ...]) -> None:
        super().__init__()
        self._job, self._parts, self._groups = job, parts, group_paths

    def expand(self, pcolls: dict[str, beam.PCollection]) -> beam.PCollection:
        # Task: a part of pairs
        texts = pcolls["reads"] | "ReadTexts" >> beam.FlatMap(read_texts, self._parts, self._groups).with_output_types(
            Keyed
        )
        # (range of the keeper's id, captions that may be its)
        commit = CommitGroups(self._job, functools.partial(commit_captions, self._job.seed))
        return {"tasks": pcolls["tasks"], "rows": texts} | "CommitCaptions" >> commit


def read_texts(task: Task, parts: int, group_paths: Sequence[str]) -> Iterator[Keyed]:
    """The texts of one part of pairs, each with the image that stays for its own, by range of that image's id."""
    duplicates, keepers = _keepers(tuple(group_paths))
    for rows in read_batches(task.args[0], PAIR):
        images = rows["image_id"].combine_chunks()
        places = pc.index_in(images, duplicates)
        keeper = pc.coalesce(keepers.take(places), images)
        rows = rows.replace_schema_metadata().append_column("keeper", keeper)
        yield from split(rows, shards_of(ids_in(rows["keeper"]), parts))


@functools.cache
def _keepers(group_paths: tuple[str, ...]) -> tuple[pa.Array, pa.Array]:
    """Dropped images and, beside each, the one that stays for it."""
    rows = pa.concat_tables([GROUP.empty_table(), *(read_table(path, GROUP) for path in group_paths)])
    rows = rows.filter(pc.invert(rows["keep"])).combine_chunks()
    return rows["image_id"].combine_chunks(), rows["kept_by"].combine_chunks()


def commit_captions(seed: int, task: Task, texts: pa.Table | None, config: Config, attempt: Attempt) -> None:
    """One range of keepers: the captions of each that was fetched, its own first, at most so many."""
    parts, outcome_paths = task.args
    lo, hi = range_of(task.number, parts)
    if texts is None:
        return
    outcomes = read_range(outcome_paths, OUTCOME, lo, hi)
    reasons = dict(zip(outcomes["image_id"].to_pylist(), outcomes["reason"].to_pylist(), strict=True))
    attempt.took("pairs", texts.num_rows)
    by_keeper: dict[bytes, list[dict[str, Any]]] = {}
    for row in texts.to_pylist():
        reason = reasons[row["keeper"]]
        if reason:
            attempt.dropped("pairs", reason, 1)
        else:
            by_keeper.setdefault(row["keeper"], []).append(row)
    for keeper, rows in sorted(by_keeper.items()):
        kept = choose_captions(seed, keeper, rows, config.max_captions, attempt)
        attempt.kept("pairs", len(kept))
        attempt.rows(pa.Table.from_pylist(kept, schema=CAPTION), CAPTION)


def choose_captions(
    seed: int, keeper: bytes, rows: list[dict[str, Any]], most: int, attempt: Attempt
) -> list[dict[str, Any]]:
    """One keeper's rows of CAPTION: a text once, own ones before those of duplicates, the smallest hashes of each."""
    rows = [{**row, "own": row["image_id"] == keeper, "image_id": keeper} for row in rows]
    rows.sort(key=lambda row: (not row["own"], row["pair_id"]))
    distinct = list({row["text"]: row for row in reversed(rows)}.values())[::-1]
    attempt.dropped("pairs", "same_text", len(rows) - len(distinct))
    attempt.dropped("pairs", "caption_cap", max(0, len(distinct) - most))
    ranks = choice.rank(seed, "caption", keeper.hex(), (row["pair_id"] for row in distinct))
    order = sorted(range(len(distinct)), key=lambda i: (not distinct[i]["own"], int(ranks[i])))
    chosen = [{**distinct[i], "total": len(distinct)} for i in sorted(order[:most])]
    return sorted(chosen, key=lambda row: (not row["own"], row["pair_id"]))


# ── index ────────────────────────────────────────────────────────────────────────────────────────


def build_index(task: Task, config: Config, attempt: Attempt) -> None:
    """The index of all fingerprints, also of those that were dropped: a picture may look like one of them alone."""
    folder, paths = task.args
    index.build(join(folder, "index"), (read_table(path, FINGERPRINT) for path in paths))
    for name in names_in(join(folder, "index")):
        attempt.adopt("index", f"index/{name}")


main = command("pipeline.dedup")

if __name__ == "__main__":
    leave(main(None))
