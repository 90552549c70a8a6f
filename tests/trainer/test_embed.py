"""Embeddings and scores of a pack: what the towers say, in the order of the ids, a shard at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch

import openwit
from core.errors import UsageError
from core.manifest import Manifest, missing_part, read_manifest
from core.recipe import Recipe
from core.registry import STAGES
from core.tables import read_table
from shards.reader import Shards
from shards.scores import SCORE
from tests.shards.helpers import make_pack
from tests.trainer.helpers import SMALL, picture, write_merges
from trainer import embed
from trainer.checkpoint import load_model
from trainer.data import picture as decoded
from trainer.embed import embedding_table
from trainer.images import evaluation_crop, normalise
from trainer.model import CLIP, unit
from trainer.tokenizer import Tokenizer


def manifest_of(recipe: Recipe, stage: str = "embed") -> Manifest:
    found = read_manifest(recipe.folder(stage))
    assert found is not None
    return found


def rows_of(recipe: Recipe, table: str) -> pa.Table:
    schema = SCORE if table == "score" else embedding_table(SMALL.embed_dim)
    return pa.concat_tables(read_table(path, schema) for path in manifest_of(recipe).paths(table))


def bytes_of(recipe: Recipe) -> dict[str, bytes]:
    folder = Path(recipe.folder("embed"))
    return {part.name: (folder / part.name).read_bytes() for part in manifest_of(recipe).parts}


def elsewhere(recipe: Recipe, out: Path, **keys: str) -> Recipe:
    """The same pack and model in another folder, so that it embeds anew; keys of its [embed] table."""
    out.mkdir(parents=True)
    for stage in ("pack", "train"):
        (out / STAGES[stage].folder).symlink_to(recipe.folder(stage))
    return Recipe(recipe.path, {**recipe.tables, "run": {**recipe.tables["run"], "out": str(out)}, "embed": keys})


@pytest.fixture(scope="module")
def embedded(learnt: Recipe) -> Recipe:
    embed.embed(learnt)
    return learnt


def test_each_image_has_its_vectors_and_its_score(embedded: Recipe) -> None:
    """Held against both towers, asked one sample at a time."""
    shards = Shards(embedded.folder("pack"))
    vectors, scores = rows_of(embedded, "embedding"), rows_of(embedded, "score")
    model, tokenizer = load_model(manifest_of(embedded, "train")), Tokenizer(embedded.tables["train"]["merges"])
    ids = [bytes.fromhex(sample.key) for sample in shards.iterate()]
    assert vectors["image_id"].to_pylist() == scores["image_id"].to_pylist() == ids
    assert set(scores["name"].to_pylist()) == {"clip:ViT-B/32"}  # as train.model says, whatever its sizes here are
    images, texts = (np.array(vectors[tower].to_pylist()) for tower in ("image", "text"))
    assert np.allclose(np.linalg.norm(images, axis=1), 1, atol=1e-3)
    for number in range(0, len(shards), 13):
        sample = shards.sample(number)
        crop = evaluation_crop(decoded(shards, number, sample), SMALL.image_size)
        with torch.no_grad():
            image = unit(model.encode_image(normalise(torch.from_numpy(crop)[None])))[0]
            text = unit(model.encode_text(tokenizer.encode([sample.text], SMALL.context)))[0]
        assert np.allclose(images[number], image, atol=1e-3) and np.allclose(texts[number], text, atol=1e-3)
        assert scores["value"][number].as_py() == pytest.approx(float(image @ text), abs=1e-5)
    own = np.mean(scores["value"].to_numpy())
    assert own > np.mean(images @ texts.T) + 0.2, "a caption fits its own image better than others'"


def test_it_is_complete_and_not_done_twice(embedded: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = manifest_of(embedded)
    assert missing_part(manifest) is None
    assert manifest.counts == {"images": {"in": 132, "kept": 132, "dropped": {}}}
    assert manifest.facts["inputs"]["pack"] == manifest_of(embedded, "pack").digest
    assert {part.name.partition("-")[0] for part in manifest.parts} == {
        f"{table}/0000{shard}" for table in ("embedding", "scores") for shard in range(3)
    }
    embed.embed(embedded)
    assert capsys.readouterr().out == f"embed: nothing to do, {embedded.folder('embed')} is up to date\n"


def test_a_killed_one_goes_on_with_the_next_shard(
    embedded: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = elsewhere(embedded, tmp_path / "out")
    done: list[range] = []
    real = embed.embedded

    def until_the_second(*arguments: Any) -> tuple[pa.Table, pa.Table]:
        done.append(arguments[3])
        if len(done) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(embed, "embedded", until_the_second)
    with pytest.raises(KeyboardInterrupt):
        embed.embed(again)
    assert read_manifest(again.folder("embed")) is None
    embed.embed(again)
    assert done[1] == done[2] and len(done) == 4, "the first shard was done once"
    assert bytes_of(again) == bytes_of(embedded)


def test_weights_by_path_give_the_same(embedded: Recipe, tmp_path: Path) -> None:
    weights = Path(embedded.folder("train")) / "model.pt"
    (tmp_path / "ViT-X.pt").symlink_to(weights)
    keys = {"weights": str(tmp_path / "ViT-X.pt"), "merges": embedded.tables["train"]["merges"]}
    other = elsewhere(embedded, tmp_path / "out", **keys)
    embed.embed(other)
    found, expected = rows_of(other, "score"), rows_of(embedded, "score")
    assert set(found["name"].to_pylist()) == {"clip:ViT-X"}
    assert found["value"].equals(expected["value"])
    assert rows_of(other, "embedding").equals(rows_of(embedded, "embedding"))
    named = Recipe(other.path, {**other.tables, "embed": {**keys, "name": "fit"}})
    embed.embed(named)
    assert set(rows_of(named, "score")["name"].to_pylist()) == {"fit"}


def test_a_pack_of_one_picture_in_three_shards(tmp_path: Path) -> None:
    make_pack(tmp_path / "out" / STAGES["pack"].folder, [("http://a.test/a.png", picture("red", "blue"), ["", "x"])])
    merges = write_merges(tmp_path / "merges.gz")
    torch.save(CLIP(SMALL).state_dict(), tmp_path / "new.pt")
    keys = {"weights": str(tmp_path / "new.pt"), "merges": str(merges)}
    recipe = Recipe("recipes/one.toml", {"run": {"out": str(tmp_path / "out")}, "embed": keys})
    embed.embed(recipe)
    assert rows_of(recipe, "score").num_rows == rows_of(recipe, "embedding").num_rows == 1
    for path in manifest_of(recipe).paths("score"):
        assert pq.read_schema(path).field("image_id").type == pa.binary(16)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("half", "embed.weights and embed.merges belong together"),
        ("other merges", "makes 515 tokens, and the model knows 49,408: name the merges"),
        ("other train.merges", "train.merges is not the file that the model was trained with"),
        ("no weights", "model.pt does not hold the weights of a CLIP"),
        ("another GELU", "was trained with another activation than OpenAI's"),
        ("not finite", "has features that are not finite: the weights are broken"),
    ],
)
def test_what_it_cannot_embed_with_is_said(
    learnt: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str, said: str
) -> None:
    from trainer.vocabulary import to_file

    (tmp_path / "few.gz").write_bytes(to_file([("a", "b")]))
    keys = {"weights": f"{learnt.folder('train')}/model.pt", "merges": str(learnt.tables["train"]["merges"])}
    train = dict(learnt.tables["train"])
    if damage == "half":
        del keys["merges"]
    elif damage == "other merges":
        keys["merges"] = str(tmp_path / "few.gz")
    elif damage == "another GELU":
        keys["weights"] = str(tmp_path / "open_clip_model.safetensors")
        safetensors.torch.save_file(CLIP(SMALL).state_dict(), keys["weights"])
        (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {}}')
    elif damage == "other train.merges":
        keys, train["merges"] = {}, str(tmp_path / "few.gz")
    else:
        keys["weights"] = str(tmp_path / "model.pt")
        broken = {name: weight * float("nan") for name, weight in CLIP(SMALL).state_dict().items()}
        torch.save(broken if damage == "not finite" else {"w": torch.zeros(1)}, tmp_path / "model.pt")
    recipe = elsewhere(learnt, tmp_path / "out", **keys)
    recipe = Recipe(recipe.path, {**recipe.tables, "train": train})
    with pytest.raises(Exception, match=said):
        embed.embed(recipe)
    assert read_manifest(recipe.folder("embed")) is None


def test_the_verb_asks_for_what_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.toml").write_text("[embed]\nname = 3\n")
    assert openwit.main(["embed", "--recipe", "own.toml"]) == 2
    assert "embed.name: Expected `str`, got `int`" in capsys.readouterr().err
    assert openwit.main(["embed", "--recipe", "own.toml", "--set", "embed.name=x"]) == 2
    assert "embed reads what pack makes, and" in capsys.readouterr().err
    assert openwit.main(["embed", "--recipe", "own.toml", "--set", "embed.name=x", "--check"]) == 3
    with pytest.raises(UsageError, match=r"there is no table \[embd\]; did you mean 'embed'\?"):
        from core.recipe import read

        read("own.toml", ["embd.name=x"])
