"""Labelled pictures in folders, of pictures and of clips; what is in no layout is named."""

import io
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from core.errors import Failure
from evaluation import readers
from evaluation.class_folders import natural, read_folders
from evaluation.examples import undecodable
from tests.evaluation import made
from tests.evaluation.reading import BODIES, holds, read

# ── folders ──


def test_class_folders(tmp_path: Path) -> None:
    found = read(made.class_folders(tmp_path))
    assert readers.layout_of(str(tmp_path)) == "folders" and holds(found)
    assert found.classes == made.CLASSES and found.ids[0] == "accordion/image_0000.jpg"
    assert found.numbers().dtype == np.int64 and found.matrix().sum() == len(found) == 12


def test_splits_and_capitals(tmp_path: Path) -> None:
    made.class_folders(tmp_path / "test", ending="JPG")
    assert holds(read(tmp_path))
    with pytest.raises(Failure, match=r"has the splits test and no val: give the folder of one"):
        read(tmp_path, "val")


@pytest.mark.parametrize(
    "names",
    [
        ("Train", "Test"),
        ("training", "testing"),
        ("training_set", "test_set"),
        ("train", "Test"),
        ("train", "test1"),
        ("train2017", "val2017"),
    ],
)
def test_folders_that_look_like_splits_are_not_taken_together(names: tuple[str, str], tmp_path: Path) -> None:
    for name in names:
        made.class_folders(tmp_path / name)
    (tmp_path / "notes").mkdir()
    with pytest.raises(Failure, match=r"which look like splits, and no test: rename the one that is to be tested"):
        readers.layout_of(str(tmp_path))
    (tmp_path / names[1]).rename(tmp_path / "test")
    assert holds(read(tmp_path))


def test_a_link_to_a_class_that_is_gone_is_named(tmp_path: Path) -> None:
    made.class_folders(tmp_path)
    (tmp_path / "wasp").symlink_to(tmp_path / "gone")
    with pytest.raises(Failure, match=r"1 links to what is not there, wasp: restore"):
        read(tmp_path)


def test_tables_in_place_of_pictures_are_named(tmp_path: Path) -> None:
    (tmp_path / "default" / "test").mkdir(parents=True)
    (tmp_path / "default" / "test" / "0000.parquet").write_bytes(b"x")
    with pytest.raises(Failure, match=r"holds no pictures, but default/test/0000\.parquet: give the folder"):
        read(tmp_path)


