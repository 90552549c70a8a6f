"""A command line: errors become a sentence and a status."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core.command import exit_status, run_recipe
from core.errors import Failure, UsageError, WorkToDo
from core.recipe import Recipe


def doing(error: BaseException | None) -> Callable[..., None]:
    def work(*_: object) -> None:
        if error:
            raise error

    return work


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (None, 0, ""),
        (Failure("a.warc is truncated: get it again"), 1, "crawl: a.warc is truncated: get it again"),
        (UsageError("there is no recipe: give one"), 2, "crawl: there is no recipe: give one"),
        (WorkToDo(), 3, ""),
        (
            KeyboardInterrupt(),
            130,
            "crawl: interrupted; what was committed stays, the same command goes on from there",
        ),
        (
            ValueError("one\n  two\r\n\tthree"),
            1,
            "crawl: unexpected ValueError: one two three; run it again with --debug and report what it shows",
        ),
        (Failure("http://a.test/\x1b[2J\u202egpj is odd"), 1, r"crawl: http://a.test/\x1b[2J\u202egpj is odd"),
    ],
)
def test_an_error_is_one_sentence_and_a_status(
    capsys: pytest.CaptureFixture[str], error: BaseException | None, status: int, said: str
) -> None:
    assert exit_status("crawl", doing(error)) == status
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"{said}\n" if said else "")


@pytest.mark.parametrize("error", [Failure("a"), UsageError("b"), ValueError("c")])
def test_debug_raises(error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        exit_status("crawl", doing(error), debug=True)
    assert raised.value is error


def test_debug_leaves_the_other_statuses_alone() -> None:
    assert exit_status("crawl", doing(KeyboardInterrupt()), debug=True) == 130
    assert exit_status("crawl", doing(WorkToDo()), debug=True) == 3


def test_a_command_line_reaches_its_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text("[run]\nseed = 1\n")
    seen: list[Recipe] = []

    def run(*words: str) -> int:
        return run_recipe("crawl", "What it does.\n\nMore.", seen.append, ["--recipe", str(recipe), *words])

    assert run() == run("--set", "run.seed=5", "--check") == 0
    assert [(said.run.seed, said.check) for said in seen] == [(1, False), (5, True)]
    assert run("--set", "seed=5") == 2 and "write it as table.key=value" in capsys.readouterr().err
    assert run_recipe("crawl", "", doing(Failure("no")), ["--recipe", str(recipe)]) == 1
    assert run_recipe("crawl", "", doing(None), ["--recipe", str(tmp_path / "none.toml")]) == 2
    with pytest.raises(Failure, match="no"):
        run_recipe("crawl", "", doing(Failure("no")), ["--recipe", str(recipe), "--debug"])


@pytest.mark.parametrize("words", [["--fast"], ["--rec", "r.toml"], ["filter"]])
def test_unknown_words_are_wrong_use(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        run_recipe("crawl", "What it does.", doing(None), words)
    assert error.value.code == 2 and "unrecognized arguments" in capsys.readouterr().err


def test_help_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        run_recipe("crawl", "crawl: what it does.\n\nMore of it.", doing(None), ["--help"])
    out = capsys.readouterr().out
    assert error.value.code == 0 and "openwit crawl" in out and "what it does." in out and "More" not in out
