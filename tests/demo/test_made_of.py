"""What the demo has made belongs to the web that it was made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo import __main__ as demo
from demo.truth import Truth
from demo.web import Web


def test_another_web_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "OUT", tmp_path / "out")
    web = Web(tmp_path, Truth())
    (tmp_path / "drawn.json").write_text("version 1")
    log = demo.made_of(web)
    log.write_text("a request")
    (log.parent / "1_crawl").mkdir()
    assert demo.made_of(web).read_text() == "a request"
    assert capsys.readouterr().out == ""
    (tmp_path / "drawn.json").write_text("version 2")
    assert demo.made_of(web).read_text() == ""
    assert sorted(path.name for path in log.parent.iterdir()) == ["drawn.json", "requests.tsv"]
    assert "was made of another web" in capsys.readouterr().out
