"""report: one HTML page of everything that happened: the funnel, what was kept and dropped and why, curves, results.

    openwit report --recipe recipes/real.toml

Counts come from the manifests. Examples come from a few parts of each table, chosen by hash, and are chosen among
their rows by hash: the same stages give the same page, and a larger set does not take longer.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from core import command, files, runs
from core.errors import Failure, UsageError, WorkToDo
from core.files import digest, join, names_in, open_input, publish, read_bytes
from core.inputs import digest_file
from core.manifest import Manifest, read_manifest
from core.recipe import Recipe
from core.registry import STAGES
from dedup import overlap
from report import beside_people, by_set, compared, evals, examples, leaked, models, phrases, under_shift
from report import survey as surveys
from report.funnel import LABELS, funnel
from report.plots import Numbers, by_rank, curve, histogram

REPORT_VERSION = 13  # raise it when the same stages would give another page

RESULTS = 16  # evaluations of one model, of which more are folded away
INPUTS = 24  # files that a stage read whose digests are listed

LEADS = {  # (stage, unit, "kept" or a reason) → the id of a part of the page, what is to be seen there
    ("match", "images", "kept"): ("stage-fetch", "what became of them"),
    ("dedup", "images", "kept"): ("kept", "some of them"),
    ("pack", "images", "kept"): ("kept", "some of them"),
    ("train", "samples", "kept"): ("training", "what was learnt on them"),
    ("train", "samples", "held_out"): ("evaluation", "retrieval among them"),
    ("train", "rows", "kept"): ("training", "what was learnt on them"),
    ("eval", "held_out_samples", "kept"): ("evaluation", "retrieval among them"),
    ("eval", "pictures", "kept"): ("evaluation", "what they were taken for"),
}
FILTERS = (  # of phrases.py, for the templates
    *("anchor", "count", "lines", "meaning", "place", "plain", "points", "probability", "share", "shown", "size"),
    "took",
)
METRICS = {
    "loss": "contrastive loss (nats)",
    "learning_rate": "learning rate",
    "scale": "logit scale (1/temperature)",
    "gradient_norm": "norm of the gradient",
    "alignment": "mean squared distance of pairs",
    "uniformity_images": "uniformity of images (log)",
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.run_recipe("report", __doc__ or "", make, argv)


def make(recipe: Recipe) -> None:
    """Write report.html beside the stages' folders, unless the one there was made from the same."""
    stages = [result_of(recipe, name) for name in STAGES]
    if not any(stage.manifest for stage in stages):
        raise UsageError(f"no stage of {recipe.out} is finished: run openwit crawl --recipe {recipe.path} first")
    path = join(recipe.out, "report.html")
    name = Path(recipe.path).stem
    facts = [(stage.manifest.digest if stage.manifest else None, json.dumps(stage.run)) for stage in stages]
    leaks = digest_file(join(recipe.out, overlap.FILE)) if overlap.FILE in names_in(recipe.out) else ""
    made_from = digest(REPORT_VERSION, name, recipe.run.seed, facts, leaks)
    if _made_from(recipe.out) == made_from:
        print(f"report: nothing to do, {files.shown(path)} is up to date")
        return
    if recipe.check:
        raise WorkToDo
    page = render(recipe, stages, made_from).encode()
    publish(path, page)
    finished = sum(stage.manifest is not None for stage in stages)
    print(f"report: {finished} of {len(stages)} stages, {phrases.size(len(page))} → {files.shown(path)}")


def _made_from(out: str) -> str | None:
    """The digest that the page there bears, None where there is none, or only a part of one."""
    if "report.html" not in names_in(out):
        return None
    page = read_bytes(join(out, "report.html"))
    found = re.search(rb'name="made-from" content="([0-9a-f]{64})"', page[:1024])
    return found.group(1).decode() if found and page.rstrip().endswith(b"</html>") else None


# ── the stages ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class StageResult:
    """What is known of one stage: its manifest (None: not run yet) and how it ran (empty: not known)."""

    name: str
    manifest: Manifest | None
    run: dict[str, Any]


