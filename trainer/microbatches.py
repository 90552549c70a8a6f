"""How a batch is split into micro-batches: as many rows as fit, texts of similar lengths together."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor


def even_slices(n: int, most: int) -> list[slice]:
    """Split n rows into as few slices of at most `most` rows as possible, whose sizes differ by at most one."""
    parts = -(-n // most)
    ends = [n * part // parts for part in range(parts + 1)]
    return [slice(start, end) for start, end in pairwise(ends)]


def lengths(ids: Tensor) -> Tensor:
    """Tokens of each row of ids [n, context], start and end included: int64 [n]."""
    return ids.argmax(dim=1) + 1  # the end mark is the largest id


def group_by_length(tokens: Tensor, most: int, overhead: int) -> list[Tensor]:
    """Group rows by the length of their texts into micro-batches of at most `most` rows (int64 each), shortest first.

    A micro-batch costs its rows times the tokens of its longest text, plus `overhead` tokens. The split of the least
    cost is found by dynamic programming over the distinct lengths, at most as many as the context has tokens.
    """
    order = torch.argsort(tokens, stable=True)
    distinct, counts = torch.unique(tokens, return_counts=True)
    ends = [0, *counts.cumsum(dim=0).tolist()]  # rows that are no longer than distinct[i - 1]
    best, cuts = [0.0], [0]
    for i, length in enumerate(distinct.tolist(), start=1):
        costs = [best[j] + (ends[i] - ends[j]) * length + overhead * -(-(ends[i] - ends[j]) // most) for j in range(i)]
        best.append(min(costs, default=math.inf))
        cuts.append(costs.index(best[-1]))
    parts, i = list[Tensor](), len(distinct)
    while i > 0:
        some = order[ends[cuts[i]] : ends[i]]
        parts = [*(some[rows] for rows in even_slices(len(some), most)), *parts]
        i = cuts[i]
    return parts
