"""Table 2 and Figure 16 of answers that can be counted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import Failure, UsageError
from evaluation import human
from evaluation.human import Answer, Comparison

TRUTH = {"b1.jpg": "Beagle", "b2.jpg": "Beagle", "p1.jpg": "Maine Coon", "p2.jpg": "Maine Coon", "x.jpg": "Pug"}
TABLE = """\
person,image,answer
ann,b1.jpg,Beagle
bob,b1.jpg,beagle
cy,b1.jpg,I don’t know
ann,b2.jpg,Pug
bob,b2.jpg,Beagle
cy,b2.jpg,idk
ann,p1.jpg,maine_coon
bob,p1.jpg,I don't know
cy,p1.jpg,Don't know.
ann,p2.jpg,I do not know
bob,p2.jpg,"I don't know"
cy,p2.jpg,not sure
"""
# By hand. Right answers: Beagle 3 of 6 (2 of 3 and 1 of 3), Maine Coon 1 of 6: mean 1/3.
# Votes: b1 Beagle (2 to 1), right; b2 three answers once each, a tie; p1 "don't know" (2 to 1), wrong; p2 wrong.
# Guesses: b1 2 of 2, b2 1 of 2, p1 1 of 1: Beagle 3/4, Maine Coon 1/1: mean 7/8.
# Votes of guesses: b1 right, b2 Pug against Beagle, a tie; p1 right; p2 nobody: Beagle 1, Maine Coon 1.
COUNTED = Comparison(
    accuracy=1 / 3,
    majority=0.5,
    on_guesses=0.875,
    majority_on_guesses=1.0,
    persons=3,
    pictures=4,
    answers=12,
    unknown=7,
    ties=1,
    ties_on_guesses=1,
    unguessed=1,
    unseen=("Pug",),
)


def as_file(folder: Path, text: str | bytes, name: str = "answers.csv") -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_table_2_by_hand(tmp_path: Path) -> None:
    assert human.compare(human.read_answers(as_file(tmp_path, TABLE), TRUTH), TRUTH) == COUNTED


def json_lines(table: str) -> str:
    rows = [line.replace('"', "").split(",") for line in table.splitlines()[1:]]
    return (
        "\n".join(f'{{"worker_id": "{a}", "note": [1], "file": "{b}", "response": "{c}"}}' for a, b, c in rows) + "\n\n"
    )


def with_numbers_for(lines: str) -> str:
    """JSON lines whose persons are numbers of a column with gaps."""
    return lines.replace('"ann"', "1.0").replace('"bob"', "2.0").replace('"cy"', "3")


def with_numbers(table: str) -> str:
    """As pandas writes tables with tabs: the rows' numbers first, under no name."""
    lines = table.replace(",", "\t").splitlines()
    return "".join(f"{number - 1 if number else ''}\t{line}\n" for number, line in enumerate(lines))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xef\xbb\xbf" + TABLE.encode(), id="a byte order mark"),
        pytest.param(TABLE.encode("utf-16"), id="UTF-16"),
        pytest.param(TABLE.encode("utf-16-le"), id="UTF-16 without a mark"),
        pytest.param(TABLE.replace("\n", "\r\n").encode(), id="Windows"),
        pytest.param(TABLE.replace("\n", "\r").encode(), id="old Macs"),
        pytest.param(TABLE.replace(",", "\t").encode(), id="tabs"),
        pytest.param(TABLE.replace(",", ";").encode(), id="semicolons"),
        pytest.param((TABLE + ",,\n\n").encode(), id="blank rows"),
        pytest.param(TABLE.replace("b1.jpg", "./b1.jpg").replace("p1", " p1").encode(), id="paths"),
        pytest.param(TABLE.replace("person,image,answer", "Annotator,FileName,Label").encode(), id="other names"),
        pytest.param(json_lines(TABLE).encode(), id="JSON lines"),
        pytest.param(with_numbers_for(json_lines(TABLE)).encode(), id="persons by number, as pandas writes them"),
        pytest.param(TABLE.replace("person,", "Participant id,").encode(), id="Prolific"),
        pytest.param(TABLE.replace("b1.jpg", ".//b1.jpg").encode(), id="two slashes"),
        pytest.param(with_numbers(TABLE).encode(), id="a column without a name"),
    ],
)
def test_the_same_answers_in_other_clothes(data: bytes, tmp_path: Path) -> None:
    assert human.compare(human.read_answers(as_file(tmp_path, data), TRUTH), TRUTH) == COUNTED


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["ann,b1.jpg,Beagel"], r"line 2: no class 'Beagel' \(Beagle\?\)"),
        (["ann,b1.jpg,Zebra", "ann,b2.jpg,?"], "line 2: no class 'Zebra'; line 3: no class '\\?': correct"),
        (["ann,b9.jpg,Pug"], r"line 2: no picture 'b9\.jpg' in the set \(b[12]\.jpg\?\)"),
        (["ann,b1.jpg,"], "line 2: answer is empty"),
        (["ann,b1.jpg,Pug", "", ",b2.jpg,Pug"], "line 4: person is empty"),
        (
            ["ann,b1.jpg,Pug", "bob,b1.jpg,Pug", "ann,./b1.jpg,Pug"],
            "line 4: ann answered for ./b1.jpg in line 2 already",
        ),
        (["ann,b1.jpg,Pug", "Ann,b2.jpg,Pug"], "line 3: 'Ann' is 'ann' in line 2"),
        (["NA,b1.jpg,Pug", "nan,b2.jpg,Pug"], "line 2: person is 'NA', as .* cell; line 3: person is 'nan', as"),
        (["ann,b1.jpg"], "line 2: 2 cells, and the header has 3"),
        (['ann,"b1.jpg,Pug'], "line 2: unexpected end of data"),
        ([f"ann,b1.jpg,none{n}" for n in range(9)], "line 6: no class 'none4'; .*and \\d+ more: correct"),
    ],
)
def test_lines_that_are_refused(lines: list[str], message: str, tmp_path: Path) -> None:
    if len(lines) == 9:
        lines = [line.replace("ann", f"ann{n}") for n, line in enumerate(lines)]
    path = as_file(tmp_path, "\n".join(["person,image,answer", *lines]) + "\n")
    with pytest.raises(Failure, match=message):
        human.read_answers(path, TRUTH)


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (b"", Failure, "is empty"),
        (b"person,image,answer\n", Failure, "no row below its header"),
        (b"ann,b1.jpg,Pug\n", UsageError, r"no column person in its first line \('ann,b1.jpg,Pug'\)"),
        (
            b"person,image,label,answer\nann,b1.jpg,Pug,Pug\n",
            UsageError,
            r"two columns for answer \('label' and 'answer'\): rename the one that is not meant",
        ),
        (b"subject,image,label,prediction\nann,b1.jpg,Beagle,Pug\n", UsageError, "two columns for answer"),
        (b"person,image,answer,answer.1\nann,b1.jpg,Pug,Beagle\n", UsageError, "'answer' and 'answer.1'"),
        (b"person,image,class\nann,b1.jpg,Pug\n", UsageError, "no column answer"),
        (b"PK\x03\x04\x14\x00\x06\x00", Failure, "is a workbook.*: save its table as CSV in UTF-8"),
        (b"person,image,answer\nann,b1.jpg,Caf\xe9\n", Failure, "is not UTF-8, line 2: save it as UTF-8"),
        (b'[{"person": "ann"}]', UsageError, "is one JSON list"),
        (
            b'{"person": "ann", "image": "b1.jpg", "answer": ["Pug"]}\n{"person": 3\n',
            Failure,
            "line 1: answer is missing",
        ),
        (b'{"person": 1.5, "image": "b1.jpg", "answer": "Pug"}', Failure, "line 1: person is missing"),
        (b'{"person": "ann", "image": "b1.jpg", "answer": null}', Failure, "line 1: answer is empty"),
    ],
)
def test_files_that_are_refused(data: bytes, kind: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(kind, match=message):
        human.read_answers(as_file(tmp_path, data), TRUTH)


def test_a_class_may_be_called_unknown(tmp_path: Path) -> None:
    truth = {"a": "unknown", "b": "tank"}
    path = as_file(tmp_path, "person\timage\tanswer\nann\ta\tUnknown\nann\tb\tidk\n")
    assert human.read_answers(path, truth) == [Answer("ann", "a", "unknown"), Answer("ann", "b", None)]
    with pytest.raises(UsageError, match="'Maine Coon' and 'maine_coon' are spelled alike"):
        human.read_answers(path, {"a": "Maine Coon", "b": "maine_coon"})
    with pytest.raises(UsageError, match=r"'b_1\.jpg' and 'B 1\.jpg', which differ in capitals, blanks or _ alone"):
        human.read_answers(path, {"b_1.jpg": "tank", "B 1.jpg": "tank"})


def test_nobody_guessed() -> None:
    found = human.compare([Answer("ann", "b1.jpg", None)], TRUTH)
    assert (found.accuracy, found.majority, found.on_guesses, found.majority_on_guesses) == (0, 0, None, None)
    with pytest.raises(Failure, match="no answers"):
        human.compare([], TRUTH)


def test_the_model_on_the_same_pictures() -> None:
    answers = [Answer("ann", image, None) for image in ("b1.jpg", "b2.jpg", "p1.jpg")]
    right = {"b1.jpg": True, "b2.jpg": False, "p1.jpg": True}
    assert human.model_accuracy(right, TRUTH, answers) == 0.75
    with pytest.raises(Failure, match=r"no answer for 1 pictures: p1\.jpg"):
        human.model_accuracy({"b1.jpg": False, "b2.jpg": False}, TRUTH, answers)


def test_figure_16(tmp_path: Path) -> None:
    answers = human.read_answers(as_file(tmp_path, TABLE), TRUTH)
    probability = {"b1.jpg": 0.9, "b2.jpg": 0.7, "p1.jpg": 0.2, "p2.jpg": 0.4, "x.jpg": 0.1}
    rows = human.hardness(probability, TRUTH, {"zero-shot": answers})
    assert [(row.name, row.pictures, row.people["zero-shot"]) for row in rows] == [
        ("Pug", 1, None),
        ("Maine Coon", 2, 1 / 6),
        ("Beagle", 2, 0.5),
    ]
    assert [row.model for row in rows] == pytest.approx([0.1, 0.3, 0.8])
    assert human.agreement(rows, "zero-shot") is None  # two classes only
    more = [*answers, Answer("ann", "x.jpg", "Beagle")]
    assert human.agreement(human.hardness(probability, TRUTH, {"all": more}), "all") == pytest.approx(1)
    with pytest.raises(Failure, match=r"4 pictures have no probability: b2\.jpg, p1\.jpg, p2\.jpg and 1 more"):
        human.hardness({"b1.jpg": 1}, TRUTH, {})
    with pytest.raises(UsageError, match="after a softmax"):
        human.hardness(probability | {"x.jpg": 17.0}, TRUTH, {})
