"""The residual image tower: names, open_clip's arithmetic with the same weights, initial weights, batch norm."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from trainer.model import CLIP, MODELS, ModelConfig, unit
from trainer.resnet import Bottleneck, ModifiedResNet

SMALL = ModelConfig(
    embed_dim=8,
    image_size=64,
    vision_width=16,
    vision_layers=(2, 1, 1, 2),
    context=9,
    vocab=50,
    text_width=128,
    text_layers=2,
)

# Unit features of two images by open_clip 3.3.0 (`open_clip.model.CLIP`, fp32, one thread) with the weights of `drawn`.
EVALUATING = [
    [0.375382, -0.219059, -0.670963, 0.137606, 0.370697, 0.211449, 0.396112, 0.054252],
    [0.374651, -0.220298, -0.670715, 0.133437, 0.372629, 0.210483, 0.397033, 0.051486],
]
TRAINING = [
    [-0.21176, -0.165253, 0.351108, 0.298863, 0.015098, 0.030621, -0.845007, 0.007141],
    [0.133083, 0.664507, 0.466175, 0.28848, 0.171846, -0.12401, -0.326881, -0.297351],
]
RUNNING_MEAN = [0.100376792, -0.000904418, -0.000504069]  # of visual.layer4.1.bn3, moved once
RUNNING_VAR = [0.518664598, 0.604013324, 0.564758062]


def drawn() -> tuple[CLIP, Tensor]:
    """A model whose weights are drawn in the order of their names, and two images drawn after them."""
    model = CLIP(SMALL)
    random = np.random.RandomState(0)  # a stream that numpy has frozen
    with torch.no_grad():
        for name, weight in sorted(model.state_dict().items()):
            if weight.is_floating_point():
                values = torch.as_tensor(0.1 * random.standard_normal(tuple(weight.shape))).float()
                is_gain = weight.dim() == 1 and name.endswith("weight")
                weight.copy_(values.abs() + 0.5 if name.endswith("running_var") else values + is_gain)
    return model, torch.from_numpy(random.standard_normal((2, 3, 64, 64))).float()


def test_features_are_those_of_open_clip() -> None:
    model, images = drawn()
    with torch.no_grad():
        features = unit(model.eval().encode_image(images))
        in_training = unit(model.train().encode_image(images))
    torch.testing.assert_close(features, torch.tensor(EVALUATING), atol=1e-5, rtol=0)
    torch.testing.assert_close(in_training, torch.tensor(TRAINING), atol=1e-5, rtol=0)
    running = model.state_dict()
    torch.testing.assert_close(running["visual.layer4.1.bn3.running_mean"][:3], torch.tensor(RUNNING_MEAN))
    torch.testing.assert_close(running["visual.layer4.1.bn3.running_var"][:3], torch.tensor(RUNNING_VAR))


def test_state_dict_has_the_released_names() -> None:
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    units = [f"{kind}{n}" for n in (1, 2, 3) for kind in ("conv", "bn")]
    layers = [*units]
    for stage, blocks in enumerate((2, 1, 1, 2), start=1):
        layers += [f"layer{stage}.{block}.{unit}" for block in range(blocks) for unit in units]
        layers += [f"layer{stage}.0.downsample.0", f"layer{stage}.0.downsample.1"]
    is_norm = [layer for layer in layers if "bn" in layer or layer.endswith("downsample.1")]
    names = {f"{layer}.{part}" for layer in is_norm for part in norm}
    names |= {f"{layer}.weight" for layer in layers if layer not in is_norm}
    names |= {f"attnpool.{name}_proj.{part}" for name in "qkvc" for part in ("weight", "bias")}
    assert set(CLIP(SMALL).visual.state_dict()) == {*names, "attnpool.positional_embedding"}


def test_a_block_halves_what_it_averages() -> None:
    block = Bottleneck(8, 4, stride=2)
    assert block(torch.randn(1, 8, 6, 6)).shape == (1, 16, 3, 3)
    assert all(module.stride == (1, 1) for module in block.modules() if isinstance(module, torch.nn.Conv2d))


@pytest.mark.parametrize(
    ("name", "deviation"),
    [
        ("attnpool.positional_embedding", 512**-0.5),
        ("attnpool.q_proj.weight", 512**-0.5),
        ("attnpool.k_proj.weight", 512**-0.5),
        ("attnpool.v_proj.weight", 512**-0.5),
        ("attnpool.c_proj.weight", 512**-0.5),
        ("layer3.0.conv2.weight", math.sqrt(1 / 3 / (9 * 64))),  # torch's own for convolutions
    ],
)
def test_initial_weights_have_the_published_spread(name: str, deviation: float) -> None:
    torch.manual_seed(0)
    weight = CLIP(SMALL).visual.state_dict()[name]
    assert weight.std().item() == pytest.approx(deviation, rel=5 / math.sqrt(2 * weight.numel()))


def test_a_new_block_is_its_shortcut() -> None:
    weights = CLIP(SMALL).visual.state_dict()
    last = [name for name in weights if name.endswith("bn3.weight") and name.startswith("layer")]
    assert len(last) == 6
    assert not any(weights[name].any() for name in last)
    assert weights["bn3.weight"].all()  # the stem's is no block's
    block = Bottleneck(16, 4, stride=1)
    x = torch.rand(2, 16, 5, 5)
    assert torch.equal(block(x), x)


def test_an_image_stands_for_itself_when_evaluating() -> None:
    model, images = drawn()
    with torch.no_grad():
        together = model.eval().encode_image(images)
        alone = model.encode_image(images[:1])
    torch.testing.assert_close(alone, together[:1], rtol=1e-5, atol=1e-4)


def test_autocast_changes_features_little_and_never_their_type() -> None:
    model, images = drawn()
    with torch.no_grad():
        full, _, _ = model.eval()(images, torch.tensor([[48, 3, 49, 0, 0, 0, 0, 0, 0]] * 2))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half, _, _ = model(images, torch.tensor([[48, 3, 49, 0, 0, 0, 0, 0, 0]] * 2))
    assert half.dtype == torch.float32
    assert float((half * full).sum(dim=-1).min()) > 0.999


@pytest.mark.parametrize("name", ["RN50", "RN50x4", "RN50x16", "RN50x64"])
def test_shapes_of_the_papers_models(name: str) -> None:
    config = replace(MODELS[name], vocab=50)
    with torch.device("meta"):
        model = CLIP(config)
        assert isinstance(model.visual, ModifiedResNet)
        features = model.encode_image(torch.empty(2, 3, config.image_size, config.image_size))
    assert features.shape == (2, config.embed_dim)
