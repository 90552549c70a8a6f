"""The report's funnel: what flows from stage to stage and what leaves it where, as shapes for one SVG of any width.

Across, shapes are in per cent of the page's width, down in pixels: text keeps its size on a phone and on a desk.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field

from core.manifest import Manifest
from core.registry import STAGES
from report.phrases import anchor, meaning

TRUNK = 36.0  # per cent of the width that the most rows of a unit take
LABELS = 43.0  # where the names of the reasons begin
SHOWN = 6  # reasons of a level that have a ribbon of their own
SAYS = 64  # characters of what a reason means

_HEAD = 34  # pixels: from a level's top to its bar
_BAR = 9  # pixels: its height
_LINE = 21  # pixels: one label
_DEEP = 90  # pixels: a ribbon as thick as the most rows
_LEAST = 46  # pixels from one bar to the next level's top
_HAIR = 0.35  # per cent: whatever is there can be seen

LEVELS = tuple((stage.name, stage.unit) for stage in STAGES.values() if stage.unit in ("pairs", "images"))


@dataclass(frozen=True)
class Ribbon:
    """What leaves at a level for one reason, or for several small ones."""

    label: str
    n: int
    href: str
    path: str  # of an SVG whose view box is 100 wide and as high as the funnel
    y: float  # pixels: the middle of its end, where its label stands
    says: str  # what the reason means, in short


@dataclass(frozen=True)
class Level:
    """One stage's rows of one unit; `into` is 0 where it is not known how many there are."""

    stage: str
    unit: str
    y: float  # pixels: the top of its bar
    into: int = 0
    kept: int = 0
    width: float = 0.0  # per cent
    width_kept: float = 0.0
    ribbons: list[Ribbon] = field(default_factory=list)
    flow: str = ""  # what goes on to the next level
    rescaled: bool = False  # whether the next level counts something else


@dataclass(frozen=True)
class Funnel:
    """All levels, from the top down."""

    levels: list[Level]
    height: float  # pixels


def funnel(done: Mapping[str, Manifest]) -> Funnel:
    """The funnel of the stages that are finished; the others are levels without rows."""
    units = set(done["crawl"].counts if "crawl" in done else ()) - {"pairs"}
    # Of pages that were visited an archive holds the requests as well: records that nobody lost.
    other = sorted(units - {"records"} if "pages" in units else units)
    rows = [(stage, unit, _counts(done, stage, unit)) for stage, unit in _levels(other)]
    most: dict[str, int] = {}
    for _, unit, (into, _, _) in rows:
        most[unit] = max(most.get(unit, 1), into)
    levels: list[Level] = []
    y = 0.0
    for i, (stage, unit, (into, kept, dropped)) in enumerate(rows):
        bar = y + _HEAD
        ribbons, bottom = _ribbons(stage, unit, bar + _BAR, into, kept, dropped, most[unit])
        y = max(bottom, bar + _BAR + (_LEAST if into else 0))
        after = rows[i + 1] if i + 1 < len(rows) else None
        width_kept = _across(kept, most[unit])
        flow, rescaled = "", False
        if into and kept and after and after[2][0]:
            rescaled = after[1] != unit
            below = _across(after[2][0], most[after[1]])
            flow = f"M0,{bar + _BAR:g}H{width_kept:.3f}L{below:.3f},{y + _HEAD:g}H0Z"
        levels.append(
            Level(stage, unit, bar, into, kept, _across(into, most[unit]), width_kept, ribbons, flow, rescaled)
        )
    return Funnel(levels, y)


def _levels(other: list[str]) -> list[tuple[str, str]]:
    return [*(("crawl", unit) for unit in other), *LEVELS]


def _counts(done: Mapping[str, Manifest], stage: str, unit: str) -> tuple[int, int, dict[str, int]]:
    """Rows in, kept, and dropped by reason. Pack leaves behind what dedup dropped: it is not counted twice."""
    count = done[stage].counts.get(unit) if stage in done else None
    if count is None:
        return 0, 0, {}
    dropped = dict(count["dropped"])
    if stage == "pack" and "dedup" in done:
        before = done["dedup"].counts.get(unit, {"dropped": {}})["dropped"]
        dropped = {reason: n for reason, n in dropped.items() if reason not in before}
    return count["kept"] + sum(dropped.values()), count["kept"], dropped


def _across(n: int, most: int) -> float:
    return max(TRUNK * n / most, _HAIR) if n else 0.0


def _ribbons(
    stage: str, unit: str, top: float, into: int, kept: int, dropped: Mapping[str, int], most: int
) -> tuple[list[Ribbon], float]:
    """The ribbons of a level, the largest first and outermost, and where the last of them ends (pixels)."""
    said = sorted(dropped.items(), key=lambda item: (-item[1], item[0]))
    shown = said if len(said) <= SHOWN + 1 else said[:SHOWN]
    leaving = [(reason, n, anchor(stage, unit, reason)) for reason, n in shown]
    if rest := said[len(shown) :]:
        leaving.append((f"for {len(rest)} more reasons", sum(n for _, n in rest), anchor("stage", stage)))
    ribbons = []
    right, y = float(into), top + 6
    for label, n, href in leaving:
        thick = max(1.2, _DEEP * n / most)
        slot = max(_LINE, thick + 4)
        outer, inner = TRUNK * right / most, TRUNK * (right - n) / most
        begin, end = y + (slot - thick) / 2, y + (slot + thick) / 2
        path = _turn(max(outer, inner + _HAIR), inner, top, begin, end)
        ribbons.append(
            Ribbon(label, n, href, path, y + slot / 2, textwrap.shorten(meaning(label), SAYS, placeholder=" …"))
        )
        right, y = right - n, y + slot
    return ribbons, y


def _turn(outer: float, inner: float, top: float, begin: float, end: float) -> str:
    """A ribbon that leaves the trunk downwards and ends to the right, where the labels begin."""
    stop = LABELS - 1.2
    there = f"C{outer:.3f},{top + 0.7 * (begin - top):.1f} {outer + 0.35 * (stop - outer):.3f},{begin:.1f}"
    back = f"C{inner + 0.35 * (stop - inner):.3f},{end:.1f} {inner:.3f},{top + 0.7 * (end - top):.1f}"
    return f"M{outer:.3f},{top:g}{there} {stop:g},{begin:.1f}V{end:.1f}{back} {inner:.3f},{top:g}Z"
