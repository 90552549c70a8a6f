"""embed: a pack through both towers of a model: embeddings of images and captions, and how well the two fit.

openwit embed --recipe recipes/real.toml [--set embed.weights=ViT-B-32.pt --set embed.merges=…]

Tables by image_id, sorted by it, a part of each a shard: embedding/*.parquet, two unit vectors an image, and
scores/*.parquet, the cosine of the two under the model's name. Pictures are cropped as for evaluation (short side
resized, then the centre); the text is an image's own caption, not those that were pooled from its duplicates.

Killed at any moment, the same command goes on with the next shard. On one machine the same pack and model make the same
bytes; on another processor, or with another number of threads, the last bits of a score may differ.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

try:
    import torch
except ModuleNotFoundError:
    if __name__ != "__main__":
        raise
    sys.exit("embed: torch is not installed: pip install '.[train]', then run again")

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from msgspec import Meta, Struct
from torch import Tensor

from core import command, runs
from core import recipe as recipes
from core.errors import Failure, UsageError
from core.exclusive import exclusive
from core.files import digest, shown
from core.inputs import Source, digest_file, own_name, reading
from core.listing import sizes_below
from core.manifest import Manifest, Part, Receipt, first_missing, read_receipts, write_receipt
from core.progress import Progress
from core.tables import ID, declare, name_of
from shards.reader import Shards
from shards.scores import SCORE
from trainer import hardware, stage
from trainer.checkpoint import load_model
from trainer.config import Config as TrainConfig
from trainer.data import captions, in_order, picture
from trainer.evals.encoder import Encoder, load_encoder
from trainer.images import evaluation_crop
from trainer.model import CLIP
from trainer.openclip import require_openais_kind, said_of_activation
from trainer.stopping import ended_by_sigterm
from trainer.weights import model_of, read_weights

RULES_VERSION = 2
STEP = "embed"

_AHEAD = 64  # pictures that are decoded and not yet asked for


class Config(Struct, frozen=True, kw_only=True):
    """The recipe's [embed] table. Without weights the model is the recipe's own."""

    weights: Annotated[str, recipes.RUNTIME] = ""  # of another model, in any form that trainer/weights.py reads
    merges: Annotated[str, recipes.RUNTIME] = ""  # the tokenizer's of that model
    name: str = ""  # of the scores; by default clip:<train.model>, or clip:<the name of the file of weights>
    threads: Annotated[int, Meta(ge=0), recipes.RUNTIME] = 0  # that decode; 0 = one a core


def embedding_table(width: int) -> pa.Schema:
    """The table of embeddings of a model whose towers meet in so many dimensions."""
    vector = pa.list_(pa.float16(), width)
    return declare(
        "embedding",
        1,
        {
            "image_id": (ID, "sorted by it"),
            "image": (vector, "of the picture, of length 1"),
            "text": (vector, "of its own caption, of length 1"),
        },
    )


@dataclass(frozen=True)
class _Model:
    """The model to embed with: its weights, its merges, and the name of its scores."""

    name: str
    inputs: dict[str, str]  # what it is made of → digest
    load: Callable[[], CLIP]
    merges: Source

    def encoder(self) -> Encoder:
        """Both towers on the device. UsageError where the weights are not of this tokenizer."""
        return load_encoder(self.load, self.merges, hardware.device())


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    return command.run_recipe("embed", __doc__, embed, argv)


@ended_by_sigterm()
def embed(recipe: recipes.Recipe) -> None:
    """Embed the recipe's pack, unless that is done already."""
    started = time.time()
    config = recipe.config("embed", Config)
    folder = recipe.folder("embed")
    pack = runs.require_finished(recipe, "pack", "embed")
    trained = None if config.weights or config.merges else runs.require_finished(recipe, "train", "embed")
    model = _trained_model(recipe, trained) if trained else _model_of_file(recipe, config)
    name = config.name or model.name
    facts: dict[str, Any] = {
        "stage": "embed",
        "rules_version": RULES_VERSION,
        "seed": recipe.run.seed,
        "config": recipes.in_manifest(config),
        "inputs": {"pack": pack.digest, **model.inputs},
        "determined_by": {"torch": torch.__version__, "name": name},
    }
    if runs.nothing_to_do(recipe, folder, facts):
        return
    with exclusive(folder, "embed") as require_lock:
        runs.begin(folder, facts)
        shards = Shards(pack.folder, pack)
        receipts, done = _embed(
            model, name, shards, folder, digest(facts), config.threads or runs.cores(), require_lock
        )
        runs.require_unchanged(recipe, "embed", [pack, *([trained] if trained else [])])
        work = {STEP: {"here": len(receipts) - done, "of": len(receipts), "seconds": round(time.time() - started, 3)}}
        runs.publish_manifest(folder, facts, receipts, stage.how_it_ran(started, work), require_lock)
    print(f"embed: {len(shards):,} images, scores {name} → {shown(folder)} in {time.time() - started:.1f} s")


