"""What tests of core share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(params=["memory", "local"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A stage's folder, here and in an object store."""
    return str(tmp_path / "1_crawl") if request.param == "local" else f"memory://runs/{tmp_path.name}/1_crawl"
