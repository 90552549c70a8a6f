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
from core.inputs import Source, digest_file, reading
from core.manifest import Counts, Manifest, Part, Receipt, read_manifest
from shards.reader import Shards
from trainer import stage
from trainer.checkpoint import load_model
from trainer.config import Config as TrainConfig
from trainer.data import split
from trainer.evals import answers, by_file, eval_sets, models, people, retrieval, side_by_side, zeroshot
from trainer.evals.config import Config, check
from trainer.evals.encoder import Encoder
from trainer.evals.kept import Kept
from trainer.evals.models import Model
from trainer.evals.tables import OWN
from trainer.stopping import ended_by_sigterm
from trainer.tokenizer import Tokenizer

RULES_VERSION = 5


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    return command.run_recipe("eval", __doc__, evaluate, argv)


@ended_by_sigterm()
def evaluate(recipe: recipes.Recipe) -> None:
    """Evaluate the recipe's model, unless that is done already."""
    started = time.time()
    config = recipe.config("eval", Config)
    folder = recipe.folder("eval")
    trained = _trained(recipe, config)
    on_pack = trained and "pack" in trained.facts["inputs"]  # else on tars of others, of which nothing was held out
    pack = runs.require_finished(recipe, "pack", "eval") if on_pack else None
    sources = _sources(recipe, config, trained)
    known_files = runs.known_raw_files(folder)
    found = eval_sets.find(recipe, config, known_files)
    for sentence in found.missing:
        print(f"eval: {sentence}", flush=True)
    others, files = models.find(recipe, config), by_file.find(recipe, config, found.sets)
    answered = answers.find(recipe, config, found.sets)
    of_people = people.find(recipe, config, known_files)
    raw_files = {**found.memory.known, **(of_people.memory.known if of_people else {})}
    inputs: dict[str, Any] = {name: one.digest for name, one in (("train", trained), ("pack", pack)) if one}
    inputs |= {kind: known for kind, (_, known) in sources.items()}
    inputs |= {"sets": {one.name: digest(dict(one.digests)) for one in found.sets}} if config.sets else {}
    for key, some in (("models", others), ("features", files)):
        inputs |= {key: {one.name: one.digest for one in some}} if some else {}
    inputs |= {"answers": answers.digests(answered)} if answered else {}
    inputs |= {"people": of_people.digest} if of_people else {}
    facts: dict[str, Any] = {
        "stage": "eval",
        "rules_version": RULES_VERSION,
        "seed": recipe.run.seed,
        "config": recipes.in_manifest(config),
        "inputs": inputs,
        "determined_by": {"torch": torch.__version__},
    }
    if runs.nothing_to_do(recipe, folder, facts):
        return
    with exclusive(folder, "eval") as require_lock:
        runs.begin(folder, facts, raw_files)
        shards = Shards(pack.folder, pack) if pack else None
        kept = Kept(folder, require_lock)
        with ExitStack() as read:
            for path, known in sources.values():
                read.enter_context(reading(Source(path, known)))
            own = [_own(trained, sources["merges"])] if trained else []
            rows = side_by_side.evaluate(
                kept, config, found, [*own, *others], files, recipe.run.seed, answered, of_people
            )
            parts, counts, results = (
                _evaluate(own[0], folder, config, sources, trained, shards) if trained else ([], {}, [])
            )
        results = [*results, *rows]
        with publishing(join(folder, "results.json")) as file:
            file.write(to_json(results))
        parts = [*parts, stage.part("results", "results.json", len(results), file)]
        runs.require_unchanged(recipe, "eval", [one for one in (trained, pack) if one])
        receipts = [*kept.receipts, Receipt("eval", "all", digest(facts), tuple(parts), counts)]
        work = {"sets": {"here": kept.made, "of": len(kept.receipts)}} if kept.receipts else {}
        run = stage.how_it_ran(started, work, raw_files=raw_files)
        runs.publish_manifest(folder, facts, receipts, run, require_lock)
    for row in results:
        print(_said(row))
    print(f"eval: {len(results)} results → {shown(folder)} in {time.time() - started:.1f} s")


_MODEL = ("model", "model_config")  # the parts of a training that are its model


def _trained(recipe: recipes.Recipe, config: Config) -> Manifest | None:
    """The recipe's training; None where it is not finished and there are other models to evaluate. Else UsageError."""
    if (config.models or config.features) and read_manifest(recipe.folder("train")) is None:
        left = ", and eval.pictures with it (a tar of eval.sets is for all models)" if config.pictures else ""
        print(f"eval: train is not finished: the recipe's own model is left out{left}", flush=True)
        return None
    return runs.require_finished(recipe, "train", "eval")


def _own(trained: Manifest, merges: tuple[str, str]) -> Model:
    """The recipe's own model, which is loaded once."""
    encoder = Encoder(load_model(trained), Tokenizer(merges[0]), stage.device())
    known = digest([part.sha256 for part in trained.parts if part.table in _MODEL], merges[1])
    return Model(OWN, known, lambda: encoder)


def _said(row: dict[str, Any]) -> str:
    """A result in a line."""
    interval = "" if row["low"] is None else f"{row['low']:.1%} to {row['high']:.1%} "
    chance = "" if row["chance"] is None else f", chance {row['chance']:.1%}"
    return f"eval: {row['name']} {row['metric']} {row['value']:.1%} ({interval}of {row['n']:,}){chance}"


def _sources(recipe: recipes.Recipe, config: Config, trained: Manifest | None) -> dict[str, tuple[str, str]]:
    """The files that the trained model is evaluated with: kind → path, digest.

    UsageError where one is missing, or not the model's.
    """
    check(recipe.path, config)
    if trained is None:
        return {}
    merges = stage.merges_of(recipe, recipe.config("train", TrainConfig).merges, trained)
    sources = {"merges": (merges.path, trained.facts["inputs"]["merges"])}
    if config.pictures:
        for name, path in (("pictures", config.pictures), ("labels", config.labels)):
            found = stage.source(recipe, f"eval.{name}", path)
            sources[name] = found, digest_file(found)
    return sources


def _evaluate(
    own: Model,
    folder: str,
    config: Config,
    sources: dict[str, tuple[str, str]],
    trained: Manifest,
    shards: Shards | None,
) -> tuple[list[Part], Counts, list[dict[str, Any]]]:
    """What is for the recipe's own model alone, as far as there is something to work on; else it is said."""
    encoder, threads = own.load(), runs.cores()
    parts: list[Part] = []
    counts: Counts = {}
    results: list[dict[str, Any]] = []
    if "pictures" in sources:
        pictures, labels = sources["pictures"][0], sources["labels"][0]
        predicted = zeroshot.evaluate(encoder, pictures, labels, config.templates, threads)
        parts.append(_write(folder, "zeroshot_example", predicted.examples))
        counts["pictures"] = stage.counted(predicted.examples.num_rows, unlabelled=predicted.unlabelled)
        about = {"model": OWN, "set": "pictures", "method": "zero-shot", "prompts": ""}
        results += [{**about, **row} for row in predicted.results]
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
