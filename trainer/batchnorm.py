"""Batch norm of a batch that is split into micro-batches and over ranks, in three implementations.

`PerMicroBatch` (batch_norm = "micro"): each micro-batch is normalised by its own mean and variance, as if each were
computed by a process without synchronised batch norm.

With batch_norm = "global" the statistics are those of the whole batch, exactly, and are differentiated through.
`Synchronised`, where each rank holds the graph of all its rows, all-reduces within one pass, as SyncBatchNorm does.
`LevelByLevel` needs memory for one micro-batch only: it finds the statistics of one level of norms after the other,
with a pass over the micro-batches for each, and backpropagates through the levels in reverse order. That takes about
twice as many forward passes as there are levels.

None of them touches the running statistics: `RunningUpdate.commit` does, once the optimiser has made its step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from trainer.ranks import Ranks

Forward = Callable[["BatchNorm", Tensor], Tensor]


class BatchNorm(nn.BatchNorm2d):
    """nn.BatchNorm2d, [n, c, h, w] -> [n, c, h, w], whose forward pass can be replaced during a step.

    `shares_pass_with_next`: the next norm's input does not depend on this one, so one pass finds both statistics.
    """

    def __init__(self, channels: int, *, shares_pass_with_next: bool = False) -> None:
        super().__init__(channels)
        self.shares_pass_with_next = shares_pass_with_next
        self.replacement: Forward | None = None

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if self.replacement is None else self.replacement(self, x)


def norms_of(model: nn.Module) -> list[BatchNorm]:
    """The batch norms in training mode; those in evaluation mode use their running statistics."""
    return [module for module in model.modules() if isinstance(module, BatchNorm) and module.training]


@contextmanager
def replaced_forward(norms: Sequence[BatchNorm], forward: Forward) -> Iterator[None]:
    """Within the block `forward` is the forward pass of the norms."""
    for norm in norms:
        norm.replacement = forward
    try:
        yield
    finally:
        for norm in norms:
            norm.replacement = None


class Moments:
    """Count, mean and variance of each channel, merged from parts by the formula of Chan, Golub and LeVeque (1979)."""

    def __init__(self, like: Tensor) -> None:
        self.count = 0.0
        self.mean = torch.zeros(like.shape[1], dtype=torch.float64, device=like.device)
        self.squares = torch.zeros_like(self.mean)  # the sum of the squared distances from the mean

    def add(self, count: float, mean: Tensor, squares: Tensor) -> None:
        """Add so many values, of that mean and that sum of squared distances from it."""
        total = self.count + count
        apart = mean - self.mean
        self.mean += apart * (count / total)
        self.squares += squares + apart**2 * (self.count * count / total)
        self.count = total

    def add_values(self, x: Tensor) -> None:
        """Add the values of x [n, c, h, w]."""
        wide = x.detach().to(torch.promote_types(x.dtype, torch.float32))
        variance, mean = torch.var_mean(wide, dim=(0, 2, 3), correction=0)
        count = x.numel() // x.shape[1]
        self.add(count, mean.double(), variance.double() * count)

    def all_reduced(self, ranks: Ranks) -> Moments:
        """The moments over all ranks, bit for bit the same on each. Collective."""
        if ranks.world == 1:
            return self
        own = torch.cat([self.mean.new_tensor([self.count]), self.mean, self.squares])
        merged = Moments(self.mean[None])
        for row in ranks.all_gather(own[None])[0]:
            mean, squares = row[1:].chunk(2)
            merged.add(float(row[0]), mean, squares)
        return merged

    def biased(self, norm: BatchNorm) -> tuple[Tensor, Tensor]:
        """Mean and biased variance, which batch norm normalises by."""
        like = norm.weight
        return self.mean.to(like.dtype), (self.squares / self.count).to(like.dtype)

    def unbiased(self) -> tuple[Tensor, Tensor]:
        """Mean and unbiased variance, which the running statistics average."""
        return self.mean, self.squares / max(self.count - 1, 1)


class RunningUpdate:
    """The batch statistics of a step that the running statistics have yet to be updated with."""

    def __init__(self, observed: dict[BatchNorm, tuple[Tensor, Tensor]]) -> None:
        self._observed = observed

    @torch.no_grad()
    def commit(self) -> None:
        """Update the running statistics, as nn.BatchNorm2d does in its forward pass."""
        for norm, (mean, variance) in self._observed.items():
            assert norm.running_mean is not None and norm.running_var is not None and norm.momentum is not None
            assert norm.num_batches_tracked is not None
            norm.running_mean.lerp_(mean.to(norm.running_mean), norm.momentum)
            norm.running_var.lerp_(variance.to(norm.running_var), norm.momentum)
            norm.num_batches_tracked += 1


class BatchStatistics:
    """The forward pass of a model's batch norms during one step, and the update of their running statistics."""

    is_collective = False  # whether the forward and backward passes of a micro-batch are
    levels = 0  # of norms, each of which needs backward passes of its own

    def __call__(self, norm: BatchNorm, x: Tensor) -> Tensor:
        raise NotImplementedError

    def finish_level(self) -> None:
        """Called after a pass over the micro-batches that ended with `StatisticsMissing`."""
        raise NotImplementedError

    def begin_backward(self) -> None:
        """Called between the passes without a graph and those with one."""

    def begin_level(self, level: int) -> None:
        """The next forward passes end at this level, each of them followed by `backward_from_level`."""
        raise NotImplementedError

    def backward_from_level(self) -> None:
        """Backpropagate from the norms of the level at which the last forward pass ended."""
        raise NotImplementedError

    def running(self, ranks: Ranks) -> RunningUpdate:
        """The update of the running statistics. Collective."""
        return RunningUpdate({})


