"""Progress, counted from receipts: a bar on a terminal, else a line when the count doubles or a minute passed."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from core import snapshot
from core.errors import Failure
from core.files import entries_in, join
from core.manifest import RECEIPTS, Receipt
from core.runs import top_drops
from core.snapshot import Known
from demo.localweb import LocalWeb
from pipeline.ids import image_id
from pipeline.tables import PLAN
from pipeline.tasks.attempt import Attempt, Job, Task
from pipeline.tasks.progress import TaskProgress
from tests.pipeline.upstream import Project, table_of
from tests.proxy import Proxy
from tests.running import ROOT, environment, wait_until
from tests.stores import new_bucket

TASKS = [Task(f"t{i}") for i in range(8)]
POLLS = 0.01  # seconds between two looks


def commit(job: Job[None], task: Task) -> Receipt:
    """1,000 rows in, 990 on, 10 dropped."""
    with Attempt(job, task) as attempt:
        attempt.count_in("pairs", 1000)
        attempt.count_kept("pairs", 990)
        attempt.count_dropped("pairs", "too_short", 7)
        attempt.count_dropped("pairs", "is_a_url", 3)
    receipt = job.done(task)
    assert receipt is not None
    return receipt


def job(folder: Path, basis: str = "basis") -> Job[None]:
    return Job(folder=str(folder), step="squares", step_digest=basis, seed=1, config=None, facts_digest="")


Said = Callable[[int], list[str]]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """The lines so far, once there are so many of them, or after a while that is long enough for one more."""
    lines: list[str] = []

    def wait(count: int) -> list[str]:
        deadline = time.monotonic() + 20
        while len(lines) < count and time.monotonic() < deadline:
            time.sleep(POLLS)
            lines.extend(capsys.readouterr().err.splitlines())
        time.sleep(20 * POLLS)
        lines.extend(capsys.readouterr().err.splitlines())
        return lines

    return wait


def watching(job: Job[None], tasks: list[Task], done: list[Receipt]) -> TaskProgress:
    watch = TaskProgress("filter", job, tasks, done)
    watch._pause = POLLS
    return watch


def test_a_line_whenever_the_count_doubles(tmp_path: Path, said: Said) -> None:
    with watching(job(tmp_path), TASKS, []):
        for done, lines in enumerate([0, 1, 1, 2, 2, 2, 2, 3], 1):
            commit(job(tmp_path), TASKS[done - 1])
            assert len(said(lines)) == lines, f"after {done}"
    found = [re.sub(r"[\d,]+/s", "N/s", line) for line in said(3)]
    assert found == [
        "filter: 2/8 squares, 2,000 pairs, N/s (too_short 14 · is_a_url 6)",
        "filter: 4/8 squares, 4,000 pairs, N/s (too_short 28 · is_a_url 12)",
        "filter: 8/8 squares, 8,000 pairs, N/s (too_short 56 · is_a_url 24)",
    ]


def test_a_line_when_a_minute_passed_and_something_was_done(
    tmp_path: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.progress._MINUTE", 0.1)
    with watching(job(tmp_path), TASKS, []):
        assert said(0) == []  # minutes pass, but nothing is done
        commit(job(tmp_path), TASKS[0])
        assert all(line.startswith("filter: 1/8 squares, 1,000 pairs") for line in said(2))
    assert len(said(2)) >= 2


def test_what_an_earlier_run_did_is_counted_and_not_told_again(tmp_path: Path, said: Said) -> None:
    before = [commit(job(tmp_path), task) for task in TASKS[:3]]
    with watching(job(tmp_path), TASKS[3:], before) as watch:
        for task in TASKS[3:5]:
            commit(job(tmp_path), task)
        assert said(0) == []  # 5 are not twice 3
        commit(job(tmp_path), TASKS[5])
        (line,) = said(1)
        seconds = time.monotonic() - watch._started
    assert line.startswith("filter: 6/8 squares, 6,000 pairs")
    rate = int(re.findall(r"([\d,]+)/s", line)[0].replace(",", ""))
    assert rate >= 3000 / seconds - 1  # of the new ones alone; they came before now
    assert rate <= 3000 / (20 * POLLS)  # for so long we waited in between


def test_receipts_of_other_rules_do_not_count(tmp_path: Path, said: Said) -> None:
    for task in TASKS:
        commit(job(tmp_path, "old rules"), task)
    with watching(job(tmp_path), TASKS, []):
        assert said(0) == []
        for task in TASKS[:2]:
            commit(job(tmp_path), task)
        assert said(1)[0].startswith("filter: 2/8 squares, 2,000 pairs")


def test_a_receipt_that_is_half_written_ends_no_progress(tmp_path: Path, said: Said) -> None:
    with watching(job(tmp_path), TASKS, []):
        (tmp_path / "_receipts").mkdir()
        (tmp_path / "_receipts" / "squares.t0.json").write_bytes(b"{")
        assert said(0) == []
        for task in TASKS[:2]:
            commit(job(tmp_path), task)
        assert [line.partition(",")[0] for line in said(1)] == ["filter: 2/8 squares"]


class Asked(Job[None]):
    """A job that knows whose receipts were read."""

    asked: ClassVar[list[str]] = []

    def done_of(
        self, tasks: Sequence[Task], sizes: Mapping[str, int] | None = None, known: Known | None = None
    ) -> dict[str, Receipt]:
        self.asked.extend(task.id for task in tasks)
        return super().done_of(tasks, sizes, known)


def test_a_receipt_that_no_longer_holds_is_not_read_again_and_again(tmp_path: Path, said: Said) -> None:
    for task in TASKS:
        commit(job(tmp_path, "old rules"), task)
    counting = Asked(folder=str(tmp_path), step="squares", step_digest="basis", seed=1, config=None, facts_digest="")
    counting.asked.clear()
    with watching(counting, TASKS, []):
        assert said(0) == []
        assert counting.asked == []
        for task in TASKS[:2]:
            commit(job(tmp_path), task)
        assert said(1)[0].startswith("filter: 2/8 squares, 2,000 pairs")
    assert sorted(counting.asked) == ["t0", "t1"]


def test_on_a_store_it_writes_down_what_it_has_read(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.tasks.progress._UNSAVED", 3)
    far = replace(job(Path()), folder=f"s3://{new_bucket()}/2_filter")
    with watching(far, TASKS, []):
        for task in TASKS[:4]:
            commit(far, task)
        wait_until(lambda: len(snapshot.read(far.folder, entries_in(join(far.folder, RECEIPTS)))) >= 3)
    with watching(far, TASKS[4:], [receipt for task in TASKS[:4] if (receipt := far.done(task))]):
        for task in TASKS[4:]:
            commit(far, task)
        wait_until(lambda: len(snapshot.read(far.folder, entries_in(join(far.folder, RECEIPTS)))) >= 6)
    proxy.forget()
    assert set(far.receipts(TASKS)) == {task.id for task in TASKS}
    assert proxy.requests["GET"] <= 3, proxy.requests  # the snapshot, and what came after it


def test_a_left_over_launcher_writes_no_snapshot(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.tasks.progress._UNSAVED", 3)
    far = replace(job(Path()), folder=f"s3://{new_bucket()}/2_filter")
    for task in TASKS:
        commit(far, task)
    watch = TaskProgress("filter", replace(far, facts_digest="of a run that was ended"), TASKS, [])
    watch._stale.clear()
    with pytest.raises(Failure, match="is complete since this worker was started"):
        watch._look()
    assert snapshot.SNAPSHOT.rpartition("/")[2] not in entries_in(join(far.folder, RECEIPTS))


def test_it_stops_with_its_block(tmp_path: Path) -> None:
    threads = threading.active_count()
    with pytest.raises(RuntimeError, match="in the middle"), watching(job(tmp_path), TASKS, []):
        assert threading.active_count() == threads + 1
        raise RuntimeError("in the middle")
    assert threading.active_count() == threads


@pytest.mark.parametrize(
    ("dropped", "text"),
    [
        ({}, ""),
        ({"too_short": 1234}, " (too_short 1,234)"),
        ({"a": 1, "b": 5, "c": 5, "d": 2, "e": 1}, " (b 5 · c 5 · d 2)"),
    ],
)
def test_the_most_frequent_reasons(dropped: dict[str, int], text: str) -> None:
    assert top_drops(dropped) == text


# ── a terminal ──


def on_a_terminal(*words: str) -> tuple[str, int]:
    """All that `openwit …` shows on a terminal of 160 columns, and its exit status."""
    ours, theirs = pty.openpty()
    env = {name: value for name, value in environment().items() if "COLOR" not in name and not name.startswith("TTY_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "openwit", *words],
        cwd=ROOT,
        env=env | {"TERM": "xterm-256color", "COLUMNS": "160"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # what Linux answers once nobody holds the other end
        while data := os.read(ours, 65_536):
            shown += data
    os.close(ours)
    return shown.decode(), process.wait()


def test_a_bar_on_a_terminal(tmp_path: Path) -> None:
    urls = [f"http://a.test/{i}.jpg" for i in range(6)]
    rows = [{"image_id": image_id(url), "image_url": url, "domain": "a.test"} for url in urls]
    with LocalWeb({}) as web:
        values = {
            "fetch.contact": "me@example.org",
            "fetch.connect_to": web.connect_to,
            "fetch.requests_per_second": 4.0,
            "fetch.images_per_chunk": 1,
        }
        made = Project(tmp_path, values)
        made.write("match", {"lane00000": [table_of(PLAN, sorted(rows, key=lambda row: row["image_id"]))]})
        shown, status = on_a_terminal("fetch", *made.words())
    assert status == 0, shown
    bars = [line for line in re.split(r"[\r\n]|\x1b\[\d*[AK]", shown) if "fetch chunks" in line]
    done = {int(n) for bar in bars for n in re.findall(r"(\d)/6", re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", bar))}
    assert len(done) > 1 and done <= set(range(7)), shown
    assert any("images" in bar and "http_404" in bar and "eta" in bar for bar in bars)
    *_, last = shown.strip().splitlines()
    assert "fetch: kept 0 of 6 images (http_404 6)" in last
