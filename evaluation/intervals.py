"""How sure a measured share is (paper, section 5 and appendix): exact binomial intervals, and the rows of results."""

from __future__ import annotations

from typing import Any

from scipy.stats import beta


def clopper_pearson(hits: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a binomial share: all p under which `hits` of n >= 1 would not surprise either way."""
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, n - hits)) if hits < n else 1.0
    return low, high


def share(name: str, metric: str, hits: int, n: int, chance: float) -> dict[str, Any]:
    """A row of results.json: the share `value` = hits / n, its 95 per cent interval, and what guessing would get."""
    low, high = clopper_pearson(hits, n)
    return {"name": name, "metric": metric, "value": hits / n, "low": low, "high": high, "n": n, "chance": chance}
