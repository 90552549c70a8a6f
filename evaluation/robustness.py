"""Effective robustness: accuracy under shift above what models of the same ImageNet accuracy have (section 3.3).

Accuracies are shares from 0 to 1. `inside` is ImageNet's validation set, restricted to a shift's classes; `outside` is
the shift itself. Both are averaged over the shifts that a model was evaluated on, and a line is fitted to the logits of
both averages over the models of the testbed (Taori et al. 2020; data/testbed/SOURCE.txt).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from scipy.special import expit, logit

from core.errors import UsageError
from evaluation import bootstrap

FEWEST_EXAMPLES = 20  # of a set, for an interval over examples
FEWEST_MODELS = 20  # for a fit with an interval over models: else a draw may have no two of them
LEAST_ACCURACY = 0.40  # inside: the relation of the logits is not linear below


@dataclass(frozen=True)
class Shift:
    """One of the seven natural shifts, and its columns in the testbed's table: a score is the mean of its columns.

    `registered`: its name in the registry of evaluation sets.
    """

    name: str
    registered: str
    title: str
    inside: str
    outside: tuple[str, ...]


SHIFTS = (
    Shift("imagenetv2", "imagenet_v2", "ImageNetV2", "val", ("imagenetv2-matched-frequency",)),
    Shift("imagenet-sketch", "imagenet_sketch", "ImageNet Sketch", "val", ("imagenet-sketch",)),
    Shift(
        "ytbb-robust", "youtube_bb", "Youtube-BB", "val-on-ytbb-robust-classes", ("ytbb-robust_pm0", "ytbb-robust_pm10")
    ),
    Shift(
        "imagenet-vid-robust",
        "imagenet_vid",
        "ImageNet Vid",
        "val-on-vid-robust-classes",
        ("imagenet-vid-robust_pm0", "imagenet-vid-robust_pm10"),
    ),
    Shift("objectnet", "objectnet", "ObjectNet", "val-on-objectnet-classes", ("objectnet-1.0-beta",)),
    Shift("imagenet-a", "imagenet_a", "ImageNet-A", "val-on-imagenet-a-classes", ("imagenet-a",)),
    Shift("imagenet-r", "imagenet_r", "ImageNet-R", "val-on-imagenet-r-classes", ("imagenet-r",)),
)
NAMES = tuple(shift.name for shift in SHIFTS)


@dataclass(frozen=True)
class Examples:
    """Results of single examples: ids, and float64 [n] from 0 to 1 (0.5: right, but not in all neighbouring frames)."""

    ids: Sequence[str]
    values: np.ndarray


@dataclass(frozen=True)
class Outcomes:
    """Results of a model's single examples by the shift's name: on ImageNet's pictures of its classes, and on it."""

    inside: Mapping[str, Examples]
    outside: Mapping[str, Examples]


@dataclass(frozen=True)
class Model:
    """Accuracies by the shift's name, from 0 to 1; a shift that a model was not evaluated on is missing in both."""

    name: str
    inside: Mapping[str, float]
    outside: Mapping[str, float]
    outcomes: Outcomes | None = None  # behind the accuracies, where they are known


def testbed() -> list[Model]:
    """The 338 models of the testbed, of which 329 have all seven shifts."""
    text = files("evaluation").joinpath("data/testbed/top1.csv").read_text(encoding="utf-8")
    return [_model(row) for row in csv.DictReader(text.splitlines())]


def _model(row: Mapping[str, str]) -> Model:
    there = [shift for shift in SHIFTS if row[shift.inside] and all(row[column] for column in shift.outside)]
    return Model(
        row["model"],
        {shift.name: float(row[shift.inside]) / 100 for shift in there},
        {shift.name: float(np.mean([float(row[column]) for column in shift.outside])) / 100 for shift in there},
    )


def means(model: Model, shifts: Sequence[str] = NAMES) -> tuple[float, float]:
    """The averages of a model's accuracies over some shifts, inside and outside; UsageError where one is missing."""
    unknown = [name for name in shifts if name not in NAMES]
    if unknown or not shifts:
        raise UsageError(f"{unknown[0] if unknown else 'nothing'} is none of the shifts: {', '.join(NAMES)}")
    missing = [name for name in shifts if name not in model.inside or name not in model.outside]
    if missing:
        raise UsageError(f"{model.name} has no accuracies on {', '.join(missing)}: leave them out or evaluate it")
    return (
        float(np.mean([model.inside[name] for name in shifts])),
        float(np.mean([model.outside[name] for name in shifts])),
    )


