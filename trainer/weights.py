"""Reads weights by path (our own, OpenAI's archives, open_clip's checkpoints, safetensors) and infers their sizes.

    weights = read_weights("ViT-B-32.pt")  # as OpenAI publishes it, a TorchScript archive
    model = model_of(weights, "ViT-B-32.pt")

Nothing in a file is executed. Names become those of OpenAI's models, which are `trainer.model`'s. A state dict does not
say which GELU it was trained with: open_clip's models not called "-quickgelu" load, and give other features here.
`trainer.openclip` tells, by what lies beside them.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, BinaryIO

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional as F

from core.errors import Failure, UsageError
from core.files import open_input
from trainer.archive import printable, read_tensors
from trainer.model import CLIP, ModelConfig
from trainer.resnet import STRIDE
from trainer.sources import no_data

Weights = dict[str, Tensor]

_WRAPPER = "module."  # what DistributedDataParallel puts before each name
# What compiling, sharding and recomputing put before the names of the module that they wrap, which may be any:
_WITHIN = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
_START = 64  # bytes by which a file of something else is told
_TRANSFORMERS = ("text_model.", "vision_model.")  # what its CLIPModel puts before the names of its towers
_TEXT = "text."  # what open_clip puts before the names of the text tower in its CustomTextCLIP
_NOT_WEIGHTS = {"input_resolution", "context_length", "vocab_size", "attn_mask"}  # of OpenAI's modules
_NOT_WEIGHTS |= {"n_averaged"}  # of torch's AveragedModel
_UPDATES = "num_batches_tracked"  # of a batch norm; unused where the momentum is fixed
MAX_LAYERS = 1_000  # in one tower; more are refused before a model is built
_WIDE_HEADS = {1280: 80, 1408: 88, 1664: 104, 1792: 112}  # by width: of open_clip's ViT-H, -g, -bigG and -e
_IMAGE_POSITIONS = ("visual.positional_embedding", "visual.attnpool.positional_embedding")


def read_weights(path: str, dtype: torch.dtype = torch.float32) -> Weights:
    """The state dict of a file, by OpenAI's names, on the CPU; numbers with a fraction as `dtype`.

    Reads zips of torch.save with a state dict, or with one under "state_dict" (open_clip), TorchScript archives
    (OpenAI), and safetensors; the format is told by the content. Failure where it is none of them, or damaged.
    """
    with open_input(path) as file:
        start = file.read(9)
        file.seek(0)
        if start.startswith(b"PK"):
            tensors = read_tensors(file, path, _state_dict)
        elif start[8:] == b"{":
            tensors = _read_safetensors(file, path)
        elif said := no_data(file.read(_START)):
            raise Failure(f"{path} holds no weights, but {said}")
        else:
            remedy = "torch.save of any version since 1.6 writes such a zip"
            raise Failure(f"{path} is neither a zip of torch's nor safetensors: save the weights anew ({remedy})")
    kept = {name: tensor for name, tensor in tensors.items() if name.rpartition(".")[2] not in _NOT_WEIGHTS}
    weights = {
        _openai_name(name): tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in kept.items()
    }
    if len(weights) < len(kept):
        twice = Counter(map(_openai_name, kept)).most_common(1)[0][0]
        raise Failure(f"{path} holds {printable(twice)} twice, under names that differ only in their prefix")
    for name in [name for name in weights if name.endswith("running_mean")]:  # not every torch has counted updates
        weights.setdefault(name.removesuffix("running_mean") + _UPDATES, torch.tensor(0))
    return weights


def _state_dict(content: Mapping[str, Any]) -> Any:
    return content.get("state_dict", content)


def _read_safetensors(file: BinaryIO, path: str) -> Weights:
    try:
        return safetensors.torch.load(file.read())
    except (SafetensorError, ValueError, KeyError) as error:
        raise Failure(f"{path} is no safetensors file, or is damaged ({error}): fetch or write it anew") from error


def _openai_name(name: str) -> str:
    for wrapper in _WITHIN:
        name = name.replace(wrapper, "")
    while name.startswith(_WRAPPER):
        name = name.removeprefix(_WRAPPER)
    return name.removeprefix(_TEXT)


def custom_text(weights: Mapping[str, Tensor]) -> Weights:
    """The same weights by the names of open_clip's CustomTextCLIP; its plain CLIP has OpenAI's."""
    return {
        name if name.startswith("visual.") or name == "logit_scale" else _TEXT + name: tensor
        for name, tensor in weights.items()
    }


def config_of(weights: Mapping[str, Tensor], path: str) -> ModelConfig:
    """The sizes of the model with these weights, inferred from their shapes; heads are 64 wide, as in all of CLIP.

    open_clip's larger transformers have wider heads, and are refused by their width.

    A bag of words does not determine its context, which is taken as 77 tokens. Failure, with the first name that is
    missing, unexpected or of another shape, where they are no CLIP; `path` names the file in it.
    """
    if any(name.startswith(_TRANSFORMERS) for name in weights):
        raise Failure(
            f"{path} has the names of Hugging Face's transformers, which are not read: take the same model as OpenAI "
            "or open_clip publish it"
        )
    try:
        config = _sizes(weights)
        with torch.device("meta"):
            expected = {name: tuple(tensor.shape) for name, tensor in CLIP(config).state_dict().items()}
    except (KeyError, ValueError, UsageError, RuntimeError) as error:
        reason = _missing(weights, error.args[0]) if isinstance(error, KeyError) else str(error).split("\n", 1)[0]
        raise Failure(f"{path} does not hold the weights of a CLIP ({reason})") from error
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name in sorted({*expected, *shapes}):
        here, wanted = shapes.get(name, "not there"), expected.get(name, "nothing")
        if here != wanted:
            misfit = f"{printable(name)} is {here}, where its sizes ask for {wanted}"
            raise Failure(f"{path} does not hold the weights of a CLIP: {misfit}")
    return config


def _missing(weights: Mapping[str, Tensor], name: str) -> str:
    like = next((other for other in weights if other.endswith(f".{name}")), None) or next(iter(weights), None)
    others = f", but {printable(like)}: save the state dict of the model alone, by its own names" if like else ""
    return f"there is no {printable(name)}{others}"


def _sizes(weights: Mapping[str, Tensor]) -> ModelConfig:
    stem, tokens, projection = (
        _shape(weights, name, axes)
        for name, axes in (("visual.conv1.weight", 4), ("token_embedding.weight", 2), ("text_projection", 2))
    )
    sizes = {"vocab": tokens[0], "text_width": tokens[1], "embed_dim": projection[1]}
    sizes["text_layers"] = _count(weights, r"transformer\.resblocks\.(\d+)\.")
    if sizes["text_layers"]:
        sizes["context"] = _shape(weights, "positional_embedding", 2)[0]
    if "visual.proj" in weights:
        if stem[0] in _WIDE_HEADS:  # in a state dict nothing tells; with other heads the features would be wrong
            raise ValueError(
                f"its image tower is {stem[0]} wide, and has heads of {_WIDE_HEADS[stem[0]]} instead of 64"
            )
        patch, side = stem[3], _side(weights[_IMAGE_POSITIONS[0]])
        layers = _count(weights, r"visual\.transformer\.resblocks\.(\d+)\.")
        return ModelConfig(image_size=side * patch, patch=patch, vision_width=stem[0], vision_layers=layers, **sizes)
    first, second, third, fourth = (_count(weights, rf"visual\.layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4))
    return ModelConfig(
        image_size=_side(weights[_IMAGE_POSITIONS[1]]) * STRIDE,
        vision_width=2 * stem[0],
        vision_layers=(first, second, third, fourth),
        **sizes,
    )


def _shape(weights: Mapping[str, Tensor], name: str, axes: int) -> tuple[int, ...]:
    shape = tuple(weights[name].shape)
    if len(shape) != axes:
        raise ValueError(f"{name} has {len(shape)} axes instead of {axes}")
    return shape


def _count(weights: Mapping[str, Tensor], pattern: str) -> int:
    """Layers whose names begin with the pattern."""
    layers = len({found[1] for name in weights if (found := re.match(pattern, name))})
    if layers > MAX_LAYERS:
        raise ValueError(f"it has {layers:,} layers")
    return layers


def _side(positions: Tensor) -> int:
    """Cells a side of the grid [1 + side^2, w]."""
    side = math.isqrt(max(0, len(positions) - 1)) if positions.dim() == 2 else 0
    if side < 1 or side**2 + 1 != len(positions):
        raise ValueError(f"positions of the shape {tuple(positions.shape)} are no square")
    return side


def model_of(weights: Mapping[str, Tensor], path: str) -> CLIP:
    """A model that has these tensors as its weights (not copies of them), in their dtype, set to evaluate."""
    config = config_of(weights, path)
    with torch.device("meta"):
        model = CLIP(config)
    model.load_state_dict(weights, assign=True)
    return model.eval()


def interpolate_positions(positions: Tensor, side: int) -> Tensor:
    """Positions [1 + old^2, w] of a class token (or of a mean) and a grid as [1 + side^2, w], for images of other size.

    The grid is resampled bicubically, with antialiasing where it shrinks; the first row stays. Paper, section 2.5: the
    ViT-L/14 was trained for one more epoch at 336 pixels, which makes its grid of 16 cells a side one of 24.
    """
    old = _side(positions)
    grid = positions[1:].T.reshape(1, -1, old, old).float()
    grid = F.interpolate(grid, size=(side, side), mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([positions[:1], grid.flatten(2)[0].T.to(positions.dtype)])


def at_image_size(weights: Mapping[str, Tensor], image_size: int, path: str) -> Weights:
    """The same weights for images of `image_size` pixels a side: all but the image tower's positions are the same."""
    config = config_of(weights, path)
    cell = STRIDE if config.patch is None else config.patch
    if image_size % cell:
        raise UsageError(f"images of {image_size} pixels do not divide by the {cell} of {path}: choose a multiple")
    (name,) = (name for name in _IMAGE_POSITIONS if name in weights)
    return {**weights, name: interpolate_positions(weights[name], image_size // cell)}
