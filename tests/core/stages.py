"""A stage's folder as tests of core need it: tasks with parts, complete, idle."""

from __future__ import annotations

import hashlib
from typing import Any

import fsspec
import pytest

from core import runs
from core.errors import WorkToDo
from core.files import join, publish
from core.manifest import Part, Receipt, write_receipt
from core.recipe import Recipe

RUN = b"{}"  # _run.json
FACTS = {"stage": "crawl", "seed": 1, "config": {"crawl_id": "x", "share": 0.5}}


def put(folder: str, name: str, body: bytes = b"x") -> str:
    publish(join(folder, name), body)
    return join(folder, name)


def task(folder: str, name: str) -> Receipt:
    """A task that wrote a part of four bytes."""
    put(folder, f"candidate/{name}.parquet", b"rows")
    part = Part("candidate", name, f"candidate/{name}.parquet", 1, 4, hashlib.sha256(b"rows").hexdigest())
    receipt = Receipt("candidates", name, "basis", (part,), {"pairs": {"in": 1, "kept": 1, "dropped": {}}})
    write_receipt(folder, receipt)
    return receipt


def finished(folder: str) -> list[Receipt]:
    """A stage of two tasks, complete."""
    receipts = [task(folder, "a"), task(folder, "b")]
    runs.publish_manifest(folder, FACTS, receipts, RUN)
    return receipts


def files(folder: str) -> set[str]:
    fs, inner = fsspec.core.url_to_fs(folder)
    return {path[len(inner) :].lstrip("/") for path in fs.find(inner)}


def idle(folder: str, facts: dict[str, Any] = FACTS) -> bool:
    """What nothing_to_do says; --check must say the same."""
    said = runs.nothing_to_do(Recipe("r.toml", {}), folder, facts)
    asked = Recipe("r.toml", {}, check=True)
    if said:
        assert runs.nothing_to_do(asked, folder, facts)
    else:
        with pytest.raises(WorkToDo):
            runs.nothing_to_do(asked, folder, facts)
    return said
