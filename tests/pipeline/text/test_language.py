"""The language of texts, by the bundled model."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest

from core.errors import UsageError
from pipeline.text.language import MAX_CHARS, detect, languages
from pipeline.text.rules import Thresholds
from pipeline.text.scripts import SCRIPTS


def test_detect() -> None:
    texts = [
        "A dog runs along the beach",
        "Ein Hund läuft am Strand\nentlang",
        "犬が浜辺を走る",
        "สุนัขวิ่งบนชายหาด",
        "Собака бежит по пляжу",
    ]
    found, scores = detect(texts)
    assert found == ["en", "de", "ja", "th", "ru"]
    assert scores.dtype == np.float32
    assert (scores > 0.7).all()
    assert (scores <= 1).all()


def test_of_nothing_it_knows_nothing() -> None:
    found, scores = detect(["", "  ", "123", "\0", "\u2028\x85"])
    assert found == ["en"] * 5
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
        detect(["x"], model=str(path))


def test_importing_loads_nothing() -> None:
    script = (
        "import sys, pipeline.text.language; print([m for m in sys.modules if m.startswith(('fasttext', 'fast_lang'))])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


ENGLISH = ["A dog runs along the beach", "Sunset over the lake", "Children playing in the old park"]
GERMAN = ["Ein Hund läuft am Strand entlang", "Sonnenuntergang über dem See", "Kinder spielen im alten Park"]
FRENCH = ["Un chien court sur la plage", "Coucher de soleil sur le lac", "Les enfants jouent dans le vieux parc"]


@pytest.mark.parametrize(
    ("text", "page", "language"),
    [
        ("GIMP B&W Tree Final", ENGLISH, "en"),
        ("Photograph of Albert Einstein.", ENGLISH, "en"),
        ("Great Cormorant", ENGLISH, "en"),
        ("Albert Einstein", ENGLISH, "en"),
        ("Albert Einstein", GERMAN, "de"),
        ("Albert Einstein", FRENCH, "fr"),
        ("Tour Eiffel", FRENCH, "fr"),
        ("Rotes Haus", GERMAN, "de"),
        ("2019", GERMAN, "de"),
        # a long text speaks for itself
        ("A woman in a red coat waits for the train at a small station in the mountains", GERMAN, "en"),
        ("Eine Frau in rotem Mantel wartet an einem kleinen Bahnhof in den Bergen auf den Zug", ENGLISH, "de"),
        # so do letters
        ("Рыжая лиса", ENGLISH, "ru"),
        ("きつね", ENGLISH, "ja"),
        ("Java 金鑰儲存 工具", ENGLISH, "zh"),
        ("Λίμνη", GERMAN, "el"),
    ],
)
def test_a_short_text_is_in_the_language_of_its_page(text: str, page: list[str], language: str) -> None:
    found, scores = detect([*page, text], ["page"] * 4)
    assert found[-1] == language
    assert 0.25 <= scores[-1] <= 1


@pytest.mark.parametrize("text", ["ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ", "ꓡꓲꓢꓴ"])
def test_letters_that_no_language_has_are_not_english(text: str) -> None:
    assert detect([*ENGLISH, text], [0] * 4)[0][-1] != "en"


@pytest.mark.parametrize(
    ("declared", "language", "score"),
    [
        (None, "en", 0.15),
        ("", "en", 0.15),
        ("tlh", "en", 0.15),  # that the model does not know
        ("en", "en", 0.29),
        ("en-US", "en", 0.29),
        ("DE", "de", 0.67),
        ("de_AT", "de", 0.67),
        (" de, en", "de", 0.67),
    ],
)
def test_what_the_page_declares_is_evidence(declared: str | None, language: str, score: float) -> None:
    """Of two words that the model does not know; English, which templates declare unasked, is weaker evidence."""
    (found,), (probability,) = detect(["Great Cormorant"], ["page"], [declared])
    assert found == language
    assert probability == pytest.approx(score, abs=0.02)
    assert detect(["Ein Hund läuft am Strand entlang und bellt den Mond an"], ["page"], ["en"])[0] == ["de"]


def test_a_declared_name_that_the_model_has_another_for() -> None:
    names = ["Gammel bro", "Rød rev"]
    without, named = detect(names, [0, 0]), detect(names, [0, 0], ["nb-NO", "nb-NO"])
    assert named[0] == ["no", "no"] != without[0]


def test_a_text_said_often_counts_once() -> None:
    repeated = [*ENGLISH, *["Zurück zur Übersicht"] * 50]
    assert detect([*repeated, "Great Cormorant"], [0] * 54)[0][-1] == "en"


def test_pages_do_not_see_each_other() -> None:
    both = detect([*ENGLISH, *GERMAN, "Great Cormorant"], [0] * 3 + [1] * 3 + [0])
    assert both[0] == ["en"] * 3 + ["de"] * 3 + ["en"]
    (left, scores), (right, others) = detect([*ENGLISH, "Great Cormorant"], [0] * 4), detect(GERMAN, [0] * 3)
    assert both[0] == [*left[:3], *right, left[3]]
    assert both[1].tolist() == [*scores[:3].tolist(), *others.tolist(), scores[3]]


ROWS = """
Sunset over the lake | Children playing in the park | Golden Gate Bridge | Chocolate chip cookies | A brown dog
Two men on a boat | Birthday cake with candles | Autumn leaves | Grilled salmon with lemon | Wedding bouquet
Black leather boots | Old stone church | Steam locomotive | Kitchen remodel | Red tulips in spring | The white house
Brooklyn Bridge at night | Oak dining table | Silver hoop earrings | Emperor penguin | Great horned owl | Mountain bike
Brick wall | Camping tent | Stainless steel sink | Pumpkin pie | Golden retriever puppy | Tennis racket | Bald eagle
Times Square | Blue jay on a branch | Acoustic guitar | Garden shed | Christmas tree | Fishing boats | Wooden bridge
"""
TABLE = [text.strip() for text in ROWS.replace("\n", "|").split("|") if text.strip()]
LOST = ["Tomato soup", "Manhattan skyline", "Blue denim jacket", "Siamese cat", "Red Porsche 911", "New York, NY"]
FOREIGN = ["Ein Kormoran", "Un chat noir", "Alte Brücke am Fluss", "Perro en la playa", "Рыжая лиса", "きつね"]


def test_short_rows_follow_a_table_of_one_language() -> None:
    """English that the model takes for other languages; what is clearly foreign is so in an English table, too."""
    rows = [*TABLE, *LOST, *FOREIGN[:1]]
    assert "en" not in detect(LOST[:5])[0]
    found, scores = detect(rows, tables=[0] * len(rows))
    assert found == ["en"] * (len(rows) - 1) + ["de"]
    assert (scores[:-1] >= Thresholds().min_lang_score).all()
    for text in FOREIGN:
        assert detect([*TABLE, text], tables=[0] * (len(TABLE) + 1))[0][-1] == detect([text])[0][0] != "en"


def test_a_table_of_several_languages_says_nothing() -> None:
    rows = [*TABLE[:8], *LOST, *FOREIGN]
    alone, beside = detect(rows), detect(rows, tables=[0] * len(rows))
    assert alone[0] == beside[0] and alone[1].tolist() == beside[1].tolist()


def test_few_rows_are_no_table() -> None:
    for rows in (LOST[:1], [*TABLE[:1], LOST[0]]):
        assert detect(rows, tables=[0] * len(rows))[0] == detect(rows)[0]


def test_a_row_said_often_counts_once() -> None:
    rows = [*FOREIGN, *["Sunset over the lake"] * 200, *LOST]
    assert detect(rows, tables=[0] * len(rows))[0] == detect(rows)[0]


def test_tables_do_not_see_each_other_and_a_page_outweighs_its_table() -> None:
    german = ["Rotes Haus", *GERMAN]
    rows = [*TABLE, *LOST, *german, *LOST]
    tables = [0] * len(TABLE + LOST) + [1] * len(german) + [None] * len(LOST)
    found = detect(rows, tables=tables)
    assert found[0] == ["en"] * len(TABLE + LOST) + ["de"] * len(german) + detect(LOST)[0]
    on_a_page = [*TABLE, *LOST, *german]
    pages = [*range(len(TABLE + LOST)), *[-1] * len(german)]
    assert detect(on_a_page, pages, tables=[0] * len(on_a_page))[0][-len(german) :] == ["de"] * len(german)


def test_the_languages_that_can_be_found() -> None:
    assert len(languages()) == 176
    assert {"en", "de", "zh", "sr"} < {*languages()}
    assert {*SCRIPTS} < {*languages()}


def test_captions_in_many_languages(data: Path) -> None:
    """Drawings' names on their pages: at most 10 % of the short English ones lost, 4 % of the foreign ones kept."""
    with (data / "web" / "stamps.test.pairs.tsv").open(newline="", encoding="utf-8") as table:
        rows = [
            (row["alt"], row["lang"].partition("-")[0], row["page"]) for row in csv.DictReader(table, delimiter="\t")
        ]
    texts, true, pages = zip(*rows, strict=True)
    assert len({*true}) == 12
    alone, on_pages = detect(texts), detect(texts, pages)
    short = np.array([len(text) < 30 for text in texts])
    english = np.array(true) == "en"
    kept = (np.array(on_pages[0]) == "en") & (on_pages[1] >= Thresholds().min_lang_score)
    assert kept[short & english].mean() >= 0.9
    assert kept[short & ~english].mean() <= 0.01
    right = [np.mean(np.array(found) == np.array(true)) for found, _ in (alone, on_pages)]
    assert right[0] > 0.8
    assert right[1] > 0.95


