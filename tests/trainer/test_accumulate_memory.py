"""The paper's batch, 32,768 pairs, on a CPU: one whole step of a training, exact, in little memory."""

import subprocess
import sys

import pytest

from tests.running import ROOT, environment

STEP = """
import resource, sys
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

name, pairs, micro_batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sizes = replace(MODELS[name], image_size=32, context=16, vocab=1_000)  # small inputs: the towers are the demo's
torch.manual_seed(0)
model = CLIP(sizes)
with torch.no_grad():
    for parameter in model.parameters():
        if parameter.dim() == 1:  # the last gain of a residual block is zero, and so were the gradients before it
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
before = {key: value.clone() for key, value in model.state_dict().items()}
keys = {"batch_size": pairs, "micro_batch": micro_batch, "batch_norm": "global", "steps": 10, "warmup": 0}
config = completed(Config(model=name, merges="", **keys), sizes, torch.device("cpu"))
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
print(state.metrics[-1][0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


def step(model: str, pairs: int, micro_batch: int) -> tuple[float, float]:
    """Loss and peak GiB of a step, in a process of its own."""
    words = [sys.executable, "-c", STEP, model, str(pairs), str(micro_batch)]
    ran = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    loss, gib = map(float, ran.stdout.split())
    return loss, gib


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("model", ["tiny", "tiny-RN"])
def test_a_step_of_32768_pairs(model: str) -> None:
    loss, gib = step(model, 32_768, 512)
    print(f"{model}: loss {loss:.3f}, peak {gib:.2f} GiB")
    assert 0 < loss < 40
    assert gib < 2.79  # 3 GB


def test_the_same_step_of_few_pairs() -> None:
    loss, _ = step("tiny", 24, 10)
    assert 2 < loss < 6  # guessing among 24 is 3.2
