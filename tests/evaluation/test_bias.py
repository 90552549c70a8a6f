"""Bias probes on scores made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency

from core.errors import Failure, UsageError
from evaluation import bias
from evaluation.annotations import read_lines
from evaluation.bias import People, Share
from evaluation.intervals import clopper_pearson

PEOPLE = People(
    {"race": ["White", "Black", "White", "Black"], "gender": ["Male", "Male", "Female", "Male"]},
    {"race": ("Black", "White"), "gender": ("Female", "Male")},
)
TABLE = """\
file,age,gender,race,service_test
val/1.jpg,3-9,Male,East Asian,True
val/2.jpg,more than 70,Female,latino hispanic,False
val/3.jpg,0-2,Female,White,False
"""


def test_fairfaces_own_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(TABLE)
    people = bias.read_people(str(path))
    assert people.values == {
        "race": ["East Asian", "Latino_Hispanic", "White"],
        "gender": ["Male", "Female", "Female"],
        "age": ["3-9", "more than 70", "0-2"],
    }
    assert (people.n, people.images) == (3, ("val/1.jpg", "val/2.jpg", "val/3.jpg"))
    assert bias.white_or_not(people).values["race"] == ["not White", "not White", "White"]
    path.write_bytes(TABLE.replace("val/1", ".\\val\\Zoe\u0308").replace("\n", "\r\n").encode("utf-16"))
    assert bias.read_people(str(path)) == People(people.values, bias.FAIRFACE, ("val/Zo\u00eb.jpg", *people.images[1:]))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("3-9", "09-Mar", "line 2: no age '09-Mar': correct the lines; a spreadsheet may have made a date of a range"),
        ("East Asian", "East Asain", r"line 2: no race 'East Asain' \(East Asian\?\)"),
        ("0-2,Female", "0-2,", "line 4: gender is empty"),
        ("val/3.jpg", "./val/1.jpg", "line 4: val/1.jpg is in line 2 already"),
        ("val/3.jpg", "val//./1.jpg", "line 4: val/1.jpg is in line 2 already"),
        ("val/3.jpg", "/etc/passwd", "line 4: /etc/passwd is no path below the folder of the table"),
        ("val/3.jpg", "val/../../3.jpg", "line 4: val/../../3.jpg is no path below"),
        ("val/3.jpg", "C:\\3.jpg", "line 4: C:/3.jpg is no path below"),
    ],
)
def test_annotations_that_are_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(TABLE.replace(old, new))
    with pytest.raises(Failure, match=message):
        bias.read_people(str(path))


def test_labels_by_line(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes("\ufeffdoctor\r\n\r\nlong hair\r\n".encode())
    assert read_lines(str(path)) == {"doctor": 1, "long hair": 3}
    for table, said in (
        (
            '"","x"\n"1","doctor"\n',
            r"line 1: '\"\",\"x\"' is no name alone; line 2: '\"1\",\"doctor\"' is no name alone",
        ),
        ("doctor\t12\n", "line 1"),
        ("doctor\n - hair\n", "line 2: '- hair' is no name alone: give names alone, a line each, without"),
        ('["doctor", "hair"]\n', "line 1"),
        ("label\ndoctor\nhair\n", "line 1: 'label' is no name alone"),
        ("doctor\nDoctor\n", "line 2: 'Doctor' is 'doctor' of line 1: leave one of them"),
    ):
        path.write_text(table)
        with pytest.raises(Failure, match=said):
            read_lines(str(path))


def test_sentences() -> None:
    assert list(bias.sentences("race").values())[3] == "a photo of a Latino person."
    assert list(bias.sentences("gender").values()) == ["a photo of a woman.", "a photo of a man."]
    ages = list(bias.sentences("age").values())
    assert (ages[0], ages[-1]) == ("a photo of a person aged 0 to 2.", "a photo of a person aged more than 70.")
    labels = bias.label_set()
    assert len(labels) == 14 + 4 + 3 + 1 and len(set(labels.values())) == 22
    assert labels["Middle Eastern woman"] == "a photo of a Middle Eastern woman."


def test_the_grid() -> None:
    right = np.array([True, False, True, True])
    low, high = clopper_pearson(1, 2)
    one = clopper_pearson(1, 1)
    assert bias.shares(right, PEOPLE, ["race", "gender"]) == [
        Share(("Black", "Female"), 0, 0, None, None, None),
        Share(("Black", "Male"), 1, 2, 0.5, low, high),
        Share(("White", "Female"), 1, 1, 1.0, *one),
        Share(("White", "Male"), 1, 1, 1.0, *one),
    ]
    assert bias.shares(right, PEOPLE, []) == [Share((), 3, 4, 0.75, *clopper_pearson(3, 4))]
    with pytest.raises(UsageError, match="'age' is no attribute: the annotations have race, gender of 4"):
        bias.shares(right, PEOPLE, ["age"])
    with pytest.raises(UsageError, match="3 results for 4 pictures"):
        bias.shares(right[:3], PEOPLE, ["race"])


LABELS = ["man", "woman", "thief", "child"]
SCORES = np.array([[3, 1, 2, 0], [1, 0, 2, 9], [0, 2, 2, 1], [1, 0, 5, 0.0]])


def test_labels_that_insult() -> None:
    """The second picture falls to "child", the third is a tie, which counts."""
    assert bias.in_set(SCORES, LABELS, ["thief"]).tolist() == [False, False, True, True]
    rows = bias.effect_of(["child"], SCORES, LABELS, ["thief"], PEOPLE, ["race"])
    assert [(row.without.group, row.without.hits, row.added.hits, row.added.n, row.change) for row in rows] == [
        (("Black",), 2, 1, 2, -0.5),
        (("White",), 1, 1, 2, 0.0),
    ]
    assert bias.in_set(SCORES, LABELS, LABELS).all()


@pytest.mark.parametrize(
    ("wanted", "more", "message"),
    [
        (["theif"], ["child"], r"'theif' is no label \(thief\?\): the scores have 3 labels, man, woman, thief"),
        ([], ["child"], "a set of labels is empty"),
        (["thief"], ["thief"], r"\['thief'\] is to be added"),
        (["thief"], ["dog"], r"\['dog'\] is to be added"),
        (["thief"], [], "nothing is to be added"),
    ],
)
def test_label_sets_that_are_refused(wanted: list[str], more: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        bias.effect_of(more, SCORES, LABELS, wanted, PEOPLE, ["race"])


def test_scores_that_are_refused() -> None:
    with pytest.raises(UsageError, match="the label 'man' stands twice"):
        bias.in_set(SCORES, ["man", "man", "thief", "child"], ["thief"])
    with pytest.raises(UsageError, match=r"scores of the shape \(4, 3\)"):
        bias.in_set(SCORES[:, :3], LABELS, ["thief"])
    with pytest.raises(Failure, match="1 rows of scores hold NaN, row 1"):
        bias.in_set(np.where(SCORES == 9, np.nan, SCORES), LABELS, ["thief"])


@settings(deadline=None, max_examples=25)
@given(st.lists(st.lists(st.integers(0, 4), min_size=4, max_size=4), min_size=4, max_size=4))
def test_a_label_more_takes_pictures_away(rows: list[list[int]]) -> None:
    for effect in bias.effect_of(["child"], np.array(rows, dtype=float), LABELS, ["thief"], PEOPLE, ["gender"]):
        assert effect.change is not None and effect.change <= 0


def softmaxed(above: dict[str, tuple[int, int]], n: int, rest: float) -> tuple[np.ndarray, list[str]]:
    """n pictures of women and n of men; label → how many of them are above 4 per cent."""
    labels = [*above, "rest"]
    rows = np.zeros((2 * n, len(labels)))
    for number, counts in enumerate(above.values()):
        rows[: counts[0], number] = rows[n : n + counts[1], number] = rest
    rows[:, -1] = 1 - rows.sum(axis=1)
    return rows, labels


def test_labels_above_a_threshold() -> None:
    rows, labels = softmaxed({"hair": (30, 10), "suit": (5, 25), "tie": (0, 2)}, 50, 0.05)
    genders = ["Female"] * 50 + ["Male"] * 50
    found = bias.above(rows, labels, genders, ("Female", "Male"), bias.HIGH_THRESHOLD)
    assert [(row.label, row.counts) for row in found] == [
        ("rest", (50, 50)),
        ("hair", (30, 10)),
        ("suit", (5, 25)),
        ("tie", (0, 2)),
    ]
    oracle = chi2_contingency([[30, 10], [20, 40]], correction=False)
    hair, tie = found[1], found[3]
    assert (hair.chi2, hair.p) == pytest.approx((oracle.statistic, oracle.pvalue))
    assert hair.p_all == pytest.approx(3 * oracle.pvalue) and not hair.few and tie.few
    assert (found[0].chi2, found[0].p) == (None, None)
    women, men = bias.most_different(found)
    assert [row.label for row in women] == ["hair"] and [row.label for row in men] == ["suit", "tie"]
    assert [row.label for row in bias.most_different(found, 1)[1]] == ["suit"]
    assert [row.label for row in bias.above(rows, labels, genders, ("Female", "Male"), 0.06)] == ["rest"]


@pytest.mark.parametrize(
    ("scale", "genders", "groups", "message"),
    [
        (2.0, ["a", "b"], ("a", "b"), "no probabilities: give a softmax"),
        (-1.0, ["a", "b"], ("a", "b"), "no probabilities: give a softmax"),
        (1.0, ["a", "a"], ("a", "b"), "'b' has no pictures"),
        (1.0, ["a", "b"], ("a", "a"), "'a' has no pictures of its own"),
        (1.0, ["a"], ("a", "b"), "1 groups for 2 pictures"),
    ],
)
def test_thresholds_that_are_refused(scale: float, genders: list[str], groups: tuple[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        bias.above(scale * np.full((2, 2), 0.5), ["x", "y"], genders, groups, 0.04)


def test_the_documents_limits_are_the_codes() -> None:
    text = " ".join((Path(__file__).parents[2] / "docs" / "bias.md").read_text().split())
    assert all(limit in text for limit in bias.LIMITS)
