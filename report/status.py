"""status: how far each stage of a recipe is: complete, in work, stale or not begun.

    openwit status --recipe recipes/real.toml

Only manifests and receipts are read, nothing is written and no input file is opened: of those their names are
compared. A receipt counts where the stage would take it for this recipe; whether its files are still there is not
looked at before the stage is complete. Of train and eval the keys that the recipe gives are compared, not those it
leaves to their defaults.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from core import command, runs, snapshot
from core.errors import UsageError
from core.files import entries_in, is_local, join, names_in, shown
from core.inputs import Source, names_of
from core.manifest import RECEIPTS, Counts, Manifest, Receipt, add_up, missing_part, read_manifest, read_receipts
from core.recipe import Recipe, read
from core.registry import STAGES
from pipeline.stage import Definition, Stage, definition_of
from pipeline.tasks.attempt import Job, Task
from report.phrases import count, size, span

_LATELY = 50  # receipts that a rate is taken from

Manifests = Mapping[str, Manifest | None]


@dataclass(frozen=True)
class State:
    """How far one stage is: `word` is complete, in work, stale or not begun; `says` is why, or how far."""

    word: str
    says: str = ""
    counts: Counts = field(default_factory=dict)
    bytes: int = 0
    left: float | None = 1.0  # share of its tasks without a receipt that holds; None where it is not known

    def kept(self, unit: str) -> str:
        """The rows that were kept; of another unit where it does not count this one."""
        unit = unit if unit in self.counts else next(iter(self.counts), "")
        return f"kept {self.counts[unit]['kept']:,} of {self.counts[unit]['in']:,} {unit}" if unit else ""


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: a line a stage; exit status 0."""
    options = command.arguments("status", __doc__ or "").parse_args(argv)
    return command.exit_status("status", lambda: print_status(read(options.recipe, options.set)), options.debug)


def print_status(recipe: Recipe) -> None:
    """Print how far the stages of a recipe are."""
    states = stage_states(recipe)
    rows = [
        (name, state.word, state.kept(STAGES[name].unit), size(state.bytes) if state.bytes else "", state.says)
        for name, state in states.items()
    ]
    print(f"{shown(recipe.out)}, from {recipe.path}")
    command.print_columns(rows)


def stage_states(recipe: Recipe) -> dict[str, State]:
    """How far each stage is."""
    manifests = {name: read_manifest(recipe.folder(name)) for name in STAGES}
    states: dict[str, State] = {}
    roots: dict[str, list[str]] = {}  # the stages that are not up to date among those a stage was made from
    for name, manifest in manifests.items():
        if manifest is None:
            states[name], roots[name] = _unfinished(recipe, name), [name]
            continue
        used = sum(part.bytes for part in manifest.parts)
        changed = list(changes(recipe, name, manifest, manifests))
        before = [root for stage in manifest.facts.get("inputs", {}) for root in roots.get(stage, [])]
        roots[name] = [name] if changed else sorted(set(before), key=list(STAGES).index)
        says = "; ".join(changed) or ", ".join(f"{stage} before it is {states[stage].word}" for stage in roots[name])
        states[name] = State("stale" if changed else "complete", says, manifest.counts, used)
    return states


# ── complete, or stale ────────────────────────────────────────────────────────────────────────────


def changes(recipe: Recipe, name: str, manifest: Manifest, manifests: Manifests) -> Iterator[str]:
    """What is no longer as it was when the stage wrote its manifest, each in a clause."""
    facts = manifest.facts
    if not STAGES[name].has_tasks:  # its Config is in a room that this one does not know
        given = {key: value for key, value in recipe.tables.get(name, {}).items() if key in facts["config"]}
        before = {"seed": facts["seed"], **{key: facts["config"][key] for key in given}}
        yield from runs.differences({"seed": recipe.run.seed, **given}, before)
    else:
        definition = definition_of(name)
        config = recipe.config(name, definition.config)
        yield from runs.differences(_one_level(definition.facts(recipe, name, config, {})), _one_level(facts))
        known = {runs.named(key) for key in facts.get("inputs", {}) if ":" in key}
        with suppress(UsageError):  # raw files that cannot be listed from here: what was made from them stands
            names = _names(definition.files(recipe, name, config)).keys()
            yield from (f"{file} is new" for file in sorted(names - known))
            yield from (f"{file} is gone" for file in sorted(known - names))
    for stage, made_from in facts.get("inputs", {}).items():
        now = manifests.get(stage)
        if now is not None and now.digest != made_from:
            yield f"{stage} is not the one it was made from"
    if missing := missing_part(manifest):
        yield f"{missing} is missing or has another size"


def _one_level(facts: dict[str, Any]) -> dict[str, Any]:
    """What determines a stage beside its inputs, on one level."""
    determined = dict(facts["determined_by"])
    return {
        "rules_version": facts["rules_version"],
        "seed": facts["seed"],
        **facts["config"],
        **determined.pop("libraries", {}),
        **determined,
    }


def _names(files: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, Source]]:
    """Raw files that are not opened: kind and source by what their names in a manifest say without a digest."""
    names = names_of(path for some in files.values() for path in some)
    sources = ((kind, Source(path, "", names[path])) for kind, some in files.items() for path in some)
    return {f"{kind}:{source.stem}": (kind, source) for kind, source in sources}


# ── in work, or not begun ─────────────────────────────────────────────────────────────────────────