def result_of(recipe: Recipe, name: str) -> StageResult:
    """A stage of the recipe, finished or not."""
    folder = recipe.folder(name)
    manifest = read_manifest(folder)
    return StageResult(name, manifest, runs.read_run(folder) if manifest else {})


def outdated(stages: Sequence[StageResult]) -> dict[str, list[str]]:
    """The stages that read another run of a stage before them than the one that is there now."""
    now = {stage.name: stage.manifest.digest if stage.manifest else None for stage in stages}
    read = {stage.name: stage.manifest.facts.get("inputs", {}) for stage in stages if stage.manifest}
    return {
        name: old
        for name, inputs in read.items()
        if (old := [stage for stage in STAGES if stage in inputs and inputs[stage] != now[stage]])
    }


def rows_behind(done: Mapping[str, Manifest], seed: int) -> dict[tuple[str, str], dict[str, examples.Rows]]:
    """Rows behind the numbers of each stage's units: some that were kept, as "kept", and some of each reason."""
    return {
        (stage, unit): examples.behind(done[stage], stage, unit, seed)
        for stage, unit in examples.BEHIND
        if stage in done and unit in done[stage].counts
    }


def leads_to(done: Mapping[str, Manifest]) -> dict[tuple[str, str, str], tuple[str, str]]:
    """Where that is to be seen which stands behind a number that has no rows of its own: id on the page, what it is."""
    dropped = {(stage, unit): count["dropped"] for stage in done for unit, count in done[stage].counts.items()}
    leads = dict(LEADS)
    for stage in ("dedup", "pack"):
        for reason in dropped.get((stage, "images"), ()):
            leads[stage, "images", reason] = ("duplicates", "groups of them, side by side")
    for reason in dropped.get(("fetch", "images"), ()):
        leads["dedup", "pairs", reason] = (phrases.anchor("fetch", "images", reason), "the images themselves")
    if "crawl" in done and done["crawl"].counts.get("pairs", {"kept": 0})["kept"]:
        leads["crawl", "records", "kept"] = (phrases.anchor("crawl", "pairs", "kept"), "what was found on them")
    return leads


# ── plots and results ─────────────────────────────────────────────────────────────────────────────


def plots(survey: Mapping[str, Any] | None, sides: Numbers, done: Mapping[str, Manifest]) -> dict[str, str]:
    """What the pairs and images are like, drawn; what has nothing to draw is left out."""
    drawn = {}
    if survey and len(survey["pairs_a_query"]):
        limit = done["match"].facts.get("config", {}).get("max_pairs_per_query")
        drawn["queries"] = by_rank("queries", survey["pairs_a_query"], "query", "pairs kept for it", limit)
    if survey and len(survey["words"]):
        drawn["words"] = histogram("words", survey["words"], "words in the text", "pairs")
    if len(sides):
        drawn["sides"] = histogram("sides", sides, "longer side before resizing (pixels)", "images")
    return drawn


def training(train: Manifest) -> list[dict[str, Any]]:
    """The curves of a training: of each quantity, and of each evaluation on its way, the last value and a picture."""
    rows = (row for path in train.paths("metrics") for row in _json_lines(path))
    logged = np.array([[row["step"], *(row.get(name, np.nan) for name in METRICS)] for row in rows], dtype=np.float64)
    if not len(logged):
        return []
    batch = train.facts.get("config", {}).get("batch_size")
    guessing = {"loss": math.log(batch) if batch else None}  # of a model that finds all texts equally likely
    steps = logged[:, 0]
    curves = [
        _curve(name, steps, values, label, guessing.get(name))
        for (name, label), values in zip(METRICS.items(), logged.T[1:], strict=True)
        if np.isfinite(values).any()
    ]
    evaluated: dict[str, list[tuple[float, float, float]]] = {}
    for row in (row for path in train.paths("evaluations") for row in _json_lines(path)):
        evaluated.setdefault(f"{row['name']} {row['metric']}", []).append((row["step"], row["value"], row["chance"]))
    for name, points in evaluated.items():
        steps, values, chances = np.array(points, dtype=np.float64).T
        curves.append(_curve(name, steps, values, "share that is right", chances[-1]))
    return curves


