"""Forward selection of templates, on scores that are known and on vectors counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import Failure
from evaluation import metrics, selection


def test_the_best_addition_is_taken_until_nothing_is_better() -> None:
    known = {(0,): 0.5, (1,): 0.6, (2,): 0.6, (1, 0): 0.7, (1, 2): 0.65, (1, 0, 2): 0.7}
    steps = selection.forward(lambda chosen: known[tuple(chosen)], 3)
    assert [(step.template, step.score) for step in steps] == [(1, 0.6), (0, 0.7)]


def test_of_equal_templates_the_first_is_taken_alone() -> None:
    assert [step.template for step in selection.forward(lambda chosen: 0.0, 5)] == [0]
    with pytest.raises(Failure, match="no templates to select from"):
        selection.forward(lambda chosen: 0.0, 0)


def test_an_ensemble_is_the_mean_direction_of_its_templates() -> None:
    """Alone the first template takes both for the first class; the second pulls the second class's vector right."""
    images = np.array([[1, 0], [0.6, 0.8]], np.float32)
    texts = np.array([[[1, 0], [0, -1]], [[1, 0], [0.6, 0.8]]], np.float32)
    score = selection.of_ensembles(images, np.array([0, 1]), texts, metrics.accuracy)
    assert (score([0]), score([1])) == (0.5, 1.0)
    assert score([0, 1]) == 0.5  # (0.6, -0.2) at length 1 has 0.38 with the second picture, (1, 0) has 0.6
    assert [step.template for step in selection.forward(score, 2)] == [1]
