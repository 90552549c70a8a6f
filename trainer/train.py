"""train: CLIP on the shards of a pack, with the paper's contrastive loss, optimiser and schedule.

python -m trainer.train --recipe recipes/real.toml [--set train.steps=1000]

Runs on the first CUDA device, else on the CPU. Killed at any moment, the same command goes on from the last checkpoint.
On a CPU the weights are the same to the last bit whether it was killed or not; that holds for one torch, one kind of
processor and one number of its threads (OMP_NUM_THREADS sets it), which decide in what order a sum is added up.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, replace
from typing import Annotated, Any

try:
    import torch
except ModuleNotFoundError:
    if __name__ != "__main__":
        raise
    sys.exit("train: torch is not installed: pip install '.[train]', then run again")

from msgspec import Meta, Struct

from core import command, runs
from core import recipe as recipes
from core.errors import Failure, UsageError
from core.exclusive import exclusive
from core.files import join, publishing, shown
from core.inputs import Source, digest_file, reading
from core.manifest import Part
from core.progress import Progress
from shards.reader import Shards
from trainer import checkpoint, stage
from trainer.checkpoint import State
from trainer.data import Batch, Examples
from trainer.images import normalise
from trainer.loss import clip_temperature_, contrastive_loss
from trainer.model import CLIP, MODELS, ModelConfig
from trainer.optim import learning_rate, parameter_groups
from trainer.tokenizer import Tokenizer, trim

RULES_VERSION = 1


class Config(Struct, frozen=True, kw_only=True):
    """The recipe's [train] table. The defaults are the paper's for a vision transformer (tables 18 and 19)."""

    model: str = "ViT-B/32"
    merges: Annotated[
        str, recipes.RUNTIME
    ]  # the tokenizer's: bpe_simple_vocab_16e6.txt.gz of openai/CLIP, or one's own
    batch_size: Annotated[int, Meta(ge=2)]  # pairs a step; the paper's is 32,768
    steps: Annotated[int, Meta(ge=1)]
    warmup: Annotated[int, Meta(ge=0)] = 2_000  # steps
    learning_rate: Annotated[float, Meta(gt=0)] = 5e-4  # at its peak
    weight_decay: Annotated[float, Meta(ge=0)] = 0.2
    beta1: Annotated[float, Meta(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Meta(ge=0, lt=1)] = 0.98
    epsilon: Annotated[float, Meta(gt=0)] = 1e-6
    holdout: Annotated[float, Meta(ge=0, lt=1)] = 0.05  # share of the samples never trained on: retrieval is for them
    checkpoint_every: Annotated[int, Meta(ge=1), recipes.RUNTIME] = 1_000  # steps: what a kill costs at the most
    threads: Annotated[int, Meta(ge=0), recipes.RUNTIME] = 0  # that decode; 0 = one a core


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    return command.run_recipe("train", __doc__, _from_recipe, argv)


def _from_recipe(recipe: recipes.Recipe) -> None:
    config = recipe.config("train", Config)
    if config.model not in MODELS:
        close = difflib.get_close_matches(config.model, MODELS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(MODELS)}"
        raise UsageError(f"{recipe.path}: train.model: there is no model {config.model!r}; {hint}")
    train(recipe, config, MODELS[config.model])


def train(recipe: recipes.Recipe, config: Config, sizes: ModelConfig) -> None:
    """Train a model of the given sizes on the recipe's pack, unless that is done already."""
    started = time.time()
    learning_rate(0, config.steps, config.warmup, config.learning_rate)  # a warm-up that is too long is said at once
    folder = recipe.folder("train")
    merges = stage.source(recipe, "train.merges", config.merges)
    pack = runs.require_finished(recipe, "pack", "train")
    facts: dict[str, Any] = {
        "stage": "train",
        "rules_version": RULES_VERSION,
        "seed": recipe.run.seed,
        "config": recipes.in_manifest(config),
        "inputs": {"pack": pack.digest, "merges": digest_file(merges)},
        "determined_by": {"torch": torch.__version__, "model": json.loads(json.dumps(asdict(sizes)))},
    }
    if runs.nothing_to_do(recipe, folder, facts, "starts anew"):
        return
    with exclusive(folder, "train", checkpoint.room(folder, sizes)) as held:
        with reading(Source(merges, facts["inputs"]["merges"])):
            tokenizer = Tokenizer(merges)
        sizes = replace(sizes, vocab=tokenizer.vocab)
        examples = Examples(
            Shards(pack.folder, pack), tokenizer, sizes.image_size, sizes.context, recipe.run.seed, config.holdout
        )
        trained, held_out = len(examples.trained), len(examples.held_out)
        if trained < config.batch_size:
            raise Failure(
                f"{recipe.path}: train.batch_size = {config.batch_size:,}, but {pack.folder} holds only {trained:,} "
                f"samples to train on ({held_out:,} are held out): make the batch smaller, or give the crawl more"
            )
        state = _start(folder, sizes, config, recipe.run.seed, facts)
        before = state.step
        runs.begin(folder, facts)
        try:
            _steps(state, examples, config, folder, facts)
        finally:
            metrics = _write_metrics(folder, state)  # of a training that stopped, too: they say why
        parts = [*checkpoint.write_model(folder, state.model, _to_load(facts)), metrics]
        counts = {"samples": stage.counted(trained, held_out=held_out)}
        seconds, here = time.time() - started, state.step - before
        work = {"steps": {"here": here, "of": state.step, "seconds": round(seconds, 3)}}
        speed = round(here * config.batch_size / seconds, 1)
        runs.require_unchanged(recipe, "train", [pack])
        stage.finish(folder, facts, parts, counts, stage.how_it_ran(started, work, samples_per_second=speed), held)
    loss = state.metrics[-1][0]
    print(
        f"train: {state.step:,} steps of {config.batch_size:,} on {trained:,} samples ({held_out:,} held out), "
        f"loss {loss:.3f} → {shown(folder)} in {time.time() - started:.1f} s"
    )


