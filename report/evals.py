"""Examples behind the results of the evaluations: pictures that were named, captions that were found again, leaks.

The tables are the trainer's and dedup's `overlap`'s; the trainer's schemas are not known here, so their columns are
asked for by name.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow.parquet as pq

from core.files import filesystem, join, names_in, open_input
from core.inputs import digest_file
from core.manifest import Manifest
from core.recipe import Recipe
from core.tars import tar_members
from dedup import overlap
from report.examples import Rows, in_order
from report.thumbnails import Chunks, Thumbnail, find_image, packed, thumbnail

SHOWN = 12  # pictures of each kind
_MAX_BYTES = 64 << 20  # of one evaluation picture


def by_class(results: Manifest) -> Rows:
    """Of each class of the zero-shot pictures, the best first: how many, how many right, what others were taken for."""
    said: dict[str, Counter[str]] = {}
    for row in _rows(results, "zeroshot_example", ["label", "predicted"]):
        said.setdefault(row["label"], Counter())[row["predicted"]] += 1
    classes = [
        {"label": label, "n": counts.total(), "right": counts.pop(label, 0), "taken_for": _most(counts)}
        for label, counts in said.items()
    ]
    return sorted(classes, key=lambda row: (-row["right"] / row["n"], row["label"]))


def _most(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:1]


def named(recipe: Recipe, results: Manifest, seed: int) -> Rows:
    """Some zero-shot pictures, chosen by hash: each with its class, and the one that it was taken for."""
    rows = _rows(results, "zeroshot_example", ["key", "label", "predicted", "rank", "score"])
    chosen = [rows[i] for i in in_order(seed, "named", [row["key"].encode() for row in rows])[:SHOWN]]
    seen = _pictures(recipe, results.facts.get("inputs", {}).get("pictures"), {row["key"] for row in chosen})
    return [{**row, "picture": seen.get(row["key"])} for row in chosen]


def retrieved(results: Manifest, pack: Manifest, seed: int) -> Rows:
    """Some held-out samples, chosen by hash: each with its caption, and the place that a right caption came to."""
    rows = _rows(results, "retrieval_example", ["direction", "key", "rank", "candidates"])
    rows = [row for row in rows if row["direction"] == "image-to-text"]
    chosen = [rows[i] for i in in_order(seed, "retrieved", [row["key"].encode() for row in rows])[:SHOWN]]
    found = [(row, packed(pack, bytes.fromhex(row["key"]))) for row in chosen]
    return [{**row, "caption": one[0]["caption"], "picture": thumbnail(one[1])} for row, one in found if one]


def leaks(recipe: Recipe, dedup: Manifest, chunks: Chunks, pack: Manifest | None, seed: int) -> dict[str, Any]:
    """What `openwit overlap` has found, some pictures beside the images; empty where it was not run on this dedup."""
    if overlap.FILE not in names_in(recipe.out):
        return {}
    table, about = overlap.read_overlap(join(recipe.out, overlap.FILE))
    if about["dedup"] != dedup.digest:
        return {}
    first: dict[tuple[str, str], dict[str, Any]] = {}  # the nearest image of each picture
    for row in overlap.leaked(table).to_pylist():
        first.setdefault((row["eval_set"], row["key"]), row)
    keys = sorted(first)
    chosen = [first[keys[i]] for i in in_order(seed, "leak", [key.encode() for _, key in keys])[:SHOWN]]
    seen = {
        (name, key): picture
        for name, said in about["sets"].items()
        for key, picture in _pictures(
            recipe, said["pictures"], {row["key"] for row in chosen if row["eval_set"] == name}
        ).items()
    }
    shown = [
        {
            **row,
            "picture": seen.get((row["eval_set"], row["key"])),
            "image": thumbnail(find_image(row["image_id"], chunks, pack)),
        }
        for row in chosen
    ]
    return {"asked": sum(said["asked"] for said in about["sets"].values()), "found": len(first), "shown": shown}


def _rows(results: Manifest, table: str, columns: list[str]) -> Rows:
    found: Rows = []
    for path in results.paths(table):
        with open_input(path) as file:
            found += pq.read_table(file, columns=columns).to_pylist()
    return found


def _pictures(recipe: Recipe, digest: str | None, names: set[str]) -> dict[str, Thumbnail | None]:
    """Some pictures of the recipe's tar, if it has that digest; none if it is not there any more."""
    path = recipe.pictures
    fs, inner = filesystem(path)
    if not path or not fs.exists(inner) or digest_file(path) != digest:
        return {}
    members = tar_members(path, _MAX_BYTES, names.__contains__)
    return {name: thumbnail(body) for name, body in members if name in names}
