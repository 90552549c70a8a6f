"""A copy of many receipts in one file of a store, so that a look at a stage need not ask for each of them.

Fifty thousand receipts are fifty thousand requests, which cost a client three minutes even where a store is near. The
launcher of a run reads each receipt once as it comes. From time to time it writes all that it has read into one file,
with the tag (S3's ETag) that the store's listing gave of each. Whoever looks next lists the receipts and asks only for
those whose tag is another, or is not in that file.

Receipts stay the truth: a snapshot that is missing, old or damaged costs time and nothing else. Disks need none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import Failure
from core.files import join, publishing
from core.manifest import RECEIPTS, Receipt, parse_receipt, receipt_bytes
from core.tables import declare, read_table

SNAPSHOT = f"{RECEIPTS}/.snapshot.parquet"  # a name without a step is no receipt's

_ROWS = declare(
    "receipts",
    1,
    {
        "name": (pa.string(), "of the receipt's file, in the folder of receipts"),
        "tag": (pa.string(), "of its content, as the store lists it"),
        "receipt": (pa.binary(), "its content, JSON"),
    },
)

Known = dict[str, tuple[str, Receipt]]  # file name of a receipt → tag, receipt


def tag_of(entry: Mapping[str, Any]) -> str:
    """What a store's listing says that changes with a file's content; empty where it says nothing of the kind."""
    return str(entry.get("ETag") or entry.get("etag") or entry.get("md5Hash") or "")


def write(folder: str, known: Known) -> None:
    """Leave what is known of a stage's receipts to the next one to look."""
    names = sorted(known)
    columns = {
        "name": names,
        "tag": [known[name][0] for name in names],
        "receipt": [receipt_bytes(known[name][1]) for name in names],
    }
    with publishing(join(folder, SNAPSHOT)) as file:
        pq.write_table(pa.table(columns, schema=_ROWS), file, compression="zstd", write_page_checksum=True)


def read(folder: str, entries: Mapping[str, Mapping[str, Any]]) -> Known:
    """The receipts of a stage's snapshot that are as a listing has them; `entries` are those of the receipts' folder.

    The listing has to be older than the call: what was written since then has another tag in the next one.
    """
    if SNAPSHOT.rpartition("/")[2] not in entries:
        return {}
    try:
        rows = read_table(join(folder, SNAPSHOT), _ROWS).to_pylist()
        found = {row["name"]: (row["tag"], parse_receipt(row["receipt"])) for row in rows}
    except (Failure, msgspec.MsgspecError):  # gone meanwhile, damaged, of another version
        return {}
    return {
        name: (tag, receipt)
        for name, (tag, receipt) in found.items()
        if receipt and tag and name in entries and tag_of(entries[name]) == tag
    }
