"""`python -m dedup query`: the index answers for a picture as it was fetched, and says in a sentence why it cannot."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import dedup.overlap
import openwit
from core.tables import read_table
from dedup import index
from dedup.__main__ import main
from dedup.hashes import fingerprints
from dedup.tables import OVERLAP
from pipeline.decoding.picture import Options, Picture, store
from pipeline.tables import OUTCOME
from tests.dedup.made import scene, table
from tests.evaluation.made import write_tar
from tests.pipeline.upstream import Project, table_of
from tests.running import ROOT
from tests.shards.helpers import outcome


def encoded(image: Image.Image, kind: str, **how: object) -> bytes:
    to = io.BytesIO()
    image.save(to, kind, **how)
    return to.getvalue()


def lying_on_its_side() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def half_transparent() -> Image.Image:
    """Black where nothing shows, as most programs leave it."""
    pixels = np.asarray(scene(4, 640, 480).convert("RGBA")).copy()
    pixels[:, :200] = 0
    return Image.fromarray(pixels)


BRIGHT = np.asarray(scene(4, 640, 480).convert("L")).astype(np.uint16) * 256
FETCHED = {
    "photo.jpg": encoded(scene(4, 640, 480), "JPEG"),
    "wide.webp": encoded(scene(5, 1200, 300), "WEBP"),
    "turned.jpg": encoded(scene(6, 640, 480), "JPEG", exif=lying_on_its_side()),
    "cutout.png": encoded(half_transparent(), "PNG"),
    "palette.png": encoded(half_transparent().quantize(64), "PNG"),
    "print.jpg": encoded(scene(7, 640, 480).convert("CMYK"), "JPEG"),
    "deep.png": encoded(Image.fromarray(np.roll(BRIGHT, 250, axis=1)), "PNG"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """These pictures, and an index of them as they are stored; the number of each is its id."""
    folder = tmp_path_factory.mktemp("made")
    stored = [store(body, Options()) for body in FETCHED.values()]
    pictures = [Image.open(io.BytesIO(picture.body)) for picture in stored if isinstance(picture, Picture)]
    ids = np.arange(len(FETCHED), dtype=np.uint8).repeat(16).reshape(-1, 16)
    column = fingerprints(pictures) | {"image_id": ids, "sha256": np.repeat(ids, 2, axis=1)}
    assert not column["flags"].any()
    index.build(str(folder / "index"), [table(column)])
    Project(folder / "out").write("dedup", {"c0": [table(column)]})
    for name, body in FETCHED.items():
        (folder / name).write_bytes(body)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> str:
    """A copy of the index, beside copies of the pictures."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return str(tmp_path / "index")