# ── the model ─────────────────────────────────────────────────────────────────────────────────────


def _trained_model(recipe: recipes.Recipe, trained: Manifest) -> _Model:
    """The model that the recipe has trained."""
    config = recipe.config("train", TrainConfig)
    merges = stage.merges_of(recipe, config.merges, trained)
    inputs = {"train": trained.digest, "merges": merges.digest}
    return _Model(f"clip:{config.model}", inputs, lambda: load_model(trained), merges)


def _model_of_file(recipe: recipes.Recipe, config: Config) -> _Model:
    """The model of a file of weights."""
    if not (config.weights and config.merges):
        raise UsageError(f"{recipe.path}: embed.weights and embed.merges belong together: give both, or neither")
    weights, merges = (
        Source(path, digest_file(path))
        for path in (
            stage.source(recipe, "embed.weights", config.weights),
            stage.source(recipe, "embed.merges", config.merges),
        )
    )

    def load() -> CLIP:
        require_openais_kind(weights.path, "take a model that open_clip calls -quickgelu")
        for said in said_of_activation(weights.path):
            print(f"embed: {said}", flush=True)
        with reading(weights):
            return model_of(read_weights(weights.path), weights.path)

    name = own_name(weights.path)
    stem = name.rpartition(".")[0] or name
    return _Model(f"clip:{stem}", {"weights": weights.digest, "merges": merges.digest}, load, merges)


# ── shard by shard ────────────────────────────────────────────────────────────────────────────────


def _embed(
    model: _Model, name: str, shards: Shards, folder: str, basis: str, threads: int, require_lock: Callable[[], None]
) -> tuple[list[Receipt], int]:
    """The receipts of all shards, and of how many there was one: the others are made."""
    found = _done(folder, shards.names, basis)
    before = len(found)
    ends = np.cumsum(shards.sizes)
    left = [number for number, shard in enumerate(shards.names) if shard not in found]
    if left:
        encoder = model.encoder()
        done = int(sum(shards.sizes)) - int(sum(shards.sizes[left]))
        with Progress("embed", "images", len(shards), done, to="stdout") as progress:
            for number in left:
                shard = shards.names[number]
                numbers = range(int(ends[number] - shards.sizes[number]), int(ends[number]))
                tables = embedded(encoder, name, shards, numbers, threads)
                require_lock()
                parts = tuple(sorted(_write(folder, shard, table) for table in tables))
                counts = {"images": stage.counted(len(numbers))}
                found[shard] = Receipt(STEP, shard, basis, parts, counts)
                write_receipt(folder, found[shard])
                done += len(numbers)
                progress.at(done)
    return [found[shard] for shard in shards.names], before


def _done(folder: str, names: Sequence[str], basis: str) -> dict[str, Receipt]:
    """The receipts that hold, by shard: given for the same facts, and their parts are there."""
    sizes = sizes_below(folder)
    return {
        shard: receipt
        for shard, receipt in read_receipts(folder, STEP, names).items()
        if receipt.basis == basis and first_missing(folder, receipt.parts, sizes) is None
    }


def embedded(encoder: Encoder, name: str, shards: Shards, numbers: range, threads: int) -> tuple[pa.Table, pa.Table]:
    """Rows of the tables embedding and score of some samples. Failure where a feature is not finite."""
    ids: list[bytes] = []
    texts: list[str] = []

    def load(number: int) -> tuple[str, str, npt.NDArray[np.uint8]]:
        sample = shards.sample(number)
        return sample.key, captions(sample)[0], evaluation_crop(picture(shards, number, sample), encoder.image_size)

    def crops() -> Iterator[npt.NDArray[np.uint8]]:
        for key, text, crop in in_order(load, numbers, threads, _AHEAD):
            ids.append(bytes.fromhex(key))
            texts.append(text)
            yield crop

    width = encoder.width
    images = encoder.images(crops()) if numbers else torch.empty(0, width)
    of_texts = encoder.texts(texts) if numbers else torch.empty(0, width)
    values = (images * of_texts).sum(dim=1)
    if not torch.isfinite(values).all():
        raise Failure(
            f"image {ids[int(torch.isfinite(values).int().argmin())].hex()} has features that are not finite: "
            "the weights are broken, train or fetch them anew"
        )
    rows = [pa.array(ids, ID), _vectors(images), _vectors(of_texts)]
    score = [rows[0], pa.array([name] * len(ids), pa.string()), pa.array(values.numpy())]
    return pa.table(rows, schema=embedding_table(width)), pa.table(score, schema=SCORE)


def _vectors(features: Tensor) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(features.half().numpy().ravel()), features.shape[1])


def _write(folder: str, shard: str, rows: pa.Table) -> Part:
    table = name_of(rows.schema)
    return stage.write_part(folder, "scores" if table == "score" else table, shard, rows, row_group_size=4096)


if __name__ == "__main__":
    command.exit_now(main)
