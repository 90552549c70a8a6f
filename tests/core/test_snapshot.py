"""A stage's receipts on a store, looked at again: asked for is only what is not as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from core import snapshot
from core.files import entries_in, join, publish, read_bytes, remove
from core.manifest import RECEIPTS, Receipt, receipt_name, write_receipt
from tests.proxy import Proxy
from tests.stores import new_bucket

FIRST = [Receipt("pairs", f"t.{i}", f"basis {i}", (), {"pairs": {"in": i, "kept": i, "dropped": {}}}) for i in range(4)]


@pytest.fixture
def far(proxy: Proxy) -> str:
    """A stage's folder on a store, with receipts and their snapshot."""
    folder = f"s3://{new_bucket()}/2_filter"
    for receipt in FIRST:
        write_receipt(folder, receipt)
    entries = entries_in(join(folder, RECEIPTS))
    tags = {name: snapshot.tag_of(entry) for name, entry in entries.items()}
    snapshot.write(folder, {name_of(receipt): (tags[name_of(receipt)], receipt) for receipt in FIRST})
    return folder


def name_of(receipt: Receipt) -> str:
    return receipt_name(receipt.step, receipt.task).rpartition("/")[2]


def looked(folder: str) -> dict[str, Receipt]:
    return {name: receipt for name, (_, receipt) in snapshot.read(folder, entries_in(join(folder, RECEIPTS))).items()}


def test_what_is_as_it_was_is_read_by_two_requests(far: str, proxy: Proxy) -> None:
    proxy.forget()
    assert looked(far) == {name_of(receipt): receipt for receipt in FIRST}
    assert (proxy.requests["LIST"], proxy.requests["GET"]) == (1, 1), proxy.requests


def test_what_was_written_or_removed_since_is_left_out(far: str) -> None:
    write_receipt(far, replace(FIRST[0], basis="another"))
    write_receipt(far, FIRST[1])  # the same again
    remove(join(far, receipt_name("pairs", FIRST[2].task)))
    write_receipt(far, Receipt("pairs", "new", "basis", (), {}))
    assert looked(far) == {name_of(receipt): receipt for receipt in (FIRST[1], FIRST[3])}


@pytest.mark.parametrize("how", ["gone", "cut off", "of other bytes"])
def test_a_snapshot_that_cannot_be_used_costs_time_alone(far: str, how: str) -> None:
    path = join(far, snapshot.SNAPSHOT)
    body = read_bytes(path)
    entries = entries_in(join(far, RECEIPTS))
    if how == "gone":
        remove(path)
    else:
        publish(path, body[:-9] if how == "cut off" else b"receipts" * 20)
    assert snapshot.read(far, entries) == {}


def test_where_a_listing_has_no_tags_nothing_is_known(tmp_path: Path) -> None:
    folder = f"memory://runs/{tmp_path.name}/2_filter"
    write_receipt(folder, FIRST[0])
    entries = entries_in(join(folder, RECEIPTS))
    snapshot.write(folder, {name_of(FIRST[0]): (snapshot.tag_of(entries[name_of(FIRST[0])]), FIRST[0])})
    assert looked(folder) == {}
