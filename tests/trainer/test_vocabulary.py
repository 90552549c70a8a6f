"""Merges learnt from captions: the plain algorithm's, the same bytes every time, read back as OpenAI's are."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
import tempfile
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import openwit
from core.manifest import read_manifest
from tests.running import ROOT, environment
from tests.shards.helpers import make_pack
from trainer.tokenizer import END_OF_WORD, MERGES, Tokenizer
from trainer.vocabulary import MAX_WORD, Pair, count_words, learn, to_file, words_of

CAPTIONS = ["A low lowland", "the lower, the lowest", "new NEWER newest; wider", "日本語 日本語", "it's it's"]


def plain(words: dict[str, int], most: int) -> list[Pair]:
    """The same merges by counting every pair of every word anew for each."""
    spelt = {(*word[:-1], word[-1] + END_OF_WORD): n for word, n in words.items()}
    merges: list[Pair] = []
    while len(merges) < most:
        counts: Counter[Pair] = Counter()
        for word, n in spelt.items():
            for pair in pairwise(word):
                counts[pair] += n
        if not counts or max(counts.values()) < 2:
            break
        merges.append(min(counts, key=lambda pair: (-counts[pair], " ".join(pair).encode())))
        after: Counter[tuple[str, ...]] = Counter()
        for word, n in spelt.items():
            after[_after(word, *merges[-1])] += n
        spelt = dict(after)
    return merges


def _after(word: tuple[str, ...], left: str, right: str) -> tuple[str, ...]:
    for at in range(len(word) - 1):
        if word[at : at + 2] == (left, right):
            return (*word[:at], left + right, *_after(word[at + 2 :], left, right))
    return word


@given(
    st.dictionaries(st.text("ab", min_size=1, max_size=9) | st.text("abcé", min_size=1, max_size=5), st.integers(1, 4))
)
def test_merges_are_those_of_the_plain_algorithm(words: dict[str, int]) -> None:
    assert learn(words, 40) == plain(words, 40)


@given(st.permutations(sorted(count_words(CAPTIONS).items())))
def test_the_order_of_words_changes_nothing(words: list[tuple[str, int]]) -> None:
    assert learn(dict(words)) == plain(dict(count_words(CAPTIONS)), MERGES)


def test_of_pairs_that_stand_in_equally_many_places_the_first_line_is_merged() -> None:
    assert learn({"ba": 2, "ab": 2, "zé": 2}, 2) == [("a", f"b{END_OF_WORD}"), ("b", f"a{END_OF_WORD}")]


def test_what_stands_once_is_not_merged() -> None:
    assert learn({"once": 1}) == []
    assert learn({"aaaa": 1}) == [("a", "a")]  # which stands twice in it, and "aa" "a</w>" once


def test_a_long_word_is_none(tmp_path: Path) -> None:
    assert learn({"a" * MAX_WORD: 1}) and learn({"a" * (MAX_WORD + 1): 9}) == []


def test_a_file_is_read_back_as_it_was_learnt(tmp_path: Path) -> None:
    """By our tokenizer, and line by line as OpenAI's reader does, which takes an empty last line for a merge."""
    path = tmp_path / "own.txt.gz"
    merges = learn(count_words(CAPTIONS))
    path.write_bytes(to_file(merges))
    header, *lines = gzip.decompress(path.read_bytes()).decode().split("\n")
    assert header == "#version: 0.2" and [tuple(line.split()) for line in lines] == merges
    tokenizer = Tokenizer(path)
    assert tokenizer.vocab == 512 + len(merges) + 2
    row = tokenizer.encode(["Lower LOW 日本語"])[0].tolist()
    assert row.index(tokenizer.end) - 1 == len(["lowe", "r", "lo", "w", "日本語"])
    assert tokenizer.decode(row) == "lower low 日本語"


