"""A small web of the demo's, drawn once."""

from __future__ import annotations

import pytest

from demo.plan import Size
from demo.web import Web, draw

SMALL = Size(english=4, foreign=1, copies=6, placeholders=20, evaluation=1, leaks=4)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Web:
    return draw(tmp_path_factory.mktemp("demo") / "web", seed=1, size=SMALL)
