"""Trainings that are asked to stop, go on elsewhere, on several ranks, or from other weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from core.errors import Failure, UsageError
from core.manifest import read_manifest
from core.recipe import Recipe
from tests.trainer.helpers import LEARN, SMALL, run_training, small_recipe
from tests.trainer.others import img2dataset_folder, sample, write_tar
from tests.trainer.test_train import CHILD, ROOT, digests, metrics
from trainer import checkpoint, steps, train
from trainer.config import Config, completed
from trainer.data import Batch
from trainer.model import CLIP
from trainer.precision import LossScale
from trainer.ranks import Ranks

pytestmark = pytest.mark.program


def child(folder: Path, keys: dict[str, Any], *launcher: str, before: str = "") -> subprocess.Popen[str]:
    """A training of SMALL in a process of its own, or in several of a launcher; `before`: code to run first."""
    script = folder / "child.py"
    script.write_text(before + CHILD)
    words = [sys.executable, *launcher, str(script), str(folder), json.dumps(keys)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def model_of(recipe: Recipe) -> dict[str, torch.Tensor]:
    manifest = read_manifest(recipe.folder("train"))
    assert manifest is not None
    return checkpoint.load_model(manifest).state_dict()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_costs_nothing_that_was_done(learnt: Recipe, tmp_path: Path, number: signal.Signals) -> None:
    keys = {**LEARN, "checkpoint_every": 1_000}
    recipe = small_recipe(tmp_path, **keys)
    with child(tmp_path, keys) as process:
        assert process.stdout is not None and process.stderr is not None
        assert any(" 8/60 steps" in line for line in process.stdout)
        process.send_signal(number)
        asked = time.monotonic()
        process.stdout.read()
        said = process.stderr.read()
    assert time.monotonic() - asked < 20  # seconds; ten on a machine that does nothing else
    assert process.returncode != 0
    assert ("KeyboardInterrupt" if number == signal.SIGINT else "stopped by SIGTERM after step") in said
    last = checkpoint.latest(recipe.folder("train"))
    assert last is not None and int(last.rsplit("-", 2)[1]) >= 8
    run_training(recipe)
    assert digests(recipe) == digests(learnt)


def test_a_checkpoint_comes_with_the_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    save = checkpoint.save

    def noted(folder: str, state: checkpoint.State, *more: Any) -> None:
        steps.append(state.step)
        save(folder, state, *more)

    monkeypatch.setattr(checkpoint, "save", noted)
    run_training(small_recipe(tmp_path, steps=3, checkpoint_every=1_000, checkpoint_minutes=1e-9))
    assert steps == [1, 2, 3]


def test_micro_batches_learn_the_same(learnt: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = small_recipe(tmp_path, **LEARN, micro_batch=5, checkpoint_every=5)
    stop_after(5, monkeypatch)
    with pytest.raises(Failure, match="the disk is gone"):
        run_training(recipe)
    assert [row["loss"] for row in metrics(recipe)] == pytest.approx(
        [row["loss"] for row in metrics(learnt)[:5]], rel=1e-4
    )


def test_two_ranks_train_on_the_same_batches(tmp_path: Path) -> None:
    keys = {"steps": 6, "warmup": 2, "checkpoint_every": 4}
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    for folder in (alone, shared):
        folder.mkdir()
        small_recipe(folder, **keys)
    run_training(small_recipe(alone, **keys))
    with child(shared, keys, "-m", "torch.distributed.run", "--nproc-per-node=2") as process:
        said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert said.count("train: 6 steps of 32 on 104 samples") == 1
    one, two = (metrics(small_recipe(folder, **keys)) for folder in (alone, shared))
    for name in checkpoint.METRICS:
        assert [row[name] for row in two] == pytest.approx([row[name] for row in one], rel=1e-3), name


@pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_a_training_goes_on_with_more_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: int) -> None:
    keys = {"steps": 6, "warmup": 2}
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    run_training(small_recipe(alone, **keys))
    stop_after(3, monkeypatch)
    with pytest.raises(Failure, match="the disk is gone"):
        run_training(small_recipe(shared, **keys))
    monkeypatch.undo()
    with child(shared, keys, "-m", "torch.distributed.run", f"--nproc-per-node={world}") as process:
        said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert said.count("train: going on after step 3 (made on CPU") == 1
    assert f", {world} ranks: the last bits may differ)" in said
    one, two = (metrics(small_recipe(folder, **keys)) for folder in (alone, shared))
    assert one[:3] == two[:3]
    assert [row["loss"] for row in two] == pytest.approx([row["loss"] for row in one], rel=1e-3)


def test_a_batch_that_the_ranks_cannot_share_is_refused(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path)
    with pytest.raises(UsageError, match=r"train\.batch_size = 32 cannot be shared by 3 ranks"):
        train.train(recipe, recipe.config("train", Config), SMALL, Ranks(0, 3))


def test_a_training_goes_on_from_weights_by_path(learnt: Recipe, tmp_path: Path) -> None:
    weights = str(Path(learnt.folder("train"), "model.pt"))
    recipe = small_recipe(tmp_path, steps=1, warmup=0, learning_rate=1e-12, init=weights)
    run_training(recipe)
    for name, tensor in model_of(learnt).items():
        torch.testing.assert_close(model_of(recipe)[name], tensor, rtol=0, atol=1e-9, msg=name)
    assert metrics(recipe)[0]["loss"] < 0.8
    manifest = read_manifest(recipe.folder("train"))
    assert manifest is not None and len(manifest.facts["inputs"]["init"]) == 64


def test_weights_for_other_images_get_other_positions(learnt: Recipe, tmp_path: Path) -> None:
    weights = str(Path(learnt.folder("train"), "model.pt"))
    recipe = small_recipe(tmp_path, steps=1, warmup=0, learning_rate=1e-12, init=weights)
    train.train(recipe, recipe.config("train", Config), replace(SMALL, image_size=32))
    assert len(model_of(recipe)["visual.positional_embedding"]) == 17
    assert metrics(recipe)[0]["loss"] < 2  # guessing among 32 is 3.5


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"vision_layers": 3}, "train.init = .* has vision_layers = 2, .* has 3: name the model that it is of"),
        ({"embed_dim": 16}, "has embed_dim = 32, .* has 16"),
    ],
)
def test_weights_of_another_model_are_refused(learnt: Recipe, tmp_path: Path, sizes: Any, said: str) -> None:
    recipe = small_recipe(tmp_path, init=str(Path(learnt.folder("train"), "model.pt")))
    with pytest.raises(UsageError, match=said):
        train.train(recipe, recipe.config("train", Config), replace(SMALL, **sizes))


def test_a_truncated_archive_is_said_before_a_step(learnt: Recipe, tmp_path: Path) -> None:
    cut = tmp_path / "cut.pt"
    cut.write_bytes(Path(learnt.folder("train"), "model.pt").read_bytes()[:-500])
    with pytest.raises(Failure, match=r"cut\.pt "):
        run_training(small_recipe(tmp_path, init=str(cut)))
    assert not metrics_there(small_recipe(tmp_path))


def metrics_there(recipe: Recipe) -> bool:
    return Path(recipe.folder("train"), "metrics.jsonl").exists()


def test_evaluations_on_the_way_change_nothing_and_are_not_made_twice(learnt: Recipe, tmp_path: Path) -> None:
    keys = {**LEARN, "evaluate_every": 20, "checkpoint_every": 7}
    recipe = small_recipe(tmp_path, **keys)
    with child(tmp_path, keys) as process:
        assert process.stdout is not None
        assert any("after step 40 " in line for line in process.stdout)
        process.kill()
        process.communicate()
    run_training(recipe)
    rows = [json.loads(line) for line in Path(recipe.folder("train"), "evaluations.jsonl").read_text().splitlines()]
    names = {(row["name"], row["metric"]) for row in rows}
    assert [row["step"] for row in rows] == [step for step in (20, 40, 60) for _ in names]
    first, last = (
        [row["value"] for row in rows if row["step"] == step and row["metric"] == "recall@1"] for step in (20, 60)
    )
    assert sum(first) < sum(last) and min(last) > 0.4
    assert digests(recipe)["model.pt"] == digests(learnt)["model.pt"]


def test_every_step_is_in_the_log_once(learnt: Recipe) -> None:
    lines = [json.loads(line) for line in Path(f"{learnt.folder('train')}_log", "speed.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 61))
    assert all(line["samples_per_second"] > 0 and 0 <= line["data_wait_fraction"] < 1 for line in lines)
    assert [line["loss"] for line in lines] == [row["loss"] for row in metrics(learnt)]


@pytest.mark.parametrize(
    "keys",
    [
        {"precision": "bfloat16", "micro_batch": 12, "recompute": True},
        {"precision": "float16"},
        {"moments": "bfloat16", "text_weights": "bfloat16"},
    ],
    ids=["bfloat16", "float16", "half weights"],
)
def test_half_precision_goes_on_to_the_bit(
    tmp_path: Path, keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed, stopped = small_recipe(tmp_path / "one", **keys), small_recipe(tmp_path / "two", **keys)
    run_training(undisturbed)
    steps_made = stop_after(6, monkeypatch)
    with pytest.raises(Failure, match="the disk is gone"):
        run_training(stopped)
    monkeypatch.undo()
    assert len(steps_made) == 6
    run_training(stopped)
    assert digests(stopped) == digests(undisturbed)
    assert metrics(stopped)[-1]["loss"] < metrics(stopped)[0]["loss"]


def stop_after(number: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Trainings fail after so many steps, none of which was to be kept by then; the steps that were made."""
    made: list[int] = []
    step = steps.step

    def failing(state: checkpoint.State, *more: Any) -> int:
        if state.step == number:
            raise Failure("the disk is gone")
        made.append(state.step)
        return step(state, *more)

    monkeypatch.setattr(steps, "step", failing)
    return made


