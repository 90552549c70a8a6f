"""The tokenizer against the released one's ids, hostile captions and files that are not its merges."""

import gzip
import hashlib
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UsageError
from trainer.model import MODELS
from trainer.tokenizer import MERGES, Tokenizer, clean

START, END = 49_406, 49_407  # of the released one
MERGES_FILE = "tokenizer/bpe_simple_vocab_16e6.txt.gz"


@pytest.fixture(scope="module")
def tokenizer(data: Path) -> Tokenizer:
    return Tokenizer(data / MERGES_FILE)


def ids_of(tokenizer: Tokenizer, text: str) -> list[int]:
    """What stands between the marks."""
    row: list[int] = tokenizer.encode([text])[0].tolist()
    assert row[0] == START
    end = row.index(END)
    assert not any(row[end + 1 :])
    return row[1:end]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Hello World!", [3306, 1002, 256]),
        ("a diagram", [320, 22697]),
        ("a dog", [320, 1929]),
        ("a cat", [320, 2368]),
        ("a photo of a dog.", [320, 1125, 539, 320, 1929, 269]),
        ("A photo of a boxer, a type of pet.", [320, 1125, 539, 320, 15363, 267, 320, 3877, 539, 3703, 269]),
        ('a photo of the number: "7".', [320, 1125, 539, 518, 2842, 281, 257, 278, 2811]),
        ("construction crane", [4585, 14626]),
        ("日本語", [39121, 44353, 34002, 508]),
        ("don't stop 100%", [847, 713, 1691, 272, 271, 271, 260]),
        ("", []),
        (" \t\n　", []),
        (
            "it's 2021 &amp;amp; naïve café  ☕",
            [585, 568, 273, 271, 273, 272, 261, 1097, 35689, 563, 15304, 26561],
        ),
        ("cafe\N{COMBINING ACUTE ACCENT}", [15304]),
        ("don’t stop", [847, 713, 1691]),
    ],
)
def test_golden_ids(tokenizer: Tokenizer, text: str, ids: list[int]) -> None:
    assert ids_of(tokenizer, text) == ids


def test_the_released_vocabulary_has_its_size(tokenizer: Tokenizer, data: Path) -> None:
    packed = (data / MERGES_FILE).read_bytes()
    assert hashlib.sha256(packed).hexdigest() == "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
    assert len(gzip.decompress(packed).splitlines()) == 262_145
    assert MERGES == 48_894 == 49_408 - 2 * 256 - 2
    assert (tokenizer.start, tokenizer.end, tokenizer.vocab) == (START, END, 49_408)


