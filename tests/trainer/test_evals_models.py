"""Models side by side: weights of every maker by path, without a training too, and features of any model by file."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from PIL import Image

from core.errors import Failure, UsageError
from core.manifest import Manifest, missing_part, read_manifest
from core.recipe import Recipe
from core.tables import read_table
from tests.trainer.helpers import COLOURS, SMALL, run_training, small_recipe
from tests.trainer.test_evals_sets import ColourSense, write
from trainer.evals import __main__ as evals
from trainer.evals import eval_sets, models
from trainer.evals.config import Config
from trainer.evals.kept import Kept
from trainer.evals.selecting import SELECTED
from trainer.evals.suite import Suite
from trainer.evals.tables import EXAMPLE
from trainer.evals.vectors import Vectors
from trainer.export import open_clip_config
from trainer.images import decode, evaluation_crop, normalise
from trainer.model import CLIP
from trainer.tokenizer import Tokenizer

README = {"a diagram": 0.9927937, "a dog": 0.00421068, "a cat": 0.00299572}  # of OpenAI's README, for its CLIP.png
MERGES = "#version: 0.2\nr e\nre d</w>\nb l\n"
SIZES = replace(SMALL, vision_layers=1, text_layers=1, vocab=512 + 3 + 2)


def colour(name: str) -> bytes:
    to = io.BytesIO()
    Image.new("RGB", (20, 16), COLOURS[name]).save(to, "PNG")
    return to.getvalue()


def made(seed: int = 0) -> CLIP:
    torch.manual_seed(seed)
    return CLIP(SIZES).eval()


def as_openai(model: CLIP, path: Path) -> str:
    """As OpenAI writes it: TorchScript in float16, with numbers that are no weights."""
    model.register_buffer("input_resolution", torch.tensor(SIZES.image_size))
    model.register_buffer("context_length", torch.tensor(SIZES.context))
    model.register_buffer("vocab_size", torch.tensor(SIZES.vocab))
    images = torch.zeros(1, 3, SIZES.image_size, SIZES.image_size)
    ids = torch.zeros(1, SIZES.context, dtype=torch.int64)
    example = {"encode_image": images, "encode_text": ids}
    traced = torch.jit.trace_module(model, example, check_trace=False)  # type: ignore[no-untyped-call]
    torch.jit.save(traced.half(), path)
    return str(path)


def as_checkpoint(model: CLIP, path: Path) -> str:
    """As open_clip writes it while it trains."""
    state = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"epoch": 3, "name": "run", "state_dict": state}, path)
    return str(path)


def as_folder(model: CLIP, folder: Path, **config: Any) -> str:
    """As open_clip loads it by local-dir, and as `openwit export` writes it."""
    folder.mkdir()
    safetensors.torch.save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    said = open_clip_config(SIZES, "")
    said["model_cfg"] |= {key: value for key, value in config.items() if key != "preprocess_cfg"}
    said["preprocess_cfg"] = {**said["preprocess_cfg"], **config.get("preprocess_cfg", {})}
    (folder / "open_clip_config.json").write_text(json.dumps(said))
    return str(folder)


@pytest.fixture
def merges(tmp_path: Path) -> str:
    path = tmp_path / "few.gz"
    path.write_bytes(gzip.compress(MERGES.encode(), mtime=0))
    return str(path)


@pytest.fixture
def readme(tmp_path: Path) -> str:
    """One picture and three texts, as in OpenAI's README, in CLIP_benchmark's layout."""
    return readme_set(tmp_path / "readme", colour("red"))


def readme_set(folder: Path, picture: bytes) -> str:
    texts = "\n".join(README).encode()
    write(folder, {"classnames.txt": texts, "zeroshot_classification_templates.txt": b"{}\n", "test/nshards.txt": b"1"})
    with tarfile.open(folder / "test" / "0.tar", "w") as tar:
        for name, body in (("CLIP.png", picture), ("CLIP.cls", b"0")):
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return str(folder)


def recipe_of(folder: Path, **keys: Any) -> Recipe:
    return Recipe("r.toml", {"run": {"out": str(folder / "out"), "seed": 3}, "eval": keys})


def results_of(recipe: Recipe) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(Path(recipe.folder("eval"), "results.json").read_bytes())
    return rows


def finished(recipe: Recipe) -> Manifest:
    manifest = read_manifest(recipe.folder("eval"))
    assert manifest is not None and missing_part(manifest) is None
    return manifest


def examples_of(recipe: Recipe) -> dict[tuple[str, str], dict[str, Any]]:
    tables = [read_table(path, EXAMPLE) for path in finished(recipe).paths("example")]
    return {(row["model"], row["id"]): row for row in pa.concat_tables(tables).to_pylist()}


def probabilities(row: Mapping[str, Any]) -> dict[str, float]:
    return dict(zip(row["predicted"], row["scores"], strict=True))


def computed(model: CLIP, tokenizer: Tokenizer, picture: bytes) -> list[float]:
    """What the README's code does: softmax of the logits of one picture."""
    crop = evaluation_crop(decode(picture), model.config.image_size)
    with torch.inference_mode():
        image = model.encode_image(normalise(torch.from_numpy(crop)[None]))
        text = model.encode_text(tokenizer.encode(list(README), model.config.context))
    image, text = (some / some.norm(dim=1, keepdim=True) for some in (image, text))
    found: list[float] = (model.logit_scale.exp() * image @ text.T).softmax(dim=1)[0].tolist()
    return found


