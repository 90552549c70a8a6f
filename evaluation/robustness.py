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
FEWEST_MODELS = 10  # for a fit with an interval over models
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
class Model:
    """Accuracies by the shift's name, from 0 to 1; a shift that a model was not evaluated on is missing in both."""

    name: str
    inside: Mapping[str, float]
    outside: Mapping[str, float]


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


def relative(before: float, after: float) -> float:
    """Relative robustness of an intervention: any gain of accuracy under shift, whatever becomes of ImageNet's."""
    return after - before


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
class Examples:
    """Results of single examples: ids, and float64 [n] from 0 to 1 (0.5: right, but not in all neighbouring frames)."""

    ids: Sequence[str]
    values: np.ndarray


@dataclass(frozen=True)
class Robustness:
    """A model among others. `low` and `high` are the 95 per cent interval of `effective`, over models and, where
    results of single examples are given (`over_examples`), over them too."""

    name: str
    shifts: tuple[str, ...]
    inside: float
    outside: float
    predicted: float
    effective: float
    low: float
    high: float
    over_examples: bool


def measure(
    model: Model,
    others: Sequence[Model],
    shifts: Sequence[str] = NAMES,
    *,
    seed: int = 0,
    draws: int = bootstrap.DRAWS,
    examples: tuple[Mapping[str, Examples], Mapping[str, Examples]] | None = None,
) -> Robustness:
    """Effective robustness of a model over some shifts. `examples`: inside and outside, by the names of the shifts.

    Sets of fewer than 20 examples have no interval over them: UsageError, as for examples whose mean is not the model's
    accuracy or whose ids stand twice.
    """
    inside, outside = means(model, shifts)
    line = fit(points(baselines(others, shifts), shifts))
    lines = fits_drawn(others, shifts, seed, draws)
    insides, outsides = np.full(draws, inside), np.full(draws, outside)
    if examples is not None:
        _check_examples(model, examples, shifts)
        insides = _means_drawn([("imagenet", examples[0][name]) for name in shifts], seed, draws)
        outsides = _means_drawn([(name, examples[1][name]) for name in shifts], seed, draws)
    values = [effective(*drawn) for drawn in zip(lines, map(float, insides), map(float, outsides), strict=True)]
    low, high = bootstrap.interval(np.array(values))
    predicted = line.predict(inside)
    found = outside - predicted
    return Robustness(model.name, tuple(shifts), inside, outside, predicted, found, low, high, examples is not None)


def _check_examples(
    model: Model, examples: tuple[Mapping[str, Examples], Mapping[str, Examples]], shifts: Sequence[str]
) -> None:
    for side, given, accuracies in zip(("ImageNet", "the shift"), examples, (model.inside, model.outside), strict=True):
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


def _means_drawn(sets: Sequence[tuple[str, Examples]], seed: int, draws: int) -> np.ndarray:
    """The mean over some sets in each draw: float64 [draws]. Examples of one scope and id share their weight."""
    totals = np.zeros(draws)
    for scope, given in sets:
        of = bootstrap.ranks(seed, scope, given.ids)
        values = np.asarray(given.values, dtype=np.float64)
        totals += [np.average(values, weights=bootstrap.weights(of, draw)) for draw in range(draws)]
    return totals / len(sets)
