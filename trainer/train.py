"""train: CLIP on the shards of a pack, with the paper's contrastive loss, optimiser and schedule.

python -m trainer.train --recipe recipes/real.toml [--set train.steps=1000]
torchrun --nproc-per-node=8 -m trainer.train --recipe recipes/real.toml

Runs on CUDA devices, one a process, else on the CPU. Killed at any moment, the same command goes on from the last
checkpoint; asked to end (SIGTERM, Ctrl-C) it writes one first. On a CPU the weights are the same to the last bit
whether it was killed or not; that holds for one torch, one kind of processor, one number of its threads
(OMP_NUM_THREADS sets it), of ranks, and of pairs in a micro-batch: these decide in what order a sum is added up.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from typing import Any

try:
    import torch
except ModuleNotFoundError:
    if __name__ != "__main__":
        raise
    sys.exit("train: torch is not installed: pip install '.[train]', then run again")

from core import command, runs
from core import recipe as recipes
from core.errors import Failure
from core.exclusive import exclusive
from core.files import join, publishing, shown
from core.manifest import Part, read_manifest
from trainer import checkpoint, hardware, stage, steps
from trainer.checkpoint import METRICS, State
from trainer.config import Config, check, completed, sizes_of
from trainer.evals.midway import Midway
from trainer.flops import memory_needed
from trainer.inputs import Inputs, counts, described
from trainer.model import CLIP, ModelConfig, compile_towers, recompute_activations
from trainer.optim import Storage, adamw
from trainer.precision import LossScale
from trainer.ranks import SINGLE_PROCESS, Ranks, local_ranks, process_group
from trainer.stopping import ended_by_sigterm
from trainer.streams import Streams
from trainer.telemetry import Telemetry, require_tensorboard

RULES_VERSION = 3
SHORTEST = 3  # tokens of a text of one word, its marks included: no batch needs less memory than of these


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    return command.run_recipe("train", __doc__, _from_recipe, argv)


def _from_recipe(recipe: recipes.Recipe) -> None:
    config = recipe.config("train", Config)
    sizes = sizes_of(recipe, config)
    with ended_by_sigterm(), process_group(config.patience) as ranks:
        train(recipe, config, sizes, ranks)


def train(recipe: recipes.Recipe, config: Config, sizes: ModelConfig, ranks: Ranks = SINGLE_PROCESS) -> None:
    """Train a model of the given sizes on the recipe's data, unless that is done already."""
    began, clock, is_first = time.time(), time.monotonic(), ranks.rank == 0
    config = completed(config, sizes, hardware.device())
    check(recipe.path, config, sizes, ranks.world)
    folder = recipe.folder("train")
    log_folder = f"{folder}_log"  # throughput differs from run to run, so the log is no part of the folder
    if config.tensorboard:
        require_tensorboard(log_folder)
    inputs = Inputs(recipe, config)
    facts = _facts(recipe, config, sizes, inputs.digests(), ranks)
    is_done = is_first and _nothing_to_do(recipe, folder, facts)
    if ranks.any_rank(is_done):
        return
    room = checkpoint.room(folder, sizes, config.keep_checkpoints, _storage(config))
    with exclusive(folder, "train", room) if is_first else nullcontext(_no_lock) as require_lock:
        tokenizer = inputs.tokenizer()
        _check_memory(recipe, config, sizes, ranks)
        sizes = replace(sizes, vocab=tokenizer.vocab)
        examples = inputs.examples(tokenizer, sizes)
        state = _start(folder, sizes, config, recipe.run.seed, inputs, facts, ranks)
        before = state.step
        midway = Midway(recipe, tokenizer, examples) if is_first and config.evaluate_every else None
        if is_first:
            if isinstance(examples, Streams):
                print(f"train: {examples.limitations()}", flush=True)
            runs.begin(folder, facts)
        threads = config.threads or max(1, runs.cores() // local_ranks())
        batches = examples.batches(before, config.steps, config.batch_size, threads, ranks.rank, ranks.world)
        log = Telemetry(log_folder, before, config.tensorboard) if is_first else None
        try:
            with log or nullcontext():
                save = partial(_save_checkpoint, folder, state, facts, config, ranks, log, require_lock)
                steps.run(state, batches, config, ranks, log, save, partial(_evaluate, state, midway))
        finally:
            if is_first:
                require_lock()
                metrics = _write_metrics(folder, state)  # also of a training that stopped: they show why
        if not is_first:
            return
        parts = [*checkpoint.write_model(folder, state.model, _model_facts(facts)), *metrics]
        seconds, here = time.monotonic() - clock, state.step - before
        work = {"steps": {"here": here, "of": state.step, "seconds": round(seconds, 3)}}
        ran = stage.how_it_ran(began, work, samples_per_second=round(here * config.batch_size / seconds, 1))
        inputs.require_unchanged()
        stage.finish(folder, facts, parts, counts(examples, state, config.batch_size), ran, require_lock)
    if state.skipped:
        print(f"train: {state.skipped} were replaced by other samples; the first: {state.skipped.example}")
    print(
        f"train: {state.step:,} steps of {config.batch_size:,} on {described(examples)}, "
        f"loss {state.last['loss']:.3f} → {shown(folder)} in {time.monotonic() - clock:.1f} s"
    )


def _nothing_to_do(recipe: recipes.Recipe, folder: str, facts: dict[str, Any]) -> bool:
    """Whether the model is there, made from the same; says what another number of steps would do to its schedule."""
    before, now = read_manifest(folder), facts["config"]["steps"]
    was = before.facts["config"].get("steps") if before else now
    if was != now and not recipe.check:
        print(
            f"train: {now:,} steps are another schedule than {was:,}, from the first step on: the learning rate is a "
            "cosine that ends with the last; to go on from the model that is there, which is replaced when this "
            "training ends, give a copy of it as train.init"
        )
    return runs.nothing_to_do(recipe, folder, facts, "starts anew")


def _facts(
    recipe: recipes.Recipe, config: Config, sizes: ModelConfig, inputs: dict[str, str], ranks: Ranks
) -> dict[str, Any]:
    determined_by: dict[str, Any] = {"torch": torch.__version__, "model": json.loads(json.dumps(asdict(sizes)))}
    if isinstance(sizes.vision_layers, tuple) and config.batch_norm == "micro":
        share = config.batch_size // ranks.world
        slices = -(-share // (config.micro_batch or share))  # of a rank, see `even_slices`
        determined_by["batch_norm_of"] = share / slices  # pictures, on average
    return {
        "stage": "train",
        "rules_version": RULES_VERSION,
        "seed": recipe.run.seed,
        "config": recipes.in_manifest(config),
        "inputs": inputs,
        "determined_by": determined_by,
    }


def _storage(config: Config) -> Storage:
    return Storage(moments=getattr(torch, config.moments), text_weights=getattr(torch, config.text_weights))


def _check_memory(recipe: recipes.Recipe, config: Config, sizes: ModelConfig, ranks: Ranks) -> None:
    """Failure, with the micro-batch that fits, where a step needs more memory than there is."""
    share = config.batch_size // ranks.world
    pixels = 2 * share * 3 * sizes.image_size**2  # bytes: of the batch, and of the next, which is read meanwhile
    main, free = hardware.free_main_memory(), hardware.free_memory()
    if main is not None and pixels > main // local_ranks():
        raise Failure(
            f"{recipe.path}: {share:,} pictures a rank, and as many that are read ahead, are {pixels / 1e9:.1f} GB of "
            f"memory, and {main / local_ranks() / 1e9:.1f} GB are free: lower train.batch_size, or start ranks on more "
            "machines"
        )
    if free is None:
        return
    if hardware.device().type == "cpu":
        free = free // local_ranks() - pixels
    half = config.precision != "float32"

    def needed(pairs: int, tokens: int) -> float:
        return memory_needed(sizes, pairs, tokens, half=half, recompute=config.recompute, storage=_storage(config))

    pairs = min(config.micro_batch or share, share)
    if needed(pairs, SHORTEST) <= free:
        return
    none, one = (needed(pairs, sizes.context) for pairs in (0, 1))  # what is proposed has room for the longest texts
    fits = int((free - none) / (one - none))
    remedy = f"set train.micro_batch = {fits}" if fits > 0 else "take a smaller model, or a device with more of it"
    raise Failure(
        f"{recipe.path}: {pairs:,} pairs at once need {needed(pairs, SHORTEST) / 1e9:.1f} GB of memory at the least, "
        f"and {free / 1e9:.1f} GB are free: {remedy}"
    )


def _start(
    folder: str, sizes: ModelConfig, config: Config, seed: int, inputs: Inputs, facts: dict[str, Any], ranks: Ranks
) -> State:
    """A new model and its optimiser, or where the last checkpoint left them."""
    _be_deterministic(seed)
    model = CLIP(sizes)
    path = checkpoint.latest(folder)
    if path is None:
        for said in inputs.start(model):
            if ranks.rank == 0:
                print(f"train: {said}", flush=True)
    model.to(hardware.device())
    if config.recompute:
        recompute_activations(model)
    if config.compile:
        compile_towers(model)
    # `completed` has seen to it
    assert config.learning_rate and config.beta2 is not None and config.epsilon and config.precision
    optimiser = adamw(
        model,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        betas=(config.beta1, config.beta2),
        epsilon=config.epsilon,
        storage=_storage(config),
        seed=seed,
    )
    state = State(model, optimiser, LossScale.of(config.precision))
    if path is not None:
        machine = checkpoint.restore(path, state, facts)
        here = _machine(config, ranks)
        other = "" if machine == here else f" (made on {machine}, not {here}: the last bits may differ)"
        if ranks.rank == 0:
            print(f"train: going on after step {state.step:,}{other}", flush=True)
    if len(set(ranks.all_gather_object(state.step))) > 1:
        raise Failure(f"the ranks do not see the same checkpoints in {folder}: put run.out on a disk that all share")
    return state


def _be_deterministic(seed: int) -> None:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS is not deterministic
    torch.use_deterministic_algorithms(True)
    # Every tensor of ours is written before it is read; filling it first would double the cost.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.manual_seed(seed)


def _save_checkpoint(
    folder: str,
    state: State,
    facts: dict[str, Any],
    config: Config,
    ranks: Ranks,
    log: Telemetry | None,
    require_lock: Callable[[], None],
) -> None:
    """Write a checkpoint, once for all ranks. Failure where the folder is another run's by now."""
    if log is not None:  # the first rank's
        require_lock()
        log.flush()
        checkpoint.save(folder, state, facts, _machine(config, ranks), config.keep_checkpoints)


def _evaluate(state: State, midway: Midway | None) -> None:
    """Evaluate the model after this step on the first rank, print and record the results."""
    if midway is not None:  # the first rank's
        try:
            rows = [{"step": state.step, **row} for row in midway.results(state.model)]
        finally:
            state.model.train()
        state.results += rows
        for row in rows:
            print(f"train: after step {state.step:,} {row['name']} {row['metric']} {row['value']:.1%}", flush=True)


def _machine(config: Config, ranks: Ranks) -> str:
    """What the last bits of the weights depend on, beside the facts."""
    more = [f"micro-batches of {config.micro_batch:,}"] if config.micro_batch else []
    more += [f"{ranks.world} ranks"] if ranks.world > 1 else []
    return ", ".join([hardware.machine(), *more])


def _no_lock() -> None:
    """For ranks other than the first, which holds the lock."""


def _model_facts(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts in model.json beside the sizes: how inputs are prepared, and which samples were held out."""
    chosen = {key: facts["config"][key] for key in ("batch_size", "steps", "holdout")}
    return {**chosen, "seed": facts["seed"], "inputs": facts["inputs"]}


def _write_metrics(folder: str, state: State) -> list[Part]:
    """metrics.jsonl, a line a step: its number from 1, and what checkpoint.METRICS names; null what is not finite.

    And evaluations.jsonl, where there were any: a line a result, with its step.
    """
    with publishing(join(folder, "metrics.jsonl")) as file:
        for step, row in enumerate(state.metrics, start=1):
            finite = (value if math.isfinite(value) else None for value in row)
            line = {"step": step, **dict(zip(METRICS, finite, strict=True))}
            file.write(f"{json.dumps(line)}\n".encode())
    parts = [stage.part("metrics", "metrics.jsonl", state.step, file)]
    if state.results:
        with publishing(join(folder, "evaluations.jsonl")) as file:
            file.writelines(f"{json.dumps(row)}\n".encode() for row in state.results)
        parts.append(stage.part("evaluations", "evaluations.jsonl", len(state.results), file))
    return parts


if __name__ == "__main__":
    command.exit_now(main)
