"""Names of pictures and their labels: what means the same, and what is said of the rest."""

import io
import subprocess
import tarfile
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import pytest

from core.errors import Failure
from evaluation import labels

COMPOSED = unicodedata.normalize("NFC", "café.jpg")
IN_TWO = unicodedata.normalize("NFD", "café.jpg")


def write_tar(path: Path, files: Mapping[str, bytes] | list[str]) -> str:
    bodies = files.items() if isinstance(files, Mapping) else [(name, b"") for name in files]
    with tarfile.open(path, "w") as tar:
        for name, body in bodies:
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return str(path)


def read(folder: Path, files: Mapping[str, bytes] | list[str], lines: str | bytes) -> labels.Labelled:
    path = folder / "labels.tsv"
    path.write_bytes(lines if isinstance(lines, bytes) else lines.encode())
    return labels.read(write_tar(folder / "pictures.tar", files), str(path))


@pytest.mark.parametrize(
    ("in_tar", "given"),
    [
        ("./0.jpg", "0.jpg"),
        ("0.jpg", "./0.jpg"),
        ("/0.jpg", "0.jpg"),
        ("./val/0.jpg", "val//0.jpg"),
        ("val/0.jpg", "val\\0.jpg"),
        (IN_TWO, COMPOSED),
        (COMPOSED, IN_TWO),
        ("0.JPG", "0.jpg"),
        ("0.jpg", "0.JPG"),
        ("0.jpeg", "0.jpg"),
        ("IMG_0.JPG", "img_0.jpg"),
        ("s0000000.jpg", "s0000000"),
        ("s0000000.webp", "s0000000.jpg"),
        ("val/0.jpg", "0.jpg"),
        ("./data/val/0.JPG", "val/0.jpg"),
        ("0.jpg", "/home/me/val/0.jpg"),
        ("a picture", "a picture"),
        ("0\u200b.jpg", "0\u200b.jpg"),
        ("0.jpg", '"0.jpg"'),
        ("a.b/c.d.jpg", "a.b/c.d"),
    ],
)
def test_names_that_mean_the_same_picture(in_tar: str, given: str, tmp_path: Path) -> None:
    """Issue 12, point 11; beside each a file that is none, and what a Mac puts beside a picture."""
    note = "/".join([*in_tar.split("/")[:-1], "._" + in_tar.split("/")[-1]])
    found = read(tmp_path, [in_tar, note, ".DS_Store", "s0000000.cls"], f"{given}\tcat\n")
    assert found == labels.Labelled({in_tar: "cat"}, ["cat"], 3)


@pytest.mark.parametrize(
    ("in_tar", "given", "expected"),
    [
        (["1.jpg", "1.png"], ["1.jpg", "1.png"], {"1.jpg": "1.jpg", "1.png": "1.png"}),
        (["1.jpg", "1.png"], ["1.png", "1.jpeg"], {"1.png": "1.png", "1.jpg": "1.jpeg"}),
        (["1.jpg", "1.png"], ["1"], {}),  # which of them?
        (["1.webp"], ["1.jpg", "1.png"], {}),
        (["a/1.jpg", "b/1.jpg"], ["1.jpg"], {}),
        (["a/1.jpg", "b/1.jpg"], ["x/a/1.jpg", "x/b/1.jpg"], {"a/1.jpg": "x/a/1.jpg", "b/1.jpg": "x/b/1.jpg"}),
        (["t/a/1.jpg", "t/b/1.jpg", "README"], ["a/1.jpg"], {}),  # all of the given names are in a/
        (["A.jpg", "a.jpg"], ["a.jpg"], {"a.jpg": "a.jpg"}),
        (["1.txt", "1.cls"], ["1.jpg"], {}),
        ([], ["1.jpg"], {}),
    ],
)
def test_a_name_is_guessed_only_where_it_can_mean_one_picture(
    in_tar: list[str], given: list[str], expected: dict[str, str]
) -> None:
    assert labels.match(given, in_tar) == expected


def test_a_tar_as_people_make_it(tmp_path: Path) -> None:
    """Issue 12, point 11: `tar -C folder .`, with names as macOS spells them."""
    folder = tmp_path / "folder"
    (folder / "val").mkdir(parents=True)
    for name in ("0.JPG", "val/1.jpg", IN_TWO):
        (folder / name).touch()
    subprocess.run(["tar", "-cf", tmp_path / "p.tar", "-C", folder, "."], check=True)
    (tmp_path / "l.tsv").write_text(f"0.jpg\tcat\nval/1.jpg\tdog\n{COMPOSED}\tcat\n")
    found = labels.read(str(tmp_path / "p.tar"), str(tmp_path / "l.tsv"))
    assert found.label_of == {"./0.JPG": "cat", "./val/1.jpg": "dog", f"./{IN_TWO}": "cat"}
    assert (found.classes, found.unlabelled) == (["cat", "dog"], 0)


