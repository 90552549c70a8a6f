"""Batch norm in micro-batches against nn.BatchNorm2d on the whole batch."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.trainer.gradients import RESNET, error, gradient, running
from trainer.batchnorm import (
    BatchNorm,
    BatchStatistics,
    LevelByLevel,
    Moments,
    StatisticsMissing,
    Synchronised,
    norms_of,
    replaced_forward,
)
from trainer.model import CLIP
from trainer.ranks import SINGLE_PROCESS


class Net(nn.Module):
    """Norms one after the other, and two side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.Conv2d(3, 4, 3), BatchNorm(4), nn.ReLU(), nn.Conv2d(4, 6, 3))
        self.aside = nn.Sequential(nn.Conv2d(6, 5, 1), BatchNorm(5, shares_pass_with_next=True))
        self.along = nn.Sequential(BatchNorm(6), nn.Tanh(), nn.Conv2d(6, 5, 1), BatchNorm(5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        out: Tensor = self.aside(x) + self.along(x)
        return out


def net(dtype: torch.dtype = torch.float64) -> Net:
    torch.manual_seed(0)
    made = Net()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return made.to(dtype)


def whole(model: Net, x: Tensor, by_y: Tensor, size: int) -> LevelByLevel:
    """One step in micro-batches of a size."""
    statistics, parts = (
        LevelByLevel(SINGLE_PROCESS),
        list(zip(torch.split(x, size), torch.split(by_y, size), strict=True)),
    )
    with replaced_forward(norms_of(model), statistics):
        reached = True
        while reached:
            reached = False
            for part, _ in parts:
                try:
                    with torch.no_grad():
                        model(part)
                except StatisticsMissing:
                    reached = True
            if reached:
                statistics.finish_level()
        for part, seed in parts:
            torch.autograd.backward(model(part), seed)
        for level in reversed(range(statistics.levels)):
            statistics.begin_level(level)
            for part, _ in parts:
                with pytest.raises(StatisticsMissing):
                    model(part)
                statistics.backward_from_level()
    return statistics


def shared(model: Net, x: Tensor, by_y: Tensor, size: int) -> Synchronised:
    statistics = Synchronised(SINGLE_PROCESS)
    with replaced_forward(norms_of(model), statistics):
        torch.autograd.backward(model(x), by_y)
    return statistics


@pytest.mark.parametrize("step", [whole, shared])
@pytest.mark.parametrize("size", [1, 3, 10])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=["double", "single"])
def test_it_is_batch_norm(
    step: Callable[[Net, Tensor, Tensor, int], BatchStatistics], size: int, dtype: torch.dtype, bound: float
) -> None:
    model, x, by_y = net(dtype), torch.randn(10, 3, 7, 7, dtype=dtype), torch.randn(10, 5, 3, 3, dtype=dtype)
    reference = copy.deepcopy(model)
    torch.autograd.backward(reference(x), by_y)
    before = running(model)
    statistics = step(model, x, by_y, size)
    assert error(gradient(model), gradient(reference)) < bound
    assert all(torch.equal(value, before[name]) for name, value in running(model).items())
    statistics.running(SINGLE_PROCESS).commit()
    wanted = running(reference)
    for name, value in running(model).items():
        torch.testing.assert_close(value, wanted[name], rtol=bound, atol=bound)


def test_norms_side_by_side_share_a_level() -> None:
    assert whole(net(), torch.randn(4, 3, 7, 7).double(), torch.randn(4, 5, 3, 3).double(), 2).levels == 3


def test_of_a_residual_network_too() -> None:
    norms = norms_of(CLIP(RESNET))
    assert len(norms) == 3 + 4 * 4
    assert [norm.shares_pass_with_next for norm in norms].count(True) == 4
    assert len(norms_of(CLIP(RESNET).eval())) == 0


def test_moments_do_not_lose_a_small_variance_beside_a_large_mean() -> None:
    x = 1e4 + torch.randn(64, 2, 5, 5)
    moments = Moments(x)
    for part in torch.split(x, 7):
        moments.add_values(part)
    variance, mean = torch.var_mean(x.double(), dim=(0, 2, 3))
    torch.testing.assert_close(moments.unbiased()[0], mean, rtol=1e-7, atol=0)
    torch.testing.assert_close(moments.unbiased()[1], variance, rtol=1e-4, atol=0)


def test_forward_passes_are_torchs_own_afterwards() -> None:
    model = net()
    with pytest.raises(StatisticsMissing), replaced_forward(norms_of(model), LevelByLevel(SINGLE_PROCESS)):
        model(torch.randn(2, 3, 7, 7).double())
    before = running(model)
    model(torch.randn(2, 3, 7, 7).double())
    assert not torch.equal(running(model)["before.1.running_mean"], before["before.1.running_mean"])
