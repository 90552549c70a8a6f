"""dedup: chunks → fingerprint, group, caption, an index: which images are the same, which stay, what is said of them.

    openwit dedup --recipe recipes/real.toml

Pictures are compared by perceptual hash, exactly: all pairs within 4 of 64 bits are found, and count where they are
within 40 of 256 as well; also mirrored, and within plain borders. An image is dropped only for a direct duplicate that
is kept; its captions go to that one. A picture that many domains show with as many texts is a picture of nothing: it
goes, with all that look like it and all their captions.
"""

from __future__ import annotations

import functools
import hashlib
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, BinaryIO

import apache_beam as beam
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from core.command import exit_now
from core.errors import Failure
from core.files import digest, join, names_in, open_input
from core.manifest import pinned
from core.recipe import Recipe
from core.tables import ID, read_batches, read_table
from dedup import index
from dedup.allpairs import LINK, bands, links_in_band, same_bytes_links, same_hashes_links
from dedup.captions import choose_captions
from dedup.groups import groups, without
from dedup.hashes import HASH_DEF, columns, fingerprints
from dedup.lookup import Lookup
from dedup.tables import CAPTION, FINGERPRINT, GROUP, binary_column
from dedup.views import HASHES, Views, views
from pipeline.stage import Definition, Stage, main_of
from pipeline.tables import CANDIDATE, OUTCOME, PAIR
from pipeline.tasks.attempt import Attempt, Task, tasks_of
from pipeline.tasks.shuffle import Keyed, Regroup, partition, split
from pipeline.web.urls import domain_of
from shards.format import CHUNK, Ids, ids_in, range_of, shards_of
from shards.merge import read_range

RULES_VERSION = 4
LIBRARIES = ("numpy", "pillow", "scipy")

PICTURES = 256  # decoded and hashed together
PARTITIONS = 64  # of the shuffles by sha256 and by all hashes
BUCKETS = 256  # of the shuffle by band, for each band
IMAGES_A_PART = 50_000  # captions of so many images, or fewer, are one part


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The recipe's [dedup] table."""

    distance: Annotated[int, msgspec.Meta(ge=0, le=5)] = 4  # differing bits of 64 up to which a pair is looked at
    distance_256: Annotated[int, msgspec.Meta(ge=0, le=64)] = 40  # and of 256 up to which it counts
    max_captions: Annotated[int, msgspec.Meta(ge=1)] = 16  # an image keeps of all that were found with its duplicates
    # A placeholder is one picture (the same bytes or hashes) that images of so many registered domains show, with so
    # many different texts. Thought, not measured: "no image", badges and buttons are on thousands of domains, and are
    # copied byte for byte; what people share is saved anew by each site, so that few copies of it are the same. Either
    # mistake costs one sample: a picture that is taken for a placeholder, and a placeholder that is not seen.
    placeholder_domains: Annotated[int, msgspec.Meta(ge=2)] = 10


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
    hashed = stage.parts(stage.run(job, fingerprint_chunk, tasks), "fingerprint")
    paths = tuple(stage.path(part) for part in hashed)

    # fingerprint, pair → group                                                    hashes are shuffled, one task
    job = stage.job("groups", ("distance", "distance_256", "placeholder_domains"), all_inputs=True)
    reads = [Task(part.task, args=(path,)) for part, path in zip(hashed, paths, strict=True)]
    end = Task("groups", args=(paths, tuple(match.paths("pair"))))
    grouped = stage.shuffle(job, functools.partial(find_edges, stage.config), commit_groups, reads, [end])
    group_paths = tuple(stage.path(part) for part in stage.parts(grouped, "group"))

    # pair, group, outcome → caption                                               texts are shuffled to their keepers
    job = stage.job("captions", all_inputs=True)
    parts = caption_parts(part.rows for part in hashed)
    args = parts, fetch.pin, group_paths
    ends = [Task(f"captions{i:05d}", number=i, args=args) for i in range(parts)]
    texts = functools.partial(texts_by_keeper, parts, group_paths)
    stage.shuffle(job, texts, functools.partial(commit_captions, stage.seed), tasks_of(match, "pair"), ends)

    # fingerprint → index                                                          one task
    job = stage.job("index", uses=(), all_inputs=True)
    stage.run(job, build_index, [Task("index", args=(stage.folder, paths))])


