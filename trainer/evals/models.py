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
from trainer.images import MEAN, STD
from trainer.model import CLIP, QuickGELU, heads
from trainer.weights import CONFIG, model_of, read_weights, require_quick_gelu

WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")  # of open_clip's folders, the first there is

# What a config of open_clip may say: the sizes, which the weights say as well, and these.
_MODEL = {"embed_dim", "quick_gelu", "custom_text", "vision_cfg", "text_cfg"}
_VISION = {"image_size", "layers", "width", "head_width", "patch_size"}
_TEXT = {"context_length", "vocab_size", "width", "heads", "layers", "tokenizer_kwargs"}
_PREPARED: Mapping[str, tuple[Any, ...]] = {  # keys of preprocess_cfg → values that are ours
    "mean": (list(MEAN),),
    "std": (list(STD),),
    "interpolation": ("bicubic",),
    "resize_mode": ("shortest",),
}
_TOKENIZER = {"clean": "lower"}  # keys of tokenizer_kwargs, beside the merges → what is ours
_HEAD = 64  # the width of a head in all models that are read


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
    require_quick_gelu(path, "name the folder, whose config is followed")
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
    vision, text = _table(model, "vision_cfg", path), _table(model, "text_cfg", path)
    for where, table, known in (
        ("model_cfg", model, _MODEL),
        ("vision_cfg", vision, _VISION),
        ("text_cfg", text, _TEXT),
    ):
        if strange := sorted(key for key in table.keys() - known if table[key] is not None):
            raise Failure(f"{path} has {where}.{strange[0]} = {table[strange[0]]}, which is not computed here")
    _check_heads(path, vision, text)
    prepared = _table(said, "preprocess_cfg", path) if said.get("preprocess_cfg") is not None else {}
    for key, ours in _PREPARED.items():
        value = prepared.get(key, ours[0])
        if value not in ours:
            raise Failure(f"{path} prepares pictures with {key} = {value}, and here it is {ours[0]}")
    tokenizer = _table(text, "tokenizer_kwargs", path) if text.get("tokenizer_kwargs") is not None else {}
    if strange := sorted(key for key in tokenizer.keys() - {"bpe_path"} if tokenizer[key] != _TOKENIZER.get(key)):
        raise Failure(f"{path} has tokenizer_kwargs.{strange[0]} = {tokenizer[strange[0]]}, which is not computed here")
    merges = join(folder, MERGES) if MERGES in names else str(tokenizer.get("bpe_path") or "")
    return _Folder(join(folder, weights), model.get("quick_gelu") is True, merges)


def _check_heads(path: str, vision: Mapping[str, Any], text: Mapping[str, Any]) -> None:
    """Failure where heads are not 64 wide, or one where a tower is narrower: their number is in no shape."""
    wide, layers = vision.get("width"), vision.get("layers")
    if isinstance(wide, int) and "head_width" in vision:
        of_width = wide if isinstance(layers, int) else 32 * wide
        if vision["head_width"] != of_width // heads(of_width):
            raise Failure(f"{path} has heads of {vision['head_width']}, and here they are {_HEAD} wide")
    if isinstance(text.get("width"), int) and text.get("heads") not in (None, heads(text["width"])):
        raise Failure(f"{path} has {text['heads']} heads in its text tower, and here they are {_HEAD} wide")


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
