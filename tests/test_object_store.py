"""Workers that share nothing but an object store: each with a disk of its own, the same shards as on one machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import fsspec
import pytest

from tests.running import openwit
from tests.small import FOLDERS, PIPELINE, Small, contents, without_inputs
from tests.stores import used

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest.fixture
def store(moto: str) -> Iterator[Mapping[str, str]]:
    """An object store on 127.0.0.1 with a bucket `wit`; what a process must find in its environment to use it."""
    with used(moto) as environment:
        fsspec.filesystem("s3").mkdir("wit")
        yield environment


def lonely_worker(folder: Path, environment: Mapping[str, str]) -> str:
    """A command that starts each worker where it sees no folder of any other, nor of whoever launched the job."""
    script = folder / "worker.sh"
    keys = " ".join(f"{name}={value}" for name, value in environment.items())
    worker = Path(sys.executable).with_name("openwit-worker")
    alone = f'mount -t tmpfs tmpfs {folder.parent} && exec env -i PATH=/usr/bin:/bin {keys} {worker} "$@"'
    script.write_text(f"#!/bin/sh\ncd / && exec unshare --mount --map-root-user sh -c '{alone}' worker \"$@\"\n")
    script.chmod(0o755)
    return str(script)


def test_every_stage_on_spark(small: Small, engines: None, store: Mapping[str, str], tmp_path: Path) -> None:
    if subprocess.run(["unshare", "--mount", "--map-root-user", "true"], check=False).returncode:
        pytest.skip("this machine lets nobody have a mount namespace")
    fs = fsspec.filesystem("s3")
    archives = [f"s3://wit/archives/{path.name}" for path in small.archives]
    for path, to in zip(small.archives, archives, strict=True):
        fs.put_file(str(path), to)
    where: dict[str, Any] = {"run.out": "s3://wit/out", "crawl.warc": archives, "engine.runner": "spark"}
    where["engine.worker_command"] = lonely_worker(tmp_path, store)
    for stage in PIPELINE:
        if stage != "queries":
            said = openwit(stage, *small.words(**where), env={**small.env, **store})
            assert "→ s3://wit/out/" in said
        else:  # from files of this disk, whose workers must see them: here
            openwit(stage, *small.words(**{**where, "engine.runner": "local"}), env={**small.env, **store})
    fs.get("wit/out", str(tmp_path / "out"), recursive=True)
    for stage in PIPELINE:
        here, there = small.out / FOLDERS[stage], tmp_path / "out" / FOLDERS[stage]
        compare = without_inputs if stage in ("dedup", "pack") else contents
        assert compare(there) == compare(here), stage