def test_tables_of_one_language_and_of_many(data: Path) -> None:
    """Drawings' names below 30 characters, without pages: nine in ten of an English table are kept, of which alone it
    is not eight. Beside as many foreign rows no more of these are kept than alone, and all gain where rows are sorted.
    """
    with (data / "web" / "stamps.test.pairs.tsv").open(newline="", encoding="utf-8") as table:
        pairs = {(row["lang"], row["alt"]) for row in csv.DictReader(table, delimiter="\t")}
    rows = sorted(pair for pair in pairs if len(pair[1]) < 30)
    english, foreign = ([row for row in rows if (row[0] == "en") is wanted] for wanted in (True, False))
    mixed = [*english, *Random(1).sample(foreign, len(english))]

    def kept(rows: list[tuple[str, str]], tables: list[int | None]) -> tuple[float, float]:
        found, scores = detect([text for _, text in rows], tables=tables)
        wanted = (np.array(found) == "en") & (scores >= Thresholds().min_lang_score)
        of = np.array([language == "en" for language, _ in rows])
        return wanted[of].mean(), wanted[~of].sum() / len(rows)

    stretches: list[int | None] = [n // 256 for n in range(len(mixed))]
    recall, false = kept(mixed, [None] * len(mixed))
    assert recall < 0.8
    assert kept(english, stretches[: len(english)])[0] >= 0.9
    shuffled = kept(Random(2).sample(mixed, len(mixed)), stretches)
    assert shuffled[0] >= recall
    assert shuffled[1] <= false
    by_language = kept(sorted(mixed), stretches)
    assert by_language[0] >= 0.9
    assert by_language[1] <= false


@pytest.mark.parametrize("wanted", ["DE", "FR", "ES", "PL"])
def test_no_language_is_special(data: Path, wanted: str) -> None:
    """Names of things in 93 languages, twenty a page, which declares nothing."""
    names = json.loads((data / "evalmeta" / "cb.babel_imagenet.json").read_bytes())
    rows = [(name, n // 20, language) for language, (_, said) in names.items() for n, name in enumerate(sorted(said))]
    found, scores = detect([name for name, _, _ in rows], [(page, language) for _, page, language in rows])
    kept = (np.array(found) == wanted.lower()) & (scores >= Thresholds().min_lang_score)
    of = np.array([language == wanted for _, _, language in rows])
    assert kept[of].mean() >= 0.9
    assert kept[~of].mean() <= 0.04
