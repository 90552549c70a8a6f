"""The command and the Makefile: every verb has a module that answers it, and both say what can be asked of them."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

import openwit
from core import command, registry
from tests import running
from tests.running import REAL, ROOT, settings

pytestmark = pytest.mark.program

# ── the command ──


@pytest.mark.parametrize("verb", [verb for verb in openwit.VERBS if verb != "all"])
def test_every_verb_has_a_module_that_answers_it(verb: str) -> None:
    module, words, what = openwit.VERBS[verb]
    spec = find_spec(module)
    assert spec is not None and spec.origin
    assert re.search(r"^(def main\(|main = )", Path(spec.origin).read_text(), re.MULTILINE)
    assert what and words in ((), (verb,))


def test_the_stages_are_those_of_a_recipe_and_the_report() -> None:
    assert list(openwit.STAGES) == [*registry.STAGES, "report"]


@pytest.mark.parametrize("words", [["--help"], ["-h"], []])
def test_help_has_a_line_for_each_verb(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert openwit.main(words) == (0 if words else 2)
    usage, blank, *lines = capsys.readouterr().out.splitlines()
    assert usage.startswith("usage: openwit VERB --recipe") and not blank
    assert [line.split(maxsplit=1) for line in lines] == [[verb, what] for verb, (_, _, what) in openwit.VERBS.items()]


@pytest.mark.parametrize("verb", ["crwal", "--recipe", "", "ALL", "\x1b[2J"])
def test_an_unknown_verb_is_wrong_use(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert openwit.main([verb, "--recipe", "recipes/real.toml"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith(f"openwit: there is no verb {verb!r}\n\nusage: openwit VERB")


@pytest.mark.parametrize("verb", ["filter", "query", "explain", "status", "plan"])
def test_a_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        openwit.main([verb, "--help"])
    said = capsys.readouterr().out
    assert said.startswith(f"usage: openwit {verb} ") and "--recipe" in said and "table.key=value" in said


def test_a_library_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(openwit.VERBS, "train", ("no_such_library.train", (), ""))
    assert openwit.main(["train"]) == 1
    assert "no_such_library is not installed: pip install '.[train]'" in capsys.readouterr().err
    monkeypatch.setitem(openwit.VERBS, "train", ("trainer.no_such_module", (), ""))
    with pytest.raises(ModuleNotFoundError):  # our own mistake, not the user's
        openwit.main(["train"])


def test_the_first_stage_that_cannot_run_ends_all(capfd: pytest.CaptureFixture[str]) -> None:
    assert openwit.main(["all", "--recipe", "nowhere.toml"]) == 2
    assert capfd.readouterr().err.splitlines() == [
        "queries: there is no recipe nowhere.toml: give one with --recipe, for example recipes/real.toml"
    ]


def test_the_command_is_a_module_too() -> None:
    ran = subprocess.run([sys.executable, "-m", "openwit", "nothing"], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 2 and "there is no verb 'nothing'" in ran.stderr


# ── the Makefile ──


def make(*words: str) -> str:
    """What make prints, whether or not these tests were started by another one."""
    return subprocess.run(
        ["make", *words], cwd=ROOT, env=running.environment(), capture_output=True, text=True, check=True
    ).stdout


def targets() -> list[str]:
    """What a person may make: the phony targets, as make itself knows them."""
    (phony,) = re.findall(r"^\.PHONY: (.*)$", make("-pn", "help"), re.MULTILINE)
    return str(phony).split()


def test_make_lists_every_target_with_a_line_each() -> None:
    listed = make("-s", "help").splitlines()
    assert make("-s").splitlines() == listed
    found = [re.fullmatch(r"  make (\S+) +(\S.*)", line) for line in listed]
    said = {match[1]: match[2] for match in found if match}
    assert len(said) == len(listed) and said.keys() == set(targets())
    makefile = (ROOT / "Makefile").read_text().splitlines()
    assert [target for target in said if target in registry.STAGES] == list(registry.STAGES)
    for target, what in said.items():
        if target in registry.STAGES:
            continue
        (line,) = (line for line in makefile if line.startswith(f"{target}:") and "##" in line)
        assert line.partition("## ")[2] == what


def test_the_stages_of_the_makefile_are_the_verbs() -> None:
    said = dict(line.removeprefix("  make ").split(maxsplit=1) for line in make("-s", "help").splitlines())
    runs = {
        verb
        for target in said
        for verb in re.findall(r"^\S*/openwit (\S+) --recipe recipes/tiny\.toml$", dry(target), re.MULTILINE)
    }
    assert runs == {*openwit.STAGES, "all"}
    for verb in runs:
        assert said[verb] == openwit.VERBS[verb][2]
        assert dry(verb).splitlines()[-1].endswith(f"openwit {verb} --recipe recipes/tiny.toml")


@cache
def dry(target: str) -> str:
    """The commands behind a target, once everything is installed."""
    return make("-n", "-o", ".venv/bin/.installed", target, "RECIPE=tiny", "BENCH=none")


# ── the way out ──

SAYING = [  # each kind of command
    *(["openwit", verb, "--help"] for verb in ("all", "filter", "verify")),
    *([module, "--help"] for module in ("pipeline.filter", "trainer.train", "shards")),
    ["dedup", "query", "--help"],
    ["openwit", "--help"],
    ["openwit"],
    ["openwit", "status", "--recipe", REAL],
    ["openwit", "plan", "--recipe", REAL],
]


def ended(words: list[str], stdout: str, **env: str) -> tuple[int, str]:
    """The status of a command and what it says on stderr, when its reader is gone, its file full, its output closed."""
    to = {"gone": "| true", "full": "> /dev/full", "closed": ">&-"}[stdout]
    before = "sleep 0.2; " if stdout == "gone" else ""  # until `true` has ended
    shell = f'{{ {before}"$@"; echo "status $?" >&2; }} {to}'
    command = ["bash", "-c", shell, "bash", sys.executable, "-m", *words]
    ran = subprocess.run(command, cwd=ROOT, env=running.environment(env), capture_output=True, text=True, timeout=120)
    *said, status = ran.stderr.splitlines()
    return int(status.removeprefix("status ")), "\n".join(said)


@pytest.mark.parametrize("words", SAYING, ids=" ".join)
def test_a_reader_that_has_gone_ends_a_command_without_a_word(words: list[str], tmp_path: Path) -> None:
    """With the status that a shell has for it: what it was about to say may have been that something is wrong."""
    assert ended(words, "gone", OPENWIT_CONNECT_TO="") == (141, "")


FORKS = """
import importlib, os
import openwit
from core.command import exit_now
for module, _, _ in openwit.VERBS.values():
    if module:
        importlib.import_module(module)
