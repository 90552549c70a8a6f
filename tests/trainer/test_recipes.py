"""The recipes of the paper's trainings, against tables 12 and 18 to 20."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.recipe import read
from tests.trainer.test_train import ROOT
from trainer.config import Config, completed, sizes_of

FOLDER = ROOT / "recipes" / "paper"
RATES = {  # tables 19 and 20
    "RN50": 5e-4,
    "RN101": 5e-4,
    "RN50x4": 5e-4,
    "RN50x16": 4e-4,
    "RN50x64": 3.6e-4,
    "ViT-B/32": 5e-4,
    "ViT-B/16": 5e-4,
    "ViT-L/14": 4e-4,
    "ViT-L/14@336": 2e-5,
}


def config_of(path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("OPENWIT_MERGES", "merges.gz")
    monkeypatch.setenv("OPENWIT_VIT_L_14", "model.pt")
    return read(str(path)).config("train", Config)


@pytest.mark.parametrize("model", RATES)
def test_a_recipe_is_the_papers(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(FOLDER / f"{model.replace('/', '-').replace('@', '-')}.toml", monkeypatch)
    betas = (0.9, 0.999, 1e-8) if model.startswith("RN") else (0.9, 0.98, 1e-6)
    assert (config.model, config.learning_rate) == (model, RATES[model])
    assert (config.beta1, config.beta2, config.epsilon) == betas
    assert (config.batch_size, config.warmup, config.weight_decay) == (32_768, 2_000, 0.2)
    epochs = config.steps * config.batch_size / 400e6
    assert epochs == pytest.approx(1 if model.endswith("@336") else 32, rel=1e-4)
    assert bool(config.init) == model.endswith("@336")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_what_a_recipe_says_is_the_default(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a recipe of one's own may leave it out."""
    config = config_of(path, monkeypatch)
    bare = Config(model=config.model, merges="", batch_size=config.batch_size, steps=config.steps)
    full = completed(bare, sizes_of(read(str(path)), config), torch.device("cpu"))
    assert (full.learning_rate, full.beta1, full.beta2, full.epsilon, full.warmup) == (
        config.learning_rate,
        config.beta1,
        config.beta2,
        config.epsilon,
        config.warmup,
    )


def test_the_ablation_is_the_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(FOLDER / "RN50-YFCC.toml", monkeypatch)
    assert (config.model, config.batch_size, config.weight_decay) == ("RN50", 2_048, 0.1)
    assert config.steps * config.batch_size / 14_829_396 == pytest.approx(32, rel=1e-4)
