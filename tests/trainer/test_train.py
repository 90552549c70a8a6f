"""Training: it learns, is killed without a trace, says what is wrong, and does nothing twice."""

import dataclasses
import hashlib
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from core.errors import Failure, UsageError
from core.manifest import missing_part, read_manifest
from core.recipe import Recipe
from report.render import LEADS
from tests.trainer.helpers import LEARN, SMALL, run_training, small_recipe
from trainer import checkpoint, hardware, steps, train
from trainer.accumulate import StepMetrics, gradients
from trainer.config import Config
from trainer.microbatches import even_slices
from trainer.model import CLIP, MODELS, ModelConfig
from trainer.optim import learning_rate
from trainer.ranks import Ranks

ROOT = Path(__file__).parents[2]


def metrics(recipe: Recipe) -> list[dict[str, float]]:
    return [json.loads(line) for line in Path(recipe.folder("train"), "metrics.jsonl").read_text().splitlines()]


def digests(recipe: Recipe) -> dict[str, str]:
    """What a training leaves, without its books."""
    folder = Path(recipe.folder("train"))
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name not in {"_run.json", "_lock"}
    }


# ── what it leaves ────────────────────────────────────────────────────────────────────────────────


def test_the_loss_falls_from_that_of_guessing(learnt: Recipe) -> None:
    rows = metrics(learnt)
    assert [row["step"] for row in rows] == list(range(1, 61))
    assert rows[0]["loss"] > 3  # guessing among 32 is ln 32 = 3.5
    assert sum(row["loss"] for row in rows[-10:]) / 10 < 0.8
    assert [row["learning_rate"] for row in rows] == [learning_rate(step, 60, 8, 4e-3) for step in range(60)]
    assert rows[0]["scale"] == pytest.approx(1 / 0.07)


def test_the_model_and_the_manifest(learnt: Recipe) -> None:
    manifest = read_manifest(learnt.folder("train"))
    pack = read_manifest(learnt.folder("pack"))
    assert manifest is not None and pack is not None and missing_part(manifest) is None
    assert [(part.table, part.name, part.rows) for part in manifest.parts] == [
        ("metrics", "metrics.jsonl", 60),
        ("model", "model.pt", 1),
        ("model_config", "model.json", 1),
    ]
    assert {("train", unit, "kept") for unit in manifest.counts} <= LEADS.keys()  # from each number of the report
    count = manifest.counts["samples"]
    assert count["in"] == 132 == count["kept"] + count["dropped"]["held_out"]
    assert manifest.facts["inputs"]["pack"] == pack.digest
    assert manifest.facts["determined_by"] == {"torch": torch.__version__, "model": dataclasses.asdict(SMALL)}
    assert not {"merges", "threads", "checkpoint_every"} & manifest.facts["config"].keys()
    left = {path.name for path in Path(learnt.folder("train")).iterdir()}
    assert left == {*(part.name for part in manifest.parts), "_manifest.json", "_parts.parquet", "_run.json", "_lock"}
    weights = checkpoint.load_model(manifest).state_dict()
    assert weights.keys() == CLIP(SMALL).state_dict().keys()
    ran = json.loads(Path(learnt.folder("train"), "_run.json").read_bytes())
    assert ran["samples_per_second"] > 0 and "threads" in ran["machine"] and ran["versions"]["torch"]


