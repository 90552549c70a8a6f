"""The two towers: sizes, names, the released models' arithmetic, causality, precision."""

import json
import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.errors import UsageError
from trainer.model import (
    CLIP,
    MODELS,
    LayerNorm,
    ModelConfig,
    QuickGELU,
    Transformer,
    compile_towers,
    recompute_activations,
    unit,
)

SMALL = ModelConfig(
    embed_dim=8,
    image_size=32,
    patch=8,
    vision_width=128,
    vision_layers=2,
    context=9,
    vocab=50,
    text_width=128,
    text_layers=2,
)
IDS = torch.tensor([[48, 3, 1, 4, 49, 0, 0, 0, 0], [48, 2, 7, 1, 8, 2, 8, 1, 49]])


def small(seed: int = 0) -> CLIP:
    torch.manual_seed(seed)
    return CLIP(SMALL)


def on_meta(config: ModelConfig) -> CLIP:
    """A model without memory."""
    with torch.device("meta"):
        return CLIP(config)


@pytest.mark.parametrize(
    ("name", "total", "image", "text", "tokens"),
    [
        ("RN50", 102_007_137, 38_316_896, 63_690_240, 50),
        ("RN101", 119_688_033, 56_259_936, 63_428_096, 50),
        ("RN50x4", 178_300_601, 87_137_080, 91_163_520, 82),
        ("RN50x16", 290_979_217, 167_328_912, 123_650_304, 145),
        ("RN50x64", 623_258_305, 420_380_352, 202_877_952, 197),
        ("ViT-B/32", 151_277_313, 87_849_216, 63_428_096, 50),
        ("ViT-B/16", 149_620_737, 86_192_640, 63_428_096, 197),
        ("ViT-L/14", 427_616_513, 303_966_208, 123_650_304, 257),
        ("ViT-L/14@336", 427_944_193, 304_293_888, 123_650_304, 577),
    ],
)
def test_models_have_the_papers_size(name: str, total: int, image: int, text: int, tokens: int) -> None:
    model = on_meta(MODELS[name])
    counts = {parameter: weight.numel() for parameter, weight in model.named_parameters()}
    assert sum(counts.values()) == total == image + text + 1
    assert sum(n for parameter, n in counts.items() if parameter.startswith("visual.")) == image
    (positions,) = (p for name, p in model.visual.named_parameters() if name.endswith("positional_embedding"))
    assert positions.shape[0] == tokens


@pytest.mark.parametrize(
    ("name", "blocks"),
    [("ViT-B/32", 37_828_608), ("RN50x4", 59_082_240), ("ViT-L/14", 85_054_464), ("RN50x64", 151_154_688)],
)
def test_twelve_blocks_of_text_have_the_known_size(name: str, blocks: int) -> None:
    assert size_of(on_meta(MODELS[name]).transformer) == blocks


def test_parts_of_rn50_have_the_known_size() -> None:
    """The paper's "63M-parameter" text transformer counts no projection."""
    model = on_meta(MODELS["RN50"])
    pool = size_of(model.get_submodule("visual.attnpool"))
    assert pool == 14_789_632
    assert size_of(model.visual) - pool == 23_527_264
    text = size_of(model) - size_of(model.visual) - model.logit_scale.numel()
    assert text - model.text_projection.numel() == 63_165_952