@pytest.mark.filterwarnings("ignore:Palette images with Transparency:UserWarning")
@pytest.mark.parametrize("name", FETCHED)
def test_a_fetched_picture_is_found(name: str, folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", str(tmp_path / name), "--index", folder]) == 0
    nearest, *_ = capsys.readouterr().out.splitlines()
    id_, d64, _, _, _, d256, *_ = nearest.split()
    assert id_ == bytes([[*FETCHED].index(name)] * 16).hex()
    assert int(d64) <= 2 and int(d256) <= 10


def test_the_distance_counts(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cropped.png").write_bytes(encoded(scene(4, 640, 480).crop((5, 5, 635, 475)), "PNG"))
    asked = ["query", str(tmp_path / "cropped.png"), "--index", folder]
    assert main([*asked, "--distance", "5"]) == 0
    (found,) = capsys.readouterr().out.splitlines()
    d64 = int(found.split()[1])
    assert found.startswith("00" * 16) and 0 < d64 <= 5
    assert main([*asked, "--distance", str(d64 - 1)]) == 0
    assert f"is within {d64 - 1} of 64" in capsys.readouterr().out


def test_a_stranger_and_a_flat_picture_are_said_to_be_so(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stranger.png").write_bytes(encoded(scene(99), "PNG"))
    (tmp_path / "flat.png").write_bytes(encoded(Image.new("RGB", (90, 90), "teal"), "PNG"))
    assert main(["query", str(tmp_path / "stranger.png"), "--index", folder]) == 0
    assert capsys.readouterr().out == f"none of {len(FETCHED)} images is within 4 of 64 and 40 of 256 bits\n"
    assert main(["query", str(tmp_path / "flat.png"), "--index", folder]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'flat.png'} is too flat to be told from others by its hash\n"


def test_the_index_of_a_recipe_in_a_process_of_its_own(folder: str, tmp_path: Path) -> None:
    (tmp_path / "5_dedup").mkdir()
    Path(folder).rename(tmp_path / "5_dedup" / "index")
    (tmp_path / "r.toml").write_text(f'[run]\nout = "{tmp_path}"\n')
    words = ["-m", "dedup", "query", str(tmp_path / "photo.jpg"), "--recipe", str(tmp_path / "r.toml")]
    ran = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == f"{'00' * 16}  0 of 64 and 0 of 256 bits differ\n"


def test_a_mirrored_picture_is_said_to_be_one(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mirrored.png").write_bytes(encoded(ImageOps.mirror(scene(4, 640, 480)), "PNG"))
    assert main(["query", str(tmp_path / "mirrored.png"), "--index", folder]) == 0
    (found,) = capsys.readouterr().out.splitlines()
    assert found.startswith("00" * 16) and found.endswith(" of 256 bits of its mirror image differ")


# ── overlap ──

ASKED = {
    "b/framed.png": encoded(ImageOps.expand(scene(4, 640, 480), 60, "white"), "PNG"),
    "a/photo.jpg": FETCHED["photo.jpg"],
    "a/flat.png": encoded(Image.new("RGB", (90, 90), "teal"), "PNG"),
    "mirrored.jpg": encoded(ImageOps.mirror(scene(7, 640, 480)), "JPEG"),
    "z.png": encoded(scene(99), "PNG"),
}


@pytest.fixture
def recipe(folder: str, tmp_path: Path) -> str:
    """A recipe whose dedup has made fingerprints, and whose eval asks about a tar of pictures."""
    (tmp_path / "out" / "5_dedup").rename(tmp_path / "5_dedup")
    tar = write_tar(tmp_path / "asked.tar", ASKED)
    (tmp_path / "r.toml").write_text(f'[run]\nout = "{tmp_path}"\n[eval]\npictures = "{tar}"\n')
    return str(tmp_path / "r.toml")


def of_photo(name: str) -> bytes:
    return bytes([[*FETCHED].index(name)] * 16)


def test_overlap_names_what_is_in_the_dataset(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Project(tmp_path)
    url = "http://a.test/photo.jpg"
    row = {**outcome(url, FETCHED["photo.jpg"], ""), "image_id": of_photo("photo.jpg")}
    made.write("fetch", {"lane": [table_of(OUTCOME, [row])]})
    assert openwit.main(["overlap", "--recipe", recipe]) == 0
    path = tmp_path / "overlap.parquet"
    assert capsys.readouterr().out == (
        f"overlap: 3 of 5 evaluation pictures are in the dataset, 1 too flat to tell → {path}\n"
    )
    rows = read_table(str(path), OVERLAP).to_pylist()
    assert [(r["key"], r["image_id"], r["mirrored"], r["bordered"], r["image_url"]) for r in rows if r["leak"]] == [
        ("a/photo.jpg", of_photo("photo.jpg"), False, False, url),
        ("b/framed.png", of_photo("photo.jpg"), False, True, url),
        ("mirrored.jpg", of_photo("print.jpg"), True, False, None),
    ]
    assert all(r["d256"] <= 60 and r["leak"] == (r["d256"] <= 40) and r["eval_set"] == "asked" for r in rows)
    assert {(r["packed"], r["verdict"], r["detector"]) for r in rows} == {(None, None, "ph256")}
    before = path.read_bytes()
    monkeypatch.setattr(dedup.overlap, "PICTURES", 2)  # a few at a time
    assert main(["overlap", "--recipe", recipe, "--pictures", f"asked={write_tar(tmp_path / 'b.tar', ASKED)}"]) == 0
    assert path.read_bytes() == before


def test_what_tools_put_beside_pictures_is_passed_over(
    recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    beside = {"README": b"about", "z.cls": b"3", "._z.png": b"\0\5\x16\7", "labels.tsv": b"z.png\tcat"}
    tar = write_tar(tmp_path / "beside.tar", {"z.png": ASKED["z.png"], **beside})
    assert main(["overlap", "--recipe", recipe, "--pictures", str(tar)]) == 0
    assert (
        "overlap: 0 of 1 evaluation pictures are in the dataset, 4 other files beside them" in capsys.readouterr().out
    )


def test_nothing_overlaps(recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tar = write_tar(tmp_path / "strangers.tar", {"z.png": ASKED["z.png"]})
    assert main(["overlap", "--recipe", recipe, "--set", f"eval.pictures={tar}"]) == 0
    assert "overlap: 0 of 1 evaluation pictures" in capsys.readouterr().out
    assert read_table(str(tmp_path / "overlap.parquet"), OVERLAP).num_rows == 0


@pytest.mark.parametrize(
    ("what", "status", "says"),
    [
        ("no pictures", 2, "gives no eval.pictures: say with --pictures which tar is asked about"),
        ("no tar", 1, "asked.tar is not there"),
        ("cut", 1, "asked.tar is damaged"),
        ("text", 1, "labels.png in"),
        ("texts", 1, "holds no pictures"),
        ("no dedup", 2, "holds no manifest, so no fingerprints: run openwit dedup first"),
        ("twice", 1, "holds z.png twice: remove one of them"),
    ],
)
def test_what_overlap_cannot_do_it_says(
    recipe: str, tmp_path: Path, what: str, status: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tar = tmp_path / "asked.tar"
    match what:
        case "no pictures":
            Path(recipe).write_text(f'[run]\nout = "{tmp_path}"\n')
        case "no tar":
            tar.unlink()
        case "cut":
            tar.write_bytes(tar.read_bytes()[:9000])
        case "text":
            write_tar(tar, {"labels.png": b"a\tb\n"})
        case "texts":
            write_tar(tar, {"labels.tsv": b"a\tb\n"})
        case "no dedup":
            (tmp_path / "5_dedup" / "_manifest.json").unlink()
        case "twice":
            with tarfile.open(tar, "w") as file:
                for _ in range(2):
                    member = tarfile.TarInfo("z.png")
                    member.size = len(ASKED["z.png"])
                    file.addfile(member, io.BytesIO(ASKED["z.png"]))
    assert main(["overlap", "--recipe", recipe]) == status
    said = capsys.readouterr()
    assert said.out == "" and says in said.err and said.err.count("\n") == 1
    assert not (tmp_path / "overlap.parquet").exists()


@pytest.mark.parametrize("name", ["manifest.json", "ph256.npy", "band1.npy"])
@pytest.mark.parametrize("damage", ["cut", "gone", "changed"])
def test_a_damaged_index_gives_a_sentence(
    folder: str, tmp_path: Path, name: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(folder) / name
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:-7] if damage == "cut" else data[:-9] + b"\xff" * 9)
    gone = (damage, name) == ("gone", "manifest.json")
    assert main(["query", str(tmp_path / "photo.jpg"), "--index", folder]) == (2 if gone else 1)
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert ("holds no manifest.json" if gone else f"{path} is damaged") in said.err


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (None, 2, "there is no picture"),
        (b"", 1, "is no picture that can be decoded"),
        (b"<svg/>", 1, "is no picture that can be decoded"),
        (FETCHED["photo.jpg"][:3000], 1, "is no picture that can be decoded"),
    ],
)
def test_what_is_no_picture_gives_a_sentence(
    folder: str, tmp_path: Path, body: bytes | None, status: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "asked.jpg"
    if body is not None:
        path.write_bytes(body)
    assert main(["query", str(path), "--index", folder]) == status
    said = capsys.readouterr().err
    assert says in said and str(path) in said and said.count("\n") == 1


@pytest.mark.parametrize("words", [[], ["find"]])
def test_without_its_verb_it_says_how_it_is_used(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "python -m dedup query PICTURE --recipe" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["query"], ["query", "a.jpg", "--distance", "6"], ["query", "a.jpg", "--far"]])
def test_wrong_words_are_wrong_use(words: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
