"""Leases on object stores and all that these may do wrong: on moto in the quick tests, on MinIO in the slow ones."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from core import lease as leases
from core.errors import Failure
from core.files import create, names_in, publish, read_bytes
from core.lease import Lease
from tests.proxy import Proxy
from tests.running import wait_until
from tests.stores import new_bucket, used

SECONDS = 2.0


@pytest.fixture
def path(proxy: Proxy) -> str:
    return f"s3://{new_bucket()}/leases/x"


def hold(path: str, endpoint: str, said: Any) -> None:
    """Hold the lease, look at it often, say what happens."""
    with used(endpoint), Lease(path, SECONDS) as lease:
        said.append("held")
        try:
            while True:
                lease.check()
                time.sleep(0.01)
        except Failure as error:
            said.append(str(error))


@contextmanager
def processes(target: Callable[..., None], *words: Any, count: int = 1) -> Iterator[list[Any]]:
    """So many processes at it, ended with the block."""
    started = [multiprocessing.get_context("spawn").Process(target=target, args=words) for _ in range(count)]
    for process in started:
        process.start()
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.join()


@pytest.fixture
def said() -> Iterator[Any]:
    """What processes say, in order."""
    with multiprocessing.get_context("spawn").Manager() as manager:
        yield manager.list()


def test_one_after_another(path: str, proxy: Proxy) -> None:
    for generation in (1, 2, 3):
        with Lease(path, SECONDS) as lease:
            lease.check()
            lease.confirm()
        assert names_in(path.rpartition("/")[0])[-1] == f"x.{generation:08d}"


def test_a_stopped_holder_loses_it_and_knows_when_it_wakes(path: str, proxy: Proxy, said: Any) -> None:
    with processes(hold, path, proxy.url, said) as (process,):
        wait_until(lambda: len(said))
        os.kill(process.pid, signal.SIGSTOP)
        with Lease(path, SECONDS) as lease:
            os.kill(process.pid, signal.SIGCONT)
            wait_until(lambda: len(said) == 2)
            lease.check()
    assert "taken over by another worker" in said[1]


def test_the_lease_of_a_killed_process_is_free_at_once(path: str, proxy: Proxy, said: Any) -> None:
    with processes(hold, path, proxy.url, said) as (process,):
        wait_until(lambda: len(said))
        process.kill()
        process.join()
        started = time.monotonic()
        with Lease(path, 60.0):
            assert time.monotonic() - started < 30


def test_of_two_holders_one_notices(path: str, proxy: Proxy) -> None:
    proxy.ignores_conditions = True
    with Lease(path, SECONDS) as lease:
        mine = read_bytes(f"{path}.00000001")
        assert create(f"{path}.00000001", mine.replace(b'"id": "', b'"id": "another'))
        started = time.monotonic()
        with pytest.raises(Failure, match="taken over"):
            while time.monotonic() < started + 3 * SECONDS:
                lease.check()
                time.sleep(0.01)
        assert time.monotonic() - started < SECONDS
    assert b"another" in read_bytes(f"{path}.00000001")


def test_who_was_overwritten_before_it_looked_does_not_begin(
    path: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.ignores_conditions = True
    other = b'{"id": "another", "machine": "m", "pid": 1, "born": "1", "beat": 0, "released": false}'

    def create_and_lose(name: str, data: bytes) -> bool:
        return create(name, data) and create(name, other)

    with Lease(path, SECONDS) as lease, monkeypatch.context() as patch:
        patch.setattr(leases, "create", create_and_lose)
        lease._trusted_until = 0.0
        with pytest.raises(Failure, match="taken over"):
            lease.check()


def enter_together(path: str, endpoint: str, count: int, said: Any) -> None:
    with used(endpoint):
        names_in(path.rpartition("/")[0])  # connected
        said.append("ready")
        while len(said) < count:
            time.sleep(0.001)
        hold(path, endpoint, said)


def test_of_two_processes_on_a_store_that_overlooks_conditions_one_is_left(path: str, proxy: Proxy, said: Any) -> None:
    proxy.ignores_conditions, proxy.delay = True, 0.1  # seconds: both find nothing, and both create
    with processes(enter_together, path, proxy.url, 2, said, count=2):
        wait_until(lambda: "held" in said)
        time.sleep(SECONDS)
        held, lost = said.count("held"), sum("taken over" in word for word in said)
        assert held - lost == 1


def test_a_late_listing_does_not_matter(path: str, proxy: Proxy, said: Any) -> None:
    proxy.list_lag = 60.0
    for _ in range(3):
        with Lease(path, SECONDS):
            pass
    started = time.monotonic()
    with processes(hold, path, proxy.url, said):
        wait_until(lambda: len(said))
        with pytest.raises(Failure, match="alive"), Lease(path, SECONDS, wait=False):
            pass
        assert time.monotonic() - started > SECONDS and list(said) == ["held"]
    with Lease(path, SECONDS) as lease:
        lease.check()


def test_a_success_that_nobody_heard_of_is_a_lease(path: str, proxy: Proxy) -> None:
    proxy.lose_answers(kind="CREATE")
    started = time.monotonic()
    with Lease(path, 60.0) as lease:
        lease.check()
    assert time.monotonic() - started < 30


def test_a_store_that_is_gone_for_a_while_costs_nothing(path: str, proxy: Proxy, impatient: None) -> None:
    with Lease(path, SECONDS) as lease:
        proxy.cut_uploads(after=0, times=7)  # s3fs asks five times about each
        while proxy.requests["PUT"] < 10:
            lease.check()
            time.sleep(0.01)
        lease.check()


def test_a_store_that_stays_away_is_named(path: str, proxy: Proxy, impatient: None) -> None:
    with Lease(path, SECONDS) as lease:
        for kind in ("GET", "LIST"):
            proxy.answer(503, "ServiceUnavailable", times=10_000, kind=kind)
        end = time.monotonic() + 30
        with pytest.raises(Failure) as error:
            while time.monotonic() < end:
                lease.check()
                time.sleep(0.01)
        assert str(error.value).startswith(f"s3://{path.split('/')[2]} does not say who holds {path} (")
        proxy.behave()
        lease.check()  # nobody else took it meanwhile


def test_confirm_asks_where_check_trusts(path: str, proxy: Proxy) -> None:
    with Lease(path, 60.0) as lease:
        lease.confirm()
        assert create(f"{path}.00000002", b"another's")
        lease.check()
        with pytest.raises(Failure, match="taken over"):
            lease.confirm()
        with pytest.raises(Failure, match="taken over"):
            lease.check()


def test_few_requests(path: str, proxy: Proxy) -> None:
    with Lease(path, 60.0):
        pass
    proxy.forget()
    with Lease(path, 60.0) as lease:
        assert proxy.requests == {"LIST": 1, "GET": 3, "PUT": 1}, "the newest, none after it, and its own"
        proxy.forget()
        lease.check()
        assert not proxy.requests
        lease.confirm()
        assert proxy.requests == {"GET": 2, "PUT": 1}


def test_old_files_go_and_do_not_come_back_to_life(path: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_KEPT", 4)
    folder = path.rpartition("/")[0]
    with Lease(path, 60.0):
        first = read_bytes(f"{path}.00000001")
    for _ in range(9):
        with Lease(path, 60.0):
            pass
    assert names_in(folder) == [f"x.{generation:08d}" for generation in range(7, 11)]
    proxy.listed_until = time.monotonic()
    publish(f"{path}.00000001", first)  # by one that was stopped just before it wrote
    for generation in (11, 12):
        with Lease(path, 60.0):
            assert f"x.{generation:08d}" not in names_in(folder) and read_bytes(f"{path}.{generation:08d}")


def contend(path: str, endpoint: str, log: str, seconds: float, rounds: int) -> None:
    with used(endpoint):
        for _ in range(rounds):
            with Lease(path, seconds) as lease, Path(log).open("a") as file:
                lease.check()
                file.write(f"in {os.getpid()} {threading.get_ident()}\n")
                file.flush()
                time.sleep(0.02)
                file.write(f"out {os.getpid()} {threading.get_ident()}\n")


def assert_never_together(log: Path, visits: int) -> None:
    lines = log.read_text().split("\n")[:-1]
    assert len(lines) == 2 * visits
    assert all(first.replace("in", "out") == second for first, second in zip(lines[::2], lines[1::2], strict=True))


def test_some_contenders_are_never_inside_together(path: str, proxy: Proxy, tmp_path: Path) -> None:
    words = (path, proxy.url, str(tmp_path / "log"), SECONDS, 2)
    threads = [threading.Thread(target=contend, args=words) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert_never_together(tmp_path / "log", 5 * 2)


@pytest.mark.slow
@pytest.mark.timeout(1200)  # MinIO may have to be built
def test_twenty_processes_are_never_inside_together(minio: str, tmp_path: Path) -> None:
    with used(minio):
        path = f"s3://{new_bucket()}/leases/x"
    words = (path, minio, str(tmp_path / "log"), 10.0, 2)
    with processes(contend, *words, count=20) as contenders:
        for process in contenders:
            process.join(400)
            assert process.exitcode == 0
    assert_never_together(tmp_path / "log", 20 * 2)
