"""Models side by side: weights of every maker by path, without a training too."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch

from core.errors import Failure, UsageError
from core.recipe import Recipe
from tests.trainer.helpers import SMALL, run_training, small_recipe
from tests.trainer.made_sets import colour, write
from tests.trainer.stage_results import examples_of, finished, recipe_of, results_of
from trainer.evals import __main__ as evals
from trainer.evals import models
from trainer.evals.config import Config
from trainer.export import open_clip_config
from trainer.flops import image_flops
from trainer.images import decode, evaluation_crop, normalise
from trainer.model import CLIP
from trainer.tokenizer import Tokenizer

README = {"a diagram": 0.9927937, "a dog": 0.00421068, "a cat": 0.00299572}  # of OpenAI's README, for its CLIP.png
PICTURE = colour("red", (20, 16))
MERGES = "#version: 0.2\nr e\nre d</w>\nb l\n"
SIZES = replace(SMALL, vision_layers=1, text_layers=1, vocab=512 + 3 + 2)


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
    return readme_set(tmp_path / "readme", PICTURE)


def readme_set(folder: Path, picture: bytes) -> str:
    texts = "\n".join(README).encode()
    write(folder, {"classnames.txt": texts, "zeroshot_classification_templates.txt": b"{}\n", "test/nshards.txt": b"1"})
    with tarfile.open(folder / "test" / "0.tar", "w") as tar:
        for name, body in (("CLIP.png", picture), ("CLIP.cls", b"0")):
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return str(folder)


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
    unsaid = [line for line in said.splitlines() if "does not say which activation" in line]
    assert len(unsaid) == 1 and f"eval: {paths['checkpoint']} does not say" in unsaid[0]
    found = {name: probabilities(examples_of(recipe)[name, "CLIP"]) for name in paths}
    expected = dict(zip(README, computed(made(), Tokenizer(merges), PICTURE), strict=True))
    other = dict(zip(README, computed(models.with_gelu(made()), Tokenizer(merges), PICTURE), strict=True))
    assert found["checkpoint"] == pytest.approx(expected, abs=1e-6)
    assert found["folder"] == found["checkpoint"]
    assert found["OpenAI"] == pytest.approx(expected, abs=1e-3)  # its weights are float16
    assert found["GELU"] == pytest.approx(other, abs=1e-6) and found["GELU"] != pytest.approx(expected, abs=1e-6)
    sizes = [row for path in finished(recipe).paths("model") for row in pq.read_table(path).to_pylist()]
    assert {row["model"]: row["gflops"] for row in sizes} == dict.fromkeys(paths, image_flops(SIZES, whole=True) / 2e9)
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


def test_a_file_whose_folder_names_another_activation_is_refused(tmp_path: Path, merges: str) -> None:
    path = f"{as_folder(made(), tmp_path / 'a', quick_gelu=False)}/open_clip_model.safetensors"
    recipe = recipe_of(tmp_path, models={"a": path}, merges=merges, sets=["x/y"])
    with pytest.raises(Failure, match=r"trained with another activation .* name the folder, whose config is followed"):
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
