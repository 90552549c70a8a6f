"""What is below a folder, on a disk and on a store, and what a link leads to."""

import re
from pathlib import Path

import pytest

from core.errors import Failure
from core.files import join, publish
from core.listing import behind_links, sizes_below


def test_every_file_below_a_folder_and_its_bytes(folder: str) -> None:
    files = {"a": b"", "table/b.parquet": b"four", "table/deep/er/c": b"x" * 100_000, "table.json": b"[]"}
    for name, body in files.items():
        publish(join(folder, name), body)
    for neighbour in (f"{folder}_copy/a", f"{folder}.txt"):
        publish(neighbour, b"x")
    sizes = {name: len(body) for name, body in files.items()}
    assert sizes_below(folder) == sizes_below(f"{folder}/") == sizes
    assert sizes_below(join(folder, "table")) == {"b.parquet": 4, "deep/er/c": 100_000}
    assert behind_links(folder, files) == set()


def test_where_there_is_no_folder_there_is_nothing(folder: str) -> None:
    assert sizes_below(folder) == {}
    publish(join(folder, "a"), b"x")
    assert sizes_below(join(folder, "b")) == {}
    assert sizes_below(join(folder, "a", "b")) == {}


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A stage's folder, one table of which lies elsewhere, beside files of other people."""
    stage, elsewhere = tmp_path / "1_crawl", tmp_path / "elsewhere"
    for path in (stage / "drop" / "a", elsewhere / "b", elsewhere / "deeper" / "c"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"four")
    (stage / "candidate").symlink_to(elsewhere)
    return stage


def test_of_a_linked_folder_the_files_directly_behind_it(linked: Path) -> None:
    (linked / "drop" / "within").symlink_to(linked.parent / "elsewhere")  # nobody moves a folder within a table
    found = sizes_below(str(linked))
    assert found == {"drop/a": 4, "candidate/b": 4}
    assert behind_links(str(linked), found) == {"candidate"}


def test_a_linked_folder_is_looked_into_when_it_is_the_one_that_is_asked_for(linked: Path) -> None:
    (linked.parent / "moved").symlink_to(linked)
    moved = str(linked.parent / "moved")
    assert sizes_below(moved) == {"drop/a": 4, "candidate/b": 4}
    assert behind_links(moved, ["drop/a", "candidate/b"]) == {"candidate"}


def test_a_linked_file_has_the_size_of_what_it_leads_to(linked: Path) -> None:
    (linked / "drop" / "b").symlink_to(linked.parent / "elsewhere" / "b")
    (linked / "drop" / "gone").symlink_to(linked.parent / "nothing")
    (linked / "drop" / "loop").symlink_to(linked / "drop" / "loop")
    found = sizes_below(str(linked))
    assert found == {"drop/a": 4, "drop/b": 4, "candidate/b": 4}
    assert behind_links(str(linked), ["drop/b", "a file in the folder itself"]) == set()


def test_a_folder_that_cannot_be_looked_into_is_named(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(Failure, match=f"^{re.escape(str(tmp_path))}/loop cannot be looked into .Too many levels"):
        sizes_below(str(tmp_path / "loop"))
