"""The demo: draws its web, serves it on 127.0.0.1, runs every stage on it and checks what must be true.

    make demo

Interrupted anywhere, it goes on where it was; run again, it finds that there is nothing to do.
"""

from __future__ import annotations

import fcntl
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from core.command import INTERRUPTED, exit_now
from core.errors import Failure, UsageError
from core.files import publish

if TYPE_CHECKING:
    from demo.web import Web

RECIPE, WEB, OUT = "recipes/demo.toml", Path("out/web"), Path("out/demo")
TRY = f"""Open {OUT}/report.html, and try
  .venv/bin/openwit explain --recipe {RECIPE} http://gallery.kestrel.test/
  .venv/bin/openwit status --recipe {RECIPE}
and for pages of your own the three steps in README.md."""


def main() -> int:
    """Exit status 0 if everything is true, 1 with one sentence if something is not."""
    started = time.monotonic()
    try:
        with only_one():
            if status := run():
                return status
    except (Failure, UsageError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:  # a disk that is full or closed, files that somebody changed
        print(f"demo: {error}: free some disk, or remove {WEB} and {OUT}, and run it again", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted; run it again to go on", file=sys.stderr)
        return INTERRUPTED
    print(f"demo: all of it is true, after {time.monotonic() - started:.0f} s. {TRY}")
    return 0


@contextmanager
def only_one() -> Iterator[None]:
    """One demo at a time in this folder."""
    WEB.parent.mkdir(parents=True, exist_ok=True)
    with (WEB.parent / ".demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failure(f"it is already running on {WEB.parent}: wait for it, or end it first") from None
        yield


def run() -> int:
    """The exit status of the stages; Failure where one of them has made something else than it should have."""
    # Loaded here, where Ctrl-C is answered: it takes two seconds.
    from demo import check
    from demo.hosts import ADDRESSES
    from demo.localweb import LocalWeb, run_with
    from demo.misbehaviour import BEHAVIOURS
    from demo.web import draw

    web = draw(WEB)
    print(f"demo: {len(web.truth.pages)} pages with {len(web.truth.images):,} images in {WEB}", flush=True)
    log = made_of(web)
    with LocalWeb(web.sites, BEHAVIOURS, log, ADDRESSES) as served:
        for verb in ("all", "overlap", "report"):  # the report once more, with what overlap found
            words = [sys.executable, "-m", "openwit", verb, "--recipe", RECIPE]
            if status := run_with(words, served.connect_to):
                return status
    try:
        for said in check.check(OUT, web.truth, log):
            print(f"demo: ✓ {said}")
    except Failure as error:
        raise Failure(
            f"{error}; if files were changed by hand, remove {WEB} and {OUT} and run it again, else this is a bug"
        ) from error
    return 0


def made_of(web: Web) -> Path:
    """The folder of what is made, empty if another web was drawn since; the log in it, of the requests of every run.

    UsageError where there is a folder that no demo has made.
    """
    of, drawn = OUT / "drawn.json", (web.folder / "drawn.json").read_bytes()
    if OUT.exists() and not of.is_file():
        raise UsageError(f"{OUT} was not made by the demo: move it away, or remove it")
    if OUT.exists() and of.read_bytes() != drawn:
        print(f"demo: {OUT} was made of another web: it is made anew")
        for path in sorted(OUT.iterdir(), key=lambda path: path == of):  # its mark last: it may be interrupted
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if not of.is_file():
        OUT.mkdir(parents=True, exist_ok=True)
        publish(str(of), drawn)
    log = OUT / "requests.tsv"  # of every run: what must not be asked for must never have been
    log.touch()
    return log


if __name__ == "__main__":
    # On its own way out Python would report an interrupt that was answered, too, as the end.
    exit_now(lambda _: main())
