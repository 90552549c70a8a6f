"""CLIP: an image tower and a text tower that project into one space (paper, section 2.4).

Images are read by a vision transformer or by the residual network of `trainer.resnet`, texts by a causal transformer or
by a bag of words. The parameters carry the names of the released models, so that a state dict of either side loads into
the other (`trainer.weights` reads their files).
Shapes in comments: n images or texts, l tokens of each, t of all, w the width of a tower, h heads, e the shared
embedding.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import UsageError
from trainer.recompute import recomputed
from trainer.resnet import STRIDE, ModifiedResNet

INITIAL_TEMPERATURE = 0.07  # tau; the logits start out multiplied by 1 / 0.07 (section 2.5)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The sizes of both towers (paper, tables 19 and 20). Raises UsageError for sizes that do not fit together.

    Four numbers of `vision_layers` make a residual network of so many blocks in each stage, one a transformer. Without
    `text_layers` the text is a bag of words, as in figure 2.
    """

    embed_dim: int
    image_size: int  # pixels a side
    patch: int | None = None  # pixels a side; a residual network has none
    vision_width: int  # of a residual network the channels of its first stage: 1/32 of what table 19 calls its width
    vision_layers: int | tuple[int, int, int, int]
    text_width: int
    text_layers: int
    context: int = 77  # tokens a text, start and end included
    vocab: int = 49_408

    def __post_init__(self) -> None:
        if isinstance(self.vision_layers, list):  # as JSON writes a tuple
            object.__setattr__(self, "vision_layers", tuple(self.vision_layers))
        for name, value in vars(self).items():
            smallest = 0 if name == "text_layers" else 1
            if value is not None and min(value if isinstance(value, tuple) else (value,)) < smallest:
                raise UsageError(f"model: {name} = {value} must be at least {smallest}")
        if isinstance(self.vision_layers, tuple):
            self._check_residual(self.vision_layers)
        elif self.patch is None:
            raise UsageError("model: patch is missing: a vision transformer needs the size of its patches")
        elif self.image_size % self.patch:
            raise UsageError(f"model: image_size = {self.image_size} is not a multiple of patch = {self.patch}")
        elif self.vision_width % self.vision_heads:
            raise _uneven("vision_width", self.vision_width)
        if self.text_layers and self.text_width % self.text_heads:
            raise _uneven("text_width", self.text_width)

    def _check_residual(self, layers: tuple[int, ...]) -> None:
        if len(layers) != 4:
            raise UsageError(f"model: vision_layers = {list(layers)} must be one number, or four of a residual network")
        if self.patch is not None:
            raise UsageError(f"model: patch = {self.patch} says nothing to a residual network: leave it out")
        if self.image_size % STRIDE:
            raise UsageError(f"model: image_size = {self.image_size} is not a multiple of {STRIDE}")
        if self.vision_width % 2:
            raise UsageError(f"model: vision_width = {self.vision_width} must be even: the stem begins with half of it")

    @property
    def vision_heads(self) -> int:
        """Heads of each block, or of the attention that ends a residual network."""
        return heads(self.vision_width if isinstance(self.vision_layers, int) else 32 * self.vision_width)

    @property
    def text_heads(self) -> int:
        """Heads of each block of the text tower."""
        return heads(self.text_width)


