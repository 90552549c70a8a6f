"""Sets without classes through the suite: retrieval and places, with answers counted by hand."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from torch import Tensor

from core.errors import Failure
from tests.trainer.helpers import COLOURS
from tests.trainer.made_sets import ColourSense, Run, colour, rows_of, write


def test_retrieval_counts_every_caption_of_a_picture(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second caption of the red picture is of another colour, so it is found last; others at once."""
    captions = [("red.png", "a red thing"), ("red.png", "a cyan thing"), ("blue.png", "a blue thing")]
    listing = "file_name,caption\n" + "".join(f"{name},{text}\n" for name, text in captions)
    files = {"red.png": colour("red"), "blue.png": colour("blue"), "metadata.csv": listing.encode()}
    files["odd.png"] = colour("green")
    write(tmp_path / "mine" / "test", files)
    assert rows_of(run([f"{tmp_path}/mine"], prompts=["clip_benchmark"], probe=True)) == {
        ("mine image-to-text (clip_benchmark)", "recall@1"): 1.0,
        ("mine text-to-image (clip_benchmark)", "recall@1"): pytest.approx(2 / 3),
    }
    capsys.readouterr()
    write(tmp_path / "mscoco" / "test", files)
    rows = rows_of(run(["mscoco"]))
    said = capsys.readouterr().out
    assert said.count("eval: mscoco: left out 1 of its pictures, which have no row in its metadata\n") == 1
    assert rows == {
        ("mscoco image-to-text", "recall@1"): 1.0,
        ("mscoco text-to-image", "recall@1"): pytest.approx(2 / 3),
    }
    found = {row["id"]: (row["rank"], row["predicted"][0]) for row in run.examples("text-to-image")}
    assert found == {"red.png#0": (1, "red.png"), "red.png#1": (2, "blue.png"), "blue.png#0": (1, "blue.png")}
    assert [row["label"] for row in run.examples("image-to-text") if row["id"] == "red.png"] == [
        ["a red thing", "a cyan thing"]
    ]


def test_recall_among_many_is_its_definition(run: Run, tmp_path: Path) -> None:
    """Each picture has the caption of the next one's colour, so that the right answers have ranks of all kinds."""
    names = [name for name in COLOURS if name != "grey"]
    listing = "".join(f"{name}.png,a {following} one\n" for name, following in itertools.pairwise([*names, names[0]]))
    files = {f"{name}.png": colour(name) for name in names}
    write(tmp_path / "mine", files | {"metadata.csv": f"file_name,caption\n{listing}".encode()})
    rows = run([f"{tmp_path}/mine"], prompts=["contextless"])
    found = rows_of(rows)
    assert [row["chance"] for row in rows] == pytest.approx([1 / 11, 5 / 11, 10 / 11] * 2)
    seen = np.array([COLOURS[name] for name in names]) - 128.0
    seen /= np.linalg.norm(seen, axis=1, keepdims=True)
    alike = seen @ np.roll(seen, -1, axis=0).T  # of pictures and captions
    for way, scores in (("image-to-text", alike), ("text-to-image", alike.T)):
        ranks = (scores >= np.diag(scores)[:, None]).sum(axis=1)
        for k in (1, 5, 10):
            recall = found[f"mine {way} (contextless)", f"recall@{k}"]
            assert recall == pytest.approx((ranks <= k).mean()), (way, k)
        assert len({(ranks <= k).mean() for k in (1, 5, 10)}) == 3


class Listening(ColourSense):
    """Remembers what it was asked."""

    heard: ClassVar[list[str]] = []

    def texts(self, texts: Iterable[str]) -> Tensor:
        asked = list(texts)
        self.heard.extend(asked)
        return super().texts(asked)


def test_captions_are_put_into_the_sentence_of_table_13(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {f"{name}.png": colour(name) for name in ("blue", "red")}
    write(tmp_path / "mine", files | {"metadata.csv": b"file_name,caption\nblue.png,a blue {}\nred.png,red things\n"})
    Listening.heard.clear()
    Run(tmp_path, Listening)([f"{tmp_path}/mine"], prompts=["paper", "ensemble", "contextless"])
    assert "eval: mine: captions have no prompts ensemble: left out\n" in capsys.readouterr().out
    assert Listening.heard == ["a photo of a blue {}", "a photo of red things", "a blue {}", "red things"]


def test_a_place_is_that_of_the_nearest_reference(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def placed(**places: tuple[float, float]) -> dict[str, bytes]:
        lines = "".join(f"{name}.png,{lat},{lon}\n" for name, (lat, lon) in places.items())
        return {f"{name}.png": colour(name) for name in places} | {
            "metadata.csv": f"file_name,latitude,longitude\n{lines}".encode()
        }

    write(tmp_path / "im2gps" / "test", placed(red=(48.8584, 2.2945), blue=(0, 0), green=(10, 10)))
    write(tmp_path / "im2gps" / "train", placed(red=(48.8606, 2.3376), blue=(0, 1), green=(10, 100)))
    rows = rows_of(run(["im2gps"]))  # off by 3.2 km, 111.2 km and far
    assert {metric: round(3 * value) for (_, metric), value in rows.items()} == {
        "within 1 km": 0,
        "within 25 km": 1,
        "within 200 km": 2,
        "within 750 km": 2,
        "within 2500 km": 2,
    }
    said = capsys.readouterr().out
    write(tmp_path / "im2gps", {f"{split}/odd.png": colour("red") for split in ("test", "train")})
    write(tmp_path / "im2gps" / "test", {"more.png": colour("red")})
    run(["im2gps"])
    more = capsys.readouterr().out
    for n in (1, 2):
        sentence = f"eval: im2gps: left out {n} of its pictures, which have no row in its metadata\n"
        assert sentence not in said and more.count(sentence) == 1
    assert more.count("im2gps has 3 examples here and 237 in the paper: results differ") == 1
    shutil.rmtree(tmp_path / "im2gps" / "train")
    with pytest.raises(Failure, match="no reference pictures"):
        run(["im2gps"])
