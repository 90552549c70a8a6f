"""What decays, the rate's golden values, what half precision does to a run, and that all of it together learns."""

import io
import re
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from core.errors import UsageError
from trainer.loss import clip_temperature_, contrastive_loss
from trainer.model import CLIP, MODELS, ModelConfig
from trainer.optim import (
    FULL_PRECISION,
    HalfAdamW,
    Settings,
    Storage,
    adamw,
    halve_text_weights,
    learning_rate,
    paper_settings,
    parameter_groups,
    stochastic_round_,
)

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


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("RN50", Settings(5e-4, 0.999, 1e-8)),
        ("RN101", Settings(5e-4, 0.999, 1e-8)),
        ("RN50x4", Settings(5e-4, 0.999, 1e-8)),
        ("RN50x16", Settings(4e-4, 0.999, 1e-8)),
        ("RN50x64", Settings(3.6e-4, 0.999, 1e-8)),
        ("ViT-B/32", Settings(5e-4, 0.98, 1e-6)),
        ("ViT-B/16", Settings(5e-4, 0.98, 1e-6)),
        ("ViT-L/14", Settings(4e-4, 0.98, 1e-6)),
        ("ViT-L/14@336", Settings(2e-5, 0.98, 1e-6)),
        ("tiny-RN", Settings(5e-4, 0.999, 1e-8)),
    ],
)
def test_settings_are_those_of_the_tables(model: str, settings: Settings) -> None:
    assert paper_settings(model, MODELS[model]) == settings


# ── half precision ────────────────────────────────────────────────────────────────────────────────


HALF_MOMENTS, HALF_TEXT = Storage(moments=torch.bfloat16), Storage(text_weights=torch.bfloat16)
HALF = Storage(moments=torch.bfloat16, text_weights=torch.bfloat16)


def optimiser_of(model: CLIP, storage: Storage = HALF) -> torch.optim.Optimizer:
    return adamw(model, learning_rate=3e-3, weight_decay=0.2, betas=(0.9, 0.98), epsilon=1e-6, storage=storage, seed=5)


def make(storage: Storage = FULL_PRECISION) -> tuple[CLIP, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = CLIP(MODEL)
    return model, optimiser_of(model, storage)


def draw_gradients(model: CLIP, step: int) -> None:
    """Gradients that do not depend on the weights, around 1e-6 as those of a large batch."""
    random = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        parameter.grad = 1e-6 * torch.randn(parameter.shape, generator=random) + 1e-6


def run(model: CLIP, optimiser: torch.optim.Optimizer, first: int, last: int) -> None:
    for step in range(first, last):
        draw_gradients(model, step)
        optimiser.step()


def test_without_an_option_it_is_torchs_own_bit_for_bit() -> None:
    model, optimiser = make()
    again, _ = make()
    expected = torch.optim.AdamW(parameter_groups(again, 0.2), lr=3e-3, betas=(0.9, 0.98), eps=1e-6, fused=True)
    for one, other in ((model, optimiser), (again, expected)):
        run(one, other, 0, 5)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))


def test_own_arithmetic_is_torchs_bit_for_bit() -> None:
    (model, _), (again, _) = make(), make()
    own = HalfAdamW(parameter_groups(model, 0.2), 3e-3, (0.9, 0.98), 1e-6, torch.float32, seed=0)
    expected = torch.optim.AdamW(parameter_groups(again, 0.2), lr=3e-3, betas=(0.9, 0.98), eps=1e-6, foreach=False)
    for one, other in ((model, own), (again, expected)):
        run(one, other, 0, 5)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("storage", [HALF_MOMENTS, HALF_TEXT, HALF])
def test_a_run_in_half_precision_follows_the_exact_one(storage: Storage) -> None:
    (exact, expected), (half, optimiser) = make(), make(storage)
    start = {name: parameter.detach().clone() for name, parameter in exact.named_parameters()}
    for model, one in ((exact, expected), (half, optimiser)):
        run(model, one, 0, 40)
    for (name, parameter), other in zip(exact.named_parameters(), half.parameters(), strict=True):
        way = parameter.detach() - start[name]
        error = (other.detach().float() - parameter.detach()).norm() / way.norm()
        assert error < (0.1 if other.dtype == torch.bfloat16 else 0.03), name


def test_half_weights_move_by_less_than_they_can_hold() -> None:
    """A step of 1e-4 is a tenth of the distance between neighbours at 0.2: to the nearest, no weight would move."""
    (exact, expected), (half, optimiser) = make(), make(HALF_TEXT)
    start = exact.text_projection.detach().clone()
    for model, one in ((exact, expected), (half, optimiser)):
        for group in one.param_groups:
            group["lr"] = 1e-4
        run(model, one, 0, 40)
    way, other = ((model.text_projection.detach().float() - start).mean().item() for model in (exact, half))
    assert way < -1e-3
    assert other == pytest.approx(way, rel=0.1)


