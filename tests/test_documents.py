"""README and docs say what is so: the file tree is the disk's, and every command in them is one that runs."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

import openwit
from tests.running import ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SECURITY = (ROOT / "SECURITY.md").read_text()
README = (ROOT / "README.md").read_text()

# Commands of others, on machines that a test does not have: pip, clusters, containers, Google.
ELSEWHERE = {".", "pip", "uv", "tar", "cp", "spark-submit", "python3.11", "/opt/openwit/env/bin/pip"}


def commands() -> list[str]:
    """Every line of every block of shell, comments off, continued lines joined."""
    found = []
    for path in DOCUMENTS:
        for block in re.findall(r"^```sh\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(re.sub(r"^\w+=(\$\(.*\)|\S*)", "", line), comments=True)  # ENGINE=spark make …
                if words:
                    found.append(shlex.join(words))
    return sorted(set(found))


@pytest.mark.parametrize("command", commands())
def test_a_command_is_one(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`make` knows the target; `openwit` knows the verb and every option; what is none of ours is listed above."""
    program, *words = shlex.split(command)
    if program == "make":
        done = subprocess.run(["make", "-n", *words], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    elif Path(program).name == "openwit":
        verb, *rest = words
        assert verb in openwit.VERBS
        with pytest.raises(SystemExit) as left:
            openwit.main([verb, "--help"])
        assert left.value.code == 0
        known = capsys.readouterr().out
        assert [word for word in rest if word.startswith("--") and word not in known] == []
    else:
        assert program in ELSEWHERE


def test_the_tree_is_the_disks() -> None:
    """All that the README's tree names is there, and every folder that is there is in it."""
    (tree,) = re.findall(r"^## What is where\n\n```\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    said = set(re.findall(r"^ {0,2}([\w./-]+)  ", tree, re.MULTILINE))
    assert [name for name in said if not ((ROOT / name).exists() or (ROOT / "pipeline" / name).exists())] == []
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    folders = {f"{line.split('/')[0]}/" for line in tracked.splitlines() if "/" in line and line[0] != "."}
    assert folders - said == set()


def test_every_stage_is_in_the_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)
    assert rows[: len(openwit.STAGES)] == list(openwit.STAGES)


def test_links_lead_somewhere() -> None:
    for path in DOCUMENTS:
        for link in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            assert "://" in link or (path.parent / link).exists(), f"{path.name}: {link}"


def test_the_guards_are_where_security_says() -> None:
    named = set(re.findall(r"`((?:pipeline|shards|tests|docs)/[^`]*)`", SECURITY))
    assert len(named) > 10 and [name for name in sorted(named) if not (ROOT / name).exists()] == []
