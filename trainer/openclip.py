"""What open_clip's config says of a model beside its sizes: what is computed otherwise here is refused by its name.

The state dict does not say it, and so it would load and give other features: which GELU, how many heads, which token is
pooled, how pictures were prepared. The config lies beside the weights on the Hub; open_clip's own training leaves the
name of the model in NAME/params.txt, its checkpoints in NAME/checkpoints.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from core.errors import Failure
from core.files import join, open_input
from trainer.archive import is_torchscript
from trainer.images import MEAN, STD
from trainer.model import heads

CONFIG = "open_clip_config.json"
OWN = "model.json"  # beside our own weights
_STEM = "open_clip_"  # begins the names of its weights on the Hub, which the config beside them is of
_CHECKPOINTS, _PARAMETERS = "checkpoints", "params.txt"
_LOCAL = "local-dir:"  # begins the name of a model that is a folder
_QUICK = "-quickgelu"  # ends the name of a model of OpenAI's kind
_MOST = 1 << 20  # bytes of a file of parameters

# What a config may say: the sizes, which the weights say as well, and these.
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


def require_openais_kind(path: str, remedy: str) -> None:
    """Failure where open_clip's config beside its weights says that they are of a model that ours is not.

    To be asked before `model_of`, by whoever does not follow the config, and has no other activation for the model.
    """
    trained = _parameters(path.rpartition("/")[0])
    model = trained.get("model", "")
    if model and ":" not in model and not model.endswith(_QUICK) and trained.get("force_quick_gelu") != "True":
        raise _other_gelu(path, f"{_PARAMETERS} of its training says (model: {model})", remedy)
    beside, said = _config_of(path, model)
    if not said:
        return
    if not _model_in(said, beside).get("quick_gelu") and trained.get("force_quick_gelu") != "True":
        raise _other_gelu(path, f"{beside} says (no quick_gelu)", remedy)
    try:
        require_computed(said, beside)
    except Failure as error:
        raise Failure(f"{error}: {remedy}") from None


def said_of_activation(path: str) -> list[str]:
    """A sentence where nothing says which activation weights were trained with, and so OpenAI's is taken."""
    folder = path.rpartition("/")[0]
    model = _parameters(folder).get("model", "")
    is_named = model and ":" not in model
    if is_named or _config_of(path, model)[1] or _object(join(folder or ".", OWN)):
        return []
    with open_input(path) as file:
        if is_torchscript(file):  # as OpenAI publishes its models
            return []
    return [
        f"{path} does not say which activation it was trained with: QuickGELU is taken, OpenAI's; most of open_clip's "
        f"models have another, which {CONFIG} beside open_clip's file says"
    ]


def _config_of(path: str, model: str) -> tuple[str, dict[str, Any]]:
    """The path and content of open_clip's config for weights; no content where there is none.

    `model`: what its training was told, which may be a folder.
    """
    folder, _, name = path.rpartition("/")
    if model.startswith(_LOCAL):
        folder = model.removeprefix(_LOCAL)
    elif not name.startswith(_STEM):
        return "", {}
    beside = join(folder or ".", CONFIG)
    return beside, _object(beside)


def _object(path: str) -> dict[str, Any]:
    """What a JSON file says; nothing where there is none."""
    try:
        with open_input(path) as file:
            said = json.load(file)
    except (Failure, OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _other_gelu(path: str, who: str, remedy: str) -> Failure:
    return Failure(
        f"{path} was trained with another activation than OpenAI's, as {who}, and would give other features here: "
        f"{remedy}"
    )


def _parameters(folder: str) -> dict[str, str]:
    """What open_clip's training was told whose checkpoints lie in a folder; nothing where it is no such folder."""
    run, _, name = folder.rpartition("/")
    if name != _CHECKPOINTS:
        return {}
    try:
        with open_input(f"{run}/{_PARAMETERS}") as file:
            lines = file.read(_MOST).decode().splitlines()
    except (Failure, OSError, ValueError):
        return {}
    return {key: value for key, colon, value in (line.partition(": ") for line in lines) if colon}


def require_computed(said: Mapping[str, Any], path: str) -> None:
    """Failure where the config in `path` says something, except for the GELU, that is not computed so here."""
    model = _model_in(said, path)
    vision, text = part(model, "vision_cfg", path), part(model, "text_cfg", path)
    for where, table, known in (
        ("model_cfg", model, _MODEL),
        ("vision_cfg", vision, _VISION),
        ("text_cfg", text, _TEXT),
    ):
        if strange := sorted(key for key in table.keys() - known if table[key] is not None):
            raise Failure(f"{path} has {where}.{strange[0]} = {table[strange[0]]}, which is not computed here")
    _check_heads(path, vision, text)
    prepared = part(said, "preprocess_cfg", path)
    for key, ours in _PREPARED.items():
        value = prepared.get(key, ours[0])
        if value not in ours:
            raise Failure(f"{path} prepares pictures with {key} = {value}, and here it is {ours[0]}")
    tokenizer = part(text, "tokenizer_kwargs", path)
    if strange := sorted(key for key in tokenizer.keys() - {"bpe_path"} if tokenizer[key] != _TOKENIZER.get(key)):
        raise Failure(f"{path} has tokenizer_kwargs.{strange[0]} = {tokenizer[strange[0]]}, which is not computed here")


def part(said: Mapping[str, Any], key: str, path: str) -> Mapping[str, Any]:
    """A table of the config in `path`, empty where there is none. Failure where something else stands in its place."""
    found = said.get(key)
    if found is not None and not isinstance(found, dict):
        raise Failure(f"{path} has no {key}: restore it")
    return found or {}


def _model_in(said: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """The model's part of a config, which may be all of it."""
    return part(said, "model_cfg", path) if "model_cfg" in said else said


def _check_heads(path: str, vision: Mapping[str, Any], text: Mapping[str, Any]) -> None:
    """Failure where heads are not 64 wide, or one where a tower is narrower: their number is in no shape."""
    wide, layers = vision.get("width"), vision.get("layers")
    if isinstance(wide, int) and "head_width" in vision:
        of_width = wide if isinstance(layers, int) else 32 * wide
        if vision["head_width"] != of_width // heads(of_width):
            raise Failure(f"{path} has heads of {vision['head_width']}, and here they are {_HEAD} wide")
    if isinstance(text.get("width"), int) and text.get("heads") not in (None, heads(text["width"])):
        raise Failure(f"{path} has {text['heads']} heads in its text tower, and here they are {_HEAD} wide")
