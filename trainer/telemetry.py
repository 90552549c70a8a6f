"""What a training says of each step while it runs: a line of JSON, and the same as curves of TensorBoard.

Figures that depend on time (samples/s, memory) differ from run to run, so this file is no part of a training and stands
beside its folder; what the seed determines is in metrics.jsonl.
"""

from __future__ import annotations

import json
import math
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from core.errors import UsageError
from core.files import is_local, join, names_in, publish, read_bytes
from trainer.flops import peak_flops, utilisation

NAME = "speed.jsonl"

Values = Mapping[str, float | None]


class Telemetry:
    """Lines of all steps so far in `folder`/speed.jsonl; with `curves`, a local folder, also events of TensorBoard.

    `step` is the last one that is done: of a run that resumes, the lines up to it stay, and those of steps that are to
    be made again go. On a disk a line is there once its step is made, on a store with the next checkpoint. Raises
    UsageError where TensorBoard is asked for and not installed, or cannot write.
    """

    def __init__(self, folder: str, step: int, curves: str | None = None) -> None:
        self._path = join(folder, NAME)
        self._curves = None if curves is None else _writer(curves, step + 1)
        self._lines = [line for line in _written(folder) if _step(line) <= step]  # on a store: all of them
        self._publish()
        self._file = Path(self._path).open("a") if is_local(folder) else None  # noqa: SIM115 (until __exit__)

    def add(self, step: int, values: Values) -> None:
        """The figures of a step, counted from 1, whatever they are; one that is not finite becomes null."""
        said = {name: value if value is not None and math.isfinite(value) else None for name, value in values.items()}
        line = json.dumps({"step": step, **said})
        if self._file:
            self._file.write(f"{line}\n")
            self._file.flush()
        else:
            self._lines.append(line)
        if self._curves is not None:
            for name, value in said.items():
                if value is not None:
                    self._curves.add_scalar(name, value, step)

    def flush(self) -> None:
        """Put down what was added; to be called with each checkpoint."""
        if not self._file:
            self._publish()
        if self._curves is not None:
            self._curves.flush()

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
            self._file.close()
        if self._curves is not None:
            self._curves.close()


def speed(
    samples: int, seconds: float, waited: float, forward_flops: float, device: torch.device
) -> dict[str, float | None]:
    """What a step of so many samples did in its seconds, of which it waited some for data; null where it isn't known.

    `forward_flops`: of one forward pass over the tokens that were really computed (`trainer.flops`).
    """
    return {
        "samples_per_second": samples / seconds,
        "flops_per_second": 3 * forward_flops / seconds,
        "mfu": utilisation(forward_flops, seconds, peak_flops(device)),
        "data_wait_fraction": waited / seconds,
        "peak_memory_bytes": float(memory(device)),
    }


def memory(device: torch.device) -> int:
    """The most bytes in use so far: of the device's memory, or of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _written(folder: str) -> list[str]:
    return read_bytes(join(folder, NAME)).decode().splitlines() if NAME in names_in(folder) else []


def _step(line: str) -> float:
    """Of a line; of one that a kill has cut short it is none that is done."""
    try:
        return float(json.loads(line)["step"])
    except ValueError:
        return math.inf


def _writer(folder: str, first: int) -> Any:
    """A writer of events; TensorBoard leaves out what was written before for the steps from `first` on."""
    if not is_local(folder):
        raise UsageError(f"TensorBoard's events can only be written on a disk, not to {folder}: name a local folder")
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("tensorboard is not installed: pip install '.[tensorboard]', or do not ask for it") from error
    return SummaryWriter(folder, purge_step=first)
