"""Weights of every maker by path: names, types, sizes from shapes alone, other image sizes, files of something else."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from core.errors import Failure, UsageError
from trainer.model import CLIP, MODELS, ModelConfig
from trainer.weights import (
    MAX_LAYERS,
    Weights,
    at_image_size,
    config_of,
    custom_text,
    interpolate_positions,
    model_of,
    read_weights,
)

VIT = ModelConfig(
    embed_dim=8,
    image_size=32,
    patch=8,
    vision_width=64,
    vision_layers=2,
    context=9,
    vocab=50,
    text_width=128,
    text_layers=1,
)
RESNET = replace(VIT, image_size=64, patch=None, vision_width=8, vision_layers=(1, 2, 1, 1))
KINDS = pytest.mark.parametrize("config", [VIT, RESNET], ids=["vit", "resnet"])
IDS = torch.tensor([[48, 3, 1, 4, 49, 0, 0, 0, 0]])


def made(config: ModelConfig) -> CLIP:
    torch.manual_seed(0)
    return CLIP(config).eval()


def write(path: Path, value: Any) -> str:
    torch.save(value, path)
    return str(path)


def assert_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("name", MODELS)
def test_the_sizes_of_every_model_are_read_from_its_shapes(name: str) -> None:
    with torch.device("meta"):
        weights = CLIP(MODELS[name]).state_dict()
    assert config_of(weights, "weights.pt") == MODELS[name]


@KINDS
def test_our_own_weights_come_back(tmp_path: Path, config: ModelConfig) -> None:
    model = made(config)
    path = write(tmp_path / "model.pt", model.state_dict())
    weights = read_weights(path)
    assert_same(weights, model.state_dict())
    again, images = model_of(weights, path), torch.randn(2, 3, config.image_size, config.image_size)
    assert again.config == config
    assert not again.training
    assert torch.equal(again.encode_image(images), model.encode_image(images))
    assert torch.equal(again.encode_text(IDS), model.encode_text(IDS))


@KINDS
@pytest.mark.filterwarnings("ignore")  # of torch: TorchScript is on its way out, the released archives are not
def test_a_released_archive_is_read(tmp_path: Path, config: ModelConfig) -> None:
    """As OpenAI writes it: TorchScript in float16, with three numbers and a mask that are no weights."""
    model = made(config)
    model.register_buffer("input_resolution", torch.tensor(config.image_size))
    model.register_buffer("context_length", torch.tensor(config.context))
    model.register_buffer("vocab_size", torch.tensor(config.vocab))
    model.transformer.register_buffer("attn_mask", torch.zeros(9, 9))
    example = {"encode_image": torch.zeros(1, 3, config.image_size, config.image_size), "encode_text": IDS}
    traced = torch.jit.trace_module(model, example, check_trace=False)  # type: ignore[no-untyped-call]
    torch.jit.save(traced.half(), tmp_path / "released.pt")
    weights = read_weights(str(tmp_path / "released.pt"))
    halved = {name: t.half().float() if t.is_floating_point() else t for name, t in made(config).state_dict().items()}
    assert_same(weights, halved)
    assert config_of(weights, "released.pt") == config


@KINDS
@pytest.mark.parametrize("wrapper", ["", "module.", "module._orig_mod.", "_orig_mod."])
def test_a_checkpoint_of_open_clip_is_read(tmp_path: Path, config: ModelConfig, wrapper: str) -> None:
    weights = made(config).state_dict()
    for renamed in (weights, custom_text(weights)):
        state = {wrapper + name: tensor for name, tensor in renamed.items()}
        said = {"epoch": 3, "name": "run", "state_dict": state, "optimizer": {"state": {0: {"step": torch.ones(1)}}}}
        assert_same(read_weights(write(tmp_path / "epoch_3.pt", said)), weights)


@KINDS
@pytest.mark.parametrize("wrapper", ["_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."])
def test_parts_that_were_wrapped_by_themselves_are_read(tmp_path: Path, config: ModelConfig, wrapper: str) -> None:
    """One tower compiled, or each block of another wrapped, and all of it within DistributedDataParallel."""
    weights = made(config).state_dict()
    for part in ("visual.", "transformer.resblocks.0."):
        state = {f"module.{name.replace(part, part + wrapper)}": tensor for name, tensor in weights.items()}
        assert_same(read_weights(write(tmp_path / "part.pt", state)), weights)


@KINDS
def test_an_average_of_torchs_is_read(tmp_path: Path, config: ModelConfig) -> None:
    averaged = torch.optim.swa_utils.AveragedModel(made(config), use_buffers=True)
    assert_same(read_weights(write(tmp_path / "ema.pt", averaged.state_dict())), made(config).state_dict())


@KINDS
def test_safetensors_are_read(tmp_path: Path, config: ModelConfig) -> None:
    weights = made(config).state_dict()
    path = tmp_path / "open_clip_model.safetensors"
    safetensors.torch.save_file(weights, path)
    assert_same(read_weights(str(path)), weights)


def test_custom_text_has_the_names_of_open_clip() -> None:
    names = set(custom_text(made(VIT).state_dict()))
    assert {"logit_scale", "visual.proj", "text.positional_embedding", "text.token_embedding.weight"} <= names
    assert {"text.transformer.resblocks.0.ln_1.bias", "text.ln_final.weight", "text.text_projection"} <= names
    assert all(name.startswith(("visual.", "text.")) or name == "logit_scale" for name in names)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_numbers_are_of_the_type_that_is_asked_for(tmp_path: Path, dtype: torch.dtype) -> None:
    path = write(tmp_path / "model.pt", {name: tensor.half() for name, tensor in made(RESNET).state_dict().items()})
    weights = read_weights(path, dtype)
    assert {tensor.dtype for tensor in weights.values()} == {dtype}
    weights = read_weights(write(tmp_path / "model.pt", made(RESNET).state_dict()), dtype)
    assert weights["visual.bn1.num_batches_tracked"].dtype == torch.int64
    assert weights["visual.bn1.running_var"].dtype == weights["logit_scale"].dtype == dtype


def test_a_batch_norm_whose_updates_nobody_counted_is_read(tmp_path: Path) -> None:
    weights = made(RESNET).state_dict()
    path = write(tmp_path / "model.pt", {n: t for n, t in weights.items() if not n.endswith("num_batches_tracked")})
    assert_same(read_weights(path), weights)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "neither a zip of torch's nor safetensors"),
        (b"\x80\x02cposix\nsystem\nX\x02\0\0\0ls\x85R.", "neither a zip of torch's nor safetensors"),
        (b"version https://git-lfs.github.com/spec/v1\n", "holds no weights, but a pointer of Git LFS .*git lfs pull"),
        (b"<!doctype html><title>404</title>", "holds no weights, but a web page"),
        (b"PK\x03\x04 and no more", "no archive of torch's, or is damaged"),
        (b"\xff\0\0\0\0\0\0\0{and no more", "no safetensors file, or is damaged"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff{}", "no safetensors file, or is damaged"),
        (safetensors.torch.save({"w": torch.ones(9)})[:-1], "no safetensors file, or is damaged"),
    ],
)
def test_a_file_of_something_else_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(Failure, match=reason) as caught:
        read_weights(str(path))
    assert str(caught.value).startswith(f"{path} ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"absent\.pt is not there"):
        read_weights(str(tmp_path / "absent.pt"))


def test_names_that_become_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"holds 'visual.proj' twice"):
        read_weights(write(tmp_path / "w.pt", {"visual.proj": torch.ones(1), "module.visual.proj": torch.ones(1)}))


def changed(config: ModelConfig, **tensors: Tensor | None) -> Weights:
    """Weights with some of them another ("." written "__") or, where None, gone."""
    weights = made(config).state_dict() | {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    return {name: tensor for name, tensor in weights.items() if tensor is not None}


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ({}, "there is no 'visual.conv1.weight'"),
        (
            {f"state_dict_ema.{name}": tensor for name, tensor in changed(VIT).items()},
            "there is no 'visual.conv1.weight', but 'state_dict_ema.visual.conv1.weight': save the state dict",
        ),
        (changed(VIT, visual__proj=None), "there is no 'visual.attnpool.positional_embedding'"),
        (
            changed(VIT, visual__proj=torch.ones(64, 9)),
            r"'visual.proj' is \(64, 9\), where its sizes ask for \(64, 8\)",
        ),
        (changed(VIT, ln_final__bias=None), r"'ln_final.bias' is not there, where its sizes ask for \(128,\)"),
        (changed(VIT, logit_bias=torch.ones([])), r"'logit_bias' is \(\), where its sizes ask for nothing"),
        (changed(VIT, **{"\x1b[2J\n": torch.ones([])}), r"'\\x1b\[2J\\n' is \(\), where its sizes ask for nothing"),
        (changed(VIT, visual__positional_embedding=torch.ones(16, 64)), "are no square"),
        (changed(VIT, visual__positional_embedding=torch.ones(17)), "are no square"),
        (changed(VIT, visual__conv1__weight=torch.ones(64)), "visual.conv1.weight has 1 axes instead of 4"),
        (changed(VIT, text_projection=torch.ones([])), "text_projection has 0 axes instead of 2"),
        (changed(VIT, visual__conv1__weight=torch.ones(0, 3, 8, 8)), "vision_width = 0 must be at least 1"),
        (changed(VIT, token_embedding__weight=torch.ones(50, 130)), "'ln_final.bias' is"),
        (changed(RESNET, visual__layer2__0__conv1__weight=None), "'visual.layer2.0.conv1.weight' is not there"),
        (changed(RESNET, visual__attnpool__positional_embedding=torch.ones(6, 256)), "are no square"),
        (
            changed(VIT, **{f"transformer__resblocks__{n}__x": torch.ones(1) for n in range(MAX_LAYERS + 1)}),
            "it has 1,001 layers",
        ),
    ],
)
def test_weights_of_another_model_are_told_by_their_first_misfit(weights: Weights, reason: str) -> None:
    with pytest.raises(Failure, match=reason) as caught:
        model_of(weights, "weights.pt")
    assert str(caught.value).startswith("weights.pt does not hold the weights of a CLIP")
    assert "\n" not in str(caught.value)


def test_a_tower_with_wider_heads_is_refused() -> None:
    """open_clip's ViT-H/14: its state dict has the names of ours, and is computed with other heads."""
    with torch.device("meta"):
        wide = CLIP(replace(MODELS["ViT-L/14"], vision_width=1280, vision_layers=1)).state_dict()
    with pytest.raises(Failure, match=r"image tower is 1280 wide, and has heads of 80 instead of 64"):
        config_of(wide, "weights.pt")


