"""Activation checkpointing: the same gradients, the same draws, running statistics that move once, and less memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from core.errors import UsageError
from tests.trainer import test_model, test_resnet
from trainer.loss import contrastive_loss
from trainer.model import CLIP, ModelConfig, compile_towers, recompute_activations
from trainer.recompute import recomputed

MODELS = {"vit": test_model.SMALL, "residual": test_resnet.SMALL}


def after_one_step(config: ModelConfig, recompute: bool) -> tuple[CLIP, float, int]:
    """A model with its gradients, the loss, and how many floats autograd kept for the backward pass."""
    torch.manual_seed(0)
    model = CLIP(config)
    images = torch.randn(4, 3, config.image_size, config.image_size)
    ids = torch.randint(1, 40, (4, 9))
    ids[:, -1] = 49
    if recompute:
        recompute_activations(model)
    kept = 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = contrastive_loss(*model(images, ids))
    torch.autograd.backward(loss)
    return model, loss.item(), kept


@pytest.mark.parametrize("name", MODELS)
def test_gradients_and_running_statistics_are_the_same_bit_for_bit(name: str) -> None:
    (plain, loss, _), (again, same, _) = (after_one_step(MODELS[name], recompute) for recompute in (False, True))
    assert same == loss
    for (parameter, one), other in zip(plain.named_parameters(), again.parameters(), strict=True):
        assert one.grad is not None and other.grad is not None, parameter
        assert torch.equal(one.grad, other.grad), parameter
    for (buffer, before), after in zip(plain.named_buffers(), again.buffers(), strict=True):
        assert torch.equal(before, after), buffer
    assert list(again.state_dict()) == list(plain.state_dict())


def test_a_residual_network_is_not_compiled_as_well() -> None:
    model = CLIP(MODELS["residual"])
    recompute_activations(model)
    with pytest.raises(UsageError, match="a residual network cannot be compiled"):
        compile_towers(model)


def test_less_is_kept() -> None:
    (_, _, plain), (_, _, again) = (after_one_step(MODELS["vit"], recompute) for recompute in (False, True))
    assert again < plain / 3


def test_dropout_draws_the_same_again() -> None:
    block = nn.Sequential(nn.Linear(8, 64), nn.Dropout(0.5), nn.Linear(64, 8))
    x = torch.randn(16, 8)
    gradients = []
    for on in (False, True):
        torch.manual_seed(1)
        out = recomputed(block, on, x)
        torch.rand(3)  # of others, between the two computations
        gradients.append(torch.autograd.grad(out.sum(), list(block.parameters())))
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
