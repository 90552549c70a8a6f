"""How far a stage is, counted from receipts, which are the truth on every engine."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from core import snapshot
from core.files import entries_in, is_local, join
from core.listing import sizes_below
from core.manifest import RECEIPTS, Receipt, add_up, receipt_name
from core.progress import Progress
from core.runs import top_drops
from pipeline.tasks.attempt import Job, Task

_SHARE = 20  # a look is followed by a pause of so many times its length, so that looking takes at most a twentieth
_LOCAL_PAUSE = 0.2  # seconds at the least
_STORE_PAUSE = 5.0  # on an object store, where listing costs money
_LISTED = 300  # new receipts on a store, from which on it is quicker to list the stage's folder
_UNSAVED = 1000  # receipts on a store that are read before they are written down, or a tenth of those that are


class TaskProgress:
    """Shows how many tasks of a step have receipts while its block runs."""

    def __init__(self, stage: str, job: Job[Any], tasks: list[Task], done: list[Receipt]) -> None:
        self._stage, self._job = stage, job
        self._folder = join(job.folder, RECEIPTS)
        self._waiting = {receipt_name(job.step, task.id).rpartition("/")[2]: task for task in tasks}
        # Receipts that no longer hold stay until their task begins; they are not read again before they are others.
        entries = entries_in(self._folder)
        self._stale = {name: entry for name, entry in entries.items() if name in self._waiting}
        self._is_far = not is_local(job.folder)
        self._known = snapshot.read(job.folder, entries) if self._is_far else {}
        self._saved = len(self._known)
        self._total = len(tasks) + len(done)
        self._receipts = list(done)
        self._before = len(done)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._started = time.monotonic()
        self._pause = _STORE_PAUSE if self._is_far else _LOCAL_PAUSE

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        with Progress(self._stage, self._job.step, self._total, self._before, first=2, to="stderr") as progress:
            took = 0.0
            while not self._stop.wait(max(self._pause, _SHARE * took)):
                began = time.monotonic()
                with suppress(Exception):  # a receipt half-written, a store that is busy: the next look may go well
                    self._look()
                took = time.monotonic() - began
                if len(self._receipts) > self._before:
                    progress.at(len(self._receipts), self._rate())

    def _look(self) -> None:
        """Read the receipts that came since."""
        entries = entries_in(self._folder, detail=self._is_far or bool(self._stale))  # times are dear on a local disk
        new = [name for name in entries if name in self._waiting and self._stale.get(name, 0) != entries[name]]
        # A listing is a request a thousand names; where few have come, to ask for the parts of these is less.
        sizes = sizes_below(self._job.folder) if self._is_far and len(new) > _LISTED else None
        done = self._job.done_of([self._waiting[name] for name in new], sizes)
        for name in new:
            if receipt := done.get(self._waiting[name].id):
                del self._waiting[name]
                self._stale.pop(name, None)
                self._receipts.append(receipt)
                if self._is_far:
                    self._known[name] = snapshot.tag_of(entries[name]), receipt
        if len(self._known) - self._saved >= max(_UNSAVED, self._saved // 10):
            self._job.check()
            snapshot.write(self._job.folder, self._known)
            self._saved = len(self._known)

    def _rate(self) -> str:
        counts, _ = add_up(self._receipts)
        if not counts:
            return ""
        unit, count = max(counts.items(), key=lambda item: item[1]["in"])
        new, _ = add_up(self._receipts[self._before :])
        rows = new.get(unit, {"in": 0})["in"]
        rate = rows / max(time.monotonic() - self._started, 1e-9)
        return f"{count['in']:,} {unit}, {rate:,.0f}/s{top_drops(count['dropped'])}"
