"""Fifty thousand tasks: what is done is known in seconds on a disk, and in few requests on a store."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

import openwit
from core import runs
from core.files import digest, filesystem, is_local, join, remove
from core.manifest import MANIFEST, Manifest, Part, Receipt, receipt_bytes, receipt_name, write_manifest
from core.recipe import Recipe, read
from pipeline.stage import Stage, definition_of
from pipeline.tasks.attempt import Task, tasks_of
from pipeline.tasks.progress import TaskProgress
from tests.latency import far_away
from tests.proxy import Proxy
from tests.running import wait_until
from tests.stores import new_bucket, used

pytestmark = pytest.mark.program

TASKS = 50_000
LONGEST = {True: 10.0, False: 120.0}  # seconds, on a disk and on a store
COUNTS = {"pairs": {"in": 10, "kept": 10, "dropped": {}}}


def recipe_of(folder: Path, out: str) -> Recipe:
    path = folder / "many.toml"
    path.write_text(f'[run]\nout = "{out}"\n')
    return read(str(path))


def put(folder: str, files: Mapping[str, bytes]) -> None:
    """Write many files, as fast as the disk or the store takes them: thousands of tasks have done so for days."""
    fs, inner = filesystem(folder)
    if is_local(folder):
        for below in {name.rpartition("/")[0] for name in files}:
            (Path(inner) / below).mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (Path(inner) / name).write_bytes(data)
    else:
        fs.pipe({f"{inner}/{name}": data for name, data in files.items()})


def part_of(table: str, task: str) -> tuple[Part, bytes]:
    body = f"{table} of {task}".encode()
    sha256 = hashlib.sha256(body).hexdigest()
    return Part(table, task, f"{table}/{task}-{sha256[:16]}.parquet", 1, len(body), sha256), body


def finished(recipe: Recipe, tasks: int) -> Manifest:
    """A crawl of so many archives and the filter over it, both complete; parts are named and not of the right form."""
    ids = [f"CC-MAIN-{i:05d}.warc.gz-{digest(i)[:12]}" for i in range(tasks)]
    crawled = [Receipt("candidates", id_, "", (part_of("candidate", id_)[0],), COUNTS) for id_ in ids]
    definition = definition_of("crawl")
    facts = definition.facts(recipe, "crawl", recipe.config("crawl", definition.config), {})
    crawl = write_manifest(recipe.folder("crawl"), facts, crawled)
    stage = Stage(recipe, "filter", definition_of("filter")).look()
    job = stage.job("candidates")
    files: dict[str, bytes] = {}
    receipts = []
    for task in tasks_of(crawl, "candidate"):
        part, body = part_of("candidate", task.id)
        files[part.name] = body
        receipt = Receipt("candidates", task.id, job.basis_of(task), (part,), COUNTS)
        receipts.append(receipt)
        files[receipt_name("candidates", task.id)] = receipt_bytes(receipt)
    put(stage.folder, files)
    return write_manifest(stage.folder, stage.facts, receipts)


def seconds_of(capsys: pytest.CaptureFixture[str], said: str, *words: str) -> float:
    """How long a command takes that says so; its start is not counted."""
    started = time.monotonic()
    assert openwit.main(list(words)) == 0
    took = time.monotonic() - started
    assert said in capsys.readouterr().out
    return took


def look_when_complete(recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    """Print the seconds of each way to look at a complete stage, none of which may take too long."""
    words = ["--recipe", recipe.path]
    nothing = seconds_of(capsys, "nothing to do", "filter", *words)
    status = seconds_of(capsys, "filter   complete", "status", *words)
    with capsys.disabled():
        print(f"\nnothing to do {nothing:.1f} s, status when complete {status:.1f} s")
    assert max(nothing, status) <= LONGEST[is_local(recipe.out)]


def look_in_work(recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    """The same of a stage in work, and the seconds from there to its end."""
    words = ["--recipe", recipe.path]
    status = seconds_of(capsys, f"candidates {TASKS:,} of {TASKS:,}", "status", *words)
    whole = seconds_of(capsys, "kept 500,000 of 500,000 pairs", "filter", *words)
    with capsys.disabled():
        print(f"\nstatus in work {status:.1f} s, all receipts to a manifest {whole:.1f} s")
    assert status <= LONGEST[is_local(recipe.out)]


def watching(recipe: Recipe) -> TaskProgress:
    """The stage begun again, and what a launcher has that sees all receipts come."""
    stage = Stage(recipe, "filter", definition_of("filter")).look()
    runs.begin(stage.folder, stage.facts)
    watch = TaskProgress("filter", stage.job("candidates"), tasks_of(stage.reads["crawl"], "candidate"), [])
    watch._stale.clear()
    return watch


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_on_a_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = recipe_of(tmp_path, str(tmp_path / "out"))
    finished(recipe, TASKS)
    look_when_complete(recipe, capsys)
    remove(join(recipe.folder("filter"), MANIFEST))
    look_in_work(recipe, capsys)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_on_a_store_thirty_milliseconds_away(tmp_path: Path, minio: str, capsys: pytest.CaptureFixture[str]) -> None:
    with used(minio):
        recipe = recipe_of(tmp_path, f"s3://{new_bucket()}/out")
        finished(recipe, TASKS)
    with far_away(minio, 0.03) as url, used(url):
        look_when_complete(recipe, capsys)
    with used(minio), watching(recipe) as watch:
        wait_until(lambda: watch._saved == TASKS, seconds=900)
    with far_away(minio, 0.03) as url, used(url):
        look_in_work(recipe, capsys)


def test_few_requests(tmp_path: Path, proxy: Proxy) -> None:
    tasks = 320  # for which a listing is quicker
    recipe = recipe_of(tmp_path, f"s3://{new_bucket()}/out")
    finished(recipe, tasks)
    stage = Stage(recipe, "filter", definition_of("filter")).look()
    proxy.forget()
    done = stage.job("candidates").receipts(tasks_of(stage.reads["crawl"], "candidate"))
    assert len(done) == tasks
    assert proxy.requests["GET"] == tasks and not proxy.requests["HEAD"]
    assert proxy.requests["LIST"] <= 2  # 640 names
    proxy.forget()
    assert openwit.main(["filter", "--recipe", recipe.path]) == 0
    assert sum(proxy.requests.values()) <= 20, proxy.requests
    assert not stage.job("candidates").receipts([Task("none", "input")])
    watch = watching(recipe)
    proxy.forget()
    watch._look()
    assert len(watch._receipts) == tasks
    assert proxy.requests["GET"] <= tasks + 1 and not proxy.requests["HEAD"]
