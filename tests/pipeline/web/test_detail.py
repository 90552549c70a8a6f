"""Details: one printable line, whatever a stranger put in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.web.detail import MAX_DETAIL_CHARS, of_error, one_line


@given(st.text())
def test_one_line(text: str) -> None:
    line = one_line(text * 10)
    assert line.isprintable()
    assert len(line) == min(MAX_DETAIL_CHARS, len(text * 10))
    line.encode()


@pytest.mark.parametrize(
    ("error", "expected"),
    [(OSError("no\nroute"), "OSError: no route"), (TimeoutError(), "TimeoutError"), (KeyError("a"), "KeyError: 'a'")],
)
def test_of_error(error: Exception, expected: str) -> None:
    assert of_error(error) == expected
