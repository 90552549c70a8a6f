"""The paper's batch, 32,768 pairs, on a CPU: one whole step of a training, exact, in little memory."""

import subprocess
import sys

import pytest

from tests.running import ROOT, environment
from tests.trainer.one_step import step


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("model", ["tiny", "tiny-RN"])
def test_a_step_of_32768_pairs(model: str) -> None:
    words = [sys.executable, "-m", "tests.trainer.one_step", model, "32768", "512"]
    ran = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    loss, gib = map(float, ran.stdout.split())
    print(f"{model}: loss {loss:.3f}, peak {gib:.2f} GiB")
    assert 0 < loss < 40
    assert gib < 2.79  # 3 GB


def test_the_same_step_of_few_pairs() -> None:
    assert 2 < step("tiny", 24, 10) < 6  # guessing among 24 is 3.2
