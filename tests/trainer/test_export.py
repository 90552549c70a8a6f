"""Export: what open_clip needs is in the folder, and open_clip itself gives the same ids, pictures and features."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import openwit
from benchmarks import peers
from core.errors import UsageError
from core.manifest import read_manifest
from core.recipe import Recipe
from tests.trainer.helpers import picture
from trainer.checkpoint import load_model
from trainer.export import MERGES, WEIGHTS, export, open_clip_config
from trainer.images import decode, evaluation_crop, normalise
from trainer.model import CLIP, MODELS, ModelConfig
from trainer.openclip import CONFIG
from trainer.tokenizer import Tokenizer
from trainer.vocabulary import learn, to_file
from trainer.weights import model_of, read_weights


def trained(recipe: Recipe) -> CLIP:
    manifest = read_manifest(recipe.folder("train"))
    assert manifest is not None
    return load_model(manifest)


def test_a_trained_model_comes_back_from_its_export(learnt: Recipe, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    export(learnt, str(folder))
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(first) == {WEIGHTS, CONFIG, MERGES}
    model = trained(learnt)
    again = model_of(read_weights(str(folder / WEIGHTS)), WEIGHTS)
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
    said = json.loads(first[CONFIG])
    assert said["model_cfg"]["text_cfg"]["tokenizer_kwargs"] == {"bpe_path": str(folder / MERGES)}
    assert first[MERGES] == Path(learnt.tables["train"]["merges"]).read_bytes()
    export(learnt, str(folder))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


def test_open_clip_is_told_the_sizes_that_it_has_for_the_published_models() -> None:
    """The numbers are those of its own model_configs/ViT-B-32-quickgelu.json and RN50x4-quickgelu.json."""
    said = open_clip_config(MODELS["ViT-B/32"])["model_cfg"]
    text = {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12}
    vision: dict[str, object] = {"image_size": 224, "layers": 12, "width": 768, "head_width": 64, "patch_size": 32}
    assert said == {"embed_dim": 512, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
    said = open_clip_config(MODELS["RN50x4"])["model_cfg"]
    vision = {"image_size": 288, "layers": (4, 6, 10, 6), "width": 80, "head_width": 64, "patch_size": None}
    text |= {"width": 640, "heads": 10}
    assert said == {"embed_dim": 640, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}


def test_what_cannot_be_exported_is_said(
    learnt: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="a bag of words, which open_clip cannot load"):
        open_clip_config(MODELS["RN50-CBOW"])
    other = tmp_path / "other.gz"
    other.write_bytes(gzip.compress(b"#version: 0.2\na b"))
    changed = Recipe(learnt.path, {**learnt.tables, "train": {**learnt.tables["train"], "merges": str(other)}})
    with pytest.raises(UsageError, match=r"train\.merges is not the file that the model was trained with"):
        export(changed, str(tmp_path / "to"))
    monkeypatch.chdir(tmp_path)
    Path("new.toml").write_text("")
    assert openwit.main(["export", "--recipe", "new.toml", "--to", "to"]) == 2
    assert "export reads what train makes, and" in capsys.readouterr().err
    assert openwit.main(["export", "--recipe", "new.toml", "--to", ""]) == 2
    assert "--to is empty: name a folder" in capsys.readouterr().err
    assert not (tmp_path / "to").exists()


def test_an_export_that_is_cut_short_leaves_no_config_of_another_model(
    learnt: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / CONFIG).write_text("{}")

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("safetensors.torch.save", cut)
    with pytest.raises(KeyboardInterrupt):
        export(learnt, str(tmp_path))
    assert not (tmp_path / CONFIG).exists()


# ── open_clip's own eyes ──

SMALL = ModelConfig(
    embed_dim=8, image_size=32, patch=8, vision_width=128, vision_layers=2, text_width=96, text_layers=2, context=20
)
RESNET = ModelConfig(
    embed_dim=8, image_size=64, vision_width=8, vision_layers=(1, 2, 1, 1), text_width=32, text_layers=1, context=20
)
TEXTS = ["a red circle", "It's A &amp; B, naïve 日本語 " * 9, ""]
PEER = """
import sys, numpy as np, open_clip, torch
from PIL import Image
where = sys.argv[1]
model, _, prepare = open_clip.create_model_and_transforms("local-dir:" + where)
ids = open_clip.get_tokenizer("local-dir:" + where)(eval(sys.argv[2]))
image = prepare(Image.open(where + "/picture.png"))[None]
with torch.no_grad():
    image_features, text_features = model.eval().encode_image(image), model.encode_text(ids)
np.savez(where + "/found.npz", ids=ids, image=image, image_features=image_features, text_features=text_features)
"""


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [SMALL, RESNET], ids=["vit", "resnet"])
def test_open_clip_loads_it_and_gives_the_same(sizes: ModelConfig, tmp_path: Path) -> None:
    (tmp_path / MERGES).write_bytes(to_file(learn({"red": 3, "circle": 3})))
    tokenizer = Tokenizer(tmp_path / MERGES)
    torch.manual_seed(1)
    model = CLIP(ModelConfig(**{**vars(sizes), "vocab": tokenizer.vocab})).eval()
    for name, buffer in model.named_buffers():  # as if it had been trained
        if buffer.is_floating_point():
            buffer.copy_(torch.rand_like(buffer) + (0.5 if name.endswith("var") else 0))
    safetensors.torch.save_file(model.state_dict(), tmp_path / WEIGHTS)
    (tmp_path / CONFIG).write_text(json.dumps(open_clip_config(model.config, str(tmp_path / MERGES))))
    (tmp_path / "picture.png").write_bytes(picture("red", "blue", (90, 70)))
    peers.run("open_clip", "-c", PEER, str(tmp_path), repr(TEXTS))
    found = {name: torch.from_numpy(values) for name, values in np.load(tmp_path / "found.npz").items()}
    ids = tokenizer.encode(TEXTS, sizes.context)
    crop = evaluation_crop(decode((tmp_path / "picture.png").read_bytes()), sizes.image_size)
    image = normalise(torch.from_numpy(crop)[None])
    assert torch.equal(found["ids"], ids)
    assert torch.allclose(found["image"], image, atol=1e-6)
    with torch.no_grad():
        assert torch.allclose(found["image_features"], model.encode_image(image), atol=1e-5, rtol=0)
        assert torch.allclose(found["text_features"], model.encode_text(ids), atol=1e-5, rtol=0)
