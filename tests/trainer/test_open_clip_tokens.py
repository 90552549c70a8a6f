"""Our tokenizer against open_clip's, which is OpenAI's, on every text of OPENWIT_DATA and on hard ones.

open_clip runs in an environment of its own, `benchmarks/peers/open_clip_train.txt`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selectolax.lexbor import LexborHTMLParser

from benchmarks import peers
from trainer.tokenizer import Tokenizer

PEER = """
import sys, json, open_clip
with open(sys.argv[1]) as file:
    texts = json.load(file)
tokenizer = open_clip.tokenizer.SimpleTokenizer()
answers = [tokenizer(text)[0].tolist() for text in texts]
with open(sys.argv[2], "w") as file:
    json.dump(answers, file)
"""

MOST = 5_000  # texts of a kind

HARD = [
    "👩‍👩‍👧‍👦 family 👍🏽 🏳️‍🌈 e\N{COMBINING ACUTE ACCENT}\N{VARIATION SELECTOR-16}",
    "שלום עולם مرحبا بالعالم \N{RIGHT-TO-LEFT OVERRIDE}abc\N{POP DIRECTIONAL FORMATTING} x",
    "日本語の写真 한국어 사진 中文图片 ﾊﾝｶｸ ＦＵＬＬ　ｗｉｄｔｈ",
    "नमस्ते ประเทศไทย Việt Nam ǅ ß ẞ ŉ ſ İstanbul ΑΣ ΣΑΣ",
    "tab\tnul\0bell\aescape\x1b[31mred\x1b[0m del\x7f c1\x85next\x9f us\x1f fs\x1c",
    "zero\u200bwidth\N{ZERO WIDTH NO-BREAK SPACE}joined\N{SOFT HYPHEN}soft\N{LINE SEPARATOR}line",
    "&lt;b&gt;bold&lt;/b&gt; &amp;amp; &amp;amp;amp; &eacute; &#233; &#xE9; &nbsp; &notanentity; &#0; &#x110000;",
    "a <|endoftext|> b",
    "<|startoftext|>a<|endoftext|>",
    "<start_of_text> a <end_of_text>",
    "word " * 2_500,
    "x" * 10_000,
    "ab" * 7_000,
    "日" * 12_000,
    " ",
    "\t\r\n   　 ",
    "",
    "_ __ a_b _a_ '' ' 's 'S DON'T I'LL we'd they've ''' o'clock rock'n'roll",
    "“curly” ‘single’ don’t «guillemets» „low“ ‚low‘ ‹a› ʼn",
    "schÃ¶n cafÃ© â€œquotesâ€\x9d itâ€™s Ã  la",
    "ﬁre ﬂow oﬀer ﬃ ﬄ ﬅ ﬆ Ĳ ĳ Ǆ",
    "½ ² ³ ① Ⅷ ٣ 1,234.56 $100 50% 3½ x²",
    "a\N{NO-BREAK SPACE}b\N{NARROW NO-BREAK SPACE}c\N{IDEOGRAPHIC SPACE}d\N{MONGOLIAN VOWEL SEPARATOR}e",
    "\N{COMBINING ACUTE ACCENT}a\N{COMBINING DIAERESIS}\N{COMBINING CEDILLA}",
    "http://example.org/a?b=c&copy=1&amp;d=%20#e user@example.org C++ #tag @name …",
    "𝓯𝓪𝓷𝓬𝔂 𝕋𝕖𝕩𝕥 🄰 ℌ ™ ℃ Å Ω",
]


def strings(value: Any) -> Iterator[str]:
    """All texts within a json."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings(part)


def texts_by_kind(data: Path) -> dict[str, list[str]]:
    """Texts of each kind, no text twice; of many every so many."""
    kinds: dict[str, list[str]] = {"hard": HARD, "captions": [], "pages": [], "prompts": [], "wiki": []}
    for path in sorted((data / "web").glob("*.pairs.tsv")):
        with path.open(newline="", encoding="utf-8") as file:
            kinds["captions"] += [row["alt"] for row in csv.DictReader(file, delimiter="\t")]
    for path in sorted((data / "web").glob("*/**/*.html")):
        body = LexborHTMLParser(path.read_bytes()).body
        kinds["pages"] += body.text(separator="\n").split("\n") if body else []
    for path in sorted((data / "evalmeta").glob("*.json")):
        kinds["prompts"] += strings(json.loads(path.read_bytes()))
    kinds["prompts"] += (data / "evalmeta" / "clip.prompts.md").read_text(encoding="utf-8").split("\n")
    for path in sorted((data / "queries").glob("wikitext2.*.txt")):
        kinds["wiki"] += path.read_text(encoding="utf-8").split("\n")
    kinds["naughty"] = json.loads((data / "hostile" / "blns" / "blns.json").read_bytes())
    once = {kind: [*dict.fromkeys(texts)] for kind, texts in kinds.items()}
    return {kind: texts[:: -(-len(texts) // MOST)] for kind, texts in once.items()}


def difference(text: str, ours: list[int], theirs: list[int]) -> str:
    """Why the ids of a text are not the same, empty where they are.

    mark: open_clip has names of its own for the two marks, and takes them for the marks where a text spells them. iota:
    ignoring case, its regular expressions take U+0345, an accent whose upper case is a letter, for a letter.
    """
    if ours == theirs:
        return ""
    if "<start_of_text>" in text or "<end_of_text>" in text:
        return "mark"
    return "iota" if "\N{COMBINING GREEK YPOGEGRAMMENI}" in text else "unexplained"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_it_gives_the_ids_of_open_clip(data: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer(data / "tokenizer" / "bpe_simple_vocab_16e6.txt.gz")
    kinds = texts_by_kind(data)
    (tmp_path / "texts.json").write_text(json.dumps([text for texts in kinds.values() for text in texts]))
    peers.run("open_clip_train", "-c", PEER, str(tmp_path / "texts.json"), str(tmp_path / "answers.json"))
    answers = iter(json.loads((tmp_path / "answers.json").read_text()))
    for kind, texts in kinds.items():
        found: dict[str, list[str]] = {}
        for text, ours in zip(texts, tokenizer.encode(texts).tolist(), strict=True):
            found.setdefault(difference(text, ours, next(answers)), []).append(text)
        assert "unexplained" not in found, (kind, found["unexplained"][:5])
        if kind not in {"hard", "naughty"}:
            assert len(found[""]) >= 0.999 * len(texts), {reason: some[:5] for reason, some in found.items()}
