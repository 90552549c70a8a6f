"""One run of a stage on its folder: is all done already, is anybody else at it, is there room, what is left behind.

Shared by the stages that Beam carries and by training and evaluation, which know no Beam.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from core.claim import claim
from core.credentials import public_word
from core.errors import Failure, UsageError, WorkToDo
from core.exclusive import exclusive
from core.files import (
    TEMPORARY,
    digest,
    filesystem,
    join,
    keep_names,
    names_in,
    publish,
    read_bytes,
    read_many,
    remove,
    remove_all,
    shown,
    to_json,
)
from core.listing import behind_links, sizes_below
from core.manifest import (
    MANIFEST,
    RECEIPTS,
    Manifest,
    Receipt,
    first_missing,
    missing_part,
    read_manifest,
    receipt_name,
    remove_manifest,
    withdraw,
    write_manifest,
)
from core.recipe import Recipe
from core.registry import STAGES
from core.stores import read_small

RUN = "_run.json"
BEGUN = "_begun.json"  # of a stage in work: for which facts, and what it reads; the last file to go when it is complete
METADATA = {MANIFEST, "_parts.parquet", RUN, "_lock"}  # of a stage, beside its parts and receipts
_BASIS = re.compile(rb'\{\s*"basis": "([0-9a-f]+)"')  # how BEGUN starts
_NAMED_CHANGES = 3  # changes that are named in a line
_OURS = re.compile(
    rf"(^|/){re.escape(TEMPORARY)}[^/]*$|-[0-9a-f]{{16}}\.\w+$"
)  # how parts are named, and half-written files


def require_finished(recipe: Recipe, stage: str, reader: str) -> Manifest:
    """The manifest of a stage that `reader` reads.

    UsageError with the command to run where it has none, or where it, or a stage before it, was made from another state
    of a stage than is there now (a stage before it may have been removed to save room). With --check it is WorkToDo.
    """
    manifest = read_manifest(recipe.folder(stage))
    if manifest is None:
        if recipe.check:
            raise WorkToDo
        raise UsageError(
            f"{reader} reads what {stage} makes, and {recipe.folder(stage)} is not finished: "
            f"run openwit {stage} --recipe {recipe.path} first"
        )
    try:
        _check_origins(recipe, stage, manifest, {})
    except UsageError:
        if recipe.check:
            raise WorkToDo from None
        raise
    return manifest


def _check_origins(recipe: Recipe, stage: str, manifest: Manifest, known: dict[str, Manifest | None]) -> None:
    """Follow what a stage was made from back to the start; each stage on the way is read once, into `known`."""
    for name, made_from in manifest.facts.get("inputs", {}).items():
        if name not in STAGES:
            continue
        is_new = name not in known
        if is_new:
            known[name] = read_manifest(recipe.folder(name))
        now = known[name]
        if now is None:
            continue
        if now.digest != made_from:
            raise UsageError(
                f"{recipe.folder(stage)} was made from another {name} than {recipe.folder(name)} holds now: "
                f"run openwit {stage} --recipe {recipe.path} first"
            )
        if is_new:
            _check_origins(recipe, name, now, known)


def require_unchanged(recipe: Recipe, stage: str, read: Iterable[Manifest]) -> None:
    """Failure where a folder that a stage has read was made anew meanwhile: it would be complete, and of neither."""
    for before in read:
        now = read_manifest(before.folder)
        if now is None or now.digest != before.digest:
            raise Failure(
                f"{before.folder} was made anew while {stage} read it: "
                f"run openwit {stage} --recipe {recipe.path} again once it is complete"
            )


def check_that_some_are_left(recipe: Recipe, stage: str) -> None:
    """Failure where a finished stage has kept nothing of what it passes on, so that those after it have no work."""
    unit = STAGES[stage].passes_on if stage in STAGES else ""
    manifest = read_manifest(recipe.folder(stage)) if unit else None
    if manifest is None:
        return
    count = manifest.counts.get(unit, {"in": 0, "kept": 0, "dropped": {}})
    if not count["kept"]:
        raise Failure(
            f"{stage} kept 0 of {count['in']:,} {unit}{top_drops(count['dropped'])}: there is nothing to go on with; "
            f"change [{stage}] in {recipe.path}, or give it more"
        )


def top_drops(dropped: Mapping[str, int], most: int = 3) -> str:
    """The most frequent reasons, for a line: " (too_few_words 1,234 · is_an_icon 56)"."""
    if not dropped:
        return ""
    top = sorted(dropped.items(), key=lambda item: (-item[1], item[0]))[:most]
    return " (" + " · ".join(f"{reason} {n:,}" for reason, n in top) + ")"


def nothing_to_do(recipe: Recipe, folder: str, facts: Mapping[str, Any], again: str = "runs again") -> bool:
    """Whether the folder's manifest was written for the same facts and all its parts are there; if so, says it.

    If not, and there is a manifest, says what has changed since, so that the stage `again` has work to do. WorkToDo
    where the command line asks for no more than that, and there is work. What a run that was killed at its very end has
    left is removed.
    """
    manifest = read_manifest(folder)
    changed = [] if manifest is None else changes(facts, manifest)
    is_swept = BEGUN not in names_in(folder)
    if recipe.check and (manifest is None or changed or not is_swept):
        raise WorkToDo
    if manifest is not None and not changed:
        if not is_swept:
            with exclusive(folder, facts["stage"]) as require_lock:
                now = read_manifest(folder)  # another run may have had the folder until now
                if now is None or now.digest != manifest.digest:
                    raise Failure(
                        f"{shown(folder)} was made anew while {facts['stage']} looked at it: run the same command again"
                    )
                _sweep(now, sizes_below(folder), require_lock)
        print(f"{facts['stage']}: nothing to do, {shown(folder)} is up to date")
        return True
    if changed:
        more = f" and {len(changed) - _NAMED_CHANGES:,} more" if len(changed) > _NAMED_CHANGES else ""
        print(f"{facts['stage']}: {again}: {'; '.join(changed[:_NAMED_CHANGES])}{more}", flush=True)
    claim(recipe, facts["stage"])
    return False


def changes(facts: Mapping[str, Any], manifest: Manifest) -> list[str]:
    """What is not as it was when a stage's manifest was written, each in a clause: keys of the recipe first."""
    was, stage = manifest.facts, facts["stage"]

    def both(key: str, prefix: str = "") -> list[dict[str, Any]]:
        return [{f"{prefix}{name}": value for name, value in _flat(some.get(key, {})).items()} for some in (facts, was)]

    found = list(differences({"run.seed": facts.get("seed")}, {"run.seed": was.get("seed")}))
    found += differences(*both("config", f"{stage}."))
    now, before = both("inputs")
    for name in sorted({named(key) for key, _ in now.items() ^ before.items()}):
        is_there, was_there = (name in map(named, some) for some in (now, before))
        found.append(f"{name} {'is gone' if not is_there else 'has changed' if was_there else 'is new'}")
    found += differences({"rules_version": facts.get("rules_version")}, {"rules_version": was.get("rules_version")})
    found += differences(*both("determined_by"))
    if not found and any(was.get(key) != value for key, value in facts.items()):
        found.append("it was written by another version of openwit")
    if not found and (missing := missing_part(manifest)):
        found.append(f"{missing} is missing or has another size")
    return found


