"""report: one HTML page of everything that happened: the funnel, what was kept and dropped and why, curves, results.

    openwit report --recipe recipes/real.toml

Counts come from the manifests. Examples come from a few parts of each table, chosen by hash, and are chosen among
their rows by hash: the same stages give the same page, and a larger set does not take longer.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedup.tables import GROUP
from pipeline.pictures import Chunks, curve, packed, thumbnail
from pipeline.records import CANDIDATE, OUTCOME, PAIR, QUERY, reject_of
from pipeline.web.urls import host_of, registered_domain
from shards import choice, command, files
from shards.errors import Failure, UsageError, WorkToDo
from shards.files import digest, join, names_in, open_input, publish, read_batches, read_bytes
from shards.manifest import Manifest, Part, read_manifest
from shards.recipe import STAGES, Recipe
from shards.tables import name_of

REPORT_VERSION = 1  # raise it when the same stages would give another page

PARTS_READ = 16  # parts of a table that examples are taken from
ROWS_READ = 500_000  # rows of them at most
CHUNKS_READ = 64  # chunks in which the pictures of duplicates are looked for

KEPT = 24  # samples shown
LOOKED_UP = 8 * KEPT  # pairs looked up to find so many: the images of the others were not fetched, or are duplicates
PER_REASON = 6  # rows shown of each reason that a stage has
NEAR, SAME = 9, 3  # groups shown of near-duplicates, and of images with the same bytes
REPLACED = 3  # pictures shown of those that one keeper replaced
TOP = 12  # bars of a list
TEXT = 300  # characters shown of a text or URL

Rows = list[dict[str, Any]]


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.run_recipe("report", __doc__ or "", make, argv)


def make(recipe: Recipe) -> None:
    """Write report.html beside the stages' folders, unless the one there was made from the same."""
    stages = [look_at(recipe, name) for name in STAGES]
    if not any(stage.manifest for stage in stages):
        raise UsageError(f"no stage of {recipe.out} is finished: run openwit crawl --recipe {recipe.path} first")
    path = join(recipe.out, "report.html")
    name = Path(recipe.path).stem
    facts = [(stage.manifest.digest if stage.manifest else None, json.dumps(stage.run)) for stage in stages]
    made_from = digest(REPORT_VERSION, name, recipe.run.seed, facts)
    if _made_from(recipe.out) == made_from:
        print(f"report: nothing to do, {files.shown(path)} is up to date")
        return
    if recipe.check:
        raise WorkToDo
    page = render(name, recipe.run.seed, stages, made_from).encode()
    publish(path, page)
    finished = sum(stage.manifest is not None for stage in stages)
    print(f"report: {finished} of {len(stages)} stages, {size(len(page))} → {files.shown(path)}")


def _made_from(out: str) -> str | None:
    """The digest that the page there bears, None where there is none."""
    if "report.html" not in names_in(out):
        return None
    with open_input(join(out, "report.html")) as file:
        found = re.search(rb'name="made-from" content="([0-9a-f]{64})"', file.read(1024))
    return found.group(1).decode() if found else None


# ── the stages ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Stage:
    """What is known of one stage: its manifest (None: not run yet) and how it ran (empty: not known)."""

    name: str
    manifest: Manifest | None
    run: dict[str, Any]


def look_at(recipe: Recipe, name: str) -> Stage:
    """A stage of the recipe, finished or not."""
    folder = recipe.folder(name)
    manifest = read_manifest(folder)
    known = manifest is not None and "_run.json" in names_in(folder)
    return Stage(name, manifest, _json(join(folder, "_run.json")) if known else {})


def outdated(stages: Sequence[Stage]) -> dict[str, list[str]]:
    """The stages that read another run of a stage before them than the one that is there now."""
    now = {stage.name: stage.manifest.digest if stage.manifest else None for stage in stages}
    read = {stage.name: stage.manifest.facts.get("inputs", {}) for stage in stages if stage.manifest}
    return {
        name: old
        for name, inputs in read.items()
        if (old := [stage for stage in STAGES if stage in inputs and inputs[stage] != now[stage]])
    }


def funnel(stages: Sequence[Stage]) -> list[dict[str, Any]]:
    """The stages that take rows away, grouped by what their rows are."""
    by_name = {stage.name: stage.manifest for stage in stages}
    drawn = []
    for unit, names in (("pairs", ("crawl", "filter", "match")), ("images", ("fetch", "dedup", "pack"))):
        counts = {name: manifest.counts.get(unit) if (manifest := by_name[name]) else None for name in names}
        most = max([count["in"] for count in counts.values() if count], default=0)
        drawn.append({"unit": unit, "most": max(most, 1), "counts": counts})
    return drawn


# ── examples ──────────────────────────────────────────────────────────────────────────────────────


def in_order(seed: int, scope: str, ids: Sequence[bytes]) -> list[int]:
    """Positions of ids in the order in which they are chosen: by hash, then by id."""
    ranks = choice.rank(seed, "report", scope, ids).tolist()
    return sorted(range(len(ids)), key=lambda i: (ranks[i], ids[i]))


