"""Checkpoints, from which a killed training resumes bit for bit, and the model of a finished one.

A checkpoint is one file that is published atomically: the weights, the optimiser, torch's random state, the metrics of
all steps so far (their number is the step), and the facts that it was made from. Its name ends in its digest, since the
checksums in torch's zip cover the tensors' bytes and not their offsets.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import torch

from core.errors import Failure
from core.files import Hashed, Pending, join, names_in, open_input, publishing, read_bytes, remove, to_json
from core.manifest import Manifest, Part
from trainer.data import SkippedSamples
from trainer.model import CLIP, ModelConfig
from trainer.optim import FULL_PRECISION, Storage, stored
from trainer.precision import LossScale
from trainer.stage import part

_NAME = re.compile(r"checkpoint-\d{8}-([0-9a-f]{16})\.pt")
_VERSION = 3

_BROKEN = (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError)  # of torch.load

_WORDS = {  # for facts that are no keys of [train]
    "seed": "run.seed",
    "inputs.pack": "pack",
    "determined_by.torch": "version of torch",
    "determined_by.batch_norm_of": "number of pictures for batch norm (of train.micro_batch and the ranks)",
}

METRICS = (  # of a step: see trainer.accumulate.StepMetrics
    "loss",
    "learning_rate",
    "scale",
    "gradient_norm",
    "alignment",
    "uniformity_images",
    "uniformity_texts",
    "norm_images",
    "norm_texts",
)


@dataclass
class State:
    """A training between two steps."""

    model: CLIP
    optimiser: torch.optim.Optimizer
    loss_scale: LossScale = field(default_factory=LossScale)
    metrics: list[tuple[float, ...]] = field(default_factory=list)  # one of METRICS a step
    skipped: SkippedSamples = field(default_factory=SkippedSamples)  # samples that could not be trained on
    is_consistent: bool = True  # False while a step changes the weights
    results: list[dict[str, Any]] = field(default_factory=list)  # of evaluations during training, each with its step

    @property
    def step(self) -> int:
        """Steps done."""
        return len(self.metrics)

    @property
    def last(self) -> dict[str, float]:
        """The METRICS of the last step, by name."""
        return dict(zip(METRICS, self.metrics[-1], strict=True))


def save(folder: str, state: State, facts: Mapping[str, Any], machine: str, keep: int) -> None:
    """Write the checkpoint of this step, and remove all but the last `keep`."""
    content = {
        "version": _VERSION,
        "facts": to_json(facts).decode(),
        "machine": machine,
        "model": state.model.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "random": torch.get_rng_state(),
        "loss_scale": asdict(state.loss_scale),
        "metrics": torch.tensor(state.metrics, dtype=torch.float64),
        "lost": {"counts": dict(state.skipped.counts), "first": state.skipped.first},
        "results": json.dumps(state.results),  # keys in their order, in which evaluations.jsonl has them
    }
    pending = Pending(folder)
    try:
        _torch_save(content, pending.file)
        pending.place(f"checkpoint-{state.step:08}-{pending.file.sha256[:16]}.pt")
    except BaseException:
        pending.discard()
        raise
    for name in _names(folder)[:-keep]:
        remove(join(folder, name))


def _torch_save(content: Mapping[str, Any], file: Hashed) -> None:
    """torch.save. After a failed write torch tries to end its zip, and its error about that hides the Failure."""
    try:
        torch.save(content, cast(Any, file))
    except RuntimeError as error:
        if isinstance(error.__context__, Failure):
            raise error.__context__ from None
        raise


def latest(folder: str) -> str | None:
    """The last checkpoint of a folder, None where there is none."""
    names = _names(folder)
    return join(folder, names[-1]) if names else None


def room(folder: str, sizes: ModelConfig, keep: int, storage: Storage = FULL_PRECISION) -> int:
    """Bytes that a training has yet to write: its checkpoints, each of them the weights and two moments of each."""
    model, moments = stored(sizes, storage)
    weights: int = sum(tensor.nbytes for tensor in model.state_dict().values())
    return max(0, keep + 1 - len(_names(folder))) * (weights + moments)


def restore(path: str, state: State, facts: Mapping[str, Any]) -> str:
    """Put a checkpoint into a state; the machine that made it. Failure where it is damaged or of other facts."""
    named = _NAME.fullmatch(path.rsplit("/", 1)[-1])
    remedy = "remove it and run train again, which goes on from the one before"
    content = _load(path, named[1] if named else "a name with a digest", remedy)
    if not isinstance(content, dict) or content.get("version") != _VERSION:
        raise Failure(f"{path} is no checkpoint of this version of openwit: move it away to train anew")
    if changed := _changed(json.loads(content["facts"]), json.loads(to_json(facts))):
        raise Failure(
            f"{path} was made with another {', '.join(map(_key, changed))}: set that back to go on from it, "
            f"or remove {path.rsplit('/', 1)[0]} to train anew"
        )
    state.model.load_state_dict(content["model"])
    state.optimiser.load_state_dict(content["optimiser"])
    torch.set_rng_state(content["random"])
    state.loss_scale = LossScale(**content["loss_scale"])
    state.metrics = [tuple(row) for row in content["metrics"].tolist()]
    state.skipped = SkippedSamples(Counter(content["lost"]["counts"]), content["lost"]["first"])
    state.results = json.loads(content["results"])
    return cast(str, content["machine"])


def _names(folder: str) -> list[str]:
    return [name for name in names_in(folder) if _NAME.fullmatch(name)]


def _load(path: str, sha256: str, remedy: str) -> Any:
    """What torch.save wrote, on the CPU; nothing in it is executed. `sha256` (hex): how the file's digest begins."""
    with open_input(path) as file:
        if not hashlib.file_digest(cast(Any, file), "sha256").hexdigest().startswith(sha256):
            raise Failure(f"{path} is damaged (its digest does not begin with {sha256}): {remedy}")
        file.seek(0)
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except _BROKEN as error:
            reason = str(error).split("\n", 1)[0]
            raise Failure(f"{path} is damaged ({reason}): {remedy}") from error


