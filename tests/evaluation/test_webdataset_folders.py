"""Labelled pictures in tars: one with its labels beside it, and CLIP_benchmark's folders of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import webdataset

from core.errors import Failure
from evaluation import readers
from tests.evaluation import made
from tests.evaluation.reading import BODIES, JPEG, LABELS, holds, read


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
            lambda p: (p / "zeroshot_classification_templates.txt").write_text("lambda c: f'a photo of {c}.',\n"),
            r"templates\.txt, line 1 is a line of a program",
        ),
        (
            lambda p: (p / "zeroshot_classification_templates.txt").write_text("{c}\n'a photo of {c}.',\n"),
            r"templates\.txt, line 2 is a line of a program",
        ),
        (
            lambda p: (p / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\na photo.\n"),
            r"templates\.txt, line 2 has no \{c\} for the class name",
        ),
        *(
            (lambda p, text=text: (p / "zeroshot_classification_templates.txt").write_text(f"{{c}}\n{text}\n"), said)
            for text, said in (
                ("f'a photo of a {c}.'", r"line 2 is a line of a program \(f'a photo"),
                ('["a photo of a {c}.", "art of {c}"]', r"line 2 is a line of a program"),
                ('{"ant": ["a small {c}"]}', r"line 2 has braces beside \{c\}"),
                ("a photo of a {c} by {artist}.", r"line 2 has braces beside \{c\} \(a photo of a \{c\} by \{artist"),
            )
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


def test_quotes_within_a_template_are_its_own(tmp_path: Path) -> None:
    lines = ['"{c}"', 'a photo of the number: "{c}".', '"{}" on a sign', "it's {c}'"]
    (benchmark(tmp_path) / "zeroshot_classification_templates.txt").write_text("\n".join(lines))
    assert read(tmp_path).templates == tuple(line.replace("{c}", "{}") for line in lines)
