"""CLIP: a vision transformer and a causal text transformer that project into one space (paper, section 2.4).

The parameters carry the names of the released models, so that a state dict of either side loads into the other.
Shapes in comments: n images or texts, l tokens, w the width of a tower, h heads, e the shared embedding.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import UsageError

INITIAL_TEMPERATURE = 0.07  # tau; the logits start out multiplied by 1 / 0.07 (section 2.5)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The sizes of both towers (paper, tables 19 and 20). Raises UsageError for sizes that do not fit together."""

    embed_dim: int
    image_size: int  # pixels a side
    patch: int  # pixels a side
    vision_width: int
    vision_layers: int
    text_width: int
    text_layers: int
    context: int = 77  # tokens a text, start and end included
    vocab: int = 49_408

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise UsageError(f"model: {name} = {value} must be at least 1")
        if self.image_size % self.patch:
            raise UsageError(f"model: image_size = {self.image_size} is not a multiple of patch = {self.patch}")
        for name, width in (("vision_width", self.vision_width), ("text_width", self.text_width)):
            if width % _heads(width):
                raise UsageError(f"model: {name} = {width} does not divide by its {_heads(width)} heads of 64")

    @property
    def vision_heads(self) -> int:
        return _heads(self.vision_width)

    @property
    def text_heads(self) -> int:
        return _heads(self.text_width)


def _heads(width: int) -> int:
    return max(1, width // 64)


_BASE = {"embed_dim": 512, "vision_width": 768, "vision_layers": 12, "text_width": 512, "text_layers": 12}
_LARGE = {"embed_dim": 768, "vision_width": 1024, "vision_layers": 24, "text_width": 768, "text_layers": 12}
_TINY = {"embed_dim": 128, "vision_width": 128, "vision_layers": 4, "text_width": 128, "text_layers": 3}

MODELS: dict[str, ModelConfig] = {
    "ViT-B/32": ModelConfig(image_size=224, patch=32, **_BASE),
    "ViT-B/16": ModelConfig(image_size=224, patch=16, **_BASE),
    "ViT-L/14": ModelConfig(image_size=224, patch=14, **_LARGE),
    "ViT-L/14@336": ModelConfig(image_size=336, patch=14, **_LARGE),
    "tiny": ModelConfig(image_size=64, patch=8, **_TINY),  # trains on a CPU in minutes
}


class LayerNorm(nn.LayerNorm):
    """Computed in float32 at least, returned in the input's type: gains stay exact beside half-precision rows."""

    def forward(self, x: Tensor) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)
        weight, bias = self.weight.to(wide), self.bias.to(wide)
        return F.layer_norm(x.to(wide), self.normalized_shape, weight, bias, self.eps).to(x.dtype)


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the approximation of GELU that the released models were trained with."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Attention(nn.Module):
    """Multi-head self-attention, [n, l, w] -> [n, l, w]; causal: a token sees itself and what stands before it."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))  # query, key and value, stacked
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        n, length, width = x.shape
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)  # [n, l, 3 w]
        query, key, value = qkv.view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # each [n, h, l, w/h]
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).reshape(n, length, width))
        return out


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)): the pre-norm residual block of GPT-2 and ViT."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.attn = Attention(width, heads, causal)
        self.ln_1 = LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(c_fc=nn.Linear(width, 4 * width), gelu=QuickGELU(), c_proj=nn.Linear(4 * width, width))
        )
        self.ln_2 = LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        x = x + self.mlp(self.ln_2(x))
        return x


class Transformer(nn.Module):
    """A stack of blocks, [n, l, w] -> [n, l, w]."""

    def __init__(self, width: int, layers: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(*(Block(width, heads, causal) for _ in range(layers)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.resblocks(x)
        return out


class VisionTransformer(nn.Module):
    """The image tower, [n, 3, size, size] -> [n, e]: ViT with one more layer norm before the blocks (section 2.4)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, tokens = config.vision_width, (config.image_size // config.patch) ** 2 + 1
        scale = width**-0.5
        self.conv1 = nn.Conv2d(3, width, kernel_size=config.patch, stride=config.patch, bias=False)
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(scale * torch.randn(tokens, width))
        self.ln_pre = LayerNorm(width)
        self.transformer = Transformer(width, config.vision_layers, config.vision_heads, causal=False)
        self.ln_post = LayerNorm(width)
        self.proj = nn.Parameter(scale * torch.randn(width, config.embed_dim))

    def forward(self, images: Tensor) -> Tensor:
        patches: Tensor = self.conv1(images).flatten(2).transpose(1, 2)  # [n, (size/patch)^2, w], row by row
        first = self.class_embedding.expand(len(images), 1, -1)
        # Under autocast the patches are half precision; the sum takes the parameters' type, and so do the residuals.
        x = torch.cat([first, patches], dim=1) + self.positional_embedding
        x = self.transformer(self.ln_pre(x))
        pooled: Tensor = self.ln_post(x[:, 0])
        return pooled @ self.proj


class CLIP(nn.Module):
    """Both towers and the temperature. Its initial values come from torch's global generator: seed it before."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        width = config.text_width
        self.visual = VisionTransformer(config)
        self.token_embedding = nn.Embedding(config.vocab, width)
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
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_projection, std=width**-0.5)
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
        """Features [n, e], not normalised, of int64 token ids [n, l], l <= context (see `trainer.tokenizer.trim`).

        The feature is the top layer's at the end-of-text token, which has the highest id of all (section 2.4).
        """
        x: Tensor = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        x = self.ln_final(self.transformer(x))
        pooled = x[torch.arange(len(ids), device=ids.device), ids.argmax(dim=1)]
        return pooled @ self.text_projection

    def forward(self, images: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Unit image features [n, e], unit text features [n, e] (both float32 at least), and exp(logit_scale) []."""
        return unit(self.encode_image(images)), unit(self.encode_text(ids)), self.logit_scale.exp()


def unit(features: Tensor) -> Tensor:
    """Features [n, e] scaled to length one, in float32 at least; a feature of zeros stays zeros."""
    return F.normalize(features.to(torch.promote_types(features.dtype, torch.float32)), dim=-1)