class PerMicroBatch(BatchStatistics):
    """Each micro-batch by itself. The running statistics get the mean of theirs, weighted by rows.

    `rows`: of the whole batch, of all ranks.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._recording = True
        self._sums: dict[BatchNorm, tuple[Tensor, Tensor]] = {}

    def __call__(self, norm: BatchNorm, x: Tensor) -> Tensor:
        wide = norm.weight.dtype
        mean, variance = torch.zeros(2, x.shape[1], dtype=wide, device=x.device)  # momentum 1 overwrites them
        y = F.batch_norm(x, mean, variance, norm.weight, norm.bias, True, 1.0, norm.eps)
        if self._recording:
            zeros = torch.zeros(2, x.shape[1], dtype=torch.float64, device=x.device)
            sums = self._sums.setdefault(norm, (zeros[0], zeros[1]))
            sums[0].add_(mean, alpha=len(x) / self._rows)
            sums[1].add_(variance, alpha=len(x) / self._rows)
        return y

    def begin_backward(self) -> None:
        self._recording = False

    def running(self, ranks: Ranks) -> RunningUpdate:
        ranks.all_reduce_([tensor for pair in self._sums.values() for tensor in pair])
        return RunningUpdate(self._sums)


class Synchronised(BatchStatistics):
    """Statistics over the rows of all ranks, each of which holds the graph of its own rows.

    On one rank it computes what nn.BatchNorm2d does, whose sums over many small images are less exact on a CPU.
    """

    is_collective = True

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._observed: dict[BatchNorm, tuple[Tensor, Tensor]] = {}

    def __call__(self, norm: BatchNorm, x: Tensor) -> Tensor:
        moments = Moments(x)
        moments.add_values(x)
        moments = moments.all_reduced(self._ranks)
        self._observed[norm] = moments.unbiased()
        y: Tensor = _Normalise.apply(x, norm.weight, norm.bias, moments, norm, self._ranks)
        return y

    def running(self, ranks: Ranks) -> RunningUpdate:
        return RunningUpdate(self._observed)


class _Normalise(torch.autograd.Function):
    """Batch norm by given statistics, differentiated through them. Backward is collective."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, moments: Moments, norm: BatchNorm, ranks: Ranks
    ) -> Tensor:
        mean, variance = moments.biased(norm)
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.count, ctx.eps, ctx.ranks = moments.count, norm.eps, ranks
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, norm.eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance = ctx.saved_tensors
        wide = grad_y.to(weight.dtype)
        grad_bias = wide.sum(dim=(0, 2, 3))
        grad_weight = (wide * _standardised(x, mean, variance, ctx.eps)).sum(dim=(0, 2, 3))
        total_grad_bias, total_grad_weight = grad_bias.clone(), grad_weight.clone()
        ctx.ranks.all_reduce_([total_grad_bias, total_grad_weight])
        from_statistics = _grad_through_statistics(
            x, weight, mean, variance, ctx.eps, ctx.count, total_grad_bias, total_grad_weight
        )
        grad_x = wide * _per_channel(weight * (variance + ctx.eps).rsqrt()) + from_statistics
        return grad_x.to(x.dtype), grad_weight, grad_bias, None, None, None


