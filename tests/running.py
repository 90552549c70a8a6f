"""Running the program as its users do: in a process of its own, from the repository's root."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.conftest import DATA

ROOT = Path(__file__).parents[1]
REAL = str(ROOT / "recipes" / "real.toml")


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a command finds in its environment: as few threads as will do on a busy machine, and the real data.

    Nothing of a `make` that started these tests, which would be another's if they start one.
    """
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return {**ours, "OPENWIT_DATA": str(DATA), "OMP_NUM_THREADS": "2", **(more or {})}


def start(*words: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """`openwit …`, started, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "openwit", *words],
        cwd=ROOT,
        env=environment(env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=answer_interrupts,
    )


def answer_interrupts() -> None:
    """Ctrl-C, as programs of a terminal do: a shell's background, if the tests run there, has them ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def openwit(*words: str, env: Mapping[str, str] | None = None, status: int = 0) -> str:
    """What `openwit …` prints; the test fails unless it exits with `status`."""
    process = start(*words, env=env)
    out, err = process.communicate(timeout=900)
    assert process.returncode == status, f"openwit {' '.join(words)} exited with {process.returncode}:\n{out}\n{err}"
    return out + err


def settings(**values: object) -> list[str]:
    """`--set` words: settings(**{"filter.rules": []}) → ["--set", "filter.rules=[]"]."""
    return [word for key, value in values.items() for word in ("--set", f"{key}={_toml(value)}")]


def _toml(value: object) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value).replace("'", '"')


def wait_until(true: Callable[[], object], seconds: float = 60.0) -> None:
    """Look until it is true; the test fails when it never is."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)