def _key(fact: str) -> str:
    """What a fact is called in a recipe, or in words where it is none of its keys."""
    table, _, name = fact.partition(".")
    return f"train.{name}" if table in ("config", "inputs") and name != "pack" else _WORDS.get(fact, fact)


def _changed(was: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Where two nested mappings differ: ["config.batch_size", …]."""
    names: list[str] = []
    for key in sorted({*was, *now}):
        old, new = was.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            names += _changed(old, new, f"{prefix}{key}.")
        elif old != new:
            names.append(prefix + key)
    return names


# ── the finished model ────────────────────────────────────────────────────────────────────────────


def write_model(folder: str, model: CLIP, facts: Mapping[str, Any]) -> list[Part]:
    """Write model.pt, the weights by their names in the released models, and model.json, its sizes and some facts.

    The same weights make the same bytes: the zip of torch.save holds no times.
    """
    with publishing(join(folder, "model.pt")) as weights:
        _torch_save({name: weight.cpu() for name, weight in model.state_dict().items()}, weights)
    with publishing(join(folder, "model.json")) as sizes:
        sizes.write(to_json({**facts, "model": asdict(model.config)}))
    return [part("model", "model.pt", 1, weights), part("model_config", "model.json", 1, sizes)]


def load_model(trained: Manifest) -> CLIP:
    """The model of a finished training, on the CPU."""
    (sizes,), (weights,) = trained.of("model_config"), trained.of("model")
    remedy = "remove it and run train again"
    path = join(trained.folder, sizes.name)
    content = read_bytes(path)
    if hashlib.sha256(content).hexdigest() != sizes.sha256:
        raise Failure(f"{path} is not the one that its manifest names, or is damaged: {remedy}")
    model = CLIP(ModelConfig(**json.loads(content)["model"]))
    model.load_state_dict(_load(join(trained.folder, weights.name), weights.sha256, remedy))
    return model.eval()