def test_what_is_stored_in_half_precision() -> None:
    model, optimiser = make(HALF)
    run(model, optimiser, 0, 1)
    half = {name for name, parameter in model.named_parameters() if parameter.dtype == torch.bfloat16}
    block = "transformer.resblocks.0"
    weights = {f"{block}.{name}.weight" for name in ("attn.out_proj", "mlp.c_fc", "mlp.c_proj")}
    others = {f"{block}.attn.in_proj_weight", "token_embedding.weight", "positional_embedding", "text_projection"}
    assert half == weights | others
    moments = [value for state in optimiser.state.values() for value in state.values() if torch.is_tensor(value)]
    assert {moment.dtype for moment in moments} == {torch.bfloat16}


def test_a_second_moment_does_not_stand_still() -> None:
    """At beta2 = 0.999 it changes by less than half the distance to its neighbour in bfloat16."""
    weight = torch.nn.Parameter(torch.zeros(4_096))
    optimiser = HalfAdamW([{"params": [weight], "weight_decay": 0.0}], 1e-3, (0.9, 0.999), 1e-8, torch.bfloat16, seed=1)
    expected = 0.0
    for step in range(400):
        size = 1e-6 if step < 200 else 0.0  # squared: far below what float16 can hold
        weight.grad = torch.full_like(weight, size)
        optimiser.step()
        expected = 0.999 * expected + 0.001 * size**2
    mean = optimiser.state[weight]["exp_avg_sq"].double().mean().item()
    assert mean == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("value", [1.0, 1.001, -1.003, 3.1e-12, -7.7e30, 0.0, 1e-40])
def test_rounding_by_chance_is_unbiased_and_to_a_neighbour(value: float) -> None:
    n = 200_000
    exact, out = torch.full((n,), value), torch.empty(n, dtype=torch.bfloat16)
    stochastic_round_(out, exact, torch.Generator().manual_seed(0))
    below = (exact[:1].view(torch.int32) & -65536).view(torch.float32).double().item()
    above = ((exact[:1].view(torch.int32) & -65536) + 65536).view(torch.float32).double().item()
    assert set(out.double().tolist()) <= {below, above}
    spread = abs(above - below) / 2 / n**0.5  # at most, of the mean
    assert abs(out.double().mean().item() - exact[0].double().item()) <= 5 * spread


def test_a_resumed_run_in_half_precision_is_the_same_bit_for_bit() -> None:
    model, optimiser = make(HALF)
    run(model, optimiser, 0, 3)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict()}, file)
    run(model, optimiser, 3, 6)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again, resumed = make(HALF)
    again.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["optimiser"])
    run(again, resumed, 3, 6)
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
        for name in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(*(torch.as_tensor(o.state[p][name]) for o, p in ((optimiser, one), (resumed, other))))


def test_gradients_of_half_weights_add_up_in_float32() -> None:
    torch.manual_seed(0)
    model = CLIP(MODEL)
    halve_text_weights(model)
    ids = torch.tensor([[18, 3, 1, 4, 19, 0]])
    for cast in (False, True):
        model.zero_grad()
        gradients = []
        for times in (1, 64):
            model.zero_grad()
            for _ in range(times):
                with torch.autocast("cpu", torch.bfloat16, enabled=cast):
                    features = model.encode_text(ids)
                torch.autograd.backward(features.float().sum())
            gradients.append(model.get_parameter("transformer.resblocks.0.mlp.c_fc.weight").grad)
        one, many = gradients
        assert one is not None and many is not None
        assert one.dtype == torch.float32
        torch.testing.assert_close(many, 64 * one, rtol=1e-5, atol=1e-9)  # bfloat16 would stop adding at 256 times one


def plain(model: CLIP) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameter_groups(model, 0.2), betas=(0.9, 0.98), eps=1e-6)


@pytest.mark.parametrize("make_optimiser", [plain, optimiser_of])
def test_sixteen_random_pairs_are_learnt_by_heart(make_optimiser: Callable[[CLIP], torch.optim.Optimizer]) -> None:
    torch.manual_seed(0)
    model = CLIP(MODEL)
    images, ids = torch.randn(16, 3, 16, 16), F.pad(torch.randint(1, 18, (16, 5)), (0, 1), value=19)
    optimizer = make_optimiser(model)
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
