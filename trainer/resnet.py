"""The residual image tower: ResNet-D with anti-aliased strides, and attention in place of the last average pool.

Paper, section 2.4: "ResNet-D improvements", "antialiased rect-2 blur pooling" (a box of two by two pixels, which is an
average pool), and "a single layer of transformer-style multi-head QKV attention where the query is conditioned on the
global average-pooled representation". Sizes: table 19. The parameters carry the names of the released models.
Shapes in comments: n images, w the width of the first stage, c = 32 w channels of the last, e the shared embedding.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.batchnorm import BatchNorm
from trainer.recompute import recomputed

EXPANSION = 4  # a block's output has this many times the channels of the convolution within it
STRIDE = 32  # pixels of the image a side of the last stage's cell: 2 and 2 in the stem, 2 in each stage but the first


class Bottleneck(nn.Module):
    """x + conv1x1(conv3x3(conv1x1(x))), [n, inputs, h, w] -> [n, 4 width, h/stride, w/stride].

    All convolutions have stride one: an average pool downsamples, before the last of them and in the shortcut.
    """

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = EXPANSION * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = BatchNorm(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = BatchNorm(width)
        self.avgpool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = BatchNorm(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            layers = {"-1": nn.AvgPool2d(stride), "0": nn.Conv2d(inputs, outputs, 1, bias=False)}
            self.downsample = nn.Sequential(
                OrderedDict({**layers, "1": BatchNorm(outputs, shares_pass_with_next=True)})
            )
        nn.init.zeros_(self.bn3.weight)  # a new block is the identity

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.downsample(x)  # first, so that its norm and bn1 find their statistics in one pass
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(self.avgpool(out)))
        return F.relu(out + shortcut, inplace=True)


class AttentionPool(nn.Module):
    """One layer of attention whose only query is the mean of all cells, [n, c, side, side] -> [n, e].

    The mean is a key and a value, too. `c_proj` is the projection into the shared space: there is no other behind it.
    """

    def __init__(self, side: int, channels: int, heads: int, embed_dim: int) -> None:
        super().__init__()
        scale = channels**-0.5
        self.heads = heads
        self.positional_embedding = nn.Parameter(scale * torch.randn(side**2 + 1, channels))
        self.k_proj = nn.Linear(channels, channels)
        self.q_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.c_proj = nn.Linear(channels, embed_dim)
        for projection in (self.q_proj, self.k_proj, self.v_proj, self.c_proj):
            nn.init.normal_(projection.weight, std=scale)

    def forward(self, x: Tensor) -> Tensor:
        cells = x.flatten(2).transpose(1, 2)  # [n, side^2, c], row by row
        # Under autocast the cells are half precision; the sum takes the parameters' type.
        tokens = torch.cat([cells.mean(dim=1, keepdim=True), cells], dim=1) + self.positional_embedding
        query, key, value = self.q_proj(tokens[:, :1]), self.k_proj(tokens), self.v_proj(tokens)  # [n, 1 | l, c]
        query, key, value = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (query, key, value))
        mixed = F.scaled_dot_product_attention(query, key, value)  # [n, heads, 1, c/heads]
        out: Tensor = self.c_proj(mixed.flatten(1))
        return out


class ModifiedResNet(nn.Module):
    """The image tower, [n, 3, size, size] -> [n, e]. `layers`: blocks in each of the four stages.

    In training, batch norm takes mean and variance from the batch that it is given and moves its running ones (momentum
    0.1); in evaluation the running ones count, and an image's features depend on that image alone.
    """

    def __init__(
        self, layers: tuple[int, int, int, int], width: int, heads: int, image_size: int, embed_dim: int
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = BatchNorm(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = BatchNorm(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = BatchNorm(width)
        self.avgpool = nn.AvgPool2d(2)
        self.recompute = False  # a block keeps its input alone; see `trainer.model.recompute_activations`
        self.layer1 = _stage(width, width, layers[0], stride=1)
        self.layer2 = _stage(4 * width, 2 * width, layers[1], stride=2)
        self.layer3 = _stage(8 * width, 4 * width, layers[2], stride=2)
        self.layer4 = _stage(16 * width, 8 * width, layers[3], stride=2)
        self.attnpool = AttentionPool(image_size // STRIDE, 32 * width, heads, embed_dim)

    def forward(self, images: Tensor) -> Tensor:
        if images.is_cuda:  # for tensor cores; the layers that follow preserve it
            images = images.contiguous(memory_format=torch.channels_last)
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)  # [n, w/2, size/2, size/2]
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        x = F.relu(self.bn3(self.conv3(x)), inplace=True)
        x = self.avgpool(x)  # [n, w, size/4, size/4]
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                x = recomputed(block, self.recompute, x)  # in the end [n, 32 w, size/32, size/32]
        out: Tensor = self.attnpool(x)
        return out


def _stage(inputs: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    first = Bottleneck(inputs, width, stride)
    return nn.Sequential(first, *(Bottleneck(EXPANSION * width, width, 1) for _ in range(blocks - 1)))
