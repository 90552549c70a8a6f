"""The commands of docs/training.md, run as they stand on a small pack with the recipe that stands above them."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from core.manifest import read_manifest
from tests.documents import block, run_block
from tests.running import ROOT
from tests.shards.helpers import make_pack
from tests.trainer.helpers import pictures, write_merges

pytestmark = pytest.mark.slow


def project(folder: Path) -> dict[str, str]:
    """A folder with a pack and recipes/mine.toml, its [train] table the page's but for four steps; the environment."""
    page = (ROOT / "docs" / "training.md").read_text()
    (table,) = re.findall(r"^```toml\n(\[train\]\nmodel.*?)^```", page, re.MULTILINE | re.DOTALL)
    table, found = re.subn(r"^steps = 400\nwarmup = 40$", "steps = 4\nwarmup = 1", table, flags=re.MULTILINE)
    assert found == 1
    (folder / "recipes").mkdir()
    (folder / "recipes" / "mine.toml").write_text(table)
    make_pack(folder / "out" / "mine" / "6_pack", pictures())
    write_merges(folder / "bpe_simple_vocab_16e6.txt.gz")
    return {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


def test_a_first_training_and_its_export(tmp_path: Path) -> None:
    printed = run_block(block("docs/training.md", 0), tmp_path, project(tmp_path))
    assert "train: 4 steps of 64 on" in printed
    assert {path.name for path in (tmp_path / "out/mine/open_clip").iterdir()} == {
        "open_clip_config.json",
        "open_clip_model.safetensors",
        "vocabulary.txt.gz",
    }


def test_several_processes(tmp_path: Path) -> None:
    printed = run_block(block("docs/training.md", 1), tmp_path, project(tmp_path))
    assert printed.count("train: 4 steps of 64 on") == 1
    assert read_manifest(str(tmp_path / "out/mine/7_train")) is not None
