"""The contrastive loss against closed forms and published numbers, and the bound on the temperature."""

import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from tests.running import ROOT, environment
from tests.trainer.gradients import naive_loss
from trainer import loss as losses
from trainer.loss import clip_temperature_, contrastive_loss
from trainer.model import CLIP, ModelConfig, unit
from trainer.ranks import SINGLE_PROCESS

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


@pytest.mark.parametrize(
    ("images", "texts", "factor", "by_image", "by_text"),
    [
        ([[1, 0], [0, 1], [-1, 0]], [[0.8, 0.6], [0, 1], [-0.8, 0.6]], 2, 0.3585512, 0.4379323),
        ([[1, 0, 0], [0.6, 0.8, 0], [0, 0.6, 0.8]], torch.eye(3).tolist(), 10, 0.0848459, 0.0486962),
    ],
)
def test_golden_losses_of_one_direction(
    images: list[list[float]], texts: list[list[float]], factor: float, by_image: float, by_text: float
) -> None:
    rows, columns = factor * tensor(images), tensor(texts)
    row_lse, column_lse, positives = losses._log_sums(
        losses._tiles(rows, columns, SINGLE_PROCESS, lambda: False), rows, columns, 0
    )
    assert float((row_lse - positives).mean()) == pytest.approx(by_image, abs=1e-7)
    assert float((column_lse - positives).mean()) == pytest.approx(by_text, abs=1e-7)


def test_golden_loss_of_the_papers_batch() -> None:
    same = torch.ones(32_768, 1)
    assert contrastive_loss(same, same, torch.tensor(100.0)).item() == pytest.approx(10.3972077, abs=1e-5)


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


@pytest.fixture(params=[1, 5, 1024])
def tile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Logits a side of a tile."""
    side: int = request.param
    monkeypatch.setattr(losses, "CPU_TILE", side)
    return side


@pytest.mark.usefixtures("tile")
@pytest.mark.parametrize("n", [1, 2, 5, 13])
@pytest.mark.parametrize("factor", [1.0, 1 / 0.07, 100.0])
@pytest.mark.parametrize("alike", [False, True], ids=["", "duplicates"])
def test_in_tiles_it_is_the_naive_loss(n: int, factor: float, alike: bool) -> None:
    images, texts = features(n, n)
    if alike:
        images, texts = images[torch.arange(n) // 2], texts[torch.arange(n) // 3]
    found_of = [leaf.clone().requires_grad_() for leaf in (images, texts, scale(factor))]
    wanted_of = [leaf.clone().requires_grad_() for leaf in (images, texts, scale(factor))]
    found = contrastive_loss(found_of[0], found_of[1], found_of[2])
    wanted = naive_loss(wanted_of[0], wanted_of[1], wanted_of[2])
    assert found.item() == pytest.approx(wanted.item(), rel=1e-12, abs=1e-12)
    gradients = torch.autograd.grad(3 * found, found_of)
    for gradient, expected in zip(gradients, torch.autograd.grad(3 * wanted, wanted_of), strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("tile")
def test_large_logits_do_not_overflow() -> None:
    images, texts = (side.float().requires_grad_() for side in (unit(torch.ones(7, 4)), unit(torch.ones(7, 4))))
    loss = contrastive_loss(images, texts, torch.tensor(100.0))
    assert loss.item() == pytest.approx(math.log(7), abs=1e-5)
    assert all(side.isfinite().all() for side in torch.autograd.grad(loss, (images, texts)))
    opposite = contrastive_loss(images, -texts, torch.tensor(100.0))  # all logits -100: exp of them is 0 in float32
    assert opposite.item() == pytest.approx(math.log(7), abs=1e-5)


def test_what_is_not_finite_is_seen() -> None:
    images, texts = features(0, 6)
    images[3, 2] = math.nan
    assert math.isnan(contrastive_loss(images, texts, scale(10)).item())


PEAK = """
import sys, torch
from pathlib import Path
from torch.nn import functional as F
from trainer.loss import contrastive_loss
from trainer.telemetry import peak_memory
before, cpu = None, torch.device("cpu")
for n in map(int, sys.argv[1:]):
    images, texts = (F.normalize(torch.randn(n, 8), dim=1).requires_grad_() for _ in range(2))
    if before is None:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak: importing has had one of its own
        before = peak_memory(cpu)
    torch.autograd.backward(contrastive_loss(images, texts, torch.tensor(14.0)))
    print(peak_memory(cpu) - before)
"""


def test_memory_is_no_matrix_of_logits() -> None:
    """One float32 matrix of 8,192 x 8,192 logits would be 256 MiB, and the naive loss holds six."""
    words = [sys.executable, "-c", PEAK, "2048", "8192"]
    ran = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True, timeout=300)
    little, much = (int(line) / 2**20 for line in ran.stdout.split())
    assert much < 64, f"{little}, {much} MiB"
    assert much < little + 16, f"{little}, {much} MiB"


def test_half_precision_around_the_loss_does_not_reach_the_logits() -> None:
    images, texts = features(0, 256)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = contrastive_loss(images.float(), texts.float(), torch.tensor(100.0))
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(contrastive_loss(images, texts, scale(100)).item(), rel=1e-6)


def test_nor_through_its_gradient() -> None:
    images, texts = (side.float().requires_grad_() for side in features(0, 256))
    (wanted,) = torch.autograd.grad(contrastive_loss(images, texts, torch.tensor(100.0)), images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (found,) = torch.autograd.grad(contrastive_loss(images, texts, torch.tensor(100.0)), images)
    assert torch.equal(found, wanted)


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
