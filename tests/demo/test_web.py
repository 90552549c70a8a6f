"""The web as a whole: drawn once, the same from the same seed, and what goes with it is what the stages read."""

import hashlib
import shutil
import tomllib
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from core.errors import UsageError
from core.tars import tar_members
from demo import web
from demo.evaluation import pictures
from demo.pictures import CLASSES
from demo.plan import Plan, Size
from demo.sites import plan_web
from demo.web import Web, draw
from evaluation.labels import read_labels
from pipeline.text.ngrams import best_bigrams, count_pairs, count_words
from pipeline.text.wikipedia import articles, plain, views
from tests.demo.conftest import SMALL
from tests.running import ROOT
from trainer.evals.zeroshot import MAX_BYTES
from trainer.tokenizer import Tokenizer

TINY = Size(english=2, foreign=1, copies=1, placeholders=2, evaluation=1, leaks=2)


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_seed_draws_the_same_web(drawn: Web, tmp_path: Path) -> None:
    again = draw(tmp_path / "again", seed=1, size=SMALL)
    assert contents(again.folder) == contents(drawn.folder)
    assert again.truth == drawn.truth


def interrupted_plan(seed: int, size: Size) -> Plan:
    """A plan whose eleventh file is the one at which somebody presses the interrupt key."""
    plan = plan_web(seed, size)

    def interrupt() -> bytes:
        raise KeyboardInterrupt

    plan.files[list(plan.files)[10]] = interrupt
    return plan


def test_it_is_drawn_once_and_never_by_half(drawn: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "web"
    shutil.copytree(drawn.folder, folder)
    first = contents(folder)
    with monkeypatch.context() as patch:
        patch.setattr(web, "plan_web", interrupted_plan)
        draw(folder, 1, SMALL)  # it is there
        for place in (folder, tmp_path / "new"):
            with pytest.raises(KeyboardInterrupt):
                draw(place, 2, TINY)  # another one is not
    assert contents(folder) == first
    assert not (tmp_path / "new").exists()
    left_behind = {path.name for path in tmp_path.iterdir()}
    assert left_behind == {"web", ".tmp-web", ".tmp-new"}

    draw(folder, 2, TINY)
    assert {path.name for path in tmp_path.iterdir()} == {"web", ".tmp-new"}
    other = contents(folder)
    unchanged = {name for name in first.keys() & other.keys() if first[name] == other[name]}
    assert unchanged.isdisjoint({"eval/pictures.tar", "queries/wiki.xml.bz2", "truth.json"})


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="holds something else than the demo's web"):
        draw(tmp_path, 1, TINY)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_the_evaluation_set_is_balanced_and_held_out_but_for_the_leaks(drawn: Web) -> None:
    labels = read_labels(str(drawn.folder / "eval/labels.tsv"))
    bodies = dict(tar_members(str(drawn.folder / "eval/pictures.tar"), MAX_BYTES))
    assert set(labels) == set(bodies)
    leaks = {leak.name: leak for leak in drawn.truth.leaks}
    assert len(leaks) == SMALL.leaks
    held_out = Counter(label for name, label in labels.items() if name not in leaks)
    assert held_out == {thing.name: SMALL.evaluation for thing in CLASSES}
    kinds = {image.url: (image.kind, image.label) for image in drawn.truth.images}
    on_the_web = {path.read_bytes() for path in drawn.sites.rglob("*.png")}
    for name, leak in leaks.items():
        assert kinds[leak.url] == ("leak", labels[name])
        path = drawn.sites / urlsplit(leak.url).netloc / urlsplit(leak.url).path.lstrip("/")
        assert (path.read_bytes() == bodies[name]) == (leak.kind == "same bytes")
    known = {name for name, data in bodies.items() if data in on_the_web}
    assert known == {name for name, leak in leaks.items() if leak.kind == "same bytes"}


def test_the_demo_evaluates_with_twenty_pictures_a_class() -> None:
    whole = Counter(picture.thing.name for picture in pictures(1, Size()).values())
    assert min(whole[thing.name] for thing in CLASSES) >= 20


def test_the_tokenizer_knows_the_words_of_the_classes(drawn: Web) -> None:
    tokenizer = Tokenizer(str(drawn.folder / "vocabulary.gz"))
    words = sorted({word for thing in CLASSES for word in thing} | {"picture", "painting", "striped", "wooden"})
    ids = tokenizer.encode(words)
    assert (ids != 0).sum(dim=1).tolist() == [3] * len(words)  # the start, the word in one piece, the end
    assert [tokenizer.decode(row.tolist()).strip() for row in ids] == words


def test_the_encyclopedia_speaks_of_every_class(drawn: Web) -> None:
    found = list(articles(str(drawn.folder / "queries/wiki.xml.bz2")))
    assert {thing.name.capitalize() for thing in CLASSES} <= {article.title for article in found}
    texts = [plain(article.markup) for article in found]
    assert not any(mark in text for text in texts for mark in ("{{", "[[", "<ref", "Category", "'''"))
    words = count_words(texts)
    vocabulary = [word for word, count in words.items() if count >= 5]
    assert {word for thing in CLASSES for word in thing} <= set(vocabulary)
    bigrams = best_bigrams(count_pairs(texts, vocabulary), words, vocabulary, 2_000, 5)
    assert {thing.name for thing in CLASSES} <= {bigram.text for bigram in bigrams}
    read = views(str(drawn.folder / "queries/pageviews.gz"))
    assert min(read[thing.name.capitalize()] for thing in CLASSES) >= 70


def test_the_recipe_names_the_seeds() -> None:
    recipe = tomllib.loads((ROOT / "recipes" / "demo.toml").read_text())
    assert sorted(recipe["crawl"]["seeds"]) == sorted(plan_web(1, Size()).truth.seeds)
