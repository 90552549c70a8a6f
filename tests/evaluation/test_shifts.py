"""Classes, super-classes and frames under shift, on scores made by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import Failure, UsageError
from evaluation import prompts, shifts
from evaluation.shifts import Groups

PETS = Groups(("bird", "cat", "giraffe"), ((7, 8, 9), (281, 282), ()))


def scored(*rows: dict[int, float]) -> np.ndarray:
    scores = np.zeros((len(rows), 1000), dtype=np.float32)
    for number, row in enumerate(rows):
        scores[number, list(row)] = list(row.values())
    return scores


def test_the_classes_that_are_shipped() -> None:
    """As many as the testbed's own subsets of ImageNet's validation set hold, at 50 pictures a class."""
    counts = {name: shifts.groups(name) for name in ("imagenet-a", "imagenet-r", "imagenet-vid-robust", "ytbb-robust")}
    assert {name: (len(of.names), 50 * len(set(of.classes))) for name, of in counts.items()} == {
        "imagenet-a": (200, 10_000),
        "imagenet-r": (200, 10_000),
        "imagenet-vid-robust": (30, 14_400),
        "ytbb-robust": (24, 11_550),
    }
    assert all(len(set(of.classes)) == len(of.classes) for of in counts.values())
    assert len(shifts.groups("imagenetv2").names) == len(prompts.wordnet()) == 1000
    assert prompts.wordnet()[0] == ("n01440764", "tench")
    videos = counts["imagenet-vid-robust"]
    assert [prompts.wordnet()[index][1] for index in videos.members[videos.names.index("whale")]] == [
        "grey_whale",
        "killer_whale",
    ]
    with pytest.raises(UsageError, match=r"no classes of ytbb-robsut are shipped \(ytbb-robust\?\)"):
        shifts.groups("ytbb-robsut")


def test_a_super_class_has_its_best_class() -> None:
    scores = scored({7: 1, 9: 3, 281: 2, 500: 9}, {8: 1, 282: 2}, {7: 2, 281: 2}, {281: 1})
    judged = shifts.pictures(["a", "b", "c", "d"], {key: ["bird"] for key in "abc"} | {"d": ["giraffe"]}, PETS)
    # 500 is outside the set; b is a cat to the model; a tie is wrong; ImageNet has no giraffe
    assert judged.values(scores).tolist() == [1, 0, 0, 0]
    own = np.array([[0, 1, 0.5], [1, 0, 0], [1, 0, 0], [0, 0, 1.0]])
    assert judged.values(own).tolist() == [0, 1, 1, 1]


def test_a_frame_may_show_several() -> None:
    judged = shifts.pictures(["both"], {"both": ["bird", "cat"]}, PETS)
    assert judged.values(scored({7: 2, 281: 2})).tolist() == [1]


def test_pm_0_and_pm_10() -> None:
    """Right with all neighbours; right with a neighbour wrong; wrong; right without neighbours; a label of its own."""
    neighbours = {"a": ("a1", "a2"), "b": ("b1",), "c": ("a1",), "d": (), "e": ("e1",)}
    labels = {name: ["bird"] for name in "abcde"} | {"e1": ["cat"]}
    bird, cat = {7: 1.0}, {281: 1.0}
    frames = {
        "e1": cat,
        "a": bird,
        "a1": bird,
        "a2": bird,
        "b": bird,
        "b1": cat,
        "c": cat,
        "d": bird,
        "e": bird,
        "x": cat,
    }
    judged = shifts.clips(list(frames), labels, neighbours, PETS)
    pm0, pm10 = judged.parts(scored(*frames.values()))
    assert judged.ids == ("a", "b", "c", "d", "e")
    assert pm0.tolist() == [True, True, False, True, True]
    assert pm10.tolist() == [True, False, False, True, True]
    assert judged.values(scored(*frames.values())).tolist() == [1, 0.5, 0, 1, 1]


@pytest.mark.parametrize(
    ("frames", "labels", "message"),
    [
        (["a", "a1"], {}, "1 anchors have no label: a: score"),
        (["a"], {"a": ["bird"]}, "1 frames have no scores: a1: score"),
        (["a1"], {}, "1 anchors have no label: a and 1 frames have no scores: a: score"),
        (["a", "a1", "a"], {"a": ["bird"]}, "scores stand twice for a"),
        (["a", "a1"], {"a": ["brid"]}, r"a has the label 'brid' \(bird\?\)"),
    ],
)
def test_clips_that_do_not_fit(frames: list[str], labels: dict[str, list[str]], message: str) -> None:
    with pytest.raises(Failure, match=message):
        shifts.clips(frames, labels, {"a": ("a1",)}, PETS)


@pytest.mark.parametrize(
    ("ids", "labels", "message"),
    [
        (["a", "b"], {"a": ["cat"]}, "1 pictures have no label: b: give"),
        (["a"], {"a": ["cat"], "z": ["cat"]}, "1 labels have no picture: z: give"),
        (["a", "b"], {"a": ["cat"], "z": ["cat"]}, "1 pictures have no label: b and 1 labels have no picture: z"),
        ([], {}, "scores are there for nothing"),
        (["a"], {"a": []}, r"a has no list of labels \(\[\]\), not one or more of the 3 classes bird, cat, giraffe"),
        (["a"], {"a": ["dog"]}, "a has the label 'dog', not one"),
    ],
)
def test_pictures_that_do_not_fit(ids: list[str], labels: dict[str, list[str]], message: str) -> None:
    with pytest.raises(Failure, match=message):
        shifts.pictures(ids, labels, PETS)


def test_scores_that_do_not_fit() -> None:
    judged = shifts.pictures(["a"], {"a": ["cat"]}, PETS)
    with pytest.raises(UsageError, match=r"the shape \(1, 999\): give \(1, 1000\), or \(1, 3\)"):
        judged.values(np.zeros((1, 999)))
    with pytest.raises(Failure, match="1 of 1 rows of scores hold NaN, row 0"):
        judged.values(scored({3: float("nan")}))


def test_imagenets_pictures_of_the_same_classes() -> None:
    assert shifts.within({"v1": 8, "v2": 500, "v3": 282}, PETS) == {"v1": ["bird"], "v3": ["cat"]}
    kept, others = shifts.shared({"1": "cat", "2": "stapler", "3": "stapler"}, PETS)
    assert (kept, others) == ({"1": ["cat"]}, {"stapler": 2})


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.lists(st.integers(-3, 3), min_size=5, max_size=5), min_size=1, max_size=4), st.permutations(range(5))
)
def test_pooling_is_choosing_among_the_classes(rows: Sequence[Sequence[int]], order: Sequence[int]) -> None:
    """The group of the one best class wins; where classes of several groups are best, none does."""
    of = Groups(("x", "y"), (tuple(order[:2]), tuple(order[2:4])))
    scores = scored(*(dict(enumerate(map(float, row))) for row in rows))
    ids = [str(number) for number in range(len(rows))]
    found = shifts.pictures(ids, {key: ["x"] for key in ids}, of).values(scores)
    for row, value in zip(rows, found, strict=True):
        best = max(row[index] for index in order[:4])
        assert value == (best not in (row[order[2]], row[order[3]]))


def test_groups_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "groups.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"fish": [0, "n01443537"], "robot": []}).encode())
    assert shifts.read_groups(str(path)) == Groups(("fish", "robot"), ((0, 1), ()))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"fish": [0, 1000]}', "'fish': 1000 is no index from 0 to 999"),
        ('{"fish": [true]}', "'fish': True is no index"),
        ('{"fish": ["n99999999"]}', "'fish': 'n99999999' is no index"),
        ('{"fish": [0], "tench": [0]}', r"class 0 \(tench\) in 'fish' and in 'tench'"),
        ('{"fish": 0}', "no list for 'fish'"),
        ('{"fish": []}', "names no class of ImageNet"),
        ('{"fish": [0], "fish": [1]}', "'fish' twice"),
        ("[[0]]", "should be a JSON object of super-classes"),
        ('{"fish": [0]', "is no JSON"),
    ],
)
def test_groups_that_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "groups.json").write_text(text)
    with pytest.raises(Failure, match=message):
        shifts.read_groups(str(tmp_path / "groups.json"))


def test_neighbours_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "pmsets.json"
    path.write_text('{"val/a/10.JPEG": ["val/a/9.JPEG"], "val/b/0.JPEG": []}')
    assert shifts.read_neighbours(str(path)) == {"val/a/10.JPEG": ("val/a/9.JPEG",), "val/b/0.JPEG": ()}
    for text, message in (
        ('{"a": ["a"]}', "lists a frame twice for the anchor 'a'"),
        ('{"a": [3]}', "no list of frames"),
    ):
        path.write_text(text)
        with pytest.raises(Failure, match=message):
            shifts.read_neighbours(str(path))
    with pytest.raises(Failure, match="cannot be read"):
        shifts.read_neighbours(str(tmp_path / "none.json"))


def objectnet(folder: Path, shared: dict[str, str]) -> str:
    """ObjectNet's folder `mappings`, with the first lines of its files."""
    labels = ["kit fox", "crane", "tench", "crane", "goldfish"]
    (folder / "imagenet_to_label_2012_v2").write_text("\n".join(labels) + "\n")
    (folder / "pytorch_to_imagenet_2012_id.json").write_text('{"0": 2, "1": 4, "278": 0, "134": 1, "517": 3}')
    (folder / "folder_to_objectnet_label.json").write_text('{"fish_bowl": "Fish (bowl)", "stapler": "Stapler"}')
    (folder / "objectnet_to_imagenet_1k.json").write_text(json.dumps(shared))
    return str(folder)


def test_objectnets_own_mappings(tmp_path: Path) -> None:
    assert shifts.read_objectnet(objectnet(tmp_path, {"Fish (bowl)": "tench; goldfish"})) == Groups(
        ("fish_bowl",), ((0, 1),), ("fish (bowl)",)
    )
    with pytest.raises(Failure, match="'Fish \\(bowl\\)' has no single entry 'crane' in imagenet_to_label_2012_v2"):
        shifts.read_objectnet(objectnet(tmp_path, {"Fish (bowl)": "crane"}))
    with pytest.raises(Failure, match=r"'Fox' has no single entry 'Fox' in folder_to_objectnet_label\.json"):
        shifts.read_objectnet(objectnet(tmp_path, {"Fox": "kit fox"}))


def test_objectnets_border() -> None:
    picture = np.full((8, 9, 3), 255, dtype=np.uint8)
    picture[2:-2, 2:-2] = 7
    assert shifts.without_border(picture).shape == (4, 5, 3) and (shifts.without_border(picture) == 7).all()
    with pytest.raises(Failure, match="9 x 4 pixels is nothing but border"):
        shifts.without_border(picture[:4])
