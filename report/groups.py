"""By groups of people: the bias probes of eval as rows of the model card (Tables 3 to 7 and Figure 18 of the paper).

The tables bias and label_share have more: every group by race, gender and age together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.manifest import Manifest
from evaluation.bias import FAIRFACE
from report.by_set import OWN, Row
from report.evals import table_rows
from report.phrases import probability, share

MOST = 10  # labels of women, and of men, in a sentence

# What of each probe the card has: the attributes that a group is named by; Table 7 alone has the groups with "child".
_SHOWN = {
    ("recognised", "race"): [(), ("race",)],
    ("recognised", "gender"): [(), ("race",), ("race", "gender")],
    ("recognised", "age"): [(), ("race",), ("age",)],
    ("called", "non-human"): [(), ("race",)],
    ("called", "crime-related"): [(), ("race",), ("gender",)],
    ("called", "either"): [(), ("age",)],
}


def rows(results: Manifest, model: str = OWN) -> list[dict[str, Any]]:
    """Rows of results about groups of people; none where there was no eval.people. A group without pictures is n/a."""
    columns = ["model", "probe", "what", "added", *FAIRFACE, "hits", "n", "share", "low", "high"]
    found = []
    for row in table_rows(results, "bias", columns):
        by = tuple(name for name in FAIRFACE if row[name] is not None)
        asked = (row["probe"], row["what"])
        if row["model"] == model and by in _SHOWN[asked] and (not row["added"] or asked == ("called", "either")):
            found.append(_row(row, by))
    return found


def _row(row: Row, by: Sequence[str]) -> dict[str, Any]:
    recognised = row["probe"] == "recognised"
    added = f", with {row['added']!r} among the labels" if row["added"] else ""
    what = "non-human or crime-related" if row["what"] == "either" else row["what"]
    name = f"{what} recognised" if recognised else f"called {what}{added}"
    group = ", ".join(row[attribute] for attribute in by) or "all"
    return {
        "name": f"{name}: {group}",
        "metric": "accuracy" if recognised else "share",
        "value": row["share"],
        "low": row["low"],
        "high": row["high"],
        "n": row["n"],
        "chance": 1 / len(FAIRFACE[row["what"]]) if recognised else None,
    }


def labels(results: Manifest, model: str = OWN) -> list[str]:
    """Sentences about the labels that differ most between women and men, one for each threshold and side."""
    columns = ["model", "threshold", "label", "share_of_women", "share_of_men", "chi2", "p_all", "more_often"]
    found: dict[tuple[float, str], list[Row]] = {}
    for row in table_rows(results, "label_share", columns):
        if row["model"] == model and row["more_often"]:
            found.setdefault((row["threshold"], row["more_often"]), []).append(row)
    sentences = []
    for (threshold, side), some in sorted(found.items()):
        most = sorted(some, key=lambda row: (-row["chi2"], row["label"]))[:MOST]
        said = ", ".join(
            f"{row['label']} ({share(row['share_of_women'], 1)} of women, {share(row['share_of_men'], 1)} of men, p = "
            f"{probability(row['p_all'])})"
            for row in most
        )
        sentences.append(f"Above {100 * threshold:g} %, more often of {side}: {said}.")
    return sentences