def caption_parts(images: Iterable[int]) -> int:
    """How many parts the captions of so many images are cut into."""
    return 1 + sum(images) // IMAGES_A_PART


def steps(stage: Stage[Config]) -> dict[str, int]:
    """How many tasks each step has, once those before it are done."""
    chunks = stage.reads["fetch"].of("chunk")
    captions = caption_parts(part.rows for part in chunks)
    return {"fingerprints": len(chunks), "groups": 1, "captions": captions, "index": 1}


# ── fingerprints ─────────────────────────────────────────────────────────────────────────────────


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
                hashed |= {name: binary_column(column) for name, column in hashed.items() if column.ndim == 2}
                attempt.rows(pa.table({**known, **hashed}).select(FINGERPRINT.names).cast(FINGERPRINT), FINGERPRINT)
                attempt.count_in("images", len(some))


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

PRINT = ["image_id", "sha256", *HASHES, "flags"]
EDGE = pa.schema([("a", ID), ("b", ID), ("mirrored", pa.bool_())])


def find_edges(config: Config, reads: beam.PCollection) -> beam.PCollection:
    """Parts of fingerprints in, the edges between images that look the same out, all to the one task."""
    # Task: a part of fingerprints
    prints = reads | "ReadPrints" >> beam.FlatMap(read_prints).with_output_types(Keyed)
    # (partition of sha256, PRINT)
    bytes_ = prints | "OneOfEqualBytes" >> Regroup(one_of_equal_bytes, tag="edges")
    # (partition of ph64, PRINT)
    distinct = functools.partial(one_of_equal_hashes, config.distance)
    hashes = bytes_.main | "OneOfEqualHashes" >> Regroup(distinct, tag="edges")
    # (band and bucket of its value, [image_id, mirrored, ph64, ph256, band]), a row a view
    near = hashes.main | "NearInBand" >> Regroup(functools.partial(near_in_band, config))
    # (0, [a, b, mirrored]): the edges of all images, those between several views several times
    return (bytes_.edges, hashes.edges, near) | beam.Flatten()


def read_prints(task: Task) -> Iterator[Keyed]:
    """The hashes of one part, by partition of the sha256."""
    for rows in read_batches(task.args[0], FINGERPRINT, PRINT):
        yield from split(rows.replace_schema_metadata(), partition(rows["sha256"], PARTITIONS))


def one_of_equal_bytes(prints: pa.Table) -> Iterator[Any]:
    """Edges between images of equal bytes; one of each goes on, unless it is flagged."""
    image = columns(prints)
    links, alone = same_bytes_links(image)
    yield beam.pvalue.TaggedOutput("edges", (0, _edges(prints["image_id"], links)))
    mixed = image["ph64"][alone] * np.uint64(0x9E3779B97F4A7C15)  # its high bits depend on all of ph64
    yield from split(prints.take(pa.array(alone)), (mixed >> np.uint64(32)).astype(np.int64) * PARTITIONS >> 32)


def one_of_equal_hashes(distance: int, prints: pa.Table) -> Iterator[Any]:
    """Edges between images of equal hashes; the views of one of each go on to every band of their hash."""
    image = columns(prints)
    links, alone = same_hashes_links(image, np.arange(len(prints)))
    yield beam.pvalue.TaggedOutput("edges", (0, _edges(prints["image_id"], links)))
    seen = views(image, alone)
    ids = prints["image_id"].take(pa.array(seen.row))
    rows = pa.table(
        [ids, seen.mirrored, seen.ph64, binary_column(seen.ph256)], ["image_id", "mirrored", "ph64", "ph256"]
    )
    for band, values in enumerate(bands(seen.ph64, distance).T):
        marked = rows.append_column("band", pa.array(np.full(len(seen.row), band)))
        yield from split(marked, band * BUCKETS + values.astype(np.int64) % BUCKETS)


