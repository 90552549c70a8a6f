"""The gradient of a whole batch, exact, in the memory of a micro-batch (GradCache, arXiv 2101.06983).

The loss compares every image with every text, so a micro-batch has no loss of its own. Three passes instead: the
features of all micro-batches without a graph; the gradient of the loss with respect to the features; each micro-batch
once more with its graph, through which its rows of that gradient are backpropagated. The towers run one after the
other, so that texts can be sorted by length over the whole batch; of their padding nothing is computed. Shapes in
comments: n rows of this rank, e the shared embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from core import choice
from core.errors import UsageError
from trainer import batchnorm
from trainer.images import normalise
from trainer.loss import contrastive_loss
from trainer.microbatches import by_length, even_slices, lengths
from trainer.model import CLIP, unit
from trainer.ranks import SINGLE_PROCESS, Ranks
from trainer.stopping import Interrupted

BatchNorms = Literal["micro", "global"]
Context = Callable[[], AbstractContextManager[Any]]

UNIFORMITY_ROWS = 1_024  # rows of the batch, at most, whose pairs the uniformity is computed from


@dataclass(frozen=True)
class StepMetrics:
    """Metrics of a step over the rows of all ranks; its gradients are in the model."""

    loss: float  # nats
    scale: float  # exp(logit_scale)
    alignment: float  # mean squared distance of the features of a pair, 0 to 4 (Wang and Isola, 2005.10242)
    uniformity_images: float  # log of the mean of exp(-2 squared distance) of two images, 0 (all equal) to -8; the same
    uniformity_texts: float  # of texts; both over at most UNIFORMITY_ROWS rows
    norm_images: float  # mean length of the features before they are scaled to length one
    norm_texts: float
    tokens: int  # of the texts; the text tower computes no padding
    _running: batchnorm.RunningUpdate

    def commit(self) -> None:
        """Update the running statistics of batch norm: once, after the optimiser's step."""
        self._running.commit()


