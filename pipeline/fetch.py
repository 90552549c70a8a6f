"""fetch: plan → chunks and outcomes. Each image URL is asked for once, as a polite guest, and every URL has an outcome.

    openwit fetch --recipe recipes/real.toml

A lane owns some registered domains and is worked on by one process at a time (it holds a lease), so that no site is
asked by two. Its plan is cut into chunks of images, in the order of their ids: a chunk is fetched, resized, written as
a sorted tar and committed with the outcomes of all its URLs before the lane goes on to the next.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
import pyarrow as pa

from core.command import exit_now
from core.files import digest
from core.tables import read_table
from pipeline.decoding.decoder import Decoder
from pipeline.decoding.picture import Options, Picture, Refused
from pipeline.stage import Definition, Stage, main_of
from pipeline.tables import FETCH_REASONS, OUTCOME, PLAN
from pipeline.tasks.attempt import Attempt, Task
from pipeline.tasks.lanes import Lane
from pipeline.web.addresses import parse_connect_to
from pipeline.web.client import Client, Limits, Reply
from pipeline.web.manners import Manners, Positive, naming_the_key
from pipeline.web.politeness import RateLimiter
from shards.format import CHUNK, TarWriter

RULES_VERSION = 2
LIBRARIES = ("pillow", "pyvips-binary")


class Config(Manners, frozen=True, kw_only=True):
    """The recipe's [fetch] table. Options that img2dataset has as well have its names."""

    # what one image may cost, beside the time and the redirects of Manners
    max_bytes: Annotated[int, Positive] = 20_000_000  # of a body
    max_image_area: Annotated[int, Positive] = 128_000_000  # pixels, by the header: larger ones are not decoded
    min_image_size: Annotated[int, msgspec.Meta(ge=0)] = 32  # pixels of the original's shorter side; 0: no limit
    max_aspect_ratio: Annotated[float, msgspec.Meta(ge=0)] = 4.0  # of its longer side to the shorter; 0: no limit
    # what is stored
    image_size: Annotated[int, Positive] = 256  # pixels, of the side that resize_mode says
    resize_mode: Literal["no", "keep_ratio", "keep_ratio_largest", "center_crop", "border"] = "keep_ratio"
    resize_only_if_bigger: bool = True
    encode_format: Literal["jpg", "png", "webp"] = "jpg"
    encode_quality: Annotated[int, msgspec.Meta(ge=0, le=100)] = 95  # of png 0 to 9, the compression
    images_per_chunk: Annotated[int, Positive] = 4096  # fetched between two commits, held in memory until then


def run(stage: Stage[Config]) -> None:
    connect_to = stage.config.connections(stage.recipe.path)
    with naming_the_key(stage.recipe.path):
        options(stage.config)

    # plan → chunk, outcome                                                        a task a chunk, in lanes
    job = stage.job("chunks")
    match = stage.reads["match"]
    size = stage.config.images_per_chunk
    tasks = [
        Task(f"{part.task}-{first // size:05d}", digest(part.sha256, first), (path, first, connect_to), lane=part.task)
        for part, path in zip(match.of("plan"), match.paths("plan"), strict=True)
        for first in range(0, part.rows, size)
    ]
    stage.run_lanes(job, fetch_lane, tasks)


