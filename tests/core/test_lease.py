"""Leases: one holder at a time, whoever dies, stops or is taken for dead."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core import lease as leases
from core.errors import Failure
from core.files import names_in
from core.lease import Lease
from tests.running import ROOT, wait_until

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


def test_an_empty_file_stops_nobody_for_ever(tmp_path: Path) -> None:
    """The power failed between its creation and its first word."""
    (tmp_path / "x.00000001").touch()
    started = time.monotonic()
    with Lease(str(tmp_path / "x"), SECONDS, wait=False) as lease:
        lease.check()
    assert SECONDS <= time.monotonic() - started < 10 * SECONDS
    assert names_in(str(tmp_path)) == ["x.00000001", "x.00000002"]


def test_a_file_of_garbage_is_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "x.00000001").write_text('{"id": 1, "machine": [], "pid": "many", "born": null}')
    with Lease(str(tmp_path / "x"), SECONDS, wait=False) as lease:
        lease.check()


def test_a_holder_whose_file_was_removed_does_not_write_it_again(tmp_path: Path) -> None:
    """A stage that is complete removes its leases; a worker that was stopped meanwhile wakes up."""
    with Lease(str(tmp_path / "x"), 60.0) as lease:
        (tmp_path / "x.00000001").unlink()
        with pytest.raises(Failure, match="taken over by another worker"):
            lease.confirm()
    assert names_in(str(tmp_path)) == []


def test_a_holder_that_cannot_be_asked_goes_on_until_its_word_is_old(tmp_path: Path, monkeypatch: Any) -> None:
    def no_disk(*words: Any) -> Any:
        raise OSError(errno.EIO, "Input/output error")

    with Lease(str(tmp_path / "x"), SECONDS) as lease:
        with monkeypatch.context() as patch:
            patch.setattr(leases, "filesystem", no_disk)
            lease.check()
            with pytest.raises(Failure, match=r"^the disk does not say who holds .*/x \(OSError: .*Input/output error"):
                lease.confirm()
            time.sleep(SECONDS)
            with pytest.raises(Failure, match="does not say who holds"):
                lease.check()
        lease.check()


# ── whether a holder is alive ──


def me(**values: Any) -> leases._Holder:
    return replace(Lease("/nowhere/x", SECONDS)._me, **values)


def ended() -> int:
    """The number of a process that is no more."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_process_is_known_by_its_number_and_its_birth() -> None:
    assert not me().is_dead()
    assert me(born="1").is_dead()  # its number is another's now
    assert me(pid=ended()).is_dead()
    assert not me(pid=ended(), machine="another").is_dead()


def test_a_process_that_proc_does_not_show_may_be_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_start_time", lambda pid: None)
    assert not me().is_dead()
    assert me(pid=ended()).is_dead()


SEEN_BY_ANOTHER_USER = """
import os, sys
from dataclasses import replace
from core.lease import Lease
os.setgroups([]); os.setgid(65534); os.setuid(65534)
holder = replace(Lease("/nowhere/x", 1.0)._me, pid=os.getppid(), born="1")
print(os.path.exists(f"/proc/{holder.pid}"), holder.is_dead())
"""


def test_another_user_s_process_is_alive_where_proc_hides_it(tmp_path: Path) -> None:
    script = 'mount -t proc -o hidepid=2 proc /proc && "$@"; exit $?'
    apart = ["unshare", "--mount", "--pid", "--fork", "sh", "-c"]
    if os.geteuid() or subprocess.run([*apart, script, "sh", "true"], check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a /proc that hides processes of other users, and not everywhere")
    words = [*apart, script, "sh", sys.executable, "-c", SEEN_BY_ANOTHER_USER]
    done = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"], "it sees no such process, and does not take it for dead"


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