def size_of(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_bag_of_words_has_embeddings_and_a_projection() -> None:
    text = {name for name, _ in on_meta(MODELS["RN50-CBOW"]).named_parameters() if not name.startswith("visual.")}
    assert text == {"token_embedding.weight", "text_projection", "logit_scale"}


def test_transformers_have_nothing_but_parameters() -> None:
    assert not list(on_meta(MODELS["ViT-B/32"]).buffers())


def test_state_dict_has_the_released_names() -> None:
    block = [
        "attn.in_proj_weight",
        "attn.in_proj_bias",
        "attn.out_proj.weight",
        "attn.out_proj.bias",
        *(f"{layer}.{kind}" for layer in ("ln_1", "ln_2", "mlp.c_fc", "mlp.c_proj") for kind in ("weight", "bias")),
    ]
    tower = [f"transformer.resblocks.{layer}.{name}" for layer in (0, 1) for name in block]
    image = ["class_embedding", "positional_embedding", "proj", "conv1.weight"]
    image += ["ln_pre.weight", "ln_pre.bias", "ln_post.weight", "ln_post.bias", *tower]
    text = ["positional_embedding", "text_projection", "logit_scale", "token_embedding.weight"]
    text += ["ln_final.weight", "ln_final.bias", *tower]
    assert set(small().state_dict()) == {*text, *(f"visual.{name}" for name in image)}


@pytest.mark.parametrize(("width", "heads"), [(32, 1), (64, 1), (128, 2), (768, 12), (1024, 16)])
def test_a_head_is_64_wide_in_all_but_the_smallest_models(width: int, heads: int) -> None:
    config = ModelConfig(**{**vars(SMALL), "vision_width": width, "text_width": width})
    assert config.vision_heads == config.text_heads == heads


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch": 7}, "image_size = 32 is not a multiple of patch = 7"),
        ({"vision_width": 200}, "vision_width = 200 does not divide by its 3 heads"),
        ({"text_width": 130}, None),
        ({"text_width": 131}, "text_width = 131 does not divide by its 2 heads"),
        ({"text_layers": 0}, None),
        ({"text_layers": -1}, "text_layers = -1 must be at least 0"),
        ({"vision_layers": 0}, "vision_layers = 0 must be at least 1"),
        ({"patch": None}, "patch is missing"),
        ({"vision_layers": (1, 1, 1, 1)}, "patch = 8 says nothing to a residual network"),
        ({"vision_layers": (1, 1, 0, 1), "patch": None}, "vision_layers = .1, 1, 0, 1. must be at least 1"),
        ({"vision_layers": (1, 1), "patch": None}, "vision_layers = .1, 1. must be one number, or four"),
        ({"vision_layers": (1, 1, 1, 1), "patch": None, "image_size": 48}, "image_size = 48 is not a multiple of 32"),
        ({"vision_layers": (1, 1, 1, 1), "patch": None, "vision_width": 15}, "vision_width = 15 must be even"),
        ({"embed_dim": -1}, "embed_dim = -1 must be at least 1"),
    ],
)
def test_sizes_that_do_not_fit_are_named(change: dict[str, Any], message: str | None) -> None:
    if message is None:
        ModelConfig(**{**vars(SMALL), **change})
        return
    with pytest.raises(UsageError, match=message):
        ModelConfig(**{**vars(SMALL), **change})


def test_sizes_come_back_from_json() -> None:
    for config in MODELS.values():
        assert ModelConfig(**json.loads(json.dumps(asdict(config)))) == config


@pytest.mark.parametrize(("name", "heads"), [("RN50", 32), ("RN50x4", 40), ("RN50x16", 48), ("RN50x64", 64)])
def test_the_attention_of_a_residual_network_has_heads_of_64(name: str, heads: int) -> None:
    assert MODELS[name].vision_heads == heads


def test_features_are_the_released_codes() -> None:
    """The expected numbers come from openai/CLIP's model.py with the same weights, drawn in the order of the names."""
    model = small()
    random = np.random.RandomState(0)  # a stream that numpy has frozen
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            is_gain = "ln_" in name and name.endswith("weight")
            weight.copy_(torch.as_tensor(0.1 * random.standard_normal(tuple(weight.shape))) + is_gain)
        images = torch.from_numpy(random.standard_normal((2, 3, 32, 32))).float()
        image_features, text_features = model.encode_image(images), model.encode_text(IDS)
    image_golden = torch.tensor([[0.854309, -0.315647, 0.477033, 1.582825], [0.804004, -1.331396, -0.984632, 1.216881]])
    text_golden = torch.tensor([[0.349203, 1.837456, 1.116063, 1.492059], [-0.918552, 0.944384, -0.571126, -1.220628]])
    torch.testing.assert_close(image_features[:, :4], image_golden, atol=1e-5, rtol=0)
    torch.testing.assert_close(text_features[:, :4], text_golden, atol=1e-5, rtol=0)


