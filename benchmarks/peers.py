"""The environments of peers: benchmarks/peers/NAME.txt is installed into .venv-peers/NAME, once.

A peer runs in a process of its own, from the repository's root, so that a module of benchmarks/ can be run there, too:
it may import what its environment has.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def _wanted(name: str) -> str:
    return (ROOT / "benchmarks" / "peers" / f"{name}.txt").read_text() + sys.version


def _folder(name: str) -> Path:
    return ROOT / ".venv-peers" / name


def is_made(name: str) -> bool:
    """Whether the peer's environment is there, and made of what NAME.txt says today."""
    made = _folder(name) / "made-of"
    return made.exists() and made.read_text() == _wanted(name)


def is_importable(name: str, module: str) -> bool:
    """Whether `make_importable` would have nothing to install."""
    return importlib.util.find_spec(module) is not None or is_made(name)


def make_importable(name: str, module: str) -> None:
    """A peer's module can be imported here afterwards: it is installed, or comes from the peer's environment.

    What both have, torch and numpy, stays ours.
    """
    if importlib.util.find_spec(module) is None:
        site = Path(python(name)).parents[1] / "lib"
        sys.path += map(str, site.glob("python*/site-packages"))  # last


def python(name: str) -> str:
    """The interpreter of a peer's environment, which is made on first use and when NAME.txt has changed."""
    folder = _folder(name)
    there = str(folder / "bin" / "python")
    if not is_made(name):
        print(f"installing {name} into {folder.relative_to(ROOT)}", file=sys.stderr, flush=True)
        uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        assert uv is not None, "uv is missing: run this by `make bench`"
        environment = [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)]
        packages = [uv, "pip", "install", "--quiet", "--python", there, "-r", f"benchmarks/peers/{name}.txt"]
        subprocess.run(environment, cwd=ROOT, check=True)
        subprocess.run(packages, cwd=ROOT, check=True)
        (folder / "made-of").write_text(_wanted(name))  # last: an installation that was broken off is made anew
    return there


def run(name: str, *words: str) -> str:
    """What `python WORDS` prints in that environment; its errors go where ours go."""
    ran = subprocess.run([python(name), *words], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return ran.stdout
