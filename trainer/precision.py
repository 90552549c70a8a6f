"""Mixed precision: autocast, and the loss scale that float16 needs (paper, section 2.5).

A step in float16, with gradients that were computed for `scale.value` times the loss:

    norm = scale.unscale_(model.parameters())
    if math.isfinite(norm):
        optimiser.step()
        scale.succeeded()
    elif not scale.overflowed():
        raise Failure(...)  # the loss itself is not finite

In float32 and bfloat16 the scale is 1 and stays 1, by the same lines.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

Precision = Literal["float32", "bfloat16", "float16"]

_INITIAL, _LARGEST = 2.0**16, 2.0**24
_GROWTH_INTERVAL = 2_000  # steps without overflow after which a larger scale is tried

_HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """Around forward passes: products of matrices in `precision`; weights, residuals and the loss stay float32."""
    return torch.autocast(device.type, _HALF.get(precision), enabled=precision in _HALF)


@dataclass
class LossScale:
    """What the loss is multiplied by, so that small gradients do not vanish in float16: always a power of two.

    It halves at an overflow, whose step is skipped, and doubles after 2,000 steps without one. Not
    torch.amp.GradScaler: that would also skip a step whose loss itself is not finite, and say nothing. The fields are
    its state: `LossScale(**asdict(scale))` goes on from there.
    """

    value: float = 1.0
    dynamic: bool = False
    steps: int = 0  # since the last change
    skipped: int = 0  # steps, in all

    @classmethod
    def of(cls, precision: Precision) -> LossScale:
        """At the start of a training."""
        return cls(_INITIAL, dynamic=True) if precision == "float16" else cls()

    @torch.no_grad()
    def unscale_(self, parameters: Iterable[nn.Parameter]) -> float:
        """Divide all gradients by the scale; returns their norm, which is not finite if any gradient is not."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self.value != 1:
            torch._foreach_mul_(gradients, 1 / self.value)
        return float(torch.nn.utils.get_total_norm(gradients))

    def succeeded(self) -> None:
        """Call after a step that was made."""
        self.steps += 1
        if self.dynamic and self.steps >= _GROWTH_INTERVAL:
            self.value, self.steps = min(2 * self.value, _LARGEST), 0

    def overflowed(self) -> bool:
        """Call after a step that was skipped; whether a smaller scale may help."""
        if not self.dynamic or self.value <= 1:
            return False
        self.value, self.steps, self.skipped = self.value / 2, 0, self.skipped + 1
        return True
