"""What decays, the learning rate's golden values, and that all of it together learns."""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from core.errors import UsageError
from trainer.loss import clip_temperature_, contrastive_loss
from trainer.model import CLIP, MODELS, ModelConfig
from trainer.optim import learning_rate, parameter_groups

MODEL = ModelConfig(
    embed_dim=16,
    image_size=16,
    patch=8,
    vision_width=32,
    vision_layers=1,
    context=6,
    vocab=20,
    text_width=32,
    text_layers=1,
)
STEPS = 390_625  # 32 epochs of 400M pairs at 32,768 a step


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 2.5e-7), (999, 2.5e-4), (1_999, 5e-4), (2_000, 5e-4), (196_312, 2.5e-4), (STEPS - 1, 8.2e-15)],
)
def test_golden_learning_rates(step: int, rate: float) -> None:
    assert learning_rate(step, STEPS, 2_000, 5e-4) == pytest.approx(rate, rel=1e-2 if step > 2_000 else 1e-9)


@settings(deadline=None)
@given(data=st.data(), steps=st.integers(1, 300))
def test_the_rate_climbs_to_its_peak_and_falls(data: st.DataObject, steps: int) -> None:
    warmup = data.draw(st.integers(0, steps - 1))
    rates = [learning_rate(step, steps, warmup, 1.0) for step in range(steps)]
    assert rates[warmup] == 1.0 == max(rates)
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    assert min(rates) > 0


@pytest.mark.parametrize(("steps", "warmup"), [(10, 10), (10, 11), (0, 0), (10, -1)])
def test_a_warm_up_that_does_not_fit_is_refused(steps: int, warmup: int) -> None:
    with pytest.raises(UsageError, match=f"a warm-up of {warmup} steps does not fit in {steps} steps"):
        learning_rate(0, steps, warmup, 1.0)


def test_all_but_gains_and_biases_decay() -> None:
    model = CLIP(MODEL)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed, exempt = ([names[id(p)] for p in group["params"]] for group in parameter_groups(model, 0.2))
    block = "transformer.resblocks.0"
    weights = ["attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight"]
    assert set(decayed) == {
        *(f"{tower}{block}.{weight}" for tower in ("", "visual.") for weight in weights),
        *("token_embedding.weight", "positional_embedding", "text_projection"),
        *("visual.conv1.weight", "visual.class_embedding", "visual.positional_embedding", "visual.proj"),
    }
    assert "logit_scale" in exempt
    assert "visual.transformer.resblocks.0.attn.in_proj_bias" in exempt
    assert sorted(decayed + exempt) == sorted(names.values())


def test_gains_of_batch_norms_do_not_decay() -> None:
    with torch.device("meta"):
        model = CLIP(MODELS["tiny-RN"])
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed = {names[id(p)] for p in parameter_groups(model, 0.2)[0]["params"]}
    convolutions = {name for name in names.values() if re.search(r"(conv\d|downsample\.0)\.weight$", name)}
    pool = {f"visual.attnpool.{name}_proj.weight" for name in "qkvc"} | {"visual.attnpool.positional_embedding"}
    assert {name for name in decayed if name.startswith("visual.")} == convolutions | pool


def test_decay_is_decoupled_from_the_gradient() -> None:
    model = CLIP(MODEL)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    torch.optim.AdamW(parameter_groups(model, 0.2), lr=0.5).step()
    torch.testing.assert_close(model.get_parameter("visual.proj").detach(), 0.9 * before["visual.proj"])
    assert torch.equal(model.ln_final.weight.detach(), before["ln_final.weight"])
    assert torch.equal(model.logit_scale.detach(), before["logit_scale"])


def test_sixteen_random_pairs_are_learnt_by_heart() -> None:
    torch.manual_seed(0)
    model = CLIP(MODEL)
    images, ids = torch.randn(16, 3, 16, 16), F.pad(torch.randint(1, 18, (16, 5)), (0, 1), value=19)
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.2), betas=(0.9, 0.98), eps=1e-6)
    steps, losses = 150, []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, 10, 3e-3)
        loss = contrastive_loss(*model(images, ids))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        clip_temperature_(model)
        losses.append(loss.item())
    assert losses[0] > 2  # chance is ln 16 = 2.77
    assert losses[-1] < 0.01
    with torch.no_grad():
        image_features, text_features, _ = model(images, ids)
    assert (image_features @ text_features.T).argmax(dim=1).tolist() == list(range(16))
