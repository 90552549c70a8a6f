"""Two recipes of one name do not write into one folder without a word."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import openwit
from core import runs
from core.command import run_recipe
from core.recipe import Recipe

FACTS = {"stage": "crawl"}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("recipes", "other"):
        (tmp_path / "tree" / name).mkdir(parents=True)
        (tmp_path / "tree" / name / "real.toml").touch()
    monkeypatch.chdir(tmp_path / "tree")
    return tmp_path / "tree"


def work(recipe: Recipe) -> None:
    """A stage that has something to do, as far as its folder."""
    runs.nothing_to_do(recipe, recipe.folder("crawl"), FACTS)


def run(*words: str) -> int:
    return run_recipe("crawl", "doc", work, ["--recipe", *words])


def test_another_recipe_of_the_name_is_refused(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("recipes/real.toml") == 0
    assert json.loads((tree / "out/real/_recipe.json").read_text()) == {"recipe": "../../recipes/real.toml"}
    assert run("recipes/real.toml") == run(str(tree / "recipes/real.toml")) == 0, "its own"
    assert capsys.readouterr() == ("", "")
    assert run("other/real.toml") == run("other/real.toml", "--check") == 2
    said = capsys.readouterr().err.splitlines()[0]
    assert said == (
        "crawl: out/real is what recipes/real.toml makes, and other/real.toml has no other folder: write run.out in "
        "other/real.toml, or give one with --set run.out=out/NAME"
    )
    assert run("recipes/real.toml") == 0


def test_a_folder_that_is_asked_for_is_taken(tree: Path) -> None:
    assert run("recipes/real.toml") == 0
    assert run("other/real.toml", "--set", "run.out=out/real") == 0
    assert run("other/real.toml", "--set", "run.out=out/mine") == 0
    assert not (tree / "out/mine").exists()
    assert json.loads((tree / "out/real/_recipe.json").read_text()) == {"recipe": "../../recipes/real.toml"}


def test_it_holds_where_the_tree_is_moved(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("recipes/real.toml") == 0
    moved = tree.parent / "moved"
    tree.rename(moved)
    monkeypatch.chdir(moved)
    assert run("recipes/real.toml") == 0
    assert run("other/real.toml") == 2
    assert "recipes/real.toml makes" in capsys.readouterr().err


def test_a_recipe_that_is_gone_gives_way(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("recipes/real.toml") == 0
    shutil.move(tree / "recipes", tree / "mine")
    assert run("mine/real.toml", "--check") == 3 and capsys.readouterr().out == ""
    assert run("mine/real.toml") == 0
    said = "crawl: out/real was made by recipes/real.toml, which is gone: it is mine/real.toml's now\n"
    assert capsys.readouterr().out == said
    assert run("mine/real.toml") == 0 and capsys.readouterr().out == ""
    assert run("other/real.toml") == 2


def test_asking_alone_claims_nothing(tree: Path) -> None:
    assert run("recipes/real.toml", "--check") == 3
    assert not (tree / "out").exists()


@pytest.mark.parametrize("text", ["", "[]", '{"recipe": 1}', "\x00"])
def test_a_damaged_book_is_written_anew(tree: Path, text: str) -> None:
    (tree / "out/real").mkdir(parents=True)
    (tree / "out/real/_recipe.json").write_text(text)
    assert run("other/real.toml") == 0
    assert json.loads((tree / "out/real/_recipe.json").read_text()) == {"recipe": "../../other/real.toml"}
    assert run("recipes/real.toml") == 2


def test_overlap_is_not_written_into_another_recipes_folder(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("recipes/real.toml") == 0
    assert openwit.main(["overlap", "--recipe", "other/real.toml", "--pictures", "a.tar"]) == 2
    assert "overlap: out/real is what recipes/real.toml makes" in capsys.readouterr().err
