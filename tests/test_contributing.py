"""The additions that CONTRIBUTING.md shows are what it takes: applied to a copy, their tests pass."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents import copy_to
from tests.running import ROOT, environment

pytestmark = pytest.mark.program

ALSO = {  # tests of others that an addition has to live with
    "rule": ["tests/demo/test_sites.py"],
    "stage": [
        "tests/test_documents.py",
        "tests/report/test_render.py::test_what_happened_is_said",
        "tests/report/test_render.py::test_a_stage_that_is_not_finished_is_not_run_yet",
        "tests/report/test_render.py::test_every_number_leads_to_what_is_behind_it",
    ],
    "evaluation": [],
}
DIFFS = re.findall(r"^```diff\n(.*?)^```$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("what", "diff"), list(zip(ALSO, DIFFS, strict=True)), ids=list(ALSO))
def test_an_addition(what: str, diff: str, tmp_path: Path) -> None:
    folder = copy_to(tmp_path)
    subprocess.run(["git", "apply", "--index", "-"], cwd=folder, input=diff, check=True, text=True)
    touched = re.findall(r"^\+\+\+ b/(tests/\S+)", diff, re.MULTILINE)
    tests = [*touched, "tests/test_floor_plan.py", *ALSO[what]]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "not slow", *tests]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
