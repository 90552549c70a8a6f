"""The log of a training: a line of JSON a step, and the same as scalars for TensorBoard.

Throughput and memory differ from run to run, so the log is no part of the training and lies beside its folder; what the
seed determines is in metrics.jsonl.
"""

from __future__ import annotations

import json
import math
import re
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from core.errors import UsageError
from core.files import is_local, join, names_in, os_errors_as_failure, publish, read_bytes
from trainer.flops import peak_flops, utilisation

NAME = "speed.jsonl"
_STATUS = Path("/proc/self/status")  # Linux

Values = Mapping[str, float | None]


class Telemetry:
    """Appends to `folder`/speed.jsonl and, with `tensorboard`, to TensorBoard's event files beside it.

    `step` is the last completed one: when a run resumes, what was logged after it is removed, since those steps are
    made again. On a disk a line is written with its step, on an object store with the next checkpoint. Raises
    UsageError where TensorBoard is asked for and is not installed, or `folder` is not local.
    """

    def __init__(self, folder: str, step: int, tensorboard: bool = False) -> None:
        self._path = join(folder, NAME)
        self._events = require_tensorboard(folder)(folder, purge_step=step + 1) if tensorboard else None
        self._lines = [line for line in _written(folder) if _step(line) <= step]  # on a store: all of them
        self._publish()
        self._file = Path(self._path).open("a") if is_local(folder) else None  # noqa: SIM115 (until __exit__)

    def add(self, step: int, values: Values) -> None:
        """Log the values of a step, counted from 1; one that is not finite becomes null."""
        finite = {name: value if value is not None and math.isfinite(value) else None for name, value in values.items()}
        line = json.dumps({"step": step, **finite})
        if self._file:
            with os_errors_as_failure(self._path):
                self._file.write(f"{line}\n")
                self._file.flush()
        else:
            self._lines.append(line)
        if self._events is not None:
            for name, value in finite.items():
                if value is not None:
                    self._events.add_scalar(name, value, step)

    def flush(self) -> None:
        """Write what is buffered; called with each checkpoint."""
        if not self._file:
            self._publish()
        if self._events is not None:
            self._events.flush()

    def _publish(self) -> None:
        publish(self._path, "".join(f"{line}\n" for line in self._lines).encode())
        if is_local(self._path):
            self._lines = []

    def __enter__(self) -> Telemetry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()
        if self._file:
            with os_errors_as_failure(self._path):
                self._file.close()
        if self._events is not None:
            self._events.close()


def throughput(
    samples: int, seconds: float, waited: float, forward_flops: float, device: torch.device
) -> dict[str, float | None]:
    """Throughput of a step that took `seconds`, of which it waited `waited` for data; None where it isn't known.

    `forward_flops`: of one forward pass over the tokens that were computed (`trainer.flops`).
    """
    return {
        "samples_per_second": samples / seconds,
        "flops_per_second": 3 * forward_flops / seconds,
        "mfu": utilisation(forward_flops, seconds, peak_flops(device)),
        "data_wait_fraction": waited / seconds,
        "peak_memory_bytes": float(peak_memory(device)),
    }


def peak_memory(device: torch.device) -> int:
    """Peak bytes so far: allocated on the device, or resident of this process on a CPU.

    On Linux not getrusage's, which a process inherits from the one that started it (by vfork), if that had more.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if found := re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text() if _STATUS.exists() else ""):
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _written(folder: str) -> list[str]:
    return read_bytes(join(folder, NAME)).decode().splitlines() if NAME in names_in(folder) else []


def _step(line: str) -> float:
    """The step of a line; infinity for a line that a kill has cut short, so that it is removed."""
    try:
        return float(json.loads(line)["step"])
    except ValueError:
        return math.inf


def require_tensorboard(folder: str) -> Any:
    """The class of TensorBoard's writer. UsageError where it is not installed, or `folder` is not on a disk."""
    if not is_local(folder):
        raise UsageError(f"TensorBoard's events can only be written on a disk, not to {folder}: name a local folder")
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("tensorboard is not installed: pip install '.[tensorboard]', or do not ask for it") from error
    return SummaryWriter
