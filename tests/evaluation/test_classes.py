"""Labels of published data find their classes, or are named."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Failure
from evaluation import sets
from evaluation.classes import fold, match_classes


def meant(name: str, *found: str) -> list[str]:
    one = sets.load(name)
    numbers = match_classes(found, one.names, one.also(), one.numbers, "the data")
    return [one.names[number][0] for number in numbers]


def test_labels_of_published_data_find_their_classes() -> None:
    assert meant("eurosat", "AnnualCrop", "SeaLake", "Forest") == ["annual crop land", "lake or sea", "forest"]
    assert meant("country211", "JP", "GB", "XK") == ["Japan", "United Kingdom", "Kosovo"]
    assert meant("country211", "SZ", "MF", "BQ") == ["Eswatini", "Saint-Martin", "Bonaire, Saint Eustatius and Saba"]
    assert meant("fer2013", "disgust", "surprise") == ["disgusted", "surprised"]
    assert meant("ucf101", "ApplyEyeMakeup", "YoYo") == ["Apply Eye Makeup", "Yo Yo"]
    assert meant("food101", "apple_pie", "waffles") == ["apple pie", "waffles"]
    assert meant("imagenet", "n01443537", "great_white_shark") == ["goldfish", "great white shark"]
    assert meant("imagenet", "tench, Tinca tinca", "goldfish, Carassius auratus") == ["tench", "goldfish"]
    assert meant("clevr_counts", "three", "10") == ["3", "10"]


def test_caltech_folders_are_all_classes_of_the_set(data: Path) -> None:
    lines = (data / "cls" / "caltech101_72px.labels.tsv").read_text().splitlines()
    found = sorted({line.split("\t")[1] for line in lines})
    assert len(set(meant("caltech101", *found))) == len(found) == 100


def test_numbers_count_from_0_or_from_1() -> None:
    folders = sorted(map(str, range(1000)))  # 0, 1, 10, 100 …, as readers that sort texts see them
    one = sets.load("imagenet_v2")
    assert match_classes(folders, one.names, one.also(), one.numbers, "") == [int(name) for name in folders]
    flowers = sets.load("flowers102").names
    assert meant("flowers102", *map(str, range(1, 103))) == [name[0] for name in flowers]
    assert meant("flowers102", "0", "1") == [flowers[0][0], flowers[1][0]]
    assert meant("flowers102", "102", "7") == [flowers[101][0], flowers[6][0]]
    with pytest.raises(Failure, match="labels from 3 to 7, which may count from 0 or from 1: give names"):
        meant("flowers102", "3", "7")
    with pytest.raises(Failure, match="labels from 0 to 102, and the set 102 classes"):
        meant("flowers102", "0", "102")
    assert meant("gtsrb", "00000", "00014") == ["red and white circle 20 kph speed limit", "stop"]
    with pytest.raises(Failure, match="labels that are no class of the set"):
        meant("eurosat", "0", "1")  # in which order?


def test_labels_that_are_no_class_are_named_with_the_nearest() -> None:
    with pytest.raises(Failure) as said:
        meant("oxford_pets", "Abysinian", "beagle", "gazelle hound")
    assert str(said.value) == (
        "the data has labels that are no class of the set, 2 of 3: 'Abysinian' ('Abyssinian'?), 'gazelle hound'; "
        "rename them to classes of the set ('Abyssinian', …), or take them out"
    )
    with pytest.raises(Failure, match="two labels for the class 'beagle', 'beagle' and 'Beagle': make them one"):
        meant("oxford_pets", "beagle", "Beagle")
    with pytest.raises(Failure, match="the label 'missile', a name of the classes 657 and 744: give ids"):
        meant("imagenet", "missile")


def test_classes_in_their_order_may_have_one_name_twice() -> None:
    imagenet = sets.load("imagenet")
    found = [name[0] for name in imagenet.names]
    assert match_classes(found, imagenet.names, imagenet.also(), True, "") == list(range(1000))


def test_a_name_of_two_classes_is_told_by_its_place_in_their_order() -> None:
    """CLIP_benchmark's class names of ImageNet-R: 200 in the order of the classes, with one "missile" of two."""
    assert match_classes(["minivan", "missile", "mitten"], *imagenet_words(), False, "") == [656, 657, 658]
    assert match_classes(["printer", "missile", "projector"], *imagenet_words(), False, "") == [742, 744, 745]
    with pytest.raises(Failure, match="'missile', a name of the classes 657 and 744"):
        match_classes(["mitten", "missile", "minivan"], *imagenet_words(), False, "")
    with pytest.raises(Failure, match="'missile', a name of the classes 657 and 744"):
        match_classes(["tench", "missile", "toilet paper"], *imagenet_words(), False, "")


def imagenet_words() -> tuple[list[list[str]], list[list[str]]]:
    return sets.load("imagenet").names, sets.load("imagenet").also()


@given(st.integers(0, 2**32), st.sampled_from(["imagenet", "ucf101", "eurosat", "country211", "sun397"]))
def test_any_labels_in_any_order_find_their_classes(seed: int, name: str) -> None:
    one = sets.load(name)
    words = [others[0] if others else some[0] for some, others in zip(one.names, one.also(), strict=True)]
    chosen = random.Random(seed).sample(range(len(words)), min(20, len(words)))
    written = [words[number].upper().replace(" ", "_") for number in chosen]
    assert match_classes(written, one.names, one.also(), one.numbers, "") == chosen


@given(st.text())
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)


def test_fold() -> None:
    assert fold("Apple_Pie") == fold("apple pie") == fold("APPLE-PIE") == "applepie"
    assert fold("cafe\u0301") == fold("café") != fold("cafe")
    assert fold("+") == "+" != fold("-")
    assert fold("テンチ") == "テンチ"


def test_imagenet_by_number_counts_from_0(tmp_path: Path) -> None:
    words = imagenet_words()
    with pytest.raises(Failure, match=r"labels from 1 to 1000: numbers from 1 are in several orders around"):
        match_classes([str(n) for n in range(1, 1001)], *words, True, "val", sets.load("imagenet").first_number)
    assert match_classes(["0", "999"], *words, True, "val", sets.load("imagenet").first_number) == [0, 999]
