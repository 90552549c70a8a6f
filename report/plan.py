"""plan: what each stage of a recipe has yet to do, in hours, disk and requests, before anything starts.

    openwit plan --recipe recipes/mine.toml

Amounts are counted, never guessed: sizes of raw files, rows of finished stages. How long they take is estimated from
the stage's own last run where that tells, else from RATES. What is not known before a stage is done is said so.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from core import command, runs
from core.errors import UsageError
from core.files import filesystem, is_local, open_input, shown
from core.inputs import stats_of
from core.manifest import Manifest, read_manifest
from core.recipe import Recipe, read
from core.registry import STAGES
from pipeline import engines
from pipeline.stage import definition_of
from pipeline.web.manners import Manners
from report.phrases import count, last_part, size, span
from report.status import State, stage_states


@dataclass(frozen=True)
class Rate:
    """What one core does in a second, and the bytes that a unit leaves on the disk."""

    unit: str  # bytes of raw files, or rows of this kind
    a_second: float
    on_disk: float
    alone: bool = False  # shuffled by one process, however many cores there are


# CPU seconds on one of 2 shared cores (AMD EPYC, 2026-11-23, Python 3.11), without a start: ten copies of real.toml's
# archive through crawl, filter and match, its dumps through queries, its 1,289 pictures through pack and dedup (their
# fingerprints; finding the pairs is little beside them up to some millions). Bytes on disk are that recipe's.
RATES = {
    "queries": Rate("bytes", 420e3, 0.7),
    "crawl": Rate("bytes", 3.0e6, 0.14),
    "filter": Rate("pairs", 16_800, 40),
    "match": Rate("pairs", 14_000, 220, alone=True),
    "fetch": Rate("images", 0, 25_000),  # the web's pace is nobody's to state; the disk at most, if none fails
    "dedup": Rate("images", 540, 360),
    "pack": Rate("images", 2_550, 28_000),
}


START = 2.0  # seconds until a stage's first task
TELLING = 60.0  # seconds that a stage must have run to tell how long more takes: a shorter run was mostly its start


@dataclass(frozen=True)
class Line:
    """What one stage has yet to do."""

    stage: str
    what: str
    hours: str = ""  # as a person reads it; empty where it is not known
    disk: float | None = None  # bytes; None where it is not known
    by: str = ""  # what the estimate is from


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: a line a stage; exit status 0."""
    options = command.arguments("plan", __doc__ or "").parse_args(argv)
    return command.exit_status("plan", lambda: print_plan(read(options.recipe, options.set)), options.debug)


def print_plan(recipe: Recipe) -> None:
    """Print what is left to do, and whether there is room for it."""
    lines = plan(recipe)
    rows = [(line.stage, line.what, line.hours, size(round(line.disk)) if line.disk else "", line.by) for line in lines]
    print(f"{shown(recipe.out)}, from {recipe.path}; times are estimates")
    command.print_columns(rows)
    known = sum(line.disk or 0 for line in lines)
    partly = any(line.disk is None for line in lines)
    print(f"disk: {'at least ' if partly else ''}{size(round(known))} to write{_room(recipe.out, known)}")


def _room(out: str, needed: float) -> str:
    if not is_local(out):
        return ""
    inner = Path(filesystem(out)[1])
    folder = next(folder for folder in (inner, *inner.parents) if folder.exists())
    free = shutil.disk_usage(folder).free
    return f", {size(free)} free at {folder}: {'enough' if free > needed else 'NOT enough'}"


def plan(recipe: Recipe) -> list[Line]:
    """What each stage has yet to do."""
    states = stage_states(recipe)
    last = {name: read_manifest(recipe.folder(name)) for name in STAGES}
    ready = {name: manifest for name, manifest in last.items() if manifest and states[name].word == "complete"}
    return [_line(recipe, name, states[name], last[name], ready) for name in STAGES]


def _line(recipe: Recipe, name: str, state: State, last: Manifest | None, ready: Mapping[str, Manifest]) -> Line:
    if state.word == "complete":
        return Line(name, f"done; {state.says}", disk=None) if state.says else Line(name, "done", disk=0)
    if waits := [stage for stage in STAGES[name].reads if stage not in ready]:
        return Line(name, f"unknown until {waits[-1]} is done")
    ran = runs.read_run(last.folder) if last else {}
    if not STAGES[name].has_tasks:
        return _training(recipe, name, last, ran)
    if name not in RATES:
        return Line(name, "unknown: its rate was never measured")
    n, what = _amount(recipe, name, ready)
    if n is None:
        return Line(name, what)
    rate = RATES[name]
    share = 1.0 if state.left is None else state.left
    left, disk = n * share, n * share * rate.on_disk
    what += ", of which some may be done" if state.left is None else f", {share:.0%} of it left" if share < 1 else ""
    if name == "fetch":
        polite = 3600 * max(map(_slowest_domain, ready["match"].paths("plan")), default=0.0)
        what += ", as many requests and robots.txt"
        return Line(name, what, f"at least {span(polite)}", disk, "the largest domain, at the rate that it is asked")
    workers = recipe.config("engine", engines.Config).workers or runs.cores()
    if last and (before := _as_before(last, ran, rate.unit, n, workers)):
        return Line(name, what, f"about {span(before[0])}", before[1], _last_run(ran))
    cores = 1 if rate.alone else workers
    pace = f"{rate.a_second / 1e6:g} MB/s" if rate.unit == "bytes" else f"{rate.a_second:,} {rate.unit}/s"
    by = f"{pace} a core as measured (report/plan.py), {count(cores, 'core')}"
    return Line(name, what, f"about {span(START + left / rate.a_second / cores)}", disk, by)


