"""Evaluation sets through the stage: zero-shot, probes, retrieval, places and clips with answers counted by hand."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import Tensor

from core.errors import Failure, UsageError
from core.manifest import missing_part, read_manifest
from core.recipe import Recipe
from core.tables import read_table
from tests.trainer.helpers import COLOURS, picture
from trainer.evals import __main__ as evals
from trainer.evals import eval_sets, judged
from trainer.evals.config import Config
from trainer.evals.encoder import Encoder
from trainer.evals.kept import Kept
from trainer.evals.suite import Suite
from trainer.evals.tables import EXAMPLE, feature_table
from trainer.evals.vectors import Vectors, vectors
from trainer.model import unit


class ColourSense(Encoder):
    """Knows the colour of a picture's middle and the first colour that a text names."""

    def __init__(self) -> None:
        self.image_size, self.scale = 8, 10.0
        self.asked = 0

    def images(self, crops: Iterable[npt.NDArray[np.uint8]]) -> Tensor:
        return unit(self._seen(crops))

    def images_and_hidden(self, crops: Iterable[npt.NDArray[np.uint8]]) -> tuple[Tensor, Tensor]:
        seen = self._seen(crops)
        return unit(seen), seen / 64

    def _seen(self, crops: Iterable[npt.NDArray[np.uint8]]) -> Tensor:
        seen = torch.stack([torch.from_numpy(crop[4, 4]).float() - 128 for crop in crops])
        self.asked += len(seen)
        return seen

    def texts(self, texts: Iterable[str]) -> Tensor:
        named = [next((rgb for name, rgb in COLOURS.items() if name in text), (128, 128, 129)) for text in texts]
        return unit(torch.tensor(named).float() - 128)


def colour(name: str, size: int = 12) -> bytes:
    to = io.BytesIO()
    Image.new("RGB", (size, size), COLOURS[name]).save(to, "PNG")
    return to.getvalue()


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, body in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    return folder