# ── weights by path ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.filterwarnings("ignore")  # of torch: TorchScript is on its way out, the released archives are not
def test_weights_of_every_maker_are_evaluated_without_a_training(
    tmp_path: Path, merges: str, readme: str, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = {
        "OpenAI": as_openai(made(), tmp_path / "ViT.pt"),
        "checkpoint": as_checkpoint(made(), tmp_path / "epoch_3.pt"),
        "folder": as_folder(made(), tmp_path / "exported"),
        "GELU": as_folder(made(), tmp_path / "gelu", quick_gelu=False),
    }
    recipe = recipe_of(tmp_path, models=paths, merges=merges, sets=[readme])
    evals.evaluate(recipe)
    said = capsys.readouterr().out
    assert "train is not finished: the recipe's own model is left out" in said
    assert [(row["model"], row["set"]) for row in results_of(recipe)] == [(name, "readme") for name in sorted(paths)]
    assert "eval: readme zero-shot, OpenAI accuracy" in said
    found = {name: probabilities(examples_of(recipe)[name, "CLIP"]) for name in paths}
    expected = dict(zip(README, computed(made(), Tokenizer(merges), colour("red")), strict=True))
    other = dict(zip(README, computed(models.with_gelu(made()), Tokenizer(merges), colour("red")), strict=True))
    assert found["checkpoint"] == pytest.approx(expected, abs=1e-6)
    assert found["folder"] == found["checkpoint"]
    assert found["OpenAI"] == pytest.approx(expected, abs=1e-3)  # its weights are float16
    assert found["GELU"] == pytest.approx(other, abs=1e-6) and found["GELU"] != pytest.approx(expected, abs=1e-6)
    facts = finished(recipe).facts
    assert facts["inputs"]["models"].keys() == paths.keys() and "train" not in facts["inputs"]
    evals.evaluate(recipe)
    assert "nothing to do" in capsys.readouterr().out


def test_a_model_stands_beside_the_trained_one(tmp_path: Path, merges: str, readme: str) -> None:
    trained = small_recipe(tmp_path, steps=3, holdout=0.0)
    run_training(trained)
    keys = {"sets": [readme], "merges": merges}
    alone = Recipe(trained.path, {**trained.tables, "eval": keys})
    evals.evaluate(alone)
    (first,) = results_of(alone)
    assert (first["name"], first["model"]) == ("readme zero-shot", "trained")
    paths = {"other": as_checkpoint(made(), tmp_path / "one.pt")}
    both = Recipe(trained.path, {**trained.tables, "eval": {**keys, "models": paths}})
    evals.evaluate(both)
    rows = results_of(both)
    assert rows[0] == first and [row["name"] for row in rows] == ["readme zero-shot", "readme zero-shot, other"]
    run = json.loads(Path(both.folder("eval"), "_run.json").read_bytes())
    assert run["work"]["sets"] == {"here": 4, "of": 8}  # nothing of the trained model is computed again
    as_checkpoint(made(1), tmp_path / "one.pt")
    before = examples_of(both)
    evals.evaluate(both)
    after = examples_of(both)
    assert after["trained", "CLIP"] == before["trained", "CLIP"] and after["other", "CLIP"] != before["other", "CLIP"]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"models": {"a": "{here}/nowhere.pt"}}, "eval.models.a names .*nowhere.pt"),
        ({"models": {"a": "{here}/one.pt"}, "merges": ""}, "need the tokenizer's merges: give eval.merges"),
        ({"models": {"a": "{here}/one.pt"}, "sets": []}, "eval.models are evaluated on eval.sets"),
        ({"models": {"trained": "{here}/one.pt"}}, "'trained' cannot name a model"),
        ({"models": {"a\n": "{here}/one.pt"}}, "cannot name a model"),
        ({"models": {"a": "{here}"}}, "is no folder of open_clip's"),
        ({"models": {"a": "{here}/one.pt"}, "features": {"a": "{here}"}, "probe": True}, "'a' names one of"),
        ({"features": {"a": "{here}"}}, "eval.features are for probes: set eval.probe = true"),
        ({"features": {"a": "{here}/one.pt"}, "probe": True}, "which is no folder"),
        ({"features": {"a": "{here}"}, "probe": True}, "has nothing of eval.sets: .*readme/test.parquet is not there"),
        ({"models": {}}, "7_train is not finished"),
    ],
)
def test_a_wrong_recipe_is_refused(
    tmp_path: Path, merges: str, readme: str, keys: Mapping[str, Any], said: str
) -> None:
    as_checkpoint(made(), tmp_path / "one.pt")

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: filled(one) for key, one in value.items()}
        return value.replace("{here}", str(tmp_path)) if isinstance(value, str) else value

    recipe = recipe_of(tmp_path, **{"sets": [readme], "merges": merges, **filled(keys)})
    with pytest.raises(UsageError, match=said):
        evals.evaluate(recipe)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"text_cfg": {"width": 32, "heads": 4}}, "4 heads in its text tower"),
        ({"text_cfg": {"hf_model_name": "bert"}}, "text_cfg.hf_model_name = bert, which is not computed here"),
        ({"vision_cfg": {"width": 64, "layers": 1, "head_width": 32}}, "heads of 32, and here they are 64 wide"),
        ({"vision_cfg": {"global_average_pool": True}}, "vision_cfg.global_average_pool"),
        ({"vision_cfg": []}, "has no vision_cfg"),
        (
            {"text_cfg": {"width": 32, "tokenizer_kwargs": {"clean": "canonicalize"}}},
            "tokenizer_kwargs.clean = canonicalize, which is not computed here",
        ),
        ({"preprocess_cfg": {"mean": [0.5, 0.5, 0.5]}}, "prepares pictures with mean = "),
        ({"preprocess_cfg": {"resize_mode": "squash"}}, "resize_mode = squash, and here it is shortest"),
    ],
)
def test_a_model_that_computes_otherwise_is_refused_by_name(
    tmp_path: Path, merges: str, config: Mapping[str, Any], said: str
) -> None:
    recipe = recipe_of(tmp_path, models={"a": as_folder(made(), tmp_path / "a", **config)}, merges=merges, sets=["x/y"])
    with pytest.raises(Failure, match=said):
        models.find(recipe, recipe.config("eval", Config))


