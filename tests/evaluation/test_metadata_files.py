"""Hugging Face's layouts: folders with a table of metadata, and Parquet files with pictures inside."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import Failure
from evaluation import readers
from tests.evaluation import made
from tests.evaluation.reading import BODIES, JPEG, LABELS, holds, read


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


CLASS_NAMES = {"info": {"features": {"label": {"names": list(made.CLASSES), "_type": "ClassLabel"}}}}


def test_metadata_with_numbers_of_classes_in_its_schema(tmp_path: Path) -> None:
    table = pa.table({"file_name": in_folder(tmp_path), "label": LABELS})
    schema = {b"huggingface": json.dumps(CLASS_NAMES).encode()}
    pq.write_table(table.replace_schema_metadata(schema), tmp_path / "metadata.parquet")
    assert holds(read(tmp_path)) and read(tmp_path).classes == made.CLASSES


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "file_name,label,split\nimages/ant_0.jpg,ant,train\nimages/ant_1.jpg,ant,test\n",
            r"rows of test, train",
        ),
        (
            "file_name,label\nimages/ant_0.jpg,\"['ant', 'wasp']\"\n",
            r"line 2 has a list in one cell \(\['ant', 'wa",
        ),
        ("file_name,label\nimages/ant_0.jpg,None\n", r"line 2 has no label \('None'\)"),
        ("file_name,label\nimages/ant_0.jpg,#N/A\n", r"line 2 has no label \('#N/A'\)"),
    ],
)
def test_rows_that_are_not_what_they_seem(text: str, said: str, tmp_path: Path) -> None:
    in_folder(tmp_path)
    (tmp_path / "metadata.csv").write_text(text)
    with pytest.raises(Failure, match=said):
        read(tmp_path)


@pytest.mark.parametrize("joined", ["ant|bee", "bee;ant", '"bee, ant"', "7 12"])
def test_a_label_that_joins_others_is_named(joined: str, tmp_path: Path) -> None:
    labels = ["ant", joined, "bee", "7", "12"]
    rows = [f"{name},{label}\n" for name, label in zip(in_folder(tmp_path), labels, strict=False)]
    (tmp_path / "metadata.csv").write_text("file_name,label\n" + "".join(rows))
    with pytest.raises(
        Failure, match=r"metadata\.csv has the label '.*' beside '\w+', '\w+': where a picture has several"
    ):
        read(tmp_path)


def test_rows_say_of_which_split_pictures_are(tmp_path: Path) -> None:
    """COCO has its pictures in train2017 and val2017."""
    for split in ("train2017", "val2017"):
        in_folder(tmp_path / split)
    (tmp_path / "metadata.csv").write_text("file_name,label\nval2017/images/ant_0.jpg,ant\n")
    assert readers.layout_of(str(tmp_path)) == "metadata"
    assert read(tmp_path).ids == ("val2017/images/ant_0.jpg",)
    with (tmp_path / "metadata.csv").open("a") as file:
        file.write("train2017/images/ant_0.jpg,ant\n")
    with pytest.raises(Failure, match=r"metadata\.csv names pictures in train2017, val2017, which look like splits"):
        read(tmp_path)


def test_rows_of_pictures_in_several_splits_are_not_taken_together(tmp_path: Path) -> None:
    names = [f"images/{split}/1.jpg" for split in ("train", "test")]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "metadata.csv").write_text("file_name,label\n" + "".join(f"{name},ant\n" for name in names))
    with pytest.raises(Failure, match=r"metadata\.csv names pictures in test, train, which look like splits"):
        read(tmp_path)


def tables(base: Path, *names: str) -> None:
    pictures = [{"bytes": body, "path": f"{i}.jpg"} for i, body in enumerate(BODIES)]
    table = pa.table({"image": pictures, "label": [made.CLASSES[n] for n in LABELS]})
    for name in names:
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, base / name)


def test_tables_of_other_splits_and_files_of_the_hub_are_left(tmp_path: Path) -> None:
    tables(tmp_path, "data/test-00000-of-00001-0123456789abcdef.parquet", "data/test_extra-00000-of-00001.parquet")
    (tmp_path / "dataset_infos.json").write_text("{}")
    assert readers.layout_of(str(tmp_path)) == "parquet" and holds(read(tmp_path))


def test_tables_that_would_be_counted_twice_are_named(tmp_path: Path) -> None:
    tables(tmp_path / "a", *(f"data/test-00000-of-00001{end}.parquet" for end in ("", "-0123456789abcdef")))
    with pytest.raises(Failure, match=r"two versions of a table: leave one"):
        readers.layout_of(f"{tmp_path}/a")
    tables(tmp_path / "b", "mnist-train.parquet", "mnist-test.parquet")
    with pytest.raises(Failure, match=r"no table of the split test: give the folder of one"):
        readers.layout_of(f"{tmp_path}/b")
    tables(tmp_path / "c", "x.parquet")
    table = pq.read_table(tmp_path / "c" / "x.parquet")
    split = pa.array(["train", *["test"] * (len(table) - 1)])
    pq.write_table(table.append_column("split", split), tmp_path / "c" / "x.parquet")
    with pytest.raises(Failure, match=r"has rows of test, train in its column split"):
        read(tmp_path / "c" / "x.parquet")


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
        ("file;label\nimages/ant_0.jpg;ant\n", r"has ';' between its columns \('file;label'\): save it with commas"),
        ("file_name\tlabel\nimages/ant_0.jpg\tant\n", r"has '\\t' between its columns"),
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


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()], ids=str)
def test_pictures_in_a_column_of_bytes(kind: pa.DataType, tmp_path: Path) -> None:
    names = pa.array([made.CLASSES[n] for n in LABELS], pa.string_view())  # views are what polars writes
    pq.write_table(pa.table({"image": pa.array(BODIES, kind), "label": names}), tmp_path / "a.parquet")
    assert holds(read(tmp_path / "a.parquet"))


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
        (
            lambda p: pq.write_table(pa.table({"image": [b"x"], "caption": ["an ant"]}), p / "test.parquet"),
            r"has captions and no labels: for retrieval write its pictures to files, and metadata\.csv beside them",
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
