"""The gradient of a whole batch, exact, in the memory of a micro-batch (GradCache, arXiv 2101.06983).

The loss compares every image with every text, so micro-batches cannot each have a loss of their own. Instead: all
features, without a graph; the gradient of the loss with respect to them; then each micro-batch once more with its
graph, through which its rows of that gradient go back. The towers are run one after the other, so that texts can be
sorted by length over the whole batch: attention is causal, and a text that is trimmed has the same features for less.
Shapes in comments: n rows of this rank, e the shared embedding.
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
from trainer.microbatches import by_length, evenly, lengths
from trainer.model import CLIP, unit
from trainer.ranks import ALONE, Ranks
from trainer.stopping import Interrupted
from trainer.tokenizer import trim

BatchNorms = Literal["micro", "global"]
Context = Callable[[], AbstractContextManager[Any]]

SAMPLED = 1_024  # rows of the batch, of which uniformity compares all pairs
CHUNK_TOKENS = {"cpu": 32}  # tokens that cost as much as one more micro-batch of texts does beside its tokens
LARGE_CHUNK_TOKENS = 4_096  # elsewhere: kernels have to be started


@dataclass(frozen=True)
class Measured:
    """What a step saw, over the rows of all ranks, beside the gradients that it leaves."""

    loss: float  # nats
    scale: float  # exp(logit_scale)
    alignment: float  # mean squared distance of the features of a pair, 0 to 4 (Wang and Isola, 2005.10242)
    uniformity_images: float  # log of the mean of exp(-2 squared distance) of two images, 0 (all equal) to -8; the same
    uniformity_texts: float  # of texts; both over at most SAMPLED rows
    norm_images: float  # mean length of the features before they are scaled to length one
    norm_texts: float
    tokens: int  # of texts, padding within a micro-batch included, that the text tower read
    _running: batchnorm.Running

    def commit(self) -> None:
        """Move the running statistics of batch norm, once: after the optimiser's step."""
        self._running.commit()


