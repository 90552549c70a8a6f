"""SIGTERM outside of the steps: leases are released, half-written files removed, a sentence is said."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from core.errors import Failure
from core.files import publishing
from core.lease import Lease
from tests.trainer.helpers import small_recipe
from trainer import train
from trainer.stopping import StopSignals, ended_by_sigterm


def terminate(*_: Any) -> None:
    """What a scheduler does."""
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_lease_is_released_and_a_half_written_file_removed(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    lease, began = str(tmp_path / "lease"), time.monotonic()
    said = pytest.raises(Failure, match="ended by SIGTERM")
    with said, ended_by_sigterm(), Lease(lease, 60), publishing(str(tmp_path / "file")) as file:
        file.write(b"half")
        terminate()
    assert [path.name for path in tmp_path.iterdir()] == ["lease.00000001"]
    with Lease(lease, 60, wait=False):
        assert time.monotonic() - began < 10
    assert signal.getsignal(signal.SIGTERM) == before


def test_steps_have_their_own_way_to_stop() -> None:
    with ended_by_sigterm():
        with StopSignals() as stop:
            terminate()
            assert stop.received == signal.SIGTERM
        with pytest.raises(Failure, match="ended by SIGTERM"), ended_by_sigterm():
            terminate()


def test_a_training_ends_before_its_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = small_recipe(tmp_path)
    merges, out, path = tmp_path / "merges.gz", recipe.out, tmp_path / "recipe.toml"
    keys = f'model = "tiny"\nmerges = "{merges}"\nbatch_size = 32\nsteps = 12\nwarmup = 2\n'
    path.write_text(f'[run]\nout = "{out}"\nseed = 3\n[train]\n{keys}')
    monkeypatch.setattr(train, "_start", terminate)
    assert train.main(["--recipe", str(path)]) == 1
    assert capsys.readouterr().err == (
        "train: ended by SIGTERM; what was committed stays, the same command goes on from there\n"
    )
    assert [path.name for path in Path(recipe.folder("train")).iterdir()] == ["_lock"]
