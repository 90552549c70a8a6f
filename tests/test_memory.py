"""Memory does not grow with the data: a crawl of a long archive, a pack of many images."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from core.manifest import read_receipts, write_manifest
from dedup.tables import CAPTION
from pipeline.ids import image_id, pair_id
from pipeline.pack import Inputs
from pipeline.tables import OUTCOME, QUERY
from pipeline.tasks.attempt import Attempt, Job, Task
from shards.format import CHUNK, TarWriter
from tests.running import REAL, ROOT, environment, settings

pytestmark = pytest.mark.program

MIB = 1 << 20


def peak_of(code: str, *arguments: str) -> int:
    """Peak resident bytes of a Python process that runs the code."""
    code += "\nimport re; print('peak', re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1])"
    ran = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return int(ran.stdout.rsplit("peak", 1)[1]) * 1024


CRAWL = "import sys, openwit; assert openwit.main(sys.argv[1:]) == 0"


def peak_of_crawl(archive: Path, times: int, folder: Path) -> int:
    """Peak bytes of a crawl of an archive repeated so often."""
    long = folder / f"{times}.warc.gz"
    with long.open("wb") as file:
        for _ in range(times):
            file.write(archive.read_bytes())
    out = settings(**{"run.out": str(folder / "out"), "crawl.warc": [str(long)], "engine.workers": 1})
    peak = peak_of(CRAWL, "crawl", "--recipe", REAL, *out)
    print(f"crawl of {long.stat().st_size / 1e6:.0f} MB: peak {peak / MIB:.0f} MiB")
    long.unlink()
    return peak


@pytest.mark.timeout(600)
def test_crawl_is_flat(data: Path, tmp_path: Path) -> None:
    archive = data / "warc" / "dev_crawl.warc.gz"
    assert peak_of_crawl(archive, 4, tmp_path) < peak_of_crawl(archive, 1, tmp_path) + 48 * MIB


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_crawl_is_flat_up_to_500_megabytes(data: Path, tmp_path: Path) -> None:
    archive = data / "warc" / "dev_crawl.warc.gz"
    assert peak_of_crawl(archive, 106, tmp_path) < peak_of_crawl(archive, 1, tmp_path) + 64 * MIB


# ── pack ──

PACK = """
import json, sys
from pipeline.tasks.attempt import Attempt, Job, Task
from pipeline.pack import Config, Inputs, pack_shards
inputs, out, memory = json.loads(sys.argv[1])
config = Config(memory_mib=memory)
task = Task("shards", args=(Inputs(*map(tuple, inputs)), [], (), 1, 0, 1))
job = Job(folder=out, step="shards", step_digest="basis", seed=1, config=config, facts_digest="")
with Attempt(job, task) as attempt:
    pack_shards(task, config, attempt)
"""


def write_stages(folder: Path, images: int, size: int, chunk: int = 500) -> list[tuple[str, str]]:
    """What queries, fetch and dedup leave behind for so many images of so many bytes; their folders and digests."""
    ids = sorted(image_id(f"http://a.test/{i}") for i in range(images))
    noise = np.random.default_rng(1).bytes(size + images)
    empty = dict.fromkeys(OUTCOME.names) | {"status": "success", "reason": "", "sha256": bytes(32), "attempts": 1}
    tasks: dict[str, list[Task]] = {"fetch": [], "dedup": [], "queries": [], "crawl": []}

    def attempt(stage: str, name: str) -> Attempt:
        tasks[stage].append(Task(name))
        return Attempt(
            Job(folder=str(folder / stage), step="made", step_digest="basis", seed=1, config=None, facts_digest=""),
            tasks[stage][-1],
        )

    with attempt("queries", "q") as made:
        made.rows(pa.Table.from_pylist([{"id": 0, "text": "a", "source": "list", "count": 0}], schema=QUERY), QUERY)
    with attempt("crawl", "w"):
        pass  # it is asked for columns of URL tables, and has none
    for first in range(0, chunk):
        some = ids[first::chunk]  # every chunk spans the whole range of ids, as real ones do
        with attempt("fetch", f"c{first:05d}") as made:
            with made.file("chunk_tar", f"chunk_tar/c{first:05d}.tar") as part, TarWriter(part.file) as tar:
                index = [tar.add(id_, "jpg", noise[i : i + size]) for i, id_ in enumerate(some)]
            made.rows(pa.Table.from_pylist(index, schema=CHUNK), CHUNK)
            rows = [
                {**empty, "image_id": id_, "image_url": f"http://a.test/{id_.hex()}", "fetch_pass": 1} for id_ in some
            ]
            made.rows(pa.Table.from_pylist(rows, schema=OUTCOME), OUTCOME)
    nothing = dict.fromkeys(CAPTION.names, "") | {"own": True, "queries": [0], "warc_offset": 0, "total": 1}
    nothing |= {"uid": None, "columns": None}
    with attempt("dedup", "d") as made:
        captions = [{**nothing, "image_id": id_, "pair_id": pair_id("u", id_.hex()), "text": "a"} for id_ in ids]
        made.rows(pa.Table.from_pylist(captions, schema=CAPTION), CAPTION)
    promises = {}
    for stage, done in tasks.items():
        receipts = [read_receipts(str(folder / stage), "made", [task.id]).get(task.id) for task in done]
        promises[stage] = write_manifest(str(folder / stage), {}, [receipt for receipt in receipts if receipt]).pin
    return [promises[stage] for stage in Inputs._fields]


def peak_of_pack(folder: Path, images: int, memory_mib: int) -> int:
    """Peak bytes of a pack task over so many images of 100 kB, all in one shard."""
    inputs = write_stages(folder, images, 100_000, chunk=20)
    peak = peak_of(PACK, json.dumps([inputs, str(folder / "pack"), memory_mib]))
    print(f"pack of {images * 0.1:.0f} MB with {memory_mib} MiB: peak {peak / MIB:.0f} MiB")
    return peak


@pytest.mark.timeout(600)
def test_a_pack_task_stays_under_its_limit_with_ten_times_the_data(tmp_path: Path) -> None:
    memory = 64
    little = peak_of_pack(tmp_path / "little", 20, memory)  # 2 MB: what the program itself takes
    much, ten_times = (peak_of_pack(tmp_path / str(n), n, memory) for n in (600, 6000))
    assert much - little < memory * MIB and ten_times - little < memory * MIB