@pytest.mark.parametrize(
    "lines",
    [
        "\ufeff0.jpg\tred fox\n1.jpg\tdog\n".encode(),
        b"0.jpg\tred fox  \r\n1.jpg \tdog\t\r\n\r\n",
        b"\n  0.jpg\tred  fox\n\n\n1.jpg\tdog",
        b"0.jpg\tred fox\r1.jpg\tdog\r",
        "\ufeff0.jpg\tred fox\r\n1.jpg\tdog\r\n".encode("utf-16-le"),  # a spreadsheet's "Unicode text"
        "\ufeff0.jpg\tred fox\n1.jpg\tdog\n".encode("utf-16-be"),
        b'"0.jpg"\t"red fox"\r\n"1.jpg"\tdog\r\n',
        "0.jpg\tred\u200b fox\u200b\n\u200b1.jpg\t\ufeffdog\n".encode(),
    ],
)
def test_what_editors_and_spreadsheets_add_is_cleaned(lines: bytes, tmp_path: Path) -> None:
    """Issue 12, point 11."""
    found = read(tmp_path, ["0.jpg", "1.jpg"], lines)
    assert found.label_of == {"0.jpg": "red fox", "1.jpg": "dog"}


def test_a_class_is_one_however_its_accents_are_spelt(tmp_path: Path) -> None:
    found = read(tmp_path, ["0.jpg", "1.jpg"], f"0.jpg\t{COMPOSED[:-4]}\n1.jpg\t{IN_TWO[:-4]}\n")
    assert found.classes == ["café"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("0.jpg cat\n", r"line 1 is not a name, a tab and a label \('0\.jpg cat'\): correct it, with a tab"),
        ("0.jpg,cat\n", r"line 1 is not a name, a tab and a label \('0\.jpg,cat'\)"),
        ("0.jpg\tcat\n\n\tdog\n", "line 3 is not a name"),
        ("0.jpg\t\n", "line 1 is not a name"),
        ("0.jpg\tnan\n", r"line 1 is not a name, a tab and a label \('0\.jpg\\tnan'\)"),
        ("0.jpg\tcat\n1.jpg\tdog\t0.9\n", "line 2 has 3 columns: leave only the name and the label"),
        ("0.jpg\tcat\n./0.JPG\tdog\n", r"line 2 labels \./0\.JPG a second time, after line 1: remove one"),
        ("", "holds no labels"),
        ("\n \n", "holds no labels"),
        ("0.jpg\tcat\n9.jpg\tdog\n", r"lacks 1 of the 2 pictures that .* names, 9\.jpg for one"),
        ("name\tlabel\n0.jpg\tcat\n", r"first line of .* names \(name, label\), and nothing else: if that is a header"),
        ("9.jpg\tcat\n", r"have no name in common: the one has '9\.jpg', the other '0\.jpg'; name the pictures"),
        ("cat\t0.jpg\n", "have no name in common: the one has 'cat', the other"),
        ("0.jpg\tgrün\n".encode("latin-1"), r"labels\.tsv is not UTF-8"),
        (
            "0.jpg\tcat\n1.jpg\tdog\nREADME\tdog; cat\n",
            r"has the label 'dog; cat' beside 'dog', 'cat': where a picture",
        ),
        ("0.jpg\tcat\n".encode("utf-16-le"), r"labels\.tsv is not UTF-8 .*UTF-16"),
    ],
)
def test_labels_that_do_not_fit_are_named(lines: str | bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(Failure, match=said):
        read(tmp_path, ["README", "0.jpg", "1.jpg"], lines)


def test_a_picture_that_is_there_twice_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"holds 2 pictures twice, \./0\.jpg for one"):
        read(tmp_path, ["0.jpg", "./0.jpg", "1.jpg", "1.jpg"], "0.jpg\tcat\n1.jpg\tdog\n")


# ── CLIP_benchmark's form ──

BENCHMARK = {"s0000000.jpg": b"", "s0000000.cls": b"1", "s0000001.jpg": b"", "s0000001.cls": b"0\n", "s2.jpg": b""}


