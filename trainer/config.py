"""The recipe's [train] table. What the paper says of a model (tables 18 to 20) is the default."""

from __future__ import annotations

import difflib
from typing import Annotated, Literal

import torch
from msgspec import Meta, Struct
from msgspec.structs import replace

from core import recipe as recipes
from core.errors import UsageError
from trainer.accumulate import BatchNorms
from trainer.data import OnDamage
from trainer.model import MODELS, ModelConfig
from trainer.optim import BETA1, paper_settings
from trainer.precision import Precision

Fraction = Annotated[float, Meta(ge=0, lt=1)]
MOST = 1e38  # of float32, and so no infinity
Seconds = Annotated[float, Meta(gt=0, le=604_800), recipes.RUNTIME]  # a week at most: gloo takes no infinity


class Config(Struct, frozen=True, kw_only=True):
    """RUNTIME marks keys that do not change the result: a training resumes with another value of them."""

    # the model
    model: str = "ViT-B/32"
    init: Annotated[str, recipes.RUNTIME] = ""  # weights to start from: own, OpenAI's or open_clip's
    merges: Annotated[str, recipes.RUNTIME]  # of the tokenizer: OpenAI's bpe_simple_vocab_16e6.txt.gz, or one's own

    # the data
    shards: Annotated[tuple[str, ...], recipes.RUNTIME] = ()  # tars of others; none: the recipe's own pack
    image: tuple[str, ...] = ()  # endings of pictures in `shards`, the preferred first; none: jpg, png and others
    caption: tuple[str, ...] = ()  # … and of captions, as "txt" or "json.caption"; none: the usual ones
    holdout: Fraction = 0.05  # share of a pack's samples that is not trained on, for retrieval
    on_damage: OnDamage = "stop"  # what a damaged sample does: stop the run, or be replaced by another and counted
    threads: Annotated[int, Meta(ge=0), recipes.RUNTIME] = 0  # decoding threads; 0: one a core

    # the optimisation
    batch_size: Annotated[int, Meta(ge=2)]  # pairs a step, over all ranks; the paper's is 32,768
    steps: Annotated[int, Meta(ge=1, le=99_999_999)]  # the names of checkpoints have room for no more
    warmup: Annotated[int, Meta(ge=0)] = 2_000  # steps
    learning_rate: Annotated[float, Meta(gt=0, le=MOST)] | None = None  # at its peak; None: the paper's for the model
    weight_decay: Annotated[float, Meta(ge=0, le=MOST)] = 0.2
    beta1: Fraction = BETA1
    beta2: Fraction | None = None  # None: 0.98 for a vision transformer, 0.999 for a residual network
    epsilon: Annotated[float, Meta(ge=1 / MOST, le=MOST)] | None = None  # None: 1e-6 and 1e-8
    batch_norm: BatchNorms = "micro"  # statistics of a micro-batch, or of the whole batch; see trainer.batchnorm

    # how it fits in memory
    micro_batch: Annotated[int, Meta(ge=0), recipes.RUNTIME] = 0  # pairs a rank computes at once; 0: its whole share
    precision: Precision | None = None  # None: bfloat16 on CUDA, float32 on a CPU
    moments: Literal["float32", "bfloat16"] = "float32"  # how Adam's moments are stored
    text_weights: Literal["float32", "bfloat16"] = "float32"  # of the text tower; bfloat16 is rounded stochastically
    recompute: Annotated[bool, recipes.RUNTIME] = False  # compute activations again instead of storing them
    compile: bool = False  # compile both towers of a vision transformer (torch.compile)

    # checkpoints, evaluation and logging
    checkpoint_every: Annotated[int, Meta(ge=1), recipes.RUNTIME] = 1_000  # steps …
    checkpoint_minutes: Annotated[float, Meta(gt=0), recipes.RUNTIME] = 30.0  # … or minutes, whichever is first
    evaluate_every: Annotated[int, Meta(ge=0), recipes.RUNTIME] = 0  # steps, as [eval] says; 0: not during training
    keep_checkpoints: Annotated[int, Meta(ge=1), recipes.RUNTIME] = 2  # the last ones
    tensorboard: Annotated[bool, recipes.RUNTIME] = False
    patience: Seconds = 1_800.0  # that a rank waits for the others, also while the first evaluates


def sizes_of(recipe: recipes.Recipe, config: Config) -> ModelConfig:
    """The sizes of the model that a recipe names. UsageError, with what is near, where there is none of that name."""
    if config.model not in MODELS:
        close = difflib.get_close_matches(config.model, MODELS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(MODELS)}"
        raise UsageError(f"{recipe.path}: train.model: there is no model {config.model!r}; {hint}")
    return MODELS[config.model]


def completed(config: Config, sizes: ModelConfig, device: torch.device) -> Config:
    """The same with the paper's values for what the recipe leaves to it, and the device's precision."""
    paper = paper_settings(config.model, sizes)
    return replace(
        config,
        learning_rate=config.learning_rate or paper.learning_rate,
        beta2=paper.beta2 if config.beta2 is None else config.beta2,
        epsilon=config.epsilon or paper.epsilon,
        precision=config.precision or ("bfloat16" if device.type == "cuda" else "float32"),
    )


def check(path: str, config: Config, sizes: ModelConfig, world: int) -> None:
    """UsageError where keys of a recipe at `path` do not go together, or not with so many ranks."""
    if config.warmup >= config.steps:
        raise UsageError(
            f"{path}: a warm-up of {config.warmup:,} steps does not fit in {config.steps:,} steps: lower train.warmup, "
            "or train longer"
        )
    _check_endings(path, config)
    if config.batch_size % world:
        raise UsageError(
            f"{path}: train.batch_size = {config.batch_size:,} cannot be shared by {world} ranks: make it a multiple "
            "of them, or start another number"
        )
    is_residual = isinstance(sizes.vision_layers, tuple)
    if (
        is_residual
        and config.recompute
        and config.batch_norm == "global"
        and 0 < config.micro_batch < config.batch_size // world
    ):
        raise UsageError(
            f'{path}: train.recompute and train.batch_norm = "global" do not go together in micro-batches: '
            "leave one of them out"
        )


def _check_endings(path: str, config: Config) -> None:
    """UsageError where train.image or train.caption has what no member of a tar is called, or nothing is read by it."""
    for key, endings in (("image", config.image), ("caption", config.caption)):
        if endings and not config.shards:
            raise UsageError(
                f"{path}: train.{key} says what samples of train.shards are made of, and a pack is trained on: "
                "leave it out, or name shards"
            )
        for ending in endings:
            if not ending.strip(".") or ending.endswith(".") or set("*?/") & set(ending):
                raise UsageError(
                    f'{path}: train.{key} has {ending!r}: write endings of file names, like "jpg", "txt" or '
                    '"json.caption"'
                )
    if "json" in {ending.removeprefix(".").lower() for ending in config.caption}:
        raise UsageError(
            f'{path}: train.caption has "json", which would train on the text of whole files: name the key, like '
            '"json.caption"'
        )
