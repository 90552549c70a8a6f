"""One of several processes that compute gradients together: `python -m tests.trainer.one_rank WHAT OUT TIMEOUT`.

WHAT `gradients` leaves in OUT what rank 0 found; `lose` never ends by itself: the last rank stops taking part.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import Failure, UsageError
from tests.trainer.gradients import RESNET, VIT, batch, gradient, model_of, running, with_dropout
from trainer import loss
from trainer.accumulate import BatchNorms, gradients
from trainer.model import ModelConfig
from trainer.ranks import Ranks, process_group
from trainer.stopping import Interrupted

CASES: dict[str, tuple[ModelConfig, BatchNorms, int]] = {  # name: sizes, batch_norm, micro_batch
    "vit, graph held": (VIT, "micro", 20),
    "vit": (VIT, "micro", 3),
    "resnet, global, graph held": (RESNET, "global", 20),
    "resnet, global": (RESNET, "global", 3),
    "resnet, micro": (RESNET, "micro", 3),
}
ROWS = 20


def rows_of(rank: int, world: int) -> slice:
    """Of several ranks the first has more rows."""
    ends = [0, *(ROWS * (part + 2) // (world + 1) for part in range(world))]
    return slice(ends[rank], ends[rank + 1])


def compute(ranks: Ranks, out: Path) -> None:
    rows, found = rows_of(ranks.rank, ranks.world), {}
    for name, (sizes, batch_norm, micro_batch) in CASES.items():
        ranks.doing = name
        model, (images, ids) = model_of(sizes), batch(ROWS)
        step = gradients(
            model,
            images[rows],
            ids[rows],
            micro_batch=micro_batch,
            batch_norm=batch_norm,
            ranks=ranks,
        )
        step.commit()
        alike = ranks.all_gather(gradient(model)[None])[0]
        assert all(torch.equal(row, alike[0]) for row in alike), f"{name}: the ranks have different gradients"
        found[name] = {"loss": step.loss, "gradient": gradient(model), "running": running(model)}
        found[name] |= {"alignment": step.alignment, "norm": step.norm_images}
    found["dropout"] = dropout(ranks)
    stopping = ranks.rank == ranks.world - 1  # one rank is told to stop: all do
    for micro_batch in (2, 4):
        try:
            gradients(
                model,
                *batch(4),
                micro_batch=micro_batch,
                batch_norm="global",
                ranks=ranks,
                interrupted=lambda: stopping,
            )
        except Interrupted:
            found["interrupted"] = {"times": micro_batch // 2}
    found["in the loss"] = {"asked": stopped_in_the_loss(ranks)}
    try:
        gradients(model, *batch(int(not stopping)), micro_batch=2, batch_norm="global", ranks=ranks)
    except UsageError as error:
        found["too many ranks"] = {"said": str(error)}
    if ranks.rank == 0:
        torch.save(found, out)


def stopped_in_the_loss(ranks: Ranks) -> int:
    """How often a rank was asked in a step whose loss has four rows of tiles, in which the last one is told to stop."""
    ranks.doing, asked = "a loss that is interrupted", 0

    def interrupted() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3 and ranks.rank == ranks.world - 1  # twice before the loss

    side, loss.CPU_TILE = loss.CPU_TILE, 1
    try:
        gradients(model_of(VIT), *batch(4), micro_batch=4, batch_norm="micro", ranks=ranks, interrupted=interrupted)
    except Interrupted:
        return asked
    finally:
        loss.CPU_TILE = side
    return -1


def dropout(ranks: Ranks) -> dict[str, Any]:
    """A step with dropout: its loss and gradient, which two steps from one seed share, and each rank's first mask."""
    ranks.doing = "dropout"
    model, (images, ids) = with_dropout(model_of(VIT)), batch(ROWS)
    masks: list[Tensor] = []
    first = next(module for module in model.modules() if isinstance(module, nn.Dropout))
    first.register_forward_hook(lambda module, inputs, output: masks.append(output[0] == 0))
    rows, steps = rows_of(ranks.rank, ranks.world), []
    for _ in range(2):
        torch.manual_seed(5)
        step = gradients(model, images[rows], ids[rows], micro_batch=3, batch_norm="micro", ranks=ranks)
        steps.append(gradient(model))
    assert torch.equal(*steps), "the same seed gives another gradient"
    states = ranks.all_gather(torch.get_rng_state()[None])[0]
    assert all(torch.equal(state, states[0]) for state in states), "the generators of the ranks are in other states"
    return {"loss": step.loss, "gradient": steps[0], "masks": ranks.all_gather(masks[0][None])[0]}


def lose(ranks: Ranks, out: Path) -> None:
    """Step after step; `out.RANK` says that the first one is done."""
    model, (images, ids) = model_of(VIT), batch(8)
    step = 0
    while True:
        step += 1
        ranks.doing = f"step {step}"
        gradients(model, images, ids, micro_batch=8, batch_norm="micro", ranks=ranks)
        out.with_suffix(f".{ranks.rank}").touch()


def main() -> int:
    what, out, timeout = sys.argv[1:]
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    try:
        with process_group(float(timeout)) as ranks:
            (compute if what == "gradients" else lose)(ranks, Path(out))
    except Failure as error:
        print(error, flush=True)
        os._exit(1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
