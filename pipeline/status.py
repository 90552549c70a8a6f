"""status: how far each stage of a recipe is: complete, in work, stale or not begun.

    openwit status --recipe recipes/real.toml

Only manifests and receipts are read, nothing is written and no input file is opened: of those their names are
compared. Of train and eval the keys that the recipe gives are compared, not those it leaves to their defaults.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from pipeline.report_words import size, span
from pipeline.stage import Source
from pipeline.web.urls import host_of, normalise, registered_domain
from shards import command
from shards import recipe as recipes
from shards.errors import UsageError
from shards.files import filesystem, join, names_in, shown
from shards.manifest import Counts, Manifest, Receipt, add_up, missing_part, read_manifest, read_receipt
from shards.recipe import STAGES, Recipe, read

TRAINERS = ("train", "eval")  # whose Config is in a room that this one does not know
UNITS = {"queries": "queries", "crawl": "pairs", "filter": "pairs", "match": "pairs", "fetch": "images"}
UNITS |= {"dedup": "images", "pack": "images", "train": "samples", "eval": "pictures"}  # what a line counts
_LATELY = 50  # receipts that a rate is taken from

Manifests = Mapping[str, Manifest | None]


@dataclass(frozen=True)
class State:
    """How far one stage is: `word` is complete, in work, stale or not begun; `says` is why, or how far."""

    word: str
    says: str = ""
    counts: Counts = field(default_factory=dict)
    bytes: int = 0
    left: float = 1.0  # share of its tasks without a receipt

    def kept(self, unit: str) -> str:
        """The rows that were kept; of another unit where it does not count this one."""
        unit = unit if unit in self.counts else next(iter(self.counts), "")
        return f"kept {self.counts[unit]['kept']:,} of {self.counts[unit]['in']:,} {unit}" if unit else ""


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: a line a stage; exit status 0."""
    options = command.arguments("status", __doc__ or "").parse_args(argv)
    return command.guarded("status", lambda: tell(read(options.recipe, options.set)), options.debug)


def tell(recipe: Recipe) -> None:
    """Print how far the stages of a recipe are."""
    states = look(recipe)
    rows = [
        (name, state.word, state.kept(UNITS.get(name, "")), size(state.bytes) if state.bytes else "", state.says)
        for name, state in states.items()
    ]
    print(f"{shown(recipe.out)}, from {recipe.path}")
    command.print_columns(rows)


def look(recipe: Recipe) -> dict[str, State]:
    """How far each stage is."""
    manifests = {name: read_manifest(recipe.folder(name)) for name in STAGES}
    states: dict[str, State] = {}
    roots: dict[str, list[str]] = {}  # the stages that are not up to date among those a stage was made from
    for name, manifest in manifests.items():
        if manifest is None:
            states[name], roots[name] = _unfinished(recipe, name, manifests), [name]
            continue
        used = sum(part.bytes for part in manifest.parts)
        changed = list(changes(recipe, name, manifest, manifests))
        before = [root for stage in manifest.facts.get("inputs", {}) for root in roots.get(stage, [])]
        roots[name] = [name] if changed else sorted(set(before), key=STAGES.index)
        says = "; ".join(changed) or ", ".join(f"{stage} before it is {states[stage].word}" for stage in roots[name])
        states[name] = State("stale" if changed else "complete", says, manifest.counts, used)
    return states


# ── complete, or stale ────────────────────────────────────────────────────────────────────────────


def changes(recipe: Recipe, name: str, manifest: Manifest, manifests: Manifests) -> Iterator[str]:
    """What is no longer as it was when the stage wrote its manifest, each in a clause."""
    facts = manifest.facts
    if name in TRAINERS:
        given = {key: value for key, value in recipe.tables.get(name, {}).items() if key in facts["config"]}
        yield from _differences({"seed": recipe.run.seed, **given}, {"seed": facts["seed"], **facts["config"]})
    else:
        module = importlib.import_module(f"pipeline.{name}")
        config = recipe.config(name, module.Config)
        yield from _differences(_said_now(recipe, module, config), _said(facts))
        files, before = raw_files(recipe, name, module, config), {key for key in facts.get("inputs", {}) if ":" in key}
        if files is not None:
            names = {f"{kind}:{Source(path, '').stem}" for kind, path in files}
            known = {key.rpartition("-")[0] for key in before}
            yield from (f"{file} is new" for file in sorted(names - known))
            yield from (f"{file} is gone" for file in sorted(known - names))
    for stage, made_from in facts.get("inputs", {}).items():
        now = manifests.get(stage)
        if now is not None and now.digest != made_from:
            yield f"{stage} is another than it was made from"
    if missing := missing_part(manifest):
        yield f"{missing} is missing or has another size"


def _said_now(recipe: Recipe, module: Any, config: Any) -> dict[str, Any]:
    """What the stage's manifest would say now beside its inputs, as pipeline/stage.py has it, on one level."""
    return {
        "rules_version": module.RULES_VERSION,
        "seed": recipe.run.seed,
        **recipes.in_manifest(config),
        **{library: version(library) for library in ("pyarrow", *module.LIBRARIES)},
        **(module.determined_by(recipe) if hasattr(module, "determined_by") else {}),
    }


def _said(facts: dict[str, Any]) -> dict[str, Any]:
    determined = dict(facts["determined_by"])
    return {
        "rules_version": facts["rules_version"],
        "seed": facts["seed"],
        **facts["config"],
        **determined.pop("libraries", {}),
        **determined,
    }


