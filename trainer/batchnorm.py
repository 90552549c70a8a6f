"""Batch norm where a batch is computed in micro-batches and by several ranks: what it means is a choice.

`PerMicroBatch`: each micro-batch normalises by its own mean and variance, as with one process a micro-batch. The
running ones move once a step, towards the mean over the micro-batches, each weighted by its rows.

Or the whole batch normalises, exactly, and the gradient goes through its statistics. Where each rank holds the graph of
all its rows, `Synchronised` sums over the ranks within one pass. Else `LevelByLevel` finds the statistics of one level
of norms after the other, with a pass over the micro-batches each, and goes back through the levels in the same way:
nothing is held beyond a micro-batch, for about twice as many forward passes as there are levels.

Neither changes the running statistics of a model: `Running.commit` does, once a step was made.
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

Through = Callable[["BatchNorm", Tensor], Tensor]


class BatchNorm(nn.BatchNorm2d):
    """nn.BatchNorm2d, [n, c, h, w] -> [n, c, h, w], whose forward pass can be another one for the time of a step.

    `with_next` says that what the next norm reads does not depend on this one, so that one pass finds both statistics.
    """

    def __init__(self, channels: int, *, with_next: bool = False) -> None:
        super().__init__(channels)
        self.with_next = with_next
        self.through: Through | None = None

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if self.through is None else self.through(self, x)


def norms_of(model: nn.Module) -> list[BatchNorm]:
    """The norms that normalise by the batch: those that are not in evaluation."""
    return [module for module in model.modules() if isinstance(module, BatchNorm) and module.training]


@contextmanager
def passing(norms: Sequence[BatchNorm], through: Through) -> Iterator[None]:
    """All forward passes of the norms are `through`, in between."""
    for norm in norms:
        norm.through = through
    try:
        yield
    finally:
        for norm in norms:
            norm.through = None


class Moments:
    """Number of values, and mean and variance of each channel, part added to part as Chan, Golub and LeVeque do."""

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

    def over(self, ranks: Ranks) -> Moments:
        """Those of all ranks together, to the same bits on each."""
        if ranks.world == 1:
            return self
        own = torch.cat([self.mean.new_tensor([self.count]), self.mean, self.squares])
        merged = Moments(self.mean[None])
        for row in ranks.gather(own[None])[0]:
            mean, squares = row[1:].chunk(2)
            merged.add(float(row[0]), mean, squares)
        return merged

    def used(self, norm: BatchNorm) -> tuple[Tensor, Tensor]:
        """Mean and variance to normalise by."""
        like = norm.weight
        return self.mean.to(like.dtype), (self.squares / self.count).to(like.dtype)

    def observed(self) -> tuple[Tensor, Tensor]:
        """Mean and unbiased variance, as running statistics collect them."""
        return self.mean, self.squares / max(self.count - 1, 1)


class Running:
    """What the running statistics of each norm are to move towards."""

    def __init__(self, observed: dict[BatchNorm, tuple[Tensor, Tensor]]) -> None:
        self._observed = observed

    @torch.no_grad()
    def commit(self) -> None:
        """Move them, as nn.BatchNorm2d does in its forward pass."""
        for norm, (mean, variance) in self._observed.items():
            assert norm.running_mean is not None and norm.running_var is not None and norm.momentum is not None
            assert norm.num_batches_tracked is not None
            norm.running_mean.lerp_(mean.to(norm.running_mean), norm.momentum)
            norm.running_var.lerp_(variance.to(norm.running_var), norm.momentum)
            norm.num_batches_tracked += 1


class Statistics:
    """What the norms of a model do in the forward passes of one step, and what their running statistics learn of it."""

    is_collective = False  # the forward pass of a micro-batch, and its backward pass
    levels = 0  # that a backward pass goes through one after the other

    def __call__(self, norm: BatchNorm, x: Tensor) -> Tensor:
        raise NotImplementedError

    def next_level(self) -> None:
        """A pass over the micro-batches has ended with `Reached`."""
        raise NotImplementedError

    def begin_backward(self) -> None:
        """All forward passes without a graph are done."""

    def open_level(self, level: int) -> None:
        """The next passes end at this level, each of them followed by `backward_from_level`."""
        raise NotImplementedError

    def backward_from_level(self) -> None:
        raise NotImplementedError

    def running(self, ranks: Ranks) -> Running:
        """What `commit` is to apply. Collective."""
        return Running({})


class PerMicroBatch(Statistics):
    """Each micro-batch by itself. `rows`: of the whole batch, of all ranks."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._noting = True
        self._sums: dict[BatchNorm, tuple[Tensor, Tensor]] = {}

    def __call__(self, norm: BatchNorm, x: Tensor) -> Tensor:
        wide = norm.weight.dtype
        mean, variance = torch.zeros(2, x.shape[1], dtype=wide, device=x.device)  # written to by a momentum of 1
        y = F.batch_norm(x, mean, variance, norm.weight, norm.bias, True, 1.0, norm.eps)
        if self._noting:
            zeros = torch.zeros(2, x.shape[1], dtype=torch.float64, device=x.device)
            sums = self._sums.setdefault(norm, (zeros[0], zeros[1]))
            sums[0].add_(mean, alpha=len(x) / self._rows)
            sums[1].add_(variance, alpha=len(x) / self._rows)
        return y

    def begin_backward(self) -> None:
        self._noting = False

    def running(self, ranks: Ranks) -> Running:
        """The mean over the micro-batches of all ranks."""
        ranks.sum_([tensor for pair in self._sums.values() for tensor in pair])
        return Running(self._sums)