def near_in_band(config: Config, rows: pa.Table) -> Iterator[Keyed]:
    """Edges among views that met under a band's value, each found in the lowest band that two of them share."""
    view = columns(rows)
    seen = Views(np.arange(len(rows)), view["mirrored"], view["ph64"], view["ph256"])
    near = links_in_band(view["image_id"], seen, config.distance, config.distance_256, rows["band"][0].as_py())
    yield 0, _edges(rows["image_id"], near)


def _edges(ids: pa.ChunkedArray, links: np.ndarray) -> pa.Table:
    ends = [ids.take(pa.array(links[end])) for end in ("i", "j")]
    return pa.table([*ends, pa.array(links["mirrored"])], schema=EDGE)


def commit_groups(task: Task, edges: pa.Table | None, config: Config, attempt: Attempt) -> None:
    """All edges together: which images stay."""
    print_paths, pair_paths = task.args
    edges = EDGE.empty_table() if edges is None else edges
    linked = Lookup(np.unique(np.concatenate([ids_in(edges["a"]), ids_in(edges["b"])])))
    kept = 0
    involved = [FINGERPRINT.empty_table()]
    for path in print_paths:
        for rows in read_batches(path, FINGERPRINT):
            kept += rows.num_rows
            involved.append(rows.filter(pa.array(linked.find(ids_in(rows["image_id"]))[1])))
    images = pa.concat_tables(involved).sort_by("image_id").combine_chunks()
    place = Lookup(ids_in(images["image_id"]))
    links = np.empty(edges.num_rows, LINK)
    links["i"], _ = place.find(ids_in(edges["a"]))
    links["j"], _ = place.find(ids_in(edges["b"]))
    links["mirrored"] = edges["mirrored"]
    table, picture = groups(images, links)
    table = without(table, on_many_domains(table["image_id"], picture, pair_paths, config.placeholder_domains))
    for gone in pc.value_counts(table["reason"].drop_null()).to_pylist():
        attempt.count_dropped("images", gone["values"], gone["counts"])
        kept -= gone["counts"]
    attempt.count_kept("images", kept)
    attempt.rows(table, GROUP)


def on_many_domains(images: pa.ChunkedArray, picture: np.ndarray, pair_paths: Sequence[str], least: int) -> np.ndarray:
    """Which images have a picture that so many registered domains show, with so many texts: bool [n].

    `images` [n] is ascending, `picture` [n] has the same number for images that cannot be told apart.
    """
    domains: defaultdict[int, set[str]] = defaultdict(set)
    texts: defaultdict[int, set[str]] = defaultdict(set)
    suspects = np.flatnonzero(np.bincount(picture, minlength=1)[picture] >= least)  # an image has one URL, one domain
    place, number = Lookup(ids_in(images)[suspects]), picture[suspects]
    for path in pair_paths if len(suspects) else ():
        for rows in read_batches(path, PAIR, ["image_id", "image_url", "text"]):
            places, found = place.find(ids_in(rows["image_id"]))
            some = rows.select(["image_url", "text"]).filter(pa.array(found)).to_pylist()
            for which, row in zip(number[places[found]].tolist(), some, strict=True):
                for seen, one in (domains, domain_of(row["image_url"])), (texts, row["text"]):
                    if len(seen[which]) < least:
                        seen[which].add(one)
    shown = [which for which in domains if len(domains[which]) >= least and len(texts[which]) >= least]
    return np.isin(picture, shown)


# ── captions ─────────────────────────────────────────────────────────────────────────────────────


def texts_by_keeper(parts: int, group_paths: tuple[str, ...], reads: beam.PCollection) -> beam.PCollection:
    """Parts of pairs in, their texts out: (range of the keeper's id, captions that may be its)."""
    return reads | "ReadTexts" >> beam.FlatMap(read_texts, parts, group_paths).with_output_types(Keyed)


