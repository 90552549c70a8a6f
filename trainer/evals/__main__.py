"""eval: the trained model, zero-shot on pictures with labels and in retrieval on what it was never trained on.

python -m trainer.evals --recipe recipes/real.toml [--set 'eval.sets=["food101", "my/folder"]']
    [--set eval.pictures=… --set eval.labels=…] [--set 'eval.models={"ViT-B/32" = "ViT-B-32.pt"}']

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
from core.inputs import reading
from core.manifest import Counts, Part, Receipt
from shards.reader import Shards
from trainer import hardware, stage
from trainer.checkpoint import load_model
from trainer.data import split
from trainer.evals import inputs, retrieval, side_by_side, zeroshot
from trainer.evals.config import Config
from trainer.evals.encoder import Encoder, Model
from trainer.evals.inputs import Inputs
from trainer.evals.kept import Kept
from trainer.evals.tables import OWN, Rows
from trainer.stopping import ended_by_sigterm
from trainer.tokenizer import Tokenizer

RULES_VERSION = 6


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    return command.run_recipe("eval", __doc__, evaluate, argv)


@ended_by_sigterm()
def evaluate(recipe: recipes.Recipe) -> None:
    """Evaluate the recipe's model and the others that it names, unless that is done already."""
    started = time.time()
    config = recipe.config("eval", Config)
    folder = recipe.folder("eval")
    given = inputs.find(recipe, config, runs.known_raw_files(folder))
    facts: dict[str, Any] = {
        "stage": "eval",
        "rules_version": RULES_VERSION,
        "seed": recipe.run.seed,
        "config": recipes.in_manifest(config),
        "inputs": given.digests(config),
        "determined_by": {"torch": torch.__version__},
    }
    if runs.nothing_to_do(recipe, folder, facts):
        return
    with exclusive(folder, "eval") as require_lock:
        runs.begin(folder, facts, given.raw_files)
        kept = Kept(folder, require_lock)
        with ExitStack() as read:
            for source in given.files.values():
                read.enter_context(reading(source))
            own = _own(given)
            rows = side_by_side.evaluate(kept, config, recipe.run.seed, given, own)
            parts, counts, results = _evaluate(own, folder, config, given) if own else ([], {}, [])
        results = [*results, *rows]
        with publishing(join(folder, "results.json")) as file:
            file.write(to_json(results))
        parts = [*parts, stage.part("results", "results.json", len(results), file)]
        runs.require_unchanged(recipe, "eval", list(given.upstream.values()))
        receipts = [*kept.receipts, Receipt("eval", "all", digest(facts), tuple(parts), counts)]
        work = {"sets": {"here": kept.made, "of": len(kept.receipts)}} if kept.receipts else {}
        run = stage.how_it_ran(started, work, raw_files=given.raw_files)
        runs.publish_manifest(folder, facts, receipts, run, require_lock)
    for row in results:
        print(_said(row))
    print(f"eval: {len(results)} results → {shown(folder)} in {time.time() - started:.1f} s")


_MODEL = ("model", "model_config")  # the parts of a training that are its model


def _own(given: Inputs) -> Model | None:
    """The recipe's own model, loaded once; None where there is none."""
    if given.trained is None:
        return None
    merges = given.files["merges"]
    encoder = Encoder(load_model(given.trained), Tokenizer(merges.path), hardware.device())
    known = digest([part.sha256 for part in given.trained.parts if part.table in _MODEL], merges.digest)
    return Model(OWN, known, lambda: encoder)


def _said(row: dict[str, Any]) -> str:
    """A result in a line."""
    interval = "" if row["low"] is None else f"{row['low']:.1%} to {row['high']:.1%} "
    chance = "" if row["chance"] is None else f", chance {row['chance']:.1%}"
    return f"eval: {row['name']} {row['metric']} {row['value']:.1%} ({interval}of {row['n']:,}){chance}"


def _evaluate(own: Model, folder: str, config: Config, given: Inputs) -> tuple[list[Part], Counts, Rows]:
    """What is for the recipe's own model alone, as far as there is something to work on; else it is said."""
    encoder, threads = own.load(), runs.cores()
    parts: list[Part] = []
    counts: Counts = {}
    results: Rows = []
    if "pictures" in given.files:
        pictures, labels = given.files["pictures"].path, given.files["labels"].path
        predicted = zeroshot.evaluate(encoder, pictures, labels, config.templates, threads)
        parts.append(_write(folder, "zeroshot_example", predicted.examples))
        counts["pictures"] = stage.counted(predicted.examples.num_rows, unlabelled=predicted.unlabelled)
        about = {"model": OWN, "set": "pictures", "method": "zero-shot", "prompts": ""}
        results += [{**about, **row} for row in predicted.results]
    elif not config.sets:
        print("eval: no zero-shot classification: the recipe gives no eval.pictures and eval.labels")
    if given.trained is None or given.pack is None:
        print("eval: no retrieval: the model was trained on tars of others, of which nothing was held out")
        return parts, counts, results
    shards = Shards(given.pack.folder, given.pack)
    seed, holdout = given.trained.facts["seed"], given.trained.facts["config"]["holdout"]
    _, held_out = split(shards.image_ids, seed, holdout)
    if len(held_out):
        examples, rows = retrieval.evaluate(encoder, shards, held_out, seed, threads)
        parts.append(_write(folder, "retrieval_example", examples))
        images = rows[0]["n"]
        counts["held_out_samples"] = stage.counted(images, over_the_pool=len(held_out) - images)
        results += [{"model": OWN, "set": "held_out", "method": row["name"], "prompts": "", **row} for row in rows]
    else:
        print(f"eval: no retrieval: train.holdout = {holdout} held no sample out")
    return parts, counts, results


def _write(folder: str, table: str, rows: pa.Table) -> Part:
    with publishing(join(folder, f"{table}.parquet")) as file:
        pq.write_table(rows, file, compression="zstd", write_page_checksum=True)
    return stage.part(table, f"{table}.parquet", rows.num_rows, file)


if __name__ == "__main__":
    command.exit_now(main)
