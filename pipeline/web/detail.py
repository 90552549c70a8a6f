"""Details of failures: what a person reads beside a reason, though strangers had a hand in the words."""

from __future__ import annotations

import re

from core.errors import describe

MAX_DETAIL_CHARS = 200
_USER = re.compile(r"(:[/\\]{0,8}|[/\\]{2})[^/\\?#\s]{0,1024}@")


def one_line(text: str) -> str:
    """The beginning of a text, printable and without line ends: fit for a cell of a table."""
    return "".join(c if c.isprintable() else " " for c in text[:MAX_DETAIL_CHARS])


def of_error(error: Exception) -> str:
    """The class of an exception and what it says."""
    return one_line(describe(error))


def without_user(text: str) -> str:
    """The text with "…" for the user and password of every URL in it: they are nobody's to read."""
    return _USER.sub(r"\1…@", text) if "@" in text else text
