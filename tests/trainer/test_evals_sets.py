"""Sets with classes through the suite and the stage: zero-shot, clips and probes, with answers counted by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import Failure, UsageError
from core.manifest import missing_part, read_manifest
from core.recipe import Recipe
from core.tables import read_table
from tests.trainer.helpers import COLOURS, picture
from tests.trainer.made_sets import Run, colour, rows_of, write
from trainer.evals import __main__ as evals
from trainer.evals.tables import feature_table
from trainer.evals.vectors import vectors

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


def test_pictures_of_several_classes_are_ranked_by_class(run: Run, tmp_path: Path) -> None:
    """The red one is the nearest to red, then yellow, green, blue; all but the third are called red."""
    labels = {"red": ["red"], "yellow": ["red", "green"], "green": ["green"], "blue": ["red"]}
    rows = [json.dumps({"file_name": f"{name}.png", "label": some}) for name, some in labels.items()]
    files = {f"{name}.png": colour(name) for name in labels}
    write(tmp_path / "mine", files | {"metadata.jsonl": "\n".join(rows).encode()})
    red = (7 * 1 + 4 * 3 / 4) / 11  # precision is 1 up to a recall of 2/3, and 3/4 beyond
    assert rows_of(run([f"{tmp_path}/mine"])) == {("mine zero-shot", "map11"): pytest.approx((red + 1) / 2)}
    found = {row["id"]: (row["label"], row["rank"]) for row in run.examples("zero-shot")}
    assert found["yellow.png"] == (["green", "red"], None) and found["blue.png"] == (["red"], None)


def test_features_and_classifiers_are_computed_once(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "mine", {f"{name}/1.png": colour(name) for name in ("red", "green")})
    first = run([f"{tmp_path}/mine"])
    assert run.encoder.asked == 2 and run.kept.made == 3
    assert run([f"{tmp_path}/mine"]) == first
    assert run.encoder.asked == 0 and run.kept.made == 0 and len(run.kept.receipts) == 3
    rows = run([f"{tmp_path}/mine"], prompts=["contextless", "single"])
    assert run.encoder.asked == 0 and {row["prompts"] for row in rows} == {"contextless", "single"}
    (tmp_path / "mine/red").rename(tmp_path / "mine/cyan")
    assert run([f"{tmp_path}/mine"])[0]["value"] == 0.5, "a class of another name has another classifier"
    (tmp_path / "mine/cyan").rename(tmp_path / "mine/red")
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


def test_probes_are_measured_as_the_set_is(run: Run, tmp_path: Path) -> None:
    """Of three memes one looks like the hateful one: 2 of 3 pairs are told apart, and one is a tie."""
    seen = {"train": ("red", "green", 5), "dev": ("red", "green", 1)}
    for split, (meme, hateful, n) in seen.items():
        files = {f"meme/{i}.png": colour(meme) for i in range(n)}
        write(
            tmp_path / "hateful_memes" / split, files | {f"hatespeech meme/{i}.png": colour(hateful) for i in range(n)}
        )
    write(tmp_path / "hateful_memes/dev/meme", {"more.png": colour("red"), "odd.png": colour("green")})
    rows = run(["hateful_memes"], probe=True, shots=[1], seeds=[0])
    assert [(row["method"], row["metric"]) for row in rows] == [
        ("zero-shot", "roc_auc"),
        ("zero-shot", "accuracy"),
        ("probe", "roc_auc"),
        ("probe", "accuracy"),
        ("few-shot", "roc_auc"),
    ]
    expected = [0.5, 0, 2.5 / 3, 3 / 4, 2.5 / 3]  # the names say nothing of colours
    assert [row["value"] for row in rows] == pytest.approx(expected)


def test_all_examples_are_as_many_shots_as_a_class_has_on_average(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is called red is green where probes are fitted, so that none of them comes near zero-shot."""
    write(tmp_path / "mine", {f"test/{name}/1.png": colour(name) for name in ("red", "green")})
    for split, n in (("train", 5), ("val", 2)):
        files = {
            f"{name}/{i}.png": colour(seen) for name, seen in (("red", "green"), ("green", "red")) for i in range(n)
        }
        write(tmp_path / "mine" / split, files | {"red/more.png": colour("green")})
    found = rows_of(run([f"{tmp_path}/mine"], probe=True, shots=[1]))
    assert (found["mine zero-shot", "accuracy"], found["mine probe", "accuracy"]) == (1, 0)
    assert "eval: mine zero-shot is worth more than 8.0 examples a class\n" in capsys.readouterr().out


