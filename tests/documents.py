"""The blocks of shell in README and docs, and a copy of the repository in which they are run as they stand."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.running import ROOT, environment

MADE_FROM = ("pyproject.toml", "constraints.txt")  # what the Makefile makes the environment from
DOCUMENTS = ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))


def blocks(document: str) -> list[str]:
    """The scripts of a document, in its order."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def block(document: str, number: int) -> str:
    """One of them, counted from 0."""
    return blocks(document)[number]


def copy_to(folder: Path) -> Path:
    """A copy of the repository's tracked files, a repository itself, with the environment that the tests run in."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)  # with its time: make compares it with the environment's
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    subprocess.run(["git", "add", "--all"], cwd=folder, check=True)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def run_block(script: str, folder: Path, more: Mapping[str, str] | None = None) -> str:
    """What a script says in a folder; the test fails where one of its lines does."""
    done = subprocess.run(["bash", "-ec", script], cwd=folder, env=environment(more), capture_output=True, text=True)
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def clone_in(folder: Path) -> Path:
    """A copy in which `make` finds its environment made."""
    made = Path(sys.prefix) / "bin" / ".installed"
    if not made.exists() or any(made.stat().st_mtime < (ROOT / name).stat().st_mtime for name in MADE_FROM):
        pytest.skip("these tests do not run in the environment that make makes: `make test` does")
    return copy_to(folder)
