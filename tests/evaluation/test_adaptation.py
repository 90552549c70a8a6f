"""Adaptation to ImageNet and to class shift, with a fit that can be followed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import UsageError
from evaluation import adaptation, shifts
from evaluation.adaptation import Change, Classifier, TestSet
from evaluation.robustness import Fit
from evaluation.shifts import Groups

CLASSES = Groups(("tench", "goldfish"), ((0,), (1,)))
RIGHT_WAY = np.zeros((2, 1000))
RIGHT_WAY[[0, 1], [0, 1]] = 1


def by(weights: np.ndarray) -> Classifier:
    return lambda features: features @ weights


def nearest_mean(features: np.ndarray, labels: np.ndarray) -> Classifier:
    """Scores by the mean of each class; a class that was not seen has no chance."""
    weights = np.zeros((2, 1000))
    for label in np.unique(labels):
        weights[:, label] = features[labels == label].mean(axis=0)
    return by(weights)


def a_set(name: str, features: list[list[float]], truth: list[str], own: Classifier | None = None) -> TestSet:
    ids = [f"{name}{number}" for number in range(len(truth))]
    judged = shifts.pictures(ids, {key: [label] for key, label in zip(ids, truth, strict=True)}, CLASSES)
    return TestSet(name, np.array(features), judged, own)


PHOTOS = a_set("photos", [[1, 0], [0, 1], [0.6, 0.5], [0.4, 0.5]], ["tench", "goldfish", "tench", "tench"])
SKETCHES = a_set("sketches", [[0, 1], [0, 1]], ["tench", "goldfish"], by(np.array([[1, 0], [0, 1.0]])))


def test_the_rows_of_figure_14() -> None:
    swapped = by(RIGHT_WAY[::-1])
    assert adaptation.to_imagenet(swapped, by(RIGHT_WAY), [PHOTOS, SKETCHES]) == [
        Change("photos", 4, 0.25, 0.75),
        Change("sketches", 2, 0.5, 0.5),
    ]
    rows = adaptation.to_class_shift(by(np.zeros((2, 1000))), [PHOTOS, SKETCHES])
    assert rows == [Change("photos", 4, 0, 0), Change("sketches", 2, 0, 0.5)]
    assert [row.change for row in rows] == [0, 0.5] and adaptation.mean_change(rows) == 0.25
    with pytest.raises(UsageError, match="no data set to average over"):
        adaptation.mean_change([])


def test_the_papers_average_of_adaptation_to_class_shift() -> None:
    """+26.9 on Youtube-BB, +8.3 on Vid, +2.3 on ObjectNet, none elsewhere: 5 points on average (section 3.3)."""
    found = adaptation.mean_change(
        [Change(f"{n}", 1, 0.5, 0.5 + gain) for n, gain in enumerate([0.269, 0.083, 0.023, 0, 0, 0, 0])]
    )
    assert round(100 * found, 2) == 5.36


def test_videos_count_anchors() -> None:
    frames = ["a", "a1", "b"]
    judged = shifts.clips(frames, {"a": ["tench"], "b": ["goldfish"]}, {"a": ("a1",), "b": ()}, CLASSES)
    video = TestSet("video", np.array([[1.0, 0], [0, 1], [0, 1]]), judged)
    assert adaptation.to_imagenet(by(RIGHT_WAY), by(RIGHT_WAY), [video]) == [Change("video", 2, 0.75, 0.75)]


def test_the_continuum() -> None:
    features, labels = np.array([[1.0, 0], [0, 1], [0.2, 1]]), np.array([0, 1, 1])
    draws = {"1": np.array([0, 1]), "all": np.arange(3)}
    outside = [TestSet("photos", SKETCHES.features, SKETCHES.judge)]
    line = Fit(1.0, 0.0, 1.0, 2)  # y = x
    steps = adaptation.continuum(by(RIGHT_WAY[::-1]), nearest_mean, features, labels, draws, [PHOTOS], outside, line)
    assert [(step.shots, step.examples, step.inside, step.outside) for step in steps] == [
        ("0", 0, 0.25, 0.5),
        ("1", 2, 0.75, 0.5),
        ("all", 3, 0.75, 0.5),  # goldfish's mean is (0.1, 1), which scores 0.56 on the third photo: less than 0.6
    ]
    assert [step.effective for step in steps] == pytest.approx([step.outside - step.inside for step in steps])


def test_what_does_not_belong_together() -> None:
    features, labels = np.eye(2), np.array([0, 1])
    zero_shot = by(RIGHT_WAY)
    with pytest.raises(UsageError, match="under the same name and in the same order"):
        adaptation.continuum(zero_shot, nearest_mean, features, labels, {}, [PHOTOS], [SKETCHES])
    for rows in (np.array([], dtype=int), np.array([0, 2]), np.array([1, 1])):
        with pytest.raises(UsageError, match="the draw of 1 shots has no rows, rows twice"):
            adaptation.continuum(zero_shot, nearest_mean, features, labels, {"1": rows}, [PHOTOS], [PHOTOS])
    with pytest.raises(
        UsageError, match=r"shape \(4, 999\) for photos, not \(4, 1000\): a class that it was not fitted"
    ):
        PHOTOS.accuracy(by(RIGHT_WAY[:, :999]))
