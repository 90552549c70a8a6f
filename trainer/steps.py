"""The steps of a training: each is completed or discarded, and a stop leaves a checkpoint of the last completed one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from contextlib import closing, nullcontext, suppress
from functools import partial

import torch

from core.errors import Failure
from core.progress import Progress
from trainer import hardware, precision
from trainer.accumulate import StepMetrics, gradients
from trainer.checkpoint import METRICS, State
from trainer.config import Config
from trainer.data import Batch
from trainer.flops import forward_flops
from trainer.loss import clip_temperature_
from trainer.optim import learning_rate
from trainer.ranks import Ranks
from trainer.stopping import Interrupted, StopRequested, StopSignals
from trainer.telemetry import Telemetry, throughput

NAMED_SAMPLES = 3  # of a batch, in the message about a step that is not finite


def run(
    state: State,
    batches: Generator[Batch],
    config: Config,
    ranks: Ranks,
    log: Telemetry | None,
    save: Callable[[], None],
    evaluate: Callable[[], None],
) -> None:
    """Make the remaining steps. `save` writes a checkpoint: every so many steps or minutes, and however this ends.

    Raises Failure after SIGTERM and KeyboardInterrupt after Ctrl-C, once the last completed step is saved.
    """
    training = _Training(state, config, ranks, log, save)
    progress = Progress("train", "steps", config.steps, state.step, to="stdout") if ranks.rank == 0 else nullcontext()
    with StopSignals() as stop:
        with closing(batches), progress as shown:
            try:
                training.evaluate_if_due(evaluate, stop)  # it may have been interrupted before
                while state.step < config.steps and training.advance(batches, stop):
                    training.save_if_due()
                    training.evaluate_if_due(evaluate, stop)
                    if shown:
                        shown.at(state.step, training.summary())
            finally:  # also after an error: of a sample, another rank, the next step
                training.save()  # before the threads that read are waited for: a server may be silent
        # Also a barrier: if a rank ended before the first has saved, torchrun would kill that one.
        is_interrupted = ranks.any_rank(state.step < config.steps or training.is_evaluation_due())
    if is_interrupted:
        if stop.received and stop.received.name == "SIGINT":
            raise KeyboardInterrupt
        signal = stop.received.name if stop.received else "a signal to another rank"
        raise Failure(
            f"stopped by {signal} after step {state.step:,}, which the last checkpoint holds: the same command goes on "
            "from there"
            if state.step
            else f"stopped by {signal} before the first step was done: the same command begins with it"
        )


class _Training:
    """The steps of this process, with their timing and the last step that a checkpoint holds."""

    def __init__(
        self, state: State, config: Config, ranks: Ranks, log: Telemetry | None, save: Callable[[], None]
    ) -> None:
        self._state, self._config, self._ranks, self._log, self._save_checkpoint = state, config, ranks, log, save
        self._saved, self._saved_at = state.step, time.monotonic()
        self._steps, self._seconds, self._waited = 0, 0.0, 0.0

    def advance(self, batches: Generator[Batch], stop: StopSignals) -> bool:
        """Make one step; False where a rank received a signal first, and no step was made."""
        started, batch = time.monotonic(), None
        with suppress(StopRequested), stop.interruptible():
            batch = next(batches)
        waited = time.monotonic() - started
        if self._ranks.any_rank(batch is None) or batch is None:
            return False
        try:
            tokens = step(self._state, batch, self._config, self._ranks, lambda: stop.received is not None)
        except Interrupted:
            return False
        self._add(time.monotonic() - started, waited, tokens)
        return True

    def _add(self, seconds: float, waited: float, tokens: int) -> None:
        self._steps, self._seconds, self._waited = self._steps + 1, self._seconds + seconds, self._waited + waited
        if self._log:
            pairs, world = self._config.batch_size, self._ranks.world
            flops = forward_flops(self._state.model.config, pairs, tokens) / world
            speed = throughput(pairs, seconds, waited, flops, hardware.device())
            self._log.add(self._state.step, {**self._state.last, **speed})

    def is_evaluation_due(self) -> bool:
        """Whether this rank has yet to evaluate the model of this step: the first rank does, every so many steps."""
        done, every = self._state.step, self._config.evaluate_every
        is_wanted = self._ranks.rank == 0 and every and done and done % every == 0
        return bool(is_wanted) and all(row["step"] != done for row in self._state.results)

    def evaluate_if_due(self, evaluate: Callable[[], None], stop: StopSignals) -> None:
        """Evaluate the model where that is due; a signal interrupts it."""
        done, every = self._state.step, self._config.evaluate_every
        if every and done % every == 0:  # on all ranks: the others wait for the first
            self._ranks.doing = f"the evaluation after step {done:,}"
        if self.is_evaluation_due():
            with suppress(StopRequested), stop.interruptible():
                evaluate()

    def save_if_due(self) -> None:
        """Write a checkpoint where the last is old enough, in steps or in minutes."""
        done = self._state.step
        is_due = done % self._config.checkpoint_every == 0 or done == self._config.steps
        if is_due or time.monotonic() - self._saved_at >= 60 * self._config.checkpoint_minutes:
            self.save()

    def save(self) -> None:
        """Write a checkpoint, unless this step has one, or a step failed while it was changing weights."""
        if self._saved < self._state.step and self._state.is_consistent:
            self._save_checkpoint()
            self._saved, self._saved_at = self._state.step, time.monotonic()

    def summary(self) -> str:
        """Loss and throughput for the progress line."""
        state, speed = self._state, self._steps * self._config.batch_size / self._seconds
        replaced = f", {sum(state.skipped.counts.values()):,} samples replaced" if state.skipped else ""
        waiting = self._waited / self._seconds
        return f"loss {state.last['loss']:.3f}, {speed:,.0f} samples/s, {waiting:.0%} waiting for data{replaced}"


def step(
    state: State, batch: Batch, config: Config, ranks: Ranks, interrupted: Callable[[], bool] = lambda: False
) -> int:
    """One step of gradient descent; returns the tokens of texts that it computed, over all ranks.

    Failure, before anything is changed, where the loss or the gradient is not finite.
    """
    assert config.learning_rate is not None and config.precision is not None  # `completed` has seen to it
    number = state.step + 1
    ranks.doing = f"step {number:,}"
    rate = learning_rate(state.step, config.steps, config.warmup, config.learning_rate)
    share = len(batch.images)
    micro_batch = min(config.micro_batch or share, share)
    try:
        metrics = gradients(
            state.model,
            batch.images,
            batch.ids,
            micro_batch=micro_batch,
            batch_norm=config.batch_norm,
            autocast=partial(precision.autocast, hardware.device(), config.precision),
            ranks=ranks,
            loss_scale=state.loss_scale.value,
            interrupted=interrupted,
        )
        norm = state.loss_scale.unscale_(state.model.parameters())
        if math.isfinite(norm) and math.isfinite(metrics.loss):
            state.is_consistent = False
            for group in state.optimiser.param_groups:
                group["lr"] = rate
            state.optimiser.step()  # the first one allocates the moments
            clip_temperature_(state.model)
            metrics.commit()
            state.loss_scale.succeeded()
        elif not math.isfinite(metrics.loss) or not state.loss_scale.overflowed():
            raise _not_finite(number, batch, metrics, norm)
    except torch.OutOfMemoryError as error:
        raise Failure(
            f"step {number:,}: the device has no memory for {micro_batch:,} pairs at once: set train.micro_batch = "
            f"{max(1, micro_batch // 2)}; the same command goes on from the last checkpoint"
        ) from error
    figures = {**vars(metrics), "learning_rate": rate, "gradient_norm": norm}
    state.metrics.append(tuple(float(figures[name]) for name in METRICS))
    for skipped in ranks.all_gather_object(batch.skipped):
        state.skipped.update(skipped)
    state.is_consistent = True
    return metrics.tokens


def _not_finite(number: int, batch: Batch, metrics: StepMetrics, norm: float) -> Failure:
    names = ", ".join(batch.name(row) for row in range(min(NAMED_SAMPLES, len(batch.samples))))
    return Failure(
        f"step {number:,} is not finite (loss {metrics.loss}, gradient norm {norm}; its batch begins with the "
        f"samples {names}): the same command makes it again from the last checkpoint; if it fails again, lower "
        "train.learning_rate or lengthen train.warmup, remove the checkpoints and train anew"
    )
