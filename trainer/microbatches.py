"""How a batch is split into micro-batches: as many rows as fit, texts of similar lengths together."""

from __future__ import annotations

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


def by_length(tokens: Tensor, most: int) -> list[Tensor]:
    """Rows, int64 each, in as few micro-batches of at most `most` as possible, those of the shortest texts first."""
    order = torch.argsort(tokens, stable=True)
    return [order[rows] for rows in even_slices(len(order), most)]
