"""Several processes that train one model: alone, or started by torchrun, one a device.

    torchrun --nproc-per-node=8 -m trainer.train --recipe …

gloo on CPUs, NCCL on CUDA. A rank that dies or hangs ends the others with a sentence, within `timeout` seconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from core.errors import Failure, UsageError, describe

T = TypeVar("T")

BUCKET = 1 << 25  # numbers that are summed by one call: 128 MiB in float32


class Ranks:
    """Who takes part. The methods are collective: every rank calls them, in the same order."""

    def __init__(self, rank: int, world: int, timeout: float = 0.0) -> None:
        self.rank, self.world, self.timeout = rank, world, timeout
        self.doing = "the start"  # what a message names: the caller keeps it up to date

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the ranks, to the same bits on all of them; float32 at least."""
        if self.world == 1:
            return
        for bucket in _buckets(tensors):
            wide = torch.promote_types(bucket[0].dtype, torch.float32)
            flat = torch.cat([tensor.detach().flatten().to(wide) for tensor in bucket])
            self._call(partial(dist.all_reduce, flat))
            for tensor, total in zip(bucket, torch.split(flat, [tensor.numel() for tensor in bucket]), strict=True):
                tensor.detach().copy_(total.view_as(tensor))

    def gather(self, rows: Tensor) -> tuple[Tensor, int]:
        """The rows of all ranks one after the other [N, …], and the place of the first of this rank's rows.

        Ranks may have different numbers of rows. No gradient passes through.
        """
        rows = rows.detach()
        if self.world == 1:
            return rows, 0
        counts = self._gather(torch.tensor([len(rows)], device=rows.device))
        lengths = [int(count) for count in torch.cat(counts).tolist()]
        padded = rows.new_zeros(max(lengths), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = self._gather(padded)
        every = torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])
        return every, sum(lengths[: self.rank])

    def of_all(self, value: T) -> list[T]:
        """The value of each rank, in their order; anything that can be pickled."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        self._call(lambda: dist.all_gather_object(values, value))
        return values

    def any(self, here: bool, device: torch.device) -> bool:
        """Whether it is so on any rank."""
        if self.world == 1:
            return here
        flag = torch.tensor([float(here)], device=device)
        self.sum_([flag])
        return bool(flag)

    def _gather(self, same_shape: Tensor) -> list[Tensor]:
        parts = [torch.empty_like(same_shape) for _ in range(self.world)]
        self._call(lambda: dist.all_gather(parts, same_shape.contiguous()))
        return parts

    def _call(self, collective: Callable[[], object]) -> None:
        try:
            collective()
        except RuntimeError as error:  # torch has no narrower one: gloo's are plain, NCCL's are of this class
            raise Failure(
                f"rank {self.rank} of {self.world}: the other ranks do not answer in {self.doing} (waited at most "
                f"{self.timeout:,.0f} s): one of them has ended, hangs or is out of reach; its own last lines say why, "
                f"and often it ran out of memory. The same command goes on from the last checkpoint ({describe(error)})"
            ) from error


ALONE = Ranks(0, 1)


@contextmanager
def started(timeout: float) -> Iterator[Ranks]:
    """The ranks that torchrun has started, or this process alone. `timeout`: seconds to wait for another rank.

    Raises UsageError where the machine has too few devices, and Failure where a rank does not come.
    """
    if "RANK" not in os.environ or os.environ.get("WORLD_SIZE") == "1":
        yield ALONE
        return
    rank, world = _number("RANK"), _number("WORLD_SIZE")
    backend = "gloo"
    if torch.cuda.is_available():
        backend, local, devices = "nccl", _number("LOCAL_RANK"), torch.cuda.device_count()
        if local >= devices:
            raise UsageError(f"torchrun starts more than {devices} processes on a machine of {devices} CUDA devices")
        torch.cuda.set_device(local)
        # Without it NCCL aborts a process that waits too long, and nobody learns why.
        os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")
    ranks = Ranks(rank, world, timeout)
    ranks._call(lambda: dist.init_process_group(backend, timeout=timedelta(seconds=timeout)))
    yield ranks
    dist.destroy_process_group()  # not after an error: it might wait for the rank that is lost


def local_ranks() -> int:
    """Processes of this training on this machine."""
    return _number("LOCAL_WORLD_SIZE") if "LOCAL_WORLD_SIZE" in os.environ else 1


def _number(name: str) -> int:
    try:
        return int(os.environ[name])
    except (KeyError, ValueError):
        value = os.environ.get(name)
        raise UsageError(f"the environment variable {name} = {value!r} is no number: start with torchrun") from None


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors of one dtype that follow one another, up to BUCKET numbers, or a single larger one."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        full = sum(other.numel() for other in bucket) + tensor.numel() > BUCKET
        if bucket and (full or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket
