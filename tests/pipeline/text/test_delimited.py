"""What lines of cells may cost: a quote that never closes holds no more of a table than a record may have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from pipeline.text import delimited
from pipeline.text.delimited import Layout, lines, records


def test_blank_lines_behind_a_quote_that_never_closes_are_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "MAX_RECORD", 1000)  # bytes, of which a blank line is one
    taken = 0

    def counted(data: bytes) -> list[bytes]:
        return [data[i : i + 100] for i in range(0, len(data), 100)]

    def source(data: bytes) -> Iterator[delimited.Line]:
        nonlocal taken
        for line in lines(counted(data)):
            taken += 1
            yield line

    layout, notes = Layout(b",", ["url", "caption"], 0), Counter[str]()
    read = records(source(b'url,caption\nhttp://a.test/1.jpg,"A dog' + b"\n" * 5000), layout, notes)
    assert next(read).cells == [b"http://a.test/1.jpg", b'"A dog']
    assert taken <= 1100, "lines that were looked at before the quote was taken for text"
    assert list(read) == [] and notes["blank_lines"] == 4999
