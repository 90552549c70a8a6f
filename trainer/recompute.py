"""Activation checkpointing: a block's activations are recomputed in the backward pass instead of being stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def recomputed(block: nn.Module, on: bool, *inputs: Any) -> Tensor:
    """block(*inputs); where `on`, and gradients are enabled, only the inputs are stored for the backward pass.

    Dropout draws the same numbers again, and the running statistics of batch norms are updated once.
    """
    if not (on and torch.is_grad_enabled()):
        out: Tensor = block(*inputs)
        return out
    has_norms = any(isinstance(module, nn.BatchNorm2d) for module in block.modules())
    # Only where norms need it: torch.compile does not support a context_fn.
    contexts: dict[str, Any] = {"context_fn": lambda: _contexts(block)} if has_norms else {}
    out = checkpoint(block, *inputs, use_reentrant=False, **contexts)
    return out


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Around the first computation, and around the second."""
    return nullcontext(), _statistics_kept(block)


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Batch norms normalise as before, and leave their running statistics as they are."""
    norms = [(norm, norm.momentum) for norm in block.modules() if isinstance(norm, nn.BatchNorm2d)]
    counts = [norm.num_batches_tracked for norm, _ in norms if norm.num_batches_tracked is not None]
    before = [count.clone() for count in counts]
    for norm, _ in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in norms:
            norm.momentum = momentum
        for count, value in zip(counts, before, strict=True):
            count.copy_(value)
