"""The gradient in micro-batches against that of the whole batch, and what an interruption leaves."""

import copy
import itertools
import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from core.errors import UsageError
from tests.trainer.gradients import (
    RESNET,
    VIT,
    batch,
    error,
    gradient,
    held,
    model_of,
    naive_step,
    running,
    with_dropout,
    worst_error,
)
from trainer.accumulate import StepMetrics, dropout_seed, gradients
from trainer.images import normalise
from trainer.microbatches import even_slices, lengths
from trainer.model import CLIP, ModelConfig, unit
from trainer.stopping import Interrupted

TOWERS = pytest.mark.parametrize("sizes", [VIT, RESNET], ids=["vit", "resnet"])


@TOWERS
@pytest.mark.parametrize("micro_batch", [1, 7, 12])
def test_every_gradient_is_that_of_the_whole_batch(sizes: ModelConfig, micro_batch: int) -> None:
    model, (images, ids) = model_of(sizes), batch(12)
    reference = copy.deepcopy(model)
    loss = naive_step(reference, images, ids)
    found = gradients(model, images, ids, micro_batch=micro_batch, batch_norm="global")
    assert found.loss == pytest.approx(loss, rel=1e-12)
    assert worst_error(model, reference) < 1e-10
    untouched = running(model_of(sizes))
    assert all(torch.equal(value, untouched[name]) for name, value in running(model).items())
    found.commit()
    moved = running(reference)
    for name, value in running(model).items():
        torch.testing.assert_close(value, moved[name], rtol=1e-10, atol=1e-12)


@TOWERS
def test_float32_is_as_exact_in_any_micro_batches(sizes: ModelConfig) -> None:
    """Held against float64: torch's own batch norm is off by 5e-4 in float32 on a CPU where images are a pixel wide."""
    model, (images, ids) = model_of(sizes, torch.float32), batch(128)
    reference = copy.deepcopy(model).double()
    naive_step(reference, images, ids)
    for micro_batch in (41, 128):
        gradients(model, images, ids, micro_batch=micro_batch, batch_norm="global")
        assert error(gradient(model), gradient(reference)) < 1e-5


def errors_at_2048_rows(model: CLIP) -> list[float]:
    """Those of three sizes of micro-batches against torch in float64, and of two of them against each other."""
    images, ids = batch(2048)
    reference = copy.deepcopy(model).double()
    naive_step(reference, images, ids)
    found = []
    for micro_batch in (100, 500, 2048):
        gradients(model, images, ids, micro_batch=micro_batch, batch_norm="global")
        found.append(gradient(model))
    return [error(found[0], found[1]), *(error(one, gradient(reference)) for one in found)]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@TOWERS
def test_2048_rows(sizes: ModelConfig) -> None:
    assert max(errors_at_2048_rows(model_of(sizes))) < 1e-10


