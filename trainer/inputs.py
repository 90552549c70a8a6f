"""The inputs of a training: the recipe's pack or other people's tars, the tokenizer's merges, initial weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import torch

from core import recipe as recipes
from core import runs
from core.errors import Failure, UsageError
from core.inputs import Source, digest_file, reading
from core.manifest import Counts
from shards.reader import Shards
from trainer import stage
from trainer.checkpoint import State
from trainer.config import Config
from trainer.data import Examples
from trainer.model import CLIP, ModelConfig
from trainer.openclip import require_openais_kind, said_of_activation
from trainer.sources import shards_in
from trainer.streams import Streams, digest_of
from trainer.tars import CAPTIONS, IMAGES
from trainer.tokenizer import Tokenizer
from trainer.weights import at_image_size, config_of, read_weights


class Inputs:
    """The files and folders that the recipe names. UsageError where one is not there, or a pack is not finished."""

    def __init__(self, recipe: recipes.Recipe, config: Config) -> None:
        self._recipe, self._config = recipe, config
        self._files = {"merges": stage.source(recipe, "train.merges", config.merges)}
        if config.init:
            self._files["init"] = stage.source(recipe, "train.init", config.init)
        self.pack = None if config.shards else runs.require_finished(recipe, "pack", "train")
        self._shards = shards_in(config.shards, recipe.path, "train.shards") if config.shards else []
        self._digests = {name: digest_file(path) for name, path in self._files.items()}

    def digests(self) -> dict[str, str]:
        """The digests of the inputs, for the manifest."""
        data = {"pack": self.pack.digest} if self.pack else {"shards": digest_of(self._shards)}
        return {**data, **self._digests}

    def tokenizer(self) -> Tokenizer:
        """The recipe's."""
        with self._reading("merges") as path:
            return Tokenizer(path)

    def examples(self, tokenizer: Tokenizer, sizes: ModelConfig) -> Examples | Streams:
        """Where batches come from. Failure where a pack is smaller than one of them."""
        recipe, config, seed = self._recipe, self._config, self._recipe.run.seed
        if self.pack is None:
            return Streams(
                self._shards,
                tokenizer,
                sizes.image_size,
                sizes.context,
                seed,
                config.on_damage,
                images=config.image or IMAGES,
                captions=config.caption or CAPTIONS,
            )
        shards = Shards(self.pack.folder, self.pack)
        examples = Examples(shards, tokenizer, sizes.image_size, sizes.context, seed, config.holdout, config.on_damage)
        if len(examples.trained) < config.batch_size:
            raise Failure(
                f"{recipe.path}: train.batch_size = {config.batch_size:,}, but {shards.folder} holds only "
                f"{len(examples.trained):,} samples to train on ({len(examples.held_out):,} are held out): make the "
                "batch smaller, or give the crawl more"
            )
        return examples

    def start(self, model: CLIP) -> list[str]:
        """Put the recipe's weights into a new model, positions for its images' size. UsageError if they do not fit.

        Returns what is to be said of them.
        """
        if "init" not in self._files:
            return []
        with self._reading("init") as path:
            alone = "to start from these all the same, give a copy of the file alone"
            require_openais_kind(path, f"take a model that open_clip calls -quickgelu; {alone}")
            weights, said = read_weights(path), said_of_activation(path)
        there = config_of(weights, path)
        if broken := next((name for name, weight in weights.items() if not torch.isfinite(weight).all()), None):
            raise Failure(f"{path} has numbers in {broken} that are not finite: take other weights for train.init")
        if there.patch == model.config.patch and there.image_size != model.config.image_size:
            weights = at_image_size(weights, model.config.image_size, path)
            there = config_of(weights, path)
        for name, here in asdict(model.config).items():
            found = getattr(there, name)
            if found != here and not (name == "context" and not there.text_layers):
                remedy = "give its own tokenizer's merges" if name == "vocab" else "name the model that it is of"
                raise UsageError(
                    f"{self._recipe.path}: train.init = {path} has {name} = {found}, {self._config.model} with these "
                    f"merges has {here}: {remedy}"
                )
        model.load_state_dict(weights)
        return said

    def require_unchanged(self) -> None:
        """Failure where the pack was made anew meanwhile."""
        if self.pack:
            runs.require_unchanged(self._recipe, "train", [self.pack])

    @contextmanager
    def _reading(self, name: str) -> Iterator[str]:
        with reading(Source(self._files[name], self._digests[name])):
            yield self._files[name]


def counts(examples: Examples | Streams, state: State, batch_size: int) -> Counts:
    """For the manifest: the samples of a pack and the rows of all batches; of a stream these are its samples."""
    rows = stage.counted(state.step * batch_size, **state.skipped.counts)
    if isinstance(examples, Streams):
        return {"samples": rows}
    return {"samples": stage.counted(len(examples.trained), held_out=len(examples.held_out)), "rows": rows}


def described(examples: Examples | Streams) -> str:
    """The training data, for the last line of the command."""
    if isinstance(examples, Streams):
        return "streams"
    return f"{len(examples.trained):,} samples ({len(examples.held_out):,} held out)"
