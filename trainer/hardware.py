"""The device that models run on, its free memory, and what of it the last bits of a result depend on."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import torch


def device() -> torch.device:
    """Where models run: this process's CUDA device (a rank has its own, see `trainer.ranks`), or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def free_memory() -> int | None:
    """Free bytes of the device; None where nothing tells."""
    return torch.cuda.mem_get_info()[0] if device().type == "cuda" else free_main_memory()


def free_main_memory() -> int | None:
    """Free bytes of the machine, or of the container; None where neither tells."""
    try:
        found = re.search(r"^MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return None
    free = [int(found[1]) * 1024] if found else []
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError, KeyError):  # no limit, or of another kind
        used = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        free.append(int((group / "memory.max").read_text()) - int(used["anon"]))
    return min(free, default=None)


def machine() -> str:
    """What the last bits of a result depend on beside torch: the processor and the number of threads."""
    if device().type == "cuda":
        return torch.cuda.get_device_name()
    return f"CPU {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
