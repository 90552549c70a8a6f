"""What every command shares: --recipe, --set, --debug, and errors said in one sentence with the right exit status."""

from __future__ import annotations

import argparse
import io
import os
import select
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from shards.errors import Failure, UsageError, WorkToDo
from shards.recipe import Recipe, read

WORK_TO_DO = 3
INTERRUPTED = 130  # what a shell reports for a command ended by Ctrl-C …
NOBODY_LISTENS = 141  # … and for one whose reader has gone (SIGPIPE): it may not have come to its end


def arguments(name: str, doc: str) -> argparse.ArgumentParser:
    """The parser that all commands start from."""
    parser = argparse.ArgumentParser(
        prog=f"openwit {name}", description=doc.strip().split("\n\n", 1)[0], allow_abbrev=False
    )
    parser.add_argument("--recipe", default="recipes/real.toml", help="the TOML file that says everything")
    parser.add_argument(
        "--set", action="append", default=[], metavar="table.key=value", help="overrides one recipe key"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def run_recipe(name: str, doc: str, work: Callable[[Recipe], None], argv: Sequence[str] | None = None) -> int:
    """Parse a stage's command line, do its work, return its exit status: 0 done, 1 failed, 2 wrong use, 3 --check."""
    parser = arguments(name, doc)
    parser.add_argument("--check", action="store_true", help="do nothing: exit status 0 if all is done, 3 if not")
    options = parser.parse_args(argv)
    return guarded(name, lambda: work(read(options.recipe, options.set, options.check)), options.debug)


def printable(line: str) -> str:
    """What strangers had a hand in, fit for a terminal: line ends, escapes and the like as Python writes them."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def print_columns(rows: Sequence[tuple[str, str, str, str, str]]) -> None:
    """Print rows of five cells below one another, the fourth, a number, to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for first, second, third, number, last in rows:
        line = f"{first:{widths[0]}}  {second:{widths[1]}}  {third:{widths[2]}}  {number:>{widths[3]}}  {last}"
        print(printable(line.rstrip()))


def leave(status: int) -> NoReturn:
    """End the process at once: threads of libraries (Arrow, gRPC) have been seen to abort it on the usual way out."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def say_all() -> None:
    """From here on what a terminal cannot write is escaped, and not an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _nobody_listens() -> bool:
    """Whether who read our standard output has gone: else the pipe that broke is one of the work's own."""
    pipe = select.poll()
    pipe.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in pipe.poll(0))


def guarded(name: str, work: Callable[[], None], debug: bool = False) -> int:
    """Do some work; an error becomes one sentence on stderr and an exit status."""
    say_all()
    try:
        work()
        sys.stdout.flush()
    except WorkToDo:
        return WORK_TO_DO
    except KeyboardInterrupt:
        print(f"{name}: interrupted; what was committed stays, the same command goes on from there", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _nobody_listens():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return NOBODY_LISTENS
        if debug:
            raise
        if isinstance(error, Failure):
            sentence = str(error)
        else:
            sentence = f"unexpected {type(error).__name__}: {error}; run it again with --debug and report what it shows"
        print(f"{name}: {printable(' '.join(sentence.split()))}", file=sys.stderr)  # others' words may have many lines
        return 2 if isinstance(error, UsageError) else 1
    return 0
