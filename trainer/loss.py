"""The contrastive loss (paper, figure 3) and the bound on its temperature (section 2.5).

The n x N matrix of logits is never in memory: it is computed tile by tile, once for the log-sum-exp of rows and columns
and once more for the gradient. Shapes in comments: n rows of this rank, N of all ranks, e the shared embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainer.model import CLIP
from trainer.ranks import SINGLE_PROCESS, Ranks
from trainer.stopping import Interrupted

CPU_TILE = 1024  # rows and columns of a logits tile: two tiles of 4 MiB stay in a processor's cache
GPU_TILE = 4096  # the same on other devices: 64 MiB, large enough to be worth the launch of a kernel

Tiles = Iterator[tuple[slice, slice, Tensor, Tensor]]  # see _tiles


def contrastive_loss(
    images: Tensor,
    texts: Tensor,
    scale: Tensor,
    ranks: Ranks = SINGLE_PROCESS,
    interrupted: Callable[[], bool] = lambda: False,
) -> Tensor:
    """Symmetric cross entropy over all N x N pairs, in nats []: row i of `images` belongs to row i of `texts`.

    As in figure 3, with labels = 0 … N - 1 and logits = scale * images @ texts.T:
    (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2.

    `images` and `texts` are unit features [n, e], `scale` = exp(logit_scale). Computed in float32 at least, under
    autocast too: in bfloat16 the gradient is off by a tenth once the scale nears 100. Memory O(N e); 8 N^2 e
    operations with the gradient.

    Each rank passes its own rows and gets its share of the loss: the sum of the shares is the loss of the whole batch.
    The gradients of the features are those of the whole batch already; that of `scale` is a share. So the gradients of
    parameters have to be summed over the ranks, not averaged. Forward and backward are collective, and any factor on
    the loss has to be the same on every rank. Both call `interrupted` between the rows of tiles that all ranks have,
    and raise Interrupted on all ranks once it returns True on one; the numbers n may differ by one.
    """
    loss: Tensor = _Loss.apply(images, texts, scale, ranks, interrupted)
    return loss


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, images: Tensor, texts: Tensor, scale: Tensor, ranks: Ranks, interrupted: Callable[[], bool]
    ) -> Tensor:
        wide = torch.promote_types(images.dtype, torch.float32)
        with torch.autocast(images.device.type, enabled=False):
            rows = images.to(wide) * scale.to(wide)  # [n, e]
            columns, first = ranks.all_gather(texts.to(wide))  # [N, e]: column first + i belongs to row i
            row_lse, column_lse, positives = _log_sums(_tiles(rows, columns, ranks, interrupted), rows, columns, first)
            column_lse = ranks.all_gather(column_lse[None])[0].logsumexp(dim=0)
            own = column_lse[first : first + len(rows)]
            loss = ((row_lse - positives).sum() + (own - positives).sum()) / (2 * len(columns))
        ctx.save_for_backward(images, texts, scale, columns, row_lse, column_lse)
        ctx.first, ctx.ranks, ctx.interrupted = first, ranks, interrupted
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        images, texts, scale, columns, row_lse, column_lse = ctx.saved_tensors
        n = len(images)
        with torch.autocast(images.device.type, enabled=False):
            rows = images.to(columns.dtype) * scale.to(columns.dtype)
            grad_rows, grad_columns = _feature_gradients(
                _tiles(rows, columns, ctx.ranks, ctx.interrupted), rows, columns, ctx.first, row_lse, column_lse
            )
            ctx.ranks.all_reduce_([grad_columns])
            factor = upstream.to(columns.dtype) / (2 * len(columns))
            grad_scale = factor * (images.to(columns.dtype) * grad_rows).sum()
            grad_images = grad_rows.mul_(factor * scale)
            grad_texts = grad_columns[ctx.first : ctx.first + n].mul_(factor)
        return grad_images.to(images.dtype), grad_texts.to(texts.dtype), grad_scale.to(scale.dtype), None, None


def _log_sums(tiles: Tiles, rows: Tensor, columns: Tensor, first: int) -> tuple[Tensor, Tensor, Tensor]:
    """Log-sum-exp of each row [n] and, over these rows, of each column [N]; the logits of the positive pairs [n]."""
    row_lse = rows.new_full((len(rows),), -math.inf)
    column_lse = rows.new_full((len(columns),), -math.inf)
    positives = torch.empty_like(row_lse)
    for row_slice, column_slice, logits, scratch in tiles:
        for lse, part, dim in ((row_lse, row_slice, 1), (column_lse, column_slice, 0)):
            largest = logits.amax(dim=dim, keepdim=True)
            torch.sub(logits, largest, out=scratch)
            of_tile = scratch.exp_().sum(dim=dim).log_().add_(largest.squeeze(dim))
            lse[part] = torch.logaddexp(lse[part], of_tile)
        pairs, start = _positives(logits, row_slice, column_slice, first)
        positives[start : start + len(pairs)] = pairs
    return row_lse, column_lse, positives


def _feature_gradients(
    tiles: Tiles, rows: Tensor, columns: Tensor, first: int, row_lse: Tensor, column_lse: Tensor
) -> tuple[Tensor, Tensor]:
    """G @ columns [n, e] and G.T @ rows [N, e], where G [n, N] = row softmax + column softmax - 2 at the positives."""
    grad_rows, grad_columns = torch.zeros_like(rows), torch.zeros_like(columns)
    for row_slice, column_slice, logits, scratch in tiles:
        torch.sub(logits, row_lse[row_slice, None], out=scratch)
        logits.sub_(column_lse[column_slice]).exp_().add_(scratch.exp_())
        _positives(logits, row_slice, column_slice, first)[0].sub_(2)
        grad_rows[row_slice].addmm_(logits, columns[column_slice])
        grad_columns[column_slice].addmm_(logits.T, rows[row_slice])
    return grad_rows, grad_columns


def _tiles(rows: Tensor, columns: Tensor, ranks: Ranks, interrupted: Callable[[], bool]) -> Tiles:
    """Each logits tile with its rows, its columns, and a scratch buffer of its shape; the next tile reuses both."""
    side = CPU_TILE if rows.device.type == "cpu" else GPU_TILE
    size = min(side, len(rows)) * min(side, len(columns))
    memory = rows.new_empty(2, size)  # reused: fresh pages cost more than the writes
    for top in range(0, len(rows), side):
        if 0 < top < len(columns) // ranks.world and ranks.any_rank(interrupted()):
            raise Interrupted
        row_slice = slice(top, min(top + side, len(rows)))
        for left in range(0, len(columns), side):
            column_slice = slice(left, min(left + side, len(columns)))
            shape = (row_slice.stop - row_slice.start, column_slice.stop - column_slice.start)
            logits, scratch = memory[:, : shape[0] * shape[1]].view(2, *shape)
            torch.mm(rows[row_slice], columns[column_slice].T, out=logits)
            yield row_slice, column_slice, logits, scratch


def _positives(logits: Tensor, row_slice: slice, column_slice: slice, first: int) -> tuple[Tensor, int]:
    """The logits of a tile that belong to positive pairs, as a view, and the row of the first of them."""
    offset = first + row_slice.start - column_slice.start  # the column of the tile that is positive for its first row
    height, width = logits.shape
    if not -height < offset < width:
        return logits.diagonal()[:0], row_slice.start
    return logits.diagonal(offset), row_slice.start + max(0, -offset)


@torch.no_grad()
def clip_temperature_(model: CLIP, maximum: float = 100.0) -> None:
    """Bound exp(logit_scale) to [1, maximum] in place, after each optimiser step: larger scales are unstable."""
    model.logit_scale.clamp_(0.0, math.log(maximum))