def first(rows: pa.Table, most: int, column: str, seed: int, scope: str) -> pa.Table:
    """The `most` rows that are chosen first by the ids in a column."""
    return rows.take(pa.array(in_order(seed, scope, rows[column].to_pylist())[:most], pa.int64()))


def some_parts(manifest: Manifest, table: str, seed: int, most: int) -> list[Part]:
    """Some parts of a table, chosen by hash; all of them where there are few."""
    parts = manifest.of(table)
    return [parts[i] for i in in_order(seed, table, [part.name.encode() for part in parts])[:most]]


def some_rows(manifest: Manifest, schema: pa.Schema, seed: int) -> Iterator[pa.Table]:
    """The rows that examples of a table are taken from, a row group at a time."""
    count = 0
    for part in some_parts(manifest, name_of(schema), seed, PARTS_READ):
        for rows in read_batches(join(manifest.folder, part.name), schema):
            yield rows
            count += rows.num_rows
            if count >= ROWS_READ:
                return


def by_reason(manifest: Manifest, schema: pa.Schema, column: str, seed: int) -> dict[str, Rows]:
    """Some rows of each reason of a table, chosen by the ids in a column; an empty reason is none."""
    found: dict[str, pa.Table] = {}
    for rows in some_rows(manifest, schema, seed):
        for reason in filter(None, pc.unique(rows["reason"]).to_pylist()):
            some = rows.filter(pc.equal(rows["reason"], reason))
            some = pa.concat_tables([found[reason], some]) if reason in found else some
            found[reason] = first(some, PER_REASON, column, seed, reason)
    return {reason: rows.to_pylist() for reason, rows in found.items()}


def kept_samples(match: Manifest, pack: Manifest, seed: int) -> Rows:
    """Some pairs whose images are in the shards, each with its row there and a thumbnail."""
    pairs = PAIR.empty_table()
    for rows in some_rows(match, PAIR, seed):
        pairs = first(pa.concat_tables([pairs, rows]), LOOKED_UP, "pair_id", seed, "kept")
    shown: dict[bytes, dict[str, Any]] = {}
    for pair in pairs.to_pylist():
        if len(shown) < KEPT and pair["image_id"] not in shown and (found := packed(pack, pair["image_id"])):
            sample, image = found
            shown[pair["image_id"]] = {**pair, "sample": sample, "picture": thumbnail(image)}
    return list(shown.values())


def duplicates(dedup: Manifest, fetch: Manifest, pack: Manifest | None, seed: int) -> Rows:
    """Some groups, near-duplicates first: a keeper and some of what it replaced, with their thumbnails.

    What was replaced is in a chunk, but its id does not say in which: it is looked for in some of them. A keeper is
    found in the shards by its id.
    """
    chunks = Chunks(fetch, some_parts(fetch, "chunk", seed, CHUNKS_READ))
    groups: dict[bool, dict[bytes, Rows]] = {False: {}, True: {}}  # same bytes? → keeper → what it replaced
    for rows in some_rows(dedup, GROUP, seed):
        dropped = rows.filter(pc.and_(pa.array(chunks.have(rows["image_id"])), pc.invert(rows["keep"])))
        for row in dropped.to_pylist():
            groups[row["same_bytes"]].setdefault(row["kept_by"], []).append(row)
        for same_bytes, most in ((False, NEAR), (True, SAME)):
            keepers = sorted(groups[same_bytes])
            chosen = in_order(seed, "group", keepers)[:most]
            groups[same_bytes] = {keepers[i]: groups[same_bytes][keepers[i]] for i in chosen}
    return [_group(keeper, rows, chunks, pack, seed) for some in groups.values() for keeper, rows in some.items()]


def _group(keeper: bytes, rows: Rows, chunks: Chunks, pack: Manifest | None, seed: int) -> dict[str, Any]:
    chosen = in_order(seed, "replaced", [row["image_id"] for row in rows])[:REPLACED]
    replaced = [{**rows[i], "picture": thumbnail(chunks.image(rows[i]["image_id"]))} for i in chosen]
    image = chunks.image(keeper)
    if image is None and pack and (found := packed(pack, keeper)):
        image = found[1]
    return {"keeper": keeper, "picture": thumbnail(image), "replaced": replaced}


# ── what the pairs are about ──────────────────────────────────────────────────────────────────────


def survey(match: Manifest, queries: Manifest | None, seed: int) -> dict[str, Any]:
    """The most frequent queries, languages, text sources and domains among the pairs that were read."""
    wanted, languages, sources, hosts = Counter[int](), Counter[str](), Counter[str](), Counter[str]()
    read = 0
    for rows in some_rows(match, PAIR, seed):
        read += rows.num_rows
        wanted.update(pc.list_flatten(rows["kept_for"]).to_pylist())
        languages.update(lang or "unknown" for lang in rows["lang"].to_pylist())
        sources.update(rows["text_source"].to_pylist())
        hosts.update(host_of(url) for url in rows["image_url"].to_pylist())
    domains = Counter[str]()
    for host, n in hosts.items():
        domains[registered_domain(host)] += n
    names = query_texts(queries, set(_top(wanted)))
    lists = {
        "Queries": {names.get(id_, f"query {id_}"): n for id_, n in _top(wanted).items()},
        "Domains of the images": _top(domains),
        "Languages": _top(languages),
        "Sources of the text": _top(sources),
    }
    return {"read": read, "all": sum(part.rows for part in match.of("pair")), "lists": lists}


