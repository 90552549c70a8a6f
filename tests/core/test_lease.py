"""Leases: one holder at a time, whoever dies, stops or is taken for dead."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from core.errors import Failure
from core.files import names_in
from core.lease import Lease
from tests.running import wait_until

SECONDS = 1.0


def hold(path: str, said: Any) -> None:
    """Hold the lease, look at it often, say what happens."""
    with Lease(path, SECONDS) as lease:
        said.append(("held", os.getpid()))
        try:
            while True:
                lease.check()
                time.sleep(0.01)
        except Failure as error:
            said.append(("lost", str(error)))


@pytest.fixture
def holder(tmp_path: Path) -> Any:
    """A process that holds the lease on `tmp_path/x`, and what it has said."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        said = manager.list()
        process = context.Process(target=hold, args=(str(tmp_path / "x"), said))
        process.start()
        wait_until(lambda: len(said))
        yield process, said
        process.kill()
        process.join()


def test_it_is_free_at_once_when_it_was_let_go(tmp_path: Path) -> None:
    started = time.monotonic()
    for generation in (1, 2, 3):
        with Lease(str(tmp_path / "x"), 60.0) as lease:
            lease.check()
        assert names_in(str(tmp_path))[-1] == f"x.{generation:08d}"
    assert time.monotonic() - started < 10


def test_a_living_holder_keeps_it_for_much_longer_than_its_length(tmp_path: Path) -> None:
    order = []

    def second() -> None:
        with Lease(str(tmp_path / "x"), SECONDS):
            order.append("second")

    with Lease(str(tmp_path / "x"), SECONDS) as lease:
        thread = threading.Thread(target=second)
        thread.start()
        for _ in range(25):
            time.sleep(0.1)
            lease.check()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_who_does_not_wait_is_told(tmp_path: Path, holder: Any) -> None:
    with pytest.raises(Failure, match="held by a process that is alive"), Lease(str(tmp_path / "x"), SECONDS, False):
        pass


def test_the_lease_of_a_killed_process_is_free_at_once(tmp_path: Path, holder: Any) -> None:
    process, _ = holder
    process.kill()
    process.join()
    started = time.monotonic()
    with Lease(str(tmp_path / "x"), 60.0):
        assert time.monotonic() - started < 30


def test_a_stopped_holder_loses_it_and_knows_when_it_wakes(tmp_path: Path, holder: Any) -> None:
    process, said = holder
    os.kill(process.pid, signal.SIGSTOP)
    with Lease(str(tmp_path / "x"), SECONDS) as lease:
        os.kill(process.pid, signal.SIGCONT)
        wait_until(lambda: len(said) == 2)
        lease.check()
    assert said[1][0] == "lost" and "taken over by another worker" in said[1][1]


def test_a_holder_that_slept_alone_goes_on(tmp_path: Path, holder: Any) -> None:
    process, said = holder
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(1.5 * SECONDS)
    os.kill(process.pid, signal.SIGCONT)
    wait_until(lambda: "x.00000002" in names_in(str(tmp_path)))  # it won it anew
    time.sleep(2 * SECONDS)
    assert len(said) == 1 and process.is_alive()


def contend(path: str, log: str, rounds: int) -> None:
    for _ in range(rounds):
        with Lease(path, SECONDS) as lease, Path(log).open("a") as file:
            lease.check()
            file.write(f"in {os.getpid()}\n")
            file.flush()
            file.write(f"out {os.getpid()}\n")


def test_many_contenders_are_never_inside_together(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    words = (str(tmp_path / "leases" / "x"), str(tmp_path / "log"), 5)
    contenders = [context.Process(target=contend, args=words) for _ in range(4)]
    for process in contenders:
        process.start()
    for process in contenders:
        process.join(60)
        assert process.exitcode == 0
    lines = (tmp_path / "log").read_text().split("\n")[:-1]
    assert len(lines) == 2 * 4 * 5
    assert all(first.replace("in", "out") == second for first, second in zip(lines[::2], lines[1::2], strict=True))
    assert len(names_in(str(tmp_path / "leases"))) == 4 * 5


def test_on_an_object_store(tmp_path: Path) -> None:
    path = f"memory://{tmp_path.name}/x"
    with Lease(path, SECONDS) as lease:
        lease.check()
        with pytest.raises(Failure, match="alive"), Lease(path, SECONDS, wait=False):
            pass
    with Lease(path, SECONDS) as lease:
        lease.check()
    assert names_in(f"memory://{tmp_path.name}") == ["x.00000001", "x.00000002"]
