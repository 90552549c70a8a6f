"""AdamW as the paper uses it: what decays, the rate of each step, and what is stored in half precision.

Sources: section 2.5 and tables 18 to 20. The paper kept Adam's moments in half precision, and the weights of the text
encoder too, with stochastic rounding; it gives no details. Ours are bfloat16 throughout. It has the range of float32
and needs no scale: a squared gradient, often 1e-12, is nothing in float16. What it lacks is digits. A second moment
changes by a thousandth a step at beta2 = 0.999, and a weight by less, while neighbours in bfloat16 are up to 1/128
apart: rounded to the nearest, neither would ever change. They are rounded stochastically instead, which is right in
expectation; the first moment, which changes by a tenth, is rounded to the nearest. All arithmetic is float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from core import choice
from core.errors import UsageError
from trainer.model import CLIP, ModelConfig

BETA1 = 0.9  # of all models

_RATES = {"RN50x16": 4e-4, "RN50x64": 3.6e-4, "ViT-L/14": 4e-4, "ViT-L/14@336": 2e-5}  # of all others 5e-4


@dataclass(frozen=True, kw_only=True)
class Storage:
    """The types, float32 or bfloat16, in which a training keeps Adam's moments and the weights of the text tower."""

    moments: torch.dtype = torch.float32
    text_weights: torch.dtype = torch.float32


FULL_PRECISION = Storage()


@dataclass(frozen=True)
class Settings:
    """What the paper trains a model with, where it differs from model to model."""

    learning_rate: float  # at its peak
    beta2: float
    epsilon: float