class Synchronised(Statistics):
    """The rows of all ranks, each of which computes its own in one pass and holds their graph.

    Of one rank this is nn.BatchNorm2d, whose sums over many small images are 100 times less exact on a CPU.
    """

    is_collective = True

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._observed: dict[BatchNorm, tuple[Tensor, Tensor]] = {}

    def __call__(self, norm: BatchNorm, x: Tensor) -> Tensor:
        moments = Moments(x)
        moments.add_values(x)
        moments = moments.over(self._ranks)
        self._observed[norm] = moments.observed()
        y: Tensor = _Normalise.apply(x, norm.weight, norm.bias, moments, norm, self._ranks)
        return y

    def running(self, ranks: Ranks) -> Running:
        return Running(self._observed)


class _Normalise(torch.autograd.Function):
    """Batch norm by given statistics, whose gradient goes through them. Backward is collective."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, moments: Moments, norm: BatchNorm, ranks: Ranks
    ) -> Tensor:
        mean, variance = moments.used(norm)
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.count, ctx.eps, ctx.ranks = moments.count, norm.eps, ranks
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, norm.eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_y: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance = ctx.saved_tensors
        wide = by_y.to(weight.dtype)
        by_bias, by_weight = wide.sum(dim=(0, 2, 3)), (wide * _standard(x, mean, variance, ctx.eps)).sum(dim=(0, 2, 3))
        all_bias, all_weight = by_bias.clone(), by_weight.clone()
        ctx.ranks.sum_([all_bias, all_weight])
        through = _through_statistics(x, weight, mean, variance, ctx.eps, ctx.count, all_bias, all_weight)
        by_x = wide * _channels(weight * (variance + ctx.eps).rsqrt()) + through
        return by_x.to(x.dtype), by_weight, by_bias, None, None, None


class Reached(Exception):
    """A forward pass of `LevelByLevel` has come to norms whose statistics are not known, and ends there."""


class LevelByLevel(Statistics):
    """The rows of all micro-batches and ranks, with nothing held but statistics.

    Forward, again and again: a pass over the micro-batches, each of which raises `Reached`, then `next_level`, until a
    pass goes through. Backward: a pass through, with the statistics as constants; then, from the last level to the
    first, `open_level` and for each micro-batch a forward pass that raises `Reached` and
    `backward_from_level`. All but the last are collective.

    That is enough, because the gradient with respect to a norm's mean is -weight/deviation times that of its bias, and
    with respect to its variance -weight/(2 variance) times that of its weight: all that comes after a norm, through
    later statistics, too, has been added to these two once its level is reached. Levels, micro-batches and what they
    hold are the same each time, if dropout is.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._known: dict[BatchNorm, Moments] = {}
        self._levels: list[list[BatchNorm]] = []
        self._found: dict[BatchNorm, Moments] = {}  # of the level that is being looked at
        self._open: int | None = None  # the level that a backward pass starts from
        self._inputs: list[tuple[BatchNorm, Tensor]] = []
        self._sums: dict[BatchNorm, tuple[Tensor, Tensor]] = {}

    def __call__(self, norm: BatchNorm, x: Tensor) -> Tensor:
        if self._open is not None and norm in self._levels[self._open]:
            self._inputs.append((norm, x))
        elif norm in self._known:
            mean, variance = self._known[norm].used(norm)
            return F.batch_norm(x, mean, variance, norm.weight, norm.bias, False, 0.0, norm.eps)
        else:
            self._found.setdefault(norm, Moments(x)).add_values(x)
        if norm.with_next:
            return x.detach().clone()  # of the right shape: nobody looks at what comes of it
        raise Reached

    def next_level(self) -> None:
        self._levels.append(list(self._found))
        self._known |= {norm: moments.over(self._ranks) for norm, moments in self._found.items()}
        self._found = {}
        self.levels = len(self._levels)

    def open_level(self, level: int) -> None:
        self._open = level
        self._sums = {}
        for norm in self._levels[level]:
            assert norm.weight.grad is not None and norm.bias.grad is not None
            self._sums[norm] = (norm.weight.grad.clone(), norm.bias.grad.clone())
        self._ranks.sum_([tensor for pair in self._sums.values() for tensor in pair])

    def backward_from_level(self) -> None:
        """Add the gradients of what came before the level in the last pass, through the level's statistics."""
        inputs, self._inputs = self._inputs, []
        seeds = []
        for norm, x in inputs:
            moments, (by_weight, by_bias) = self._known[norm], self._sums[norm]
            mean, variance = moments.used(norm)
            seed = _through_statistics(
                x.detach(), norm.weight.detach(), mean, variance, norm.eps, moments.count, by_bias, by_weight
            )
            seeds.append(seed.to(x.dtype))
        torch.autograd.backward([x for _, x in inputs], seeds)

    def running(self, ranks: Ranks) -> Running:
        return Running({norm: moments.observed() for norm, moments in self._known.items()})


def _through_statistics(
    x: Tensor,
    weight: Tensor,
    mean: Tensor,
    variance: Tensor,
    eps: float,
    count: float,
    by_bias: Tensor,
    by_weight: Tensor,
) -> Tensor:
    """The gradient of x through mean and variance of `count` values, from those of bias and weight of all of them."""
    factor = weight * (variance + eps).rsqrt() / -count
    return _channels(factor * by_bias) + _standard(x, mean, variance, eps) * _channels(factor * by_weight)


def _standard(x: Tensor, mean: Tensor, variance: Tensor, eps: float) -> Tensor:
    return (x.to(mean.dtype) - _channels(mean)) * _channels((variance + eps).rsqrt())


def _channels(values: Tensor) -> Tensor:
    """One value a channel, to be used with [n, c, h, w]."""
    return values[:, None, None]
