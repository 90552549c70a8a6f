"""What the README tells a user to do with pages of her own, done: its steps on its recipe, its commands in a shell."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from core.registry import STAGES
from demo.hosts import ADDRESSES
from demo.localweb import LocalWeb
from demo.misbehaviour import BEHAVIOURS
from demo.web import Web
from tests.documents import block, run_block
from tests.running import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

README = (ROOT / "README.md").read_text()


def recipe(seeds: list[str]) -> str:
    """recipes/real.toml after steps 1 and 2; what is for a test web of one's own stays, since this is one."""
    assert re.findall(r"Remove `connect_to` and\s+`requests_per_second`", README)
    real = (ROOT / "recipes" / "real.toml").read_text()
    mine, replaced = re.subn(r"^warc = .*$", f"seeds = {seeds}".replace("'", '"'), real, flags=re.MULTILINE)
    mine, named = re.subn(r"^contact = .*$", 'contact = "me@example.org"', mine, flags=re.MULTILINE)
    assert replaced == named == 1
    return mine


def test_three_steps(drawn: Web, data: Path, tmp_path: Path) -> None:
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "mine.toml").write_text(recipe(drawn.truth.seeds))
    leak = drawn.truth.leaks[0].url
    picture = drawn.sites / leak.removeprefix("http://")
    around = {  # the second table of verbs: what each line of it prints
        "status": ("--recipe recipes/mine.toml", "complete"),
        "explain": (f"--recipe recipes/mine.toml {leak}", "crawl"),
        "query": (f"--recipe recipes/mine.toml {picture}", "0 of 64 and "),
        "overlap": ("--recipe recipes/mine.toml", "evaluation pictures are in the dataset"),
        "verify": ("out/mine/6_pack", "sample"),
    }
    assert all(f"| `{verb} " in README or f"| `{verb}` |" in README for verb in around)
    with LocalWeb(drawn.sites, BEHAVIOURS, addresses=ADDRESSES) as web:
        env = {"OPENWIT_CONNECT_TO": web.connect_to}
        assert f"report: {len(STAGES)} of {len(STAGES)} stages" in run_block(block("README.md", 1), tmp_path, env)
        for verb, (words, expected) in around.items():
            assert expected in run_block(f".venv/bin/openwit {verb} {words}", tmp_path, env), verb
    assert (tmp_path / "out" / "mine" / "report.html").stat().st_size > 10_000
