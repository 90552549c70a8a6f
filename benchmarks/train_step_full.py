"""train_step_full: a training step of ViT-B/32 against open_clip's, texts of 77 tokens, with no padding to leave out.

make bench BENCH=train_step_full
"""

from benchmarks.steps import run

if __name__ == "__main__":
    run("train_step_full", "ViT-B/32", 1.0, full=True)