def steps(stage: Stage[Config]) -> dict[str, int]:
    """How many tasks each step has, once those before it are done."""
    size = stage.config.images_per_chunk
    return {"chunks": sum(-(-part.rows // size) for part in stage.reads["match"].of("plan"))}


def fetch_lane(lane: Lane, config: Config) -> None:
    """The chunks of one lane, one after another, by one client: it knows each robots.txt and whose turn it is."""
    asyncio.run(_fetch_lane(lane, config))


async def _fetch_lane(lane: Lane, config: Config) -> None:
    limits = Limits(max_bytes=config.max_bytes, total_seconds=config.timeout, max_redirects=config.max_redirects)
    limiter = RateLimiter(config.requests_per_second)
    async with (
        Client(config.contact, limiter, limits, parse_connect_to(lane.tasks[0].args[2]), lane.check) as client,
        Decoder(options(config)) as decoder,
    ):
        for task in lane.tasks:
            with lane.begin(task) as attempt:
                await fetch_chunk(task, config, client, decoder, attempt)


async def fetch_chunk(task: Task, config: Config, client: Client, decoder: Decoder, attempt: Attempt) -> None:
    """One chunk: its domains side by side, the images of each one after another, and what became of every URL."""
    path, first, _ = task.args
    domains: dict[str, list[dict[str, Any]]] = {}
    for row in read_table(path, PLAN).slice(first, config.images_per_chunk).to_pylist():
        domains.setdefault(row["domain"], []).append(row)
    at_once = asyncio.Semaphore(config.domains_at_once)

    async def fetch_domain(rows: list[dict[str, Any]]) -> list[Fetched]:
        async with at_once:
            return [await fetch_image(row, client, decoder) for row in rows]

    try:
        async with asyncio.TaskGroup() as group:  # one that fails ends the others before the client and decoder go
            fetched = [group.create_task(fetch_domain(rows)) for rows in domains.values()]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    commit_chunk(task.id, [one for some in fetched for one in some.result()], attempt, config)


async def fetch_image(row: dict[str, Any], client: Client, decoder: Decoder) -> Fetched:
    """One row of the plan: asked for, unless a page opted it out, and made into the picture that is stored."""
    if row["opt_out"]:
        return Fetched(row, Reply(reason="opted_out", detail=f"a page that shows it says {row['opt_out']}"))
    reply = await client.fetch_image(row["image_url"])
    now = datetime.now(UTC)
    if reply.reason:
        return Fetched(row, reply, at=now)
    stored = await decoder.store(reply.body)
    return Fetched(row, replace(reply, body=b""), len(reply.body), hashlib.sha256(reply.body).digest(), stored, now)


@dataclass(frozen=True)
class Fetched:
    """What became of one row of the plan; the body itself is not kept."""

    row: dict[str, Any]
    reply: Reply
    length: int | None = None  # bytes of it
    sha256: bytes | None = None
    stored: Picture | Refused | None = None
    at: datetime | None = None


def commit_chunk(name: str, fetched: Sequence[Fetched], attempt: Attempt, config: Config) -> None:
    """Write the pictures as a sorted tar with its index, and the outcome of every URL."""
    fetched = sorted(fetched, key=lambda one: one.row["image_id"])
    outcomes = [outcome(one) for one in fetched]
    index = []
    with attempt.file("chunk_tar", f"chunk_tar/{name}-{{sha256}}.tar") as part, TarWriter(part.file) as tar:
        for one in fetched:
            if isinstance(one.stored, Picture):
                index.append(tar.add(one.row["image_id"], config.encode_format, one.stored.body))
        part.rows = len(index)
    attempt.rows(pa.Table.from_pylist(index, schema=CHUNK), CHUNK)
    attempt.rows(pa.Table.from_pylist(outcomes, schema=OUTCOME), OUTCOME)
    attempt.count_in("images", len(outcomes))
    attempt.count_kept("images", len(index))
    for row in outcomes:
        if row["reason"]:
            attempt.count_dropped("images", row["reason"], 1)


def outcome(one: Fetched) -> dict[str, Any]:
    """A row of the outcome table."""
    reply, stored = one.reply, one.stored
    refused = stored if isinstance(stored, Refused) else None
    picture = stored if isinstance(stored, Picture) else None
    reason = reply.reason or (refused.reason if refused else "")
    sizes = ("original_width", "original_height", "width", "height", "format")
    return {
        "image_id": one.row["image_id"],
        "image_url": one.row["image_url"],
        "status": FETCH_REASONS[reason] if reason else "success",
        "reason": reason,
        "detail": reply.detail or (stored.detail if stored else "") or None,
        "http_status": reply.http_status,
        "final_url": reply.final_url,
        "bytes": one.length,
        "sha256": one.sha256,
        **{name: getattr(picture, name, None) for name in sizes},
        "etag": reply.header("etag"),
        "last_modified": reply.header("last-modified"),
        "attempts": reply.attempts,
        "fetched_at": one.at,
        "fetch_pass": 1,
    }


def options(config: Config) -> Options:
    """How pictures are stored, as pipeline/decoding/picture.py wants it said."""
    return Options(**{name: getattr(config, name) for name in Options.__dataclass_fields__})


STAGE = Definition(config=Config, run=run, steps=steps, rules_version=RULES_VERSION, libraries=LIBRARIES)
main = main_of("fetch")

if __name__ == "__main__":
    exit_now(main)