def _unfinished(recipe: Recipe, name: str) -> State:
    """A stage without a manifest: what its receipts say. A training has checkpoints instead."""
    folder = recipe.folder(name)
    there = _receipts(folder)
    if not there:
        checkpoints = [file for file in names_in(folder) if file.startswith("checkpoint-")]
        if checkpoints:
            steps = recipe.tables.get(name, {}).get("steps")
            of = f" of {steps:,}" if isinstance(steps, int) else ""
            return State("in work", f"step {int(checkpoints[-1][11:19]):,}{of} is the last that is safe")
        return State("not begun")
    definition = definition_of(name)
    try:
        stage = DryRun(recipe, name, definition, {key: receipt for key, (receipt, _) in there.items()})
        definition.run(stage.look())
    except UsageError as error:
        return State(
            "in work", f"{count(len(there), 'task')} done, unknown whether for this recipe: {error}", left=None
        )
    others = len(there) - len(stage.held)
    if not stage.held:
        return State("not begun", f"{count(others, 'task')} done for other rules, Config or inputs")
    expected = definition.steps(stage) | stage.dealt
    done = Counter(receipt.step for receipt in stage.held)
    far = ", ".join(f"{step} {done[step]:,} of {n:,}" for step, n in expected.items() if n)
    more = f"; {others:,} done for other rules, Config or inputs" if others else ""
    lately = _rate(there[receipt.step, receipt.task] for receipt in stage.held)
    counts, _ = add_up(stage.held)
    used = sum(part.bytes for receipt in stage.held for part in receipt.parts)
    left = 1 - len(stage.held) / sum(expected.values())
    return State("in work", f"tasks: {far}{more}{lately}", counts, used, left)


class DryRun(Stage[Any]):
    """A stage whose `run` deals its tasks as ever and does none: of each it looks for the receipt that holds.

    What a step reads of a task that is not done it finds empty, so that of later steps not all tasks may be dealt.
    """

    def __init__(
        self, recipe: Recipe, name: str, definition: Definition[Any], there: Mapping[tuple[str, str], Receipt]
    ) -> None:
        self._there = there
        self.held: list[Receipt] = []
        self.dealt: dict[str, int] = {}  # tasks of each step before which all is done
        self._all_done = True
        super().__init__(recipe, name, definition)

    def _sources(self) -> dict[str, list[Source]]:
        """The raw files by what each held when the stage began; of one that is new since then, nothing holds."""
        files = self._definition.files(self.recipe, self.name, self.config)
        begun = runs.begun(self.folder).get("inputs")
        if any(files.values()) and not begun:
            raise UsageError(f"what its raw files held is not written down; openwit {self.name} will see")
        digests: dict[str, list[str]] = {}
        for key, digest in begun.items() if begun and any(files.values()) else ():
            digests.setdefault(runs.named(key), []).append(digest)
        found: dict[str, list[Source]] = {kind: [] for kind in files}
        for name, (kind, source) in _names(files).items():
            known = digests.get(name)
            found[kind].append(replace(source, digest=known.pop() if known else ""))
        return found

    def _run(self, work: Callable[[Sequence[Task]], None], job: Job[Any], tasks: Sequence[Task]) -> list[Receipt]:
        if self._all_done:
            self.dealt[job.step] = len(tasks)
        receipts = []
        for task in tasks:
            receipt = self._there.get((job.step, task.id))
            if receipt and receipt.basis == job.basis_of(task):
                self.held.append(receipt)
            else:
                receipt, self._all_done = Receipt(job.step, task.id, "", (), {}), False
            receipts.append(receipt)
        return receipts


def _receipts(folder: str) -> dict[tuple[str, str], tuple[Receipt, float]]:
    """The receipts of a stage by step and task, and when each was written (seconds since 1970)."""
    times: dict[str, dict[str, float]] = {}
    entries = entries_in(join(folder, RECEIPTS))
    for name, entry in entries.items():
        step, _, task = name.removesuffix(".json").partition(".")
        at = entry.get("mtime") or entry.get("LastModified") or 0.0  # of a local disk a float, of a store a datetime
        if step:  # a name that begins with a dot is half-written
            times.setdefault(step, {})[task] = at if isinstance(at, int | float) else at.timestamp()
    known = {} if is_local(folder) else snapshot.read(folder, entries)
    found = {(receipt.step, receipt.task): receipt for _, receipt in known.values()}
    for step, tasks in times.items():
        unknown = [task for task in tasks if (step, task) not in found]
        found |= {(step, task): receipt for task, receipt in read_receipts(folder, step, unknown).items()}
    return {(step, task): (receipt, times[step][task]) for (step, task), receipt in found.items()}


def _rate(receipts: Iterable[tuple[Receipt, float]]) -> str:
    """Rows a second over the last receipts, where they were not all written at once; and how old the newest is."""
    some = sorted(receipts, key=lambda one: one[1])[-_LATELY:]
    seconds = some[-1][1] - some[0][1]
    counts, _ = add_up(receipt for receipt, _ in some[1:])
    unit = max(counts, key=lambda unit: counts[unit]["in"], default="")
    rate = f"; {counts[unit]['in'] / seconds:,.1f} {unit}/s lately" if unit and seconds > 0 else ""
    return f"{rate}; last receipt {span(max(0.0, time.time() - some[-1][1]))} ago"


if __name__ == "__main__":
    command.exit_now(main)
