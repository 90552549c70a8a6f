"""device: steps of ViT-B/32 and ViT-L/14 on one GPU beside open_clip's own model, and an exact step of 32,768 pairs.

    python -m benchmarks.device prepare     # where OPENWIT_DATA is: out/device, at most 40 MiB of shards
    python -m benchmarks.device             # on the machine with the GPU, which has out/device; at most 8 minutes
    make bench BENCH=device                 # both, on one machine

Same card, pictures, captions and weights, bfloat16, torch.compile; ours computes no padding of captions, open_clip's
text tower 77 tokens of each. MFU: three forward passes of what each of them computes, over the data sheet's peak. The
exact step is GradCache over the whole batch; memory is torch's peak allocation. What could not be measured is named at
the end, and then nothing is claimed. It imports torch, tokenizers, ftfy, safetensors, pyarrow, fsspec, xxhash, rich and
msgspec; the peer is left out where open_clip (open_clip_torch, timm, torchvision) is not installed.

Without CUDA the same script takes tiny sizes and claims nothing. Both end with a table of what bounds a step of each of
the paper's models on an H200.
"""

from __future__ import annotations

import os

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as a training sets it, before CUDA starts

import shutil
import statistics
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks import peers, steps
from core import choice
from core.runs import cores
from shards.reader import Shards
from tests.conftest import DATA
from trainer import hardware
from trainer.data import Batch, Examples
from trainer.flops import cost_table, image_flops, peak_flops, text_flops, utilisation
from trainer.model import CLIP, MODELS, compile_towers
from trainer.precision import Precision
from trainer.telemetry import peak_memory
from trainer.tokenizer import Tokenizer

FOLDER = peers.ROOT / "out" / "device"
PACK, MERGES = FOLDER / "pack", FOLDER / "merges.txt.gz"
PHOTOS, MOST_BYTES = 1_792, 40 << 20
BUDGET = 480.0  # seconds, of which each part needs some to be begun
SPEEDUP = 1.5  # over open_clip
H200, H200_CORES = "NVIDIA H200", 16
SEED = 3


@dataclass(frozen=True)
class Sizes:
    """What is measured: the models with their pairs a step and the MFU they are to reach, and the exact step."""

    models: dict[str, tuple[int, float]]
    exact: tuple[str, int, int]  # model, pairs, pairs in a micro-batch
    precision: Precision
    seconds: float  # of steps that count, each side
    needs: float  # seconds that a part may take, its compilation included


ON_CUDA = Sizes({"ViT-B/32": (1_792, 0.25), "ViT-L/14": (256, 0.40)}, ("ViT-B/32", 32_768, 2_048), "bfloat16", 15, 110)
ON_CPU = Sizes({"tiny": (16, 0.0)}, ("tiny", 128, 16), "float32", 1, 10)


# ── data ──────────────────────────────────────────────────────────────────────────────────────────


def prepare() -> None:
    """Write a pack of real photos, captions of the web pages and the merges: all that the measurement reads."""
    from tests.shards.helpers import make_pack

    shutil.rmtree(FOLDER, ignore_errors=True)
    texts = steps.captions()
    with tarfile.open(DATA / "photos" / "photos.tar") as tar:
        bodies = {member.name: file.read() for member in tar if (file := tar.extractfile(member))}
    ranks = choice.rank(SEED, "device", "", (name.encode() for name in bodies))
    chosen = [name for _, name in sorted(zip(ranks.tolist(), bodies, strict=True))][:PHOTOS]
    drawn = choice.rank(SEED, "caption", "", (name.encode() for name in chosen))
    samples = [
        (f"http://photos.test/{name}", bodies[name], [texts[number % len(texts)]])
        for name, number in zip(chosen, drawn.tolist(), strict=True)
    ]
    make_pack(PACK, samples, shards=2)
    shutil.copy(DATA / "tokenizer" / "bpe_simple_vocab_16e6.txt.gz", MERGES)
    size = sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file())
    assert size <= MOST_BYTES, f"{size:,} bytes in {FOLDER}"
    print(f"{len(samples):,} photos, {size / 2**20:.1f} MiB → {FOLDER.relative_to(peers.ROOT)}")


