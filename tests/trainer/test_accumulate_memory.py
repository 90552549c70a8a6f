"""The paper's batch, 32,768 pairs, on a CPU: one whole optimiser step, exact, in little memory."""

import subprocess
import sys

import pytest

from tests.running import ROOT, environment

STEP = """
import resource, sys
import torch
from tests.trainer.gradients import RESNET, VIT, batch, model_of, running
from trainer.accumulate import gradients
from trainer.loss import clip_temperature_
from trainer.optim import parameter_groups

model = model_of({"vit": VIT, "resnet": RESNET}[sys.argv[1]], torch.float32)
before = {name: value.clone() for name, value in model.state_dict().items()}
images, ids = batch(32_768)
optimiser = torch.optim.AdamW(parameter_groups(model, 0.2), lr=5e-4)
found = gradients(model, images, ids, micro_batch=1024, batch_norm="global")
optimiser.step()
clip_temperature_(model)
found.commit()
same = [name for name, value in model.state_dict().items() if torch.equal(value, before[name])]
assert same == [], same
assert all(value == 1 for name, value in running(model).items() if name.endswith("num_batches_tracked"))
print(found.loss, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("tower", ["vit", "resnet"])
def test_a_step_of_32768_pairs(tower: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", STEP, tower], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    loss, gib = map(float, ran.stdout.split())
    print(f"{tower}: loss {loss:.3f}, peak {gib:.2f} GiB")
    assert 0 < loss < 40
    assert gib < 2.79  # 3 GB