def test_weights_that_git_did_not_fetch_are_named(tmp_path: Path, merges: str) -> None:
    folder = Path(as_folder(made(), tmp_path / "a"))
    (folder / "open_clip_model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    recipe = recipe_of(tmp_path, models={"a": str(folder)}, merges=merges, sets=["x/y"])
    with pytest.raises(Failure, match=r"open_clip_model\.safetensors is Git LFS's pointer to the file: download"):
        models.find(recipe, recipe.config("eval", Config))


def test_a_config_without_a_preparation_is_read(tmp_path: Path, merges: str) -> None:
    folder = Path(as_folder(made(), tmp_path / "a"))
    said = json.loads((folder / "open_clip_config.json").read_text())
    said["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = None
    (folder / "open_clip_config.json").write_text(json.dumps(said | {"preprocess_cfg": None}))
    recipe = recipe_of(tmp_path, models={"a": str(folder)}, merges=merges, sets=["x/y"])
    assert [one.name for one in models.find(recipe, recipe.config("eval", Config))] == ["a"]


def test_merges_of_another_vocabulary_are_refused(tmp_path: Path, readme: str) -> None:
    (tmp_path / "more.gz").write_bytes(gzip.compress((MERGES + "o w\n").encode()))
    paths = {"a": as_checkpoint(made(), tmp_path / "one.pt")}
    recipe = recipe_of(tmp_path, models=paths, merges=str(tmp_path / "more.gz"), sets=[readme])
    with pytest.raises(UsageError, match=r"more\.gz makes 518 tokens, and the model knows 517"):
        evals.evaluate(recipe)


def test_an_exported_folder_brings_its_merges(tmp_path: Path, merges: str, readme: str) -> None:
    folder = as_folder(made(), tmp_path / "exported")
    Path(folder, "vocabulary.txt.gz").write_bytes(Path(merges).read_bytes())
    recipe = recipe_of(tmp_path, models={"a": folder}, sets=[readme])
    evals.evaluate(recipe)
    assert [row["model"] for row in results_of(recipe)] == ["a"]


@pytest.mark.skipif(
    not {"OPENWIT_CLIP_WEIGHTS", "OPENWIT_CLIP_PICTURE"} <= os.environ.keys(),
    reason="OPENWIT_CLIP_WEIGHTS and OPENWIT_CLIP_PICTURE do not name ViT-B-32.pt and the CLIP.png of OpenAI's README",
)
def test_the_released_model_gives_the_probabilities_of_its_readme(tmp_path: Path, data: Path) -> None:
    picture = Path(os.environ["OPENWIT_CLIP_PICTURE"]).read_bytes()
    recipe = recipe_of(
        tmp_path,
        models={"ViT-B/32": os.environ["OPENWIT_CLIP_WEIGHTS"]},
        merges=str(data / "tokenizer" / "bpe_simple_vocab_16e6.txt.gz"),
        sets=[readme_set(tmp_path / "readme", picture)],
    )
    evals.evaluate(recipe)
    assert probabilities(examples_of(recipe)["ViT-B/32", "CLIP"]) == pytest.approx(README, abs=2e-3)


# ── features by file ──────────────────────────────────────────────────────────────────────────────

SPLITS = {"train": 5, "val": 2, "test": 3}


def write_features(folder: Path, name: str, role: str, rows: Mapping[str, list[float]]) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    table = pa.table({"id": list(rows), "vector": pa.array(list(rows.values()), pa.list_(pa.float32()))})
    pq.write_table(table, folder / name / f"{role}.parquet")


@pytest.fixture
def by_file(tmp_path: Path) -> Recipe:
    """Two classes, whose pictures say nothing; the vectors of another model do, but for one example of the test."""
    ids = {split: [f"{label}/{i}.png" for label in ("this", "that") for i in range(n)] for split, n in SPLITS.items()}
    write(tmp_path / "mine", {f"{split}/{one}": colour("grey") for split, some in ids.items() for one in some})
    for split, role in (("train", "train"), ("val", "validation"), ("test", "test")):
        rows = {one: [1.0, 0.0] if one.startswith("this") else [0.0, 1.0] for one in ids[split]}
        if role == "test":
            rows["this/0.png"] = [0.0, 1.0]
        write_features(tmp_path / "rn50", "mine", role, dict(reversed(rows.items())))
    features = {"RN50": str(tmp_path / "rn50")}
    return recipe_of(tmp_path, sets=[f"{tmp_path}/mine"], features=features, probe=True, shots=[1, 2], seeds=[0, 1])


def test_probes_are_fitted_on_features_by_file(by_file: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    evals.evaluate(by_file)
    rows = {(row["name"], row["metric"]): row["value"] for row in results_of(by_file)}
    assert rows == {
        ("mine probe, RN50", "accuracy"): pytest.approx(5 / 6),
        ("mine 1-shot, RN50", "accuracy"): pytest.approx(5 / 6),
        ("mine 2-shot, RN50", "accuracy"): pytest.approx(5 / 6),
    }
    wrong = [one for (_, one), row in examples_of(by_file).items() if row["rank"] != 1]
    assert wrong == ["this/0.png"]
    assert finished(by_file).facts["inputs"]["features"].keys() == {"RN50"}
    capsys.readouterr()
    evals.evaluate(by_file)
    assert "nothing to do" in capsys.readouterr().out


def test_what_is_wrong_with_features_is_named(by_file: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "rn50" / "mine" / "validation.parquet"
    path.unlink()
    with pytest.raises(Failure, match=r"with the features of RN50: .*validation\.parquet is not there, and mine has"):
        evals.evaluate(by_file)
    write_features(tmp_path / "rn50", "mine", "validation", {"this/0.png": [np.nan, 0.0]})
    with pytest.raises(Failure, match=r"validation\.parquet has no vector for .*this/1\.png"):
        evals.evaluate(by_file)


def test_a_set_without_features_is_said_and_the_others_are_done(
    by_file: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "other", {f"{name}/1.png": colour(name) for name in ("red", "green")})
    sets = [f"{tmp_path}/mine", f"{tmp_path}/other"]
    evals.evaluate(Recipe(by_file.path, {**by_file.tables, "eval": {**by_file.tables["eval"], "sets": sets}}))
    assert "eval: RN50 has no features of other: " in capsys.readouterr().out
    assert {row["set"] for row in results_of(by_file)} == {"mine"}


# ── prompts by forward selection ──────────────────────────────────────────────────────────────────


class Picky(ColourSense):
    """Understands only what is said of origami; anything else it takes for grey."""

    def texts(self, texts: Iterable[str]) -> torch.Tensor:
        return super().texts([text if "origami" in text else "grey" for text in texts])


def evaluated(tmp_path: Path, **keys: Any) -> tuple[list[dict[str, Any]], Kept]:
    recipe = recipe_of(tmp_path, sets=[f"{tmp_path}/mine"], **keys)
    config = recipe.config("eval", Config)
    found = eval_sets.find(recipe, config, {})
    kept = Kept(str(tmp_path / "out"), lambda: None)
    vectors = Vectors(kept, "m" * 64, Picky, found.memory, 2)
    return Suite(kept, vectors, config, 7).evaluate(found.sets), kept


def test_templates_are_selected_on_the_validation_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("red", "green")
    files = {f"{split}/{name}/{i}.png": colour(name) for split in ("val", "test") for name in names for i in range(2)}
    write(tmp_path / "mine", files | {"test/green/2.png": colour("red")})
    rows, kept = evaluated(tmp_path, prompts=["ensemble", "forward"])
    found = {row["prompts"]: row["value"] for row in rows}
    assert found["forward"] == pytest.approx(4 / 5)
    (receipt,) = [one for one in kept.receipts if one.step == "select"]
    selected = read_table(f"{tmp_path}/out/{receipt.parts[0].name}", SELECTED).to_pylist()
    assert [(row["template"], row["score"]) for row in selected] == [("the origami {}.", 1.0)]
    again, kept = evaluated(tmp_path, prompts=["ensemble", "forward"])
    assert again == rows and kept.made == 0
    for path in (tmp_path / "mine" / "test").iterdir():
        path.rename(tmp_path / "mine" / path.name)
    for folder in (tmp_path / "mine" / "val", tmp_path / "mine" / "test"):
        shutil.rmtree(folder)
    rows, _ = evaluated(tmp_path, prompts=["ensemble", "forward"])
    assert {row["prompts"] for row in rows} == {"ensemble"}
    assert "no prompts forward for mine: it has neither a validation nor a train split" in capsys.readouterr().out


def test_features_of_a_split_serve_probes_and_prompts(tmp_path: Path) -> None:
    files = {f"{split}/{name}/{i}.png": colour(name) for split in SPLITS for name in ("red", "green") for i in range(5)}
    write(tmp_path / "mine", files)
    rows, kept = evaluated(tmp_path, prompts=["contextless", "forward"], probe=True)
    assert {row["method"] for row in rows} == {"zero-shot", "probe"}
    assert sorted(one.task for one in kept.receipts if one.step == "encode") == [
        "mine.test",
        "mine.train",
        "mine.validation",
    ]
    again, kept = evaluated(tmp_path, prompts=["contextless", "forward"], probe=True)
    assert again == rows and kept.made == 0
