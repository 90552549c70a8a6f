"""README and docs say what is so: the file tree is the disk's, and every command in them is run by a test."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

import openwit
from tests.documents import DOCUMENTS, block, blocks
from tests.running import ROOT, environment

RUN_BY = {  # which test runs a block of shell, line by line as it stands
    ("README.md", 0): "tests/test_demo.py",  # and its last line is this run
    ("README.md", 1): "tests/demo/test_own_data.py",
    ("README.md", 2): "tests/test_engines.py",
    ("CONTRIBUTING.md", 0): ".ci/run",
    ("docs/dataflow.md", 0): "tests/pipeline/engines/test_dataflow.py",
    ("docs/flink.md", 0): "tests/test_engines.py",
    ("docs/leaks.md", 0): "tests/dedup/test_leaks.py",
    ("docs/spark.md", 0): "tests/test_engines.py",
    ("docs/spark.md", 1): "tests/test_spark_pages.py",
    ("docs/spark.md", 2): "tests/test_spark_pages.py",
    ("docs/spark.md", 3): "tests/test_spark_pages.py",
    ("docs/training.md", 0): "tests/trainer/test_pages.py",
    ("docs/training.md", 1): "tests/trainer/test_pages.py",
}
SECURITY = (ROOT / "SECURITY.md").read_text()
README = (ROOT / "README.md").read_text()

# Commands of others: pip, torchrun, clusters, containers, Google.
ELSEWHERE = {".", "pip", "uv", "tar", "cp", "torchrun", "spark-submit", "python3.11", "/opt/openwit/env/bin/pip"}


def commands() -> list[str]:
    """Every line of every block of shell, comments off, continued lines joined."""
    found = set()
    for script in (script for document in DOCUMENTS for script in blocks(document)):
        for line in script.replace("\\\n", " ").splitlines():
            words = shlex.split(re.sub(r"^\w+=(\$\(.*\)|\S*)", "", line), comments=True)  # ENGINE=spark make …
            if words:
                found.add(shlex.join(words))
    return sorted(found)


def test_every_block_is_run_by_a_test() -> None:
    assert {(document, n) for document in DOCUMENTS for n in range(len(blocks(document)))} == set(RUN_BY)
    for (document, number), runner in RUN_BY.items():
        text = (ROOT / runner).read_text()
        if runner == ".ci/run":
            assert {line.partition("#")[0].strip() for line in block(document, number).splitlines()} <= made(text)
        else:
            assert f'block("{document}", {number})' in text, f"{runner} does not run block {number} of {document}"
    assert "make test" in made((ROOT / ".ci/run").read_text())


def made(script: str) -> set[str]:
    """What a script makes, as if one after another: make -j2 lint test → make lint, make test."""
    lines = re.findall(r"^make(?: -\S+)* (.*)$", script, re.MULTILINE)
    return {f"make {target}" for line in lines for target in line.split()}


@pytest.mark.parametrize("command", commands())
def test_a_command_is_one(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`make` knows the target; `openwit` knows the verb and every option; what is none of ours is listed above."""
    program, *words = shlex.split(command)
    if program == "make":
        done = subprocess.run(["make", "-n", *words], cwd=ROOT, env=environment(), capture_output=True, text=True)
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
    for document in DOCUMENTS:
        path = ROOT / document
        for link in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            assert "://" in link or (path.parent / link).exists(), f"{document}: {link}"


def test_the_guards_are_where_security_says() -> None:
    named = set(re.findall(r"`((?:pipeline|shards|tests|docs)/[^`]*)`", SECURITY))
    assert len(named) > 10 and [name for name in sorted(named) if not (ROOT / name).exists()] == []
