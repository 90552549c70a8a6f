"""card: the model card of a trained model, from manifests and results.

    openwit card --recipe recipes/real.toml [--licence "Apache-2.0"]

Everything in it is read from a manifest or from the evaluations. Of the stages only those are described that the model
was made from, by the chain of digests: a pack that was made anew since is another one. What nobody measured is said to
be not measured.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from core import command, files
from core.claim import check
from core.errors import UsageError
from core.files import join, publish
from core.manifest import Manifest, read_manifest
from core.recipe import Recipe, read
from core.registry import STAGES
from evaluation import bias as probes
from evaluation import paper
from evaluation.robustness import Robustness
from report import groups, leaked, under_shift
from report.by_set import MINE, OWN, model_of
from report.figures.shift import Leak
from report.phrases import count, plain, points, share, shown
from report.render import evaluation

FILE = "model-card.md"  # beside the stages' folders

Rows = Sequence[Mapping[str, Any]]  # of results: name, metric, value, and low, high, n, chance where they are known

_TRAINING = {  # key of the manifest's config → what the card calls it; what a manifest lacks is left out
    "batch_size": "batch size (pairs)",
    "steps": "steps",
    "warmup": "warm-up (steps)",
    "learning_rate": "peak learning rate",
    "weight_decay": "weight decay",
    "beta1": "Adam β1",
    "beta2": "Adam β2",
    "epsilon": "Adam ε",
    "precision": "precision",
    "moments": "Adam's moments",
    "text_weights": "text tower's weights",
    "batch_norm": "batch normalisation over",
    "holdout": "share held out",
}
_SIZES = {
    "image_size": "image size (pixels)",
    "patch": "patch (pixels)",
    "vision_layers": "image tower, layers",
    "vision_width": "image tower, width",
    "text_layers": "text tower, layers",
    "text_width": "text tower, width",
    "context": "context (tokens)",
    "vocab": "vocabulary (tokens)",
    "embed_dim": "embedding (dimensions)",
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = command.arguments("card", __doc__ or "")
    parser.add_argument("--licence", default="", help="of the weights, as you publish them")
    options = parser.parse_args(argv)
    return command.exit_status("card", lambda: write(read(options.recipe, options.set), options.licence), options.debug)


def write(recipe: Recipe, licence: str = "") -> None:
    """Write the card of a recipe's model beside its stages. UsageError where there is no trained model."""
    check(recipe)
    found = {name: manifest for name in STAGES if (manifest := read_manifest(recipe.folder(name)))}
    if "train" not in found:
        raise UsageError(f"{recipe.out} has no trained model: run openwit train --recipe {recipe.path} first")
    results = found.get("eval")
    every = [row for some in evaluation(results).values() for row in some] if results else []
    rows = [row for row in every if model_of(row) == OWN]
    used = made_from(found)
    shift, robustness = _under_shift(used["eval"], every, recipe.run.seed) if "eval" in used else ([], [])
    text = card(
        Path(recipe.path).stem,
        found,
        rows,
        licence=licence,
        shift=shift,
        robustness=robustness,
        bias=groups.rows(used["eval"]) if "eval" in used else [],
        labels=groups.labels(used["eval"]) if "eval" in used else [],
        leaks=_leaks(recipe, used),
    )
    path = join(recipe.out, FILE)
    publish(path, text.encode())
    print(f"card: {count(len(rows), 'result')} → {files.shown(path)}")


def _under_shift(results: Manifest, rows: Rows, seed: int) -> tuple[Rows, Sequence[Robustness]]:
    """Results of the model and of those evaluated beside it on each shift, and their effective robustness."""
    names = under_shift.evaluated(rows)
    found = [
        {**score.row, "name": one.title if score.model == MINE else f"{one.title}, {score.model}"}
        for one in under_shift.on_shifts(rows, names)
        for score in one.scores
    ]
    shifts = under_shift.compared(rows, names) if names else []
    return found, under_shift.measure(results, rows, names, shifts, seed) if shifts else []


def _leaks(recipe: Recipe, used: Mapping[str, Manifest]) -> list[Leak]:
    """By evaluation set, where overlap was asked about the dataset that the model was made from."""
    found = leaked.read(recipe, used["dedup"]) if "dedup" in used else None
    pack = used["train"].facts.get("inputs", {}).get("pack")
    if found and pack and not found.is_of(pack):
        print("card: no leaks: openwit overlap was run about other shards than the model's: run it again")
        return []
    return [one.leak for one in leaked.by_set(found, used.get("eval"))] if found else []


