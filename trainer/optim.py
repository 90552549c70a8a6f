"""What AdamW decays, and the learning rate of each step (paper, section 2.5 and table 18)."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from core.errors import UsageError


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for `torch.optim.AdamW`, decayed and not: the paper decays "all weights that are not gains or biases".

    Taken at its word: token, positional and class embeddings are weights and decay. Gains are the weights of layer
    and batch norms and logit_scale, which multiplies the logits; with the biases they do not.
    """
    norms = nn.LayerNorm | nn.BatchNorm2d
    gains = {id(module.weight) for module in model.modules() if isinstance(module, norms)}
    decayed: list[nn.Parameter] = []
    exempt: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        is_exempt = id(parameter) in gains or name.endswith(("bias", "logit_scale"))
        (exempt if is_exempt else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": exempt, "weight_decay": 0.0}]


def learning_rate(step: int, steps: int, warmup: int, peak: float) -> float:
    """The rate of step 0 <= step < steps: a linear climb that reaches `peak` at step warmup - 1, then a half cosine.

    Raises UsageError when the warm-up leaves no step to train.
    """
    if not 0 <= warmup < steps:
        raise UsageError(f"a warm-up of {warmup} steps does not fit in {steps} steps: make it shorter, or train longer")
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2
