"""The contrastive loss (paper, figure 3) and the bound on its temperature (section 2.5).

The n x n logits are never held: they are computed a tile at a time, once for the logarithms of the sums of rows and
columns and once more for the gradient. Shapes in comments: n rows of this rank, N of all ranks, e the shared embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainer.model import CLIP
from trainer.ranks import ALONE, Ranks
from trainer.stopping import Interrupted

TILE = {"cpu": 1024}  # logits a side: two tiles of 4 MiB stay in a processor's cache
LARGE_TILE = 4096  # elsewhere: 64 MiB, large enough to be worth starting a kernel

Tiles = Iterator[tuple[slice, slice, Tensor, Tensor]]  # see _tiles


def contrastive_loss(
    images: Tensor,
    texts: Tensor,
    scale: Tensor,
    ranks: Ranks = ALONE,
    interrupted: Callable[[], bool] = lambda: False,
) -> Tensor:
    """Symmetric cross entropy over all N x N pairs, in nats []: row i of `images` belongs to row i of `texts`.

    `images` and `texts` are unit features [n, e], `scale` = exp(logit_scale). Computed in float32 at least, under
    autocast too: in bfloat16 the gradient is off by a tenth once the scale nears 100. Memory O(N e); 8 N^2 e
    operations with the gradient.

    On several ranks each gives its rows, and gets its share of the loss: the sum of the shares is the loss of the whole
    batch. The gradients of the features are those of the whole batch already; that of `scale` is a share. So the
    gradients of parameters are to be summed over the ranks, never averaged. Forward and backward are collective, and
    what the loss is multiplied by before its backward pass has to be the same on every rank. Where there is one rank,
    both raise Interrupted once `interrupted` says so, which is asked before each tile.
    """
    ask = interrupted if ranks.world == 1 else lambda: False
    loss: Tensor = _Loss.apply(images, texts, scale, ranks, ask)
    return loss


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, images: Tensor, texts: Tensor, scale: Tensor, ranks: Ranks, ask: Callable[[], bool]
    ) -> Tensor:
        wide = torch.promote_types(images.dtype, torch.float32)
        with torch.autocast(images.device.type, enabled=False):
            rows = images.to(wide) * scale.to(wide)  # [n, e]
            columns, first = ranks.gather(texts.to(wide))  # [N, e]: column first + i belongs to row i
            row_sums, column_sums, paired = _sums(_tiles(rows, columns, ask), rows, columns, first)
            column_sums = ranks.gather(column_sums[None])[0].logsumexp(dim=0)
            own = column_sums[first : first + len(rows)]
            loss = ((row_sums - paired).sum() + (own - paired).sum()) / (2 * len(columns))
        ctx.save_for_backward(images, texts, scale, columns, row_sums, column_sums)
        ctx.first, ctx.ranks, ctx.ask = first, ranks, ask
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        images, texts, scale, columns, row_sums, column_sums = ctx.saved_tensors
        n = len(images)
        with torch.autocast(images.device.type, enabled=False):
            rows = images.to(columns.dtype) * scale.to(columns.dtype)
            by_rows, by_columns = _products(
                _tiles(rows, columns, ctx.ask), rows, columns, ctx.first, row_sums, column_sums
            )
            ctx.ranks.sum_([by_columns])
            factor = upstream.to(columns.dtype) / (2 * len(columns))
            by_scale = factor * (images.to(columns.dtype) * by_rows).sum()
            by_images = by_rows.mul_(factor * scale)
            by_texts = by_columns[ctx.first : ctx.first + n].mul_(factor)
        return by_images.to(images.dtype), by_texts.to(texts.dtype), by_scale.to(scale.dtype), None, None


def _sums(tiles: Tiles, rows: Tensor, columns: Tensor, first: int) -> tuple[Tensor, Tensor, Tensor]:
    """log(sum(exp(logits))) of each row [n] and, over these rows, of each column [N]; the logits of the pairs [n]."""
    by_row = rows.new_full((len(rows),), -math.inf)
    by_column = rows.new_full((len(columns),), -math.inf)
    paired = torch.empty_like(by_row)
    for above, beside, logits, spare in tiles:
        for sums, part, dim in ((by_row, above, 1), (by_column, beside, 0)):
            largest = logits.amax(dim=dim, keepdim=True)
            torch.sub(logits, largest, out=spare)
            some = spare.exp_().sum(dim=dim).log_().add_(largest.squeeze(dim))
            sums[part] = torch.logaddexp(sums[part], some)
        pairs, start = _pairs(logits, above, beside, first)
        paired[start : start + len(pairs)] = pairs
    return by_row, by_column, paired


def _products(
    tiles: Tiles, rows: Tensor, columns: Tensor, first: int, row_sums: Tensor, column_sums: Tensor
) -> tuple[Tensor, Tensor]:
    """G @ columns [n, e] and G.T @ rows [N, e], G = softmax by rows + softmax by columns - 2 at the pairs [n, N]."""
    by_rows, by_columns = torch.zeros_like(rows), torch.zeros_like(columns)
    for above, beside, logits, spare in tiles:
        torch.sub(logits, row_sums[above, None], out=spare)
        logits.sub_(column_sums[beside]).exp_().add_(spare.exp_())
        _pairs(logits, above, beside, first)[0].sub_(2)
        by_rows[above].addmm_(logits, columns[beside])
        by_columns[beside].addmm_(logits.T, rows[above])
    return by_rows, by_columns


def _tiles(rows: Tensor, columns: Tensor, ask: Callable[[], bool]) -> Tiles:
    """Each tile of the logits with its rows, its columns, and as much memory to spare; both are written over."""
    side = TILE.get(rows.device.type, LARGE_TILE)
    size = min(side, len(rows)) * min(side, len(columns))
    memory = rows.new_empty(2, size)  # used again and again: new pages cost more than what is written into them
    for top in range(0, len(rows), side):
        above = slice(top, min(top + side, len(rows)))
        for left in range(0, len(columns), side):
            if ask():
                raise Interrupted
            beside = slice(left, min(left + side, len(columns)))
            shape = (above.stop - above.start, beside.stop - beside.start)
            logits, spare = memory[:, : shape[0] * shape[1]].view(2, *shape)
            torch.mm(rows[above], columns[beside].T, out=logits)
            yield above, beside, logits, spare


def _pairs(logits: Tensor, above: slice, beside: slice, first: int) -> tuple[Tensor, int]:
    """Those logits of a tile that belong to pairs, as a view of it, and the row of the first of them."""
    offset = first + above.start - beside.start  # the column, within the tile, that belongs to its first row
    height, width = logits.shape
    if not -height < offset < width:
        return logits.diagonal()[:0], above.start
    return logits.diagonal(offset), above.start + max(0, -offset)


@torch.no_grad()
def clip_temperature_(model: CLIP, maximum: float = 100.0) -> None:
    """Bound exp(logit_scale) to [1, maximum] in place, after each optimiser step: larger scales are unstable."""
    model.logit_scale.clamp_(0.0, math.log(maximum))
