"""Evaluations: planted answers, and a model that really learnt something."""

import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor

from core import runs
from core.errors import Failure, UsageError
from core.manifest import missing_part, read_manifest
from core.recipe import Recipe
from core.registry import STAGES
from core.tables import read_table
from core.tars import tar_members
from evaluation.labels import read_labels
from pictures.formats import FORMATS
from shards.reader import Shards
from tests.shards.helpers import make_pack
from tests.trainer.helpers import COLOURS, LEARN, pictures, run_training, small_recipe, write_merges
from tests.trainer.made_sets import ColourSense
from trainer.data import split
from trainer.evals import __main__ as evals
from trainer.evals import retrieval, zeroshot

CLOTHES = "cls/clothing_72px"


# ── zero-shot ─────────────────────────────────────────────────────────────────────────────────────


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    to = io.BytesIO()
    image.save(to, kind, **options)
    return to.getvalue()


def write_tar(path: Path, files: Sequence[tuple[str, bytes]], mode: str = "w") -> str:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return str(path)


PAINTED = {"a/1.png": "red", "a/2.png": "green", "b/1.png": "blue", "b/2.png": "yellow", "b/3.png": "red"}


@pytest.fixture
def painted(tmp_path: Path) -> tuple[str, str]:
    """A tar of pictures of one colour, the last of them labelled wrongly, and one without a label."""
    bodies = {url.rsplit("/", 1)[1].split("-")[0]: image for url, image, _ in pictures()}
    files = [(name, bodies[colour]) for name, colour in PAINTED.items()]
    labels = tmp_path / "labels.tsv"
    labels.write_text("".join(f"{name}\t{PAINTED[name]}\n" for name in sorted(PAINTED)[:-1]) + "b/3.png\tgreen\n")
    tar = write_tar(tmp_path / "pictures.tar", [*reversed(files), ("c/none.png", bodies["red"])])
    return tar, str(labels)


def test_the_classifier_is_the_mean_direction_of_its_sentences() -> None:
    texts = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [0.0, 1.0]])
    expected = torch.tensor([[0.89442719, 0.44721360], [0.0, 1.0]])
    assert torch.allclose(zeroshot.ensemble(texts, 2), expected)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_planted_pictures_are_classified_as_planted(painted: tuple[str, str], tmp_path: Path, mode: str) -> None:
    with tarfile.open(painted[0]) as tar:
        files = [(member.name, body.read()) for member in tar if (body := tar.extractfile(member))]
    found = zeroshot.evaluate(ColourSense(), write_tar(tmp_path / "x", files, mode), painted[1], ["{}", "a {} one"], 2)
    rows = found.examples.to_pylist()
    assert [row["key"] for row in rows] == sorted(PAINTED)
    assert [row["predicted"] for row in rows] == [PAINTED[name] for name in sorted(PAINTED)]
    assert [row["correct"] for row in rows] == [True, True, True, True, False]
    assert [row["rank"] for row in rows][:4] == [1, 1, 1, 1] and 2 <= rows[4]["rank"] <= 4
    assert all(0.25 < row["score"] <= 1 for row in rows)
    assert found.unlabelled == 1
    assert [(row["metric"], row["value"], row["n"], row["chance"]) for row in found.results] == [
        ("top-1", 0.8, 5, 0.25),
        ("top-5", 1.0, 5, 1.0),
    ]


def test_a_model_that_sees_no_difference_is_right_about_nothing(painted: tuple[str, str]) -> None:
    class Blind(ColourSense):
        def images(self, crops: Iterable[npt.NDArray[np.uint8]]) -> Tensor:
            return torch.zeros(len(list(crops)), 3)

    found = zeroshot.evaluate(Blind(), *painted, ["{}"], 2)
    assert found.results[0]["value"] == 0.0
    assert set(found.examples["rank"].to_pylist()) == {4}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[:700], r"is damaged"),
        (lambda data: data[:1024], r"lacks 4 of the 5 pictures"),  # a tar that is cut between members ends well
        (lambda data: b"no tar at all", r"is damaged"),
        (lambda data: data[:512] + bytes(50) + data[562:], r"b/3\.png in .* does not decode"),
        (lambda data: data[:1024] + data, r"holds 1 pictures twice"),
    ],
    ids=["cut in a picture", "cut between pictures", "no tar", "no picture", "twice"],
)
def test_damaged_pictures_are_named(
    painted: tuple[str, str], tmp_path: Path, damage: Callable[[bytes], bytes], said: str
) -> None:
    path = tmp_path / "damaged.tar"
    path.write_bytes(damage(Path(painted[0]).read_bytes()))
    with pytest.raises(Failure, match=said):
        zeroshot.evaluate(ColourSense(), str(path), painted[1], ["{}"], 2)