class Run:
    """The suite on sets below a folder, with ColourSense in place of a model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, sets: Sequence[str], **keys: Any) -> list[dict[str, Any]]:
        recipe = Recipe("r.toml", {"eval": {"sets": list(sets), "root": str(self.folder), **keys}})
        config = recipe.config("eval", Config)
        self.found = eval_sets.find(recipe, config, {})
        self.encoder = ColourSense()
        self.kept = Kept(str(self.folder / "out"), lambda: None)
        vectors = Vectors(self.kept, "m" * 64, lambda: self.encoder, self.found.memory, 2)
        return Suite(self.kept, vectors, config, 7).evaluate(self.found.sets)

    def examples(self, method: str) -> list[dict[str, Any]]:
        parts = [part for receipt in self.kept.receipts for part in receipt.parts if part.table == "example"]
        tables = [read_table(f"{self.folder}/out/{part.name}", EXAMPLE) for part in parts]
        return [row for row in pa.concat_tables(tables).to_pylist() if row["method"] == method]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def rows_of(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    return {(row["name"], row["metric"]): row["value"] for row in rows}


# ── zero-shot ─────────────────────────────────────────────────────────────────────────────────────


def test_a_folder_of_folders_is_classified_by_its_names(run: Run, tmp_path: Path) -> None:
    files = {"red/1.png": colour("red"), "green/1.png": colour("green"), "blue/1.png": colour("red")}
    write(tmp_path / "mine", files)
    rows = run([f"{tmp_path}/mine"])
    assert rows_of(rows) == {("mine zero-shot", "accuracy"): pytest.approx(2 / 3)}
    assert rows[0] | {"low": 0, "high": 0, "value": 0} == {
        "name": "mine zero-shot",
        "model": "trained",
        "set": "mine",
        "method": "zero-shot",
        "prompts": "paper",
        "shots": None,
        "metric": "accuracy",
        "value": 0,
        "low": 0,
        "high": 0,
        "n": 3,
        "chance": pytest.approx(1 / 3),
    }
    found = {row["id"]: row for row in run.examples("zero-shot")}
    assert {name: row["predicted"][0] for name, row in found.items()} == {
        "red/1.png": "red",
        "green/1.png": "green",
        "blue/1.png": "red",
    }
    wrong = found["blue/1.png"]
    assert wrong["label"] == ["blue"] and wrong["rank"] > 1 and wrong["model"] == "trained"
    assert len(wrong["predicted"]) == 3 and sum(wrong["scores"]) == pytest.approx(1)
    assert wrong["scores"] == sorted(wrong["scores"], reverse=True)


def test_features_and_classifiers_are_computed_once(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "mine", {f"{name}/1.png": colour(name) for name in ("red", "green")})
    first = run([f"{tmp_path}/mine"])
    assert run.encoder.asked == 2 and run.kept.made == 3
    assert run([f"{tmp_path}/mine"]) == first
    assert run.encoder.asked == 0 and run.kept.made == 0 and len(run.kept.receipts) == 3
    rows = run([f"{tmp_path}/mine"], prompts=["contextless", "single"])
    assert run.encoder.asked == 0 and {row["prompts"] for row in rows} == {"contextless", "single"}
    (tmp_path / "mine/red/1.png").write_bytes(colour("green"))
    assert run([f"{tmp_path}/mine"])[0]["value"] == 0.5 and run.encoder.asked == 2


def test_a_set_with_something_wrong_is_named_after_the_others_are_done(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "bad", {"red/1.png": colour("red"), "green/1.png": b"no picture"})
    write(tmp_path / "good", {f"{name}/1.png": colour(name) for name in ("red", "green")})
    with pytest.raises(Failure, match=r"1 of 2 evaluation sets .*bad \(.* 1 of 2 pictures that do not decode: green/1"):
        run([f"{tmp_path}/bad", f"{tmp_path}/good"])
    write(tmp_path / "bad", {"green/1.png": colour("green")})
    rows = run([f"{tmp_path}/bad", f"{tmp_path}/good"])
    assert {row["set"] for row in rows} == {"bad", "good"}
    assert run.encoder.asked == 2  # those of bad alone


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"red/1.png": colour("red")}, "nothing to choose from"),
        ({"red/1.png": colour("red"), "green/1.png": b""}, "empty files"),
        ({"red/1.png": colour("red"), "2.png": colour("red")}, "outside of class folders"),
    ],
    ids=["one class", "empty file", "no class"],
)
def test_what_is_wrong_with_a_set_is_said(run: Run, tmp_path: Path, files: Mapping[str, bytes], said: str) -> None:
    write(tmp_path / "mine", files)
    with pytest.raises(Failure, match=said):
        run([f"{tmp_path}/mine"])


# ── metrics ───────────────────────────────────────────────────────────────────────────────────────

ASKED = judged.Asked("s", "zero-shot", "paper", "m", 3)


def test_the_metric_of_a_set_stands_first() -> None:
    scores = np.array([[3, 1, 0], [0, 3, 1], [3, 1, 0], [0, 0, 3], [0, 1, 3], [0, 1, 3]], np.float32)
    labels = np.array([0, 1, 1, 2, 2, 2])
    rows = judged.by_class(ASKED, "mean_per_class", list("abcdef"), labels, scores, ["x", "y", "z"])
    assert [(row["metric"], row["value"]) for row in rows] == [
        ("mean_per_class", pytest.approx((1 + 1 / 2 + 1) / 3)),
        ("accuracy", pytest.approx(5 / 6)),
    ]
    assert rows[0]["low"] <= rows[0]["value"] <= rows[0]["high"] and rows[0]["low"] < rows[0]["high"]
    again = judged.by_class(ASKED, "mean_per_class", list("fedcba"), labels[::-1], scores[::-1], ["x", "y", "z"])
    assert again == rows


def test_metrics_of_two_and_of_many_classes() -> None:
    two = np.array([[0, 2], [0, 1], [0, 1.5], [1, 0]], np.float32)
    rows = judged.by_class(ASKED, "roc_auc", list("abcd"), np.array([1, 1, 0, 0]), two, ["no", "yes"])
    assert (rows[0]["metric"], rows[0]["value"], rows[0]["chance"]) == ("roc_auc", 0.75, 0.5)
    seven = np.eye(7, dtype=np.float32)[[0, 1, 2]] + np.linspace(0, 0.1, 7, dtype=np.float32)
    rows = judged.by_class(ASKED, "mean_top1_top5", list("abc"), np.array([0, 6, 0]), seven, list("1234567"))
    assert [(row["metric"], row["value"]) for row in rows] == [
        ("mean_top1_top5", pytest.approx((1 / 3 + 2 / 3) / 2)),
        ("accuracy", pytest.approx(1 / 3)),
        ("top-5", pytest.approx(2 / 3)),
    ]
    (row,) = judged.by_classes(ASKED, np.eye(2, dtype=bool), np.eye(2, dtype=np.float32), ["x", "y"])
    assert (row["metric"], row["value"], row["low"]) == ("map11", 1.0, None)
    with pytest.raises(Failure, match="roc_auc takes 2"):
        judged.by_class(ASKED, "roc_auc", list("abc"), np.array([0, 1, 2]), np.eye(3, dtype=np.float32), list("xyz"))


def test_the_five_likeliest_answers_are_in_order_and_of_equal_ones_the_first() -> None:
    scores = np.array([[1, 5, 5, 0, 2, 3, 4]], np.float32)
    table = judged.examples(ASKED, ["i"], [["b"]], scores.__getitem__, list("abcdefg"), np.array([2]), True)
    (row,) = table.to_pylist()
    assert row["predicted"] == ["b", "c", "g", "f", "e"]
    assert row["scores"] == pytest.approx((np.exp([5, 5, 4, 3, 2]) / np.exp(scores).sum()).tolist(), rel=1e-5)


# ── sets of the registry ──────────────────────────────────────────────────────────────────────────


def test_a_set_that_is_not_there_is_said_and_the_rest_is_evaluated(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "mine", {f"{name}/1.png": colour(name) for name in ("red", "green")})
    rows = run(["caltech101", f"{tmp_path}/mine"])
    assert {row["set"] for row in rows} == {"mine"}
    (sentence,) = run.found.missing
    assert f"is not in {tmp_path}. Download " in sentence and f"{tmp_path}/caltech101, a folder a class" in sentence


def test_a_path_that_cannot_be_read_fails_once_the_rest_is_evaluated(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "mine", {f"{name}/1.png": colour(name) for name in ("red", "green")})
    write(
        tmp_path / "other", {f"{split}/{name}/1.png": b"x" for split in ("train", "val") for name in ("red", "green")}
    )
    said = (
        r"2 of 3 evaluation sets cannot be evaluated: nowhere \(.*/nowhere is not there: .*; other \(.* no test: give"
    )
    with pytest.raises(Failure, match=said):
        run([f"{tmp_path}/{name}" for name in ("mine", "nowhere", "other")])
    assert {row["id"] for row in run.examples("zero-shot")} == {"red/1.png", "green/1.png"}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"sets": ["food11"]}, r"r\.toml: eval\.sets: .*did you mean food101"),
        ({"sets": ["food101", "food101"]}, "is given twice"),
        ({"sets": ["food101"], "prompts": ["cn"]}, "no prompts 'cn' for the set food101"),
        ({"sets": ["{here}/mine"], "prompts": ["clip_benchmark"]}, "no prompts 'clip_benchmark' for the set "),
        ({"sets": ["/"]}, "empty name"),
        ({"sets": [], "frames": "last"}, "frames"),
        ({"sets": [], "shots": [0]}, "shots"),
    ],
    ids=["name", "twice", "prompts", "prompts of one's own", "empty", "frames", "shots"],
)
def test_a_wrong_recipe_is_refused(run: Run, tmp_path: Path, keys: Mapping[str, Any], said: str) -> None:
    write(
        tmp_path, {f"{place}/{name}/1.png": colour(name) for name in ("red", "blue") for place in ("mine", "food101")}
    )
    with pytest.raises(UsageError, match=said):
        run(**{**keys, "sets": [name.format(here=tmp_path) for name in keys["sets"]]})


def test_a_clip_is_its_middle_frame_or_the_mean_of_all(run: Run, tmp_path: Path) -> None:
    """Of three frames the middle one is green, the others red; the classes of UCF101 have no colours in their names."""
    frames = {f"Archery/clip/{i}.png": colour(name) for i, name in enumerate(("red", "green", "red"))}
    frames |= {"Biking/other/1.png": colour("blue")}
    write(tmp_path / "ucf101", frames)
    found = {}
    for choice in ("middle", "all"):
        run(["ucf101"], frames=choice)
        (encoded,) = [one for one in run.kept.receipts if one.step == "encode"]
        table = read_table(f"{tmp_path}/out/{encoded.parts[0].name}", feature_table(3))
        assert table["id"].to_pylist() == ["Archery/clip", "Biking/other"]
        found[choice] = vectors(table)[0]
    red, green = (np.array(COLOURS[name], np.float32) - 128 for name in ("red", "green"))
    red, green = red / np.linalg.norm(red), green / np.linalg.norm(green)
    mean = (2 * red + green) / np.linalg.norm(2 * red + green)
    assert found["middle"] == pytest.approx(green, abs=1e-6) and found["all"] == pytest.approx(mean, abs=1e-6)


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


# ── probes ────────────────────────────────────────────────────────────────────────────────────────


def test_probes_are_fitted_on_the_splits_of_a_set(run: Run, tmp_path: Path) -> None:
    """Names say nothing of the colours, so zero-shot guesses, and a probe is right about all but a wrong label."""
    splits = {"train": 6, "val": 2, "test": 3}
    files = {
        f"{split}/{label}/{i}.png": colour(name)
        for split, n in splits.items()
        for label, name in (("this", "orange"), ("that", "purple"))
        for i in range(n)
    }
    write(tmp_path / "mine", files | {"test/that/wrong.png": colour("orange")})
    rows = run([f"{tmp_path}/mine"], probe=True, shots=[1, 2, 16], seeds=[0, 1])
    found = rows_of(rows)
    assert found["mine probe", "accuracy"] == pytest.approx(6 / 7)
    assert found["mine 1-shot", "accuracy"] == found["mine 2-shot", "accuracy"] == pytest.approx(6 / 7)
    assert "mine 16-shot" not in {row["name"] for row in rows}
    (wrong,) = [row for row in run.examples("probe") if row["rank"] != 1]
    assert (wrong["id"], wrong["label"], wrong["predicted"]) == ("that/wrong.png", ["that"], ["this", "that"])
    parts = {
        part.table: part.rows for one in run.kept.receipts for part in one.parts if one.step in ("probe", "few-shot")
    }
    assert parts["shot"] == 4 and parts["sweep"] in (11, 15) and parts["equivalent"] == 1
    assert run([f"{tmp_path}/mine"], probe=True, shots=[1, 2, 16], seeds=[0, 1]) == rows and run.kept.made == 0


def test_all_methods_choose_among_the_classes_of_all_splits(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the three classes of the training split the test split has two; which they are does not depend on probes."""
    names = ("red", "green", "blue")
    files = {f"train/{name}/{i}.png": colour(name) for name in names for i in range(6)}
    write(tmp_path / "mine", files | {f"test/{name}/1.png": colour(name) for name in names[:2]})
    alone = run([f"{tmp_path}/mine"])
    digests = run.found.sets[0].digests
    assert "mine names 3 classes, of which 1 have no picture (blue)" in capsys.readouterr().out
    rows = run([f"{tmp_path}/mine"], probe=True, shots=[1, 2], seeds=[0, 1])
    assert rows[0] == alone[0] and {row["method"] for row in rows} == {"zero-shot", "probe", "few-shot"}
    assert [row["chance"] for row in rows if row["chance"]] == pytest.approx([1 / 3, 1 / 3])
    for method in ("zero-shot", "probe"):
        assert {name for row in run.examples(method) for name in row["predicted"]} == set(names)
    write(tmp_path / "mine", {"train/pink/1.png": colour("pink")})
    assert run([f"{tmp_path}/mine"])[0]["chance"] == 1 / 4
    assert run.found.sets[0].digests["train"] != digests["train"]


