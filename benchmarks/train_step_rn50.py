"""train_step_rn50: a training step of RN50 against open_clip's, captions of real length.

make bench BENCH=train_step_rn50
"""

from benchmarks.steps import run

if __name__ == "__main__":
    run("train_step_rn50", "RN50", 1.2)
