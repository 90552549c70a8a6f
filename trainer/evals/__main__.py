"""eval: the trained model, zero-shot on pictures with labels and in retrieval on what it was never trained on.

python -m trainer.evals --recipe recipes/real.toml [--set 'eval.sets=["food101", "my/folder"]']
    [--set eval.pictures=… --set eval.labels=…]

Results are shares with their 95 per cent intervals beside what guessing would get; every example's outcome stands in a
table of its own. A set that is not there is said, with what to download; one with something wrong stops the command
after the others are done. Killed at any moment, the same command goes on with the next set.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

try:
    import torch
except ModuleNotFoundError:
    if __name__ != "__main__":
        raise
    sys.exit("eval: torch is not installed: pip install '.[train]', then run again")

import pyarrow as pa
import pyarrow.parquet as pq

from core import command, runs
from core import recipe as recipes
from core.exclusive import exclusive
from core.files import digest, join, publishing, shown, to_json
from core.inputs import Source, digest_file, reading
from core.manifest import Counts, Manifest, Part, Receipt
from shards.reader import Shards
from trainer import stage
from trainer.checkpoint import load_model
from trainer.config import Config as TrainConfig
from trainer.data import split
from trainer.evals import retrieval, wanted, zeroshot
from trainer.evals.config import Config, check
from trainer.evals.features import Encoder
from trainer.evals.kept import Kept
from trainer.evals.suite import Suite
from trainer.evals.vectors import Vectors
from trainer.tokenizer import Tokenizer

RULES_VERSION = 3


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    return command.run_recipe("eval", __doc__, evaluate, argv)


def evaluate(recipe: recipes.Recipe) -> None:
    """Evaluate the recipe's model, unless that is done already."""
    started = time.time()
    config = recipe.config("eval", Config)
    folder = recipe.folder("eval")
    trained = runs.require_finished(recipe, "train", "eval")
    on_pack = "pack" in trained.facts["inputs"]  # else on tars of others, of which nothing was held out
    pack = runs.require_finished(recipe, "pack", "eval") if on_pack else None
    sources = _sources(recipe, config, trained)
    saved = runs.read_run(folder), runs.begun(folder)
    found = wanted.find(recipe, config, {key: one for some in saved for key, one in some.get("raw_files", {}).items()})
    for sentence in found.missing:
        print(f"eval: {sentence}", flush=True)
    facts: dict[str, Any] = {
        "stage": "eval",
        "rules_version": RULES_VERSION,
        "seed": recipe.run.seed,
        "config": recipes.in_manifest(config),
        "inputs": {"train": trained.digest}
        | ({"pack": pack.digest} if pack else {})
        | {kind: known for kind, (_, known) in sources.items()}
        | ({"sets": {one.name: digest(dict(one.digests)) for one in found.sets}} if config.sets else {}),
        "determined_by": {"torch": torch.__version__},
    }
    if runs.nothing_to_do(recipe, folder, facts):
        return
    with exclusive(folder, "eval") as require_lock:
        runs.begin(folder, facts, found.memory.known)
        shards = Shards(pack.folder, pack) if pack else None
        kept = Kept(folder, require_lock)
        with ExitStack() as read:
            for path, known in sources.values():
                read.enter_context(reading(Source(path, known)))
            encoder = Encoder(load_model(trained), Tokenizer(sources["merges"][0]), stage.device())
            model = digest([part.sha256 for part in trained.parts if part.table in _MODEL], sources["merges"][1])
            vectors = Vectors(kept, model, lambda: encoder, found.memory, runs.cores())
            rows = Suite(kept, vectors, config, recipe.run.seed).evaluate(found.sets)
            parts, counts, results = _evaluate(encoder, folder, config, sources, trained, shards)
        results += rows
        with publishing(join(folder, "results.json")) as file:
            file.write(to_json(results))
        parts.append(stage.part("results", "results.json", len(results), file))
        runs.require_unchanged(recipe, "eval", [trained, pack] if pack else [trained])
        receipts = [*kept.receipts, Receipt("eval", "all", digest(facts), tuple(parts), counts)]
        work = {"sets": {"here": kept.made, "of": len(kept.receipts)}} if kept.receipts else {}
        run = stage.how_it_ran(started, work, raw_files=found.memory.known)
        runs.publish_manifest(folder, facts, receipts, run, require_lock)
    for row in results:
        print(_said(row))
    print(f"eval: {len(results)} results → {shown(folder)} in {time.time() - started:.1f} s")