def test_a_set_without_a_train_split_has_no_probe(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "mine", {"red/1.png": colour("red"), "train/1.png": colour("blue")})  # a class of trains
    assert {row["method"] for row in run([f"{tmp_path}/mine"], probe=True)} == {"zero-shot"}
    assert "no probe of mine: it has no train split" in capsys.readouterr().out


# ── the stage ─────────────────────────────────────────────────────────────────────────────────────


def test_the_stage_evaluates_sets_and_goes_on_where_it_stopped(
    learnt: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(learnt.out, tmp_path / "out")
    pairs = [("red", "green"), ("blue", "yellow"), ("black", "white"), ("pink", "cyan")]
    write(tmp_path / "pairs", {f"{a}_and_{b}/{a}.png": picture(a, b) for a, b in pairs})
    write(tmp_path / "other", {"red/1.png": colour("red"), "blue/1.png": b"broken"})
    keys = {
        "sets": [f"{tmp_path}/pairs", f"{tmp_path}/other", "cifar10"],
        "root": str(tmp_path),
        "probe": True,
        "prompts": ["contextless"],
    }
    tables = {**learnt.tables, "run": {**learnt.tables["run"], "out": str(out)}, "eval": keys}
    recipe = Recipe(learnt.path, tables)
    with pytest.raises(Failure, match=r"1 of 2 evaluation sets cannot be evaluated: other \("):
        evals.evaluate(recipe)
    folder = Path(recipe.folder("eval"))
    assert read_manifest(str(folder)) is None
    (tmp_path / "other/blue/1.png").write_bytes(colour("blue"))
    evals.evaluate(recipe)
    said = capsys.readouterr().out
    assert "eval: cifar10 (CIFAR-10, " in said and "eval: pairs zero-shot (contextless) accuracy " in said
    run = json.loads((folder / "_run.json").read_bytes())
    assert run["work"]["sets"] == {"here": 3, "of": 7} and run["raw_files"]
    results = json.loads((folder / "results.json").read_bytes())
    (row,) = [row for row in results if (row["set"], row["method"]) == ("pairs", "zero-shot")]
    assert row["value"] >= 0.75 and row["n"] == 4  # most of these pictures were trained on, with these captions
    manifest = read_manifest(str(folder))
    assert manifest is not None and missing_part(manifest) is None
    assert manifest.facts["inputs"]["sets"].keys() == {"pairs", "other"}
    assert manifest.counts["examples"] == {"in": 6, "kept": 6, "dropped": {}}
    evals.evaluate(recipe)
    assert "nothing to do" in capsys.readouterr().out
    (tmp_path / "other/red/2.png").write_bytes(colour("red"))
    evals.evaluate(recipe)
    assert "eval: runs again: other has changed" in capsys.readouterr().out