def test_a_token_sees_only_what_stands_before_it() -> None:
    model = small().double()
    tokens = torch.randn(1, 9, 128, dtype=torch.float64, requires_grad=True)
    for position in range(9):
        out = model.transformer(tokens, torch.tensor([position]))
        (gradient,) = torch.autograd.grad(out.sum(), tokens)
        seen = gradient[0].abs().sum(dim=-1) > 0
        assert seen.tolist() == [earlier <= position for earlier in range(9)]


def test_a_patch_sees_every_patch() -> None:
    tokens = torch.randn(1, 17, 128, requires_grad=True)
    out = small().get_submodule("visual.transformer")(tokens, torch.tensor([0]))
    (gradient,) = torch.autograd.grad(out.sum(), tokens)
    assert bool((gradient[0].abs().sum(dim=-1) > 0).all())


def test_text_is_read_at_its_end_mark_and_no_further() -> None:
    model = small()
    ids = IDS[:1].repeat(3, 1)
    ids[1, 6] = 7  # behind the end
    ids[2, 2] = 7  # before it
    with torch.no_grad():
        same, behind, before = model.encode_text(ids)
        shorter = model.encode_text(IDS[:1, :5])[0]
    torch.testing.assert_close(behind, same)
    torch.testing.assert_close(shorter, same, atol=1e-6, rtol=1e-5)
    assert float((before - same).abs().max()) > 1e-3


@pytest.mark.parametrize("causal", [True, False])
def test_a_token_that_alone_is_pooled_is_the_same(causal: bool) -> None:
    torch.manual_seed(0)
    blocks = Transformer(128, 2, 2, causal=causal).double()
    tokens = torch.randn(3, 9, 128, dtype=torch.float64, requires_grad=True)
    pool_at, gradient = torch.tensor([0, 8, 4]), torch.randn(3, 128, dtype=torch.float64)
    wanted = [tokens, *blocks.parameters()]
    alone, whole = blocks(tokens, pool_at), blocks.resblocks(tokens)[torch.arange(3), pool_at]
    torch.testing.assert_close(alone, whole, rtol=0, atol=1e-13)
    ours, expected = (torch.autograd.grad(out, wanted, gradient) for out in (alone, whole))
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.parametrize("recompute", [False, True])
def test_compiled_towers_are_the_same_model(recompute: bool) -> None:
    model, plain = small(), small()
    names = list(model.state_dict())
    if recompute:
        recompute_activations(model)
    compile_towers(model)
    assert list(model.state_dict()) == names
    pictures = torch.randn(2, 3, 32, 32)
    for ids in (IDS, IDS[:1, :5].repeat(2, 1)):  # two lengths
        for clip in (model, plain):
            images, texts, scale = clip(pictures, ids)
            torch.autograd.backward((images @ texts.T * scale).square().sum())
    for (name, one), other in zip(model.named_parameters(), plain.parameters(), strict=True):
        assert one.grad is not None and other.grad is not None
        assert float((one.grad - other.grad).abs().max()) <= 1e-5 * float(other.grad.abs().max()), name


def test_a_bag_of_words_is_the_mean_of_its_tokens() -> None:
    torch.manual_seed(0)
    model = CLIP(replace(SMALL, text_layers=0))
    with torch.no_grad():
        features, shorter = model.encode_text(IDS), model.encode_text(IDS[:1, :5])
        moved = model.encode_text(torch.tensor([[48, 1, 4, 3, 49, 0, 0, 0, 0]]))
    table, projection = model.token_embedding.weight.detach(), model.text_projection.detach()
    for row, ids in zip(features, ([48, 3, 1, 4, 49], [48, 2, 7, 1, 8, 2, 8, 1, 49]), strict=True):
        torch.testing.assert_close(row, table[ids].mean(dim=0) @ projection)
    torch.testing.assert_close(moved, features[:1])  # in any order
    torch.testing.assert_close(shorter, features[:1])  # however much padding