def _top(counts: Counter[Any]) -> dict[Any, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:TOP])


def query_texts(queries: Manifest | None, ids: set[int]) -> dict[int, str]:
    """The texts of some queries."""
    texts: dict[int, str] = {}
    for path in queries.paths("query") if queries else []:
        for rows in read_batches(path, QUERY, ["id", "text"]):
            some = rows.filter(pc.is_in(rows["id"], pa.array(sorted(ids), pa.int32())))
            texts |= dict(zip(some["id"].to_pylist(), some["text"].to_pylist(), strict=True))
    return texts


# ── training and evaluation ───────────────────────────────────────────────────────────────────────

METRICS = {"loss": "contrastive loss (nats)", "learning_rate": "learning rate", "scale": "logit scale (1/temperature)"}


def training(train: Manifest) -> list[dict[str, Any]]:
    """The curves of a training: of each quantity its last value and its picture."""
    rows = (row for path in train.paths("metrics") for row in _json_lines(path))
    logged = np.array([[row["step"], *(row.get(name, np.nan) for name in METRICS)] for row in rows], dtype=np.float64)
    if not len(logged):
        return []
    steps = logged[:, 0]
    return [
        {
            "name": name.replace("_", " "),
            "last": values[-1],
            "step": int(steps[-1]),
            "svg": curve(name, steps, values, label),
        }
        for (name, label), values in zip(METRICS.items(), logged.T[1:], strict=True)
    ]


def evaluation(results: Manifest) -> Rows:
    """All results, as the evaluations wrote them."""
    return [row for path in results.paths("results") for row in _json(path)]


def _json(path: str) -> Any:
    try:
        return json.loads(read_bytes(path))
    except ValueError as error:
        raise Failure(f"{path} is damaged ({error}): run the stage that wrote it again") from error


def _json_lines(path: str) -> Iterator[Any]:
    with open_input(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise Failure(f"{path} is damaged in line {number} ({error}): run train again") from error


# ── the page ──────────────────────────────────────────────────────────────────────────────────────


def render(name: str, seed: int, stages: Sequence[Stage], made_from: str) -> str:
    """The whole page. What is shown of the web is escaped by the template."""
    done = {stage.name: stage.manifest for stage in stages if stage.manifest}
    queries, match, fetch, dedup, pack = (done.get(stage) for stage in ("queries", "match", "fetch", "dedup", "pack"))
    kept = kept_samples(match, pack, seed) if match and pack else []
    rejects = {
        stage: by_reason(done[stage], reject_of(CANDIDATE), "pair_id", seed)
        for stage in ("crawl", "filter", "match")
        if stage in done
    }
    return (
        _environment()
        .get_template("report.html")
        .render(
            name=name,
            made_from=made_from,
            last_run=max(stage.run.get("started", "") for stage in stages),
            stages=stages,
            done=done,
            outdated=outdated(stages),
            funnel=funnel(stages),
            kept=kept,
            query_texts=query_texts(queries, {id_ for pair in kept for id_ in pair["kept_for"]}),
            rejects=rejects,
            failures=by_reason(fetch, OUTCOME, "image_id", seed) if fetch else {},
            duplicates=duplicates(dedup, fetch, pack, seed) if dedup and fetch else [],
            survey=survey(match, queries, seed) if match else None,
            curves=training(done["train"]) if "train" in done else [],
            results=evaluation(done["eval"]) if "eval" in done else [],
        )
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"shown": shown, "share": share, "span": span, "size": size, "plain": plain}
    return environment


# What changes the direction of the text around it, and what a page may not hold: controls and half characters.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def shown(text: str) -> str:
    """A text of the web as a person may see it: cut to TEXT characters, what cannot be seen named (⟨U+202E⟩)."""
    text = text if len(text) <= TEXT else text[:TEXT] + "…"
    return _UNSEEN.sub(lambda match: f"⟨U+{ord(match.group()):04X}⟩", text)


def share(part: float, whole: float) -> str:
    """A part of a whole in per cent: never 0 % of something that is there, nor 100 % of what is not all."""
    percent = 100 * part / whole if whole else 0.0
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.1f} %"


def span(seconds: float) -> str:
    """A time as a person says it: 3.2 s, 4 min 10 s, 7 h 05 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60:02d} min"


def size(n: int) -> str:
    """Bytes in decimal units: 64.1 MB."""
    scaled, unit = float(n), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if scaled < 1000 or unit == "TB":
            break
        scaled /= 1000
    return f"{scaled:.1f} {unit}" if unit != "B" else f"{n} B"


def plain(value: Any) -> str:
    """A value of a Config as the recipe would say it."""
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main())
