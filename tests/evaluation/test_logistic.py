"""The optimiser against scikit-learn's figures, its own definition, and a bound that needs no other optimiser."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad
from scipy.special import log_softmax, softmax

from evaluation import logistic
from tests.evaluation.digits import read_digits

# scikit-learn 1.9.1, LogisticRegression(C=1/λ) on the first 1,000 digits in float64: with tol=1e-4 and max_iter=1,000,
# its defaults but for the latter, and with tol=1e-10 and max_iter=20,000; accuracy of the latter on the others.
DIGITS = {
    1e-6: (0.03675126665, 8.120425014e-05, 0.915935),
    1e-4: (0.0480416656, 0.00460227615, 0.915935),
    1e-2: (0.4024453128, 0.2198459156, 0.919699),
    1e0: (7.82542756, 7.524939112, 0.924718),
    1e2: (139.1548857, 139.1349048, 0.936010),
    1e4: (1247.880138, 1247.877472, 0.902133),
    1e6: (2277.305146, 2277.305134, 0.597240),
}
TWO_CLASSES = {1e-3: 69.87652981, 1e0: 73.2258748, 1e3: 131.3446011}  # the same of `two_classes`, tol=1e-10


def two_classes() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    random = np.random.RandomState(7)  # whose numbers stay the same in all versions of numpy
    vectors = random.randn(200, 10).astype(np.float32)
    return vectors, (vectors[:, 0] + 0.5 * vectors[:, 1] + random.randn(200) > 0.4).astype(np.int64)


def objective(vectors: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], found: logistic.Solution) -> float:
    """As its definition has it, in float64, in the coordinates of the features."""
    scores = vectors.astype(np.float64) @ found.weights + found.intercepts
    losses = -log_softmax(scores, axis=1)[np.arange(len(labels)), labels]
    penalty = found.penalty * (2 if scores.shape[1] == 2 else 1)
    return float(losses.sum() + penalty / 2 * (found.weights**2).sum())


def test_digits_along_the_path_as_scikit_learn_has_them() -> None:
    digits = read_digits()
    train, test = digits.take(np.arange(1000)), digits.take(np.arange(1000, 1797))
    problem = logistic.prepare(train.vectors, train.labels, 10)
    last: tuple[logistic.Solution, ...] = ()
    for penalty, (default, converged, accuracy) in sorted(DIGITS.items(), reverse=True):
        found = logistic.fit(problem, penalty, last)
        last = (found,)
        assert found.converged and found.iterations < 300
        assert found.objective <= default * (1 + 1e-6)
        assert found.objective <= converged * (1 + 1e-3)
        if penalty >= 1e-2:  # below, scikit-learn stops where it gains no more of the mean loss, above the minimum
            assert found.objective >= converged * (1 - 1e-6)
        assert objective(train.vectors, train.labels, found) == pytest.approx(found.objective, rel=1e-5)
        right = logistic.logits(test.vectors, found).argmax(axis=1) == test.labels
        assert right.mean() == pytest.approx(accuracy, abs=2.5e-3), "two examples of 797"


def test_a_tight_tolerance_reaches_the_minimum() -> None:
    digits = read_digits().take(np.arange(1000))
    found = logistic.fit(logistic.prepare(digits.vectors, digits.labels, 10), 1e2, tolerance=1e-10)
    assert found.objective == pytest.approx(DIGITS[1e2][1], rel=1e-9)


@pytest.mark.parametrize(("penalty", "expected"), TWO_CLASSES.items())
def test_two_classes_have_one_weight_vector(penalty: float, expected: float) -> None:
    vectors, labels = two_classes()
    found = logistic.fit(logistic.prepare(vectors, labels, 2), penalty, tolerance=1e-9)
    assert found.objective == pytest.approx(expected, rel=1e-7)
    assert objective(vectors, labels, found) == pytest.approx(expected, rel=1e-7)
    assert found.weights[:, 0] == pytest.approx(-found.weights[:, 1], abs=1e-6)


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
