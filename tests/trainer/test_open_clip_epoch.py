"""open_clip's own training command on our shards, and ours on img2dataset's folder, an epoch each.

open_clip runs in an environment of its own, `benchmarks/peers/open_clip_train.txt`.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import peers
from core.manifest import read_manifest
from core.recipe import Recipe
from tests.shards.helpers import make_pack
from tests.trainer.helpers import SMALL, pictures, run_training
from tests.trainer.others import img2dataset_folder
from tests.trainer.test_train import metrics
from trainer.export import MERGES, open_clip_config
from trainer.openclip import CONFIG
from trainer.tokenizer import Tokenizer
from trainer.weights import config_of, read_weights

SAMPLES, BATCH = 132, 22  # of the pack, whose six batches are an epoch


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_each_trains_an_epoch_on_the_others_tars(tmp_path: Path) -> None:
    """open_clip's checkpoint is what ours begins with: the weights go round, too."""
    merges = tmp_path / MERGES
    merges.write_bytes(gzip.compress(b"#version: 0.2\nr e\nre d</w>\na n\nan d</w>", mtime=0))
    sizes = replace(SMALL, vocab=Tokenizer(merges).vocab)
    (tmp_path / CONFIG).write_text(json.dumps(open_clip_config(sizes, str(merges))))

    make_pack(tmp_path / "pack", pictures(), shards=2)
    log = open_clip_epoch(tmp_path)
    assert f"/{SAMPLES} (100%)" in log, log
    assert "webdataset error" not in log, log  # what it calls a sample or a shard that it leaves out
    weights = read_weights(str(tmp_path / "logs" / "epoch" / "checkpoints" / "epoch_1.pt"))
    assert config_of(weights, "epoch_1.pt") == sizes
    assert all(torch.isfinite(weight).all() for weight in weights.values())

    folder = img2dataset_folder(tmp_path / "tars", shards=3, each=BATCH)
    keys = {
        "shards": [str(folder)],
        "init": str(tmp_path / "logs" / "epoch" / "checkpoints" / "epoch_1.pt"),
        "merges": str(merges),
        "batch_size": BATCH,
        "steps": 3,
        "warmup": 0,
        "learning_rate": 1e-4,
    }
    recipe = Recipe("recipes/epoch.toml", {"run": {"out": str(tmp_path / "out"), "seed": 3}, "train": keys})
    run_training(recipe)
    manifest = read_manifest(recipe.folder("train"))
    assert manifest is not None
    assert manifest.counts == {"samples": {"in": 3 * BATCH, "kept": 3 * BATCH, "dropped": {}}}
    assert metrics(recipe)[0]["scale"] == pytest.approx(float(weights["logit_scale"].exp()), rel=1e-6)


def open_clip_epoch(folder: Path) -> str:
    """Run its command on the pack in a folder, with the model whose config lies there; what it has logged."""
    options = {
        "dataset-type": "webdataset",
        "train-data": f"{folder}/pack/{{00000..00001}}.tar",
        "train-num-samples": SAMPLES,
        "model": f"local-dir:{folder}",
        "batch-size": BATCH,
        "epochs": 1,
        "warmup": 1,
        "lr": 1e-3,
        "workers": 1,
        "precision": "fp32",
        "logs": folder / "logs",
        "name": "epoch",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    peers.run("open_clip_train", "-m", "open_clip_train.main", *words)
    return (folder / "logs" / "epoch" / "out.log").read_text()