@pytest.mark.slow
@TOWERS
def test_2048_rows_in_float32(sizes: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the kinks of ReLU: where a value is next to 0, its last bit decides whether it has a gradient."""
    monkeypatch.setattr(F, "relu", lambda x, inplace: F.softplus(x))
    assert max(errors_at_2048_rows(model_of(sizes, torch.float32))) < 1e-5


@pytest.mark.slow
def test_2048_rows_in_float32_through_relu() -> None:
    """Torch's own gradient of the whole batch is off by 5e-5: 18 of its 26 million values lie within 1e-6 of 0."""
    model, (images, ids) = model_of(RESNET, torch.float32), batch(2048)
    reference, single = copy.deepcopy(model).double(), copy.deepcopy(model)
    naive_step(reference, images, ids)
    naive_step(single, images, ids)
    assert max(errors_at_2048_rows(model)) < 1e-4
    assert error(gradient(single), gradient(reference)) < 1e-4


# ── dropout ──


@pytest.mark.parametrize("micro_batch", [1, 7, 20])
def test_dropout_is_the_same_in_both_passes(micro_batch: int) -> None:
    model, (images, ids) = with_dropout(model_of(VIT)), batch(20)
    reference = copy.deepcopy(model)
    torch.manual_seed(5)
    loss = held(reference, images, ids, micro_batch)
    torch.manual_seed(5)
    found = gradients(model, images, ids, micro_batch=micro_batch, batch_norm="micro")
    assert found.loss == pytest.approx(loss, rel=1e-12)
    assert worst_error(model, reference) < 1e-10


def test_dropout_between_norms_of_the_whole_batch() -> None:
    """By finite differences along the gradient: no reference holds statistics of all micro-batches."""
    model, (images, ids) = with_dropout(model_of(RESNET)), batch(12)

    def loss() -> float:
        torch.manual_seed(5)
        return gradients(model, images, ids, micro_batch=5, batch_norm="global").loss

    loss()
    slopes = [(parameter, parameter.grad.clone()) for parameter in model.parameters() if parameter.grad is not None]
    step = 1e-9

    def moved(by: float) -> float:
        with torch.no_grad():
            for parameter, slope in slopes:
                parameter.add_(slope, alpha=by)
        return loss()

    rise = (moved(step) - moved(-2 * step)) / (2 * step)
    assert rise == pytest.approx(sum(float(slope.square().sum()) for _, slope in slopes), rel=1e-5)


def test_a_step_draws_one_number_however_many_micro_batches_it_has() -> None:
    model, (images, ids) = with_dropout(model_of(VIT)), batch(8)
    ends = []
    for seed, micro_batch in ((5, 3), (5, 8), (6, 3)):
        torch.manual_seed(seed)
        gradients(model, images, ids, micro_batch=micro_batch, batch_norm="micro")
        ends.append(torch.get_rng_state())
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])


def test_no_two_micro_batches_share_a_seed() -> None:
    places = list(itertools.product((1, 2), range(3), ("image", "text"), range(300)))
    seeds = [dropout_seed(*place) for place in places]
    assert len(set(seeds)) == len(places)
    assert all(0 <= seed < 1 << 63 for seed in seeds)  # what torch.manual_seed takes


# ── batch norm by micro-batches ──


def test_each_micro_batch_by_itself() -> None:
    model, (images, ids) = model_of(RESNET), batch(20)
    reference, before = copy.deepcopy(model), running(model)
    held(reference, images, ids, 7)  # 6, 7 and 7 rows, each of which moves the running statistics
    found = gradients(model, images, ids, micro_batch=7, batch_norm="micro")
    assert worst_error(model, reference) < 1e-10
    found.commit()
    alone = []
    for rows in even_slices(20, 7):
        one = model_of(RESNET)
        one.encode_image(normalise(images[rows]).double())
        alone.append((len(images[rows]) / 20, running(one)))
    for name, value in running(model).items():
        if name.endswith("num_batches_tracked"):
            assert value == before[name] + 1
        else:
            wanted = sum(share * moved[name] for share, moved in alone)
            torch.testing.assert_close(value, wanted, rtol=1e-10, atol=1e-12)


def test_a_single_image_has_no_statistics_of_its_own() -> None:
    model, (images, ids) = model_of(RESNET), batch(3)
    with pytest.raises(UsageError, match="one stays alone"):
        gradients(model, images, ids, micro_batch=2, batch_norm="micro")


def test_in_evaluation_running_statistics_count_and_stay() -> None:
    model, (images, ids) = model_of(RESNET).eval(), batch(6)
    reference, before = copy.deepcopy(model), running(model)
    naive_step(reference, images, ids)
    gradients(model, images, ids, micro_batch=1, batch_norm="micro").commit()
    assert worst_error(model, reference) < 1e-10
    assert all(torch.equal(value, before[name]) for name, value in running(model).items())


# ── interruptions ──


