"""The cost of a step: FLOPs of both towers, bytes of memory traffic, and model FLOPs utilisation (MFU).

A multiply-add is two FLOPs. Convolutions, linear layers and the two matrix products of attention are counted; norms,
activations and the loss are not, as is usual. Causal attention counts as full attention. Sizes: tables 19, 20.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from trainer.model import CLIP, ModelConfig
from trainer.optim import FULL_PRECISION, Storage, stored
from trainer.resnet import EXPANSION, STRIDE

_PEAKS: tuple[tuple[str, float, float], ...] = (  # name in CUDA; dense bfloat16 FLOP/s; bytes/s of its memory
    (r"\bB200\b", 2250e12, 8.0e12),
    (r"\bGH200\b", 989e12, 4.0e12),
    (r"\bH200\b", 989e12, 4.8e12),
    (r"\bH100 PCIe\b", 756e12, 2.0e12),
    (r"\bH100 NVL\b", 835e12, 3.9e12),
    (r"\bH100\b", 989e12, 3.35e12),
    (r"\bA100.*80GB", 312e12, 2.0e12),
    (r"\bA100\b", 312e12, 1.555e12),
    (r"\bL40S\b", 362e12, 0.864e12),
    (r"\bL4\b", 121e12, 0.3e12),
    (r"\bV100\b", 125e12, 0.9e12),  # float16: it has no bfloat16
)


def image_flops(config: ModelConfig, *, whole: bool = False) -> float:
    """FLOPs of the forward pass of one image.

    `whole`: of the released models, which compute all tokens of the last block; ours computes only the one that is
    used.
    """
    if isinstance(config.vision_layers, tuple):
        return 2.0 * (sum(multiply for multiply, _ in _convolutions(config)) + _attention_pool(config))
    assert config.patch is not None  # ModelConfig has seen to it
    patches, width = (config.image_size // config.patch) ** 2, config.vision_width
    blocks = _blocks(config.vision_layers, width, patches + 1, whole)
    return 2.0 * (patches * 3 * config.patch**2 * width + blocks + width * config.embed_dim)


def text_flops(config: ModelConfig, tokens: float, *, whole: bool = False) -> float:
    """FLOPs of the forward pass of one text of so many tokens, its two marks among them."""
    blocks = _blocks(config.text_layers, config.text_width, tokens, whole) if config.text_layers else 0
    return 2.0 * (blocks + config.text_width * config.embed_dim)


def forward_flops(config: ModelConfig, pairs: int, tokens: int) -> float:
    """FLOPs of the forward pass of so many pairs, with so many tokens of texts in all, taken as equally long."""
    return pairs * (image_flops(config) + text_flops(config, tokens / pairs))


def _blocks(layers: int, width: int, tokens: float, whole: bool) -> float:
    """Multiply-adds of a stack of blocks."""
    block = 12 * tokens * width**2 + 2 * tokens**2 * width
    last = 2 * tokens * width**2 + 10 * width**2 + 2 * tokens * width  # keys and values of all, the rest of one
    return layers * block if whole else (layers - 1) * block + last


def _convolutions(config: ModelConfig) -> Iterator[tuple[int, int]]:
    """The multiply-adds and the output elements of each convolution of a residual network."""

    def one(inputs: int, outputs: int, kernel: int, side: int) -> tuple[int, int]:
        return inputs * outputs * kernel**2 * side**2, outputs * side**2

    assert isinstance(config.vision_layers, tuple)
    width, side = config.vision_width, config.image_size // 2
    yield one(3, width // 2, 3, side)
    yield one(width // 2, width // 2, 3, side)
    yield one(width // 2, width, 3, side)
    inputs, side = width, side // 2
    for stage, blocks in enumerate(config.vision_layers):
        inner = width * 2**stage
        for block in range(blocks):
            after = side // 2 if stage and not block else side
            yield one(inputs, inner, 1, side)
            yield one(inner, inner, 3, side)
            yield one(inner, EXPANSION * inner, 1, after)
            if not block:
                yield one(inputs, EXPANSION * inner, 1, after)
            inputs, side = EXPANSION * inner, after


def _attention_pool(config: ModelConfig) -> int:
    width, tokens = 32 * config.vision_width, (config.image_size // STRIDE) ** 2 + 1
    return (2 * tokens + 1) * width**2 + 2 * tokens * width + width * config.embed_dim


@dataclass(frozen=True)
class Cost:
    """Of one step. Bytes are a lower bound of the device's memory traffic."""

    flops: float  # three times the forward pass: two of the three are the backward pass
    activation_bytes: float  # written in the forward pass, read in the backward pass
    weight_bytes: float  # read by the optimiser with gradients and moments, and written

    def seconds(self, device: str) -> tuple[float, float] | None:
        """Lower bounds by arithmetic and by bytes, on a device of that name; None where its peak isn't known."""
        found = device_limits(device)
        return found and (self.flops / found[0], (self.activation_bytes + self.weight_bytes) / found[1])