def gradients(
    model: CLIP,
    images: Tensor,
    ids: Tensor,
    *,
    micro_batch: int,
    batch_norm: BatchNorms,
    autocast: Context = nullcontext,
    ranks: Ranks = ALONE,
    scale: float = 1.0,
    interrupted: Callable[[], bool] = lambda: False,
) -> Measured:
    """Leave `scale` times the gradient of the loss over the rows of all ranks in `.grad` of each parameter.

    `images` uint8 [n, s, s, 3] and `ids` int64 [n, context] are this rank's rows, on the CPU; images may be on the
    device, if it has room. At most `micro_batch` of them at a time have their graph there; where that is all of them
    there is no second forward pass. All ranks hold the same gradients afterwards; what was in `.grad` before is gone.
    Collective.

    Each micro-batch has a seed of its own for dropout (see `dropout_seed`): it draws the same in all its passes, and
    other numbers than any other micro-batch of any rank. `autocast` makes the context of each forward pass.
    `batch_norm` says what normalises the images of a residual network: see trainer.batchnorm.

    `interrupted` is asked between micro-batches, and where there is one rank between tiles of the loss. Once it says so
    on any rank all raise `Interrupted`. Then, and after any other error, generator and running statistics are as
    before, and there are no gradients.
    """
    device = model.logit_scale.device
    generator = torch.get_rng_state()
    model.zero_grad(set_to_none=True)
    try:
        counts = _counts(len(images), len(ids), micro_batch, device, ranks)
        norms = batchnorm.norms_of(model.visual)
        through = _through(norms, batch_norm, counts, micro_batch, ranks)
        work = _Work(device, autocast, ranks, interrupted, keep=max(counts) <= micro_batch)
        seed = partial(dropout_seed, int(torch.randint(1 << 62, ())), ranks.rank)
        pictures = _Tower(_image_parts(model, images, micro_batch, partial(seed, "image")), work, norms, through)
        texts = _text_parts(model, ids, micro_batch, partial(seed, "text"))
        captions = _Tower(texts, work)
        of_images, of_texts = pictures.forward(), captions.forward()
        factor = model.logit_scale.exp()
        loss = contrastive_loss(of_images, of_texts, factor, ranks, interrupted)
        torch.autograd.backward(loss, loss.new_tensor(scale))
        pictures.backward(of_images)
        captions.backward(of_texts)
        ranks.sum_([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
        running = through.running(ranks)
        with torch.no_grad():
            sums = [loss, (of_images - of_texts).square().sum(), pictures.length, captions.length]
            figures = _figures(sums, sum(part.tokens for part in texts), of_images, of_texts, sum(counts), ranks)
            return Measured(scale=float(factor), **figures, _running=running)
    except BaseException:
        torch.set_rng_state(generator)
        model.zero_grad(set_to_none=True)
        raise


def _counts(images: int, texts: int, micro_batch: int, device: torch.device, ranks: Ranks) -> list[int]:
    """Rows of each rank; all ranks raise UsageError if one has none."""
    if micro_batch < 1 or images != texts:
        raise UsageError(f"{images:,} images and {texts:,} texts, {micro_batch:,} at a time: there is no batch")
    counts = [int(count) for count in ranks.gather(torch.tensor([images], device=device))[0].tolist()]
    if min(counts) < 1:
        raise UsageError(f"a batch of {sum(counts):,} on {ranks.world} ranks leaves a rank without a pair: start fewer")
    return counts


def _through(
    norms: Sequence[batchnorm.BatchNorm], batch_norm: BatchNorms, counts: Sequence[int], micro_batch: int, ranks: Ranks
) -> batchnorm.Statistics:
    """What the norms of this step are. `counts`: rows of each rank, so that all ranks choose the same."""
    if batch_norm == "global":
        return batchnorm.Synchronised(ranks) if max(counts) <= micro_batch else batchnorm.LevelByLevel(ranks)
    if norms and min(count // -(-count // micro_batch) for count in counts) < 2:
        raise UsageError(
            f"batch norm of a single image: of {min(counts):,} on a rank, {micro_batch:,} at a time, one stays alone; "
            'take two at a time at least, or batch_norm = "global"'
        )
    return batchnorm.PerMicroBatch(sum(counts))


@dataclass
class _Part:
    """A micro-batch of one tower."""

    rows: slice | Tensor  # of the batch; indices are on the device
    encode: Callable[[], Tensor]  # to features as the tower gives them
    seed: int  # of its dropout
    tokens: int = 0  # that it reads, of texts
    kept: Tensor | None = None  # unit features with their graph


@dataclass
class _Work:
    """How forward passes are made, and when they end."""

    device: torch.device
    autocast: Context
    ranks: Ranks
    interrupted: Callable[[], bool]
    keep: bool  # graphs of the first pass, so that there is no second

    def each(self, parts: Sequence[_Part], together: bool = False) -> Iterator[_Part]:
        """The parts, until this rank is interrupted; then, or after the last, all ranks agree on whether one was.

        `together`: before each part, too, because a part is collective.
        """
        stop = False
        for part in parts:
            stop = self.interrupted()
            if together:
                stop = self.ranks.any(stop, self.device)
            if stop:
                break
            yield part
        if self.ranks.any(stop, self.device):
            raise Interrupted

    def encode(self, part: _Part) -> Tensor:
        """The features of a micro-batch, in float32 at least, with dropout drawn from its seed."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices), self.autocast():
            torch.manual_seed(part.seed)
            features = part.encode()
        return features.to(torch.promote_types(features.dtype, torch.float32))


class _Tower:
    """One tower over the micro-batches of this rank."""

    def __init__(
        self,
        parts: Sequence[_Part],
        work: _Work,
        norms: Sequence[batchnorm.BatchNorm] = (),
        through: batchnorm.Statistics | None = None,
    ) -> None:
        self._parts, self._work, self._norms = parts, work, norms
        self._through = through or batchnorm.Statistics()
        self.length = torch.zeros((), device=work.device)  # of all rows' features, before they are scaled to one

    def forward(self) -> Tensor:
        """Unit features [n, e], a leaf: row i of the batch is row i."""
        with batchnorm.passing(self._norms, self._through):
            while (features := self._pass()) is None:
                self._through.next_level()
        return features.requires_grad_()

    def _pass(self) -> Tensor | None:
        """The features, if the pass has gone through all norms."""
        found: list[tuple[_Part, Tensor]] = []
        for part in self._work.each(self._parts, self._through.is_collective):
            try:
                with torch.set_grad_enabled(self._work.keep):
                    raw = self._work.encode(part)
                    features = unit(raw)
            except batchnorm.Reached:
                continue
            part.kept = features if self._work.keep else None
            self.length += raw.detach().norm(dim=1).sum()
            found.append((part, features.detach()))
        if not found:
            return None
        every = torch.cat([features for _, features in found])
        out = torch.empty_like(every)
        for part, features in found:
            out[part.rows] = features
        return out

    def backward(self, of_batch: Tensor) -> None:
        """Add the gradients of the tower's parameters, given that of its features."""
        assert of_batch.grad is not None
        self._through.begin_backward()
        with batchnorm.passing(self._norms, self._through):
            for part in self._work.each(self._parts, self._through.is_collective):
                features = unit(self._work.encode(part)) if part.kept is None else part.kept
                part.kept = None
                torch.autograd.backward(features, of_batch.grad[part.rows])
            for level in reversed(range(self._through.levels)):
                self._through.open_level(level)
                for part in self._work.each(self._parts):
                    with suppress(batchnorm.Reached):
                        self._work.encode(part)
                    self._through.backward_from_level()


def dropout_seed(drawn: int, rank: int, tower: str, number: int) -> int:
    """The seed of a tower's micro-batch `number` on a rank.

    `drawn` is what a step takes from torch's generator on the CPU: one number, however many micro-batches a rank has,
    so that the generators of all ranks stay in the same state. They begin with the run's seed; so this is a function
    of (seed, step, rank, tower, number).
    """
    return int(choice.rank(drawn, "dropout", f"{tower} {rank}", [number.to_bytes(8, "big")])[0]) >> 1


def _image_parts(model: CLIP, images: Tensor, most: int, seed: Callable[[int], int]) -> list[_Part]:
    dtype, device = model.visual.conv1.weight.dtype, model.logit_scale.device

    def encode(rows: slice) -> Tensor:
        return model.encode_image(normalise(images[rows].to(device, non_blocking=True)).to(dtype))

    return [_Part(rows, partial(encode, rows), seed(i)) for i, rows in enumerate(evenly(len(images), most))]


def _text_parts(model: CLIP, ids: Tensor, most: int, seed: Callable[[int], int]) -> list[_Part]:
    device = model.logit_scale.device
    overhead = CHUNK_TOKENS.get(device.type, LARGE_CHUNK_TOKENS)

    def encode(rows: Tensor) -> Tensor:
        return model.encode_text(trim(ids[rows]).to(device, non_blocking=True))

    tokens = lengths(ids)
    chunks = by_length(tokens, most, overhead)
    read = [len(rows) * int(tokens[rows].max()) for rows in chunks]
    return [
        _Part(rows.to(device), partial(encode, rows), seed(i), n)
        for i, (rows, n) in enumerate(zip(chunks, read, strict=True))
    ]


def _figures(
    sums: Sequence[Tensor], tokens: int, of_images: Tensor, of_texts: Tensor, n: int, ranks: Ranks
) -> dict[str, Any]:
    """What is measured, of this rank's sums: loss, squared distances of pairs, lengths of images and of texts."""
    total = torch.stack([*(value.double() for value in sums), of_images.new_tensor(tokens, dtype=torch.float64)])
    ranks.sum_([total])
    loss, apart, of_image, of_text, read = total.tolist()
    sample = slice(max(1, SAMPLED // ranks.world))  # of each rank
    images, texts = ranks.gather(torch.stack([of_images[sample], of_texts[sample]], dim=1))[0].unbind(dim=1)
    return {
        "loss": loss,
        "alignment": apart / n,
        "uniformity_images": _uniformity(images),
        "uniformity_texts": _uniformity(texts),
        "norm_images": of_image / n,
        "norm_texts": of_text / n,
        "tokens": int(read),
    }


def _uniformity(features: Tensor) -> float:
    """log of the mean of exp(-2 |x - y|^2) over all pairs of different rows; 0 of a single row."""
    n = len(features)
    if n == 1:
        return 0.0
    near = torch.exp(4 * (features @ features.T) - 4)  # |x - y|^2 = 2 - 2 x y
    return math.log(float(near.sum() - near.diagonal().sum()) / (n * (n - 1)))
