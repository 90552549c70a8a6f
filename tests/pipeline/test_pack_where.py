"""[pack.where]: samples stay by a column of their outcome or by a score, and what goes is counted, listed and told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import openwit
from core.manifest import read_manifest
from core.tables import read_table
from pipeline.ids import image_id
from pipeline.tables import UNWANTED
from shards import scores
from shards.reader import Shards
from shards.scores import SCORE
from tests.pipeline.test_pack import COPIES, FAILED, IMAGES, SHARDS, URLS, sidecar, tars, write
from tests.pipeline.upstream import Project

STAY = [url for url in URLS if url not in COPIES]
VALUES = {url: i / 100 for i, url in enumerate(STAY)}
UNSCORED = STAY[5]
NAME = "clip:ViT-B/32"


def write_scores(path: Path, values: Mapping[str, float], name: str = NAME) -> str:
    rows = [{"image_id": image_id(url), "name": name, "value": value} for url, value in values.items()]
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCORE), path)
    return str(path)


def asked(made: Project, where: Mapping[str, str], scores: str = "") -> list[str]:
    """The words that set both keys: a name of a score may hold what --set takes for its own."""
    said = ", ".join(f'"{name}" = "{condition}"' for name, condition in where.items())
    files = ["--set", f'pack.scores=["{scores}"]'] if scores else []
    return ["pack", *made.words(), "--set", f"pack.where={{{said}}}", *files]


def packed(made: Project) -> set[str]:
    return {sample.meta["url"] for sample in Shards(str(made.of("pack"))).iterate()}


def dropped(made: Project) -> Any:
    return made.manifest("pack").counts["images"]["dropped"]


@pytest.fixture
def made(tmp_path: Path) -> Project:
    project = write(tmp_path / "out", URLS, FAILED, COPIES)
    files = tmp_path / "scores"
    for i in range(3):  # in no order, each over the whole range of ids
        write_scores(files / f"{i}.parquet", {url: VALUES[url] for url in STAY[::-1][i::3] if url != UNSCORED})
    write_scores(files / "other.parquet", dict.fromkeys(URLS, 7.0), "other")
    return project


def test_scores_keep_what_they_say(made: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = asked(made, {NAME: ">= 0.1", "other": "== 7"}, f"{tmp_path}/scores/*.parquet")
    assert openwit.main(words) == 0
    low = [url for url in STAY if VALUES[url] < 0.1 and url != UNSCORED]
    assert packed(made) == set(STAY) - {*low, UNSCORED}
    assert dropped(made) == {
        "same_bytes": 1,
        "near_duplicate": 2,
        f"where:{NAME}": len(low),
        f"missing:{NAME}": 1,
    }
    listed = {row["image_id"]: row["reason"] for row in made.rows("pack", UNWANTED)}
    assert listed == {image_id(url): f"where:{NAME}" for url in low} | {image_id(UNSCORED): f"missing:{NAME}"}
    assert {row["url"] for number in range(SHARDS) for row in sidecar(made, number)} == packed(made) | set(FAILED)
    before = tars(made)
    capsys.readouterr()
    assert openwit.main(words) == 0 and "nothing to do" in capsys.readouterr().out
    assert openwit.main(["explain", low[0], *words[1:]]) == 0
    assert f"  pack     dropped: where:{NAME}" in capsys.readouterr().out.splitlines()
    inputs = made.manifest("pack").facts["inputs"]
    assert sum(key.startswith("scores:") for key in inputs) == 4 == len(made.manifest("pack").facts["read"])

    write_scores(tmp_path / "scores" / "0.parquet", dict.fromkeys(STAY[::-1][0::3], 0.05))
    assert openwit.main(words) == 0, "a file that holds something else is another input"
    assert set(tars(made)) == set(before) and packed(made) < set(STAY)
    assert dropped(made)[f"where:{NAME}"] > len(low)


def test_one_file_and_many_make_the_same_shards(made: Project, tmp_path: Path) -> None:
    where = {NAME: "< 0.2"}
    assert openwit.main(asked(made, where, f"{tmp_path}/scores/*.parquet")) == 0
    many = tars(made)
    one = write_scores(tmp_path / "all.parquet", {url: VALUES[url] for url in STAY if url != UNSCORED})
    assert openwit.main(asked(made, where, one)) == 0
    assert tars(made) == many and 0 < len(packed(made)) < len(STAY)


def test_a_column_of_the_outcome_needs_no_scores(made: Project) -> None:
    sizes = sorted(len(IMAGES[url][0]) for url in STAY)
    assert openwit.main(asked(made, {"bytes": f">= {sizes[10]}", "format": "!= PNG"})) == 0
    assert packed(made) == {url for url in STAY if len(IMAGES[url][0]) >= sizes[10]}
    assert dropped(made)["where:bytes"] == sum(size < sizes[10] for size in sizes)
    assert "score" not in {part.table for part in made.manifest("pack").parts}
    assert openwit.main(asked(made, {})) == 0
    assert packed(made) == set(STAY) and not made.manifest("pack").of("unwanted")


@pytest.mark.parametrize(
    ("where", "scores", "said"),
    [
        ({"widht": "> 1"}, "", "pack: where: there is no column or score 'widht'; did you mean 'width'"),
        ({NAME: "> 1"}, "", "and pack.scores names no files of scores; correct it in the recipe or with --set"),
        ({"width": "big"}, "", 'pack: where.width = "big" is no condition: write a comparison and a value'),
        ({"width": "> 1"}, "scores/0.parquet", "scores are given, and where asks for none of them"),
        ({"clip:ViT-B-32": "> 1"}, "scores/*.parquet", f"'clip:ViT-B-32'; did you mean '{NAME}'"),
        ({"width": "> 1", "ohter": "> 1"}, "scores/*.parquet", "score 'ohter'; did you mean 'other'"),
        ({NAME: "> 1"}, "scores/none*.parquet", "pack.scores names "),
        ({NAME: "> 1"}, "out/1_crawl/_manifest.json", "_manifest.json is no table of scores"),
        ({NAME: "> 1"}, "out/9_embed/scores/*.parquet", "which was made of the pack that is now to be another: copy"),
    ],
)
def test_what_does_not_exist_is_refused_before_anything_is_touched(
    made: Project,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    where: dict[str, str],
    scores: str,
    said: str,
) -> None:
    (tmp_path / "out" / "9_embed").mkdir()
    write_scores(tmp_path / "out" / "9_embed" / "scores" / "00000.parquet", VALUES)
    made.run("pack")
    before = read_manifest(str(made.of("pack")))
    capsys.readouterr()
    assert openwit.main(asked(made, where, f"{tmp_path}/{scores}" if scores else "")) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("pack:")]
    assert said in line
    assert read_manifest(str(made.of("pack"))) == before and not list(made.of("pack").glob("_begun*"))


def test_scores_that_change_while_they_are_read_are_said(
    made: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = scores.read_scores

    def meanwhile(path: str, names: list[str]) -> pa.Table:
        write_scores(Path(path), dict.fromkeys(STAY, 1.0))
        return real(path, names)

    monkeypatch.setattr(scores, "read_scores", meanwhile)
    assert openwit.main(asked(made, {NAME: "> 0"}, f"{tmp_path}/scores/0.parquet")) == 1
    assert "0.parquet was changed after this stage had begun" in capsys.readouterr().err
    assert not (made.of("pack") / "_manifest.json").exists()


def test_two_scores_of_one_image_stop_it(made: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_scores(tmp_path / "scores" / "again.parquet", {STAY[0]: 0.9})
    assert openwit.main(asked(made, {NAME: "> 0"}, f"{tmp_path}/scores/*.parquet")) == 1
    assert f"image {image_id(STAY[0]).hex()} has two different scores '{NAME}'" in capsys.readouterr().err


def test_a_part_of_scores_has_the_digest_of_its_bytes_in_its_name(made: Project, tmp_path: Path) -> None:
    assert openwit.main(asked(made, {NAME: "> 0"}, f"{tmp_path}/scores/*.parquet")) == 0
    manifest = made.manifest("pack")
    for part, path in zip(manifest.of("score"), manifest.paths("score"), strict=True):
        assert part.sha256[:16] in part.name and read_table(path, SCORE).num_rows == part.rows
