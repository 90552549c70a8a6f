"""From scores to rows: the metric of a set, its interval, and the likeliest answers."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import Failure
from trainer.evals import judged

ASKED = judged.Asked("s", "zero-shot", "paper", "m", 3)


def test_the_metric_of_a_set_stands_first() -> None:
    scores = np.array([[3, 1, 0], [0, 3, 1], [3, 1, 0], [0, 0, 3], [0, 1, 3], [0, 1, 3]], np.float32)
    labels = np.array([0, 1, 1, 2, 2, 2])
    rows = judged.by_class(ASKED, "mean_per_class", list("abcdef"), labels, scores, ["x", "y", "z"])
    assert [(row["metric"], row["value"]) for row in rows] == [
        ("mean_per_class", pytest.approx((1 + 1 / 2 + 1) / 3)),
        ("accuracy", pytest.approx(5 / 6)),
    ]
    assert rows[0]["low"] <= rows[0]["value"] <= rows[0]["high"] and rows[0]["low"] < rows[0]["high"]
    again = judged.by_class(ASKED, "mean_per_class", list("fedcba"), labels[::-1], scores[::-1], ["x", "y", "z"])
    assert again == rows


def test_metrics_of_two_and_of_many_classes() -> None:
    two = np.array([[0, 2], [0, 1], [0, 1.5], [1, 0]], np.float32)
    rows = judged.by_class(ASKED, "roc_auc", list("abcd"), np.array([1, 1, 0, 0]), two, ["no", "yes"])
    assert (rows[0]["metric"], rows[0]["value"], rows[0]["chance"]) == ("roc_auc", 0.75, 0.5)
    seven = np.eye(7, dtype=np.float32)[[0, 1, 2]] + np.linspace(0, 0.1, 7, dtype=np.float32)
    rows = judged.by_class(ASKED, "mean_top1_top5", list("abc"), np.array([0, 6, 0]), seven, list("1234567"))
    assert [(row["metric"], row["value"]) for row in rows] == [
        ("mean_top1_top5", pytest.approx((1 / 3 + 2 / 3) / 2)),
        ("accuracy", pytest.approx(1 / 3)),
        ("top-5", pytest.approx(2 / 3)),
    ]
    assert [row["chance"] for row in rows] == pytest.approx([(1 / 7 + 5 / 7) / 2, 1 / 7, 5 / 7])
    (row,) = judged.by_classes(ASKED, np.eye(2, dtype=bool), np.eye(2, dtype=np.float32), ["x", "y"])
    assert (row["metric"], row["value"], row["low"]) == ("map11", 1.0, None)
    with pytest.raises(Failure, match="roc_auc takes 2"):
        judged.by_class(ASKED, "roc_auc", list("abc"), np.array([0, 1, 2]), np.eye(3, dtype=np.float32), list("xyz"))


def test_a_share_has_clopper_pearson_s_interval() -> None:
    row = ASKED.share("accuracy", np.arange(10) < 5, 0.1)
    assert (row["value"], row["n"], row["chance"]) == (0.5, 10, 0.1)
    assert (row["low"], row["high"]) == pytest.approx((0.187086, 0.812914), abs=5e-7)


def test_the_five_likeliest_answers_are_in_order_and_of_equal_ones_the_first() -> None:
    scores = np.array([[1, 5, 5, 0, 2, 3, 4]], np.float32)
    table = judged.examples(ASKED, ["i"], [["b"]], scores.__getitem__, list("abcdefg"), np.array([2]), True)
    (row,) = table.to_pylist()
    assert row["predicted"] == ["b", "c", "g", "f", "e"]
    assert row["scores"] == pytest.approx((np.exp([5, 5, 4, 3, 2]) / np.exp(scores).sum()).tolist(), rel=1e-5)


@pytest.mark.parametrize("n", [3, 5, 60])
def test_of_many_equal_answers_the_first_five_are_named(n: int) -> None:
    """As when two classes have one name: ImageNet's have."""
    scores = np.random.default_rng(0).integers(0, 12, (400, n)).astype(np.float32)
    answers = np.array([f"{i}" for i in range(n)])
    ids = [f"{i}" for i in range(len(scores))]
    table = judged.examples(ASKED, ids, [["0"]] * len(ids), scores.__getitem__, answers.tolist(), None, True)
    assert table["predicted"].to_pylist() == answers[np.argsort(-scores, axis=1, kind="stable")[:, :5]].tolist()
