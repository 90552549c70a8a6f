"""The processes of a training: one alone, or several that torchrun has started, one a device.

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

BUCKET = 1 << 25  # numbers in one all-reduce: 128 MiB in float32


class Ranks:
    """This process among all of them. Every method is collective: all ranks call it, in the same order."""

    def __init__(self, rank: int, world: int, timeout: float = 0.0) -> None:
        self.rank, self.world, self.timeout = rank, world, timeout
        self.doing = "the start"  # named in error messages: the caller keeps it up to date

    def all_reduce_(self, tensors: Sequence[Tensor]) -> None:
        """Sum each tensor over the ranks, in place and in float32 at least; bit for bit the same on all of them."""
        if self.world == 1:
            return
        for bucket in _buckets(tensors):
            wide = torch.promote_types(bucket[0].dtype, torch.float32)
            flat = torch.cat([tensor.detach().flatten().to(wide) for tensor in bucket])
            self._run(partial(dist.all_reduce, flat))
            for tensor, total in zip(bucket, torch.split(flat, [tensor.numel() for tensor in bucket]), strict=True):
                tensor.detach().copy_(total.view_as(tensor))

    def all_gather(self, rows: Tensor) -> tuple[Tensor, int]:
        """The rows of all ranks in the order of the ranks [N, …], and the index of this rank's first row.

        Ranks may have different numbers of rows. No gradient passes through.
        """
        rows = rows.detach()
        if self.world == 1:
            return rows, 0
        counts = self._all_gather_equal(torch.tensor([len(rows)], device=rows.device))
        lengths = [int(count) for count in torch.cat(counts).tolist()]
        padded = rows.new_zeros(max(lengths), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = self._all_gather_equal(padded)
        every = torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])
        return every, sum(lengths[: self.rank])

    def all_gather_object(self, value: T) -> list[T]:
        """The value of each rank, in the order of the ranks; anything that can be pickled."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        self._run(lambda: dist.all_gather_object(values, value))
        return values

    def any_rank(self, here: bool) -> bool:
        """Whether `here` is True on any rank."""
        if self.world == 1:
            return here
        flag = torch.tensor([float(here)], device="cuda" if dist.get_backend() == "nccl" else "cpu")
        self.all_reduce_([flag])
        return bool(flag)

    def _all_gather_equal(self, same_shape: Tensor) -> list[Tensor]:
        parts = [torch.empty_like(same_shape) for _ in range(self.world)]
        self._run(lambda: dist.all_gather(parts, same_shape.contiguous()))
        return parts

    def _run(self, collective: Callable[[], object]) -> None:
        try:
            collective()
        except RuntimeError as error:  # torch has no narrower one: gloo's are plain, NCCL's are of this class
            raise Failure(
                f"rank {self.rank} of {self.world}: the other ranks do not answer in {self.doing} (waited at most "
                f"{self.timeout:,.0f} s): one of them has ended, hangs or is out of reach; its own last lines say why, "
                f"and often it ran out of memory. The same command goes on from the last checkpoint ({describe(error)})"
            ) from error


SINGLE_PROCESS = Ranks(0, 1)


@contextmanager
def process_group(timeout: float) -> Iterator[Ranks]:
    """Join the process group of torchrun; without torchrun, this process alone. `timeout`: seconds to wait for a rank.

    Raises UsageError where the machine has too few devices, and Failure where a rank does not join.
    """
    if "RANK" not in os.environ or os.environ.get("WORLD_SIZE") == "1":
        yield SINGLE_PROCESS
        return
    rank, world = _number("RANK"), _number("WORLD_SIZE")
    _number("MASTER_PORT")  # which init_process_group reads, as the next
    if not os.environ.get("MASTER_ADDR"):
        raise UsageError("the environment variable MASTER_ADDR is not set: start with torchrun")
    backend = "gloo"
    if torch.cuda.is_available():
        backend, local, devices = "nccl", _number("LOCAL_RANK"), torch.cuda.device_count()
        if local >= devices:
            raise UsageError(f"torchrun starts more than {devices} processes on a machine of {devices} CUDA devices")
        torch.cuda.set_device(local)
        # Without it NCCL aborts a process that has waited too long, without an error to report.
        os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")
    ranks = Ranks(rank, world, timeout)
    ranks._run(lambda: dist.init_process_group(backend, timeout=timedelta(seconds=timeout)))
    yield ranks
    dist.destroy_process_group()  # not after an error: it may block on a lost rank


def local_ranks() -> int:
    """The number of ranks on this machine."""
    return _number("LOCAL_WORLD_SIZE") if "LOCAL_WORLD_SIZE" in os.environ else 1


def _number(name: str) -> int:
    try:
        return int(os.environ[name])
    except (KeyError, ValueError):
        value = os.environ.get(name)
        raise UsageError(f"the environment variable {name} = {value!r} is no number: start with torchrun") from None


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Consecutive tensors of one dtype, of up to BUCKET numbers together, or a single larger one."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        full = sum(other.numel() for other in bucket) + tensor.numel() > BUCKET
        if bucket and (full or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket
