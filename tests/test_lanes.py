"""A lane is fetched by one worker at a time, also when one is stopped for so long that another takes it over."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import Failure
from core.tables import read_table
from demo.localweb import Behaviour, LocalWeb
from pipeline.engines.local import Local
from pipeline.fetch import Config, fetch_lane
from pipeline.ids import image_id
from pipeline.tables import OUTCOME, PLAN
from pipeline.tasks.attempt import Job, Task
from pipeline.tasks.lanes import ForEachLane, in_lanes
from tests.dedup.made import scene
from tests.pipeline.test_fetch import encoded
from tests.pipeline.upstream import table_of
from tests.running import wait_until

pytestmark = pytest.mark.program

HOSTS, IMAGES, CHUNK = ("a", "b", "c"), 60, 20  # each host has so many images; so many go into a chunk
RATE = 6.0  # requests a second to a domain
LEASE = 1.5  # seconds


def worker(name: str, folder: str, tasks: Sequence[Task], said: Any) -> None:
    """Fetch the lane, as a worker of any engine does."""
    config = Config(contact=f"https://example.org/{name}", requests_per_second=RATE, images_per_chunk=CHUNK)
    job = Job(
        folder=folder, step="chunks", step_digest="basis", seed=1, config=config, lease_seconds=LEASE, facts_digest=""
    )
    said.append((name, "ready"))
    try:
        Local(1).run(ForEachLane(job, fetch_lane), in_lanes(tasks))
        said.append((name, "done"))
    except Failure as error:
        said.append((name, str(error)))


def lane(folder: Path, connect_to: str) -> list[Task]:
    """The tasks of one lane over all the images of all hosts."""
    urls = [f"http://{host}.test/{i}.jpg" for host in HOSTS for i in range(IMAGES)]
    rows = [{"image_id": image_id(url), "image_url": url, "domain": url.split("/")[2]} for url in urls]
    path = folder / "plan.parquet"
    pq.write_table(table_of(PLAN, sorted(rows, key=lambda row: row["image_id"])), path)
    firsts = range(0, len(rows), CHUNK)
    return [Task(f"lane0-{first:05d}", args=(str(path), first, connect_to), lane="lane0") for first in firsts]


def test_a_worker_stopped_past_its_lease_asks_for_nothing_more_and_commits_nothing(tmp_path: Path) -> None:
    answer = Behaviour(body=encoded(scene(1)), delay=0.05)
    context = multiprocessing.get_context("spawn")
    with LocalWeb({}, {f"{host}.test": answer for host in HOSTS}) as web, context.Manager() as manager:
        tasks, said = lane(tmp_path, web.connect_to), manager.list()
        workers = {
            name: context.Process(target=worker, args=(name, str(tmp_path / "fetch"), tasks, said))
            for name in ("one", "other")
        }

        def asked(name: str) -> list[float]:
            return sorted(r.time for r in web.requests if r.user_agent.endswith(f"{name})") and r.path != "/robots.txt")

        for process in workers.values():
            process.start()
        wait_until(lambda: len(said) == 2 and len(web.requests) > 1.5 * CHUNK)
        (first,) = (name for name in workers if asked(name))  # the other waits for its lease
        (second,) = workers.keys() - {first}
        os.kill(workers[first].pid or 0, signal.SIGSTOP)
        stopped = time.time()
        try:
            wait_until(lambda: len(asked(second)) > CHUNK)
        finally:
            woken = time.time()
            os.kill(workers[first].pid or 0, signal.SIGCONT)
        for process in workers.values():
            process.join(60)
            assert process.exitcode == 0
        ends = dict(said)

    assert ends[second] == "done" and "lane0 was taken over by another worker" in ends[first]
    in_flight = len(HOSTS)  # one request to each domain: what the server had read, or had in its buffers
    assert len([moment for moment in asked(first) if moment > stopped + 0.5]) <= in_flight
    assert asked(second)[0] > stopped + 0.5 * LEASE and asked(second)[-1] > woken
    # What the first had committed the second left alone; what it was at, the second fetched again.
    found = pa.concat_tables(read_table(str(path), OUTCOME) for path in (tmp_path / "fetch" / "outcome").iterdir())
    assert found.num_rows == len(HOSTS) * IMAGES == len(set(found["image_url"].to_pylist()))
    twice = [
        url for url, n in Counter((r.host, r.path) for r in web.requests if r.path != "/robots.txt").items() if n > 1
    ]
    assert len(twice) <= CHUNK
