"""The contrastive loss against closed forms and published numbers, and the bound on the temperature."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from trainer.loss import clip_temperature_, contrastive_loss
from trainer.model import CLIP, ModelConfig, unit

MODEL = ModelConfig(
    embed_dim=16,
    image_size=16,
    patch=8,
    vision_width=32,
    vision_layers=2,
    context=6,
    vocab=20,
    text_width=32,
    text_layers=2,
)


def tensor(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def scale(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def features(seed: int, n: int, width: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images, texts = torch.randn(2, n, width, dtype=torch.float64, generator=generator)
    return unit(images), unit(texts)


@pytest.mark.parametrize(
    ("images", "texts", "factor", "loss"),
    [
        ([[1, 0], [0, 1], [-1, 0]], [[0.8, 0.6], [0, 1], [-0.8, 0.6]], 2, 0.3982418),
        ([[1, 0, 0], [0.6, 0.8, 0], [0, 0.6, 0.8]], [[1, 0, 0], [0, 1, 0], [0, 0, 1]], 10, 0.0667711),
        (torch.eye(4).tolist(), torch.eye(4).tolist(), 1 / 0.07, 1.874623e-06),
        ([[0.6, 0.8]], [[1, 0]], 100, 0.0),  # one pair has nothing to be confused with
    ],
)
def test_golden_losses(images: list[list[float]], texts: list[list[float]], factor: float, loss: float) -> None:
    found = contrastive_loss(tensor(images), tensor(texts), scale(factor))
    assert found.item() == pytest.approx(loss, abs=1e-7, rel=1e-6)
    assert contrastive_loss(tensor(texts), tensor(images), scale(factor)).item() == pytest.approx(found.item())


@pytest.mark.parametrize("n", [1, 2, 8, 1000])
@pytest.mark.parametrize("factor", [1.0, 100.0])
def test_equal_features_cost_the_logarithm_of_the_batch(n: int, factor: float) -> None:
    same = unit(torch.ones(n, 4))
    assert contrastive_loss(same, same, torch.tensor(factor)).item() == pytest.approx(math.log(n), abs=1e-5)


def test_golden_gradient_of_the_log_temperature() -> None:
    t = torch.tensor(math.log(2), dtype=torch.float64, requires_grad=True)
    images, texts = tensor([[1, 0], [0, 1], [-1, 0]]), tensor([[0.8, 0.6], [0, 1], [-0.8, 0.6]])
    (gradient,) = torch.autograd.grad(contrastive_loss(images, texts, t.exp()), t)
    assert gradient.item() == pytest.approx(-0.3333978, abs=1e-7)


@settings(deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 9), factor=st.floats(1, 100))
def test_gradient_is_rows_plus_columns_less_twice_the_diagonal(seed: int, n: int, factor: float) -> None:
    images, texts = (side.requires_grad_() for side in features(seed, n))
    gradients = torch.autograd.grad(contrastive_loss(images, texts, scale(factor)), (images, texts))
    with torch.no_grad():
        logits = factor * images @ texts.T
        by_logits = (logits.softmax(dim=1) + logits.softmax(dim=0) - 2 * torch.eye(n)) / (2 * n)
        expected = factor * by_logits @ texts, factor * by_logits.T @ images
    for found, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(found, wanted)


@settings(deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(2, 9))
def test_the_order_of_the_pairs_does_not_matter_but_the_pairing_does(seed: int, n: int) -> None:
    images, texts = features(seed, n)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    loss = contrastive_loss(images, texts, scale(10))
    torch.testing.assert_close(contrastive_loss(images[order], texts[order], scale(10)), loss)
    assert contrastive_loss(images, images, scale(10)) < contrastive_loss(images, images.roll(1, 0), scale(10))


def test_half_precision_around_the_loss_does_not_reach_the_logits() -> None:
    images, texts = features(0, 256)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = contrastive_loss(images.float(), texts.float(), torch.tensor(100.0))
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(contrastive_loss(images, texts, scale(100)).item(), rel=1e-6)


@pytest.mark.parametrize(("before", "after"), [(-0.5, 0.0), (2.0, 2.0), (5.0, math.log(100))])
def test_the_temperature_is_bounded_in_place(before: float, after: float) -> None:
    model = CLIP(MODEL)
    parameter = model.logit_scale
    with torch.no_grad():
        parameter.fill_(before)
    clip_temperature_(model)
    assert model.logit_scale is parameter
    assert parameter.item() == pytest.approx(after)
    assert parameter.requires_grad


def test_every_parameter_learns() -> None:
    torch.manual_seed(0)
    model = CLIP(MODEL)
    ids = F.pad(torch.randint(1, 18, (4, 5)), (0, 1), value=19)
    torch.autograd.backward(contrastive_loss(*model(torch.randn(4, 3, 16, 16), ids)))
    silent = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert silent == set()
