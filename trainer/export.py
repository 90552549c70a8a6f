"""export: the trained model as open_clip and others load it, by `local-dir:FOLDER`.

openwit export --recipe recipes/real.toml --to FOLDER

FOLDER gets open_clip_model.safetensors (the weights, by their names in the released models), open_clip_config.json
(sizes, and how pictures are prepared) and, where the merges are not OpenAI's, vocabulary.txt.gz; the config names that
by its absolute path, for open_clip looks nowhere else: after moving the folder, give it as `bpe_path`.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from typing import Any

try:
    import safetensors.torch
except ModuleNotFoundError:
    if __name__ != "__main__":
        raise
    sys.exit("export: torch and safetensors are not installed: pip install '.[train]', then run again")

from core import command
from core.claim import check
from core.errors import UsageError
from core.files import absolute, join, publish, publishing, read_bytes, remove, shown, to_json
from core.inputs import reading
from core.recipe import Recipe, read
from core.runs import require_finished
from trainer import stage
from trainer.checkpoint import load_model
from trainer.config import Config as TrainConfig
from trainer.images import MEAN, STD
from trainer.model import ModelConfig
from trainer.openclip import CONFIG

WEIGHTS, MERGES = "open_clip_model.safetensors", "vocabulary.txt.gz"
_RELEASED = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"  # sha256 of OpenAI's merges file


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = command.arguments("export", __doc__ or "")
    parser.add_argument("--to", metavar="FOLDER", required=True, help="where the files are written")
    options = parser.parse_args(argv)
    return command.exit_status("export", lambda: _from_options(options), options.debug)


def _from_options(options: argparse.Namespace) -> None:
    if not options.to:  # of a shell's variable that is not set; it would be the folder one stands in
        raise UsageError("--to is empty: name a folder")
    recipe = read(options.recipe, options.set)
    check(recipe)
    export(recipe, absolute(options.to))


def export(recipe: Recipe, folder: str) -> None:
    """Write the recipe's trained model into a folder (absolute); its config last, so that nothing loads half of it.

    The config of an earlier export goes first: its vocabulary is not that of the new weights.
    """
    trained = require_finished(recipe, "train", "export")
    merges = stage.merges_of(recipe, recipe.config("train", TrainConfig).merges, trained)
    with reading(merges):
        vocabulary = read_bytes(merges.path)
    model = load_model(trained)
    is_released = hashlib.sha256(vocabulary).hexdigest() == _RELEASED
    config = open_clip_config(model.config, "" if is_released else join(folder, MERGES))
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    remove(join(folder, CONFIG))
    with publishing(join(folder, WEIGHTS)) as file:
        file.write(safetensors.torch.save(weights, {"format": "pt"}))
    if not is_released:
        publish(join(folder, MERGES), vocabulary)
    publish(join(folder, CONFIG), to_json(config))
    numbers = sum(weight.numel() for weight in model.parameters())
    print(f"export: {numbers:,} parameters → open_clip's local-dir:{shown(folder)}")


def open_clip_config(sizes: ModelConfig, merges: str = "") -> dict[str, Any]:
    """What open_clip has to know of a model. `merges`: the absolute path of its merges file; empty for OpenAI's.

    Raises UsageError for a bag of words, which open_clip has no text tower for.
    """
    if not sizes.text_layers:
        raise UsageError("the text tower is a bag of words, which open_clip cannot load: export another model")
    of_width = sizes.vision_width if isinstance(sizes.vision_layers, int) else 32 * sizes.vision_width
    text: dict[str, Any] = {
        "context_length": sizes.context,
        "vocab_size": sizes.vocab,
        "width": sizes.text_width,
        "heads": sizes.text_heads,
        "layers": sizes.text_layers,
    }
    return {
        "model_cfg": {
            "embed_dim": sizes.embed_dim,
            "quick_gelu": True,
            "vision_cfg": {
                "image_size": sizes.image_size,
                "layers": sizes.vision_layers,
                "width": sizes.vision_width,
                "head_width": of_width // sizes.vision_heads,
                "patch_size": sizes.patch,
            },
            "text_cfg": text | ({"tokenizer_kwargs": {"bpe_path": merges}} if merges else {}),
        },
        "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"},
    }


if __name__ == "__main__":
    command.exit_now(main)
