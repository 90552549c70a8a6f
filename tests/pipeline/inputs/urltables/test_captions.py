"""The captions of a row: of which column they are, and which texts a cell holds."""

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.inputs.urltables.captions import captions, texts_of
from tests.pipeline.inputs.urltables.tables import FORMS, read, write


@pytest.mark.parametrize(
    ("cell", "texts"),
    [
        ("['A dog', 'A hound']", ["A dog", "A hound"]),  # pandas
        ('["A cat", "b"]', ["A cat", "b"]),  # JSON
        ("""["A dog's ball", 'A "red" ball']""", ["A dog's ball", 'A "red" ball']),
        (r"['It\'s a dog', 'caf\xe9', 'Two\nlines']", ["It's a dog", "café", "Two\nlines"]),
        (r'["caf\u00e9", "A \"red\" ball", "a\/b"]', ["café", 'A "red" ball', "a/b"]),
        ("['A dog' 'A hound'\n 'A wolf']", ["A dog", "A hound", "A wolf"]),  # numpy
        ("['A dog', None, 'A cat']", ["A dog", "A cat"]),
        ('["A dog", null]', ["A dog"]),
        ("['A dog'] ", ["A dog"]),
        ("['A dog, running, [sic]', 'A cat']", ["A dog, running, [sic]", "A cat"]),
        ('[{"raw": "A dog", "tokens": ["a"]}, {"raw": "A cat"}]', ["A dog", "A cat"]),
    ],
)
@pytest.mark.parametrize("form", [".csv", ".tsv", ".jsonl.gz", ".parquet"])
def test_a_list_that_is_written_as_text_has_several_captions(
    tmp_path: Path, form: str, cell: str, texts: list[str]
) -> None:
    path = write(tmp_path, form, {"url": ["http://a.test/1"], "caption": [cell]})
    assert read(path) == [("http://a.test/1", tuple(texts))]


@pytest.mark.parametrize(
    "cell",
    [
        "[Untitled]",
        "['90s] a red car",
        "[1, 2]",
        "[A dog, a cat]",
        '["A dog", 7]',
        '"A dog", "A cat"',
        "['A dog', open('x')]",
        "['A dog'] and ['a cat']",
        "['A dog'",
        '["A dog", ["A cat"]]',
        "[b'A dog']",
        "[" * 50_000 + "]" * 50_000,
        "['" + "a" * 200_000 + "']",
        r"['\N{no such name}']",
        "['A dog''A cat']",
    ],
    ids=lambda cell: cell[:20],
)
def test_what_only_begins_like_a_list_is_text(cell: str) -> None:
    assert texts_of(cell) == (cell,)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("part", ["'", '"', "'a'", "'a' ", "\\", "'\\", " ", ",", "'a',"])
def test_lists_made_to_cost_time(part: str) -> None:
    texts_of("[" + part * (99_000 // len(part)) + "]")
    texts_of("['" + part * (99_000 // len(part)) + "]")


@pytest.mark.parametrize("field", ["raw", "caption", "sentence", "text"])
@pytest.mark.parametrize("form", [".parquet", ".json", ".jsonl.gz"])
def test_a_list_of_objects_with_a_text_has_those_texts(tmp_path: Path, form: str, field: str) -> None:
    said = pa.array([[{field: "A dog", "id": 1}, {field: "A cat", "id": 2}]])
    assert read(write(tmp_path, form, {"url": ["u"], "captions": said})) == [("u", ("A dog", "A cat"))]


@pytest.mark.parametrize("nothing", ["NULL", "NaN", "NA", "None", "null", r"\N", "n/a", "[]", " nan "])
@pytest.mark.parametrize("form", FORMS)
def test_a_word_for_nothing_gives_way_to_the_text_of_another_column(tmp_path: Path, form: str, nothing: str) -> None:
    columns = {"url": ["u", "v"], "caption": [nothing, nothing], "alt": pa.array(["A dog", None])}
    (_, first), (_, second) = read(write(tmp_path, form, columns))
    assert first == ("A dog",)
    assert second == (() if nothing == r"\N" and form not in {".parquet", ".json", ".jsonl.gz"} else (nothing,))


@pytest.mark.parametrize("empty", [{"en": "A dog"}, {}, [], [""], [["A dog"]], "", " ", None])
def test_a_cell_that_is_no_text_does_not_end_the_search(empty: object) -> None:
    assert captions({"caption": empty, "alt": "A cat"}, ["caption", "alt"]) == ("A cat",)
    assert captions({"caption": "A cat", "alt": empty}, ["caption", "alt"]) == ("A cat",)


def test_a_row_whose_captions_are_no_texts_is_lost_by_name() -> None:
    assert captions({"caption": {"en": "A dog"}, "alt": ""}, ["caption", "alt"]) is None
    assert captions({"caption": None, "alt": ""}, ["caption", "alt"]) == ()
    assert captions({"caption": "None", "alt": {"en": "A dog"}}, ["caption", "alt"]) == ("None",)