def left_out(model: Model, shifts: Sequence[str] = NAMES) -> str | None:
    """Why the fit does not use a model; None where it does.

    The rule: models that saw ImageNet's classes as labels, trained to the end. CLIP's are what is measured, the
    checkpoints of one training ("…_epochs") are not models of their own, and below 40 per cent the relation is not
    linear. A logit needs an accuracy that is neither 0 nor 1 (ResNet-50 has 0 on ImageNet-A, which was chosen so).
    """
    if any(name not in model.inside for name in shifts):
        return "not evaluated on all of these shifts"
    if "clip" in model.name.lower():
        return "trained as CLIP"
    if model.name.endswith("_epochs"):
        return "a checkpoint within a training"
    inside, outside = means(model, shifts)
    if inside <= LEAST_ACCURACY:
        return "at most 40 per cent on ImageNet"
    if not (inside < 1 and 0 < outside < 1):
        return "an accuracy of 0 or 1"
    return None


def baselines(models: Sequence[Model], shifts: Sequence[str] = NAMES) -> list[Model]:
    """The models that the fit uses, in the order of their names."""
    return sorted((model for model in models if left_out(model, shifts) is None), key=lambda model: model.name)


@dataclass(frozen=True)
class Fit:
    """logit(outside) = slope · logit(inside) + intercept, over n models; r2 in logits."""

    slope: float
    intercept: float
    r2: float
    n: int

    def predict(self, inside: float) -> float:
        """The accuracy under shift to expect: 0 at an accuracy of 0, and 1 at 1, which are the limits."""
        if inside in (0.0, 1.0):
            return inside
        return float(expit(self.slope * logit(inside) + self.intercept))


def fit(points: np.ndarray, weights: np.ndarray | None = None) -> Fit:
    """Least squares on logits. `points` float64 [n, 2], (inside, outside) of each model, all within (0, 1).

    Raises UsageError for fewer than two different models, and for accuracies of 0 or 1: `baselines` leaves them out.
    """
    if points.size == 0 or not ((points > 0) & (points < 1)).all():
        raise UsageError("a fit of logits needs accuracies between 0 and 1, neither included: leave the others out")
    x, y = logit(points).T
    w = np.ones(len(x)) if weights is None else weights
    x_mean, y_mean = np.average(x, weights=w), np.average(y, weights=w)
    dx, dy = x - x_mean, y - y_mean
    xx, xy, yy = np.sum(w * dx * dx), np.sum(w * dx * dy), np.sum(w * dy * dy)
    if xx == 0:
        raise UsageError("a line needs models of different accuracies on ImageNet: give more of them")
    slope = xy / xx
    return Fit(float(slope), float(y_mean - slope * x_mean), float(xy**2 / (xx * yy)) if yy else 1.0, len(x))


def points(models: Sequence[Model], shifts: Sequence[str] = NAMES) -> np.ndarray:
    """What `fit` takes: float64 [n, 2]."""
    return np.array([means(model, shifts) for model in models]).reshape(-1, 2)


def effective(line: Fit, inside: float, outside: float) -> float:
    """Effective robustness: accuracy under shift above the line, a difference of shares (0.2135: 21.35 points)."""
    return outside - line.predict(inside)


def error_ratio(inside: float, outside: float) -> float:
    """How many mistakes there are under shift for one on ImageNet; infinite for a model without mistakes inside."""
    return (1 - outside) / (1 - inside) if inside < 1 else float("inf")


def fits_drawn(models: Sequence[Model], shifts: Sequence[str], seed: int, draws: int = bootstrap.DRAWS) -> list[Fit]:
    """Fits of resampled models, as `interval` of their slopes, intercepts or predictions takes them."""
    used = baselines(models, shifts)
    if len(used) < FEWEST_MODELS:
        raise UsageError(f"an interval of the fit needs {FEWEST_MODELS} models, and {len(used)} are there: give more")
    of = bootstrap.ranks(seed, "models", [model.name for model in used])
    there = points(used, shifts)
    return [fit(there, bootstrap.weights(of, draw)) for draw in range(draws)]


@dataclass(frozen=True)
class Robustness:
    """A model among others. `low` and `high` are the 95 per cent interval of `effective`: over the choice of the other
    models and, where the model has outcomes (`over_examples`), over the examples of both sides."""

    name: str
    shifts: tuple[str, ...]
    inside: float
    outside: float
    predicted: float
    effective: float
    low: float
    high: float
    over_examples: bool

    @property
    def error_ratio(self) -> float:
        """How many mistakes there are under shift for one on ImageNet."""
        return error_ratio(self.inside, self.outside)


