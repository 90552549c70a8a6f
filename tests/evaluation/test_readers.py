"""Labelled pictures in every layout: the same examples come out, and what does not fit is named."""

import io
import json
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset

from core.errors import Failure
from evaluation import readers
from evaluation.class_folders import natural, read_folders
from evaluation.examples import Pictures, undecodable
from tests.evaluation import made

JPEG = made.pictures()
BODIES = [body for label in made.CLASSES for body in JPEG[label]]
LABELS = [number for number in range(len(made.CLASSES)) for _ in range(made.EACH)]


def read(path: Path, split: str = "test", **options: object) -> Pictures:
    return readers.read(str(path), readers.layout_of(str(path), split), split, **options)  # type: ignore[arg-type]


def holds(pictures: Pictures) -> bool:
    """Whether these are the made pictures, each with its class."""
    expected = {body: (number,) for body, number in zip(BODIES, LABELS, strict=True)}
    found = {example.pictures[0]: example.labels for example in pictures}
    return (found, len(pictures)) == (expected, len(BODIES)) and [example.id for example in pictures] == [*pictures.ids]


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


# ── tars ──


def test_a_tar_with_its_labels_beside_it(tmp_path: Path) -> None:
    files = {f"./{label}/{i}.JPG": body for label in made.CLASSES for i, body in enumerate(JPEG[label])}
    made.write_tar(tmp_path / "set.tar", {**files, "README": b""})
    lines = [f"{name.removeprefix('./')}\t{name.split('/')[1]}" for name in reversed(files)]
    (tmp_path / "set.labels.tsv").write_text("\r\n".join(lines), encoding="utf-16")
    found = read(tmp_path / "set.tar")
    assert holds(found) and found.ids == tuple(files) and found.left_out == {"without_a_label": 1}
    (tmp_path / "set.tsv").write_text("")
    with pytest.raises(Failure, match=r"set\.tar has set\.labels\.tsv and set\.tsv beside it: name the file"):
        read(tmp_path / "set.tar")
    assert holds(read(tmp_path / "set.tar", labels=str(tmp_path / "set.labels.tsv")))


def test_a_tar_without_labels_is_named(tmp_path: Path) -> None:
    made.write_tar(tmp_path / "set.tar", {"0.jpg": b"x"})
    with pytest.raises(Failure, match=r"has none of set\.labels\.tsv, set\.tsv, .*classnames\.txt beside it: name"):
        read(tmp_path / "set.tar")