def test_what_was_replaced_is_counted_over_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        folder = img2dataset_folder(tmp_path / name / "tars")
        broken = [("broken.jpg", b"no picture"), ("broken.txt", b"red and green")]
        write_tar(folder / "00003.tar", [*broken, *sample("sound", 5)])
    keys = {"shards": ["tars/*.tar"], "on_damage": "replace", "steps": 9}
    counts = []
    for name, stops in (("one", False), ("two", True)):
        recipe = small_recipe(tmp_path / name, **{**keys, "shards": [f"{tmp_path}/{name}/tars/*.tar"]})
        if stops:
            stop_after(6, monkeypatch)
            with pytest.raises(Failure, match="the disk is gone"):
                run_training(recipe)
            monkeypatch.undo()
        run_training(recipe)
        manifest = read_manifest(recipe.folder("train"))
        assert manifest is not None
        assert manifest.counts["samples"]["kept"] == 9 * 32
        counts.append(manifest.counts["samples"]["dropped"])
    assert all(dropped["not_an_image"] >= 2 for dropped in counts), counts  # once a pass of 68


def test_a_loss_that_is_not_finite_names_the_samples_of_a_stream(tmp_path: Path) -> None:
    img2dataset_folder(tmp_path / "tars")
    keys = {"shards": [f"{tmp_path}/tars/*.tar"], "steps": 9, "warmup": 0, "learning_rate": 1e30}
    named = r"begins with the samples \d{9} in \S+/tars/0000[012]\.tar, \d{9} in "
    with pytest.raises(Failure, match=rf"step 2 .*\(loss nan, .*{named}"):
        run_training(small_recipe(tmp_path, **keys))


