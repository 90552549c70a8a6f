"""Files that only one of many can create on a store, whatever the store answers."""

from __future__ import annotations

import time

import pytest

from core import stores
from core.errors import Failure
from core.files import create, filesystem, names_in, publish, read_bytes
from core.lease import Lease
from tests.proxy import Proxy
from tests.stores import new_bucket

SECONDS = 10.0


@pytest.fixture
def path(proxy: Proxy) -> str:
    """A name in a new bucket, and requests counted from here on."""
    bucket = new_bucket()
    proxy.forget()
    return f"s3://{bucket}/folder/x"


def test_a_file_is_created_once(path: str, proxy: Proxy) -> None:
    assert create(path, b"one")
    assert not create(path, b"other")
    assert read_bytes(path) == b"one"


def test_a_refusal_that_does_not_name_its_condition(path: str, proxy: Proxy) -> None:
    proxy.hides_condition = True
    assert create(path, b"one")
    assert not create(path, b"other")


def test_a_conflict_is_asked_about_again(path: str, proxy: Proxy) -> None:
    proxy.answer(409, "ConditionalRequestConflict", times=2)
    assert create(path, b"one")
    assert proxy.requests["PUT"] == 3


def test_a_conflict_that_another_won(path: str, proxy: Proxy) -> None:
    publish(path, b"another's")
    proxy.answer(409, "ConditionalRequestConflict")
    assert not create(path, b"one")


@pytest.mark.parametrize("status, code", [(500, "InternalError"), (503, "ServiceUnavailable"), (503, "SlowDown")])
def test_a_busy_store_is_asked_again(path: str, proxy: Proxy, impatient: None, status: int, code: str) -> None:
    proxy.answer(status, code, times=6 if code == "SlowDown" else 2)  # s3fs asks five times about this one
    assert create(path, b"one")
    assert read_bytes(path) == b"one"


def test_a_success_that_nobody_heard_of(path: str, proxy: Proxy) -> None:
    proxy.lose_answers()
    assert create(path, b"one")
    assert proxy.requests["PUT"] == 2  # botocore asked again, and was told that it exists


def test_an_upload_that_is_cut(path: str, proxy: Proxy, impatient: None) -> None:
    proxy.cut_uploads(after=1, times=6)  # s3fs asks five times
    assert create(path, b"one")
    assert read_bytes(path) == b"one"


def test_it_does_not_ask_for_ever(path: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_PATIENCE_SECONDS", 1.0)
    proxy.answer(409, "ConditionalRequestConflict", times=1000)
    bucket = path.split("/")[2]
    started = time.monotonic()
    with pytest.raises(Failure, match=rf"^s3://{bucket} did not create {path} within 1 seconds .*: see that the store"):
        create(path, b"one")
    assert time.monotonic() - started < 10


def test_what_is_forbidden_is_not_asked_again(path: str, proxy: Proxy) -> None:
    proxy.answer(403, "AccessDenied", times=1000)
    with pytest.raises(Failure, match="cannot write"):
        create(path, b"one")
    assert proxy.requests["PUT"] == 1


def test_a_small_file_is_read_by_one_request(path: str, proxy: Proxy) -> None:
    publish(f"{path}0", b"")
    publish(path, b"one")
    fs, inner = filesystem(path)
    proxy.forget()
    assert [stores.read_small(fs, f"{inner}{end}") for end in ("", "0", "1")] == [b"one", b"", None]
    assert proxy.requests == {"GET": 3}


def test_a_store_that_creates_a_file_once_passes_the_probe(path: str, proxy: Proxy) -> None:
    with Lease(path, SECONDS) as lease:
        lease.require_exclusive()
        lease.confirm()
    assert names_in(path.rpartition("/")[0]) == ["x.00000001"]


def test_a_store_that_overlooks_conditions_is_refused(path: str, proxy: Proxy) -> None:
    bucket = path.split("/")[2]
    proxy.ignores_conditions = True
    with pytest.raises(Failure) as error, Lease(path, SECONDS) as lease:
        lease.require_exclusive()
    assert str(error.value) == (
        f"s3://{bucket} lets a file be created twice, so that two runs could not be kept apart: use a store that "
        "honours If-None-Match, or move the recipe's run.out to a disk that all workers share"
    )
    began = time.monotonic()
    with Lease(path, SECONDS):  # it was released
        assert time.monotonic() - began < SECONDS


def test_a_store_that_knows_no_conditions_is_refused(path: str, proxy: Proxy) -> None:
    proxy.answer(501, "NotImplemented")
    with pytest.raises(Failure, match="use a store that honours If-None-Match"):
        Lease(path, SECONDS).__enter__()


def test_a_store_of_memory_and_a_disk_pass_the_probe(tmp_path: object) -> None:
    for folder in (str(tmp_path), f"memory://{tmp_path}"):
        with Lease(f"{folder}/x", SECONDS) as lease:
            lease.require_exclusive()


def test_a_message_holds_no_password() -> None:
    assert stores.store_of("webdav://user:secret@host/folder/x") == "webdav://host"
