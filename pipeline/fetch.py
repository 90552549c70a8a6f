"""fetch: plan → chunks and outcomes. Each image URL is asked for once, as a polite guest, and every URL has an outcome.

    openwit fetch --recipe recipes/real.toml

A lane owns some registered domains and is worked on by one process at a time (it holds a lease), so that no site is
asked by two. Its plan is cut into chunks of images, in the order of their ids: a chunk is fetched, resized, written as
a sorted tar and committed with the outcomes of all its URLs before the lane goes on to the next.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
import pyarrow as pa

from pipeline.attempt import Attempt, Job, StillOurs, Task
from pipeline.commit import Begin, CommitLanes
from pipeline.records import FETCH_REASONS, OUTCOME, PLAN
from pipeline.stage import Stage, command
from pipeline.web.addresses import parse_connect_to
from pipeline.web.client import Client, Limits, Reply, user_agent
from pipeline.web.decoder import Decoder
from pipeline.web.picture import Options, Picture, Refused
from pipeline.web.politeness import Budget
from shards.command import leave
from shards.errors import UsageError
from shards.files import digest, join, read_table
from shards.format import CHUNK, TarWriter
from shards.recipe import ASIDE, expand

READS = ("match",)
RULES_VERSION = 2
LIBRARIES = ("pillow", "pyvips-binary")

Positive = msgspec.Meta(gt=0, le=10**12)


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The recipe's [fetch] table. Options that img2dataset has as well have its names."""

    # as whom, and how politely
    contact: Annotated[str, ASIDE] = ""  # URL or e-mail address, sent with every request: required
    connect_to: Annotated[str, ASIDE] = ""  # one's own test web: "*.test=127.0.0.1:8080"
    requests_per_second: Annotated[float, Positive, ASIDE] = 1.0  # to one registered domain
    domains_at_once: Annotated[int, Positive, ASIDE] = 64  # that one lane asks side by side, one request to each
    deadline_hours: Annotated[float, Positive, ASIDE] = 24.0  # with the rate: what a domain can give; visits end then
    # what one image may cost
    max_bytes: Annotated[int, Positive] = 20_000_000  # of a body
    timeout: Annotated[float, Positive] = 30.0  # seconds for all its requests
    max_redirects: Annotated[int, msgspec.Meta(ge=0, le=20)] = 5
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


def images_per_domain(config: Config) -> int:
    """How many images one domain can give: its rate times the deadline."""
    return max(1, int(config.requests_per_second * config.deadline_hours * 3600))


def connections(config: Config, recipe: str) -> str:
    """`connect_to`, filled in. UsageError, before anybody is asked, where it is none or `contact` reaches nobody."""
    connect_to = expand(config.connect_to, recipe)
    with said_of(recipe):
        user_agent(config.contact)
        parse_connect_to(connect_to)
    return connect_to


@contextmanager
def said_of(recipe: str) -> Iterator[None]:
    """A UsageError that begins with a key of [fetch] says whose key that is, and where to correct it."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{recipe}: fetch.{error}; correct it in the recipe or with --set") from None


def run(stage: Stage[Config]) -> None:
    connect_to = connections(stage.config, stage.recipe.path)
    with said_of(stage.recipe.path):
        options(stage.config)

    # plan → chunk, outcome                                                        a task a chunk, in lanes
    job = stage.job("chunks")
    match = stage.reads["match"]
    tasks = [
        Task(f"{part.task}-{first // size:05d}", digest(part.sha256, first), (path, first, connect_to), lane=part.task)
        for size in [stage.config.images_per_chunk]
        for part in match.of("plan")
        for path in [join(match.folder, part.name)]
        for first in range(0, part.rows, size)
    ]
    stage.run(Fetch(job), job, tasks)


class Fetch(CommitLanes):
    """Lanes of chunks to fetch in, their tars and outcomes committed."""

    def __init__(self, job: Job[Config]) -> None:
        super().__init__(job, fetch_lane)


def fetch_lane(tasks: Sequence[Task], config: Config, begin: Begin, still_ours: StillOurs) -> None:
    """The chunks of one lane, one after another, by one client: it knows each robots.txt and whose turn it is."""
    asyncio.run(_fetch_lane(tasks, config, begin, still_ours))


async def _fetch_lane(tasks: Sequence[Task], config: Config, begin: Begin, still_ours: StillOurs) -> None:
    limits = Limits(max_bytes=config.max_bytes, total_seconds=config.timeout, max_redirects=config.max_redirects)
    budget = Budget(config.requests_per_second)
    async with (
        Client(config.contact, budget, limits, parse_connect_to(tasks[0].args[2]), still_ours) as client,
        Decoder(options(config)) as decoder,
    ):
        for task in tasks:
            with begin(task) as attempt:
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
    attempt.took("images", len(outcomes))
    attempt.kept("images", len(index))
    for row in outcomes:
        if row["reason"]:
            attempt.dropped("images", row["reason"], 1)


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
    """How pictures are stored, as pipeline/web/picture.py wants it said."""
    return Options(**{name: getattr(config, name) for name in Options.__dataclass_fields__})


main = command("pipeline.fetch")

if __name__ == "__main__":
    leave(main)
