"""Tokens: what is one word, and what is the same word."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.text.words import is_word, tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A Dog's life", "a dog ' s life"),
        ("St. Louis, (Mo.)", "st . louis , ( mo . )"),
        ("1.5 kg, 3,000.50 or 1. x", "1.5 kg , 3,000.50 or 1 . x"),
        ("C++ AT&T .22-caliber", "c + + at & t . 22 - caliber"),
        ("snow_ball", "snow _ ball"),
        ("ＦＵＬＬ　ｗｉｄｔｈ ﬁne", "full width fine"),
        ("Straße ΟΔΟΣ ΟΔΌΣ", "strasse οδοσ οδόσ"),
        ("dog’s “x” – y", 'dog \' s " x " - y'),
        ("Lego™ Ni\u00adko\u2060n", "lego nikon"),
        ("A brown\u200bdog \u200b x", "a brown dog x"),
        ("\u202bA\u202c \u2066d\u061co\ufeffg\u2069\u200e", "a dog"),
        ("سفره\u200cماهی क\u094d\u200dष", "سفرهماهی क\u094dष"),
        ("cafe\u0301 = café", "café = café"),
        ("हिन्दी भाषा", "हिन्दी भाषा"),
        ("犬が走る dog", "犬 が 走 る dog"),
        ("แมว", "แ ม ว"),
        ("개가 짖는다", "개가 짖는다"),
        ("❤️ 👍🏽", "❤ \ufe0f 👍 🏽"),
        (" \u00a0\t\n", ""),
        ("é1.5b", "é1.5 b"),
        ("e1.5b", "e1.5 b"),
    ],
)
def test_tokens(text: str, expected: str) -> None:
    assert " ".join(tokens(text)) == expected


def test_a_heap_of_marks_on_one_letter_cannot_take_long() -> None:
    began = time.process_time()
    (heap,) = tokens("a" + "\u0301\u0323" * 50_000)
    assert 0 < len(heap) < 50 and time.process_time() - began < 5
    word = "e" + "\u0323\u0301" * 5  # as Zalgo writes, in a long text
    assert tokens(f"{word} " * 200) == tokens(word) * 200


@given(st.text(max_size=50))
def test_no_character_that_is_seen_is_lost(text: str) -> None:
    found = tokens(text)
    assert all(token and " " not in token for token in found)
    if text.isascii():
        assert "".join(found) == "".join(text.lower().split())
        assert tokens(" ".join(found)) == found


@given(st.text(alphabet="aZ09.,-_' \t", max_size=40))
def test_ascii_text_has_the_same_tokens_among_others(text: str) -> None:
    """The fast way for ASCII and the other agree, or a query would not be found next to an accent."""
    assert tokens(f"{text} é")[:-1] == tokens(text)


def test_is_word() -> None:
    assert [token for token in tokens("A 5-year-old's café, 犬!") if is_word(token)] == "a 5 year old s café 犬".split()  # noqa: SIM905