def _as_before(last: Manifest, ran: Mapping[str, Any], unit: str, n: float, workers: int) -> tuple[float, float] | None:
    """Seconds and bytes that n units take at the pace of the stage's own last run; None where that tells nothing."""
    had = ran.get("raw_bytes") if unit == "bytes" else last.counts.get(unit, {}).get("in")
    whole = _whole(ran, workers)
    if not had or whole is None:
        return None
    seconds = whole * n / had
    if seconds > ran["seconds"] and ran["seconds"] < TELLING:
        return None
    return seconds, sum(part.bytes for part in last.parts) * n / had


def _whole(ran: Mapping[str, Any], workers: int = 1) -> float | None:
    """Seconds that the last process would have taken for all of its stage, by what it did of each step.

    None where that is not known, or of some step too little to tell: fewer tasks than there are workers.
    """
    steps = [step for step in ran.get("work", {}).values() if step["of"]]
    if "work" not in ran or any(step["here"] < min(step["of"], workers) for step in steps):
        return None
    return float(ran["seconds"] + sum(step["seconds"] * (step["of"] / step["here"] - 1) for step in steps))


def _last_run(ran: Mapping[str, Any]) -> str:
    return ", ".join(filter(None, ("its own last run", last_part(ran))))


def _amount(recipe: Recipe, name: str, ready: Mapping[str, Manifest]) -> tuple[float | None, str]:
    """How much comes in, in the unit of the stage's rate, and in words."""
    match name:
        case "filter":
            n = ready["crawl"].counts["pairs"]["kept"]
        case "match":
            n = ready["filter"].counts["pairs"]["kept"]
        case "fetch":
            n = sum(part.rows for part in ready["match"].of("plan"))
        case "dedup":
            n = sum(part.rows for part in ready["fetch"].of("chunk"))
        case "pack":
            n = ready["dedup"].counts["images"]["kept"]
        case _:
            return _raw(recipe, name)
    return n, f"{n:,} {RATES[name].unit}"


def _raw(recipe: Recipe, name: str) -> tuple[float | None, str]:
    """The bytes of a stage's raw files; of sites to visit only how many pages are asked for at most."""
    definition = definition_of(name)
    config = recipe.config(name, definition.config)
    try:
        files = [path for some in definition.files(recipe, name, config).values() for path in some]
    except UsageError as error:
        return None, f"unknown: {error}"
    total = sum(stat.size for stat in stats_of(files).values())
    what = f"{count(len(files), 'file')}, {size(total)}"
    if seeds := getattr(config, "seeds", []):
        seconds = config.pages_per_domain / recipe.shared("fetch", Manners).requests_per_second
        pages = f"at most {config.pages_per_domain:,} pages a domain, in {span(seconds)} or more"
        return None, f"{what}; {count(len(seeds), 'seed')}, {pages}"
    return total, what


def _slowest_domain(path: str) -> float:
    """Hours that the largest domain of one lane takes, by the statistics of its plan's Parquet file."""
    with open_input(path) as file:
        metadata = pq.ParquetFile(file).metadata
        column = metadata.schema.names.index("domain_hours")
        groups = [metadata.row_group(group).column(column).statistics for group in range(metadata.num_row_groups)]
        return max((group.max for group in groups if group and group.has_min_max), default=0.0)


def _training(recipe: Recipe, name: str, last: Manifest | None, ran: Mapping[str, Any]) -> Line:
    """How fast a model is, is known from its own last run alone."""
    given, unknown = recipe.tables.get(name, {}), "how fast is known once it has run"
    what = f"{given['steps']:,} steps of {given['batch_size']:,}" if {"steps", "batch_size"} <= given.keys() else ""
    if last is None or last.facts["config"].get("model") != given.get("model", last.facts["config"].get("model")):
        return Line(name, what, by=unknown)
    used = sum(part.bytes for part in last.parts)
    speed = ran.get("samples_per_second")
    seconds = given["steps"] * given["batch_size"] / speed if what and speed else _whole(ran)
    if seconds is None:
        return Line(name, what, disk=used, by=unknown)
    return Line(name, what, f"about {span(seconds)}", used, _last_run(ran))


if __name__ == "__main__":
    command.exit_now(main)