_MODEL = ("model", "model_config")  # the parts of a training that are its model


def _said(row: dict[str, Any]) -> str:
    """A result in a line."""
    interval = "" if row["low"] is None else f"{row['low']:.1%} to {row['high']:.1%} "
    chance = "" if row["chance"] is None else f", chance {row['chance']:.1%}"
    return f"eval: {row['name']} {row['metric']} {row['value']:.1%} ({interval}of {row['n']:,}){chance}"


def _sources(recipe: recipes.Recipe, config: Config, trained: Manifest) -> dict[str, tuple[str, str]]:
    """The files that are read: kind → path, digest. UsageError where one is missing, or not the model's."""
    check(recipe.path, config)
    merges = stage.merges_of(recipe, recipe.config("train", TrainConfig).merges, trained)
    sources = {"merges": (merges.path, trained.facts["inputs"]["merges"])}
    if config.pictures:
        for name, path in (("pictures", config.pictures), ("labels", config.labels)):
            found = stage.source(recipe, f"eval.{name}", path)
            sources[name] = found, digest_file(found)
    return sources


def _evaluate(
    encoder: Encoder,
    folder: str,
    config: Config,
    sources: dict[str, tuple[str, str]],
    trained: Manifest,
    shards: Shards | None,
) -> tuple[list[Part], Counts, list[dict[str, Any]]]:
    """Every evaluation that has something to work on; one that has not is said."""
    threads = runs.cores()
    parts: list[Part] = []
    counts: Counts = {}
    results: list[dict[str, Any]] = []
    if "pictures" in sources:
        pictures, labels = sources["pictures"][0], sources["labels"][0]
        predicted = zeroshot.evaluate(encoder, pictures, labels, config.templates, threads)
        parts.append(_write(folder, "zeroshot_example", predicted.examples))
        counts["pictures"] = stage.counted(predicted.examples.num_rows, unlabelled=predicted.unlabelled)
        results += [{"set": "pictures", "method": "zero-shot", "prompts": "", **row} for row in predicted.results]
    elif not config.sets:
        print("eval: no zero-shot classification: the recipe gives no eval.pictures and eval.labels")
    if shards is None:
        print("eval: no retrieval: the model was trained on tars of others, of which nothing was held out")
        return parts, counts, results
    seed, holdout = trained.facts["seed"], trained.facts["config"]["holdout"]
    _, held_out = split(shards.image_ids, seed, holdout)
    if len(held_out):
        examples, rows = retrieval.evaluate(encoder, shards, held_out, seed, threads)
        parts.append(_write(folder, "retrieval_example", examples))
        images = rows[0]["n"]
        counts["held_out_samples"] = stage.counted(images, over_the_pool=len(held_out) - images)
        results += [{"set": "held_out", "method": row["name"], "prompts": "", **row} for row in rows]
    else:
        print(f"eval: no retrieval: train.holdout = {holdout} held no sample out")
    return parts, counts, results


def _write(folder: str, table: str, rows: pa.Table) -> Part:
    with publishing(join(folder, f"{table}.parquet")) as file:
        pq.write_table(rows, file, compression="zstd", write_page_checksum=True)
    return stage.part(table, f"{table}.parquet", rows.num_rows, file)


if __name__ == "__main__":
    command.exit_now(main)