def gradients(
    model: CLIP,
    images: Tensor,
    ids: Tensor,
    *,
    micro_batch: int,
    batch_norm: BatchNorms,
    autocast: Context = nullcontext,
    ranks: Ranks = SINGLE_PROCESS,
    loss_scale: float = 1.0,
    interrupted: Callable[[], bool] = lambda: False,
) -> StepMetrics:
    """Put `loss_scale` times the gradient of the loss over the rows of all ranks into `.grad` of each parameter.

    `images` uint8 [n, s, s, 3] and `ids` int64 [n, context] are this rank's rows, on the CPU; images may be on the
    device, if it has room. At most `micro_batch` of them at a time have their graph there; where that is all of them
    there is no second forward pass. All ranks hold the same gradients afterwards; what was in `.grad` before is gone.
    Collective.

    Each micro-batch has a seed of its own for dropout (see `dropout_seed`): it draws the same in all its passes, and
    other numbers than any other micro-batch of any rank. `autocast` makes the context of each forward pass.
    `batch_norm` says what normalises the images of a residual network: see trainer.batchnorm.

    `interrupted` is called between micro-batches, and on a single rank between tiles of the loss. Once it returns True
    on any rank, all raise `Interrupted`. Then, and after any other error, the random state and the running statistics
    are as before, and no parameter has a gradient.
    """
    device = model.logit_scale.device
    generator = torch.get_rng_state()
    model.zero_grad(set_to_none=True)
    try:
        counts = _counts(len(images), len(ids), micro_batch, ranks)
        norms = batchnorm.norms_of(model.visual)
        statistics = _batch_statistics(norms, batch_norm, counts, micro_batch, ranks)
        runner = _Runner(device, autocast, ranks, interrupted, keep_graphs=max(counts) <= micro_batch)
        seed = partial(dropout_seed, int(torch.randint(1 << 62, ())), ranks.rank)
        pictures = _image_micro_batches(model, images, micro_batch, partial(seed, "image"))
        texts = _text_micro_batches(model, ids, micro_batch, partial(seed, "text"))
        image_tower, text_tower = _Tower(pictures, runner, norms, statistics), _Tower(texts, runner)
        image_features, text_features = image_tower.forward(), text_tower.forward()
        factor = model.logit_scale.exp()
        loss = contrastive_loss(image_features, text_features, factor, ranks, interrupted)
        torch.autograd.backward(loss, loss.new_tensor(loss_scale))
        image_tower.backward(image_features)
        text_tower.backward(text_features)
        ranks.all_reduce_([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
        running = statistics.running(ranks)
        with torch.no_grad():
            sums = [loss, (image_features - text_features).square().sum(), image_tower.norm_sum, text_tower.norm_sum]
            tokens = sum(part.tokens for part in texts)
            figures = _figures(sums, tokens, image_features, text_features, sum(counts), ranks)
            return StepMetrics(scale=float(factor), **figures, _running=running)
    except BaseException:
        torch.set_rng_state(generator)
        model.zero_grad(set_to_none=True)
        raise


def _counts(images: int, texts: int, micro_batch: int, ranks: Ranks) -> list[int]:
    """Rows of each rank; all ranks raise UsageError if one has none."""
    if micro_batch < 1 or images != texts:
        raise UsageError(f"{images:,} images and {texts:,} texts, {micro_batch:,} at a time: there is no batch")
    counts = ranks.all_gather_object(images)
    if min(counts) < 1:
        raise UsageError(f"a batch of {sum(counts):,} on {ranks.world} ranks leaves a rank without a pair: start fewer")
    return counts


def _batch_statistics(
    norms: Sequence[batchnorm.BatchNorm], batch_norm: BatchNorms, counts: Sequence[int], micro_batch: int, ranks: Ranks
) -> batchnorm.BatchStatistics:
    """What batch norm computes in this step. `counts`: rows of each rank, so that all ranks choose the same."""
    if batch_norm == "global":
        return batchnorm.Synchronised(ranks) if max(counts) <= micro_batch else batchnorm.LevelByLevel(ranks)
    if norms and min(count // -(-count // micro_batch) for count in counts) < 2:
        raise UsageError(
            f"batch norm of a single image: of {min(counts):,} on a rank, {micro_batch:,} at a time, one stays alone; "
            'take two at a time at least, or batch_norm = "global"'
        )
    return batchnorm.PerMicroBatch(sum(counts))


@dataclass
class _MicroBatch:
    """A micro-batch of one tower."""

    rows: slice | Tensor  # of the batch; indices are on the device
    encode: Callable[[], Tensor]  # its features, not normalised
    seed: int  # of its dropout
    tokens: int = 0  # of texts
    kept: Tensor | None = None  # unit features with their graph, if the first pass kept it


@dataclass
class _Runner:
    """Runs forward passes over micro-batches until it is interrupted."""

    device: torch.device
    autocast: Context
    ranks: Ranks
    interrupted: Callable[[], bool]
    keep_graphs: bool  # of the first pass, so that there is no second

    def each(self, micro_batches: Sequence[_MicroBatch], together: bool = False) -> Iterator[_MicroBatch]:
        """The micro-batches, until a rank is interrupted, on which all ranks agree after the last micro-batch.

        `together`: they agree before each one, because its forward pass is collective.
        """
        stop = False
        for micro_batch in micro_batches:
            stop = self.interrupted()
            if together:
                stop = self.ranks.any_rank(stop)
            if stop:
                break
            yield micro_batch
        if self.ranks.any_rank(stop):
            raise Interrupted

    def encode(self, micro_batch: _MicroBatch) -> Tensor:
        """The features of a micro-batch, in float32 at least, with dropout drawn from its seed."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices), self.autocast():
            torch.manual_seed(micro_batch.seed)
            features = micro_batch.encode()
        return features.to(torch.promote_types(features.dtype, torch.float32))


class _Tower:
    """One tower over the micro-batches of this rank."""

    def __init__(
        self,
        micro_batches: Sequence[_MicroBatch],
        runner: _Runner,
        norms: Sequence[batchnorm.BatchNorm] = (),
        statistics: batchnorm.BatchStatistics | None = None,
    ) -> None:
        self._micro_batches, self._runner, self._norms = micro_batches, runner, norms
        self._statistics = statistics or batchnorm.BatchStatistics()
        self.norm_sum = torch.zeros((), device=runner.device)  # of the norms of all features before normalisation

    def forward(self) -> Tensor:
        """Unit features [n, e] in the order of the batch, a leaf of the graph."""
        with batchnorm.replaced_forward(self._norms, self._statistics):
            while (features := self._pass()) is None:
                self._statistics.finish_level()
        return features.requires_grad_()

    def _pass(self) -> Tensor | None:
        """The features; None if the pass ended at a norm whose statistics are not known yet."""
        found: list[tuple[_MicroBatch, Tensor]] = []
        for micro_batch in self._runner.each(self._micro_batches, self._statistics.is_collective):
            try:
                with torch.set_grad_enabled(self._runner.keep_graphs):
                    raw = self._runner.encode(micro_batch)
                    features = unit(raw)
            except batchnorm.StatisticsMissing:
                continue
            micro_batch.kept = features if self._runner.keep_graphs else None
            self.norm_sum += raw.detach().norm(dim=1).sum()
            found.append((micro_batch, features.detach()))
        if not found:
            return None
        out = torch.empty_like(torch.cat([features for _, features in found]))
        for micro_batch, features in found:
            out[micro_batch.rows] = features
        return out

    def backward(self, batch_features: Tensor) -> None:
        """Add to the gradients of the tower's parameters, given the gradient of its features."""
        assert batch_features.grad is not None
        self._statistics.begin_backward()
        with batchnorm.replaced_forward(self._norms, self._statistics):
            for micro_batch in self._runner.each(self._micro_batches, self._statistics.is_collective):
                features = unit(self._runner.encode(micro_batch)) if micro_batch.kept is None else micro_batch.kept
                micro_batch.kept = None
                torch.autograd.backward(features, batch_features.grad[micro_batch.rows])
            for level in reversed(range(self._statistics.levels)):
                self._statistics.begin_level(level)
                for micro_batch in self._runner.each(self._micro_batches):
                    with suppress(batchnorm.StatisticsMissing):
                        self._runner.encode(micro_batch)
                    self._statistics.backward_from_level()


def dropout_seed(drawn: int, rank: int, tower: str, number: int) -> int:
    """The seed of a tower's micro-batch `number` on a rank.

    `drawn` is what a step takes from torch's generator on the CPU: one number, however many micro-batches a rank has,
    so that the generators of all ranks stay in the same state. They begin with the run's seed; so this is a function
    of (seed, step, rank, tower, number).
    """
    return int(choice.rank(drawn, "dropout", f"{tower} {rank}", [number.to_bytes(8, "big")])[0]) >> 1


def _image_micro_batches(model: CLIP, images: Tensor, most: int, seed: Callable[[int], int]) -> list[_MicroBatch]:
    dtype, device = model.visual.conv1.weight.dtype, model.logit_scale.device

    def encode(rows: slice) -> Tensor:
        return model.encode_image(normalise(_on_device(images[rows], device)).to(dtype))

    return [_MicroBatch(rows, partial(encode, rows), seed(i)) for i, rows in enumerate(even_slices(len(images), most))]


def _text_micro_batches(model: CLIP, ids: Tensor, most: int, seed: Callable[[int], int]) -> list[_MicroBatch]:
    device = model.logit_scale.device

    def encode(rows: Tensor) -> Tensor:
        return model.encode_text(_on_device(ids[rows], device))

    tokens = lengths(ids)
    return [
        _MicroBatch(rows.to(device), partial(encode, rows), seed(i), int(tokens[rows].sum()))
        for i, rows in enumerate(by_length(tokens, most))
    ]


def _on_device(rows: Tensor, device: torch.device) -> Tensor:
    """Rows of a batch on the device. What waits in pinned memory is one micro-batch, not the whole batch.

    From pinned memory the copy runs beside the kernels of the micro-batch before.
    """
    if device.type == "cuda" and rows.device.type == "cpu":
        rows = rows.pin_memory()
    return rows.to(device, non_blocking=True)


def _figures(
    sums: Sequence[Tensor], tokens: int, image_features: Tensor, text_features: Tensor, n: int, ranks: Ranks
) -> dict[str, Any]:
    """The metrics, from this rank's sums of: loss, squared distances of pairs, norms of images and of texts."""
    totals = torch.stack([*(value.double() for value in sums), image_features.new_tensor(tokens, dtype=torch.float64)])
    ranks.all_reduce_([totals])
    loss, squared_distance, image_norm, text_norm, all_tokens = totals.tolist()
    sample = slice(max(1, UNIFORMITY_ROWS // ranks.world))  # of each rank
    both = torch.stack([image_features[sample], text_features[sample]], dim=1)
    images, texts = ranks.all_gather(both)[0].unbind(dim=1)
    return {
        "loss": loss,
        "alignment": squared_distance / n,
        "uniformity_images": _uniformity(images),
        "uniformity_texts": _uniformity(texts),
        "norm_images": image_norm / n,
        "norm_texts": text_norm / n,
        "tokens": int(all_tokens),
    }


def _uniformity(features: Tensor) -> float:
    """log of the mean of exp(-2 |x - y|^2) over all pairs of different rows; 0 of a single row."""
    n = len(features)
    if n == 1:
        return 0.0
    potential = torch.exp(4 * (features @ features.T) - 4)  # |x - y|^2 = 2 - 2 x y
    return math.log(float(potential.sum() - potential.diagonal().sum()) / (n * (n - 1)))
