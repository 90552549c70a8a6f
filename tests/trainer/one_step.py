"""One whole step of a training of so many pairs: `python -m tests.trainer.one_step MODEL PAIRS MICRO_BATCH`."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import torch

from tests.trainer.gradients import running
from trainer import steps
from trainer.checkpoint import State
from trainer.config import Config, completed
from trainer.data import Batch
from trainer.model import CLIP, MODELS
from trainer.optim import adamw
from trainer.ranks import SINGLE_PROCESS
from trainer.telemetry import peak_memory


def step(name: str, pairs: int, micro_batch: int) -> float:
    """Its loss; an error where the step leaves a weight as it was."""
    sizes = replace(MODELS[name], image_size=32, context=16, vocab=1_000)  # small inputs: the towers are the demo's
    torch.manual_seed(0)
    model = CLIP(sizes)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # the last gain of a residual block is zero, and so were the gradients before it
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    keys = Config(
        model=name, merges="", batch_size=pairs, micro_batch=micro_batch, batch_norm="global", steps=10, warmup=0
    )
    config = completed(keys, sizes, torch.device("cpu"))
    assert config.beta2 is not None and config.epsilon is not None
    optimiser = adamw(
        model, learning_rate=1e-3, weight_decay=0.2, betas=(0.9, config.beta2), epsilon=config.epsilon, seed=0
    )
    images = torch.randint(0, 256, (pairs, 32, 32, 3), dtype=torch.uint8)
    ends = torch.randint(2, 16, (pairs, 1))
    ids = torch.where(torch.arange(16) < ends, torch.randint(1, 998, (pairs, 16)), 999 * (torch.arange(16) == ends))
    state = State(model, optimiser)
    tokens = steps.step(state, Batch(images, ids, np.arange(pairs)), config, SINGLE_PROCESS)
    assert pairs * 3 <= tokens <= pairs * 16, tokens
    same = [key for key, value in model.state_dict().items() if torch.equal(value, before[key])]
    assert same == [], same
    assert all(value == 1 for key, value in running(model).items() if key.endswith("num_batches_tracked"))
    return state.last["loss"]


if __name__ == "__main__":
    loss = step(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    print(loss, peak_memory(torch.device("cpu")) / 2**30)