def test_nothing_is_done_twice(learnt: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    before = digests(learnt)
    again = small_recipe(Path(learnt.out).parent, threads=2, checkpoint_every=7, **LEARN)  # neither changes a byte
    run_training(again)
    assert capsys.readouterr().out == f"train: nothing to do, {learnt.folder('train')} is up to date\n"
    assert digests(learnt) == before


def test_a_residual_network_is_trained_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = small_recipe(tmp_path, steps=2, warmup=1, threads=1)
    sizes = dataclasses.replace(SMALL, image_size=32, patch=None, vision_width=8, vision_layers=(1, 1, 1, 1))
    for _ in range(2):
        train.train(recipe, recipe.config("train", Config), sizes)
    assert capsys.readouterr().out.endswith(f"train: nothing to do, {recipe.folder('train')} is up to date\n")
    manifest = read_manifest(recipe.folder("train"))
    assert manifest is not None
    model = checkpoint.load_model(manifest)
    assert model.config == dataclasses.replace(sizes, vocab=model.config.vocab)
    statistics = model.state_dict()
    assert statistics["visual.bn1.num_batches_tracked"] == 2
    assert statistics["visual.bn1.running_mean"].all()


@pytest.mark.parametrize(
    ("keys", "ranks", "others", "is_same"),
    [
        ({"batch_size": 32, "micro_batch": 8}, 1, 2, True),
        ({"batch_size": 32}, 1, 2, False),
        ({"batch_size": 20, "micro_batch": 8}, 1, 2, False),  # 6, 7 and 7 pictures, and four times 5
        ({"batch_size": 22, "micro_batch": 6}, 1, 2, True),  # 5 and 6, twice
    ],
)
def test_batch_norm_by_micro_batches_tells_other_ranks_that_change_them(
    tmp_path: Path, keys: dict[str, int], ranks: int, others: int, is_same: bool
) -> None:
    recipe = small_recipe(tmp_path, **keys)
    config, sizes = recipe.config("train", Config), MODELS["tiny-RN"]
    found, slices = [], []
    for world in (ranks, others):
        facts = train._facts(recipe, config, sizes, {}, Ranks(0, world))
        found.append(facts["determined_by"]["batch_norm_of"])
        share = config.batch_size // world
        of_rank = even_slices(share, config.micro_batch or share)
        slices.append([(rank * share + s.start, rank * share + s.stop) for rank in range(world) for s in of_rank])
    assert (found[0] == found[1]) == (slices[0] == slices[1]) == is_same


def test_what_the_recipe_says_is_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of keys whose effect no loss shows: Adam hides a wrong rate or storage, micro-batches change nothing."""
    recipe = small_recipe(
        tmp_path,
        **{"steps": 3, "warmup": 2, "weight_decay": 0.3, "beta1": 0.8, "beta2": 0.7, "epsilon": 1e-5},
        **{"moments": "bfloat16", "text_weights": "bfloat16", "precision": "bfloat16", "batch_norm": "global"},
        **{"micro_batch": 5, "recompute": True, "compile": True, "checkpoint_every": 1, "keep_checkpoints": 1},
    )
    compiled: list[CLIP] = []
    asked: list[dict[str, Any]] = []
    rates: list[set[float]] = []
    states: list[checkpoint.State] = []
    step = steps.step

    def watched_gradients(*these: Any, **keys: Any) -> StepMetrics:
        asked.append(keys)
        return gradients(*these, **keys)

    def watched_step(state: checkpoint.State, *more: Any) -> int:
        assert len(list(Path(recipe.folder("train")).glob("checkpoint-*.pt"))) == min(1, state.step)
        tokens = step(state, *more)
        rates.append({group["lr"] for group in state.optimiser.param_groups})
        states.append(state)
        return tokens

    monkeypatch.setattr(train, "compile_towers", compiled.append)  # compiling takes minutes
    monkeypatch.setattr(steps, "gradients", watched_gradients)
    monkeypatch.setattr(steps, "step", watched_step)
    run_training(recipe)
    model, optimiser = states[0].model, states[0].optimiser
    assert rates == [{learning_rate(step, 3, 2, 2e-3)} for step in range(3)]
    assert {group["weight_decay"] for group in optimiser.param_groups} == {0.3, 0.0}
    assert {(*group["betas"], group["eps"]) for group in optimiser.param_groups} == {(0.8, 0.7, 1e-5)}
    assert {moments["exp_avg_sq"].dtype for moments in optimiser.state.values()} == {torch.bfloat16}
    assert model.text_projection.dtype == torch.bfloat16 and model.logit_scale.dtype == torch.float32
    assert model.transformer.recompute and model.get_submodule("visual.transformer").recompute
    assert compiled == [model]
    assert {(keys["micro_batch"], keys["batch_norm"]) for keys in asked} == {(5, "global")}
    with asked[0]["autocast"]():
        assert torch.nn.functional.linear(torch.ones(1, 2), torch.ones(2, 2)).dtype == torch.bfloat16


# ── kills and resumes ─────────────────────────────────────────────────────────────────────────────

CHILD = """
import json, sys
from pathlib import Path
from tests.trainer.helpers import run_training, small_recipe
run_training(small_recipe(Path(sys.argv[1]), **json.loads(sys.argv[2])))
"""


@pytest.mark.program
def test_a_training_that_is_killed_leaves_the_same_bytes(
    learnt: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {**LEARN, "threads": 3, "checkpoint_every": 3}
    recipe = small_recipe(tmp_path, **keys)
    command = [sys.executable, "-c", CHILD, str(tmp_path), json.dumps(keys)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert any(" 8/60 steps" in line for line in process.stdout)
        time.sleep(random.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
    last = checkpoint.latest(recipe.folder("train"))
    assert last is not None and last >= f"{recipe.folder('train')}/checkpoint-00000006"
    run_training(recipe)
    assert f"train: going on after step {int(last.rsplit('-', 2)[1])}\n" in capsys.readouterr().out
    assert digests(recipe) == digests(learnt)


def test_a_kill_between_the_model_and_the_manifest_trains_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = small_recipe(tmp_path, steps=4)
    with monkeypatch.context() as patch:
        patch.setattr("core.runs.write_manifest", stop)
        with pytest.raises(KeyboardInterrupt):
            run_training(recipe)
    assert read_manifest(recipe.folder("train")) is None
    with monkeypatch.context() as patch:
        patch.setattr(steps, "step", stop)
        patch.setattr(hardware, "machine", lambda: "a VAX")
        run_training(recipe)
    assert re.search(r"after step 4 \(made on CPU .*, not a VAX: the last bits may differ\)", capsys.readouterr().out)
    assert read_manifest(recipe.folder("train")) is not None
    assert len(metrics(recipe)) == 4


def stop(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_a_changed_recipe_does_not_go_on_from_an_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small_recipe(tmp_path, steps=3, checkpoint_every=1)
    with monkeypatch.context() as patch:
        patch.setattr("core.runs.write_manifest", stop)
        with pytest.raises(KeyboardInterrupt):
            run_training(recipe)
    with pytest.raises(Failure, match=r"checkpoint-00000003-\w+\.pt was made with another train\.steps: set"):
        run_training(small_recipe(tmp_path, steps=5))


def test_a_finished_training_is_replaced_when_its_recipe_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_training(small_recipe(tmp_path, steps=3))
    longer = small_recipe(tmp_path, steps=4)
    assert "anew" not in capsys.readouterr().out
    run_training(longer)
    schedule, anew, *_ = capsys.readouterr().out.splitlines()
    assert schedule.startswith("train: 4 steps are another schedule than 3, from the first step on: ")
    assert "which is replaced when this training ends, give a copy of it as train.init" in schedule
    assert anew == "train: starts anew: train.steps was 3, is 4"
    assert len(metrics(longer)) == 4


# ── what stops it ─────────────────────────────────────────────────────────────────────────────────


def test_a_loss_that_is_not_finite_stops_before_the_weights_change(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, steps=9, warmup=0, learning_rate=1e30, checkpoint_every=1)
    named = r"begins with the samples [0-9a-f]{32} in \S+/6_pack/\d+\.tar, [0-9a-f]{32} in "
    with pytest.raises(Failure, match=rf"step 2 is not finite \(loss nan, .*{named}.*, lower train\.learning"):
        run_training(recipe)
    assert [row["step"] for row in metrics(recipe)] == [1]
    assert str(checkpoint.latest(recipe.folder("train"))).startswith(f"{recipe.folder('train')}/checkpoint-00000001-")


def test_the_temperature_stays_in_its_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hot(sizes: ModelConfig) -> CLIP:
        model = CLIP(sizes)
        torch.nn.init.constant_(model.logit_scale, 7.0)
        return model

    monkeypatch.setattr("trainer.train.CLIP", hot)
    recipe = small_recipe(tmp_path, steps=3)
    run_training(recipe)
    first, *after = (row["scale"] for row in metrics(recipe))
    assert first > 1000 and after == pytest.approx([100, 100], rel=1e-2)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"batch_size": 128}, r"train\.batch_size = 128, but .*6_pack holds only 104 samples .*\(28 are held out\)"),
        ({"warmup": 12}, r"small\.toml: a warm-up of 12 steps does not fit in 12 steps: lower train\.warmup"),
        ({"steps": 10**8}, r"train\.steps"),
        ({"learning_rate": math.inf}, r"train\.learning_rate"),
        ({"weight_decay": math.inf}, r"train\.weight_decay"),
        ({"epsilon": math.inf}, r"train\.epsilon"),
        ({"epsilon": 1e-50}, r"train\.epsilon"),
        ({"image": ["jpg"]}, r"small\.toml: train\.image says what samples of train\.shards are made of"),
        ({"caption": ["txt"]}, r"train\.caption says what samples"),
        ({"merges": "nowhere.gz"}, r"train\.merges names nowhere\.gz, which is not there"),
        ({"holdout": 1.0}, "train.holdout"),
        ({"batch_size": 1}, "train.batch_size"),
        ({"speed": 1}, r"\[train\] has no key 'speed'"),
    ],
)
def test_what_cannot_be_is_said_and_spoils_nothing(learnt: Recipe, keys: dict[str, Any], said: str) -> None:
    before = digests(learnt)
    with pytest.raises(Failure, match=said):
        run_training(small_recipe(Path(learnt.out).parent, **keys))
    assert digests(learnt) == before


def test_an_unfinished_pack_is_named_with_the_command(tmp_path: Path) -> None:
    recipe = Recipe(
        "recipes/x.toml",
        {"run": {"out": str(tmp_path)}, "train": {"merges": __file__, "batch_size": 2, "steps": 1, "warmup": 0}},
    )
    with pytest.raises(UsageError, match=r"6_pack is not finished: run openwit pack --recipe recipes/x\.toml first"):
        run_training(recipe)


# ── the command ───────────────────────────────────────────────────────────────────────────────────


def test_the_command_trains_and_then_has_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small_recipe(tmp_path)
    monkeypatch.setitem(MODELS, "small", SMALL)
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        f'[run]\nout = "{tmp_path}/out"\n[train]\nmodel = "small"\nmerges = "{tmp_path}/merges.gz"\n'
        "batch_size = 16\nsteps = 2\nwarmup = 1\n"
    )
    assert train.main(["--recipe", str(recipe)]) == 0
    said = capsys.readouterr().out
    assert "train: 2 steps of 16 on 1" in said and f"→ {tmp_path}/out/7_train in " in said
    assert train.main(["--recipe", str(recipe)]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert train.main(["--recipe", str(recipe), "--set", "train.model=smal"]) == 2
    assert "train.model: there is no model 'smal'; did you mean 'small'?" in capsys.readouterr().err


@pytest.mark.parametrize(("module", "verb"), [("trainer.train", "train"), ("trainer.evals", "eval")])
def test_without_torch_one_sentence_says_what_to_install(module: str, verb: str) -> None:
    code = f"import runpy, sys; sys.modules['torch'] = None; runpy.run_module('{module}', run_name='__main__')"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == f"{verb}: torch is not installed: pip install '.[train]', then run again\n"
