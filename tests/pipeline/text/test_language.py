"""The language of texts, by the bundled model."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.text.language import MAX_CHARS, detect
from shards.errors import UsageError


def test_detect() -> None:
    texts = [
        "A dog runs along the beach",
        "Ein Hund läuft am Strand\nentlang",
        "犬が浜辺を走る",
        "สุนัขวิ่งบนชายหาด",
        "Собака бежит по пляжу",
    ]
    languages, scores = detect(texts)
    assert languages == ["en", "de", "ja", "th", "ru"]
    assert scores.dtype == np.float32
    assert (scores > 0.7).all()
    assert (scores <= 1).all()


def test_of_nothing_it_knows_nothing() -> None:
    languages, scores = detect(["", "  ", "123", "\0", "\u2028\x85"])
    assert languages == ["en"] * 5
    assert scores == pytest.approx([0.1245] * 5, abs=1e-3)
    assert detect([])[0] == []
    assert detect([])[1].shape == (0,)


def test_each_text_is_judged_alone_by_its_start() -> None:
    text = "Una donna cammina nella neve "
    (many, scores), (one, score) = detect(["x", text * 40, "x"]), detect([(text * 40)[:MAX_CHARS]])
    assert many[1] == one[0] == "it"
    assert scores[1] == score[0]


@pytest.mark.parametrize("content", [None, b"no model"])
def test_another_model_must_be_one(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "lid.176.bin"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"lid\.176\.bin"):
        detect(["x"], str(path))


def test_importing_loads_nothing() -> None:
    script = (
        "import sys, pipeline.text.language; print([m for m in sys.modules if m.startswith(('fasttext', 'fast_lang'))])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_captions_in_many_languages(data: Path) -> None:
    with (data / "web" / "stamps.test.pairs.tsv").open(newline="", encoding="utf-8") as table:
        rows = [(row["alt"], row["lang"].partition("_")[0]) for row in csv.DictReader(table, delimiter="\t")]
    languages, scores = detect([text for text, _ in rows])
    right = [found == lang for found, (_, lang) in zip(languages, rows, strict=True)]
    assert np.mean(right) > 0.8
    assert scores[right].mean() > scores[np.logical_not(right)].mean() + 0.2
