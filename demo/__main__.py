"""The demo: draws its web, serves it on 127.0.0.1, runs every stage on it and checks what must be true.

    make demo

Interrupted anywhere, it goes on where it was; run again, it finds that there is nothing to do.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from shards.errors import Failure, UsageError

if TYPE_CHECKING:
    from demo.web import Web

RECIPE, WEB, OUT = "recipes/demo.toml", Path("out/web"), Path("out/demo")


def main() -> int:
    """Exit status 0 if everything is true, 1 with one sentence if something is not."""
    started = time.monotonic()
    try:
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
        for said in check.check(OUT, web.truth, log):
            print(f"demo: ✓ {said}")
    except (Failure, UsageError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted; run it again to go on", file=sys.stderr)
        return 130
    print(
        f"demo: all of it is true, after {time.monotonic() - started:.0f} s. Open {OUT}/report.html, and try\n"
        f"  .venv/bin/openwit explain --recipe {RECIPE} {web.truth.leaks[0].url}\n"
        f"  .venv/bin/openwit status --recipe {RECIPE}\n"
        "and for pages of your own the three steps in README.md."
    )
    return 0


def made_of(web: Web) -> Path:
    """The folder of what is made, empty if another web was drawn since; the log in it, of the requests of every run."""
    of, drawn = OUT / "drawn.json", (web.folder / "drawn.json").read_bytes()
    if OUT.exists() and not (of.is_file() and of.read_bytes() == drawn):
        print(f"demo: {OUT} was made of another web: it is made anew")
        shutil.rmtree(OUT)
    OUT.mkdir(parents=True, exist_ok=True)
    of.write_bytes(drawn)
    log = OUT / "requests.tsv"  # of every run: what must not be asked for must never have been
    log.touch()
    return log


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # on its usual way out Python would report an interrupt that was answered, too, as the end
