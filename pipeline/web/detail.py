"""Details of failures: what a person reads beside a reason, though strangers had a hand in the words."""

from __future__ import annotations

MAX_DETAIL_CHARS = 200


def one_line(text: str) -> str:
    """The beginning of a text, printable and without line ends: fit for a cell of a table."""
    return "".join(c if c.isprintable() else " " for c in text[:MAX_DETAIL_CHARS])


def of_error(error: Exception) -> str:
    """The class of an exception and what it says."""
    return one_line(": ".join(filter(None, (type(error).__name__, str(error)))))