def test_pictures_of_every_format_are_classified(tmp_path: Path) -> None:
    """Issue 12, point 11: of a red square in every format, and in every way to hold colours, all are red."""
    red = Image.new("RGB", (40, 40), COLOURS["red"])
    svg = (
        "<svg xmlns='http://www.w3.org/2000/svg' width='40' height='40'><rect width='40' height='40' fill='{}'/></svg>"
    )
    bodies = {f"{kind}.{kind}": encoded(red, kind) for kind in (*FORMATS, "PPM")}
    bodies |= {f"{mode}.tiff": encoded(red.convert(mode), "TIFF") for mode in ("CMYK", "RGBA", "P")}
    bodies["moving.gif"] = encoded(red, "GIF", save_all=True, append_images=[Image.new("RGB", (40, 40), "blue")])
    bodies["drawing.svg"] = svg.format("#dc1e1e").encode()
    clear = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    clear.paste("red", (38, 38, 40, 40))
    bodies["clear.bmp"] = encoded(clear, "BMP")
    bodies["deep.png"] = encoded(Image.fromarray(np.full((40, 40), 0xFFFF, np.uint16)), "PNG")
    bodies["cut.jpg"] = encoded(red, "JPEG")[:-2]
    label_of = {name: "white" if name in ("clear.bmp", "deep.png") else "red" for name in bodies}
    labels = tmp_path / "labels.tsv"
    labels.write_text("".join(f"{name}\t{label}\n" for name, label in label_of.items()))
    tar = write_tar(tmp_path / "pictures.tar", list(bodies.items()))
    rows = zeroshot.evaluate(ColourSense(), tar, str(labels), ["{}"], 2).examples.to_pylist()
    assert {row["key"]: row["predicted"] for row in rows} == label_of


def test_what_does_not_fit_is_said_before_the_model_is_asked(painted: tuple[str, str], tmp_path: Path) -> None:
    class Untouched(ColourSense):
        def texts(self, texts: Iterable[str]) -> Tensor:
            raise AssertionError("asked")

    other = tmp_path / "other.tsv"
    other.write_text("0.jpg\tred\n")
    with pytest.raises(Failure, match=r"have no name in common: the one has '0\.jpg', the other 'b/3\.png'"):
        zeroshot.evaluate(Untouched(), painted[0], str(other), ["{}"], 1)


def test_a_file_that_is_not_wanted_may_be_too_large(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "large.tar", [("small", bytes(100)), ("large", bytes(101))])
    assert list(tar_members(tar, 100, "small".__eq__)) == [("small", bytes(100)), ("large", b"")]


def test_a_picture_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "large.tar", [("small", bytes(100)), ("large", bytes(101))])
    read = tar_members(tar, 100)
    assert next(read) == ("small", bytes(100))
    with pytest.raises(Failure, match=r"large in .* has 101 bytes"):
        next(read)


# ── the command ───────────────────────────────────────────────────────────────────────────────────


def results(recipe: Recipe) -> dict[tuple[str, str], dict[str, Any]]:
    rows = json.loads(Path(recipe.folder("eval"), "results.json").read_bytes())
    return {(row["name"], row["metric"]): row for row in rows}


def with_eval(recipe: Recipe, **keys: Any) -> Recipe:
    return Recipe(recipe.path, {**recipe.tables, "eval": keys})


