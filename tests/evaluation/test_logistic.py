"""The optimiser against scikit-learn's, its own definition, and a bound that needs no other optimiser."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad
from scipy.special import log_softmax, softmax

from evaluation import logistic
from evaluation.features import Features
from tests.evaluation.digits import peer, peer_objective, read_digits

PATH = [10.0**exponent for exponent in range(6, -7, -1)]  # every λ that the binary search begins with, and between


def two_classes() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    random = np.random.default_rng(7)
    vectors = random.normal(size=(200, 10)).astype(np.float32)
    return vectors, (vectors[:, 0] + 0.5 * vectors[:, 1] + random.normal(size=200) > 0.4).astype(np.int64)


def objective(vectors: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], found: logistic.Solution) -> float:
    """As its definition has it, in float64, in the coordinates of the features."""
    scores = vectors.astype(np.float64) @ found.weights + found.intercepts
    losses = -log_softmax(scores, axis=1)[np.arange(len(labels)), labels]
    penalty = found.penalty * (2 if scores.shape[1] == 2 else 1)
    return float(losses.sum() + penalty / 2 * (found.weights**2).sum())


@pytest.fixture(scope="module")
def path() -> tuple[Features, Features, dict[float, logistic.Solution]]:
    """Digits to train on and to test with, and the fits along the path, each from the one before."""
    digits = read_digits()
    train, test = digits.take(np.arange(700)), digits.take(np.arange(700, 1797))
    problem = logistic.prepare(train.vectors, train.labels, 10)
    found: dict[float, logistic.Solution] = {}
    for penalty in PATH:
        found[penalty] = logistic.fit(problem, penalty, tuple(found.values())[-1:])
    return train, test, found


@pytest.mark.parametrize("penalty", PATH)
def test_an_objective_is_no_higher_than_scikit_learn_s(
    path: tuple[Features, Features, dict[float, logistic.Solution]], penalty: float
) -> None:
    train, _, fits = path
    found = fits[penalty]
    theirs = peer_objective(peer(train.vectors, train.labels, penalty), train.vectors, train.labels, penalty)
    assert found.converged and found.iterations < 300
    assert found.objective <= theirs * (1 + 1e-6)
    assert objective(train.vectors, train.labels, found) == pytest.approx(found.objective, rel=1e-5)


@pytest.mark.parametrize("penalty", [penalty for penalty in PATH if penalty >= 1])
def test_accuracies_agree_where_scikit_learn_is_at_the_minimum(
    path: tuple[Features, Features, dict[float, logistic.Solution]], penalty: float
) -> None:
    """Below λ = 1 it stops above the minimum even with this tolerance: another classifier, by 0.3 % and more."""
    train, test, fits = path
    model = peer(train.vectors, train.labels, penalty, tol=1e-6, max_iter=20_000)
    theirs = peer_objective(model, train.vectors, train.labels, penalty)
    assert fits[penalty].objective == pytest.approx(theirs, rel=1e-4)
    right = logistic.logits(test.vectors, fits[penalty]).argmax(axis=1) == test.labels
    assert 100 * right.mean() == pytest.approx(100 * model.score(test.vectors, test.labels), abs=0.1), "one of 1,097"


def test_a_tight_tolerance_reaches_the_minimum() -> None:
    digits = read_digits().take(np.arange(200))
    found = logistic.fit(logistic.prepare(digits.vectors, digits.labels, 10), 1e2, tolerance=1e-10)
    model = peer(digits.vectors, digits.labels, 1e2, tol=1e-8, max_iter=20_000)
    assert found.objective == pytest.approx(peer_objective(model, digits.vectors, digits.labels, 1e2), rel=1e-9)


@pytest.mark.parametrize("penalty", [1e-3, 1e0, 1e3])
def test_two_classes_have_one_weight_vector(penalty: float) -> None:
    vectors, labels = two_classes()
    model = peer(vectors, labels, penalty, tol=1e-10)
    expected = peer_objective(model, vectors, labels, penalty)
    found = logistic.fit(logistic.prepare(vectors, labels, 2), penalty, tolerance=1e-9)
    assert found.objective == pytest.approx(expected, rel=1e-7)
    assert objective(vectors, labels, found) == pytest.approx(expected, rel=1e-7)
    assert found.weights[:, 0] == pytest.approx(-found.weights[:, 1], abs=1e-6)
    assert found.weights[:, 1] - found.weights[:, 0] == pytest.approx(model.coef_[0], rel=1e-3, abs=1e-4)


@given(st.integers(0, 10**6), st.integers(5, 40), st.integers(1, 8), st.integers(2, 5), st.floats(-1, 3))
@settings(max_examples=25, deadline=None)
def test_the_minimum_is_within_what_strong_convexity_allows(
    seed: int, n: int, d: int, classes: int, log: float
) -> None:
    """With the intercepts at their best, no W is lower by more than ‖gradient‖² / 2λ."""
    random = np.random.default_rng(seed)
    vectors = (random.normal(size=(n, d)) * 10.0 ** random.integers(-2, 2) + 5).astype(np.float32)
    labels = np.r_[np.arange(classes), random.integers(0, classes, n - classes)]
    found = logistic.fit(logistic.prepare(vectors, labels, classes), 10**log, tolerance=1e-9)
    wrong = softmax(vectors.astype(np.float64) @ found.weights + found.intercepts, axis=1) - np.eye(classes)[labels]
    penalty = 10**log * (2 if classes == 2 else 1)
    gradient = vectors.T.astype(np.float64) @ wrong + penalty * found.weights
    assert np.isfinite(found.objective)
    assert (gradient**2).sum() / (2 * penalty) <= 1e-3 * found.objective


@pytest.mark.parametrize("classes", [2, 3])
def test_the_gradient_is_that_of_the_objective(classes: int) -> None:
    random = np.random.default_rng(0)
    problem = logistic.prepare(random.normal(size=(50, 4)).astype(np.float32), random.integers(0, classes, 50), classes)

    def value(flat: npt.NDArray[np.float64]) -> float:
        return logistic.evaluate(problem, flat.reshape(5, classes), 0.3, np.float64)[0]

    def gradient(flat: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return logistic.evaluate(problem, flat.reshape(5, classes), 0.3, np.float64)[1].ravel()

    assert check_grad(value, gradient, random.normal(size=5 * classes)) < 1e-4


def test_neighbours_save_iterations_and_change_nothing() -> None:
    digits = read_digits().take(np.arange(500))
    problem = logistic.prepare(digits.vectors, digits.labels, 10)
    above, below = (logistic.fit(problem, penalty) for penalty in (10.0, 1.0))
    cold = logistic.fit(problem, 3.0)
    warm = logistic.fit(problem, 3.0, (above, below))
    assert warm.objective == pytest.approx(cold.objective, rel=1e-4)
    assert warm.evaluations < cold.evaluations / 2


def test_features_that_say_nothing_leave_the_frequencies() -> None:
    labels = np.repeat([0, 1, 2], [10, 20, 70])
    found = logistic.fit(logistic.prepare(np.ones((100, 3), np.float32), labels, 3), 1.0, tolerance=1e-9)
    assert softmax(found.intercepts) == pytest.approx([0.1, 0.2, 0.7], abs=1e-4)
    assert np.abs(found.weights).max() < 1e-6


def test_what_is_not_converged_says_so() -> None:
    digits = read_digits().take(np.arange(300))
    found = logistic.fit(logistic.prepare(digits.vectors, digits.labels, 10), 1e-4, max_iterations=3)
    assert not found.converged and found.iterations == 3
