"""The contrastive loss (paper, figure 3) and the bound on its temperature (section 2.5)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.model import CLIP


def contrastive_loss(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Symmetric cross entropy over all n x n pairs, in nats []: row i of `images` belongs to row i of `texts`.

    `images` and `texts` are unit features [n, e], `scale` = exp(logit_scale). The logits are computed in float32 at
    least, under autocast too: in bfloat16 the gradient is off by a tenth once the scale nears 100.
    """
    precision = torch.promote_types(images.dtype, torch.float32)
    with torch.autocast(images.device.type, enabled=False):
        logits = scale.to(precision) * images.to(precision) @ texts.to(precision).T  # [n images, n texts]
        labels = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


@torch.no_grad()
def clip_temperature_(model: CLIP, maximum: float = 100.0) -> None:
    """Bound exp(logit_scale) to [1, maximum] in place, after each optimiser step: larger scales are unstable."""
    model.logit_scale.clamp_(0.0, math.log(maximum))