def batch_of(pairs: int, image_size: int) -> tuple[Batch, float]:
    """The first batch of the pack, decoded by a thread a core, and pictures a second. More than there are repeat."""
    tokenizer = Tokenizer(MERGES)
    examples = Examples(Shards(str(PACK)), tokenizer, image_size, 77, SEED, holdout=0.0)
    some = min(pairs, PHOTOS)
    started = time.perf_counter()
    (batch,) = examples.batches(0, 1, some, cores())
    rate = some / (time.perf_counter() - started)
    times = -(-pairs // some)
    images, ids = batch.images.repeat(times, 1, 1, 1)[:pairs], batch.ids.repeat(times, 1)[:pairs]
    return Batch(images, ids, batch.samples.repeat(times)[:pairs]), rate


# ── measuring ─────────────────────────────────────────────────────────────────────────────────────


class Report:
    """What was measured over its goal, and what was not."""

    def __init__(self) -> None:
        self.device, self.started = hardware.device(), time.monotonic()
        self.of_goals: dict[str, float] = {}
        self.missing: list[str] = []

    def in_time(self, part: str, needs: float) -> bool:
        """Whether `needs` seconds are left of the budget; if not, the part is named as missing."""
        if time.monotonic() - self.started + needs <= BUDGET:
            return True
        self.missing.append(f"{part} (no time was left)")
        return False

    def row(self, who: str, pairs: int, took: float, forward_flops: float) -> tuple[float, float | None]:
        """Print a row; samples a second and MFU."""
        mfu = utilisation(forward_flops, took, peak_flops(self.device))
        share = "" if mfu is None else f"  MFU {mfu:6.1%}"
        rate, tflops = pairs / took, 3 * forward_flops / took / 1e12
        peak = peak_memory(self.device) / 2**30
        print(
            f"{who:24}{took:9.3f} s {rate:10,.0f} samples/s {tflops:8.2f} TFLOP/s{share}  {peak:6.1f} GiB", flush=True
        )
        return rate, mfu


def timed(step: steps.Step, least: float, device: torch.device) -> tuple[float, list[float], int]:
    """Median seconds of a step after two that compile and warm up, the losses of all, and the tokens of a step."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    done = [steps.seconds(step) for _ in range(2)]
    while sum(took for took, _ in done[2:]) < least:
        done.append(steps.seconds(step))
    return statistics.median(took for took, _ in done[2:]), [what.loss for _, what in done], done[-1][1].tokens


def model_on(device: torch.device, name: str) -> CLIP:
    """A new model, compiled on CUDA."""
    torch.manual_seed(SEED)
    model = CLIP(MODELS[name]).to(device)
    if device.type == "cuda":
        torch.compiler.reset()  # graphs of the model before, and their memory
        compile_towers(model)
    return model


def beside_open_clip(report: Report, sizes: Sizes, name: str, peer_is_here: bool) -> None:
    """Steps of one model, ours and the peer's of the same weights."""
    pairs, goal = sizes.models[name]
    config, is_cuda = MODELS[name], report.device.type == "cuda"
    batch, rate = batch_of(pairs, config.image_size)
    print(f"\n{name}, {pairs:,} pairs; {rate:,.0f} pictures/s are decoded by {cores()} threads")
    model = model_on(report.device, name)
    make: dict[str, Callable[[], steps.Step]] = {
        "open_clip": lambda: steps.theirs(
            model, name, batch.images, batch.ids, precision=sizes.precision, compiled=is_cuda
        ),
        "ours": lambda: steps.ours(model, name, batch.images, batch.ids, precision=sizes.precision),
    }
    if not peer_is_here:
        del make["open_clip"]
    found, losses = {}, {}
    for who, step in make.items():  # one after the other, so that neither holds the other's memory; the peer before the
        took, losses[who], tokens = timed(step(), sizes.seconds, report.device)  # weights that it copies have changed
        image, text = image_flops(config, whole=who != "ours"), text_flops(config, tokens / pairs, whole=who != "ours")
        found[who] = report.row(who, pairs, took, pairs * (image + text))
    mfu = found["ours"][1]
    if mfu is not None:
        report.of_goals[f"MFU of {name}"] = mfu / goal
    if peer_is_here:
        report.of_goals[f"{name} over open_clip"] = found["ours"][0] / found["open_clip"][0] / SPEEDUP
        apart = max(abs(a - b) for a, b in zip(losses["ours"][:2], losses["open_clip"][:2], strict=True))
        print(f"losses of the first two steps: ours {losses['ours'][:2]}, apart {apart:.1e}")
        assert apart < (1e-3 if sizes.precision == "float32" else 5e-2), "the losses are not those of one model"


def exact_step(report: Report, sizes: Sizes) -> None:
    """Steps whose gradient is that of all pairs, in micro-batches."""
    name, pairs, micro_batch = sizes.exact
    config = MODELS[name]
    batch, _ = batch_of(pairs, config.image_size)
    print(f"\n{name}, {pairs:,} pairs at once, exact, in micro-batches of {micro_batch:,}")
    model = model_on(report.device, name)
    step = steps.ours(model, name, batch.images, batch.ids, precision=sizes.precision, micro_batch=micro_batch)
    took, _, tokens = timed(step, sizes.seconds, report.device)
    report.row("ours, GradCache", pairs, took, pairs * (image_flops(config) + text_flops(config, tokens / pairs)))


def main() -> None:
    """Measure what the device allows; print the table, and the claim where all of it was measured."""
    if sys.argv[1:] == ["prepare"]:
        prepare()
        return
    if not PACK.exists():
        prepare()
    report = Report()
    is_cuda = report.device.type == "cuda"
    sizes = ON_CUDA if is_cuda else ON_CPU
    peer_is_here = peers.is_importable("open_clip", "open_clip")
    print(f"{hardware.machine()}, torch {torch.__version__}, {sizes.precision}{', compiled' if is_cuda else ''}")
    if not peer_is_here:
        report.missing.append("open_clip (it is not installed)")
    first, *others = sizes.models
    beside_open_clip(report, sizes, first, peer_is_here)
    if report.in_time("the exact step", sizes.needs):
        exact_step(report, sizes)
    for name in others:
        if report.in_time(name, 2 * sizes.needs):
            beside_open_clip(report, sizes, name, peer_is_here)
    bounds()
    print(f"\nall of it took {time.monotonic() - report.started:.0f} s")
    for what, ratio in report.of_goals.items():
        print(f"{what}: {ratio:.2f} of its goal")
    if not is_cuda:
        report.missing.append("a GPU (these were tiny sizes on a CPU)")
    if report.missing:
        print(f"nothing is claimed, for there was not: {', '.join(report.missing)}")
    else:
        print(f"device ratio={min(report.of_goals.values()):.2f} goal=1")


def bounds() -> None:
    """What bounds a step of each of the paper's models, with this machine's decoding on as many cores as an H200's."""
    batch, rate = batch_of(PHOTOS, 224)
    tokens = float((batch.ids.argmax(dim=1) + 1).float().mean())
    rate *= H200_CORES / cores()
    papers = {name: config for name, config in MODELS.items() if not name.startswith("tiny") and config.text_layers}
    print(
        f"\nA step of 32,768 pairs of {tokens:.1f} tokens, at the least; pictures are decoded by {H200_CORES} cores.\n"
    )
    print(cost_table(H200, 32_768, round(tokens), papers, rate))


if __name__ == "__main__":
    main()