def benchmark(base: Path, split: str = "test", names: str = "\n".join(made.CLASSES), each: int = 5) -> Path:
    """A folder as CLIP_benchmark's webdataset_builder writes it: by webdataset's ShardWriter, cls as digits."""
    (base / split).mkdir(parents=True)
    (base / "classnames.txt").write_text(names + "\n")
    (base / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\nart of the {c}.\n")
    with webdataset.ShardWriter(f"{base}/{split}/%d.tar", maxcount=each, verbose=0) as sink:
        for number, (body, label) in enumerate(zip(BODIES, LABELS, strict=True)):
            sink.write({"__key__": f"s{number:07d}", "jpg": body, "cls": label})
    (base / split / "nshards.txt").write_text(f"{-(-len(BODIES) // each)}\n")
    return base


def test_clip_benchmarks_folders(tmp_path: Path) -> None:
    found = read(benchmark(tmp_path))
    assert readers.layout_of(str(tmp_path)) == "webdataset" and holds(found)
    assert found.ids[:2] == ("s0000000", "s0000001") and found.classes == made.CLASSES
    assert found.templates == ("a photo of a {}.", "art of the {}.")


def rewritten(path: Path, change: Callable[[dict[str, bytes]], object]) -> None:
    import tarfile

    with tarfile.open(path) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    change(files)
    made.write_tar(path, files)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: (p / "test/1.tar").unlink(), r"lacks 1\.tar of the 3 tars in nshards\.txt: download them"),
        (lambda p: (p / "test/nshards.txt").write_text("2"), r"has 2\.tar, and nshards\.txt says 2: correct it"),
        (lambda p: (p / "test/nshards.txt").write_text("many"), r"holds 'many' and not the number of tars"),
        (lambda p: (p / "classnames.txt").write_text("a\nb\nc"), r"s0000009\.cls in .* holds '3', not a number from 0"),
        (lambda p: (p / "classnames.txt").write_text("a\n\nb\nc\n"), r"has an empty line among its class names"),
        (lambda p: (p / "classnames.txt").unlink(), r"has no classnames\.txt: add it, a class name a line"),
        (lambda p: (p / "dataset_type.txt").write_text("retrieval"), r"is a set for retrieval .* has no classes"),
        (
            lambda p: (p / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\na photo.\n"),
            r"templates\.txt, line 2 has no \{c\} for the class name",
        ),
        (
            lambda p: rewritten(p / "test/0.tar", lambda files: [files.pop(name) for name in list(files)[-2:]]),
            r"lacks 1 samples, s0000004: a tar was cut short, download it again",
        ),
        (
            lambda p: rewritten(p / "test/0.tar", lambda files: files.pop("s0000003.cls")),
            r"0\.tar has pictures with nothing beside them, s0000003\.jpg",
        ),
        (
            lambda p: rewritten(p / "test/0.tar", lambda files: files.pop("s0000003.jpg")),
            r"0\.tar has files without a picture beside them, s0000003\.cls",
        ),
        (
            lambda p: rewritten(p / "test/1.tar", lambda f: f.update({"s0000000.jpg": b"x", "s0000000.cls": b"0"})),
            r"1\.tar has the sample s0000000, which another tar or file has, too",
        ),
    ],
)  # fmt: skip
def test_folders_of_tars_that_do_not_fit_are_named(change: Callable[[Path], object], said: str, tmp_path: Path) -> None:
    change(benchmark(tmp_path))
    with pytest.raises(Failure, match=said):
        read(tmp_path)


@pytest.mark.parametrize("name", ["test/1.tar", "test.parquet", "alone.tar"])
def test_a_pointer_of_git_lfs_is_named(name: str, tmp_path: Path) -> None:
    if name == "test/1.tar":
        benchmark(tmp_path)
    path = tmp_path / name
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(Failure, match=rf"{name} is Git LFS's pointer to the file: download the file itself"):
        read(path if name == "alone.tar" else tmp_path)


def test_an_empty_picture_in_a_tar_is_named(tmp_path: Path) -> None:
    rewritten(benchmark(tmp_path) / "test" / "2.tar", lambda files: files.update({"s0000011.jpg": b""}))
    with pytest.raises(Failure, match=r"s0000011\.jpg in .*2\.tar is an empty file: restore it"):
        list(read(tmp_path))


def test_class_names_twice_are_two_classes_by_number(tmp_path: Path) -> None:
    """ImageNet's, where two classes are called sunglasses."""
    found = read(benchmark(tmp_path, names="sunglasses\nsunglasses\nanchor\nant"))
    assert holds(found) and found.classes[:2] == ("sunglasses", "sunglasses")


def test_pictures_of_several_classes_have_vectors(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "classnames.txt").write_text("cat\ndog\nhen\n")
    (tmp_path / "dataset_type.txt").write_text("multilabel\n")
    vectors = [[1, 0, 1], [0, 1, 0], [0, 0, 0]]
    with webdataset.TarWriter(str(tmp_path / "test" / "0.tar")) as sink:
        for number, vector in enumerate(vectors):
            sink.write({"__key__": f"s{number:07d}", "webp": b"x", "npy": np.array(vector)})
    (tmp_path / "test" / "nshards.txt").write_text("1")
    found = read(tmp_path)
    assert found.labels == ((0, 2), (1,), ()) and found.matrix().tolist() == np.array(vectors, bool).tolist()
    with pytest.raises(Failure, match="several classes or none for s0000000, s0000002: use a metric of many classes"):
        found.numbers()
    (tmp_path / "classnames.txt").write_text("cat\ndog\n")
    with pytest.raises(Failure, match=r"s0000000\.npy in .* is int64 \[3\], not a vector of 2 zeros and ones, one by"):
        read(tmp_path)


