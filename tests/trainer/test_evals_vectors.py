"""What sets are evaluated with: classifiers of sentences, and what a model makes of a picture before its projection."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from core.inputs import Memory
from tests.trainer import helpers, test_resnet
from tests.trainer.made_sets import ColourSense
from trainer.evals.encoder import Encoder, Model
from trainer.evals.kept import Kept
from trainer.evals.tables import OWN
from trainer.evals.vectors import Vectors
from trainer.model import CLIP, ModelConfig, VisionTransformer, unit
from trainer.tokenizer import Tokenizer

SENTENCES = {"one": (1.0, 0.0), "other": (0.6, 0.8), "alone": (0.0, 1.0)}


class Told(ColourSense):
    """Has the features of SENTENCES."""

    def texts(self, texts: Iterable[str]) -> Tensor:
        return torch.tensor([SENTENCES[text] for text in texts])


def test_a_class_is_the_mean_direction_of_its_sentences_however_many(tmp_path: Path) -> None:
    encoder = Told()
    vectors = Vectors(Kept(str(tmp_path), lambda: None), Model(OWN, "m" * 64, lambda: encoder), Memory({}), 1)
    found = vectors.classifier("made", [["one", "other"], ["alone"]])
    assert found == pytest.approx(np.array([[0.89442719, 0.44721360], [0.0, 1.0]]), abs=1e-7)


@pytest.mark.parametrize("config", [helpers.SMALL, test_resnet.SMALL], ids=["ViT", "ResNet"])
def test_probes_are_fitted_on_what_comes_before_the_projection(config: ModelConfig, tmp_path: Path) -> None:
    """A vision transformer's output has the tower's width; a ResNet's pooling ends in the projection (appendix A.3)."""
    torch.manual_seed(1)
    model = CLIP(config)
    encoder = Encoder(model, Tokenizer(str(helpers.write_merges(tmp_path / "merges.gz"))), torch.device("cpu"))
    crops = list(np.random.default_rng(0).integers(0, 256, (3, config.image_size, config.image_size, 3), np.uint8))
    features, hidden = encoder.images_and_hidden(crops)
    assert torch.equal(features, encoder.images(crops))
    if isinstance(model.visual, VisionTransformer):
        assert hidden.shape == (3, config.vision_width)
        assert torch.allclose(unit(hidden @ model.visual.proj.detach()), features, atol=1e-6)
    else:
        assert hidden.shape == (3, config.embed_dim) and not torch.allclose(hidden, features, atol=0.1)
        assert torch.allclose(unit(hidden), features, atol=1e-6)
