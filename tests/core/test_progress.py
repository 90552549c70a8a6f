"""How far a loop is, in lines and as a bar."""

import functools
import io
from collections.abc import Iterator

import pytest

from core.progress import Progress
from tests.running import wait_until


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [100.0]
    monkeypatch.setattr("core.progress.time.monotonic", lambda: now[0])
    yield now


def said(text: str) -> list[str]:
    return [line.split(" ")[1] for line in text.splitlines()]


def test_a_line_whenever_the_count_doubled_or_a_minute_passed(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress("train", "steps", 2000, to="stdout") as shown:
        for done in range(1, 101):
            shown.at(done, "loss 1.000")
            clock[0] += 1.0 if done > 64 else 0.0
    text = capsys.readouterr().out
    assert text.splitlines()[0] == "train: 1/2,000 steps, loss 1.000"
    assert said(text) == ["1/2,000", "2/2,000", "4/2,000", "8/2,000", "16/2,000", "32/2,000", "64/2,000"]
    with Progress("train", "steps", 2000, done=1000, to="stdout") as shown:
        for done in range(1001, 1200):
            clock[0] += 1.0
            shown.at(done)
    assert said(capsys.readouterr().out) == ["1,060/2,000", "1,120/2,000", "1,180/2,000"]


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def has_shown(*words: str) -> bool:
        return all(word in terminal.getvalue() for word in words)

    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("sys.stdout", terminal)
    with Progress("train", "steps", 3, done=1, to="stdout") as shown:
        for done in (2, 3):
            shown.at(done, f"loss 0.{done}")
            wait_until(functools.partial(has_shown, f"{done}/3", f"loss 0.{done}"))
    assert has_shown("train steps", "1/3")
    assert "train: " not in terminal.getvalue()


def test_a_line_says_how_long_it_takes_yet(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("train", "steps", 100, done=20, to="stdout") as shown:
        clock[0] += 600.0
        shown.at(40)
        clock[0] += 1800.0
        shown.at(98)
    assert capsys.readouterr().out.splitlines() == [
        "train: 40/100 steps, 0:30:00 left",
        "train: 98/100 steps, 0:01:02 left",
    ]
