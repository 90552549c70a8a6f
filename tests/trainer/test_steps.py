"""Signals and failures in every phase of a training: the last completed step is left, and nothing of the next."""

from __future__ import annotations

import gzip
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.errors import Failure
from core.recipe import Recipe
from tests.trainer.gradients import with_dropout
from tests.trainer.helpers import SMALL, run_training, small_recipe
from tests.trainer.others import img2dataset_folder
from tests.trainer.test_train import digests
from trainer import checkpoint, steps, train
from trainer.config import Config
from trainer.evals.midway import Midway
from trainer.images import normalise
from trainer.model import CLIP
from trainer.ranks import SINGLE_PROCESS

RESIDUAL = replace(SMALL, image_size=32, patch=None, vision_width=8, vision_layers=(1, 1, 1, 1))
GLOBAL = {"batch_size": 7, "micro_batch": 4, "steps": 2, "warmup": 1, "batch_norm": "global", "keep_checkpoints": 9}


def recipe_of(folder: Path, **keys: Any) -> Recipe:
    """A recipe of few merges: small checkpoints."""
    recipe = small_recipe(folder, **keys)
    (folder / "merges.gz").write_bytes(gzip.compress(b"#version: 0.2\nr e\nre d</w>\na n\nan d</w>", mtime=0))
    return recipe


def sigterm() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def checkpoints(recipe: Recipe) -> list[str]:
    """Their names, each of which ends in the digest of its content."""
    return sorted(path.name for path in Path(recipe.folder("train")).glob("checkpoint-*.pt"))


# ── within a step ─────────────────────────────────────────────────────────────────────────────────


@contextmanager
def watched_passes(monkeypatch: pytest.MonkeyPatch, seen: Callable[[], None]) -> Iterator[None]:
    """`seen` is called before each micro-batch of images is computed, in whichever pass of whichever step."""

    def watching(pixels: Tensor) -> Tensor:
        seen()
        return normalise(pixels)

    with monkeypatch.context() as patch:
        patch.setattr("trainer.accumulate.normalise", watching)
        patch.setattr("trainer.train.CLIP", lambda sizes: with_dropout(CLIP(sizes)))
        yield


def train_residual(recipe: Recipe) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train.train(recipe, recipe.config("train", Config), RESIDUAL, SINGLE_PROCESS)
    finally:
        torch.set_num_threads(threads)