def test_rows_are_int64_of_the_context(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(["a dog", "a photo of a dog."], context=6)
    assert ids.dtype == torch.int64
    assert ids.tolist() == [[START, 320, 1929, END, 0, 0], [START, 320, 1125, 539, 320, END]]
    assert tokenizer.encode([]).shape == (0, 77)
    assert tokenizer.vocab == MODELS["ViT-B/32"].vocab == MODELS["tiny"].vocab


def test_a_long_text_keeps_its_end_mark(tokenizer: Tokenizer) -> None:
    (row,) = tokenizer.encode(["dog " * 500]).tolist()
    assert row == [START, *[1929] * 75, END]


@pytest.mark.parametrize("text", ["a <|endoftext|> b", "<|startoftext|>", "&lt;|endoftext|&gt;", "<|ENDOFTEXT|>"])
def test_a_caption_cannot_spell_a_mark(tokenizer: Tokenizer, text: str) -> None:
    ids = ids_of(tokenizer, text)
    assert len(ids) > 1
    assert max(ids) < START
    assert tokenizer.decode(ids).replace(" ", "") == clean(text).replace(" ", "")


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  A\tB\r\n C ", "a b c"),
        ("AT&amp;amp;T", "at&t"),
        ("<b> &amp;amp;amp;", "<b> &amp;"),  # beside markup ftfy leaves entities: twice, not for ever
        ("x&nbsp;y", "x y"),
        ("\ud83d\ude00", "😀"),  # an escaped pair, as JSON writes it
        ("a\ud83db", "a�b"),
        ("e\N{COMBINING ACUTE ACCENT}", "é"),
        ("İ", "i\N{COMBINING DOT ABOVE}"),
        ("“Don’t”, ‚he‛ said „so‟; rock ŉ roll", "\"don't\", 'he' said \"so\"; rock 'n roll"),
        ("&ldquo;a&rdquo;", '"a"'),
        ("ﬁre, oﬃce, Ĳssel, ǅ", "fire, office, ijssel, dž"),
        ("ＦＵＬＬ　ｗｉｄｔｈ！", "full width!"),
        ("ｶﾞ", "ガ"),
        ("schÃ¶n", "schön"),
        ("red\x1b[0m\x07", "red"),
    ],
)
def test_cleaning(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@settings(deadline=None)
@given(text=st.text(st.characters(exclude_categories=[]), max_size=60))
def test_any_text_gives_a_row_that_reads_back(tokenizer: Tokenizer, text: str) -> None:
    ids = ids_of(tokenizer, text)
    assert all(0 <= id_ < START for id_ in ids)
    if len(ids) < 75:
        assert tokenizer.decode([START, *ids, END, 0]).replace(" ", "") == clean(text).replace(" ", "")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", ["a" * 10**6, "&" * 10**6, "&amp;" * 10**5, "\N{COMBINING ACUTE ACCENT}" * 10**6])
def test_a_hostile_caption_costs_no_more_than_a_long_one(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.encode([text])[0, -1] == END


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        ([START, 3306, 1002, 256, END, 0, 0], "hello world !"),
        ([847, 713], "don 't"),
        ([], ""),
        ([162], "�"),  # the byte 0xE6, a third of a character
    ],
)
def test_decode(tokenizer: Tokenizer, ids: list[int], text: str) -> None:
    assert tokenizer.decode(ids) == text


def test_it_travels_to_another_process(tokenizer: Tokenizer) -> None:
    copy: Tokenizer = pickle.loads(pickle.dumps(tokenizer))
    assert torch.equal(copy.encode(["a dog"]), tokenizer.encode(["a dog"]))


def zipped(lines: list[str]) -> bytes:
    return gzip.compress("\n".join(lines).encode(), compresslevel=1)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read"),
        (b"#version: 0.2\ni n\n", r"holds merges as plain text: compress it \(gzip -n\)"),
        (gzip.compress(b"#version: 0.2\r\ni n\r\n"), "its lines end in CR LF"),
        (gzip.compress(b"#version: 0.2\n" + bytes(17 << 20), 1), "holds more than 16,777,216 bytes"),
        (zipped(["#version: 0.2", "i n"])[:-9], "cannot be read"),
        (gzip.compress(b"\xff\xfe"), "cannot be read"),
        (zipped(["#version: 0.2"]), "holds no '#version' line followed by merges"),
        (zipped(["i n"] * (MERGES + 5)), "holds no '#version' line"),
        (zipped(["#version: 0.2", "i n", "in g"] + ["x yz"] * MERGES), "line 4 merges what no line before it made"),
        (zipped(["#version: 0.2", "i n x"] + ["x y"] * MERGES), "line 2 merges"),
        (
            zipped(["#version: 0.2", "\u0120 t", "\u0120 a", "h e"]),
            "line 2 has a word that begins with a space, as GPT-2",
        ),
    ],
)
def test_a_wrong_merges_file_is_named(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "merges.txt.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=reason) as caught:
        Tokenizer(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_smaller_vocabulary_is_made_in_the_same_way(tmp_path: Path) -> None:
    path = tmp_path / "own.gz"
    path.write_bytes(zipped(["#version: 0.2", "r e", "re d</w>", ""]))
    tokenizer = Tokenizer(path)
    assert (tokenizer.start, tokenizer.end, tokenizer.vocab) == (514, 515, 516)
    row = tokenizer.encode(["Red re"], context=8)[0].tolist()
    assert row == [514, 513, 81, 68 + 256, 515, 0, 0, 0]
    assert tokenizer.decode(row) == "red re"