def read_texts(task: Task, parts: int, group_paths: Sequence[str]) -> Iterator[Keyed]:
    """The texts of one part of pairs, each with the image that stays for its own, by range of that image's id."""
    duplicates, keepers = _keepers(tuple(group_paths))
    for rows in read_batches(task.args[0], PAIR):
        keeper = ids_in(rows["image_id"])
        places, found = duplicates.find(keeper)
        keeper[found] = keepers[places[found]]
        rows = rows.replace_schema_metadata().append_column(
            "keeper", binary_column(keeper.view(np.uint8).reshape(-1, 16))
        )
        yield from split(rows, shards_of(keeper, parts))


@functools.cache
def _keepers(group_paths: tuple[str, ...]) -> tuple[Lookup, Ids]:
    """Dropped images and, at the place of each, the one that stays for it. Read once by each process."""
    some = ["image_id", "keep", "kept_by"]
    rows = pa.concat_tables([GROUP.empty_table().select(some), *(read_table(p, GROUP, some) for p in group_paths)])
    rows = rows.filter(pc.invert(rows["keep"])).sort_by("image_id")
    return Lookup(ids_in(rows["image_id"])), ids_in(rows["kept_by"])


def commit_captions(seed: int, task: Task, texts: pa.Table | None, config: Config, attempt: Attempt) -> None:
    """One range of keepers: the captions of each that was fetched, its own first, at most so many."""
    parts, fetch, group_paths = task.args
    lo, hi = range_of(task.number, parts)
    if texts is None:
        return
    outcomes = read_range(pinned(*fetch).paths("outcome"), OUTCOME, lo, hi)
    reasons = dict(zip(outcomes["image_id"].to_pylist(), outcomes["reason"].to_pylist(), strict=True))
    attempt.count_in("pairs", texts.num_rows)
    texts = drop_placeholders(texts, read_range(group_paths, GROUP, lo, hi), attempt)
    by_keeper: dict[bytes, list[dict[str, Any]]] = {}
    for row in texts.to_pylist():
        reason = reasons[row["keeper"]]
        if reason:
            attempt.count_dropped("pairs", reason, 1)
        else:
            by_keeper.setdefault(row["keeper"], []).append(row)
    gone: list[dict[str, Any]] = []
    for keeper, rows in sorted(by_keeper.items()):
        kept, others = choose_captions(seed, keeper, rows, config.max_captions)
        attempt.count_kept("pairs", len(kept))
        attempt.rows(pa.Table.from_pylist(kept, schema=CAPTION), CAPTION)
        gone += others
    dropped = pa.Table.from_pylist(gone, schema=CANDIDATE)
    attempt.drop_rows("pairs", dropped, pa.array([row["reason"] for row in gone], pa.string()))


def drop_placeholders(texts: pa.Table, grouped: pa.Table, attempt: Attempt) -> pa.Table:
    """The texts whose keeper is no placeholder; the others are counted, listed, and some kept to look at."""
    nothing = grouped.filter(pc.equal(grouped["reason"], "placeholder"))["image_id"].combine_chunks()
    of_nothing = pc.is_in(texts["keeper"], nothing)
    dropped = texts.filter(of_nothing).sort_by("pair_id")
    attempt.drop_rows("pairs", dropped, pa.array(["placeholder"] * len(dropped), pa.string()))
    return texts.filter(pc.invert(of_nothing))


# ── index ────────────────────────────────────────────────────────────────────────────────────────


def build_index(task: Task, config: Config, attempt: Attempt) -> None:
    """The index of all fingerprints, also of those that were dropped: a picture may look like one of them alone."""
    folder, paths = task.args

    def tables() -> Iterator[pa.Table]:
        yield from (read_table(path, FINGERPRINT) for path in paths)
        attempt.check()  # what is written from here on has fixed names

    index.build(join(folder, "index"), tables())
    for name in names_in(join(folder, "index")):
        attempt.adopt("index", f"index/{name}")


STAGE = Definition(
    config=Config, run=run, steps=steps, rules_version=RULES_VERSION, libraries=LIBRARIES, determined_by=determined_by
)
main = main_of("dedup")

if __name__ == "__main__":
    exit_now(main)
