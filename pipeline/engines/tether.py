"""Runs a program that must not outlive the one who started it: `python -m pipeline.engines.tether COMMAND …`.

Its standard input is a pipe that nobody writes to. When that ends, because whoever holds the other end is done or was
killed, the command is killed; and when the command has ended, so is all that it started.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading


def main() -> int:
    """Needs a process group of its own: it is ended whole."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the group's, from below
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_with_launcher, args=(child,), daemon=True).start()
    child.wait()
    os.killpg(0, signal.SIGTERM)
    return 128 - child.returncode if child.returncode < 0 else child.returncode


def _end_with_launcher(child: subprocess.Popen[bytes]) -> None:
    os.read(0, 1)  # not sys.stdin: its lock, held here, would make the interpreter abort at its end
    child.kill()  # it keeps nothing that would need to be put in order


if __name__ == "__main__":
    sys.exit(main())
