"""Which rows of a batch are computed together: as many as fit, texts of like lengths."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor


def evenly(n: int, most: int) -> list[slice]:
    """n rows in as few parts of at most `most` as there can be, whose sizes differ by one at the most."""
    parts = -(-n // most)
    ends = [n * part // parts for part in range(parts + 1)]
    return [slice(start, end) for start, end in pairwise(ends)]


def lengths(ids: Tensor) -> Tensor:
    """Tokens of each row of ids [n, context], start and end included: int64 [n]."""
    return ids.argmax(dim=1) + 1  # the end mark is the largest id


def by_length(tokens: Tensor, most: int, overhead: int) -> list[Tensor]:
    """The rows, shortest texts first, in parts of at most `most` for which the least is computed: int64 each.

    A part costs its rows times the tokens of its longest text, and `overhead` tokens besides. Which of the lengths end
    a part is found by dynamic programming over the lengths that there are, of which a context has few.
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
        parts = [*(some[rows] for rows in evenly(len(some), most)), *parts]
        i = cuts[i]
    return parts
