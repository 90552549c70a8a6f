"""The environments of peers: benchmarks/peers/NAME.txt is installed into .venv-peers/NAME, once.

A peer runs in a process of its own, from the repository's root, so that a module of benchmarks/ can be run there, too:
it may import what its environment has.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def python(name: str) -> str:
    """The interpreter of a peer's environment, which is made on first use and when NAME.txt has changed."""
    wanted = (ROOT / "benchmarks" / "peers" / f"{name}.txt").read_text() + sys.version
    folder = ROOT / ".venv-peers" / name
    there, made = str(folder / "bin" / "python"), folder / "made-of"
    if not made.exists() or made.read_text() != wanted:
        print(f"installing {name} into {folder.relative_to(ROOT)}", file=sys.stderr, flush=True)
        uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        assert uv is not None, "uv is missing: run this by `make bench`"
        environment = [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)]
        packages = [uv, "pip", "install", "--quiet", "--python", there, "-r", f"benchmarks/peers/{name}.txt"]
        subprocess.run(environment, cwd=ROOT, check=True)
        subprocess.run(packages, cwd=ROOT, check=True)
        made.write_text(wanted)  # last: an installation that was broken off is made anew
    return there


def run(name: str, *words: str) -> str:
    """What `python WORDS` prints in that environment; its errors go where ours go."""
    ran = subprocess.run([python(name), *words], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return ran.stdout