def test_a_signal_within_a_step_leaves_the_step_before_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout, micro-batches and statistics of the whole batch: weights, moments, running statistics, generator.

    A checkpoint's name holds its digest, so that equal names are equal bytes.
    """
    passes: list[int] = []
    undisturbed = recipe_of(tmp_path / "undisturbed", **GLOBAL, checkpoint_every=1)
    with monkeypatch.context() as patch, watched_passes(monkeypatch, lambda: passes.append(0)):
        patch.setattr("core.runs.write_manifest", ended)
        with pytest.raises(KeyboardInterrupt):  # so that its checkpoints stay
            train_residual(undisturbed)
    a_step = len(passes) // 2
    assert len(passes) == 2 * a_step and a_step > 60  # 2 micro-batches, forward and backward over 15 levels
    wanted = checkpoints(undisturbed)
    assert len(wanted) == 2
    for share in (0.3, 0.51, 0.8):  # features, level by level; the gradient; back through the levels
        at, calls, asked = a_step + int(share * a_step), 0, 0.0

        def seen() -> None:
            nonlocal calls, asked
            calls += 1
            if calls == at + 1:  # noqa: B023 (called within the round)
                asked = time.monotonic()
                sigterm()

        stopped = recipe_of(tmp_path / f"stopped{share}", **GLOBAL, checkpoint_every=1_000)
        with watched_passes(monkeypatch, seen), pytest.raises(Failure, match="stopped by SIGTERM after step 1, which"):
            train_residual(stopped)
        assert time.monotonic() - asked < 10
        assert calls == at + 1  # not one more micro-batch was begun
        assert checkpoints(stopped) == wanted[:1]
    with watched_passes(monkeypatch, lambda: None):
        train_residual(stopped)
        train_residual(undisturbed)
    assert digests(stopped) == digests(undisturbed)


def ended(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


# ── before, between and after steps ───────────────────────────────────────────────────────────────


def test_a_signal_while_the_first_batch_is_waited_for(tmp_path: Path) -> None:
    """The source is silent, and the threads that read it end with the training."""
    img2dataset_folder(tmp_path / "tars", shards=1)
    recipe = recipe_of(tmp_path, shards=[f"pipe:cat {tmp_path}/tars/00000.tar; exec sleep 600"])
    before = threading.active_count()
    timer = threading.Timer(1.5, sigterm)
    timer.start()
    began = time.monotonic()
    with pytest.raises(Failure, match="stopped by SIGTERM before the first step was done: the same command begins"):
        run_training(recipe)
    assert time.monotonic() - began < 10
    timer.join()
    assert threading.active_count() == before
    assert checkpoints(recipe) == []


def test_a_signal_while_a_checkpoint_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed, stopped = (recipe_of(tmp_path / name, steps=5) for name in ("undisturbed", "stopped"))
    run_training(undisturbed)
    save = checkpoint.save

    def interrupted(*these: Any) -> None:
        sigterm()
        save(*these)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", interrupted)
        with pytest.raises(Failure, match="stopped by SIGTERM after step 2, which the last checkpoint holds"):
            run_training(recipe_of(tmp_path / "stopped", steps=5, checkpoint_every=2))
    assert [name[:19] for name in checkpoints(stopped)] == ["checkpoint-00000002"]
    run_training(stopped)
    assert digests(stopped) == digests(undisturbed)


def test_a_signal_in_the_last_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All steps are done, and yet the training is not complete without it."""
    keys = {"steps": 4, "evaluate_every": 2}
    undisturbed, stopped = (recipe_of(tmp_path / name, **keys) for name in ("undisturbed", "stopped"))
    run_training(undisturbed)
    results = Midway.results

    def interrupted(self: Midway, model: CLIP) -> list[dict[str, Any]]:
        rows = results(self, model)
        if len(asked) == 1:
            sigterm()
        asked.append(len(rows))
        return rows

    asked: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(Midway, "results", interrupted)
        with pytest.raises(Failure, match="stopped by SIGTERM after step 4"):
            run_training(stopped)
    run_training(stopped)
    assert digests(stopped) == digests(undisturbed)


# ── failures ──────────────────────────────────────────────────────────────────────────────────────


def test_a_full_disk_at_a_checkpoint_costs_the_steps_since_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"steps": 6, "checkpoint_every": 2}
    undisturbed, full = (recipe_of(tmp_path / name, **keys) for name in ("undisturbed", "full"))
    run_training(undisturbed)
    save, limits = checkpoint.save, resource.getrlimit(resource.RLIMIT_FSIZE)

    def filled(folder: str, state: checkpoint.State, *more: Any) -> None:
        if state.step > 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        save(folder, state, *more)

    try:
        with monkeypatch.context() as patch, pytest.raises(Failure, match=r"no room to write .*: free some disk"):
            patch.setattr(checkpoint, "save", filled)
            run_training(full)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [name[:19] for name in checkpoints(full)] == ["checkpoint-00000002"]
    run_training(full)
    assert digests(full) == digests(undisturbed)


def test_a_run_that_has_lost_its_folder_writes_nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of(tmp_path, checkpoint_every=1)
    step = steps.step

    def unlocked(state: checkpoint.State, *more: Any) -> int:
        Path(recipe.folder("train"), "_lock").unlink(missing_ok=True)  # as whoever removes a folder by hand
        return step(state, *more)

    monkeypatch.setattr(steps, "step", unlocked)
    with pytest.raises(Failure, match="_lock was removed while this run held it"):
        run_training(recipe)
    assert {path.name for path in Path(recipe.folder("train")).iterdir()} == {"_begun.json"}


@pytest.mark.parametrize("where", ["trainer.steps.gradients", "torch.optim.AdamW.step"])
def test_a_device_without_memory_for_a_step_names_half_the_micro_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Activations do not fit, or the moments, which are made in the first step."""

    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(where, full)
    recipe = recipe_of(tmp_path, micro_batch=9)
    said = r"step 1: the device has no memory for 9 pairs at once: set train\.micro_batch = 4"
    with pytest.raises(Failure, match=said):
        run_training(recipe)
    assert checkpoints(recipe) == []