# ── Hugging Face's folders and tables ──


def in_folder(base: Path) -> list[str]:
    names = []
    for label in made.CLASSES:
        for i, body in enumerate(JPEG[label]):
            names.append(f"images/{label}_{i}.jpg")
            (base / "images").mkdir(parents=True, exist_ok=True)
            (base / names[-1]).write_bytes(body)
    return names


def metadata(base: Path, kind: str) -> None:
    rows = [{"file_name": name, "label": made.CLASSES[n]} for name, n in zip(in_folder(base), LABELS, strict=True)]
    if kind == "csv":
        text = "\ufefflabel,file_name,note\r\n" + "".join(f'{r["label"]},{r["file_name"]},"a, ""b"""\r\n' for r in rows)
        (base / "metadata.csv").write_text(text)
    elif kind == "jsonl":
        (base / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    else:
        pq.write_table(pa.Table.from_pylist(rows), base / "metadata.parquet")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_metadata(kind: str, tmp_path: Path) -> None:
    metadata(tmp_path / "test", kind)
    (tmp_path / "test" / "images" / "more.png").write_bytes(b"x")
    found = read(tmp_path)
    assert readers.layout_of(str(tmp_path)) == "metadata" and holds(found)
    assert found.ids[0] == "images/accordion_0.jpg" and found.left_out["without_a_row"] == 1


def test_metadata_of_several_classes_and_numbers(tmp_path: Path) -> None:
    in_folder(tmp_path)
    rows = [{"file_name": "images/ant_0.jpg", "label": [10, 2]}, {"file_name": "./images/ant_1.JPG", "label": ["2"]}]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = read(tmp_path)
    assert (found.classes, found.labels) == (("2", "10"), ((0, 1), (0,)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "file_name,label\nimages/ant_0.jpg,ant\nimages/gone.jpg,ant\n",
            r"names 2 pictures, of which 1 are not in its folder, images/gone",
        ),
        ("file_name,label\nimages/ant_0.jpg,\n", r"metadata\.csv, line 2 has no label \(''\): add it"),
        ("file_name,label\nimages/ant_0.jpg,nan\n", r"line 2 has no label \('nan'\)"),
        (
            "file_name,label\nimages/ant_0.jpg,ant\n\n./images/ant_0.JPG,bee\n",
            r"line 4 names .* again, after line 2",
        ),
        ("file_name,label\n,ant\n", r"line 2 has no file_name"),
        (
            "file_name,label\nimages/ant_0.jpg,ant, red\n",
            r"line 2 has 3 cells and the first line 2: put texts that hold",
        ),
        ("file_name,text\nimages/ant_0.jpg,ant\n", r"no column of labels, but file_name, text: call the one"),
        ("file_name,label,class\nimages/ant_0.jpg,ant,b\n", r"several columns of labels, label, class: call the one"),
        ("file_name,label,label\nimages/ant_0.jpg,ant,b\n", r"has a column twice in its first line"),
        ("file;label\nimages/ant_0.jpg;ant\n", r"has no column file_name, but file;label: add it"),
        ("file_name,label\n", r"holds no rows"),
        ("", r"holds no rows"),
        ('file_name,label\n"images/ant_0.jpg,ant\n', r"is no CSV"),
        ("file_name,label\n../../secret.jpg,ant\n", r"names 1 pictures, of which 1 are not in its folder"),
    ],
)
def test_metadata_that_does_not_fit_is_named(text: str, said: str, tmp_path: Path) -> None:
    in_folder(tmp_path)
    (tmp_path.parent / "secret.jpg").write_bytes(b"x")
    (tmp_path / "metadata.csv").write_text(text)
    with pytest.raises(Failure, match=said):
        read(tmp_path)


def test_two_files_of_metadata_or_one_in_the_wrong_place_are_named(tmp_path: Path) -> None:
    metadata(tmp_path / "test", "csv")
    (tmp_path / "test" / "metadata.jsonl").write_text("")
    with pytest.raises(Failure, match=r"has metadata\.csv, metadata\.jsonl: leave the one that holds the labels"):
        read(tmp_path)
    (tmp_path / "test" / "metadata.jsonl").rename(tmp_path / "metadata.jsonl")
    (tmp_path / "test" / "metadata.csv").unlink()
    with pytest.raises(Failure, match=r"has metadata\.jsonl and its split is in test/: move the rows of the split"):
        read(tmp_path)


