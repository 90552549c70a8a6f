"""loss_memory: memory and time of open_clip's contrastive loss against ours, with the gradient, at 8,192 pairs.

    make bench BENCH=loss_memory

Each runs in a process of its own, twice, in turn. Memory: how far the peak of the process rises above what it holds
when the features are there, in its first run. Time: the best of its runs. Loss and gradients are compared. Another
number of pairs: `python -m benchmarks.loss_memory run 1024`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks import peers

ROWS, WIDTH = 8_192, 512
REPEATS = 2
GOAL = 5.0  # times the memory
EXACT = 1e-5  # relative error of the gradients, float32


def resident(field: str) -> float:
    """MiB: VmRSS what this process holds, VmHWM its peak since it was last forgotten."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def measure(whose: str, rows: int, out: Path) -> None:
    """Loss, gradients, MiB and seconds of one side, into a file."""
    if whose == "ours":
        from trainer.loss import contrastive_loss

        loss_of: Callable[..., torch.Tensor] = contrastive_loss
    else:
        from open_clip.loss import ClipLoss

        loss_of = ClipLoss()
    generator = torch.Generator().manual_seed(0)
    images, noise = (torch.randn(rows, WIDTH, generator=generator) for _ in range(2))
    sides = (F.normalize(images, dim=1), F.normalize(images + 4 * noise, dim=1), torch.tensor(1 / 0.07))
    leaves = [side.requires_grad_() for side in sides]
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak: importing has had one of its own
    before, peak, seconds = resident("VmRSS"), 0.0, []
    for run in range(1 + REPEATS):
        started = time.perf_counter()
        loss = loss_of(*leaves)
        gradients = torch.autograd.grad(loss, leaves)
        seconds.append(time.perf_counter() - started)
        if run == 0:
            peak = resident("VmHWM") - before
    torch.save({"loss": loss.item(), "gradients": gradients, "mib": peak, "seconds": min(seconds[1:])}, out)


def run(rows: int) -> None:
    found: dict[str, list[dict[str, Any]]] = {"ours": [], "open_clip": []}
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "found.pt"
        for whose in list(found) * REPEATS:
            words = ["-m", "benchmarks.loss_memory", whose, str(rows), str(out)]
            if whose == "ours":
                subprocess.run([sys.executable, *words], cwd=peers.ROOT, check=True)
            else:
                peers.run("open_clip", *words)
            found[whose].append(torch.load(out))
    mib = {whose: min(one["mib"] for one in runs) for whose, runs in found.items()}
    seconds = {whose: min(one["seconds"] for one in runs) for whose, runs in found.items()}
    print(f"{rows:,} pairs of {WIDTH}, float32, torch {torch.__version__}, {torch.get_num_threads()} threads")
    for whose in found:
        print(f"{whose:10}{mib[whose]:10.0f} MiB{seconds[whose]:10.2f} s   loss {found[whose][0]['loss']:.6f}")
    compare(found["ours"][0], found["open_clip"][0])
    print(f"time: open_clip's over ours {seconds['open_clip'] / seconds['ours']:.2f}")
    assert seconds["ours"] <= seconds["open_clip"], "ours takes longer"
    print(f"loss_memory ratio={mib['open_clip'] / mib['ours']:.1f} goal={GOAL:.0f}")


def compare(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert abs(ours["loss"] - theirs["loss"]) < EXACT * theirs["loss"]
    for name, one, other in zip(("images", "texts", "scale"), ours["gradients"], theirs["gradients"], strict=True):
        error = float((one - other).norm() / other.norm())
        print(f"gradient of {name}: relative difference {error:.1e}")
        assert error < EXACT, name


def main() -> None:
    match sys.argv[1:]:
        case []:
            run(ROWS)
        case ["run", rows]:
            run(int(rows))
        case [whose, rows, out]:
            measure(whose, int(rows), Path(out))


if __name__ == "__main__":
    main()
