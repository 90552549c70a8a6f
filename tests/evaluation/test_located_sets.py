"""Where sets are found, how they are opened, and what is said of those that are not as meant."""

from pathlib import Path

import numpy as np
import pytest

from core.errors import Failure, UsageError
from evaluation import sets
from tests.evaluation import made


def test_what_is_missing_is_said_and_the_rest_is_found(tmp_path: Path) -> None:
    made.class_folders(tmp_path / "caltech101" / "test")
    own = made.class_folders(tmp_path / "own" / "folder")
    there, missing, mine, nowhere = sets.find(
        ["caltech101", "food101", str(own), str(tmp_path / "nowhere")], str(tmp_path)
    )
    assert isinstance(there, sets.Located) and isinstance(mine, sets.Located)
    assert isinstance(missing, sets.Missing) and isinstance(nowhere, sets.Located)
    assert missing.sentence == (
        f"food101 (Food-101, licence: see its page) is not in {tmp_path}. Download food-101.tar.gz (meta/test.txt "
        "lists the test pictures), from https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/, and put the "
        f"pictures into {tmp_path}/food101, a folder a class. The hub's clip-benchmark/wds_food101 works as it is. "
        "docs/evaluation.md has the other layouts."
    )
    with pytest.raises(Failure, match=f"{tmp_path}/nowhere is not there: give its right path"):
        nowhere.open()
    found = there.open()
    assert len(found.classes) == 102 and found.classes[6] == "airplane"
    assert [found.classes[number] for number in found.numbers()] == [
        name for name in ("accordion", "airplane", "anchor", "ant") for _ in range(made.EACH)
    ]
    assert there.remarks(found) == [
        "caltech101 has 12 examples here and 6,085 in the paper: results differ",
        "caltech101 has pictures of 4 classes here, of 102",
    ]
    assert mine.open().classes == made.CLASSES and mine.remarks(mine.open()) == []


def test_caltech_as_a_tar_with_labels(data: Path, tmp_path: Path) -> None:
    """All 8,242 pictures of OPENWIT_DATA, below another name."""
    for ending in ("tar", "labels.tsv"):
        (tmp_path / f"caltech101.{ending}").symlink_to(data / "cls" / f"caltech101_72px.{ending}")
    (found,) = sets.find(["caltech101"], str(tmp_path))
    assert isinstance(found, sets.Located) and found.layout == "tar"
    pictures = found.open()
    assert len(pictures) == 8242 and pictures.ids[0] == "101_ObjectCategories/Faces/image_0001.jpg"
    assert pictures.classes[pictures.numbers()[0]] == "off-center face"
    assert np.bincount(pictures.numbers(), minlength=102).tolist().count(0) == 2  # background and centered face
    assert next(iter(pictures)).pictures[0].startswith(b"\xff\xd8")
    assert found.remarks(pictures)[1] == "caltech101 has pictures of 100 classes here, of 102"


def test_a_set_that_is_there_and_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "dtd").mkdir()
    (found,) = sets.find(["dtd"], str(tmp_path))
    assert isinstance(found, sets.Located)
    with pytest.raises(Failure, match=r"/dtd has no folders by class, no metadata.csv"):
        found.open()


def test_a_split_by_another_name_is_said(tmp_path: Path) -> None:
    for name in ("test", "val", "Train", "training_set"):
        made.class_folders(tmp_path / "mine" / name)
    (found,) = sets.find([f"{tmp_path}/mine"], str(tmp_path))
    assert isinstance(found, sets.Located)
    (said,) = found.remarks(found.open())
    assert said.endswith("mine: left aside Train, training_set; splits are called train, val and test: rename them")


def test_wrong_names_are_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean mnist"):
        sets.find(["mnits"], str(tmp_path))
    with pytest.raises(UsageError, match="'mnist' is given twice"):
        sets.find(["mnist", "mnist"], str(tmp_path))


def test_wrong_labels_of_a_set_are_named(tmp_path: Path) -> None:
    made.class_folders(tmp_path / "oxford_pets")
    (found,) = sets.find(["oxford_pets"], str(tmp_path))
    assert isinstance(found, sets.Located)
    with pytest.raises(Failure, match=r"labels that are no class of the set, 4 of 4: 'accordion'"):
        found.open()


def test_imagenet_is_tested_on_val_and_v2_by_number(tmp_path: Path) -> None:
    names = dict(zip(made.CLASSES, ("n01440764", "n01443537", "n01484850", "n01491361"), strict=True))
    made.class_folders(tmp_path / "imagenet" / "val", names, "JPEG")
    made.class_folders(tmp_path / "imagenet_v2", dict(zip(made.CLASSES, ("0", "10", "2", "999"), strict=True)), "jpeg")
    imagenet, second = sets.find(["imagenet", "imagenet_v2"], str(tmp_path))
    assert isinstance(imagenet, sets.Located) and isinstance(second, sets.Located)
    assert imagenet.open().numbers().tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert second.open().numbers().tolist() == [0] * 3 + [10] * 3 + [2] * 3 + [999] * 3  # ids sort as texts