def test_forward_gives_unit_features_and_the_scale() -> None:
    images, texts, scale = small()(torch.randn(2, 3, 32, 32), IDS)
    assert images.shape == texts.shape == (2, 8)
    torch.testing.assert_close(images.norm(dim=-1), torch.ones(2))
    torch.testing.assert_close(texts.norm(dim=-1), torch.ones(2))
    assert scale.item() == pytest.approx(1 / 0.07, rel=1e-6)


def test_unit_of_zeros_is_zeros() -> None:
    assert torch.equal(unit(torch.zeros(1, 4)), torch.zeros(1, 4))


def test_autocast_changes_features_little_and_never_their_type() -> None:
    model, pictures = small(), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        images, texts, _ = model(pictures, IDS)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half_images, half_texts, scale = model(pictures, IDS)
    for half, full in ((half_images, images), (half_texts, texts)):
        assert half.dtype == torch.float32
        assert float((half * full).sum(dim=-1).min()) > 0.999
        torch.testing.assert_close(half.norm(dim=-1), torch.ones(2))
    assert scale.dtype == torch.float32


@pytest.mark.parametrize(("x", "y"), [(-1.0, -0.15420423), (0.0, 0.0), (1.0, 0.84579577), (2.0, 1.93565862)])
def test_quick_gelu(x: float, y: float) -> None:
    assert QuickGELU()(torch.tensor(x, dtype=torch.float64)).item() == pytest.approx(y, abs=1e-8)


def test_layer_norm_is_computed_in_float32() -> None:
    row, norm = (100 + torch.randn(4, 512)).to(torch.bfloat16), LayerNorm(512)
    with torch.no_grad():
        norm.weight.fill_(1 + 2**-10)  # a gain that bfloat16 does not have
    expected = nn.functional.layer_norm(row.double(), (512,)) * (1 + 2**-10)
    assert torch.equal(norm(row), expected.to(torch.bfloat16))


@pytest.mark.parametrize(
    ("name", "deviation"),
    [
        ("token_embedding.weight", 0.02),
        ("positional_embedding", 0.01),
        ("text_projection", 128**-0.5),
        ("transformer.resblocks.1.attn.in_proj_weight", 128**-0.5),
        ("transformer.resblocks.1.attn.out_proj.weight", (128 * 4) ** -0.5),
        ("transformer.resblocks.1.mlp.c_proj.weight", (128 * 4) ** -0.5),
        ("transformer.resblocks.1.mlp.c_fc.weight", 256**-0.5),
        ("visual.class_embedding", 128**-0.5),
        ("visual.positional_embedding", 128**-0.5),
        ("visual.proj", 128**-0.5),
        ("visual.transformer.resblocks.1.attn.in_proj_weight", math.sqrt(2 / (128 + 3 * 128))),  # Xavier, uniform
        ("visual.transformer.resblocks.1.mlp.c_fc.weight", math.sqrt(1 / 3 / 128)),  # torch's own for Linear
    ],
)
def test_initial_weights_have_the_published_spread(name: str, deviation: float) -> None:
    weight: Tensor = small().state_dict()[name]
    tolerance = 5 / math.sqrt(2 * weight.numel())  # five standard errors of a sample's deviation
    assert weight.std().item() == pytest.approx(deviation, rel=tolerance)
    assert abs(weight.mean().item()) < 5 * deviation / math.sqrt(weight.numel())


def test_one_seed_one_model() -> None:
    first, again, other = (small(seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["visual.proj"], other["visual.proj"])
    assert first["logit_scale"].item() == pytest.approx(2.659260036932778)