def test_class_numbers_beside_pictures_and_a_list_of_names(tmp_path: Path) -> None:
    """Issue 12, point 11: the tar and the classnames.txt that CLIP_benchmark publishes."""
    found = read(tmp_path, BENCHMARK, "tench\ngreat white shark\nhen, or cock\n")
    assert found.label_of == {"s0000000.jpg": "great white shark", "s0000001.jpg": "tench"}
    assert (found.classes, found.unlabelled) == (["great white shark", "hen, or cock", "tench"], 1)


@pytest.mark.parametrize(
    "files",
    [
        {"./s0.jpg": b"", "s0.cls": b"1"},
        {"s0.jpg": b"", "./s0.cls": b"1"},
        {"S0.JPG": b"", "S0.CLS": b"1"},
        {"S0.JPG": b"", "s0.cls": b"1"},
        {IN_TWO: b"", COMPOSED[:-4] + ".cls": b"1"},
        {"s0.jpg": b"", "s0.cls": b"\xef\xbb\xbf1\r\n"},
        {"s0.jpg": b"", "s0.cls": b"0001"},
        {"s0.jpg": b"", "._s0.jpg": b"\0", "s0.cls": b"1", "._s0.cls": b"\0"},
        {"s.jpg": b"", "s.cls": b"1", "S.jpg": b""},
    ],
)
def test_a_class_number_and_its_picture_are_found_as_labels_are(files: dict[str, bytes], tmp_path: Path) -> None:
    found = read(tmp_path, files, '"great ""white"" shark"\n\u200bhen\u200b\n')
    assert found.label_of == {next(iter(files)): "hen"}
    assert found.classes == ['great "white" shark', "hen"]


def test_quotes_that_do_not_enclose_a_cell_are_its_own(tmp_path: Path) -> None:
    found = read(tmp_path, ["0.jpg", "1.jpg"], '0.jpg\t"A" or "B"\n1.jpg\t6" nail\n')
    assert found.classes == ['"A" or "B"', '6" nail']


def test_class_numbers_of_paths_that_differ_in_capitals_only(tmp_path: Path) -> None:
    found = read(tmp_path, {"a.jpg": b"", "A.jpg": b"", "a.cls": b"0", "A.cls": b"1"}, "cat\ndog\n")
    assert found.label_of == {"a.jpg": "cat", "A.jpg": "dog"}


def test_lines_of_labels_go_before_class_numbers(tmp_path: Path) -> None:
    found = read(tmp_path, BENCHMARK, "s0000000\tcat\ns0000001\tdog\n")
    assert found.label_of == {"s0000000.jpg": "cat", "s0000001.jpg": "dog"}


@pytest.mark.parametrize(
    ("files", "lines", "said"),
    [
        (BENCHMARK, "tench\n", r"s0000000\.cls in .* holds '1', not a number from 0 to 0, of a line of"),
        ({"0.jpg": b"", "0.cls": b"cat"}, "cat\n", r"0\.cls in .* holds 'cat', not a number"),
        ({"0.jpg": b"", "0.cls": b"-1"}, "cat\n", r"0\.cls in .* holds '-1', not a number"),
        ({"0.jpg": b"", "0.cls": b"1.0"}, "cat\ndog\n", r"0\.cls in .* holds '1\.0', not a number"),
        ({"0.jpg": b"", "0.cls": b"9" * 5_000}, "cat\n", r"0\.cls in .* holds '9{40}', not a number"),
        ({"0.jpg": b"", "0.cls": "\u0661".encode()}, "cat\ndog\n", r"0\.cls in .* holds '\u0661', not a number"),
        ({"0.jpg": b"", "./0.jpg": b"", "0.cls": b"0"}, "cat\n", r"holds 0\.jpg twice: remove one"),
        ({"0.jpg": b"", "./0.cls": b"0", "0.cls": b"1"}, "cat\ndog\n", r"holds 0\.cls twice: remove one"),
        ({"AA.jpg": b"", "aA.jpg": b"", "aa.cls": b"0"}, "cat\n", r"has no picture beside aa\.cls"),
        ({"0.cls": b"0"}, "cat\n", r"has no picture beside 0\.cls"),
        (BENCHMARK, "tench\nhen\ntench\n", "has tench among its class names twice"),
        (BENCHMARK, "tench\n\nhen\n", "has an empty line among its class names"),
        (BENCHMARK, "s0000000.jpg,cat\ns0000001.jpg,dog\n", "has names of pictures, but no tabs"),
    ],
)
def test_class_numbers_that_do_not_fit_are_named(
    files: dict[str, bytes], lines: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(Failure, match=said):
        read(tmp_path, files, lines)