def _differences(now: dict[str, Any], before: dict[str, Any]) -> Iterator[str]:
    for key in now:
        if before.get(key) != now[key]:
            yield f"{key} was {_short(before[key]) if key in before else 'not there'}, is {_short(now[key])}"


def _short(value: Any) -> str:
    said = json.dumps(value, ensure_ascii=False)
    return said if len(said) <= 60 else said[:57] + "…"


def raw_files(recipe: Recipe, name: str, module: Any, config: Any) -> list[tuple[str, str]] | None:
    """The raw files of a stage, (kind, path) each; None where they cannot be listed from here."""
    sources = module.sources(config) if hasattr(module, "sources") else {}
    try:
        return [
            (kind, path)
            for kind, patterns in sources.items()
            for path in recipes.files(patterns, recipe.path, f"{name}.{kind}")
        ]
    except UsageError:
        return None


# ── in work, or not begun ─────────────────────────────────────────────────────────────────────────


def _unfinished(recipe: Recipe, name: str, manifests: Manifests) -> State:
    """A stage without a manifest: what its receipts say. A training has checkpoints instead."""
    folder = recipe.folder(name)
    receipts = _receipts(folder)
    if not receipts:
        checkpoints = [file for file in names_in(folder) if file.startswith("checkpoint-")]
        if checkpoints:
            steps = recipe.tables.get(name, {}).get("steps")
            of = f" of {steps:,}" if isinstance(steps, int) else ""
            return State("in work", f"step {int(checkpoints[-1][11:19]):,}{of} is the last that is safe")
        return State("not begun")
    done = Counter(receipt.step for receipt, _ in receipts)
    expected = tasks(recipe, name, manifests)
    steps = [*expected, *(step for step in done if step not in expected)]
    far = ", ".join(
        f"{step} {done[step]:,}" + (f" of {expected[step]:,}" if step in expected else "") for step in steps
    )
    counts, _ = add_up(receipt for receipt, _ in receipts)
    used = sum(part.bytes for receipt, _ in receipts for part in receipt.parts)
    left = 1 - len(receipts) / max(sum(expected.values()), len(receipts))
    return State("in work", f"tasks: {far}{_rate(receipts)}", counts, used, left if expected else 1.0)


def tasks(recipe: Recipe, name: str, manifests: Manifests) -> dict[str, int]:
    """How many tasks each step of a stage has, as its `run` deals them; nothing where that cannot be known yet."""
    if name in TRAINERS:
        return {}
    module = importlib.import_module(f"pipeline.{name}")
    config = recipe.config(name, module.Config)
    raw = raw_files(recipe, name, module, config)
    if raw is None:
        return {}
    files = Counter(kind for kind, _ in raw)
    before = {stage: manifest for stage in module.READS if (manifest := manifests[stage])}
    if len(before) < len(module.READS):
        return {}

    def parts(stage: str, table: str) -> int:
        return len(before[stage].of(table))

    def rows(stage: str, table: str) -> int:
        return sum(part.rows for part in before[stage].of(table))

    match name:
        case "queries":
            dumps = {"words": files["wikipedia"], "vocabulary": 1, "pairs": files["wikipedia"]}
            return {**dumps, "views": files["pageviews"], "queries": 1}
        case "crawl":
            sites = len({registered_domain(host_of(url)) for seed in config.seeds if (url := normalise(seed))})
            return {**({"pages": sites} if sites else {}), "candidates": files.total() + sites}
        case "filter":
            return {"candidates": parts("crawl", "candidate")}
        case "match":
            found = parts("filter", "candidate")
            return {"found": found, "pairs": found, "plan": config.lanes}
        case "fetch":
            return {"chunks": sum(-(-part.rows // config.images_per_chunk) for part in before["match"].of("plan"))}
        case "dedup":
            captions = 1 + rows("fetch", "chunk") // module.IMAGES_A_PART
            return {"fingerprints": parts("fetch", "chunk"), "groups": 1, "captions": captions, "index": 1}
        case "pack":
            shards = config.shards or max(1, -(-before["dedup"].counts["images"]["kept"] // config.samples_per_shard))
            return {"shards": -(-shards // module.SHARDS_A_TASK), "sizes": 1}
    return {}


def _receipts(folder: str) -> list[tuple[Receipt, float]]:
    """The receipts of a stage and when each was written (seconds since 1970), the newest last."""
    fs, inner = filesystem(join(folder, "_receipts"))
    try:
        entries = fs.ls(inner, detail=True)
    except FileNotFoundError:
        return []
    found = []
    for entry in entries:
        step, _, task = entry["name"].rsplit("/", 1)[-1].removesuffix(".json").partition(".")
        at = entry.get("mtime") or entry.get("LastModified") or 0.0  # of a local disk a float, of a store a datetime
        receipt = (
            None if step == "" else read_receipt(folder, step, task)
        )  # a name that begins with a dot is half-written
        if receipt:
            found.append((receipt, at if isinstance(at, int | float) else at.timestamp()))
    return sorted(found, key=lambda one: one[1])


def _rate(receipts: Sequence[tuple[Receipt, float]]) -> str:
    """Rows a second over the last receipts, where they were not all written at once; and how old the newest is."""
    some = receipts[-_LATELY:]
    seconds = some[-1][1] - some[0][1]
    counts, _ = add_up(receipt for receipt, _ in some[1:])
    unit = max(counts, key=lambda unit: counts[unit]["in"], default="")
    rate = f"; {counts[unit]['in'] / seconds:,.1f} {unit}/s lately" if unit and seconds > 0 else ""
    return f"{rate}; last receipt {span(max(0.0, time.time() - some[-1][1]))} ago"


if __name__ == "__main__":
    sys.exit(main())
