"""What exact gradients are held against: the whole batch at once, through torch's own cross entropy and batch norm."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.accumulate import dropout_seed
from trainer.images import normalise
from trainer.microbatches import by_length, even_slices, lengths
from trainer.model import CLIP, Block, ModelConfig, VisionTransformer, unit

_TOWERS = {"embed_dim": 16, "image_size": 32, "vision_width": 8, "text_width": 16, "text_layers": 1}
VIT = ModelConfig(patch=16, vision_layers=1, context=9, vocab=50, **_TOWERS)
RESNET = ModelConfig(vision_layers=(1, 1, 1, 1), context=9, vocab=50, **_TOWERS)


def model_of(sizes: ModelConfig, dtype: torch.dtype = torch.float64) -> CLIP:
    """A model whose gains and biases are not what they begin with, so that every gradient counts."""
    torch.manual_seed(0)
    model = CLIP(sizes)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return model.to(dtype)


def batch(n: int) -> tuple[Tensor, Tensor]:
    """Images uint8 [n, 32, 32, 3], each around a grey of its own, and texts [n, 9] of 2 to 9 tokens."""
    generator = torch.Generator().manual_seed(n)
    noise = torch.randint(0, 128, (n, 32, 32, 3), dtype=torch.uint8, generator=generator)
    images = noise + torch.randint(0, 128, (n, 1, 1, 3), dtype=torch.uint8, generator=generator)
    ids = torch.randint(1, 48, (n, 9), generator=generator)
    ends = torch.randint(1, 9, (n, 1), generator=generator)
    places = torch.arange(9)
    return images, ids.where(places < ends, 49 * (places == ends))


def naive_loss(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """The loss of unit features as the paper's figure 3 has it."""
    logits = scale * images @ texts.T
    labels = torch.arange(len(logits))
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def naive_step(model: CLIP, images: Tensor, ids: Tensor) -> float:
    """Leaves the gradients of the whole batch, and the running statistics that it moved; the loss."""
    pixels = normalise(images).to(model.logit_scale.dtype)
    features = unit(model.encode_image(pixels)), unit(model.encode_text(ids))
    return backward(model, *features)


def backward(model: CLIP, images: Tensor, texts: Tensor) -> float:
    loss = naive_loss(images, texts, model.logit_scale.exp())
    model.zero_grad()
    torch.autograd.backward(loss)
    return loss.item()


class PatchDropout(nn.Module):
    """Leaves out a random half of the tokens but the first, as open_clip's patch dropout does."""

    def forward(self, x: Tensor) -> Tensor:
        kept = torch.randperm(x.shape[1] - 1)[: x.shape[1] // 2] + 1
        return torch.cat([x[:, :1], x[:, kept]], dim=1)


def with_dropout(model: CLIP) -> CLIP:
    """Dropout in both towers; in a residual network between its norms, too."""
    for module in list(model.modules()):
        if isinstance(module, Block):
            module.mlp.append(nn.Dropout(0.3))
    if isinstance(model.visual, VisionTransformer):
        model.visual.add_module("ln_pre", nn.Sequential(model.visual.ln_pre, PatchDropout()))
    else:
        model.visual.layer2.insert(0, nn.Dropout(0.3))
    return model


def held(
    model: CLIP, images: Tensor, ids: Tensor, micro_batch: int, rows_of_ranks: Sequence[slice] = (slice(None),)
) -> float:
    """The micro-batches of one rank, or of several, each with its seed, all their graphs held; the loss."""
    drawn = int(torch.randint(1 << 62, ()))
    pixels = normalise(images).to(model.logit_scale.dtype)
    of_images, of_texts = [], []
    for rank, rows in enumerate(rows_of_ranks):
        own_pixels, own_ids = pixels[rows], ids[rows]
        for number, part in enumerate(even_slices(len(own_ids), micro_batch)):
            torch.manual_seed(dropout_seed(drawn, rank, "image", number))
            of_images.append(unit(model.encode_image(own_pixels[part])))
        texts = by_length(lengths(own_ids), micro_batch)
        features = []
        for number, group in enumerate(texts):
            torch.manual_seed(dropout_seed(drawn, rank, "text", number))
            features.append(unit(model.encode_text(own_ids[group])))
        of_texts.append(torch.cat(features)[torch.cat(texts).argsort()])
    return backward(model, torch.cat(of_images), torch.cat(of_texts))


def gradient(model: nn.Module) -> Tensor:
    """All gradients, one after the other."""
    found = []
    for parameter in model.parameters():
        assert parameter.grad is not None
        found.append(parameter.grad.double().flatten())
    return torch.cat(found)


def error(found: Tensor, wanted: Tensor) -> float:
    """Length of the difference over that of what was wanted."""
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


def worst_error(model: nn.Module, reference: nn.Module) -> float:
    """The largest error of a parameter's gradient; what is a millionth of the largest gradient counts as nothing."""
    wanted = {name: parameter.grad for name, parameter in reference.named_parameters()}
    largest = max(float(grad.norm()) for grad in wanted.values() if grad is not None)
    errors = []
    for name, parameter in model.named_parameters():
        want = wanted[name]
        assert parameter.grad is not None and want is not None
        errors.append(float((parameter.grad - want).norm()) / max(float(want.norm()), 1e-6 * largest))
    return max(errors)


def running(model: nn.Module) -> dict[str, Tensor]:
    """The statistics that batch norm keeps."""
    return {name: value.clone() for name, value in model.named_buffers()}
