"""normalise: from a cropped picture to the floats that a tower reads, against torchvision's ToTensor and Normalize.

    make bench BENCH=normalise

Both take the same crops of real photos (Pillow, RGB, 224 pixels), in turns in one process on one thread, and give the
same batches of float32; open_clip's training does it for each sample as torchvision does here. Below that: what a
sample costs before it, and the share of time that a training in float32 on this CPU waits for its data, by the
telemetry of its own steps.
"""

from __future__ import annotations

import json
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks import peers, steps
from core.runs import cores
from shards.reader import Shards
from tests.conftest import DATA
from tests.shards.helpers import make_pack
from trainer import steps as training
from trainer.checkpoint import State
from trainer.config import Config, completed
from trainer.data import Examples
from trainer.images import MEAN, STD, decode, normalise, training_crop
from trainer.model import CLIP, MODELS
from trainer.optim import adamw
from trainer.ranks import SINGLE_PROCESS
from trainer.telemetry import NAME, Telemetry
from trainer.tokenizer import Tokenizer

SIZE, BATCH, PHOTOS, ROUNDS = 224, 32, 256, 9
MODEL, PAIRS, STEPS = "ViT-B/32", 16, 8  # of the training, whose first step does not count
SEED = 3
GOAL = 1.5

Batches = Callable[[list[Image.Image]], Tensor]


def photos() -> list[bytes]:
    """The first PHOTOS of OPENWIT_DATA."""
    with tarfile.open(DATA / "photos" / "photos.tar") as tar:
        files = (tar.extractfile(member) for member in tar)
        bodies = [file.read() for file in files if file]
    return bodies[:PHOTOS]


def ours(crops: list[Image.Image]) -> Tensor:
    """As the trainer has it: bytes until the whole batch is on the device."""
    return normalise(torch.from_numpy(np.stack([np.array(crop) for crop in crops])))


def theirs() -> Batches:
    """As open_clip's transform and torch's loader have it: floats from each sample on, and then a batch of them."""
    peers.make_importable("open_clip", "torchvision")
    from torchvision import transforms

    prepare = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    return lambda crops: torch.stack([prepare(crop) for crop in crops])


def milliseconds(batches: Batches, crops: list[Image.Image]) -> float:
    """Of a sample."""
    started = time.perf_counter()
    for at in range(0, len(crops), BATCH):
        batches(crops[at : at + BATCH])
    return (time.perf_counter() - started) / len(crops) * 1_000


def compare(bodies: list[bytes]) -> float:
    """Print a sample's milliseconds; the median ratio of the rounds."""
    draw = np.random.default_rng(SEED)
    started = time.perf_counter()
    crops = [Image.fromarray(training_crop(decode(body), SIZE, draw)) for body in bodies]
    before = (time.perf_counter() - started) / len(crops) * 1_000
    peer = theirs()
    apart = float((ours(crops[:BATCH]) - peer(crops[:BATCH])).abs().max())
    rounds = [(milliseconds(ours, crops), milliseconds(peer, crops)) for _ in range(ROUNDS + 1)][1:]
    for who, taken in zip(("ours", "torchvision"), zip(*rounds, strict=True), strict=True):
        print(f"{who:12} {statistics.median(taken):6.3f} ms a sample of {SIZE} pixels, floats apart {apart:.0e}")
    print(f"before it    {before:6.3f} ms to decode and crop a sample")
    assert apart < 1e-5, "the floats are not the same"
    return statistics.median(peer_took / took for took, peer_took in rounds)


def waiting(bodies: list[bytes], folder: Path) -> None:
    """Print what a training of MODEL in float32 says of the time that it waits for data."""
    texts = steps.captions()
    samples = [(f"http://photos.test/{i}.jpg", body, [texts[i % len(texts)]]) for i, body in enumerate(bodies)]
    make_pack(folder / "pack", samples, shards=1)
    tokenizer = Tokenizer(DATA / "tokenizer" / "bpe_simple_vocab_16e6.txt.gz")
    model = CLIP(MODELS[MODEL])
    config = Config(model=MODEL, merges="", batch_size=PAIRS, steps=STEPS, warmup=0, learning_rate=1e-5)
    config = completed(config, model.config, torch.device("cpu"))
    examples = Examples(Shards(str(folder / "pack")), tokenizer, model.config.image_size, 77, SEED, holdout=0.0)
    state = State(model, adamw(model, learning_rate=1e-5, weight_decay=0.2, betas=(0.9, 0.98), epsilon=1e-6))
    batches = examples.batches(0, STEPS, PAIRS, cores())
    with Telemetry(str(folder), 0) as log:
        training.run(state, batches, config, SINGLE_PROCESS, log, save=lambda: None, evaluate=lambda: None)
    rows = [json.loads(line) for line in (folder / NAME).read_text().splitlines()][1:]
    rate, share = (statistics.median(row[key] for row in rows) for key in ("samples_per_second", "data_wait_fraction"))
    print(f"{MODEL}, float32, {PAIRS} pairs a step: {rate:.1f} samples/s, {share:.1%} of the time waiting for data")


def main() -> None:
    bodies = photos()
    torch.set_num_threads(1)
    ratio = compare(bodies)
    torch.set_num_threads(cores())
    with tempfile.TemporaryDirectory() as folder:
        waiting(bodies, Path(folder))
    print(f"normalise ratio={ratio:.2f} goal={GOAL}")


if __name__ == "__main__":
    main()