def test_what_was_learnt_is_found_again_far_above_chance(learnt: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    evals.evaluate(learnt)
    said = capsys.readouterr().out
    assert "no zero-shot classification: the recipe gives no eval.pictures and eval.labels" in said
    assert "eval: image-to-text recall@1 " in said
    found = results(learnt)
    assert len(found) == 6
    shards = Shards(learnt.folder("pack"))
    _, held_out = split(shards.image_ids, 3, 0.2)
    for direction, queries in (("image-to-text", len(held_out)), ("text-to-image", 2 * len(held_out))):
        row = found[direction, "recall@1"]
        assert row["n"] == queries
        assert row["low"] > 4 * row["chance"] > 0
        recalls = [found[direction, f"recall@{k}"]["value"] for k in (1, 5, 10)]
        assert recalls == sorted(recalls)
    examples = read_table(f"{learnt.folder('eval')}/retrieval_example.parquet", retrieval.EXAMPLE)
    rows = examples.to_pylist()
    assert {row["key"] for row in rows} == {shards.sample(int(i)).key for i in held_out}
    asked = [row for row in rows if row["direction"] == "text-to-image"]
    assert {row["caption"] for row in asked} == {0, 1} and {row["candidates"] for row in asked} == {len(held_out)}
    assert np.mean([row["rank"] <= 5 for row in asked]) == found["text-to-image", "recall@5"]["value"]


def test_an_evaluation_is_complete_and_not_done_twice(learnt: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    evals.evaluate(learnt)
    capsys.readouterr()
    evals.evaluate(learnt)
    folder = learnt.folder("eval")
    assert capsys.readouterr().out == f"eval: nothing to do, {folder} is up to date\n"
    manifest, trained = read_manifest(folder), read_manifest(learnt.folder("train"))
    assert manifest is not None and trained is not None and missing_part(manifest) is None
    assert [(part.table, part.rows) for part in manifest.parts] == [("results", 6), ("retrieval_example", 84)]
    assert manifest.facts["inputs"]["train"] == trained.digest
    assert manifest.counts == {"held_out_samples": {"in": 28, "kept": 28, "dropped": {}}}


def test_zero_shot_stands_beside_retrieval(
    learnt: Recipe, painted: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = with_eval(learnt, pictures=painted[0], labels=painted[1], templates=["{} and {}"])
    evals.evaluate(recipe)
    assert results(recipe)["zero-shot", "top-1"]["n"] == 5
    manifest = read_manifest(recipe.folder("eval"))
    assert manifest is not None
    assert {"pictures", "labels", "train", "pack", "merges"} == manifest.facts["inputs"].keys()
    assert manifest.counts["pictures"] == {"in": 6, "kept": 5, "dropped": {"unlabelled": 1}}
    assert manifest.facts["config"]["templates"] == ["{} and {}"]
    assert not {"pictures", "labels", "sets", "root"} & manifest.facts["config"].keys()
    capsys.readouterr()
    evals.evaluate(recipe)
    assert "nothing to do" in capsys.readouterr().out


def test_labels_that_change_after_it_has_begun_are_said(
    learnt: Recipe, painted: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = tmp_path / "changed.tsv"
    shutil.copy(painted[1], labels)
    recipe = with_eval(learnt, pictures=painted[0], labels=str(labels))
    begin = runs.begin

    def change(folder: str, facts: Any, raw_files: Any) -> None:
        begin(folder, facts, raw_files)
        with labels.open("a") as file:
            file.write("\n")

    monkeypatch.setattr(runs, "begin", change)
    with pytest.raises(Failure, match=r"changed\.tsv was changed after this stage had begun"):
        evals.evaluate(recipe)
    assert read_manifest(recipe.folder("eval")) is None


def test_without_a_held_out_sample_there_is_no_retrieval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = small_recipe(tmp_path, holdout=0.0, steps=3)
    run_training(recipe)
    evals.evaluate(recipe)
    assert "eval: no retrieval: train.holdout = 0.0 held no sample out" in capsys.readouterr().out
    assert results(recipe) == {}


def test_what_cannot_be_evaluated_is_said(
    learnt: Recipe, painted: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases: list[tuple[Recipe, str]] = [
        (small_recipe(tmp_path), "7_train is not finished: run openwit train --recipe recipes/small.toml first"),
        (with_eval(learnt, pictures=painted[0]), "eval.pictures and eval.labels belong together"),
        (with_eval(learnt, pictures="nowhere.tar", labels=painted[1]), "eval.pictures names nowhere.tar"),
        (with_eval(learnt, pictures=painted[0], labels=painted[1], templates=["a photo"]), "templates"),
        (with_eval(learnt, pictures=painted[0], labels=painted[1], templates=[]), "templates"),
    ]
    for recipe, said in cases:
        with pytest.raises(UsageError, match=said):
            evals.evaluate(recipe)
    other = tmp_path / "merges.gz"
    other.write_bytes(other.read_bytes() + bytes(1))
    changed = Recipe(learnt.path, {**learnt.tables, "train": {**learnt.tables["train"], "merges": str(other)}})
    with pytest.raises(UsageError, match=r"train\.merges is not the file that the model was trained with"):
        evals.evaluate(changed)
    assert evals.main(["--recipe", "nowhere.toml"]) == 2
    assert capsys.readouterr().err.startswith("eval: there is no recipe nowhere.toml")


def test_clothes_are_told_apart(data: Path, tmp_path: Path) -> None:
    """Trained on photographs with captions, tested on others: above guessing by more than luck."""
    label_of = read_labels(str(data / f"{CLOTHES}.labels.tsv"))
    tar = str(data / f"{CLOTHES}.tar")
    some = [(name, body) for name, body in tar_members(tar, zeroshot.MAX_BYTES) if name.startswith("train/")][::4]
    samples = [(f"http://shop.test/{name}", body, [label_of[name]]) for name, body in some]
    folder = tmp_path / "out"
    make_pack(folder / STAGES["pack"].folder, samples)
    write_merges(tmp_path / "merges.gz")
    tests = sorted(name for name in label_of if name.startswith("test/"))
    (tmp_path / "labels.tsv").write_text("".join(f"{name}\t{label_of[name]}\n" for name in tests))
    recipe = small_recipe(tmp_path, **{**LEARN, "learning_rate": 2e-3, "holdout": 0.0})
    recipe = with_eval(recipe, pictures=tar, labels=str(tmp_path / "labels.tsv"), templates=["{}"])
    run_training(recipe)
    evals.evaluate(recipe)
    top1 = results(recipe)["zero-shot", "top-1"]
    assert top1["n"] == len(tests) and top1["chance"] == pytest.approx(0.1)
    assert top1["low"] > 1.5 * top1["chance"]
    examples = pq.read_table(f"{recipe.folder('eval')}/zeroshot_example.parquet")
    assert np.mean(examples["correct"].to_pylist()) == top1["value"]
    assert len(set(examples["predicted"].to_pylist())) > 3
