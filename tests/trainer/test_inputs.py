"""What a training reads, and what it refuses before a step is made."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
import torch

from core.errors import Failure, UsageError
from core.manifest import read_manifest
from core.recipe import Recipe
from tests.trainer.helpers import SMALL, run_training, small_recipe
from tests.trainer.others import header_at, img2dataset_folder
from tests.trainer.test_train import metrics
from trainer import hardware, train
from trainer.config import Config
from trainer.flops import memory_needed
from trainer.inputs import Inputs
from trainer.model import CLIP


def streamed(folder: Path, **keys: Any) -> Recipe:
    """A recipe that trains on what img2dataset left in `folder`/tars."""
    return small_recipe(folder, shards=[f"{folder}/tars/{{00000..00002}}.tar"], steps=40, **keys)


def test_tars_of_others_are_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    img2dataset_folder(tmp_path / "tars")
    recipe = streamed(tmp_path, batch_size=32)
    run_training(recipe)
    said = capsys.readouterr().out
    assert "train: 3 shards are read as streams: a sample may come more or less than once an epoch" in said
    assert "train: 40 steps of 32 on streams, loss " in said
    rows = metrics(recipe)
    assert rows[0]["loss"] > 3 and sum(row["loss"] for row in rows[-5:]) / 5 < 2
    manifest = read_manifest(recipe.folder("train"))
    assert manifest is not None
    assert manifest.counts == {"samples": {"in": 1280, "kept": 1280, "dropped": {}}}
    assert manifest.facts["inputs"].keys() == {"shards", "merges"}
    run_training(recipe)
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize("on_damage", ["stop", "replace"])
def test_a_damaged_shard_stops_a_training_or_is_counted(
    tmp_path: Path, on_damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = img2dataset_folder(tmp_path / "tars")
    shard = folder / "00001.tar"
    data = bytearray(shard.read_bytes())
    data[header_at(shard, "000010011.jpg") + 150] ^= 1  # of its checksum
    shard.write_bytes(data)
    recipe = streamed(tmp_path, on_damage=on_damage)
    if on_damage == "stop":
        with pytest.raises(Failure, match=r"00001\.tar"):
            run_training(recipe)
        return
    run_training(recipe)
    manifest = read_manifest(recipe.folder("train"))
    assert manifest is not None
    dropped = manifest.counts["samples"]["dropped"]
    assert dropped["shard_damaged"] >= 1
    assert f"{dropped['shard_damaged']:,} shard_damaged were replaced by other samples; the first: " in (
        capsys.readouterr().out
    )


def test_weights_with_another_vocabulary_are_refused(learnt: Recipe, tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, init=str(Path(learnt.folder("train"), "model.pt")))
    merges = tmp_path / "merges.gz"
    lines = gzip.decompress(merges.read_bytes()).decode().split("\n")
    merges.write_bytes(gzip.compress("\n".join(lines[:100]).encode(), mtime=0))
    with pytest.raises(UsageError, match=r"train\.init = .* has vocab = 49408, .* has 613: give its own tokenizer's"):
        run_training(recipe)


def test_a_step_that_does_not_fit_names_the_micro_batch_that_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits_28 = int(memory_needed(SMALL, 28, train.SHORTEST, half=False, recompute=False))
    monkeypatch.setattr(hardware, "free_memory", lambda: fits_28)
    with pytest.raises(Failure, match=r"32 pairs at once need .* GB are free: set train\.micro_batch = (\d+)") as error:
        run_training(small_recipe(tmp_path))
    fits = int(str(error.value).rsplit(" ", 1)[1])
    assert 1 <= fits < 28  # texts may be longer
    run_training(small_recipe(tmp_path, micro_batch=fits, steps=3))
    monkeypatch.setattr(hardware, "free_memory", lambda: 1_000_000)
    with pytest.raises(Failure, match="take a smaller model"):
        run_training(small_recipe(tmp_path, steps=4))


def test_a_batch_whose_pictures_alone_do_not_fit_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Micro-batches do not help: whoever takes a batch of 32,768 pictures of 224 pixels holds two of them, 9.9 GB."""
    two = 2 * 32 * 3 * SMALL.image_size**2
    monkeypatch.setattr(hardware, "free_main_memory", lambda: two - 1)
    with pytest.raises(Failure, match=r"32 pictures a rank, and as many .* are free: lower train\.batch_size"):
        run_training(small_recipe(tmp_path, micro_batch=1))
    weights = int(memory_needed(SMALL, 1, SMALL.context, half=False, recompute=False))
    monkeypatch.setattr(hardware, "free_main_memory", lambda: two + weights)
    run_training(small_recipe(tmp_path, micro_batch=1, steps=3))
    monkeypatch.setattr(hardware, "free_main_memory", lambda: two + weights // 2)
    with pytest.raises(Failure, match="take a smaller model"):
        run_training(small_recipe(tmp_path, micro_batch=1, steps=4))


def test_weights_of_another_activation_are_said_before_a_step(tmp_path: Path) -> None:
    path = tmp_path / "open_clip_model.bin"
    torch.save(CLIP(SMALL).state_dict(), path)
    (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {"quick_gelu": false}}')
    with pytest.raises(Failure, match=r"trained with another activation than OpenAI's"):
        run_training(small_recipe(tmp_path, init=str(path)))


def test_weights_that_are_not_finite_are_said_before_a_step(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, init=str(tmp_path / "broken.pt"))
    weights = CLIP(SMALL).state_dict()
    weights["visual.proj"][0, 0] = float("nan")
    torch.save(weights, tmp_path / "broken.pt")
    with pytest.raises(Failure, match=r"broken\.pt has numbers in visual\.proj that are not finite"):
        run_training(recipe)


@pytest.mark.parametrize("patience", [float("inf"), float("nan"), 0.0])
def test_a_patience_that_no_rank_can_have(tmp_path: Path, patience: float) -> None:
    with pytest.raises(UsageError, match=r"train\.patience"):
        run_training(small_recipe(tmp_path, patience=patience))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"image": [""]}, r"small\.toml: train\.image has '': write endings"),
        ({"image": ["."]}, r"train\.image has '\.'"),
        ({"image": ["*.jpg"]}, r"train\.image has '\*\.jpg'"),
        ({"caption": ["json."]}, r"train\.caption has 'json\.'"),
        ({"caption": ["txt", ".JSON"]}, r'train\.caption has "json", which would train on the text of whole files'),
    ],
)
def test_endings_that_no_member_has(tmp_path: Path, keys: dict[str, list[str]], said: str) -> None:
    recipe = small_recipe(tmp_path, shards=["pipe:false"], **keys)
    with pytest.raises(UsageError, match=said):
        run_training(recipe)
    assert not Path(recipe.folder("train")).exists()


def test_merges_that_change_while_they_are_read_are_seen(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path)
    inputs = Inputs(recipe, recipe.config("train", Config))
    merges = tmp_path / "merges.gz"
    merges.write_bytes(gzip.compress(gzip.decompress(merges.read_bytes()), 1, mtime=0))
    with pytest.raises(Failure, match="merges"):
        inputs.tokenizer()
