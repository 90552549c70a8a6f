"""Several processes, by gloo: the same gradients as one, and a sentence where one of them is lost."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from core.errors import UsageError
from tests.running import ROOT, environment, wait_until
from tests.trainer.gradients import (
    RESNET,
    VIT,
    backward,
    batch,
    error,
    gradient,
    held,
    model_of,
    running,
    with_dropout,
)
from tests.trainer.one_rank import CASES, ROWS, rows_of
from trainer.accumulate import gradients
from trainer.images import normalise
from trainer.microbatches import even_slices
from trainer.model import CLIP, unit
from trainer.ranks import SINGLE_PROCESS, process_group

pytestmark = pytest.mark.program

MODULE = "tests.trainer.one_rank"


def test_the_parts_of_this_test_are_a_batch() -> None:
    for world in (2, 3, 4):
        sizes = [len(range(ROWS)[rows_of(rank, world)]) for rank in range(world)]
        assert sum(sizes) == ROWS and len(set(sizes)) > 1


@pytest.mark.parametrize("world", [3, *(pytest.param(world, marks=pytest.mark.slow) for world in (2, 4))])
def test_as_many_processes_as_one(world: int, tmp_path: Path) -> None:
    out = tmp_path / "found.pt"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}"]
    words = [*launcher, "-m", MODULE, "gradients", str(out), "60"]
    env = environment({"OMP_NUM_THREADS": "1"})
    ran = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    together = torch.load(out)
    assert together.pop("interrupted") == {"times": 2}
    assert together.pop("in the loss") == {"asked": 4}
    assert "leaves a rank without a pair" in together.pop("too many ranks")["said"]
    for name, (sizes, batch_norm, micro_batch) in CASES.items():
        if name == "resnet, micro":
            continue  # other micro-batches than on one rank: below
        model = model_of(sizes)
        alone = gradients(model, *batch(ROWS), micro_batch=micro_batch, batch_norm=batch_norm)
        alone.commit()
        found = together[name]
        assert found["loss"] == pytest.approx(alone.loss, rel=1e-12), name
        assert error(found["gradient"], gradient(model)) < 1e-12, name
        assert found["alignment"] == pytest.approx(alone.alignment), name
        assert found["norm"] == pytest.approx(alone.norm_images), name
        for key, value in running(model).items():
            torch.testing.assert_close(found["running"][key], value, rtol=1e-10, atol=1e-12)

    found, model = together["dropout"], with_dropout(model_of(VIT))
    torch.manual_seed(5)
    loss = held(model, *batch(ROWS), 3, [rows_of(rank, world) for rank in range(world)])
    assert found["loss"] == pytest.approx(loss, rel=1e-12)
    assert error(found["gradient"], gradient(model)) < 1e-12
    masks = found["masks"]
    assert masks.any() and not any(torch.equal(one, other) for one, other in itertools.combinations(masks, 2))

    found, model = together["resnet, micro"], model_of(RESNET)
    means = each_by_itself(model, world)
    assert error(found["gradient"], gradient(model)) < 1e-12
    torch.testing.assert_close(found["running"]["visual.bn1.running_mean"], 0.1 * means, rtol=1e-10, atol=1e-12)


def each_by_itself(model: CLIP, world: int) -> Tensor:
    """The gradient when the micro-batches of all ranks normalise alone, and the mean that the first norm finds."""
    images, ids = batch(ROWS)
    places = range(ROWS)
    micro_batches = [
        places[rows_of(rank, world)][rows]
        for rank in range(world)
        for rows in even_slices(len(places[rows_of(rank, world)]), CASES["resnet, micro"][2])
    ]
    pixels = normalise(images).double()
    features = [unit(model.encode_image(pixels[rows.start : rows.stop])) for rows in micro_batches]
    backward(model, torch.cat(features), unit(model.encode_text(ids)))
    with torch.no_grad():
        found: Tensor = model.visual.conv1(pixels)
        return found.mean(dim=(0, 2, 3))  # weighted by rows, the means are that of all


@contextmanager
def processes(world: int, out: Path, timeout: float) -> Iterator[list["subprocess.Popen[str]"]]:
    """Ranks without a launcher that would end the others."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", MODULE, "lose", str(out), str(timeout)]
    ranks = [
        subprocess.Popen(
            words, cwd=ROOT, env=environment({**shared, "RANK": str(rank)}), stdout=subprocess.PIPE, text=True
        )
        for rank in range(world)
    ]
    try:
        yield ranks
    finally:
        for rank in ranks:
            rank.kill()
            rank.communicate()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hanging"])
def test_a_lost_rank_ends_the_others_with_a_sentence(how: signal.Signals, tmp_path: Path) -> None:
    out, timeout = tmp_path / "step", 5.0
    with processes(2, out, timeout) as (first, last):
        wait_until(lambda: out.with_suffix(".0").exists() and out.with_suffix(".1").exists(), 120)
        os.kill(last.pid, how)
        lost = time.monotonic()
        said, _ = first.communicate(timeout=60)
        assert time.monotonic() - lost < timeout + 10
        assert first.returncode == 1
        assert said.startswith("rank 0 of 2: the other ranks do not answer in step "), said
        assert "goes on from the last checkpoint" in said


def test_a_rank_that_never_comes(tmp_path: Path) -> None:
    with processes(2, tmp_path / "step", 3.0) as (first, last):
        last.kill()
        said, _ = first.communicate(timeout=60)
    assert said.startswith("rank 0 of 2: the other ranks do not answer in the start"), said


def test_alone_nothing_is_asked_of_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with process_group(1.0) as ranks:
        assert ranks is SINGLE_PROCESS
        rows = torch.randn(3, 2, requires_grad=True)
        assert torch.equal(ranks.all_gather(rows)[0], rows) and not ranks.all_gather(rows)[0].requires_grad
        assert ranks.any_rank(True) and not ranks.any_rank(False)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"RANK": "first"}, "RANK = 'first' is no number"),
        ({"RANK": "0"}, "MASTER_PORT = None is no number"),
        ({"RANK": "0", "MASTER_PORT": "29500"}, "MASTER_ADDR is not set"),
    ],
)
def test_variables_that_torchrun_would_have_set(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
) -> None:
    for name in ("RANK", "MASTER_PORT", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"WORLD_SIZE": "2", **variables}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=f"{said}: start with torchrun"), process_group(1.0):
        pass
