"""Autocast by name, and a loss scale that follows what float16 can hold."""

import math
from dataclasses import asdict

import pytest
import torch
from torch import nn

from trainer.precision import LossScale, Precision, autocast


@pytest.mark.parametrize(
    ("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)]
)
def test_products_are_computed_in_the_precision_that_is_named(precision: Precision, dtype: torch.dtype) -> None:
    with autocast(torch.device("cpu"), precision):
        assert nn.Linear(4, 4)(torch.ones(1, 4)).dtype == dtype


def parameter(*gradient: float) -> nn.Parameter:
    made = nn.Parameter(torch.zeros(len(gradient)))
    made.grad = torch.tensor(gradient)
    return made


def test_gradients_are_divided_by_the_scale_exactly() -> None:
    scale = LossScale.of("float16")
    one, other, unused = parameter(3 * 2.0**16), parameter(0.0, 4 * 2.0**16), nn.Parameter(torch.zeros(1))
    assert scale.unscale_([one, other, unused]) == 5
    assert one.grad is not None and one.grad.tolist() == [3]


@pytest.mark.parametrize("broken", [math.inf, -math.inf, math.nan])
def test_one_number_that_is_not_finite_is_seen(broken: float) -> None:
    assert not math.isfinite(LossScale.of("float16").unscale_([parameter(1.0), parameter(1.0, broken)]))


def test_the_scale_halves_at_an_overflow_and_doubles_when_it_holds() -> None:
    scale = LossScale.of("float16")
    assert scale.overflowed()
    for _ in range(1_999):
        scale.succeeded()
    assert (scale.value, scale.skipped) == (2.0**15, 1)
    scale = LossScale(**asdict(scale))  # as from a checkpoint
    scale.succeeded()
    assert (scale.value, scale.skipped) == (2.0**16, 1)


def test_at_scale_one_there_is_nothing_left_to_try() -> None:
    scale = LossScale.of("float16")
    assert sum(scale.overflowed() for _ in range(20)) == 16
    assert scale.value == 1
    assert not scale.overflowed()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_other_precisions_are_not_scaled(precision: Precision) -> None:
    scale = LossScale.of(precision)
    for _ in range(5_000):
        scale.succeeded()
    assert scale == LossScale(steps=5_000)
    assert not scale.overflowed()


def test_float16_learns_what_would_vanish_without_a_scale() -> None:
    """A gradient of 1e-9 is zero in float16, 65,536 times as much is not."""
    scale, weight = LossScale.of("float16"), nn.Parameter(torch.ones(4, 4))
    for factor in (1.0, scale.value):
        weight.grad = None
        with autocast(torch.device("cpu"), "float16"):
            out = torch.nn.functional.linear(torch.ones(1, 4), weight)
        torch.autograd.backward(out, torch.full((1, 4), 1e-9 * factor))
        assert weight.grad is not None
        assert bool(weight.grad.any()) is (factor > 1)
