"""workers: crawl with two processes against crawl with one, in seconds of the clock.

make bench BENCH=workers
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from core.runs import cores
from tests.conftest import DATA
from tests.running import ROOT, settings
from tests.small import contents

ARCHIVES, ROUNDS, GOAL = 48, 3, 1.7


def seconds(folder: Path, workers: int, round_: int) -> float:
    """Seconds of `openwit crawl` over all archives, from its start to its exit line."""
    out = {"run.out": str(folder / f"{workers}-{round_}"), "engine.workers": workers}
    words = settings(**out, **{"crawl.warc": [f"{folder}/archives/*"]})
    started = time.monotonic()
    command = [sys.executable, "-m", "openwit", "crawl", "--recipe", "recipes/real.toml", *words]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - started


def main() -> None:
    assert cores() >= 2, "two processes need two cores"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "archives").mkdir()
        for copy in range(ARCHIVES):
            (folder / "archives" / f"{copy:02d}.warc.gz").symlink_to(DATA / "warc" / "dev_crawl.warc.gz")
        pairs = [(seconds(folder, 1, i), seconds(folder, 2, i)) for i in range(ROUNDS)]
        assert contents(folder / "1-0" / "1_crawl") == contents(folder / "2-0" / "1_crawl")
    for one, two in pairs:
        print(f"1 process {one:7.1f} s   2 processes {two:7.1f} s   {one / two:.2f}")
    print("the same bytes: True")
    ratios = sorted(one / two for one, two in pairs)
    print(f"workers ratio={ratios[len(ratios) // 2]:.2f} goal={GOAL}")


if __name__ == "__main__":
    main()