def named(key: str) -> str:
    """The key of an input without its digest: "crawl", or "warc:a.warc.gz"."""
    return key.rpartition("-")[0] if ":" in key else key


def differences(now: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    """Values that are other than before, each in a clause."""
    for key in sorted({*now, *before}):
        if key not in now or key not in before or before[key] != now[key]:
            said = [_short(some[key]) if key in some else "not there" for some in (before, now)]
            yield f"{key} was {said[0]}, is {said[1]}"


def _short(value: Any) -> str:
    said = json.dumps(value, ensure_ascii=False)
    return said if len(said) <= 60 else said[:57] + "…"


def _flat(nested: Mapping[str, Any]) -> dict[str, Any]:
    """Values of mappings within a mapping beside the others, under their own names."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= value if isinstance(value, dict) else {key: value}
    return flat


def facts_digest(facts: Mapping[str, Any]) -> str:
    """Names a run in BEGUN and for its workers: another recipe, or other inputs, and it is another run."""
    return digest(facts)


def begin(folder: str, facts: Mapping[str, Any], raw_files: Mapping[str, Any] | None = None) -> None:
    """From here on the folder is of a run with these facts, and not complete. `raw_files`: what is known of them.

    A worker of an earlier run that lives on finds that out before it writes: see `Job.check` in pipeline/tasks.
    """
    said = {"basis": facts_digest(facts), "inputs": facts["inputs"], "raw_files": raw_files or {}}
    publish(join(folder, BEGUN), to_json(said))
    remove_manifest(folder)
    keep_names([folder])


def begun(folder: str) -> dict[str, Any]:
    """What `begin` has written; nothing where no run is in work."""
    (raw,) = read_many(folder, [BEGUN])
    try:
        said = json.loads(raw or b"{}")
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def begun_for(folder: str) -> str:
    """The digest of the facts of the run in work, empty where there is none; by the first line of megabytes."""
    found = _BASIS.match(read_small(*filesystem(join(folder, BEGUN))) or b"")
    return found[1].decode() if found else ""


def publish_manifest(
    folder: str,
    facts: Mapping[str, Any],
    receipts: Sequence[Receipt],
    run: bytes,
    require_lock: Callable[[], None] = lambda: None,
) -> Manifest:
    """Write `_run.json` and the manifest, then remove what no receipt names: what lost attempts left, checkpoints.

    `require_lock` raises Failure once the folder is another run's: nothing is declared complete then, nor removed.
    """
    parts = [part for receipt in receipts for part in receipt.parts]
    sizes = sizes_below(folder)
    if gone := first_missing(folder, parts, sizes):
        raise Failure(f"{gone} went away or changed while {facts['stage']} ran: run the same command again")
    keep_names({join(folder, part.name).rpartition("/")[0] for part in parts} | {join(folder, RECEIPTS)})
    require_lock()
    ours = {receipt_name(receipt.step, receipt.task) for receipt in receipts}
    remove_all(folder, [name for name in sorted(sizes) if name.startswith(f"{RECEIPTS}/") and name not in ours])
    publish(join(folder, RUN), run)
    manifest = write_manifest(folder, facts, receipts)
    keep_names([folder])
    try:
        require_lock()
    except Failure:  # whoever has the folder now began before this manifest was there to be removed
        withdraw(manifest)
        raise
    _sweep(manifest, sizes, require_lock)
    return manifest


def _sweep(manifest: Manifest, there: Iterable[str], require_lock: Callable[[], None]) -> None:
    """Remove from a complete stage's folder, whose files are `there`, what is not of it; last the mark of its run.

    Receipts that are not its own had gone before its manifest was written. Behind a link to a folder there may be files
    of other people: only where a table of ours was moved, what is named as we name files is ours to remove.
    """
    kept = METADATA | {part.name for part in manifest.parts} | {BEGUN}
    left = [name for name in sorted(there) if name not in kept and not name.startswith((f"{RECEIPTS}/", "_lock."))]
    linked = behind_links(manifest.folder, left)
    tables = {part.name.rpartition("/")[0] for part in manifest.parts}

    def is_ours(name: str) -> bool:
        place = name.rpartition("/")[0]
        return place not in linked or (place in tables and _OURS.search(name) is not None)

    require_lock()
    remove_all(manifest.folder, list(filter(is_ours, left)))
    require_lock()
    remove(join(manifest.folder, BEGUN))
    keep_names([manifest.folder])


def how_it_ran(started: float, packages: Iterable[str], work: Mapping[str, Mapping[str, float]], **more: Any) -> bytes:
    """`_run.json`: what a person wants to know and no digest may hold. `started` is seconds since 1970.

    All is said of this process alone, which may have been the last of several: `work` has how much of each step it did
    (`here`), of how much (`of`), and the seconds that this took it.
    """
    return to_json(
        {
            "command": [Path(sys.argv[0]).stem, *map(public_word, sys.argv[1:])],
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            "seconds": round(time.time() - started, 3),
            "work": work,
            "host": platform.node(),
            "python": platform.python_version(),
            "versions": {package: version(package) for package in ("openwit", *packages)},
            **more,
        }
    )


def read_run(folder: str) -> dict[str, Any]:
    """A stage's `_run.json`; nothing where it is not there or damaged: no stage depends on it, none writes it again."""
    if RUN not in names_in(folder):
        return {}
    try:
        said = json.loads(read_bytes(join(folder, RUN)))
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def known_raw_files(folder: str) -> dict[str, Any]:
    """What the last run and one that was killed knew of a stage's raw files, for core.inputs.Memory."""
    saved = read_run(folder), begun(folder)
    return {key: known for some in saved for key, known in some.get("raw_files", {}).items()}


def remember(folder: str, raw_files: Mapping[str, Any]) -> None:
    """Write into `_run.json` of a complete stage what is known of its raw files by now."""
    publish(join(folder, RUN), to_json({**read_run(folder), "raw_files": raw_files}))


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))
