"""What every command shares: --recipe, --set, --debug, errors said in one sentence, and the one way out of a process.

Exit statuses: 0 done, 1 failed, 2 wrong use, 3 there is work to do (--check), 130 interrupted, 141 the reader has gone.
"""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from core.credentials import public_text
from core.errors import Failure, UsageError, WorkToDo

if TYPE_CHECKING:
    from core.recipe import Recipe

WORK_TO_DO = 3
INTERRUPTED = 130  # what a shell reports for a command ended by Ctrl-C …
READER_GONE = 141  # … and for one whose reader has gone (SIGPIPE): it may not have come to its end


def arguments(name: str, doc: str, check: bool = False) -> argparse.ArgumentParser:
    """The parser that all commands start from; with `check` the one of stages."""
    parser = argparse.ArgumentParser(
        prog=f"openwit {name}", description=doc.strip().split("\n\n", 1)[0], allow_abbrev=False
    )
    parser.add_argument("--recipe", default="recipes/real.toml", help="the TOML file that says everything")
    parser.add_argument(
        "--set", action="append", default=[], metavar="table.key=value", help="overrides one recipe key"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    if check:
        parser.add_argument("--check", action="store_true", help="do nothing: exit status 0 if all is done, 3 if not")
    return parser


def run_recipe(name: str, doc: str, work: Callable[[Recipe], None], argv: Sequence[str] | None = None) -> int:
    """Parse a stage's command line, do its work, return its exit status: 0 done, 1 failed, 2 wrong use, 3 --check."""
    options = arguments(name, doc, check=True).parse_args(argv)
    from core.claim import check  # these load libraries for a quarter of a second, which --help does not need
    from core.recipe import read

    def run() -> None:
        recipe = read(options.recipe, options.set, options.check)
        check(recipe)
        work(recipe)

    return exit_status(name, run, options.debug)


def printable(line: str) -> str:
    """What strangers had a hand in, fit for a terminal: line ends, escapes and the like as Python writes them."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def print_columns(rows: Sequence[tuple[str, str, str, str, str]]) -> None:
    """Print rows of five cells below one another, the fourth, a number, to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for first, second, third, number, last in rows:
        line = f"{first:{widths[0]}}  {second:{widths[1]}}  {third:{widths[2]}}  {number:>{widths[3]}}  {last}"
        print(printable(public_text(line.rstrip())))


def exit_status(name: str, work: Callable[[], None], debug: bool = False) -> int:
    """Do some work; an error becomes one sentence on stderr and an exit status."""
    try:
        work()
    except WorkToDo:
        return WORK_TO_DO
    except KeyboardInterrupt:
        print(f"{name}: interrupted; what was committed stays, the same command goes on from there", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if debug:
            raise
        if isinstance(error, Failure):
            sentence = str(error)
        else:
            sentence = f"unexpected {type(error).__name__}: {error}; run it again with --debug and report what it shows"
        sentence = " ".join(public_text(sentence).split())  # others' words may have many lines
        print(f"{name}: {printable(sentence)}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


# ── the way out ──


def exit_now(main: Callable[[None], int]) -> NoReturn:
    """Run a command and end the process with its status, whichever way it comes to its end, and as soon as it does.

    Not by Python's own way out: threads of libraries (Arrow, gRPC) have been seen to abort it there.
    """
    try:
        guard_streams()
        try:
            status = main(None)
        except SystemExit as said:  # argparse's, after help or a wrong word
            status = said.code if isinstance(said.code, int) else 1
        sys.stdout.flush()
    except OutputLost as lost:
        status = READER_GONE if lost.errno == errno.EPIPE else 1
        if status == 1:
            remedy = "give it a file with room or another command to read it, and run the same command again"
            print(f"openwit: standard output cannot be written ({os.strerror(lost.errno)}): {remedy}", file=sys.stderr)
    except KeyboardInterrupt:  # while the libraries of a verb were being loaded, or between two verbs
        print("openwit: interrupted", file=sys.stderr)
        status = INTERRUPTED
    except Exception as error:  # noqa: BLE001 (it is shown: it was asked for with --debug, or is a mistake of ours)
        print(public_text(traceback.format_exc()), end="", file=sys.stderr)
        status = 2 if isinstance(error, UsageError) else 1
    with suppress(OutputLost):
        sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class OutputLost(BaseException):
    """Standard output took no more: nothing that is printed would be heard, so no work goes on, nor is it caught."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.errno = number


class _Stream(io.RawIOBase):
    """Standard output or error. A failed write to stdout raises OutputLost, once; to stderr it is dropped."""

    def __init__(self, fd: int) -> None:
        self._fd, self._lost = fd, False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def write(self, data: Any, /) -> int:
        size = memoryview(data).nbytes
        if self._lost:
            return size
        try:
            return os.write(self._fd, data)
        except OSError as error:
            self._lost = True
            if self._fd != 1:
                return size
            raise OutputLost(error.errno or errno.EIO) from error


def guard_streams() -> None:
    """From here on what cannot be printed is OutputLost, and what a terminal cannot write is escaped and no error."""
    if closed := [name for name in ("stdout", "stderr") if getattr(sys, name) is None]:
        for name in closed:  # else the next file that is opened gets its number, and all that is said into it
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 (the process's own)
        if "stdout" in closed:
            raise OutputLost(errno.EBADF)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _text(1, sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(2, sys.stderr)


def _text(fd: int, old: Any) -> TextIO:
    at_once = fd == 2 or old.line_buffering or old.write_through
    return io.TextIOWrapper(io.BufferedWriter(_Stream(fd)), old.encoding, "backslashreplace", line_buffering=at_once)
