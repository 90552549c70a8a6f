"""crawl: sites, web archives, URL tables → candidate: every image of every page with every text that may describe it.

    openwit crawl --recipe recipes/real.toml
    openwit crawl --recipe recipes/mine.toml --set 'crawl.seeds=["https://example.org/"]'

An archive is a task and its candidates are one part, in the order of the archive. Texts are an image's alt and title,
the caption of the figure it stands in, and, where there is none of these, the text of the link around it; images that
are lazily loaded or offered in several sizes are found too.

The sites of the seeds are visited first, each registered domain as a task whose parts are an archive of its pages and
the table `page`, which says what became of every URL; then their archives are read as all others. As whom and how
politely sites are asked, the recipe's [fetch] table says. A site that was visited is not visited again by the same
command, nor when another site is added or another library reads the pages: only for another crawl.crawl_id or run.out,
or where crawl.depth, crawl.pages_per_domain, crawl.max_page_bytes, run.seed or its own seeds are changed.
"""

from __future__ import annotations

import asyncio
import math
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Annotated, Any, BinaryIO, Literal, cast

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from core.command import exit_now
from core.credentials import public
from core.errors import Failure, UsageError
from core.files import digest, file_name
from core.inputs import Source
from core.recipe import RUNTIME
from pipeline.ids import ids_of
from pipeline.inputs.archives import warc
from pipeline.inputs.pages.extract import candidates
from pipeline.inputs.urltables import urltable
from pipeline.inputs.urltables.tablerows import Table
from pipeline.livecrawl.temporary import TemporaryArchive
from pipeline.livecrawl.visit import Visit, VisitConfig
from pipeline.stage import Definition, Stage, main_of
from pipeline.tables import CANDIDATE, COLUMN, MARK, PAGE, REJECT_RECORD
from pipeline.tasks.attempt import Attempt, Job, Task
from pipeline.tasks.lanes import Lane
from pipeline.web.addresses import parse_connect_to
from pipeline.web.client import Client, Limits
from pipeline.web.detail import one_line
from pipeline.web.manners import Manners
from pipeline.web.politeness import RateLimiter
from pipeline.web.urls import domain_of, normalise

RULES_VERSION = 5
LIBRARIES = ("ada-url", "chardetng-py", "fastwarc", "msgspec", "selectolax", "webencodings")

VISITS_VERSION = 1  # raise it when sites have to be visited again
ROWS = 4096  # in a table of candidates, or of an archive's records, on its way
CHARS = 4 << 20  # of the texts in such a table of candidates
READERS = 4  # threads in which a lane reads pages and writes archives; a page made to hurt takes up to 1 GB
NAMED = ("no_text", "text_too_long", "repeated_on_page")  # drops whose image has a URL all the same


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The recipe's [crawl] table."""

    warc: Annotated[list[str], RUNTIME] = []  # archives: paths and patterns
    urls: Annotated[list[str], RUNTIME] = []  # tables of image URLs with captions: Parquet, CSV, TSV, JSON
    seeds: list[str] = []  # URLs of sites to visit
    depth: Annotated[int, msgspec.Meta(ge=0)] = 3  # links from a seed; 0 = the seeds alone, and no sitemaps
    pages_per_domain: Annotated[int, msgspec.Meta(ge=1)] = 1000  # that are asked for, whatever comes of it
    crawl_id: str = ""  # what the rows say of their origin, for example CC-MAIN-2026-30
    max_page_bytes: Annotated[int, msgspec.Meta(ge=1)] = 5_000_000  # larger pages are left out, by name
    truncated: Literal["fail", "skip"] = "fail"  # what a file that ends too early does to the stage
    quoting: Literal["auto", "csv", "none"] = "auto"  # quotes in CSV and TSV: as they make sense; all quote; all text
    url_column: str = ""  # of the tables; empty: the one that has a known name, see docs/data.md
    text_column: str = ""  # their captions, one or a list a row; empty: the known names
    columns: list[str] = []  # the names of all columns of CSV and TSV without a header


def sources(config: Config) -> dict[str, list[str]]:
    """The raw files, by kind."""
    return {"warc": config.warc, "urls": config.urls}


def run(stage: Stage[Config]) -> None:
    # seed → archive, page: a site after its links                                 a task a registered domain, in lanes
    files = [(kind, source) for kind, some in stage.sources.items() for source in some]
    if not files and not stage.config.seeds:
        raise UsageError(f"{stage.recipe.path}: there is nothing to crawl: give crawl.seeds, crawl.warc or crawl.urls")
    for source in stage.sources["urls"]:
        urltable.check(source.path, table_options(stage.config))
    if stage.config.seeds:
        visits = visits_of(stage)
        done = stage.run_lanes(visits, visit_lane, sites(stage, visits.config.domains_at_once))
        files += [("warc", Source(stage.path(part), part.sha256)) for part in stage.parts(done, "warc")]

    # archive or URL table → candidate                                             a task a file
    uses = ("crawl_id", "max_page_bytes", "truncated", "quoting", "url_column", "text_column", "columns")
    job = stage.job("candidates", uses)
    tasks = [Task(source.id, source.digest, (kind, source)) for kind, source in files]
    stage.run(job, crawl_file, tasks)


