"""read_shards: reading every sample of a pack, each proven whole, against webdataset's reader, which proves nothing.

    make bench BENCH=read_shards

Both yield key, image, text and parsed json of the same tars from the page cache, in turns, several times.
"""

from __future__ import annotations

import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import webdataset
from PIL import Image

from shards.reader import Shards
from tests.shards.helpers import make_pack

SAMPLES, BYTES, ROUNDS = 12_000, 30_000, 7  # 360 MB; 30 kB is a picture of 256 pixels
GOAL = 4.0

Sample = tuple[str, bytes, str, int]


def ours(folder: Path) -> Iterator[Sample]:
    for sample in Shards(str(folder)).iterate():
        yield sample.key, sample.image, sample.text, len(sample.meta)


def theirs(folder: Path) -> Iterator[Sample]:
    for sample in webdataset.WebDataset([str(tar) for tar in sorted(folder.glob("*.tar"))], shardshuffle=False):
        yield sample["__key__"], sample["jpg"], sample["txt"].decode(), len(json.loads(sample["json"]))


def cpu_seconds(reader: Callable[[Path], Iterator[Sample]], folder: Path) -> float:
    """CPU seconds of this process to read all."""
    started = time.process_time()
    count = sum(1 for _ in reader(folder))
    assert count == SAMPLES
    return time.process_time() - started


def main() -> None:
    picture, noise = io.BytesIO(), np.random.default_rng(1).bytes(BYTES + SAMPLES)
    Image.new("RGB", (256, 256), "teal").save(picture, "JPEG")  # readers do not look behind its header
    samples = [
        (f"http://a.test/{i}.jpg", (picture.getvalue() + noise[i:])[:BYTES], [f"caption {i}"]) for i in range(SAMPLES)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(make_pack(scratch, samples, shards=6))
        same = all(a == b for a, b in zip(ours(folder), theirs(folder), strict=True))
        pairs = [(cpu_seconds(ours, folder), cpu_seconds(theirs, folder)) for _ in range(ROUNDS)]
    for name, seconds in zip(("ours", f"webdataset {webdataset.__version__}"), zip(*pairs, strict=True), strict=True):
        print(f"{name:20} {SAMPLES / statistics.median(seconds):10,.0f} samples a CPU second")
    print(f"the same samples: {same}")
    assert same
    print(f"read_shards ratio={statistics.median(b / a for a, b in pairs):.2f} goal={GOAL}")


if __name__ == "__main__":
    main()
