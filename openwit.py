"""The command: a table of verbs and the modules that answer them, loaded by name when asked.

openwit filter --recipe recipes/real.toml [--set filter.min_words=3]
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from typing import NoReturn

from core import registry
from core.command import INTERRUPTED, READER_GONE, WORK_TO_DO, arguments, exit_now, exit_status

Verb = tuple[str, tuple[str, ...], str]  # module, words before the user's own, what it does

STAGES: dict[str, Verb] = {stage.name: (stage.module, (), stage.does) for stage in registry.STAGES.values()}
STAGES["report"] = ("report.render", (), "one HTML page of everything that happened")
OTHERS: dict[str, Verb] = {
    "all": ("", (), "every stage above, in order"),
    "engines": ("pipeline.engines.jars", (), "fetch what Spark and Flink need, once"),
    "plan": ("report.plan", (), "what is left to do: hours, disk and requests, before anything starts"),
    "status": ("report.status", (), "how far each stage is: complete, in work, stale or not begun"),
    "explain": ("report.explain", (), "what became of one image or page, stage by stage"),
    "query": ("dedup.__main__", ("query",), "ask the near-duplicate index about a picture"),
    "overlap": ("dedup.__main__", ("overlap",), "which evaluation pictures are in the dataset"),
    "sheet": ("report.sheet", (), "pages on which a person judges what overlap found"),
    "decontaminate": ("dedup.__main__", ("decontaminate",), "the list of leaked images, for pack to leave out"),
    "card": ("report.card", (), "the model card of a trained model, from manifests and results"),
    "embed": (registry.ASKED_FOR["embed"].module, (), registry.ASKED_FOR["embed"].does),
    "export": ("trainer.export", (), "the trained model as open_clip loads it"),
    "vocabulary": ("trainer.vocabulary", (), "learn a tokenizer's merges from the captions of a pack"),
    "verify": ("shards.__main__", ("verify",), "prove that shards are complete and unharmed"),
}
VERBS = {**STAGES, **OTHERS}
ROOMS = ("core", "pictures", "shards", "evaluation", "dedup", "trainer", "pipeline", "report")


def main(argv: Sequence[str] | None = None) -> int:
    """Hand the command line to the module of its verb; the exit status is the verb's."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in {"-h", "--help"}:
        print(_usage())
        return 0 if words else 2
    verb, rest = words[0], words[1:]
    if verb not in VERBS:
        print(f"openwit: there is no verb {verb!r}\n\n{_usage()}", file=sys.stderr)
        return 2
    return _all(rest) if verb == "all" else _run(verb, rest)


def _run(verb: str, rest: list[str]) -> int:
    module, words, _ = VERBS[verb]
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package in {"", *ROOMS}:
            raise
        print(f"{verb}: {package} is not installed: pip install '.[train]', then run again", file=sys.stderr)
        return 1
    return int(found.main([*words, *rest]))


def _all(rest: list[str]) -> int:
    """Every stage that has something to do, in a process of its own, so that no stage's memory is another's."""
    options = arguments("all", OTHERS["all"][2], check=True).parse_args(rest)
    ask = [*rest, "--check"]
    verbs = list(STAGES)
    while verbs and (status := _run(verbs[0], ask)) == 0:
        verbs.pop(0)  # it was done, and said so
    if not verbs or options.check or status != WORK_TO_DO:
        return status
    if status := _wrong_later(verbs[1:], ask):
        return status
    for verb in STAGES:
        status = (_apart(verb, rest) if verb in verbs else 0) or _left_nothing(verb, options)
        if status in {INTERRUPTED, READER_GONE}:
            return status
        if status > 128:
            why = " (was memory short?)" if status == 128 + signal.SIGKILL else ""
            print(f"{verb}: ended by signal {status - 128}{why}: run the same command again", file=sys.stderr)
            return status
        if status:
            if verb != "report":
                _apart("report", rest)  # it shows best what went wrong
            return status
    return 0


def _wrong_later(verbs: list[str], ask: list[str]) -> int:
    """What is wrong with a later stage's table is said before an earlier one works for days; its exit status, or 0.

    Training is asked in a process of its own, for torch takes much memory. What comes after it costs little to mend.
    """
    for verb in [verb for verb in verbs if verb not in {"eval", "report"}]:
        with redirect_stdout(io.StringIO()):  # that it is up to date: it will not be, after those before it
            status = _apart(verb, ask, stdout=subprocess.DEVNULL) if verb == "train" else _run(verb, ask)
        if status not in {0, WORK_TO_DO}:
            return status
    return 0


def _left_nothing(verb: str, options: argparse.Namespace) -> int:
    """1, and a sentence, where a stage that is done has left nothing for those after it."""
    from core.recipe import read
    from core.runs import check_that_some_are_left

    return exit_status("all", lambda: check_that_some_are_left(read(options.recipe, options.set), verb), options.debug)


def _apart(verb: str, rest: list[str], stdout: int | None = None) -> int:
    """A verb in a process of its own, which ends when this one is asked to, or is gone; its exit status."""
    words = [sys.executable, "-m", "openwit", verb, *rest]
    return run_to_end(words, dict(os.environ), held={signal.SIGINT}, stdout=stdout)


def run_to_end(
    words: Sequence[str], env: dict[str, str], held: Iterable[signal.Signals] = (), stdout: int | None = None
) -> int:
    """The exit status of a command, as a shell has it: 128 + the signal's number if one ended it, 130 after Ctrl-C.

    A terminal's Ctrl-C reaches the command as well, and it is waited for: whatever it ends with, it may just have been
    finishing. SIGTERM is passed on. `held`: signals that it starts with held back, see `entry`.
    """
    interrupted = False

    def interrupt(*_: object) -> None:
        nonlocal interrupted
        interrupted = True

    before = {signal.SIGINT: signal.signal(signal.SIGINT, interrupt)}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        try:
            child = subprocess.Popen(words, env={**env, _PARENT: str(os.getpid())}, stdout=stdout)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        before[signal.SIGTERM] = signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        status = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return INTERRUPTED if interrupted else 128 - status if status < 0 else status


_PARENT = "OPENWIT_PARENT"  # in its environment a command of ours finds who has started it


def _end_with_parent() -> None:
    """From here on this process gets SIGTERM once whoever started it has ended, however that comes about."""
    parent = int(os.environ.pop(_PARENT, "0"))
    if parent == os.getppid() and sys.platform == "linux":  # and no shell stands between
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG of prctl(2)
    if parent and os.getppid() == 1 != parent:  # it has ended already
        os._exit(128 + signal.SIGTERM)


def _usage() -> str:
    lines = ["usage: openwit VERB --recipe recipes/NAME.toml [--set table.key=value] [--debug]", ""]
    lines += [f"  {verb:12} {what}" for verb, (_, _, what) in VERBS.items()]
    return "\n".join(lines)


def entry() -> NoReturn:
    """The installed command."""
    exit_now(_started)


def _started(argv: Sequence[str] | None) -> int:
    # Held back while Python starts, which would end with a trace of its own insides.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    _end_with_parent()
    return main(argv)


if __name__ == "__main__":
    entry()
