"""A trained model as a function: pictures and texts to unit features, some hundreds at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from core.errors import UsageError
from core.inputs import Source, reading
from trainer.images import normalise
from trainer.model import CLIP, unit
from trainer.tokenizer import Tokenizer

T = TypeVar("T")

Floats = npt.NDArray[np.float32]

AHEAD = 64  # pictures that are decoded before the model asks for them
_AT_ONCE = 256  # pictures or texts


def load_encoder(load: Callable[[], CLIP], merges: Source, device: torch.device) -> Encoder:
    """Both towers on a device. UsageError where the merges make another vocabulary than the model knows."""
    model = load()
    with reading(merges):
        tokenizer = Tokenizer(merges.path)
    if tokenizer.vocab != model.config.vocab:
        raise UsageError(
            f"{merges.path} makes {tokenizer.vocab:,} tokens, and the model knows {model.config.vocab:,}: "
            "name the merges that it was trained with"
        )
    return Encoder(model, tokenizer, device)


class Encoder:
    """Both towers of a model on a device, in float32; features come back to the CPU. Needs one row at the least."""

    def __init__(self, model: CLIP, tokenizer: Tokenizer, device: torch.device) -> None:
        self._model, self._tokenizer, self._device = model.to(device).eval(), tokenizer, device
        self.sizes = model.config
        self.parameters = sum(parameter.numel() for parameter in model.parameters())
        self.image_size, self.width = model.config.image_size, model.config.embed_dim
        self.scale = float(model.logit_scale.detach().exp())

    def images(self, crops: Iterable[npt.NDArray[np.uint8]]) -> Tensor:
        """Unit features float32 [n, e] of crops uint8 [size, size, 3]."""
        return self._features(crops, lambda some: self._model.encode_image(normalise(self._on_device(np.stack(some)))))

    def images_and_hidden(self, crops: Iterable[npt.NDArray[np.uint8]]) -> tuple[Tensor, Tensor]:
        """The same, and what a probe is fitted on (appendix A.3): the tower's output before its projection, [n, width].

        A ResNet's pooling ends in the projection: of it the features, not of unit length.
        """
        hidden: list[Tensor] = []
        last = getattr(self._model.visual, "ln_post", self._model.visual)
        hook = last.register_forward_hook(lambda _module, _inputs, output: hidden.append(output.float().cpu()))
        try:
            features = self.images(crops)
        finally:
            hook.remove()
        return features, torch.cat(hidden)

    def texts(self, texts: Iterable[str]) -> Tensor:
        """Unit features float32 [n, e] of texts."""
        return self._features(texts, lambda some: self._model.encode_text(self._ids(some)))

    def _features(self, items: Iterable[T], encode: Callable[[list[T]], Tensor]) -> Tensor:
        remaining, features = iter(items), []
        with torch.inference_mode():
            while some := list(itertools.islice(remaining, _AT_ONCE)):
                features.append(unit(encode(some)).cpu())
        return torch.cat(features)

    def _on_device(self, pixels: npt.NDArray[np.uint8]) -> Tensor:
        return torch.from_numpy(pixels).to(self._device)

    def _ids(self, texts: list[str]) -> Tensor:
        return self._tokenizer.encode(texts, self._model.config.context).to(self._device)


@dataclass(frozen=True)
class Model:
    """A model that is evaluated: what rows call it, the digest of its weights and merges, and how it is loaded."""

    name: str
    digest: str
    load: Callable[[], Encoder]