for verb in openwit.VERBS:
    pid = os.fork()
    if not pid:
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, 1)
        exit_now(lambda _: openwit.main([verb, "--help"]))
    print(verb, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


def test_a_reader_that_has_gone_ends_every_verb(tmp_path: Path) -> None:
    """Forks of one process that has imported what each of them does: a start of every verb takes a minute."""
    words = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKS]  # a fork of several threads
    ran = subprocess.run(words, cwd=ROOT, env=running.environment(), capture_output=True, text=True, check=True)
    assert dict(line.split() for line in ran.stdout.splitlines()) == dict.fromkeys(openwit.VERBS, "141")
    assert ran.stderr == ""


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [SAYING[1], ["pipeline.filter", "--help"], *SAYING[-4:-1]], ids=" ".join)
def test_output_that_cannot_be_written_is_said(words: list[str], unbuffered: str) -> None:
    for stdout, why in ("full", "No space left on device"), ("closed", "Bad file descriptor"):
        status, said = ended(words, stdout, PYTHONUNBUFFERED=unbuffered, OPENWIT_CONNECT_TO="")
        assert status == 1 and said.startswith(f"openwit: standard output cannot be written ({why}): give it a file")
        assert "\n" not in said


@pytest.mark.parametrize(
    ("words", "status"), [(["crwal"], 2), (["filter", "--fast"], 2), (["status", "--recipe", "no.toml"], 2)]
)
def test_what_goes_to_stderr_needs_no_other_output(words: list[str], status: int) -> None:
    for stdout in ("gone", "full"):
        found, said = ended(["openwit", *words], stdout)
        assert found == status and said and "Traceback" not in said
    found, said = ended(["openwit", *words, "--debug"], "full")
    assert found == status


def test_a_pipe_that_breaks_in_the_work_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        raise BrokenPipeError("of a worker")

    assert command.exit_status("fetch", work) == 1
    assert "fetch: unexpected BrokenPipeError: of a worker" in capfd.readouterr().err


def test_what_a_terminal_cannot_write_is_escaped(tmp_path: Path) -> None:
    words = ["status", "--recipe", REAL, *settings(**{"run.out": str(tmp_path / "Köln")})]
    assert "K\\xf6ln" in running.openwit(*words, env={"PYTHONIOENCODING": "ascii"})