def _curve(name: str, steps: Numbers, values: Numbers, label: str, guessing: float | None) -> dict[str, Any]:
    svg = curve(name.replace(" ", "_"), steps, values, label, guessing)
    return {
        "name": name.replace("_", " "),
        "last": values[-1],
        "step": int(steps[-1]),
        "guessing": guessing,
        "svg": svg,
    }


def evaluation(results: Manifest) -> dict[str, examples.Rows]:
    """All results, as the evaluations wrote them, by what was evaluated."""
    found: dict[str, examples.Rows] = {}
    for path in results.paths("results"):
        for row in _json(path):
            found.setdefault(row["name"], []).append(row)
    return found


def _json(path: str) -> Any:
    try:
        return json.loads(read_bytes(path))
    except ValueError as error:
        raise Failure(f"{path} is damaged ({error}): remove it and run the stage that wrote it again") from error


def _json_lines(path: str) -> Iterator[Any]:
    with open_input(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise Failure(f"{path} is damaged in line {number} ({error}): remove it and run train again") from error


# ── the page ──────────────────────────────────────────────────────────────────────────────────────


def render(recipe: Recipe, stages: Sequence[StageResult], made_from: str) -> str:
    """The whole page. What is shown of the web is escaped by the template."""
    seed, done = recipe.run.seed, {stage.name: stage.manifest for stage in stages if stage.manifest}
    queries, match, fetch, dedup, pack = (done.get(stage) for stage in ("queries", "match", "fetch", "dedup", "pack"))
    trained, results = done.get("train"), done.get("eval")
    evaluated = evaluation(results) if results else {}
    measured = [row for rows in evaluated.values() for row in rows]
    first = next(iter(by_set.models(measured)), by_set.OWN)  # the others stand beside it, set by set
    kept = examples.kept_samples(match, pack, seed) if match and pack else []
    survey = surveys.survey(match, seed) if match else None
    asked = survey["queries"] if survey else {}
    sides, formats = surveys.image_sizes(fetch, seed) if fetch else (np.empty(0), ({}, {}))
    chunks = examples.some_chunks(fetch, seed) if fetch else None
    known = {id_ for pair in kept for id_ in pair["kept_for"]} | set(asked)
    return (
        environment()
        .get_template("report.html")
        .render(
            name=Path(recipe.path).stem,
            made_from=made_from,
            last_run=max(stage.run.get("started", "") for stage in stages),
            stages=stages,
            about={name: stage.about for name, stage in STAGES.items()},
            done=done,
            outdated=outdated(stages),
            funnel=funnel(done),
            labels_at=LABELS,
            kept=kept,
            query_texts=surveys.query_texts(queries, known),
            query_sources=surveys.query_sources(queries, seed) if queries else ({}, {}),
            asked=asked,
            of_queries=examples.of_queries(match, pack, list(asked), seed) if match and pack else {},
            behind=rows_behind(done, seed),
            leads=leads_to(done),
            duplicates=examples.duplicates(dedup, chunks, pack, seed) if dedup and chunks else [],
            survey=survey,
            formats=formats,
            plots=plots(survey, sides, done),
            curves=training(trained) if trained else [],
            results={name: rows for name, rows in evaluated.items() if by_set.model_of(rows[0]) == first},
            results_of=by_set.title(first),
            results_open=RESULTS,
            compared=compared.figures(results, measured) if results else [],
            models=models.section(recipe, results, measured) if results else None,
            shift=under_shift.section(results, measured, seed),
            people=beside_people.section(results, measured) if results else [],
            classes=evals.by_class(results) if results else [],
            named=evals.named(recipe, results, seed) if results else [],
            retrieved=evals.retrieved(results, pack, seed) if results and pack else [],
            leaks=leaked.section(recipe, dedup, chunks, pack, results, seed) if dedup and chunks else None,
            inputs_listed=INPUTS,
        )
    )


def environment() -> jinja2.Environment:
    """The templates, and the filters that they use."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(phrases, name) for name in FILTERS}
    return environment


if __name__ == "__main__":
    command.exit_now(main)
