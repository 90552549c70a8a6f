"""scan: an evaluation set against all views of a pack, exactly, against comparing all pairs with numpy's popcount.

    make bench BENCH=scan

50,000 pictures, all with three views, against 10 million views, within 60 of 256 bits; one copy in a thousand views is
planted, at 0 to 60 flipped bits. The peer compares all pairs of a sample of the views; its answers for these are ours,
and the ratio is that of the pairs per CPU second. Must hold on one core: 10 minutes, 3 GiB.

    python -m benchmarks.scan 2000 400000      with other sizes: pictures, views
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dedup import scan
from dedup.overlap import BOUND

PICTURES, STORED = 50_000, 10_000_000
VIEWS = 3  # of a picture: as it is, mirrored, within its border
SAMPLE = 2_000_000_000  # pairs that the peer compares
MINUTES, MIB = 10, 3 * 1024
GOAL = 3.0


def made(pictures: int, stored: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], int]:
    """Random hashes that are asked about and stored, and how many of these are copies with up to BOUND bits flipped."""
    random = np.random.default_rng(0)
    asked = np.frombuffer(random.bytes(32 * VIEWS * pictures), np.uint8).reshape(-1, 32)
    views = np.frombuffer(bytearray(random.bytes(32 * stored)), np.uint8).reshape(-1, 32)
    planted = np.arange(0, stored, 1000)
    for at in planted:
        bits = np.unpackbits(asked[random.integers(len(asked))])
        bits[random.permutation(256)[: random.integers(BOUND + 1)]] ^= 1
        views[at] = np.packbits(bits)
    return asked, views, len(planted)


def pairs_of(found: Iterable[NDArray[Any]]) -> set[tuple[int, int, int]]:
    return {(int(one), int(view), int(d256)) for some in found for one, view, d256 in some}


def main(words: list[str]) -> None:
    pictures, stored = (int(words[0]), int(words[1])) if words else (PICTURES, STORED)
    asked, views, planted = made(pictures, stored)
    started = time.process_time()
    ours = pairs_of(scan._by_bands(asked, views, BOUND))
    seconds = time.process_time() - started
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    assert len({row for _, row, _ in ours}) >= planted, "a planted copy is missed"
    some = max(1, min(stored, SAMPLE // len(asked)))
    started = time.process_time()
    theirs = pairs_of(scan._among_all(asked, views[:some], BOUND))
    peer = (time.process_time() - started) * stored / some
    assert theirs == {pair for pair in ours if pair[1] < some}, "the answers differ"
    print(f"{pictures:,} pictures ({len(asked):,} views), {stored:,} stored, {len(ours):,} pairs within {BOUND} bits")
    print(f"ours {seconds:.0f} CPU s, {mib:,} MiB; all pairs {peer:.0f} CPU s, from {some:,} of the views")
    if not words:
        assert seconds <= 60 * MINUTES and mib <= MIB, f"more than {MINUTES} minutes or {MIB} MiB"
    print(f"scan ratio={peer / seconds:.2f} goal={GOAL}")


if __name__ == "__main__":
    main(sys.argv[1:])
