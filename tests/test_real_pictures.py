"""Photographs of a labelled set, and of the web, through every evaluation with a model that the trainer has trained."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks import web_shift
from benchmarks.caltech import CAPTIONS
from core.manifest import read_manifest
from core.recipe import Recipe
from core.registry import STAGES
from evaluation.labels import read_labels
from evaluation.webdataset_folders import read_webdataset
from shards.reader import Shards
from tests.shards.helpers import make_pack
from tests.trainer.helpers import run_training, write_merges
from trainer.data import split
from trainer.evals import __main__ as evals
from trainer.images import decode

CLOTHING = "cls/clothing_72px"
EACH = 15  # pictures of a site that show no clothes
TRAIN = {"batch_size": 64, "steps": 200, "warmup": 20, "learning_rate": 2e-3, "holdout": 0.5, "threads": 1}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("A woman in a long dress.", "dress"),
        ("two DRESSES on a rack", "dress"),
        ("a t-shirt", "t-shirt"),
        ("a t-shirt and a shirt", None),
        ("one shoe", "shoes"),
        ("an address, a shirtless man", None),
        ("a short trip", None),
    ],
)
def test_a_text_names_one_class_or_none(text: str, named: str | None) -> None:
    assert web_shift.named_by([text], ["dress", "shirt", "shoes", "shorts", "t-shirt"]) == named


def test_what_can_be_claimed_of_a_shift() -> None:
    said = web_shift.said(Counter(hat=20, dress=19), ["dress", "hat", "skirt"])
    assert said.splitlines() == [
        "dress: 19",
        "hat: 20",
        "39 pictures in 2 of 3 classes",
        "accuracies of hat can be claimed: n >= 20",
    ]
    assert "no accuracy of a class can be claimed" in web_shift.said(Counter(hat=3), ["hat"])


# ── the real run ──────────────────────────────────────────────────────────────────────────────────


def stored(path: Path) -> bytes:
    """A picture as fetch keeps it: 256 pixels at the most, here."""
    picture = decode(path.read_bytes())
    picture.thumbnail((256, 256))
    to = io.BytesIO()
    picture.save(to, "JPEG", quality=90)
    return to.getvalue()


def web_pictures(data: Path, classes: list[str]) -> list[tuple[str, bytes, list[str]]]:
    """Pictures of eight sites with their alt texts: all whose text names a class, and some others."""
    found = {}
    for table in sorted((data / "web").glob("*.pairs.tsv")):
        host, others = table.name.removesuffix(".pairs.tsv"), 0
        with table.open(newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        for row in rows:
            path = data / "web" / host / row["img"]
            url = f"http://{host}/{row['img']}"
            if url in found or not row["alt"] or row["format"] not in ("JPEG", "PNG", "WEBP") or not path.is_file():
                continue
            if web_shift.named_by([row["alt"]], classes) is None:
                others += 1
                if others > EACH:
                    continue
            found[url] = stored(path), [row["alt"]]
    return [(url, *some) for url, some in found.items()]


@pytest.fixture(scope="module")
def evaluated(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Path, Counter[str], str]:
    """A recipe that is trained on captions of clothes and of the web, and evaluated; the folders of its sets."""
    folder = tmp_path_factory.mktemp("real")
    label_of = read_labels(str(data / f"{CLOTHING}.labels.tsv"))
    classes = sorted(set(label_of.values()))
    with tarfile.open(data / f"{CLOTHING}.tar") as tar:
        tar.extractall(folder / "clothing", filter="data")
    names = [name for name in label_of if name.startswith("train/")]
    samples = [
        (
            f"http://clothing.test/{name}",
            (folder / "clothing" / name).read_bytes(),
            [CAPTIONS[i % len(CAPTIONS)].format(label_of[name])],
        )
        for i, name in enumerate(names)
    ]
    make_pack(folder / "out" / STAGES["pack"].folder, [*samples, *web_pictures(data, classes)])
    keys = {"merges": str(write_merges(folder / "merges.gz")), **TRAIN}
    tables: dict[str, dict[str, Any]] = {"run": {"out": str(folder / "out"), "seed": 1}, "train": keys}
    recipe = Recipe("recipes/real_pictures.toml", tables)
    run_training(recipe)
    counts = web_shift.write_shift(recipe, classes, ["clothing.test"], folder / "web_shift")
    sets = [str(folder / "clothing"), str(folder / "web_shift")]
    asked = {"sets": sets, "probe": True, "shots": [1, 4, 16], "seeds": [0, 1, 2], "prompts": ["single"]}
    recipe = Recipe(recipe.path, {**tables, "eval": asked})
    evals.evaluate(recipe)
    return recipe, folder, counts, web_shift.said(counts, classes)


def results(recipe: Recipe) -> dict[tuple[str, str], dict[str, Any]]:
    rows = json.loads(Path(recipe.folder("eval"), "results.json").read_bytes())
    return {(row["set"], row["name"]): row for row in rows if row["metric"] == "accuracy"}


@pytest.mark.slow
def test_clothes_zero_shot_probe_and_few_shot(evaluated: tuple[Recipe, Path, Counter[str], str]) -> None:
    found = {name: row for (of, name), row in results(evaluated[0]).items() if of == "clothing"}
    zero_shot, probe = found["clothing zero-shot (single)"], found["clothing probe"]
    assert zero_shot["n"] == probe["n"] == 372 and zero_shot["chance"] == 0.1
    assert zero_shot["low"] > 1.5 * zero_shot["chance"], "above guessing by more than luck"
    assert probe["low"] > 2 * probe["chance"] and probe["value"] > zero_shot["value"] - 0.05
    shots = [found[f"clothing {k}-shot"]["value"] for k in (1, 4, 16)]
    assert 0.1 < shots[0] < shots[-1] < probe["value"] + 0.02


@pytest.mark.slow
def test_the_web_shows_the_classes_and_was_not_trained_on(evaluated: tuple[Recipe, Path, Counter[str], str]) -> None:
    recipe, folder, counts, said = evaluated
    print(said)
    shown = read_webdataset(folder / "web_shift", folder / "web_shift" / "test")
    assert Counter(shown.classes[labels[0]] for labels in shown.labels) == counts and len(shown.classes) == 10
    row = results(recipe)["web_shift", "web_shift zero-shot (single)"]
    assert row["n"] == counts.total() >= 3 and 0 <= row["low"] <= row["value"] <= row["high"] <= 1
    assert not [name for name in counts if counts[name] >= web_shift.LEAST], "none of which an accuracy can be claimed"

    trained = read_manifest(recipe.folder("train"))
    assert trained is not None
    shards = Shards(recipe.folder("pack"))
    seen, _ = split(shards.image_ids, trained.facts["seed"], trained.facts["config"]["holdout"])
    bodies = {shards.sample(int(number)).image for number in seen}
    assert not bodies & {body for _, some in shown.bodies() for body in some}
