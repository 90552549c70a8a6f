"""train_step: a training step of ViT-B/32 against open_clip's, captions of real length: ours computes no padding.

make bench BENCH=train_step
"""

from benchmarks.steps import run

if __name__ == "__main__":
    run("train_step", "ViT-B/32", 1.4)