def test_what_programs_leave_behind_is_no_class_and_no_picture(tmp_path: Path) -> None:
    made.class_folders(tmp_path)
    for name in (
        ".DS_Store",
        "ant/._image_0000.jpg",
        "ant/Thumbs.db",
        "ant/.ipynb_checkpoints/a.jpg",
        "__MACOSX/ant/a.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "ant" / "notes.txt").write_text("")
    (tmp_path / "README.md").write_text("")
    found = read(tmp_path)
    assert holds(found) and found.left_out == {"hidden": 5, "not_a_picture": 2}


def test_links_are_followed_and_never_in_a_circle(tmp_path: Path) -> None:
    made.class_folders(tmp_path / "elsewhere")
    (tmp_path / "set").mkdir()
    for label in made.CLASSES:
        (tmp_path / "set" / label).symlink_to(tmp_path / "elsewhere" / label)
    (tmp_path / "elsewhere" / "ant" / "up").symlink_to(tmp_path / "set")
    found = read(tmp_path / "set")
    assert holds(found) and found.left_out == {"link_to_a_folder_above": 1}
    (tmp_path / "elsewhere" / "ant" / "image_0001.jpg").unlink()
    (tmp_path / "elsewhere" / "ant" / "image_0001.jpg").symlink_to("gone.jpg")
    (tmp_path / "elsewhere" / "ant" / "me.jpg").symlink_to("me.jpg")
    with pytest.raises(Failure, match=r"2 links to what is not there, ant/image_0001\.jpg, ant/me\.jpg"):
        read(tmp_path / "set")


def oddities() -> list[tuple[Callable[[Path], object], str]]:
    return [
        (lambda p: (p / "wasp").mkdir(), r"folders without pictures, wasp: fill them, or remove them"),
        (lambda p: (p / "wasp" / "deep" / "er").mkdir(parents=True), r"folders without pictures, wasp:"),
        (lambda p: (p / "a.jpg").write_bytes(b"x"), r"pictures outside of class folders, a\.jpg: move each"),
        (lambda p: (p / "ant" / "a.jpg").touch(), r"1 of 13 pictures that are empty files, ant/a\.jpg: restore"),
        (
            lambda p: made.class_folders(p / "ant" / "more"),
            r"folders in class folders \(ant/more/accordion\), and which of them is the class cannot be seen",
        ),
        (
            lambda p: [(p / "ant" / f"caf{e}.jpg").write_bytes(b"x") for e in ("é", "e\u0301")],
            r"ant/café\.jpg twice, with accents in two spellings",
        ),
        (lambda p: (p / os.fsdecode(b"\xe9.jpg")).touch(), r"file name b'\\xe9\.jpg' is not UTF-8: rename it"),
    ]


@pytest.mark.parametrize(("change", "said"), oddities())
def test_folders_that_do_not_fit_are_named(change: Callable[[Path], object], said: str, tmp_path: Path) -> None:
    change(made.class_folders(tmp_path))
    with pytest.raises(Failure, match=said):
        read(tmp_path)


def test_the_class_among_folders_is_told_by_the_classes_of_the_set(tmp_path: Path) -> None:
    made.class_folders(tmp_path, {label: f"{label[0]}/{label}/good" for label in made.CLASSES})
    for known, ids in (
        (set(made.CLASSES) | {"a"}, ("a",)),  # torchvision's: the first folder
        ({f"{label[0]}/{label}/good" for label in made.CLASSES}, tuple(f"a/{label}/good" for label in made.CLASSES)),
        ({f"{label}/good" for label in made.CLASSES}, tuple(f"{label}/good" for label in made.CLASSES)),
        ({"good"}, ("good",)),  # Hugging Face's: the last one
        ({"else"}, ("a",)),  # and what does not fit is said by whom the set belongs to
    ):
        found = read_folders(tmp_path, None, lambda labels, known=known: set(labels) <= known)  # type: ignore[misc]
        assert found.classes == ids


def test_splits_below_a_folder_are_not_taken_together(tmp_path: Path) -> None:
    for name in ("training", "testing"):
        made.class_folders(tmp_path / "mnist_png" / name)
    with pytest.raises(Failure, match=r"has pictures in testing, training, which look like splits: give the folder"):
        read_folders(tmp_path, known=set(made.CLASSES).issuperset)
    assert holds(read_folders(tmp_path / "mnist_png" / "testing", known=set(made.CLASSES).issuperset))


def test_two_data_sets_in_one_folder_are_not_taken_together(tmp_path: Path) -> None:
    """As ImageNetV2's three, and ImageNet-A beside ImageNet-O."""
    for name in ("imagenetv2-matched-frequency-format-val", "imagenetv2-top-images-format-val"):
        made.class_folders(tmp_path / name)
    said = (
        r"has 4 classes in several folders, imagenetv2-matched-frequency-format-val/accordion, imagenetv2-top-\S+ for"
    )
    with pytest.raises(Failure, match=said):
        read_folders(tmp_path, known=set(made.CLASSES).issuperset)
    assert holds(read_folders(tmp_path / name, known=set(made.CLASSES).issuperset))


def test_ids_are_the_same_however_a_disk_spells_accents(tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        folder = tmp_path / form / unicodedata.normalize(form, "café")
        folder.mkdir(parents=True)
        (folder / unicodedata.normalize(form, "é.jpg")).write_bytes(BODIES[0])
    one, other = read(tmp_path / "NFC"), read(tmp_path / "NFD")
    assert one.ids == other.ids == ("café/é.jpg",) and one.classes == other.classes == ("café",)


def test_a_file_that_goes_while_it_is_read_is_named(tmp_path: Path) -> None:
    found = read(made.class_folders(tmp_path))
    (tmp_path / "ant" / "image_0001.jpg").unlink()
    with pytest.raises(Failure, match=r"ant/image_0001\.jpg cannot be read .*: restore it, or take it out"):
        list(found)


def test_pictures_that_do_not_decode_are_counted_and_named(tmp_path: Path) -> None:
    found = read(made.class_folders(tmp_path))
    reasons = dict.fromkeys(found.ids[:4], "truncated_image")
    assert str(undecodable(found, reasons)) == (
        f"{tmp_path} has 4 of 12 pictures that do not decode: accordion/image_0000.jpg (truncated_image), "
        "accordion/image_0001.jpg (truncated_image), accordion/image_0002.jpg (truncated_image) and 1 more; restore "
        "them, or take them out"
    )


# ── clips ──


def clips(base: Path) -> Path:
    for clip, frames in (("run/a", 5), ("run/b", 4), ("sit/c", 11)):
        (base / clip).mkdir(parents=True)
        for number in range(frames):
            (base / clip / f"frame_{number}.jpg").write_bytes(b"%d" % number)
    return base


def test_clips_are_folders_of_frames(tmp_path: Path) -> None:
    middle = list(read(clips(tmp_path), frames="middle"))
    assert [(example.id, example.labels, example.pictures) for example in middle] == [
        ("run/a", (0,), (b"2",)),
        ("run/b", (0,), (b"2",)),
        ("sit/c", (1,), (b"5",)),  # frame_10 is after frame_9
    ]
    every = list(read(tmp_path, frames="all"))
    assert [len(example.pictures) for example in every] == [5, 4, 11] and every[2].pictures[-1] == b"10"
    (tmp_path / "run" / "a.jpg").write_bytes(b"x")
    with pytest.raises(Failure, match=r"has clips outside of class folders, run: move each"):
        read(tmp_path, frames="middle")


def test_natural() -> None:
    assert sorted(["f10", "f9", "f09b", "f", "10", "9"], key=natural) == ["9", "10", "f", "f09b", "f9", "f10"]


# ── none of these ──


def test_what_is_in_no_layout_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(io.BytesIO().getvalue())
    with pytest.raises(Failure, match=r"a\.zip is no folder, no tar and no Parquet file"):
        readers.layout_of(str(tmp_path / "a.zip"))
    with pytest.raises(Failure, match=r"has no folders by class, no metadata\.csv"):
        readers.layout_of(str(tmp_path))
    with pytest.raises(Failure, match=r"is not there: give its right path"):
        readers.layout_of(str(tmp_path / "b"))
    with pytest.raises(Failure, match=r"in the layout tar, which has no clips"):
        readers.read("a.tar", "tar", frames="all")