def parquet(path: Path, names: list[str] | None = None, labels: list[object] | None = None, paths: bool = True) -> Path:
    """A table as datasets.Dataset.to_parquet writes it; test_tables_of_datasets_itself holds it against the library."""
    images = [{"bytes": body, "path": f"p{i}.jpg" if paths else None} for i, body in enumerate(BODIES)]
    feature = {"names": names or list(made.CLASSES), "_type": "ClassLabel"}
    info = {"info": {"features": {"image": {"_type": "Image"}, "label": feature}}}
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    table = pa.table({"image": pa.array(images, kind), "label": LABELS if labels is None else labels})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(info)}), path)
    return path


def test_tables_with_pictures_inside(tmp_path: Path) -> None:
    found = read(parquet(tmp_path / "data" / "test-00000-of-00001.parquet").parents[1])
    assert readers.layout_of(str(tmp_path)) == "parquet" and holds(found)
    assert found.classes == made.CLASSES and found.ids[0] == "p0.jpg"
    assert holds(read(parquet(tmp_path / "alone.parquet", paths=False)))
    assert read(tmp_path / "alone.parquet").ids[11] == "alone/00000011"


def test_tables_of_datasets_itself(tmp_path: Path) -> None:
    import datasets

    rows = {"image": [{"bytes": body, "path": None} for body in BODIES], "label": LABELS}
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=list(made.CLASSES)))
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "test.parquet")
    found = read(tmp_path)
    assert holds(found) and found.classes == made.CLASSES


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: parquet(p / "test.parquet", labels=[-1, *LABELS[1:]]), r"row 0 has the label -1, and the schema"),
        (lambda p: parquet(p / "test.parquet", names=["a", "b"]), r"row 6 has the label 2, and the schema names 2"),
        (lambda p: parquet(p / "test.parquet", labels=[None, *LABELS[1:]]), r"row 0 has no label \(None\)"),
        (lambda p: parquet(p / "test-00001-of-00002.parquet"), r"lacks test-00000-of-00002: download the files"),
        (lambda p: parquet(p / "train-00000-of-00001.parquet"), r"no table of the split test: give the folder of one"),
        (
            lambda p: [parquet(p / "test" / "0.parquet"), parquet(p / "test" / "1.parquet", names=list("abcd"))],
            r"1\.parquet has other class names than .*0\.parquet",
        ),
        (lambda p: (p / "test.parquet").write_bytes(b"PAR1"), r"test\.parquet is no whole Parquet file"),
        (
            lambda p: pq.write_table(pa.table({"text": ["a"], "label": [0]}), p / "test.parquet"),
            r"has 0 columns of pictures among text, label: call the one image",
        ),
    ],
)  # fmt: skip
def test_tables_that_do_not_fit_are_named(make: Callable[[Path], object], said: str, tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(Failure, match=said):
        read(tmp_path)


def test_class_names_twice_in_a_schema_are_two_classes(tmp_path: Path) -> None:
    """Hugging Face's imagenet-1k, where two classes are called crane."""
    found = read(parquet(tmp_path / "test.parquet", names=["crane", "crane", "anchor", "ant"]))
    assert holds(found) and found.classes[:2] == ("crane", "crane")


def test_tables_of_other_splits_beside_a_splits_folder_are_left_alone(tmp_path: Path) -> None:
    made.class_folders(tmp_path / "test")
    parquet(tmp_path / "train.parquet")
    assert readers.layout_of(str(tmp_path)) == "folders" and holds(read(tmp_path))


def test_cifar_100s_two_columns_of_labels(tmp_path: Path) -> None:
    table = pa.table({"img": pa.array([b"x"], pa.binary()), "fine_label": [3], "coarse_label": [1]})
    pq.write_table(table, tmp_path / "test.parquet")
    assert read(tmp_path, column="fine_label").classes == ("3",)


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
