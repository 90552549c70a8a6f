"""How names stand in a message."""

from __future__ import annotations

from collections.abc import Iterable

_SHOWN = 3  # names


def listed(names: Iterable[object]) -> str:
    """All of a few names, else the first ones and how many more there are."""
    words = [str(name) for name in names]
    shown = ", ".join(words[:_SHOWN])
    return shown if len(words) <= _SHOWN else f"{shown} and {len(words) - _SHOWN:,} more"