def test_all_methods_choose_among_the_classes_of_all_splits(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the three classes of the training split the test split has two; which they are does not depend on probes."""
    names = ("red", "green", "blue")
    files = {f"train/{name}/{i}.png": colour(name) for name in names for i in range(6)}
    write(tmp_path / "mine", files | {f"test/{name}/1.png": colour(name) for name in names[:2]})
    alone = run([f"{tmp_path}/mine"])
    digests = run.found.there[0].digests
    assert "mine names 3 classes, of which 1 have no picture (blue)" in capsys.readouterr().out
    rows = run([f"{tmp_path}/mine"], probe=True, shots=[1, 2], seeds=[0, 1])
    assert rows[0] == alone[0] and {row["method"] for row in rows} == {"zero-shot", "probe", "few-shot"}
    assert [row["chance"] for row in rows if row["chance"]] == pytest.approx([1 / 3, 1 / 3])
    for method in ("zero-shot", "probe"):
        assert {name for row in run.examples(method) for name in row["predicted"]} == set(names)
    write(tmp_path / "mine", {"train/pink/1.png": colour("pink")})
    assert run([f"{tmp_path}/mine"])[0]["chance"] == 1 / 4
    assert run.found.there[0].digests["train"] != digests["train"]


@pytest.mark.parametrize("has_validation", [True, False])
def test_classes_that_lambda_is_chosen_without_are_said(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], has_validation: bool
) -> None:
    """Of the red pictures alone the largest λ is as right as any other, and the probe guesses."""

    def pictures(split: str, n: int, *names: str) -> dict[str, bytes]:
        return {f"{split}/{name}/{i}.png": colour(name) for name in names for i in range(n)}

    names = ("red", "green", "blue")
    files = pictures("test", 1, *names) | pictures("train", 4, *names)
    files |= pictures("val", 1, "red") if has_validation else pictures("train", 5, "red")
    write(tmp_path / "mine", files)
    assert rows_of(run([f"{tmp_path}/mine"], probe=True))["mine probe", "accuracy"] == pytest.approx(1 / 3)
    said = "eval: mine: λ is chosen without examples of 2 of the 3 classes (blue, green): give a validation split that "
    assert capsys.readouterr().out.count(said) == 1
    write(tmp_path / "mine", pictures(*(("val", 1) if has_validation else ("train", 5)), *names))
    assert rows_of(run([f"{tmp_path}/mine"], probe=True))["mine probe", "accuracy"] == 1
    assert "λ is chosen" not in capsys.readouterr().out


def test_pictures_in_two_splits_are_said(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {"train": 12, "val": 13, "test": 14}
    files = {
        f"{split}/{name}/{i}.png": colour(name, (size + 3 * i, 12))
        for split, size in sizes.items()
        for name in ("red", "green")
        for i in range(2)
    }
    write(tmp_path / "mine", files)
    run([f"{tmp_path}/mine"], probe=True)
    assert "byte for byte" not in capsys.readouterr().out
    write(tmp_path / "mine", {"test/red/again.png": files["train/red/0.png"], "test/red/2.png": files["val/red/1.png"]})
    run([f"{tmp_path}/mine"])
    assert "byte for byte" not in capsys.readouterr().out, "no probe has seen them"
    run([f"{tmp_path}/mine"], probe=True)
    said = "eval: mine: 2 of its test pictures are in another of its splits, too, byte for byte\n"
    assert capsys.readouterr().out.count(said) == 1


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