def test_an_overflow_in_float16_skips_the_step_and_halves_the_scale(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, precision="float16")
    sizes = replace(SMALL, image_size=32, patch=None, vision_width=8, vision_layers=(1, 1, 1, 1))
    config = completed(recipe.config("train", Config), sizes, torch.device("cpu"))
    torch.manual_seed(0)
    model = CLIP(sizes)
    optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
    state = checkpoint.State(model, optimiser, LossScale(2.0**127, dynamic=True))
    batch = Batch(
        torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8), torch.tensor([[5, 9, 99]] * 4), np.arange(4)
    )
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    steps.step(state, batch, config, Ranks(0, 1))
    assert (state.loss_scale.value, state.loss_scale.skipped, state.step) == (2.0**126, 1, 1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    state.loss_scale = LossScale(2.0**8, dynamic=True)
    steps.step(state, batch, config, Ranks(0, 1))
    assert state.loss_scale.skipped == 0
    assert not torch.equal(model.state_dict()["visual.bn1.running_mean"], before["visual.bn1.running_mean"])


def test_torchrun_waits_for_the_checkpoint_of_a_stop(tmp_path: Path) -> None:
    """Whoever of the ranks is asked, and though torchrun asks again while the checkpoint is written."""
    keys = {**LEARN, "steps": 600, "checkpoint_every": 10_000}
    recipe = small_recipe(tmp_path, **keys)
    slow = "import time, trainer.checkpoint as c\nsave = c.save\nc.save = lambda *a: (time.sleep(4), save(*a))\n"
    with child(tmp_path, keys, "-m", "torch.distributed.run", "--nproc-per-node=2", before=slow) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if " 8/600 steps" in line:
                break
        ranks = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
        assert len(ranks) == 2
        os.kill(ranks[1], signal.SIGTERM)
        process.communicate(timeout=120)
    last = checkpoint.latest(recipe.folder("train"))
    assert last is not None and int(last.rsplit("-", 2)[1]) >= 8


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_twenty_kills_leave_the_same_bytes(tmp_path: Path) -> None:
    random = Random(1)
    keys = {**LEARN, "steps": 400, "checkpoint_every": 5, "threads": 2}
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    for folder in (undisturbed, killed):
        folder.mkdir()
        small_recipe(folder, **keys)
    run_training(small_recipe(undisturbed, **keys))
    recipe = small_recipe(killed, **keys)
    kills = 0
    while kills < 20:
        with child(killed, keys) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if "steps, loss" in line or "going on after step" in line:  # it has begun
                    break
            time.sleep(random.uniform(0, 0.7))
            process.kill()
            process.communicate()
        assert read_manifest(recipe.folder("train")) is None, "it ended before it was killed often enough"
        kills += 1
    run_training(recipe)
    assert digests(recipe) == digests(small_recipe(undisturbed, **keys))
