"""crawl: web archives and URL tables → candidate, every image of every page with every text that may describe it.

    openwit crawl --recipe recipes/real.toml

An archive is a task and its candidates are one part, in the order of the archive. Texts are an image's alt and title
and the caption of the figure it stands in; images that are lazily loaded or offered in several sizes are found too.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.attempt import Attempt, Job, Task
from pipeline.commit import Commit
from pipeline.records import CANDIDATE, MARK, fold, image_id, pair_id
from pipeline.stage import Stage, command
from pipeline.text import urltable, warc
from pipeline.text.extract import MAX_TEXT_CHARS, candidates
from pipeline.web.urls import normalise
from shards.command import leave
from shards.errors import Failure
from shards.recipe import ASIDE

READS = ()
RULES_VERSION = 1
LIBRARIES = ("ada-url", "fastwarc", "selectolax")

ROWS = 4096  # in a table of candidates on its way
NAMED = ("no_text", "text_too_long", "repeated_on_page")  # drops whose image has a URL all the same


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The recipe's [crawl] table."""

    warc: Annotated[list[str], ASIDE] = []  # archives: paths and patterns
    urls: Annotated[list[str], ASIDE] = []  # tables of image URLs with captions: Parquet, CSV, TSV
    crawl_id: str = ""  # what the rows say of their origin, for example CC-MAIN-2026-30
    max_page_bytes: Annotated[int, msgspec.Meta(ge=1)] = 5_000_000  # larger pages are left out, by name
    truncated: Literal["fail", "skip"] = "fail"  # what an archive that ends too early does to the stage


def sources(config: Config) -> dict[str, list[str]]:
    """The raw files, by kind."""
    return {"warc": config.warc, "urls": config.urls}


def run(stage: Stage[Config]) -> None:
    # archive or URL table → candidate                                             a task a file
    job = stage.job("candidates")
    tasks = [
        Task(source.id, source.digest, (kind, source.path, source.name))
        for kind, files in stage.sources.items()
        for source in files
    ]
    stage.run(Crawl(job), job, tasks)


class Crawl(Commit):
    """Names of archives and tables in, the candidates of each committed as its part."""

    def __init__(self, job: Job[Config]) -> None:
        super().__init__(job, crawl_file)


def crawl_file(task: Task, config: Config, attempt: Attempt) -> None:
    """One file: all rows found, those with a reason dropped under it."""
    kind, path, name = task.args
    found = rows_of_archive(path, config, attempt) if kind == "warc" else rows_of_table(path)
    origin = {"crawl_id": config.crawl_id, "warc_file": name, "lang": None, "lang_score": None}
    while some := list(islice(found, ROWS)):
        rows = pa.Table.from_pylist([{**row, **origin} for row in some], schema=CANDIDATE)
        reasons = pa.array([row["reason"] for row in some], pa.string())
        kept = pc.is_null(reasons)
        named = pc.or_kleene(kept, pc.is_in(reasons, pa.array(NAMED)))
        marked = rows.filter(pc.and_(named, pc.is_valid(rows["opt_out"]))).select(MARK.names)
        if marked.num_rows:
            attempt.rows(marked.group_by(MARK.names).aggregate([]).select(MARK.names).sort_by("image_id"), MARK)
        attempt.took("pairs", rows.num_rows)
        attempt.kept("pairs", pc.sum(kept).as_py())
        attempt.rows(rows.filter(kept), CANDIDATE)
        attempt.drop("pairs", rows.filter(pc.invert(kept)), reasons.drop_null(), CANDIDATE)


def rows_of_archive(path: str, config: Config, attempt: Attempt) -> Iterator[dict[str, Any]]:
    """Rows of candidates, with a reason or None, from every page of an archive; its records are counted too."""
    for page in warc.pages(path, config.max_page_bytes):
        attempt.took("records", 1)
        if isinstance(page, warc.Problem):
            if page.reason in warc.LOSSES and config.truncated == "fail":
                raise Failure(
                    f"{path}: {page.reason} at byte {page.offset} ({page.detail}): get the archive again, or set "
                    'crawl.truncated = "skip" to take what is whole'
                )
            attempt.dropped("records", page.reason, 1)
            continue
        page_url = normalise(page.url)
        if page_url is None:
            attempt.dropped("records", "url_invalid", 1)
            continue
        attempt.kept("records", 1)
        if page.cut:
            attempt.note("pages_that_the_crawler_cut")
        for found in candidates(page):
            row = found._asdict()
            yield {**row, "page_url": page_url, "warc_offset": page.offset, **_ids(found.image_url, found.text)}


def rows_of_table(path: str) -> Iterator[dict[str, Any]]:
    """Rows of candidates, with a reason or None, from a table of image URLs."""
    for row in urltable.rows(path):
        url, text = normalise(row.url), fold(row.text)
        reason = "no_url" if not row.url else "url_invalid" if not url else "no_text" if not text else None
        if len(text) > MAX_TEXT_CHARS:
            reason, text = "text_too_long", text[:100]
        yield {
            "image_url": url or row.url[:100],
            "text": text,
            "text_source": "caption",
            "image_source": "url",
            "page_url": normalise(row.page_url) or "",
            "warc_offset": row.number,
            "licence": None,
            "opt_out": None,
            "reason": reason,
            **_ids(url or row.url, text),
        }


def _ids(url: str, text: str) -> dict[str, bytes]:
    return {"image_id": image_id(url), "pair_id": pair_id(url, text)}


main = command("pipeline.crawl")

if __name__ == "__main__":
    leave(main(None))