def test_a_shift_of_some_classes_is_evaluated_among_these(tmp_path: Path) -> None:
    names = dict(zip(made.CLASSES, ("n01498041", "n01531178", "n01534433", "n01558993"), strict=True))
    made.class_folders(tmp_path / "imagenet_a", names)
    (found,) = sets.find(["imagenet_a"], str(tmp_path))
    assert isinstance(found, sets.Located)
    pictures = found.open()
    assert pictures.subset == tuple(sorted(set(pictures.numbers().tolist()))) == (6, 11, 13, 15)
    assert found.remarks(pictures)[1] == "imagenet_a has pictures of 4 classes here, of 200"


def test_clips_may_be_frames_that_somebody_took_out(tmp_path: Path) -> None:
    names = dict(zip(made.CLASSES, ("Archery", "YoYo", "Biking", "TaiChi"), strict=True))
    made.class_folders(tmp_path / "ucf101", names)
    (found,) = sets.find(["ucf101"], str(tmp_path))
    assert isinstance(found, sets.Located)
    assert len(found.open()) == 12
    (tmp_path / "ucf101").rename(tmp_path / "frames")
    made.write_tar(tmp_path / "ucf101.tar", {"0.jpg": b"x"})
    (tmp_path / "ucf101.tsv").write_text("0.jpg\tYoYo\n")
    (in_a_tar,) = sets.find(["ucf101"], str(tmp_path))
    assert isinstance(in_a_tar, sets.Located) and len(in_a_tar.open()) == 1
    made.class_folders(tmp_path / "ucf101", {label: f"{name}/clip_1" for label, name in names.items()})
    assert [len(example.pictures) for example in found.open(frames="all")] == [3] * 4
    assert len(found.open()) == 4 and len(next(iter(found.open())).pictures) == 1


def test_words_about_a_set_of_ones_own(tmp_path: Path) -> None:
    made.class_folders(tmp_path / "own", {"ant": "red_ant"})
    (found,) = sets.find([str(tmp_path / "own")], "")
    assert isinstance(found, sets.Located)
    assert found.prompts(found.open()).texts()[3] == ["a photo of a red ant."]
    assert found.prompts(found.open(), "contextless").texts()[3] == ["red ant"]


def own(base: Path, *labels: str) -> sets.Located:
    """A set of one's own with a picture of each of these classes."""
    for label in labels:
        (base / label).mkdir(parents=True)
        (base / label / "1.jpg").write_bytes(b"x")
    (found,) = sets.find([str(base)], "sets")
    assert isinstance(found, sets.Located)
    return found


def test_wordnet_ids_stand_for_the_names_that_clip_has_for_them(tmp_path: Path) -> None:
    one = own(tmp_path / "imagenette", "n01440764", "n02102040")
    assert one.prompts(one.open()).names == (("tench",), ("English Springer Spaniel",))
    other = own(tmp_path / "tiny", "n01440764", "n00007846")
    with pytest.raises(Failure, match=r"has 1 classes that are WordNet ids and none of ImageNet's 1,000 \(n00007846\)"):
        other.prompts(other.open())


@pytest.mark.parametrize("labels", [("Cat", "cat"), ("cat ", "cat"), ("t_shirt", "t shirt")])
def test_classes_that_prompts_call_the_same_are_refused(labels: tuple[str, str], tmp_path: Path) -> None:
    one = own(tmp_path / "mine", *labels, "dog")
    with pytest.raises(Failure, match=f"prompts call the same, {min(labels)!r} and {max(labels)!r}: make them one"):
        one.prompts(one.open())


def test_what_is_odd_about_a_set_of_ones_own_is_said(tmp_path: Path) -> None:
    one = own(tmp_path / "mine", "001.Albatross", "10", "dog")
    (tmp_path / "mine" / "dog" / "2").write_bytes(b"x")
    assert [said.partition(" ")[2] for said in one.remarks(one.open())] == [
        "left out 1 of its files, which have no picture's extension",
        "has 2 classes whose names begin with numbers ('001.Albatross', '10'): prompts say them as they stand; where "
        "they are no names, rename the classes",
    ]
    made.write_tar(tmp_path / "w" / "test" / "0.tar", {"a.jpg": b"x", "a.cls": b"1"})
    (tmp_path / "w" / "classnames.txt").write_text("cat\ndog\n")
    (wds,) = sets.find([f"{tmp_path}/w"], "sets")
    assert isinstance(wds, sets.Located)
    assert wds.remarks(wds.open()) == [f"{tmp_path}/w names 2 classes, of which 1 have no picture (cat)"]


def test_nested_folders_of_sun397_are_read_by_its_classes(tmp_path: Path) -> None:
    names = ("a/abbey", "a/airplane_cabin", "a/apartment_building/outdoor", "b/badminton_court/indoor")
    made.class_folders(tmp_path / "sun397", dict(zip(made.CLASSES, names, strict=True)))
    (found,) = sets.find(["sun397"], str(tmp_path))
    assert isinstance(found, sets.Located)
    pictures = found.open()
    assert [pictures.classes[number] for number in pictures.numbers()[::3]] == [
        "abbey",
        "airplane cabin",
        "apartment building outdoor",
        "badminton court indoor",
    ]