def heads(width: int) -> int:
    """Heads of attention in a tower of a width: each is 64 wide."""
    return max(1, width // 64)


def _uneven(name: str, width: int) -> UsageError:
    return UsageError(f"model: {name} = {width} does not divide by its {heads(width)} heads of 64")


_BASE = {"embed_dim": 512, "vision_width": 768, "vision_layers": 12, "text_width": 512, "text_layers": 12}
_LARGE = {"embed_dim": 768, "vision_width": 1024, "vision_layers": 24, "text_width": 768, "text_layers": 12}
_TINY = {"embed_dim": 128, "image_size": 64, "text_width": 128, "text_layers": 3}  # trains on a CPU in minutes


def _resnet(embed: int, pixels: int, layers: tuple[int, int, int, int], width: int, text: int) -> ModelConfig:
    sizes = {"embed_dim": embed, "image_size": pixels, "vision_width": width, "text_width": text}
    return ModelConfig(vision_layers=layers, text_layers=12, **sizes)


MODELS: dict[str, ModelConfig] = {
    "RN50": _resnet(1024, 224, (3, 4, 6, 3), 64, 512),
    "RN101": _resnet(512, 224, (3, 4, 23, 3), 64, 512),
    "RN50x4": _resnet(640, 288, (4, 6, 10, 6), 80, 640),
    "RN50x16": _resnet(768, 384, (6, 8, 18, 8), 96, 768),
    "RN50x64": _resnet(1024, 448, (3, 15, 36, 10), 128, 1024),
    "ViT-B/32": ModelConfig(image_size=224, patch=32, **_BASE),
    "ViT-B/16": ModelConfig(image_size=224, patch=16, **_BASE),
    "ViT-L/14": ModelConfig(image_size=224, patch=14, **_LARGE),
    "ViT-L/14@336": ModelConfig(image_size=336, patch=14, **_LARGE),
    "RN50-CBOW": replace(_resnet(1024, 224, (3, 4, 6, 3), 64, 512), text_layers=0),  # of figure 2's comparison
    "tiny": ModelConfig(patch=8, vision_width=128, vision_layers=4, **_TINY),
    "tiny-RN": ModelConfig(vision_width=16, vision_layers=(1, 1, 1, 1), **_TINY),
}


class LayerNorm(nn.LayerNorm):
    """Computed in float32 or wider and returned in the input's dtype, so that gains keep their precision."""

    def forward(self, x: Tensor) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)
        weight, bias = self.weight.to(wide), self.bias.to(wide)
        return F.layer_norm(x.to(wide), self.normalized_shape, weight, bias, self.eps).to(x.dtype)


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the approximation of GELU that the released models were trained with.

    Written with SiLU, x * sigmoid(x), which keeps one tensor for the backward pass where the product keeps two.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(1.702 * x) / 1.702


class Linear(nn.Linear):
    """A linear layer whose weight may be stored in fewer bits than its input has (see `trainer.optim`)."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """F.linear in autocast's type where that is on, else in the type of `x`, whatever `weight` is stored in."""
    if weight.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type):
        weight = weight.to(x.dtype)
    return F.linear(x, weight, bias)


class Packing(NamedTuple):
    """Where the tokens of texts of different lengths are, once they lie one after the other without padding: [t, w].

    All layers but attention work on single tokens. On packed ones they compute no padding, and need no sorting.
    """

    places: Tensor  # of each token in the padded texts, row by row: int64 [t]
    starts: Tensor  # of each text among the packed tokens: int64 [n]
    length: int  # tokens of the longest: l

    def pad(self, x: Tensor) -> Tensor:
        """[t, c] -> [n, l, c], with zeros behind the end of a text."""
        padded = x.new_zeros(len(self.starts) * self.length, x.shape[1]).index_copy(0, self.places, x)
        return padded.view(len(self.starts), self.length, -1)

    def pack(self, x: Tensor) -> Tensor:
        """[n, l, c] -> [t, c]."""
        return x.flatten(0, 1).index_select(0, self.places)


def packing_of(ends: Tensor) -> Packing:
    """Of texts that end at these positions, int64 [n]."""
    length = int(ends.max()) + 1
    is_text = torch.arange(length, device=ends.device) <= ends[:, None]
    return Packing(is_text.flatten().nonzero()[:, 0], (ends + 1).cumsum(dim=0) - (ends + 1), length)


def gathered_tokens(x: Tensor, positions: Tensor, packing: Packing | None) -> Tensor:
    """The token of each row at its position (int64 [n]): [n, 1, w] of [n, l, w], or of packed ones."""
    if packing is not None:
        return x[packing.starts + positions][:, None]
    return x[torch.arange(len(x), device=x.device), positions][:, None]


