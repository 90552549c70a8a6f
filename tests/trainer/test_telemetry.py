"""Lines of a training that was killed and resumed, and TensorBoard where it is installed."""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from core.errors import Failure, UsageError
from tests.running import ROOT
from tests.trainer.helpers import run_training, small_recipe
from trainer.telemetry import NAME, Telemetry, peak_memory, throughput


def lines(folder: Path) -> list[dict[str, float | None]]:
    return [json.loads(line) for line in (folder / NAME).read_text().splitlines()]


def test_lines_hold_whatever_they_are_given(tmp_path: Path) -> None:
    with Telemetry(str(tmp_path), 0) as telemetry:
        telemetry.add(1, {"loss": 2.5, "mfu": None})
        telemetry.add(2, {"loss": math.inf})
    assert lines(tmp_path) == [{"step": 1, "loss": 2.5, "mfu": None}, {"step": 2, "loss": None}]


def test_after_a_resume_no_step_is_missing_or_twice(tmp_path: Path) -> None:
    with Telemetry(str(tmp_path), 0) as killed:  # after step 7; the last checkpoint was of step 5
        for step in range(1, 8):
            killed.add(step, {"loss": 1.0})
    with (tmp_path / NAME).open("a") as file:
        file.write('{"step": 8, "lo')
    with Telemetry(str(tmp_path), 5) as resumed:
        for step in range(6, 11):
            resumed.add(step, {"loss": 2.0})
    assert [line["step"] for line in lines(tmp_path)] == list(range(1, 11))
    assert [line["loss"] for line in lines(tmp_path)] == [1.0] * 5 + [2.0] * 5


def test_a_training_that_starts_anew_keeps_no_old_line(tmp_path: Path) -> None:
    with Telemetry(str(tmp_path), 0) as telemetry:
        telemetry.add(1, {"loss": 1.0})
    with Telemetry(str(tmp_path), 0):
        pass
    assert lines(tmp_path) == []


def test_a_full_disk_is_said_in_a_sentence(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    telemetry = Telemetry(str(tmp_path), 0)
    try:
        with pytest.raises(Failure, match=rf"no room to write {tmp_path}/{NAME}: free some disk"), telemetry:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
            telemetry.add(1, {"loss": 1.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_speed_on_a_cpu() -> None:
    figures = throughput(64, 2.0, 0.5, 1e12, torch.device("cpu"))
    assert figures["samples_per_second"] == 32
    assert figures["flops_per_second"] == 1.5e12
    assert figures["mfu"] is None
    assert figures["data_wait_fraction"] == 0.25
    assert figures["peak_memory_bytes"] == pytest.approx(peak_memory(torch.device("cpu")), rel=0.1)


USED = """
import torch
from trainer.telemetry import peak_memory
before = peak_memory(torch.device("cpu"))
held = torch.ones(125_000_000)  # float32
print(before, peak_memory(torch.device("cpu")))
"""


def test_memory_is_what_a_process_has_used() -> None:
    """Of a process of its own: the peak of this one may be far above what it holds now."""
    before, after = map(int, subprocess.check_output([sys.executable, "-c", USED], cwd=ROOT).split())
    assert 50e6 < before < 8e9
    assert 250e6 < after - before < 600e6  # of 500 MB; more than now was held while torch was imported


def test_asking_for_tensorboard_without_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"tensorboard is not installed: pip install '\.\[tensorboard\]'"):
        Telemetry(str(tmp_path), 0, tensorboard=True)


def test_a_training_says_so_before_it_makes_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = small_recipe(tmp_path, tensorboard=True)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match="tensorboard is not installed"):
        run_training(recipe)
    assert not Path(recipe.folder("train")).exists()


def test_events_are_not_written_to_a_store() -> None:
    with pytest.raises(UsageError, match="only be written on a disk, not to memory://curves"):
        Telemetry("memory://curves", 0, tensorboard=True)


@pytest.mark.filterwarnings("ignore")  # protobuf's and tensorboard's own
def test_curves_of_a_resumed_run_have_each_step_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for first, last in ((0, 7), (5, 9)):  # the second goes on after step 5
        with Telemetry(str(tmp_path), first, tensorboard=True) as telemetry:
            for step in range(first + 1, last + 1):
                telemetry.add(step, {"loss": float(last), "mfu": None})
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert events.Tags()["scalars"] == ["loss"]
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [
        *((step, 7.0) for step in range(1, 6)),
        *((step, 9.0) for step in range(6, 10)),
    ]