def step_cost(config: ModelConfig, batch: int, tokens: int) -> Cost:
    """Of a step of `batch` pairs whose texts have so many tokens: products in bfloat16, weights and moments float32."""
    forward = image_flops(config) + text_flops(config, tokens)
    with torch.device("meta"):
        weights = sum(parameter.nbytes for parameter in CLIP(config).parameters())
    kept = _image_activations(config, half=True)
    kept += _block_activations(config.text_layers, config.text_width, tokens, half=True)
    return Cost(3 * batch * forward, 2 * batch * kept, 7 * weights)  # read gradient; read and write weight, two moments


def _image_activations(config: ModelConfig, half: bool) -> float:
    """Bytes of one image that the backward pass reads, in bfloat16 (`half`) or float32."""
    if isinstance(config.vision_layers, tuple):
        # A convolution's output is kept for its norm, and the norm's for what follows.
        return 2 * (2 if half else 4) * sum(numbers for _, numbers in _convolutions(config))
    assert config.patch is not None  # ModelConfig has seen to it
    tokens = (config.image_size // config.patch) ** 2 + 1
    return _block_activations(config.vision_layers, config.vision_width, tokens, half)


def _block_activations(layers: int, width: int, tokens: int, half: bool) -> float:
    """Bytes of `layers` blocks over so many tokens, in bfloat16 (`half`) or float32.

    A token has in each block the two inputs of its norms in float32, and in the precision of products 14 widths: both
    norms' outputs, queries, keys, values, what attention mixed, and the hidden layer (4 widths) twice. Of the last
    block there are the first norm's input and output, keys and values; the rest is of one token.
    """
    product = 2 if half else 4
    return tokens * width * ((layers - 1) * (2 * 4 + 14 * product) + 4 + 3 * product) if layers else 0


def device_limits(device: str) -> tuple[float, float] | None:
    """Dense bfloat16 FLOP/s and memory bytes/s of a device, by its name in CUDA; None for one that is not listed."""
    return next(((flops, memory) for name, flops, memory in _PEAKS if re.search(name, device)), None)


def peak_flops(device: torch.device) -> float | None:
    """Dense bfloat16 FLOP/s of a device by its data sheet; None for a CPU, and for what is not in the table."""
    found = device_limits(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    return found and found[0]


def utilisation(forward_flops: float, seconds: float, peak: float | None) -> float | None:
    """Model FLOPs utilisation (MFU): three times the FLOPs of the forward pass over the device's peak in that time.

    Padding that was trimmed does not count, nor does what is recomputed to save memory.
    """
    return None if peak is None or math.isclose(seconds, 0) else 3 * forward_flops / (seconds * peak)


def cost_table(device: str, batch: int, tokens: int, models: dict[str, ModelConfig], pictures_per_second: float) -> str:
    """What bounds a step of `batch` pairs on a device, in Markdown, a row a model.

    For each resource the least time of the step: arithmetic at the data sheet's bfloat16 peak, the device's memory
    (HBM) at its bandwidth, and the input path, which decodes so many pictures a second. The largest of them bounds.
    """
    lines = [
        "| model | forward GFLOPs, image + text | TFLOPs a step | GB a step | compute s | HBM s | input s | bound by |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, config in models.items():
        cost = step_cost(config, batch, tokens)
        if (seconds := cost.seconds(device)) is None:
            raise ValueError(f"no peak is known of {device}")
        least = {"compute": seconds[0], "HBM": seconds[1], "input": batch / pictures_per_second}
        forward = f"{image_flops(config) / 1e9:.1f} + {text_flops(config, tokens) / 1e9:.1f}"
        moved = (cost.activation_bytes + cost.weight_bytes) / 1e9
        figures = " | ".join(f"{value:.2f}" for value in least.values())
        bound = max(least, key=lambda resource: least[resource])
        lines.append(f"| {name} | {forward} | {cost.flops / 1e12:,.0f} | {moved:,.0f} | {figures} | {bound} |")
    return "\n".join(lines)


def memory_needed(
    config: ModelConfig,
    pairs: int,
    tokens: int,
    *,
    half: bool,
    recompute: bool,
    storage: Storage = FULL_PRECISION,
) -> float:
    """A lower bound of the bytes to train with micro-batches of so many pairs, whose texts have so many tokens each.

    Weights, gradients, two moments, and the activations that the backward pass reads: with `recompute` those of one
    block. Activations are bfloat16 where `half`, moments and weights as `storage` says, all else is float32.
    """
    model, moments = stored(config, storage)
    kept = moments + sum(parameter.nbytes + 4 * parameter.numel() for parameter in model.parameters())  # with gradients
    layers = max(config.text_layers, 1)
    image = _image_activations(config, half)
    text = _block_activations(config.text_layers, config.text_width, tokens, half)
    if recompute:
        blocks = sum(config.vision_layers) if isinstance(config.vision_layers, tuple) else config.vision_layers
        image, text = image / blocks, text / layers
    return kept + pairs * (image + text)
