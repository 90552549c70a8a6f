"""open_clip's config beside its weights: what ours would compute otherwise is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from core.errors import Failure
from trainer.export import open_clip_config
from trainer.model import MODELS
from trainer.openclip import require_openais_kind, said_of_activation


def written(folder: Path, config: str) -> str:
    """The path of weights beside that config."""
    (folder / "open_clip_config.json").write_text(config)
    return str(folder / "open_clip_pytorch_model.bin")


@pytest.mark.parametrize(
    ("config", "is_read"),
    [
        ('{"model_cfg": {"embed_dim": 8}}', False),
        ('{"embed_dim": 8}', False),
        ('{"model_cfg": {"embed_dim": 8, "quick_gelu": false}}', False),
        ('{"model_cfg": {"embed_dim": 8, "quick_gelu": true}}', True),
        ("[]", True),
        (None, True),
    ],
)
def test_it_tells_of_another_activation(tmp_path: Path, config: str | None, is_read: bool) -> None:
    path = written(tmp_path, config) if config else str(tmp_path / "open_clip_pytorch_model.bin")
    if is_read:
        require_openais_kind(path, "take another")
    else:
        with pytest.raises(Failure, match=r"trained with another activation .*features here: take another"):
            require_openais_kind(path, "take another")
        require_openais_kind(str(tmp_path / "of another.bin"), "take another")


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        (
            "lr: 0.001\nmodel: ViT-B-32\nforce_quick_gelu: False\n",
            r"as params\.txt of its training says \(model: ViT-B-32\)",
        ),
        ("model: ViT-B-32-quickgelu\nforce_quick_gelu: False\n", None),
        ("force_quick_gelu: True\nmodel: RN50\n", None),
        ("model: hf-hub:someone/some\n", None),
        ("model: local-dir:{here}\n", r"as .*/open_clip_config\.json says \(no quick_gelu\)"),
        ("model: local-dir:{here}\nforce_quick_gelu: True\n", None),
        ("model: local-dir:{here}/nowhere\n", None),
        ("", None),
        (None, None),
    ],
)
def test_so_do_the_parameters_of_its_own_training(tmp_path: Path, parameters: str | None, said: str | None) -> None:
    written(tmp_path, '{"model_cfg": {"quick_gelu": false}}')
    if parameters is not None:
        (tmp_path / "params.txt").write_text(parameters.replace("{here}", str(tmp_path)))
    if said is None:
        require_openais_kind(f"{tmp_path}/checkpoints/epoch_1.pt", "take another")
    else:
        with pytest.raises(Failure, match=rf"epoch_1\.pt was trained with another activation .*{said}.*: take another"):
            require_openais_kind(f"{tmp_path}/checkpoints/epoch_1.pt", "take another")
    require_openais_kind(f"{tmp_path}/other/epoch_1.pt", "take another")


@pytest.mark.parametrize(
    ("name", "beside", "is_known"),
    [
        ("epoch_1.pt", {}, False),
        ("model.pt", {"model.json": '{"model": {}}'}, True),
        ("open_clip_pytorch_model.bin", {}, False),
        ("open_clip_pytorch_model.bin", {"open_clip_config.json": '{"quick_gelu": true}'}, True),
        ("checkpoints/epoch_1.pt", {"params.txt": "model: ViT-B-32-quickgelu"}, True),
        ("checkpoints/epoch_1.pt", {"params.txt": "model: hf-hub:someone/some"}, False),
        ("checkpoints/epoch_1.pt", {"params.txt": "name: 1"}, False),
    ],
)
def test_what_says_no_activation_is_told(tmp_path: Path, name: str, beside: dict[str, str], is_known: bool) -> None:
    (tmp_path / "checkpoints").mkdir()
    torch.save({}, tmp_path / name)
    for other, text in beside.items():
        (tmp_path / other).write_text(text)
    said = said_of_activation(f"{tmp_path}/{name}")
    assert said == [] if is_known else f"{name} does not say which activation" in said[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda said: said["model_cfg"]["text_cfg"].update(heads=4), "has 4 heads in its text tower"),
        (lambda said: said["model_cfg"]["vision_cfg"].update(head_width=32), "has heads of 32"),
        (lambda said: said["model_cfg"]["vision_cfg"].update(pool_type="avg"), "has vision_cfg.pool_type = avg"),
        (lambda said: said["model_cfg"]["text_cfg"].update(no_causal_mask=True), "has text_cfg.no_causal_mask = True"),
        (lambda said: said["model_cfg"]["text_cfg"].update(pool_type="eos"), "has text_cfg.pool_type = eos"),
        (lambda said: said["preprocess_cfg"].update(mean=[0.5] * 3), "prepares pictures with mean = "),
        (lambda said: said.update(preprocess_cfg=[0.5]), "has no preprocess_cfg: restore it"),
        (lambda said: said["model_cfg"]["text_cfg"].update(tokenizer_kwargs="lower"), "has no tokenizer_kwargs"),
    ],
)
@pytest.mark.parametrize("model", ["ViT-B/32", "RN50"])
def test_it_tells_of_what_no_shape_says(
    tmp_path: Path, model: str, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    config = json.loads(json.dumps(open_clip_config(MODELS[model])))
    require_openais_kind(written(tmp_path, json.dumps(config)), "take another")
    change(config)
    with pytest.raises(Failure, match=rf"open_clip_config\.json {said}.*: take another"):
        require_openais_kind(written(tmp_path, json.dumps(config)), "take another")
