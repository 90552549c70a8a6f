"""Examples behind the results of the evaluations: pictures that were named, captions that were found again.

The tables are the trainer's, whose schemas are not known here, so their columns are asked for by name.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.files import filesystem, open_input
from core.inputs import digest_file
from core.manifest import Manifest
from core.recipe import Recipe
from core.tars import tar_members
from evaluation.robustness import Examples
from report.examples import Rows, in_order
from report.thumbnails import Thumbnail, packed, thumbnail

SHOWN = 12  # pictures of each kind
_MAX_BYTES = 64 << 20  # of one evaluation picture


def by_class(results: Manifest) -> Rows:
    """Of each class of the zero-shot pictures, the best first: how many, how many right, what others were taken for."""
    said: dict[str, Counter[str]] = {}
    for row in table_rows(results, "zeroshot_example", ["label", "predicted"]):
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
    rows = table_rows(results, "zeroshot_example", ["key", "label", "predicted", "rank", "score"])
    chosen = [rows[i] for i in in_order(seed, "named", [row["key"].encode() for row in rows])[:SHOWN]]
    seen = pictures(recipe, results.facts.get("inputs", {}).get("pictures"), {row["key"] for row in chosen})
    return [{**row, "picture": seen.get(row["key"])} for row in chosen]


def retrieved(results: Manifest, pack: Manifest, seed: int) -> Rows:
    """Some held-out samples, chosen by hash: each with its caption, and the place that a right caption came to."""
    rows = table_rows(results, "retrieval_example", ["direction", "key", "rank", "candidates"])
    rows = [row for row in rows if row["direction"] == "image-to-text"]
    chosen = [rows[i] for i in in_order(seed, "retrieved", [row["key"].encode() for row in rows])[:SHOWN]]
    found = [(row, packed(pack, bytes.fromhex(row["key"]))) for row in chosen]
    return [{**row, "caption": one[0]["caption"], "picture": thumbnail(one[1])} for row, one in found if one]


Answers = dict[str, tuple[bool, str]]  # a picture's name → whether it was classified right, and its class


def answers(results: Manifest) -> Answers:
    """Of the zero-shot pictures of the recipe's tar."""
    rows = table_rows(results, "zeroshot_example", ["key", "correct", "label"])
    return {row["key"]: (row["correct"], row["label"]) for row in rows}


def answers_by_set(results: Manifest, names: Collection[str]) -> dict[str, dict[str, Answers]]:
    """The same of evaluation sets, by set and model, with the first choice of prompts; one class a picture."""
    prompts = [*results.facts.get("config", {}).get("prompts", ())][:1]
    found: dict[str, dict[str, Answers]] = {}
    for row in table_rows(results, "example", ["model", "set", "method", "prompts", "id", "label", "rank"]):
        of_one_class = row["rank"] is not None and len(row["label"]) == 1
        if row["set"] in names and row["method"] == "zero-shot" and row["prompts"] in prompts and of_one_class:
            of_model = found.setdefault(row["set"], {}).setdefault(row["model"], {})
            of_model[row["id"]] = row["rank"] == 1, row["label"][0]
    return found


def digests_by_set(results: Manifest) -> dict[str, dict[str, str]]:
    """Of evaluation sets the digests of the files that were evaluated, by id."""
    found: dict[str, dict[str, str]] = {}
    for row in table_rows(results, "read", ["set", "split", "id", "digest"]):
        if row["split"] == "test":
            found.setdefault(row["set"], {})[row["id"]] = row["digest"]
    return found


Asked = tuple[str, str, str]  # a model, a set, and a choice of prompts


def outcomes(results: Manifest, asked: Collection[Asked]) -> dict[Asked, Examples]:
    """Zero-shot results of single examples; of videos the mean of pm-0 and pm-10. What has none is left out."""
    found: dict[Asked, Examples] = {}
    for about, rows in _zero_shot(results, "example", ("id", "rank"), asked):
        right = pc.equal(rows["rank"], 1).to_numpy(zero_copy_only=False)
        found[about] = Examples(rows["id"].to_pylist(), right.astype(np.float64))
    for about, rows in _zero_shot(results, "frame", ("anchor", "frame", "right"), asked):
        pm_10 = rows.group_by("anchor").aggregate([("right", "all")])
        pm_0 = rows.filter(pc.equal(rows["anchor"], rows["frame"])).select(["anchor", "right"])
        both = pm_0.join(pm_10, "anchor").sort_by("anchor")
        values = [both[name].to_numpy(zero_copy_only=False) for name in ("right", "right_all")]
        found[about] = Examples(both["anchor"].to_pylist(), np.mean(values, axis=0))
    return found


def _zero_shot(
    results: Manifest, table: str, columns: Sequence[str], asked: Collection[Asked]
) -> Iterator[tuple[Asked, pa.Table]]:
    """The zero-shot rows of a table about each of what is asked."""
    parts, sets = [], pa.array(sorted({set_ for _, set_, _ in asked}), pa.string())
    for path in results.paths(table):
        with open_input(path) as file:
            rows = pq.read_table(file, columns=["model", "set", "prompts", "method", *columns])
        parts.append(rows.filter(pc.and_(pc.equal(rows["method"], "zero-shot"), pc.is_in(rows["set"], sets))))
    if not parts:
        return
    every = pa.concat_tables(parts)
    for model, set_, prompts in asked:
        about = [pc.equal(every[name], one) for name, one in (("model", model), ("set", set_), ("prompts", prompts))]
        if (found := every.filter(functools.reduce(pc.and_, about))).num_rows:
            yield (model, set_, prompts), found


def table_rows(results: Manifest, table: str, columns: list[str]) -> Rows:
    """Some columns of a table of the evaluations; no rows where there is no such table."""
    found: Rows = []
    for path in results.paths(table):
        with open_input(path) as file:
            found += pq.read_table(file, columns=columns).to_pylist()
    return found


def pictures(recipe: Recipe, digest: str | None, names: set[str]) -> dict[str, Thumbnail | None]:
    """Some pictures of the recipe's tar, if it has that digest; none if it is not there any more."""
    path = recipe.pictures
    fs, inner = filesystem(path)
    if not path or not fs.exists(inner) or digest_file(path) != digest:
        return {}
    members = tar_members(path, _MAX_BYTES, names.__contains__)
    return {name: thumbnail(body) for name, body in members if name in names}
