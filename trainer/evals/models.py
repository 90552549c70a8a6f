"""Models that are evaluated beside the recipe's own, by the paths of their weights (`eval.models`).

A path is a file in any form that `trainer.weights` reads (OpenAI's archives, open_clip's checkpoints, safetensors, our
model.pt), or a folder as open_clip loads it by `local-dir`, of which `openwit export` makes one: its config says which
GELU and which preparation of pictures the model was trained with. A file alone does not: it is taken for one of
OpenAI's kind, with QuickGELU.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from core import recipe as recipes
from core.errors import Failure, UsageError
from core.files import digest, filesystem, join, names_in, open_input
from core.inputs import Source, digest_file, reading
from evaluation.examples import require_no_pointer
from trainer import hardware, stage
from trainer.evals.config import Config
from trainer.evals.encoder import Model, load_encoder
from trainer.export import MERGES
from trainer.model import CLIP, QuickGELU
from trainer.openclip import CONFIG, part, require_computed, require_openais_kind, said_of_activation
from trainer.weights import model_of, read_weights

WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")  # of open_clip's folders, the first there is


@dataclass(frozen=True)
class _Folder:
    """What a folder of open_clip's says beside its weights."""

    weights: str
    is_quick: bool
    merges: str  # empty where it has none of its own


def find(recipe: recipes.Recipe, config: Config) -> list[Model]:
    """The models of `eval.models`, by name. UsageError where a file is missing, Failure where one cannot be a CLIP."""
    return [_model(recipe, config, name, path) for name, path in sorted(config.models.items())]


def _model(recipe: recipes.Recipe, config: Config, name: str, path: str) -> Model:
    key, place = f"eval.models.{name}", recipes.expand(path, recipe.path)
    fs, inner = filesystem(place)
    about = _folder(place) if fs.isdir(inner) else _file(stage.source(recipe, key, path))
    merges = about.merges or _merges(recipe, config)
    for one in (about.weights, merges):
        require_no_pointer(one)
    weights, vocabulary = (Source(one, digest_file(one)) for one in (about.weights, merges))

    def load() -> CLIP:
        for said in said_of_activation(weights.path):
            print(f"eval: {said}", flush=True)
        with reading(weights):
            model = model_of(read_weights(weights.path), weights.path)
        return model if about.is_quick else with_gelu(model)

    return Model(
        name,
        digest(weights.digest, about.is_quick, vocabulary.digest),
        lambda: load_encoder(load, vocabulary, hardware.device()),
    )


def _file(path: str) -> _Folder:
    """Weights by themselves, which have QuickGELU. Failure where a config of open_clip's beside them says otherwise."""
    require_openais_kind(path, "name the folder, whose config is followed")
    return _Folder(path, True, "")


def _merges(recipe: recipes.Recipe, config: Config) -> str:
    """The merges of models that bring none: `eval.merges`, or those that the recipe trains with."""
    if config.merges:
        return stage.source(recipe, "eval.merges", config.merges)
    given = recipe.tables.get("train", {}).get("merges")
    if not isinstance(given, str):
        raise UsageError(f"{recipe.path}: eval.models need the tokenizer's merges: give eval.merges")
    return stage.source(recipe, "train.merges", given)


def with_gelu(model: CLIP) -> CLIP:
    """The model with GELU in the place of QuickGELU, as most of open_clip's were trained."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, QuickGELU):
                setattr(module, name, nn.GELU())
    return model


# ── open_clip's folders ───────────────────────────────────────────────────────────────────────────


def _folder(folder: str) -> _Folder:
    names = names_in(folder)
    weights = next((name for name in WEIGHTS if name in names), None)
    if weights is None or CONFIG not in names:
        raise UsageError(
            f"{folder} is no folder of open_clip's: it takes {CONFIG} and one of {', '.join(WEIGHTS)}; name the file "
            "of weights instead"
        )
    path = join(folder, CONFIG)
    said = _object(path)
    model = _table(said, "model_cfg", path) if "model_cfg" in said else said
    _table(model, "vision_cfg", path)
    text = _table(model, "text_cfg", path)
    require_computed(said, path)
    tokenizer = part(text, "tokenizer_kwargs", path)
    merges = join(folder, MERGES) if MERGES in names else str(tokenizer.get("bpe_path") or "")
    return _Folder(join(folder, weights), model.get("quick_gelu") is True, merges)


def _object(path: str) -> dict[str, Any]:
    with open_input(path) as file:
        raw = file.read()
    try:
        said = json.loads(raw)
    except ValueError as error:
        raise Failure(f"{path} is no JSON ({error}): restore it") from error
    if not isinstance(said, dict):
        raise Failure(f"{path} holds no object: restore it")
    return said


def _table(said: Mapping[str, Any], key: str, path: str) -> dict[str, Any]:
    found = said.get(key)
    if not isinstance(found, dict):
        raise Failure(f"{path} has no {key}: restore it")
    return found
