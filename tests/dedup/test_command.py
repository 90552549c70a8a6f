"""`python -m dedup query`: the index answers for a picture as it was fetched, and says in a sentence why it cannot."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dedup import index
from dedup.__main__ import main
from dedup.hashes import fingerprints
from pipeline.web.picture import Options, Picture, store
from tests.dedup.made import scene, table
from tests.running import ROOT


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
    "wide.webp": encoded(scene(5, 1500, 300), "WEBP"),
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