@given(st.lists(st.text("ab", min_size=1, max_size=12), min_size=1, max_size=8))
def test_whatever_was_learnt_is_read_back(texts: list[str]) -> None:
    """Also where one piece is made in two ways, as of these two letters."""
    merges = learn(count_words(texts * 2))
    with tempfile.NamedTemporaryFile(suffix=".gz") as file:
        Path(file.name).write_bytes(to_file(merges or [("a", "b")]))
        tokenizer = Tokenizer(file.name)
    for text in texts:
        row = tokenizer.encode([text])[0].tolist()
        assert tokenizer.decode(row) == text
        assert row.index(tokenizer.end) == 2 or not merges  # a word that was seen twice is one token


def test_neither_hashes_nor_processes_change_a_byte(tmp_path: Path) -> None:
    samples = [(f"http://a.test/{i}.png", b"%d" % i, [f"{text} {i % 7}", text]) for i, text in enumerate(CAPTIONS * 4)]
    make_pack(tmp_path / "pack", samples, shards=3)
    manifest = read_manifest(str(tmp_path / "pack"))
    assert manifest is not None
    one, two = (words_of(manifest, workers) for workers in (1, 2))
    assert one == two and one[1] == 2 * len(samples)
    assert one[0] == count_words(text for _, _, texts in samples for text in texts)
    code = (
        "import hashlib, sys; from trainer.vocabulary import *;"
        f"print(hashlib.sha256(to_file(learn(count_words({CAPTIONS!r})))).hexdigest(), 'torch' in sys.modules)"
    )
    expected = hashlib.sha256(to_file(learn(count_words(CAPTIONS)))).hexdigest()
    for seed in ("1", "2"):
        env = environment({"PYTHONHASHSEED": seed})
        ran = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True
        )
        assert ran.stdout.split() == [expected, "False"]  # and without torch, which it does not need


# ── the command ──


@pytest.fixture
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Captions are read in this process: others, which read the same, take seconds to start."""
    monkeypatch.setattr("trainer.vocabulary.cores", lambda: 1)


def test_the_command_learns_from_a_pack(tmp_path: Path, one_core: None, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "out" / "6_pack"
    make_pack(folder, [(f"http://a.test/{i}.png", b"%d" % i, ["the red circle", "the red square"]) for i in range(5)])
    assert openwit.main(["vocabulary", "--pack", str(folder)]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert f" words in 10 captions → {tmp_path}/out/vocabulary.txt.gz in " in said and "as many as stand in" in said
    made = (tmp_path / "out" / "vocabulary.txt.gz").read_bytes()
    assert (Tokenizer(tmp_path / "out" / "vocabulary.txt.gz").encode(["red circle"])[0] != 0).sum() == 4
    recipe = tmp_path / "own.toml"
    recipe.write_text(f'[run]\nout = "{tmp_path}/out"\n')
    few = ["vocabulary", "--recipe", str(recipe), "--merges", "3", "--to", str(tmp_path / "few.gz")]
    assert openwit.main(few) == 0
    assert gzip.decompress((tmp_path / "few.gz").read_bytes()).splitlines() == gzip.decompress(made).splitlines()[:4]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--merges", "0"], 2, "--merges 0: a tokenizer reads 1 to 48,894 of them"),
        (["--merges", "48895"], 2, "--merges 48895: a tokenizer reads"),
        (
            ["--pack", "pack", "--to", "pack"],
            2,
            "--to pack is a folder: name a file, for example pack/vocabulary.txt.gz",
        ),
        (["--pack", "nowhere"], 2, "nowhere is not a finished pack"),
        ([], 2, "vocabulary reads what pack makes, and"),
        (["--pack", "pack"], 1, "no two letters stand together in 2 places of the 1 captions of pack"),
    ],
)
def test_what_it_cannot_learn_from_is_said(
    tmp_path: Path,
    one_core: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    status: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    make_pack("pack", [("http://a.test/1.png", b"1", ["cat"])])
    Path("own.toml").write_text('[run]\nout = "out"\n')
    assert openwit.main(["vocabulary", "--recipe", "own.toml", *words]) == status
    assert f"vocabulary: {said}" in capsys.readouterr().err
    assert not list(tmp_path.rglob("vocabulary.txt.gz"))
