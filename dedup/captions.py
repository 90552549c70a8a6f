"""Which captions an image keeps: its own first, each text once, at most so many, chosen by hash."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from core import choice


def choose_captions(
    seed: int, keeper: bytes, rows: list[dict[str, Any]], most: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """One keeper's rows of CAPTION, and the rows that are none of them, with a reason.

    A text is kept once; own texts come before those of duplicates, and of both the cap takes the smallest hashes.
    """
    rows = sorted(rows, key=lambda row: (row["image_id"] != keeper, row["pair_id"]))
    first: dict[str, dict[str, Any]] = {}
    for row in rows:
        first.setdefault(row["text"], row)
    gone = [{**row, "reason": "same_text"} for row in rows if first[row["text"]] is not row]
    distinct = list(first.values())
    ranks = choice.rank(seed, "caption", keeper.hex(), (row["pair_id"] for row in distinct))
    order = sorted(range(len(distinct)), key=lambda i: (distinct[i]["image_id"] != keeper, int(ranks[i])))
    gone += [{**distinct[i], "reason": "caption_cap"} for i in sorted(order[most:])]
    chosen = [distinct[i] for i in sorted(order[:most])]
    about = {"image_id": keeper, "total": len(distinct), "uid": None, "columns": None}
    kept = [{**row, "own": row["image_id"] == keeper, **about} for row in chosen]
    kept[0] |= _of_its_table([row for row in rows if row["image_id"] == keeper])
    return kept, gone


def _of_its_table(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The smallest uid that URL tables give an image, and the other columns of that row; of the first that has any."""
    named = sorted((row for row in rows if row["uid"] is not None), key=itemgetter("uid"))
    row = next((row for row in [*named, *rows] if row["columns"] is not None), None)
    return {"uid": named[0]["uid"] if named else None, "columns": row and row["columns"]}