def paper_settings(model: str, sizes: ModelConfig) -> Settings:
    """Of a model by its name (tables 18 to 20). One that is not the paper's has those of its kind at 5e-4."""
    rate = _RATES.get(model, 5e-4)
    is_residual = isinstance(sizes.vision_layers, tuple)
    return Settings(rate, 0.999, 1e-8) if is_residual else Settings(rate, 0.98, 1e-6)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for `torch.optim.AdamW`, decayed and not: the paper decays "all weights that are not gains or biases".

    Taken at its word: token, positional and class embeddings are weights and decay. Gains are the weights of layer
    and batch norms and logit_scale, which multiplies the logits; with the biases they do not.
    """
    norms = nn.LayerNorm | nn.BatchNorm2d
    gains = {id(module.weight) for module in model.modules() if isinstance(module, norms)}
    decayed: list[nn.Parameter] = []
    exempt: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        is_exempt = id(parameter) in gains or name.endswith(("bias", "logit_scale"))
        (exempt if is_exempt else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": exempt, "weight_decay": 0.0}]


def learning_rate(step: int, steps: int, warmup: int, peak: float) -> float:
    """The rate of step 0 <= step < steps: a linear climb that reaches `peak` at step warmup - 1, then a half cosine.

    Raises UsageError when the warm-up leaves no step to train.
    """
    if not 0 <= warmup < steps:
        raise UsageError(f"a warm-up of {warmup} steps does not fit in {steps} steps: make it shorter, or train longer")
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2


# ── the optimiser ─────────────────────────────────────────────────────────────────────────────────


def adamw(
    model: CLIP,
    *,
    learning_rate: float,
    weight_decay: float,
    betas: tuple[float, float],
    epsilon: float,
    storage: Storage = FULL_PRECISION,
    seed: int = 0,
) -> torch.optim.Optimizer:
    """AdamW over all parameters of a model on its device; torch's own, unless something is stored in bfloat16.

    The text tower's weights are converted in the model itself. The random numbers of the rounding are a function of
    `seed`, the step and the parameter's number, so a resumed run and every rank round alike.
    """
    if storage.text_weights == torch.bfloat16:
        halve_text_weights(model)
    groups = parameter_groups(model, weight_decay)
    if torch.bfloat16 in (storage.moments, storage.text_weights):
        return HalfAdamW(groups, learning_rate, betas, epsilon, storage.moments, seed)
    # One pass over each parameter: on a CPU a seventh of the time that torch's default, a loop of ten passes, takes.
    return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, eps=epsilon, fused=True)


def halve_text_weights(model: CLIP) -> None:
    """Store the weights of the text tower as bfloat16, in place: all of it but gains and biases, which are few.

    Their gradients are added up in float32, over however many micro-batches.
    """
    decayed = {id(parameter) for parameter in parameter_groups(model, 0.0)[0]["params"]}
    for name, parameter in model.named_parameters():
        if id(parameter) in decayed and not name.startswith("visual."):
            parameter.data = parameter.data.to(torch.bfloat16)
            parameter.grad_dtype = torch.float32


def stored(sizes: ModelConfig, storage: Storage) -> tuple[CLIP, int]:
    """A model without values (on torch's device "meta") in the types of `storage`, and the bytes of its two moments."""
    with torch.device("meta"):
        model = CLIP(sizes)
    if storage.text_weights == torch.bfloat16:
        halve_text_weights(model)
    return model, 2 * storage.moments.itemsize * sum(parameter.numel() for parameter in model.parameters())


class HalfAdamW(torch.optim.Optimizer):
    """torch.optim.AdamW with moments of the dtype `moments`, and stochastic rounding of bfloat16 parameters.

    With float32 for both it does what torch's own does with `foreach=False`, bit for bit.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        learning_rate: float,
        betas: tuple[float, float],
        epsilon: float,
        moments: torch.dtype,
        seed: int,
    ) -> None:
        super().__init__(groups, {"lr": learning_rate, "betas": betas, "eps": epsilon})
        self._moments, self._seed = moments, seed

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step for every parameter that has a gradient."""
        assert closure is None, "no step of ours looks at its loss twice"
        number = 0
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, number, group)
                number += 1

    def _update(self, parameter: Tensor, gradient: Tensor, number: int, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            zeros = torch.zeros_like(parameter, dtype=self._moments)
            state.update(step=0, exp_avg=zeros, exp_avg_sq=zeros.clone())
        state["step"] += 1
        gradient = widened(gradient)
        weight, first, second = widened(parameter), widened(state["exp_avg"]), widened(state["exp_avg_sq"])
        (beta1, beta2), step = group["betas"], state["step"]
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        first.lerp_(gradient, 1 - beta1)
        second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        denominator = (second.sqrt() / math.sqrt(1 - beta2**step)).add_(group["eps"])
        weight.addcdiv_(first, denominator, value=-group["lr"] / (1 - beta1**step))
        state["exp_avg"].copy_(first)
        random = torch.Generator(parameter.device)
        seeds = choice.rank(self._seed, "stochastic_rounding", str(step), [str(number).encode()])
        random.manual_seed(int(seeds[0]) >> 1)
        for stored, exact in ((state["exp_avg_sq"], second), (parameter, weight)):
            if stored.dtype == torch.bfloat16:
                stochastic_round_(stored, exact, random)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What `state_dict` gave, in the types that it gave: torch's own takes a moment into its parameter's type."""
        super().load_state_dict(state_dict)
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        for number, saved in state_dict["state"].items():
            moments = {name: saved[name].to(parameters[number].device, copy=True) for name in ("exp_avg", "exp_avg_sq")}
            self.state[parameters[number]] = {"step": saved["step"], **moments}


def widened(x: Tensor) -> Tensor:
    """`x` in float32 or wider: itself, or a copy."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def stochastic_round_(out: Tensor, exact: Tensor, random: torch.Generator) -> None:
    """Stochastic rounding of float32 values into a bfloat16 tensor: to one of the two neighbours, without bias.

    bfloat16 is the upper half of a float32. A random number from 0 to 65,535, added to the bits, carries into the upper
    half with a probability proportional to the lower half.
    """
    noise = torch.randint(0, 1 << 16, exact.shape, generator=random, device=exact.device, dtype=torch.int32)
    out.copy_(noise.add_(exact.view(torch.int32)).bitwise_and_(-(1 << 16)).view(torch.float32))
