"""What the demo has made belongs to the web that it was made of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import UsageError
from demo import __main__ as demo
from demo.truth import Truth
from demo.web import Web
from tests.running import ROOT, environment


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


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "OUT", tmp_path / "out")
    (tmp_path / "drawn.json").write_text("version 1")
    (tmp_path / "out" / "1_crawl").mkdir(parents=True)
    with pytest.raises(UsageError, match="was not made by the demo: move it away"):
        demo.made_of(Web(tmp_path, Truth()))
    assert (tmp_path / "out" / "1_crawl").is_dir()


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("touch out", "File exists: 'out'"),
        ("mkdir -p out/web && echo mine > out/web/mine", "out/web holds something else than the demo's web"),
        ("mkdir -p out && exec 9> out/.demo.lock && flock 9", "it is already running on out"),
    ],
)
def test_trouble_is_said_in_one_sentence(before: str, said: str, tmp_path: Path) -> None:
    script = f"{before}\n{sys.executable} -m demo"
    env = environment({"PYTHONPATH": str(ROOT)})
    done = subprocess.run(["bash", "-ec", script], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and said in done.stderr