class StatisticsMissing(Exception):
    """A forward pass of `LevelByLevel` has reached norms whose statistics are not known yet, and ends there."""


class LevelByLevel(BatchStatistics):
    """Statistics over all micro-batches and ranks, in the memory of one micro-batch.

    Forward: a pass over the micro-batches, each of which raises `StatisticsMissing`, then `finish_level`, until a pass
    reaches the end. Backward: a whole pass with the statistics as constants; then, from the last level to the
    first, `begin_level`, and for each micro-batch a forward pass that raises `StatisticsMissing`, followed by
    `backward_from_level`. All of them but `backward_from_level` are collective.

    No adjoints are kept: the gradient with respect to a norm's mean is -weight/deviation times that of its bias, and
    with respect to its variance -weight/(2 variance) times that of its weight. When a level is reached, everything
    behind it, later statistics included, has been added to these two. Every pass over a micro-batch has to compute the
    same activations, so dropout is seeded per micro-batch.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._known: dict[BatchNorm, Moments] = {}
        self._levels: list[list[BatchNorm]] = []
        self._current: dict[BatchNorm, Moments] = {}  # of the level whose statistics are being computed
        self._backward_level: int | None = None  # the level that a backward pass starts from
        self._inputs: list[tuple[BatchNorm, Tensor]] = []
        self._sums: dict[BatchNorm, tuple[Tensor, Tensor]] = {}

    def __call__(self, norm: BatchNorm, x: Tensor) -> Tensor:
        if self._backward_level is not None and norm in self._levels[self._backward_level]:
            self._inputs.append((norm, x))
        elif norm in self._known:
            mean, variance = self._known[norm].biased(norm)
            return F.batch_norm(x, mean, variance, norm.weight, norm.bias, False, 0.0, norm.eps)
        else:
            self._current.setdefault(norm, Moments(x)).add_values(x)
        if norm.shares_pass_with_next:
            return x.detach().clone()  # only its shape matters: the pass ends at the next norm
        raise StatisticsMissing

    def finish_level(self) -> None:
        self._levels.append(list(self._current))
        self._known |= {norm: moments.all_reduced(self._ranks) for norm, moments in self._current.items()}
        self._current = {}
        self.levels = len(self._levels)

    def begin_level(self, level: int) -> None:
        self._backward_level = level
        self._sums = {}
        for norm in self._levels[level]:
            assert norm.weight.grad is not None and norm.bias.grad is not None
            self._sums[norm] = (norm.weight.grad.clone(), norm.bias.grad.clone())
        self._ranks.all_reduce_([tensor for pair in self._sums.values() for tensor in pair])

    def backward_from_level(self) -> None:
        """Backpropagate the last pass from this level's inputs, given their gradient through the level's statistics."""
        inputs, self._inputs = self._inputs, []
        gradients = []
        for norm, x in inputs:
            moments, (grad_weight, grad_bias) = self._known[norm], self._sums[norm]
            mean, variance = moments.biased(norm)
            gradient = _grad_through_statistics(
                x.detach(), norm.weight.detach(), mean, variance, norm.eps, moments.count, grad_bias, grad_weight
            )
            gradients.append(gradient.to(x.dtype))
        torch.autograd.backward([x for _, x in inputs], gradients)

    def running(self, ranks: Ranks) -> RunningUpdate:
        return RunningUpdate({norm: moments.unbiased() for norm, moments in self._known.items()})


def _grad_through_statistics(
    x: Tensor,
    weight: Tensor,
    mean: Tensor,
    variance: Tensor,
    eps: float,
    count: float,
    grad_bias: Tensor,
    grad_weight: Tensor,
) -> Tensor:
    """The gradient of x through the mean and variance of `count` values, from the gradients of bias and weight."""
    factor = weight * (variance + eps).rsqrt() / -count
    return _per_channel(factor * grad_bias) + _standardised(x, mean, variance, eps) * _per_channel(factor * grad_weight)


def _standardised(x: Tensor, mean: Tensor, variance: Tensor, eps: float) -> Tensor:
    return (x.to(mean.dtype) - _per_channel(mean)) * _per_channel((variance + eps).rsqrt())


def _per_channel(values: Tensor) -> Tensor:
    """Values [c] as [c, 1, 1], to broadcast over [n, c, h, w]."""
    return values[:, None, None]