@TOWERS
@pytest.mark.parametrize("after", [0, 3, 8, 13, 40])
def test_nothing_is_left_of_an_interrupted_step(sizes: ModelConfig, after: int) -> None:
    model, (images, ids) = with_dropout(model_of(sizes)), batch(8)
    weights, generator = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    asked = 0

    def interrupted() -> bool:
        nonlocal asked
        asked += 1
        return asked > after

    def step(**more: Any) -> StepMetrics:
        return gradients(model, images, ids, micro_batch=2, batch_norm="global", **more)

    if after == 40 and sizes == VIT:
        step(interrupted=interrupted)  # it has fewer micro-batches than that
        return
    with pytest.raises(Interrupted):
        step(interrupted=interrupted)
    assert asked == after + 1
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    again = step()
    gradients_again = gradient(model)
    torch.set_rng_state(generator)
    assert step().loss == again.loss
    assert torch.equal(gradient(model), gradients_again)


def test_nor_of_one_that_fails() -> None:
    model, (images, ids) = model_of(RESNET), batch(6)
    generator = torch.get_rng_state()
    ids[3, 0] = 10_000  # no such token
    with pytest.raises(IndexError):
        gradients(model, images, ids, micro_batch=2, batch_norm="global")
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), generator)
    assert model.visual.training and naive_step(model, images, batch(6)[1]) > 0  # its norms are nn.BatchNorm2d again


# ── what is measured, and the rest ──


def test_what_is_measured() -> None:
    model, (images, ids) = model_of(VIT), batch(10)
    found = gradients(model, images, ids, micro_batch=4, batch_norm="micro")
    with torch.no_grad():
        raw = model.encode_image(normalise(images).double()), model.encode_text(ids)
        x, y = (unit(features) for features in raw)
    assert found.scale == pytest.approx(model.logit_scale.exp().item())
    assert found.alignment == pytest.approx((x - y).norm(dim=1).square().mean().item())
    for uniformity, side in ((found.uniformity_images, x), (found.uniformity_texts, y)):
        assert uniformity == pytest.approx(math.log(torch.pdist(side).square().mul(-2).exp().mean().item()))
    assert found.norm_images == pytest.approx(raw[0].norm(dim=1).mean().item())
    assert found.norm_texts == pytest.approx(raw[1].norm(dim=1).mean().item())
    assert found.tokens == int(lengths(ids).sum())


def test_one_pair_costs_nothing() -> None:
    found = gradients(model_of(VIT), *batch(1), micro_batch=8, batch_norm="micro")
    assert found.loss == found.uniformity_images == 0


def test_gradients_are_scaled_as_asked_and_loss_is_not() -> None:
    model, (images, ids) = model_of(VIT), batch(6)
    plain = gradients(model, images, ids, micro_batch=6, batch_norm="micro")
    once = gradient(model)
    scaled = gradients(model, images, ids, micro_batch=2, batch_norm="micro", loss_scale=1024.0)
    assert scaled.loss == pytest.approx(plain.loss)
    assert error(gradient(model) / 1024, once) < 1e-10


@TOWERS
def test_under_autocast(sizes: ModelConfig) -> None:
    model, (images, ids) = model_of(sizes, torch.float32), batch(10)
    gradients(model, images, ids, micro_batch=10, batch_norm="global")
    full = gradient(model)
    for micro_batch in (3, 10):
        gradients(
            model,
            images,
            ids,
            micro_batch=micro_batch,
            batch_norm="global",
            autocast=lambda: torch.autocast("cpu", torch.bfloat16),
        )
        assert 1e-4 < error(gradient(model), full) < 0.3


@pytest.mark.parametrize(
    ("images", "texts", "micro_batch", "said"),
    [(0, 0, 4, "leaves a rank without a pair"), (3, 2, 4, "there is no batch"), (3, 3, 0, "there is no batch")],
)
def test_what_is_no_batch(images: int, texts: int, micro_batch: int, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        gradients(model_of(VIT), batch(3)[0][:images], batch(3)[1][:texts], micro_batch=micro_batch, batch_norm="micro")