def steps(stage: Stage[Config]) -> dict[str, int]:
    """How many tasks each step has, once those before it are done."""
    visited = {domain_of(url) for text in stage.config.seeds if (url := normalise(text))}
    files = sum(map(len, stage.sources.values()))
    return {**({"pages": len(visited)} if visited else {}), "candidates": files + len(visited)}


# ── pages: a site after its links ─────────────────────────────────────────────────────────────────


def sites(stage: Stage[Config], at_once: int) -> list[Task]:
    """A task for each registered domain among the seeds, in as many lanes as have about `at_once` of them each."""
    seeds: dict[str, set[str]] = {}
    for text in stage.config.seeds:
        url = normalise(text)
        if url is None:
            raise UsageError(
                f"{stage.recipe.path}: crawl.seeds names {public(text)!r}, which is no http(s) URL that can be asked "
                "for: write it in full and without a user, as in https://example.org/"
            )
        seeds.setdefault(domain_of(url), set()).add(url)
    lanes = math.ceil(len(seeds) / at_once)
    return [
        Task(
            f"{file_name(domain)[:80]}-{digest(domain)[:12]}",
            digest(sorted(urls)),
            (domain, sorted(urls)),
            lane=f"sites{int(digest(domain)[:8], 16) % lanes}",
        )
        for domain, urls in sorted(seeds.items())
    ]


def visits_of(stage: Stage[Config]) -> Job[VisitConfig]:
    """What all visits share; UsageError where the recipe does not say who visits."""
    config, manners = stage.config, stage.recipe.shared("fetch", Manners)
    connect_to = manners.connections(stage.recipe.path)
    what = {key: getattr(config, key) for key in ("crawl_id", "depth", "pages_per_domain", "max_page_bytes")}
    how = ("contact", "requests_per_second", "domains_at_once", "deadline_hours", "timeout", "max_redirects")
    visits = VisitConfig(seed=stage.seed, connect_to=connect_to, **what, **{key: getattr(manners, key) for key in how})
    return Job(
        folder=stage.folder,
        step="pages",
        step_digest=digest("visit", VISITS_VERSION, stage.seed, what),  # neither libraries nor manners: see above
        seed=stage.seed,
        config=visits,
        facts_digest=stage.facts_digest,
        lease_seconds=stage.engine_config.lease_seconds,
    )


def visit_lane(lane: Lane, config: VisitConfig) -> None:
    """The sites of one lane, side by side; each is committed as soon as its visit has ended."""
    asyncio.run(_visit_lane(lane, config))


async def _visit_lane(lane: Lane, config: VisitConfig) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(READERS, thread_name_prefix="readers"))
    at_once = asyncio.Semaphore(config.domains_at_once)

    async def visit_site(task: Task) -> None:
        domain, seeds = task.args
        limits, connect_to = Limits(total_seconds=config.timeout), parse_connect_to(config.connect_to)
        limiter = RateLimiter(config.requests_per_second)
        async with at_once, Client(config.contact, limiter, limits, connect_to, lane.check) as client:
            with TemporaryArchive(domain) as archive:
                visit = Visit(domain, seeds, config, client, cast(BinaryIO, archive))
                await visit.run()
                await asyncio.to_thread(commit_visit, lane, task, visit, archive)  # other sites go on meanwhile

    try:
        async with asyncio.TaskGroup() as group:  # one that fails ends the others
            for task in lane.tasks:
                group.create_task(visit_site(task))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


def commit_visit(lane: Lane, task: Task, visit: Visit, archive: TemporaryArchive) -> None:
    """Write a site's archive, and what became of each of its URLs."""
    reasons = Counter(row["reason"] for row in visit.rows)
    kept = reasons.pop("", 0)
    with lane.begin(task) as attempt:
        with attempt.file("warc", f"warc/{task.id}-{{sha256}}.warc.gz") as part:
            archive.seek(0)
            shutil.copyfileobj(archive, part.file)
            part.rows = kept
        attempt.rows(pa.Table.from_pylist(visit.rows, schema=PAGE), PAGE)
        attempt.count_in("pages", len(visit.rows))
        attempt.count_kept("pages", kept)
        for reason, n in reasons.items():
            attempt.count_dropped("pages", reason, n)
        for note, n in visit.notes.items():
            if n:
                attempt.note(note, n)


# ── candidates: the images of an archive's pages, or of a table ───────────────────────────────────


def crawl_file(task: Task, config: Config, attempt: Attempt) -> None:
    """One file: all rows found, those with a reason dropped under it."""
    kind, source = task.args
    origin = {"crawl_id": config.crawl_id, "warc_file": source.name, "lang": None, "lang_score": None}
    with attempt.reading(source) as path:
        found = (
            rows_of_archive(path, source.name, config, attempt)
            if kind == "warc"
            else rows_of_table(path, source.name, table_options(config), attempt)
        )
        while some := list(_some(found)):
            commit_rows(some, origin, attempt)