class Attention(nn.Module):
    """Multi-head self-attention, [n, l, w] -> [n, l, w] or of packed tokens; causal: a token sees none behind it."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))  # query, key and value, stacked
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, pool_at: Tensor | None = None, packing: Packing | None = None) -> Tensor:
        """`pool_at`, int64 [n]: the position of the only token of each row whose output is wanted, [n, 1, w] then."""
        if pool_at is not None:
            return self._single_query(x, pool_at, packing)
        qkv = self._by_rows(linear(x, self.in_proj_weight, self.in_proj_bias), packing)  # [n, l, 3 w]
        n, length, _ = qkv.shape
        query, key, value = qkv.view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # each [n, h, l, w/h]
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        mixed = mixed.transpose(1, 2).reshape(n, length, -1)
        out: Tensor = self.out_proj(mixed if packing is None else packing.pack(mixed))
        return out

    def _single_query(self, x: Tensor, pool_at: Tensor, packing: Packing | None) -> Tensor:
        width = x.shape[-1]
        query = linear(gathered_tokens(x, pool_at, packing), self.in_proj_weight[:width], self.in_proj_bias[:width])
        pairs = self._by_rows(linear(x, self.in_proj_weight[width:], self.in_proj_bias[width:]), packing)  # [n, l, 2 w]
        n, length, _ = pairs.shape
        key, value = pairs.view(n, length, 2, self.heads, -1).permute(2, 0, 3, 1, 4)  # each [n, h, l, w/h]
        seen = torch.arange(length, device=x.device) <= pool_at[:, None] if self.causal else None  # [n, l]
        mixed = F.scaled_dot_product_attention(
            query.view(n, 1, self.heads, -1).transpose(1, 2),  # [n, h, 1, w/h]
            key,
            value,
            attn_mask=None if seen is None else seen[:, None, None],
        )
        out: Tensor = self.out_proj(mixed.reshape(n, 1, width))
        return out

    @staticmethod
    def _by_rows(x: Tensor, packing: Packing | None) -> Tensor:
        return x if packing is None else packing.pad(x)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)): the pre-norm residual block of GPT-2 and ViT."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.attn = Attention(width, heads, causal)
        self.ln_1 = LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(c_fc=Linear(width, 4 * width), gelu=QuickGELU(), c_proj=Linear(4 * width, width))
        )
        self.ln_2 = LayerNorm(width)

    def forward(self, x: Tensor, pool_at: Tensor | None = None, packing: Packing | None = None) -> Tensor:
        """`pool_at` as of `Attention`: the output is [n, 1, w] then."""
        mixed = self.attn(self.ln_1(x), pool_at, packing)
        x = (x if pool_at is None else gathered_tokens(x, pool_at, packing)) + mixed
        x = x + self.mlp(self.ln_2(x))
        return x


class Transformer(nn.Module):
    """A stack of blocks and the pooling of one token of each row, [n, l, w] or packed [t, w] -> [n, w].

    `recompute`: a block keeps its input alone for the backward pass, which computes the rest again
    (`recompute_activations` sets it). The gradients are the same.
    """

    def __init__(self, width: int, layers: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.recompute = False
        self.resblocks = nn.Sequential(*(Block(width, heads, causal) for _ in range(layers)))

    def forward(self, x: Tensor, pool_at: Tensor, packing: Packing | None = None) -> Tensor:
        """`pool_at`, int64 [n]: the position of the token of each row that is pooled.

        The last block computes keys and values of all tokens and everything else of that one: a tenth of a tower less.
        """
        *blocks, last = self.resblocks
        for block in blocks:
            x = recomputed(block, self.recompute, x, None, packing)
        return recomputed(last, self.recompute, x, pool_at, packing)[:, 0]


class VisionTransformer(nn.Module):
    """The image tower, [n, 3, size, size] -> [n, e]: ViT with one more layer norm before the blocks (section 2.4)."""

    def __init__(self, layers: int, width: int, heads: int, image_size: int, patch: int, embed_dim: int) -> None:
        super().__init__()
        tokens, scale = (image_size // patch) ** 2 + 1, width**-0.5
        self.conv1 = nn.Conv2d(3, width, kernel_size=patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(scale * torch.randn(tokens, width))
        self.ln_pre = LayerNorm(width)
        self.transformer = Transformer(width, layers, heads, causal=False)
        self.ln_post = LayerNorm(width)
        self.proj = nn.Parameter(scale * torch.randn(width, embed_dim))

    def forward(self, images: Tensor) -> Tensor:
        patches: Tensor = self.conv1(images).flatten(2).transpose(1, 2)  # [n, (size/patch)^2, w], row by row
        first = self.class_embedding.expand(len(images), 1, -1)
        # Under autocast the patches are half precision; the sum takes the parameters' type, and so do the residuals.
        x = torch.cat([first, patches], dim=1) + self.positional_embedding
        class_token = torch.zeros(len(images), dtype=torch.int64, device=x.device)
        pooled: Tensor = self.ln_post(self.transformer(self.ln_pre(x), class_token))
        return pooled @ self.proj


class CLIP(nn.Module):
    """Both towers and the temperature. Its initial values come from torch's global generator: seed it before."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        width = config.text_width
        self.visual = _image_tower(config)
        self.token_embedding = nn.Embedding(config.vocab, width)
        if config.text_layers:
            self.positional_embedding = nn.Parameter(torch.empty(config.context, width))
            self.transformer = Transformer(width, config.text_layers, config.text_heads, causal=True)
            self.ln_final = LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, config.embed_dim))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / INITIAL_TEMPERATURE)))
        self._initialise_text_tower()

    def _initialise_text_tower(self) -> None:
        """GPT-2's way: what writes into the residual stream starts smaller the deeper the stack (2 writes a block)."""
        width, layers = self.config.text_width, self.config.text_layers
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        if layers:
            nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_projection, std=width**-0.5)
        if not layers:
            return
        for name, weight in self.transformer.named_parameters():
            if name.endswith("attn.in_proj_weight"):
                nn.init.normal_(weight, std=width**-0.5)
            elif name.endswith(("attn.out_proj.weight", "mlp.c_proj.weight")):
                nn.init.normal_(weight, std=(2 * layers * width) ** -0.5)
            elif name.endswith("mlp.c_fc.weight"):
                nn.init.normal_(weight, std=(2 * width) ** -0.5)

    def encode_image(self, images: Tensor) -> Tensor:
        """Features [n, e], not normalised, of images [n, 3, size, size] as `trainer.images.normalise` makes them."""
        features: Tensor = self.visual(images)
        return features

    def encode_text(self, ids: Tensor) -> Tensor:
        """Features [n, e], not normalised, of int64 token ids [n, l], l <= context.

        The feature is the top layer's at the end-of-text token, which has the highest id of all (section 2.4); of a bag
        of words it is the mean of the tokens' embeddings, both marks among them.
        """
        ends = ids.argmax(dim=1)
        packing = packing_of(ends)  # attention is causal, so what is behind the end changes nothing
        ids = packing.pack(ids[:, : packing.length, None])[:, 0]
        # In the residuals' type before it is looked up, so that the gradients of a token's many places add up in it.
        x = F.embedding(ids, self.token_embedding.weight.to(self.logit_scale.dtype))  # [t, w]
        if self.config.text_layers:
            x = x + F.embedding(packing.places % packing.length, self.positional_embedding)
            pooled = self.ln_final(self.transformer(x, ends, packing))
        else:
            pooled = packing.pad(x).sum(dim=1) / (ends[:, None] + 1)
        return linear(pooled, self.text_projection.T, None)

    def forward(self, images: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Unit image features [n, e], unit text features [n, e] (both float32 at least), and exp(logit_scale) []."""
        return unit(self.encode_image(images)), unit(self.encode_text(ids)), self.logit_scale.exp()


def _image_tower(config: ModelConfig) -> VisionTransformer | ModifiedResNet:
    width, heads, pixels, embed = config.vision_width, config.vision_heads, config.image_size, config.embed_dim
    if isinstance(config.vision_layers, tuple):
        return ModifiedResNet(config.vision_layers, width, heads, pixels, embed)
    assert config.patch is not None  # ModelConfig has seen to it
    return VisionTransformer(config.vision_layers, width, heads, pixels, config.patch, embed)


def unit(features: Tensor) -> Tensor:
    """Features [n, e] scaled to length one, in float32 at least; a feature of zeros stays zeros."""
    return F.normalize(features.to(torch.promote_types(features.dtype, torch.float32)), dim=-1)


def recompute_activations(model: CLIP) -> None:
    """From now on both towers keep the input of each block for the backward pass, and compute the rest again in it.

    A third more arithmetic for a fraction of the memory. Gradients and running statistics are those of a model that
    keeps everything, bit for bit on a CPU.
    """
    for module in model.modules():
        if isinstance(module, Transformer | ModifiedResNet):
            module.recompute = True


def compile_towers(model: CLIP) -> None:
    """Have torch.compile make kernels of both towers, in place: names of parameters and state dict stay as they are.

    The first step takes a minute. Fused kernels round in other places than those of eager mode: a run that began
    without goes on with other last bits, so whether it is on belongs to the facts of a run. With it, the same build of
    torch and of the compiler on the same kind of device gives the same bits. Raises UsageError for a residual network:
    what normalises it changes within a step (see `trainer.batchnorm`).
    """
    if isinstance(model.visual, ModifiedResNet):
        raise UsageError("a residual network cannot be compiled: leave train.compile out")
    model.visual.compile()
    if model.config.text_layers:
        model.transformer.compile(dynamic=True)  # captions of any length, without compiling for each