def measure(
    models: Sequence[Model],
    others: Sequence[Model],
    shifts: Sequence[str] = NAMES,
    *,
    seed: int = 0,
    draws: int = bootstrap.DRAWS,
) -> list[Robustness]:
    """Effective robustness of some models over some shifts, by the line through `others`.

    In each draw of the bootstrap the line is fitted to resampled models, and accuracies are those of resampled
    examples; the interval is the middle 95 per cent of all draws. An example of one id has the same weight for all
    models and in all of ImageNet's subsets. UsageError for outcomes of fewer than 20 examples, with an id twice, or
    whose mean is not the model's accuracy.
    """
    own = [means(model, shifts) for model in models]
    line = fit(points(baselines(others, shifts), shifts))
    lines = fits_drawn(others, shifts, seed, draws)
    drawn = _accuracies_drawn(models, shifts, seed, draws)
    found = []
    for model, (inside, outside), (insides, outsides) in zip(models, own, drawn, strict=True):
        predicted = line.predict(inside)
        values = [effective(*one) for one in zip(lines, insides.tolist(), outsides.tolist(), strict=True)]
        low, high = bootstrap.interval(np.array(values))
        over_examples = model.outcomes is not None
        found.append(
            Robustness(
                model.name, tuple(shifts), inside, outside, predicted, outside - predicted, low, high, over_examples
            )
        )
    return found


def _accuracies_drawn(models: Sequence[Model], shifts: Sequence[str], seed: int, draws: int) -> np.ndarray:
    """The means over the shifts in each draw: float64 [models, 2, draws], inside and outside."""
    drawn = np.array([means(model, shifts) for model in models])[:, :, np.newaxis] + np.zeros(draws)
    known = [(number, model.outcomes) for number, model in enumerate(models) if model.outcomes is not None]
    if not known:
        return drawn
    for number, outcomes in known:
        _check_outcomes(models[number], outcomes, shifts)
    rows = [number for number, _ in known]
    insides = _means_drawn("imagenet", [of.inside[name] for _, of in known for name in shifts], seed, draws)
    outsides = [_means_drawn(name, [of.outside[name] for _, of in known], seed, draws) for name in shifts]
    drawn[rows, 0] = insides.reshape(len(known), len(shifts), draws).mean(axis=1)
    drawn[rows, 1] = np.mean(outsides, axis=0)
    return drawn


def _check_outcomes(model: Model, outcomes: Outcomes, shifts: Sequence[str]) -> None:
    sides = (("ImageNet", outcomes.inside, model.inside), ("the shift", outcomes.outside, model.outside))
    for side, given, accuracies in sides:
        for name in shifts:
            if name not in given:
                raise UsageError(f"{model.name} has no results of single examples on {side} for {name}: give them too")
            n = len(given[name].ids)
            if n != len(given[name].values) or n < FEWEST_EXAMPLES or len(set(given[name].ids)) != n:
                raise UsageError(
                    f"{model.name} on {side} for {name}: {n} ids and {len(given[name].values)} results; an interval "
                    f"takes a result for each id, no id twice, and {FEWEST_EXAMPLES} examples"
                )
            mean = float(np.mean(given[name].values))
            if not abs(mean - accuracies[name]) < 1e-6:
                raise UsageError(
                    f"{model.name} on {side} for {name}: the mean of the examples is {mean:.4f}, "
                    f"and the accuracy is {accuracies[name]:.4f}: they are not of one evaluation"
                )


def _means_drawn(scope: str, some: Sequence[Examples], seed: int, draws: int) -> np.ndarray:
    """The mean of each of some sets in each draw: float64 [sets, draws]. An id has the same weight in all of them."""
    ids = sorted({name for one in some for name in one.ids})
    row = {name: number for number, name in enumerate(ids)}
    there, values = np.zeros((2, len(ids), len(some)))
    for column, one in enumerate(some):
        rows = [row[name] for name in one.ids]
        there[rows, column] = 1
        values[rows, column] = one.values
    of = bootstrap.ranks(seed, scope, ids)
    drawn = np.empty((len(some), draws))
    for draw in range(draws):
        weights = bootstrap.weights(of, draw).astype(np.float64)
        drawn[:, draw] = (weights @ values) / (weights @ there)
    return drawn