def commit_rows(found: list[dict[str, Any]], origin: dict[str, Any], attempt: Attempt) -> None:
    """Some rows: kept, or dropped under their reason; what their pages say of images is kept of those that go, too."""
    rows = pa.Table.from_pylist([{**row, **origin} for row in found], schema=CANDIDATE)
    reasons = pa.array([row["reason"] for row in found], pa.string())
    kept = pc.is_null(reasons)
    named = pc.or_kleene(kept, pc.is_in(reasons, pa.array(NAMED)))
    marked = rows.filter(pc.and_(named, pc.is_valid(rows["opt_out"]))).select(MARK.names)
    if marked.num_rows:
        attempt.rows(marked.group_by(MARK.names).aggregate([]).select(MARK.names).sort_by("image_id"), MARK)
    attempt.count_in("pairs", rows.num_rows)
    attempt.count_kept("pairs", pc.sum(kept).as_py())
    attempt.rows(rows.filter(kept), CANDIDATE)
    attempt.drop_rows("pairs", rows.filter(pc.invert(kept)), reasons.drop_null())


Other = tuple[str, int, str]  # a record without candidates: reason, place in the file, detail


def rows_of_archive(path: str, name: str, config: Config, attempt: Attempt) -> Iterator[dict[str, Any]]:
    """Rows of candidates, with a reason or None, from every page of an archive."""
    for page_url, page in pages_of_archive(path, name, config, attempt):
        for found in candidates(page):
            ids = ids_of(found.image_url, found.text)
            yield {**found._asdict(), "page_url": page_url, "warc_offset": page.offset, **ids}


def pages_of_archive(path: str, name: str, config: Config, attempt: Attempt) -> Iterator[tuple[str, warc.Page]]:
    """The pages of an archive with their URLs; its other records are counted, and some kept to look at."""
    others: list[Other] = []
    for page in warc.pages(path, config.max_page_bytes):
        attempt.count_in("records", 1)
        if isinstance(page, warc.Problem):
            if page.reason in warc.LOSSES:
                lose(page, path, config, attempt)
            others.append((page.reason, page.offset, one_line(page.detail)))
        elif (page_url := normalise(page.url)) is None:
            others.append(("url_invalid", page.offset, one_line(page.url)))
        else:
            attempt.count_kept("records", 1)
            if page.cut:
                attempt.note("pages_that_the_crawler_cut")
            yield page_url, page
        if len(others) == ROWS:
            reject_records("records", others, name, attempt)
            others.clear()
    reject_records("records", others, name, attempt)


def lose(loss: warc.Problem, path: str, config: Config, attempt: Attempt) -> None:
    """Note a part of an archive that cannot be read, for the exit line; Failure unless the recipe lets it go."""
    if config.truncated == "fail":
        if loss.reason == warc.NOT_AN_ARCHIVE:
            raise Failure(f"{public(path)} is {loss.detail}")
        raise Failure(
            f"{public(path)}: {loss.reason} at byte {loss.offset} ({loss.detail}): get the archive again, or set "
            'crawl.truncated = "skip" to take what is whole'
        )
    attempt.note(loss.reason)
    attempt.note("bytes_not_read", loss.lost)


def rows_of_table(path: str, name: str, options: urltable.Options, attempt: Attempt) -> Iterator[dict[str, Any]]:
    """The same from a table of image URLs; its records that are no rows are counted as those of an archive."""
    table, others = Table(path, options), list[Other]()
    for row in table.candidates():
        if isinstance(row, urltable.Row):
            others.append((row.reason, row.place, row.detail))
        else:
            yield row
        if len(others) == ROWS:
            reject_records("rows", others, name, attempt)
            others.clear()
    reject_records("rows", others, name, attempt)
    attempt.count_in("rows", table.records)
    attempt.count_kept("rows", table.columns.rows)
    for note, n in sorted((+table.notes).items()):
        attempt.note(note, n)
    if table.columns.columns:
        attempt.rows(table.columns.table(), COLUMN)


def reject_records(unit: str, records: Sequence[Other], name: str, attempt: Attempt) -> None:
    """Records of an archive that are no pages, or of a table that are no rows."""
    reasons = pa.array([reason for reason, _, _ in records], pa.string())
    rows = [{"warc_file": name, "warc_offset": place, "detail": detail} for _, place, detail in records]
    kept = pa.Table.from_pylist(rows, schema=REJECT_RECORD.remove(0))
    attempt.reject_rows(unit, kept, reasons, REJECT_RECORD, "warc_offset")


def table_options(config: Config) -> urltable.Options:
    """What the recipe says of tables."""
    return urltable.Options(*(getattr(config, key) for key in urltable.Options._fields))


def _some(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The next rows, as many as may be held at once."""
    chars = 0
    for row in islice(rows, ROWS):
        yield row
        chars += len(row["text"]) + len(row.get("columns") or "")
        if chars > CHARS:
            return


STAGE = Definition(
    config=Config, run=run, steps=steps, rules_version=RULES_VERSION, libraries=LIBRARIES, sources=sources
)
main = main_of("crawl")

if __name__ == "__main__":
    exit_now(main)
