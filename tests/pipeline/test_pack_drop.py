"""pack.drop: what a list names is left out, by name, and all else stays as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

import openwit
from pipeline.ids import image_id
from pipeline.tables import UNWANTED
from shards.reader import Shards
from tests.pipeline.test_pack import COPIES, FAILED, IMAGES, URLS, tars, write
from tests.pipeline.upstream import Project

STAY = [url for url in URLS if url not in COPIES]


@pytest.fixture
def made(tmp_path: Path) -> Project:
    return write(tmp_path / "out", URLS, FAILED, COPIES)


def packed(made: Project) -> set[str]:
    return {sample.meta["url"] for sample in Shards(str(made.of("pack"))).iterate()}


def test_what_a_list_names_is_left_out_and_all_else_is_as_before(
    made: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made.run("pack")
    before = tars(made)
    gone = [STAY[2], STAY[7], STAY[30]]
    lists = [tmp_path / "a.txt", tmp_path / "b.txt"]
    copy = next(iter(COPIES))  # a duplicate goes under that name, listed or not
    lists[0].write_text("".join(f"{image_id(url).hex()}\n" for url in [*gone[:2], copy, "http://stranger.test/"]))
    lists[1].write_text(f"key\r\n{image_id(gone[2]).hex().upper()}\r\n")
    words = ["pack", *made.words(), "--set", f'pack.drop=["{tmp_path}/*.txt"]']
    assert openwit.main(words) == 0
    assert "; keys of drop lists without image 1 →" in capsys.readouterr().out
    assert packed(made) == set(STAY) - set(gone)
    assert made.manifest("pack").counts["images"]["dropped"] == {"same_bytes": 1, "near_duplicate": 2, "drop_list": 3}
    listed = {row["image_id"]: row["reason"] for row in made.rows("pack", UNWANTED)}
    assert listed == {image_id(url): "drop_list" for url in gone}
    keys = tuple(image_id(url).hex() for url in gone)
    assert tars(made) == {
        name: {member: body for member, body in members.items() if not member.startswith(keys)}
        for name, members in before.items()
    }
    capsys.readouterr()
    assert openwit.main(words) == 0 and "nothing to do" in capsys.readouterr().out
    assert openwit.main(["explain", gone[0], *words[1:]]) == 0
    assert "  pack     dropped: drop_list" in capsys.readouterr().out.splitlines()
    lists[1].write_text("# nothing any more\n")
    assert openwit.main(words) == 0 and packed(made) == set(STAY) - set(gone[:2]), "an edited list is another input"
    made.run("pack")
    assert tars(made) == before


def test_with_conditions_a_listed_image_goes_as_listed(made: Project, tmp_path: Path) -> None:
    small = min(STAY, key=lambda url: len(IMAGES[url][0]))
    (tmp_path / "a.txt").write_text(f"{image_id(small).hex()}\n")
    where = ["--set", f'pack.where={{bytes = "> {len(IMAGES[small][0])}"}}']
    assert openwit.main(["pack", *made.words(), "--set", f'pack.drop=["{tmp_path}/a.txt"]', *where]) == 0
    dropped = made.manifest("pack").counts["images"]["dropped"]
    assert dropped["drop_list"] == 1 and packed(made) == {
        url for url in STAY if len(IMAGES[url][0]) > len(IMAGES[small][0])
    }


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [(None, 2, "pack.drop names "), ("a.jpg\n", 1, "list.txt, line 1 is no key ('a.jpg')")],
)
def test_a_list_that_is_none_leaves_the_shards_alone(
    made: Project, tmp_path: Path, body: str | None, status: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made.run("pack")
    before = tars(made)
    if body is not None:
        (tmp_path / "list.txt").write_text(body)
    capsys.readouterr()
    assert openwit.main(["pack", *made.words(), "--set", f'pack.drop=["{tmp_path}/list.txt"]']) == status
    assert says in capsys.readouterr().err
    assert tars(made) == before