def card(
    name: str,
    found: Mapping[str, Manifest],
    results: Rows = (),
    *,
    licence: str = "",
    shift: Rows = (),
    robustness: Sequence[Robustness] = (),
    bias: Rows = (),
    labels: Sequence[str] = (),
    leaks: Sequence[Leak] = (),
) -> str:
    """The card in Markdown.

    found: the finished stages, with the training. results: of the stage eval, which are left out where they are of
    another training. shift, bias: rows of the same form. labels: sentences about labels of women and men.
    leaks: by evaluation set.
    """
    used = made_from(found)
    train = used["train"].facts
    config, sizes = train.get("config", {}), train.get("determined_by", {}).get("model", {})
    is_evaluated = "eval" in used
    measured = list(results) if is_evaluated else []
    return _environment().get_template("card.md").render(
        name=name,
        model=config.get("model"),
        sizes=_settings(_SIZES, sizes),
        training=_settings(_TRAINING, config),
        train=train,
        seen=_seen(train),
        used=used,
        others=outdated(found, used),
        on_pack="pack" in train.get("inputs", {}),
        files=_files_read(used),
        groups=_grouped(measured),
        of_another=bool(results) and not is_evaluated,
        shift=_grouped(shift),
        robustness=robustness,
        bias=_grouped(bias),
        labels=labels,
        limits=probes.LIMITS,
        leaks=sorted(leaks, key=lambda leak: leak.name),
        licence=licence,
        children=paper.table("table_07"),
    )  # fmt: skip


def made_from(found: Mapping[str, Manifest]) -> dict[str, Manifest]:
    """The stages that the model was made from, by the digests in each manifest, and an evaluation of this model."""
    used = {"train": found["train"]}
    for name in reversed(STAGES):
        if name in used:
            inputs = used[name].facts.get("inputs", {})
            used |= {
                other: found[other]
                for other in STAGES
                if other in inputs and other in found and found[other].digest == inputs[other]
            }
    results = found.get("eval")
    if results and results.facts.get("inputs", {}).get("train") == found["train"].digest:
        used["eval"] = results
    return {name: used[name] for name in STAGES if name in used}


def outdated(found: Mapping[str, Manifest], used: Mapping[str, Manifest]) -> list[str]:
    """The stages that a stage of the model read, and that were made anew, or removed, since."""
    return [
        name
        for name in STAGES
        if name not in used and any(name in manifest.facts.get("inputs", {}) for manifest in used.values())
    ]


def _settings(names: Mapping[str, str], values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is set of some settings, in words."""
    return [(said, _setting(values[key])) for key, said in names.items() if values.get(key) is not None]


def _setting(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_setting, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return value if isinstance(value, str) else plain(value)


def _seen(train: Mapping[str, Any]) -> tuple[int, int] | None:
    """Pairs that all steps saw, and the samples that they were drawn from; None where the manifest does not say."""
    config, counts = train.get("config", {}), train.get("counts", {})
    if "steps" not in config or "batch_size" not in config or "samples" not in counts:
        return None
    return config["steps"] * config["batch_size"], counts["samples"]["kept"]


def _files_read(used: Mapping[str, Manifest]) -> dict[str, int]:
    """How many raw files of each kind the crawl read."""
    inputs = used["crawl"].facts.get("inputs", {}) if "crawl" in used else {}
    return dict(sorted(Counter(key.partition(":")[0] for key in inputs if ":" in key).items()))


def _grouped(rows: Rows) -> dict[str, list[Mapping[str, Any]]]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["name"], []).append(row)
    return groups


# ── Markdown ──────────────────────────────────────────────────────────────────────────────────────

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&!])")


def escaped(value: Any) -> Any:
    """A value as Markdown shows it: what has a meaning there is escaped, what cannot be seen is named."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else _SPECIAL.sub(r"\\\1", shown(value))


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=False,  # it is Markdown, which `finalize` escapes
        finalize=escaped,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"count": count, "number": _number, "points": points, "share": share}
    return environment


if __name__ == "__main__":
    command.exit_now(main)
