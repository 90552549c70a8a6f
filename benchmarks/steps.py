"""What the benchmarks train_step* and device share: a step of training, ours and open_clip's, in turns in one process.

A step: pixels (uint8, in the host's memory) normalised, both towers, the loss, the gradients, AdamW, the temperature's
bound. The weights are the same, and the batch. train_step*: float32 on the CPU, pictures of noise, captions drawn from
the real ones in OPENWIT_DATA. open_clip computes with its own model, loss and bound, torchvision's normalising and
torch's AdamW as its training has them; it runs on the torch that is installed here.
"""

from __future__ import annotations

import csv
import math
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks import peers
from tests.conftest import DATA
from trainer import hardware
from trainer import steps as training
from trainer.checkpoint import State
from trainer.config import Config, completed
from trainer.data import Batch
from trainer.export import open_clip_config
from trainer.images import MEAN, STD
from trainer.model import CLIP, MODELS
from trainer.optim import BETA1, adamw, paper_settings
from trainer.precision import Precision, autocast
from trainer.ranks import SINGLE_PROCESS
from trainer.tokenizer import Tokenizer

PAIRS, ROUNDS = 16, 7
DECAY, RATE = 0.2, 1e-5
SEED = 3


class Done(NamedTuple):
    """What a step says of itself."""

    loss: float
    tokens: int  # of texts, with padding where it is computed


Step = Callable[[], Done]


def captions() -> list[str]:
    """All of the pages' in OPENWIT_DATA, in a fixed order."""
    texts = []
    for path in sorted((DATA / "web").glob("*.pairs.tsv")):
        with path.open(newline="") as file:
            texts += [row["alt"] for row in csv.DictReader(file, delimiter="\t") if row["alt"]]
    return texts


def batch(size: int, pairs: int, full: bool) -> tuple[Tensor, Tensor]:
    """uint8 [pairs, size, size, 3] and int64 [pairs, 77]; where `full`, every text has 77 tokens."""
    random = torch.Generator().manual_seed(SEED)
    texts = captions()
    chosen = [texts[i] for i in torch.randperm(len(texts), generator=random)[:pairs].tolist()]
    tokenizer = Tokenizer(DATA / "tokenizer" / "bpe_simple_vocab_16e6.txt.gz")
    if full:
        chosen = [" ".join([text] * 77) for text in chosen]
    ids = tokenizer.encode(chosen)
    lengths = sorted((ids.argmax(dim=1) + 1).tolist())
    print(f"{pairs} captions of {len(texts):,}, their tokens: {lengths}, mean {statistics.mean(lengths):.1f}")
    return torch.randint(0, 256, (pairs, size, size, 3), generator=random, dtype=torch.uint8), ids


def ours(
    model: CLIP, name: str, images: Tensor, ids: Tensor, *, precision: Precision = "float32", micro_batch: int = 0
) -> Step:
    """A step as `trainer.train` makes it, of a model that is on its device, compiled or not."""
    config = Config(
        model=name,
        merges="",
        batch_size=len(images),
        steps=10**6,
        warmup=0,
        learning_rate=RATE,
        precision=precision,
        micro_batch=micro_batch,
    )
    config = completed(config, model.config, hardware.device())
    assert config.beta2 is not None and config.epsilon is not None
    betas = (config.beta1, config.beta2)
    optimiser = adamw(model, learning_rate=RATE, weight_decay=DECAY, betas=betas, epsilon=config.epsilon)
    state = State(model, optimiser)
    batch = Batch(images, ids, np.arange(len(images)))
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # as trainer.train has it

    def step() -> Done:
        torch.use_deterministic_algorithms(True)
        tokens = training.step(state, batch, config, SINGLE_PROCESS)
        torch.use_deterministic_algorithms(False)
        return Done(state.metrics[-1][0], tokens)

    return step


def theirs(
    model: CLIP, name: str, images: Tensor, ids: Tensor, *, precision: Precision = "float32", compiled: bool = False
) -> Step:
    """A step as open_clip's training makes it, of a model of its own with the same sizes and weights."""
    peers.make_importable("open_clip", "open_clip")
    import open_clip
    import torchvision.transforms.v2.functional as torchvision
    from open_clip.loss import ClipLoss

    device = model.logit_scale.device
    peer: Any = open_clip.CLIP(**open_clip_config(model.config)["model_cfg"]).to(device)
    peer.load_state_dict(model.state_dict())
    peer.train()
    print(f"open_clip {open_clip.__version__} {name}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    settings = paper_settings(name, model.config)
    exempt: list[Any] = []
    decayed: list[Any] = []
    for parameter_name, parameter in peer.named_parameters():
        words = ("bn", "ln", "bias", "logit_scale")
        is_exempt = parameter.ndim < 2 or any(word in parameter_name for word in words)
        (exempt if is_exempt else decayed).append(parameter)
    groups = [{"params": exempt, "weight_decay": 0.0}, {"params": decayed, "weight_decay": DECAY}]
    optimiser = torch.optim.AdamW(groups, lr=RATE, betas=(BETA1, settings.beta2), eps=settings.epsilon)
    loss_of, forward = ClipLoss(), torch.compile(peer) if compiled else peer
    if device.type == "cuda":  # as its loader does in a thread
        images, ids = images.pin_memory(), ids.pin_memory()

    def step() -> Done:
        pixels, tokens = (rows.to(device, non_blocking=True) for rows in (images, ids))
        pixels = torchvision.to_dtype(pixels.permute(0, 3, 1, 2), torch.float32, scale=True)
        optimiser.zero_grad()
        with nullcontext() if precision == "float32" else autocast(device, precision):
            loss = loss_of(*forward(torchvision.normalize(pixels, list(MEAN), list(STD)), tokens))
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            peer.logit_scale.clamp_(0, math.log(100))
        return Done(float(loss.item()), ids.numel())

    return step


def seconds(step: Step) -> tuple[float, Done]:
    """Seconds of a step, and what it says."""
    started = time.perf_counter()
    done = step()
    if hardware.device().type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started, done


def run(claim: str, name: str, goal: float, *, full: bool = False, pairs: int = PAIRS, rounds: int = ROUNDS) -> None:
    """Measure, compare the losses, print the table and the claim's line."""
    torch.manual_seed(SEED)
    model = CLIP(MODELS[name])
    images, ids = batch(model.config.image_size, pairs, full)
    steps = {"ours": ours(model, name, images, ids), "open_clip": theirs(model, name, images, ids)}
    taken: dict[str, list[float]] = {who: [] for who in steps}
    for number in range(rounds + 1):
        losses = []
        for who in sorted(steps, reverse=bool(number % 2)):  # who is first changes
            took, done = seconds(steps[who])
            losses.append(done.loss)
            if number:  # the first is a warm-up
                taken[who].append(took)
        apart = abs(losses[0] - losses[1])
        print(f"step {number + 1}: loss {losses[0]:.5f}, apart {apart:.1e}", flush=True)
        assert apart <= 1e-4 * (1 + 10 * number), "the losses are not those of one model"
    for who, times in taken.items():
        took = statistics.median(times)
        print(f"{who:10} {took:8.3f} s a step of {pairs} pairs, {pairs / took:6.2f}/s")
    ratios = [peer / own for own, peer in zip(taken["ours"], taken["open_clip"], strict=True)]
    print(f"{claim} ratio={statistics.median(ratios):.2f} goal={goal}")