def _start(folder: str, sizes: ModelConfig, config: Config, seed: int, facts: dict[str, Any]) -> State:
    """A new model and its optimiser, or where the last checkpoint left them."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS is not deterministic
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    model = CLIP(sizes).to(stage.device())
    betas = (config.beta1, config.beta2)
    groups = parameter_groups(model, config.weight_decay)
    state = State(model, torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, eps=config.epsilon))
    path = checkpoint.latest(folder)
    if path is not None:
        machine = checkpoint.restore(path, state, facts)
        here = stage.machine()
        other = "" if machine == here else f" (made on {machine}, not {here}: the last bits may differ)"
        print(f"train: going on after step {state.step:,}{other}", flush=True)
    return state


def _steps(state: State, examples: Examples, config: Config, folder: str, facts: dict[str, Any]) -> None:
    """All steps that are left, with a checkpoint after every so many and after the last."""
    threads = config.threads or runs.cores()
    batches = examples.batches(state.step, config.steps, config.batch_size, threads)
    with closing(batches), Progress("train", "steps", config.steps, state.step, to="stdout") as progress:
        started, waited, before = time.monotonic(), 0.0, state.step
        asked = started
        for batch in batches:
            waited += time.monotonic() - asked
            _step(state, batch, config)
            if state.step % config.checkpoint_every == 0 or state.step == config.steps:
                checkpoint.save(folder, state, facts, stage.machine())
                _write_metrics(folder, state)
            seconds = time.monotonic() - started
            speed = (state.step - before) * config.batch_size / seconds
            loss = state.metrics[-1][0]
            progress.at(state.step, f"loss {loss:.3f}, {speed:,.0f} samples/s, {waited / seconds:.0%} waiting for data")
            asked = time.monotonic()


def _step(state: State, batch: Batch, config: Config) -> None:
    """One step of gradient descent. Failure, before anything is changed, where it would make the weights not finite."""
    rate = learning_rate(state.step, config.steps, config.warmup, config.learning_rate)
    device = stage.device()
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        images, texts, scale = state.model(normalise(batch.images.to(device)), trim(batch.ids).to(device))
    loss = contrastive_loss(images, texts, scale)
    state.optimiser.zero_grad()
    torch.autograd.backward(loss)
    norm = torch.nn.utils.get_total_norm(p.grad for p in state.model.parameters() if p.grad is not None)
    nats, length, used = torch.stack([loss, norm, scale]).tolist()
    if not math.isfinite(nats) or not math.isfinite(length):
        raise Failure(
            f"step {state.step + 1:,} would break the model (loss {nats}, length of the gradient {length}): lower "
            "train.learning_rate or lengthen train.warmup, remove the checkpoints and train anew"
        )
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    state.optimiser.step()
    clip_temperature_(state.model)
    state.metrics.append((nats, rate, used))


def _to_load(facts: dict[str, Any]) -> dict[str, Any]:
    """What model.json says beside the sizes: how to make its inputs, and which samples it never saw."""
    said = {key: facts["config"][key] for key in ("batch_size", "steps", "holdout")}
    return {**said, "seed": facts["seed"], "inputs": facts["inputs"]}


def _write_metrics(folder: str, state: State) -> Part:
    """metrics.jsonl, a line a step: its number from 1, and loss, learning rate and scale as the step was made with."""
    with publishing(join(folder, "metrics.jsonl")) as file:
        for step, (loss, rate, scale) in enumerate(state.metrics, start=1):
            line = {"step": step, "loss": loss, "learning_rate": rate, "scale": scale}
            file.write(f"{json.dumps(line)}\n".encode())
    return stage.part("metrics", "metrics.jsonl", state.step, file)


if __name__ == "__main__":
    command.exit_now(main)
