"""Multinomial logistic regression by L-BFGS: what scikit-learn minimises, with the iterations made fewer.

For features x_i [d], labels y_i and classes k, `fit` minimises over weights W [d, k] and intercepts b [k]

    Σ_i −log softmax(x_i W + b)[y_i]  +  ½ λ ‖W‖²        (λ = 1/C; the intercepts are not penalised)

With two classes scikit-learn has one weight vector w = w_1 − w_0 and penalises ½ λ ‖w‖². Of two vectors, each the
negative of the other, that is λ ‖W‖², so λ counts twice (scikit-learn 1.9, sklearn/linear_model/_logistic.py).

What makes it converge in few iterations:

- The features are centred, which the intercepts undo, and turned onto the axes of their covariance, which the penalty
  does not see. There the curvature along feature j for class k is close to c_k s_j + λ, where s_j is the feature's sum
  of squares and c_k the mean of p (1 − p): L-BFGS begins with its inverse.
- A fit starts from one or two neighbours on the path of λ: the mean of their weights for a λ between them, times a
  scale that is searched for first. Where classes are separable, weights for different λ differ in little else.
- The curvature pairs of a neighbour are carried over. The gradient of the sum of losses does not depend on λ, so a pair
  is made right for another λ by adding (λ − λ_old) times its step.

Products of matrices are computed in float32, what is summed over blocks of rows in float64. Where rounding stops the
descent before the tolerance is met, it goes on in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Precision = type[np.float32] | type[np.float64]

MAX_ITERATIONS = 1_000  # appendix A.3
TOLERANCE = 3e-7  # of the objective, what may be left to gain by estimate
STEEPEST = 1e-5  # largest entry of the gradient over examples; scikit-learn's own limit is 1e-4
MEMORY = 10  # curvature pairs, as in scipy's L-BFGS-B
_ROWS = 2_048  # of the features, at once
_SAMPLE = 8_192  # rows at the most that say where a fit starts
_MOST_SCALED = 3.0  # times, at the start of a fit
_LEAST_CURVATURE = 1e-12
_SUFFICIENT, _FLATTER = 1e-4, 0.9  # of a line search: what a step has to gain, how much flatter it has to become
_STEPS = 30  # tries of a line search
_STALLED = 5  # iterations that gain nothing to speak of


@dataclass(frozen=True)
class Problem:
    """Features and labels as `fit` needs them; made once by `prepare` for all λ."""

    rotated: Floats  # [n, d], centred, on the axes of their covariance
    labels: Integers  # [n]
    classes: int
    mean: Doubles  # [d], of the features
    axes: Doubles  # [d, d], an axis a column
    spread: Doubles  # [d], sum of squares along each axis


@dataclass(frozen=True)
class Solution:
    """What minimises a problem for one λ, and how far the search came."""

    penalty: float  # λ
    weights: Doubles  # [d, classes]
    intercepts: Doubles  # [classes]
    objective: float
    iterations: int
    evaluations: int  # of objective and gradient, two products of matrices each
    converged: bool
    state: _Point  # where a fit for another λ starts


@dataclass(frozen=True)
class _Point:
    """Weights and intercepts on the axes, and curvature pairs there."""

    position: Doubles  # [d + 1, classes]; the last row: intercepts
    pairs: tuple[tuple[Doubles, Doubles], ...]  # steps, and changes of the gradient without the penalty


def prepare(vectors: Floats, labels: Integers, classes: int) -> Problem:
    """vectors: float32 [n, d], finite; labels: int64 [n], every one of 0 … classes - 1; classes >= 2.

    Holds one copy of the vectors. The intercept of a class without an example would fall for ever.
    """
    mean = vectors.mean(axis=0, dtype=np.float64)
    gram = np.zeros((vectors.shape[1],) * 2)
    for at in range(0, len(vectors), _ROWS):
        rows = vectors[at : at + _ROWS] - mean
        gram += rows.T @ rows
    spread, axes = np.linalg.eigh(gram)
    rotated = np.empty(vectors.shape, np.float32)
    for at in range(0, len(vectors), _ROWS):
        rotated[at : at + _ROWS] = (vectors[at : at + _ROWS] - mean) @ axes
    return Problem(rotated, labels, classes, mean, axes, np.maximum(spread, 0))


def logits(vectors: Floats, solution: Solution) -> Floats:
    """Scores of the classes: float32 [n, classes]."""
    scores: Floats = vectors @ solution.weights.astype(np.float32) + solution.intercepts.astype(np.float32)
    return scores


def fit(
    problem: Problem,
    penalty: float,
    neighbours: tuple[Solution, ...] = (),
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> Solution:
    """The minimum for λ = `penalty`, within `tolerance` of it by estimate, and from `neighbours` where there are any.

    At most two neighbours, solutions of the same problem, the nearer one first; of two, λ lies between theirs. What has
    not converged after max_iterations says so.
    """
    inner = penalty * 2 if problem.classes == 2 else penalty
    start, curvature = _start(problem, inner, penalty, neighbours)
    search = _Search(problem, inner, curvature, tolerance, max_iterations)
    point, converged = search.descend(start, np.float32)
    if not converged and search.iterations < max_iterations:
        point, converged = search.descend(point, np.float64)
    weights = problem.axes @ point.position[:-1]
    intercepts = point.position[-1] - problem.mean @ weights
    intercepts -= intercepts.mean()  # which softmax does not see
    objective, _ = evaluate(problem, point.position, inner, np.float64)
    return Solution(penalty, weights, intercepts, objective, search.iterations, search.evaluations, converged, point)


def evaluate(problem: Problem, position: Doubles, penalty: float, precision: Precision) -> tuple[float, Doubles]:
    """Objective and gradient [d + 1, classes] at weights and intercepts [d + 1, classes] on the problem's axes.

    The loss of an example is log(1 + Σ exp(other logits) / exp(own logit)) by log1p, and the gradient at the own class
    the others' sum, so that examples which are right by far keep their digits.
    """
    loss = 0.0
    gradient = np.zeros(position.shape)
    weights: npt.NDArray[Any] = position[:-1].astype(precision)
    intercepts: npt.NDArray[Any] = position[-1].astype(precision)
    for at in range(0, len(problem.labels), _ROWS):
        rows: npt.NDArray[Any] = problem.rotated[at : at + _ROWS].astype(precision, copy=False)
        own = problem.labels[at : at + _ROWS]
        scores = rows @ weights
        scores += intercepts
        losses, others = _softmax(scores, own)
        scores[np.arange(len(own)), own] = -others
        loss += float(losses.sum())
        gradient[:-1] += rows.T @ scores
        gradient[-1] += scores.sum(axis=0, dtype=np.float64)
    loss += penalty / 2 * float(np.vdot(position[:-1], position[:-1]))
    gradient[:-1] += penalty * position[:-1]
    return loss, gradient


def _softmax(scores: npt.NDArray[Any], own: Integers) -> tuple[Doubles, Doubles]:
    """Losses [n] and 1 − p of the own class [n]; scores [n, classes] become p in place, with 0 at the own class."""
    rows = np.arange(len(own))
    scores -= scores.max(axis=1, keepdims=True)
    mine = scores[rows, own].astype(np.float64)
    np.exp(scores, out=scores)
    scores[rows, own] = 0
    others = scores.sum(axis=1, dtype=np.float64)
    total = others + np.exp(mine)
    scores *= (1 / total).astype(scores.dtype)[:, None]
    return np.log1p(others + np.expm1(mine)) - mine, others / total


# ── where a fit starts ────────────────────────────────────────────────────────────────────────────


def _start(problem: Problem, inner: float, penalty: float, neighbours: tuple[Solution, ...]) -> tuple[_Point, Doubles]:
    """A point between the neighbours' solutions at the best scale, and of each class the mean of p (1 − p) there."""
    states = [neighbour.state for neighbour in neighbours]
    if not states:
        states = [_Point(np.zeros((problem.rotated.shape[1] + 1, problem.classes)), ())]
    position = states[0].position
    if len(states) == 2:
        low, high = (np.log(neighbour.penalty) for neighbour in neighbours)
        share = float((np.log(penalty) - low) / (high - low))
        position = (1 - share) * position + share * states[1].position
    every = -(-len(problem.labels) // _SAMPLE)
    own = problem.labels[::every]
    scores = problem.rotated[::every] @ position[:-1].astype(np.float32) + position[-1].astype(np.float32)
    scale = _scale(scores, own, inner / 2 * float(np.vdot(position[:-1], position[:-1])) / every)
    scores *= np.float32(scale)
    _, others = _softmax(scores, own)
    scores[np.arange(len(own)), own] = 1 - others
    return _Point(position * scale, states[0].pairs), (scores * (1 - scores)).mean(axis=0, dtype=np.float64)


def _scale(scores: Floats, own: Integers, square: float) -> float:
    """How many times these logits have the least loss, their penalty being `square`.

    Only where it is about once: for a λ that changes the weights by more, their direction changes, too, and from the
    larger weights it takes more steps.
    """

    def objective(log_scale: float) -> float:
        losses, _ = _softmax(scores * np.float32(np.exp(log_scale)), own)
        return float(losses.sum() + np.exp(2 * log_scale) * square)

    if square == 0:
        return 1.0
    bound = np.log(_MOST_SCALED)
    found = minimize_scalar(objective, bounds=(-bound, bound), method="bounded", options={"xatol": 0.02})
    return float(np.exp(found.x)) if abs(found.x) < 0.95 * bound else 1.0


# ── the descent ───────────────────────────────────────────────────────────────────────────────────


class _Search:
    """L-BFGS on one problem for one λ, counting."""

    def __init__(
        self, problem: Problem, penalty: float, curvature: Doubles, tolerance: float, max_iterations: int
    ) -> None:
        self.problem, self.penalty = problem, penalty
        self.tolerance, self.max_iterations = tolerance, max_iterations
        self.iterations = self.evaluations = 0
        curvature = np.maximum(curvature, _LEAST_CURVATURE)
        inner = np.outer(problem.spread, curvature) + penalty
        self.diagonal = np.vstack([inner, curvature * len(problem.labels)])  # of the Hessian, estimated

    def descend(self, start: _Point, precision: Precision) -> tuple[_Point, bool]:
        """The lowest point that was come to, and whether what is left to gain is within the tolerance.

        That is half of the gradient times the next step, as Newton's method estimates it.
        """
        position = start.position
        value, gradient = self._evaluate(position, precision)
        pairs = list(start.pairs)
        inverse = _Inverse(self.diagonal)
        for step, change in pairs:
            inverse.learn(step, self._penalised(step, change))
        gains: list[float] = []
        while self.iterations < self.max_iterations:
            direction = -inverse.times(gradient)
            slope = float(np.vdot(gradient, direction))
            steepest = float(np.abs(gradient).max()) / len(self.problem.labels)
            if -slope / 2 <= self.tolerance * value and steepest <= STEEPEST:
                return _Point(position, tuple(pairs)), True
            found = self._step(position, value, direction, slope, precision)
            if found is None:
                break
            new, new_value, new_gradient = found
            step, change = new - position, new_gradient - gradient
            inverse.learn(step, change)
            pairs = [*pairs, (step, self._penalised(step, change, -1))][-MEMORY:]
            gains = [*gains, (value - new_value) / value][-_STALLED:]
            position, value, gradient = new, new_value, new_gradient
            self.iterations += 1
            if len(gains) == _STALLED and sum(gains) < np.finfo(precision).eps:
                return _Point(position, tuple(pairs)), precision is np.float64  # as low as its digits can tell
        return _Point(position, tuple(pairs)), False

    def _evaluate(self, position: Doubles, precision: Precision) -> tuple[float, Doubles]:
        self.evaluations += 1
        return evaluate(self.problem, position, self.penalty, precision)

    def _penalised(self, step: Doubles, change: Doubles, sign: int = 1) -> Doubles:
        """The change of the gradient with the penalty's part, or without it."""
        changed = change.copy()
        changed[:-1] += sign * self.penalty * step[:-1]
        return changed

    def _step(
        self, position: Doubles, value: float, direction: Doubles, slope: float, precision: Precision
    ) -> tuple[Doubles, float, Doubles] | None:
        """A step along the direction that meets the weak Wolfe conditions, by bisection; None where none is found."""
        low, high, length = 0.0, np.inf, 1.0
        for _ in range(_STEPS):
            new = position + length * direction
            new_value, new_gradient = self._evaluate(new, precision)
            if not new_value <= value + _SUFFICIENT * length * slope:
                high = length
            elif float(np.vdot(new_gradient, direction)) < _FLATTER * slope:
                low = length
            else:
                return new, new_value, new_gradient
            length = (low + high) / 2 if high < np.inf else 2 * length
        return None


class _Inverse:
    """The inverse Hessian of L-BFGS (Nocedal 1980), from a diagonal and the last pairs of steps and gradient changes.

    Steps and changes are kept as rows of two matrices, in units in which the diagonal is 1, with all their products. So
    the two loops run over numbers, and a product with a vector reads each matrix twice.
    """

    def __init__(self, diagonal: Doubles) -> None:
        """`diagonal`: of the Hessian, estimated; > 0."""
        self._root = np.sqrt(diagonal).ravel()
        self._shape = diagonal.shape
        self._steps, self._changes = (np.empty((MEMORY, self._root.size)) for _ in range(2))
        self._products, self._squares = (np.zeros((MEMORY, MEMORY)) for _ in range(2))  # step · change, change · change
        self._order: list[int] = []  # rows in use, the oldest first

    def learn(self, step: Doubles, change: Doubles) -> None:
        """Take a pair, for the oldest one if there is no room; one that shows no curvature is left out."""
        step, change = step.ravel() * self._root, change.ravel() / self._root
        if not float(np.vdot(step, change)) > 0:
            return
        row = self._order.pop(0) if len(self._order) == MEMORY else len(self._order)
        self._order.append(row)
        self._steps[row], self._changes[row] = step, change
        used = sorted(self._order)
        self._products[used, row] = self._steps[: len(used)] @ change
        self._products[row, used] = self._changes[: len(used)] @ step
        self._squares[used, row] = self._squares[row, used] = self._changes[: len(used)] @ change

    def times(self, gradient: Doubles) -> Doubles:
        """The inverse Hessian times the gradient [d + 1, classes]."""
        scaled, order = gradient.ravel() / self._root, self._order
        if not order:
            return (scaled / self._root).reshape(self._shape)
        n, grid = len(order), np.ix_(order, order)
        steps, changes, products = self._steps[:n], self._changes[:n], self._products[grid]
        along, factors = (steps @ scaled)[order], np.zeros(n)
        for i in reversed(range(n)):
            factors[i] = (along[i] - products[i, i + 1 :] @ factors[i + 1 :]) / products[i, i]
        scale = products[-1, -1] / self._squares[order[-1], order[-1]]
        left = scale * ((changes @ scaled)[order] - self._squares[grid] @ factors)
        more = np.zeros(n)
        for i in range(n):
            more[i] = factors[i] - (left[i] + products[:i, i] @ more[:i]) / products[i, i]
        place = np.argsort(order)  # back to the order of the rows
        result: Doubles = scale * (scaled - factors[place] @ changes) + more[place] @ steps
        return (result / self._root).reshape(self._shape)
