"""An evaluation in a process of its own that a scheduler ends: it leaves nothing behind that the next one waits for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import torch

from core.manifest import read_manifest
from tests.running import ROOT, environment, wait_until
from tests.trainer.helpers import SMALL, write_merges
from tests.trainer.made_sets import colour
from trainer.evals import __main__ as evals
from trainer.model import CLIP

ON_A_DISK_WITHOUT_LOCKS = """
import errno, fcntl, sys

def flock(*_):
    raise OSError(errno.ENOLCK, "no locks available")

fcntl.flock = flock  # so the folder is held by a lease
from core import command
from trainer.evals.__main__ import main

command.exit_now(main)
"""
PICTURES = 60  # of each class of the second set, each of some milliseconds


def write_sets(folder: Path) -> None:
    """`few`: two pictures; `many`: one large picture under many names, so that it is still read when SIGTERM comes."""
    for name in ("red", "blue"):
        for place, n, size in (("few", 1, 16), ("many", PICTURES, 700)):
            (folder / place / name).mkdir(parents=True)
            first = folder / place / name / "0.png"
            first.write_bytes(colour(name, (size, size)))
            for number in range(1, n):
                os.link(first, folder / place / name / f"{number}.png")


def test_sigterm_releases_the_lease_and_the_same_command_goes_on(tmp_path: Path) -> None:
    write_sets(tmp_path)
    torch.save(CLIP(SMALL).state_dict(), tmp_path / "new.pt")
    recipe, folder = tmp_path / "recipe.toml", tmp_path / "out" / "8_eval"
    recipe.write_text(
        f'[run]\nout = "{tmp_path}/out"\n[eval]\nsets = ["{tmp_path}/few", "{tmp_path}/many"]\n'
        f'models = {{ new = "{tmp_path}/new.pt" }}\nmerges = "{write_merges(tmp_path / "merges.gz")}"\n'
    )
    command = [sys.executable, "-c", ON_A_DISK_WITHOUT_LOCKS, "--recipe", str(recipe)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=pipe, stderr=pipe, text=True) as process:
        wait_until(lambda: process.poll() is not None or list(folder.glob("example/*")))
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert said == "eval: ended by SIGTERM; what was committed stays, the same command goes on from there\n"
    assert process.returncode == 1 and read_manifest(str(folder)) is None
    (lease,) = folder.glob("_lock.*")
    assert json.loads(lease.read_bytes())["released"]
    assert not [path for path in folder.rglob("*") if path.name.startswith(".")]

    evals.main(["--recipe", str(recipe)])
    work = json.loads((folder / "_run.json").read_bytes())["work"]["sets"]
    assert work["of"] == 7 and work["here"] < work["of"], "what was committed is not made again"
    results = json.loads((folder / "results.json").read_bytes())
    assert {row["set"]: row["n"] for row in results} == {"few": 2, "many": 2 * PICTURES}