def test_weights_of_transformers_are_told_by_their_names() -> None:
    named = {"text_model.embeddings.token_embedding.weight": torch.ones(50, 8), "logit_scale": torch.ones([])}
    with pytest.raises(Failure, match=r"weights\.pt has the names of Hugging Face's transformers, which are not read"):
        model_of(named, "weights.pt")


def test_positions_of_a_larger_image_lie_between_the_old_ones() -> None:
    """The numbers are those of open_clip 3.3.0 (`resize_pos_embed`) on the same positions."""
    positions = torch.randn(17, 8, generator=torch.Generator().manual_seed(0))
    resized = interpolate_positions(positions, 6)
    assert torch.equal(resized[0], positions[0])
    golden = {
        1: [0.465180, -1.367903, 0.382695],
        8: [-0.462788, -0.363921, 0.464089],
        36: [0.232015, 1.362541, -1.381566],
    }
    for row, values in golden.items():
        torch.testing.assert_close(resized[row, :3], torch.tensor(values), atol=1e-5, rtol=0)
    torch.testing.assert_close(interpolate_positions(positions, 4), positions)
    constant = torch.cat([positions[:1], torch.full((16, 8), 0.5)])
    torch.testing.assert_close(interpolate_positions(constant, 7)[1:], torch.full((49, 8), 0.5))
    assert interpolate_positions(positions.half(), 6).dtype == torch.float16


def test_the_last_epochs_model_is_the_one_before_at_336_pixels() -> None:
    with torch.device("meta"):
        weights = CLIP(replace(MODELS["ViT-L/14"], vision_layers=1, text_layers=1)).state_dict()
    larger = at_image_size({**weights, "visual.positional_embedding": torch.randn(257, 1024)}, 336, "weights.pt")
    assert config_of(larger, "weights.pt") == replace(MODELS["ViT-L/14@336"], vision_layers=1, text_layers=1)


@KINDS
def test_weights_for_images_of_another_size(config: ModelConfig) -> None:
    weights = made(config).state_dict()
    larger = at_image_size(weights, 96, "weights.pt")
    assert config_of(larger, "weights.pt") == replace(config, image_size=96)
    changed = [name for name, tensor in weights.items() if larger[name] is not tensor]
    assert len(changed) == 1
    assert model_of(larger, "weights.pt").encode_image(torch.randn(1, 3, 96, 96)).shape == (1, 8)
    with pytest.raises(UsageError, match="images of 100 pixels do not divide by the"):
        at_image_size(weights, 100, "weights.pt")
