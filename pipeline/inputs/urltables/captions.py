"""The captions of a row: of its first column that has any, one or those of a list, also of one written as text."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pipeline.inputs.urltables.tablecolumns import as_text

_MAX_LIST = 100_000  # characters of a cell that is looked at as a list
_FIELDS = ("raw", "caption", "sentence", "text")  # of an object that is a caption: COCO's and what comes of it
# What programs write for nothing; texts all the same where a row has no others.
_NOTHING = frozenset({"null", "nan", "na", "n/a", "none", "<na>", r"\n", "[]", "{}"})

# A list as Python, numpy (between whose items no comma stands) and JSON print it.
_QUOTED = r"'(?:[^'\\]|\\.)*+'|\"(?:[^\"\\]|\\.)*+\""
_ITEM = re.compile(rf"\s*+(?:(?P<text>{_QUOTED})|None|nan|null)(?=[\s,\]])", re.DOTALL)
_BETWEEN = re.compile(r"\s*+,?\s*+")


def captions(row: Mapping[str, Any], columns: Sequence[str]) -> tuple[str, ...] | None:
    """The captions of the first column that has text; a word for nothing counts only where no column has another.

    None where no column has texts and one has something else.
    """
    spare: tuple[str, ...] = ()
    wrong = False
    for name in columns:
        texts = texts_of(row.get(name))
        if texts is None:
            wrong = True
        elif any(map(_says_something, texts)):
            return texts
        elif not any(map(str.strip, spare)):
            spare = texts or spare
    return None if wrong and not any(map(str.strip, spare)) else spare


def _says_something(text: str) -> bool:
    return bool(text := text.strip()) and text.casefold() not in _NOTHING


def texts_of(value: Any) -> tuple[str, ...] | None:
    """The captions of a cell: one, or those of a list; None where it is neither."""
    if isinstance(value, str) and value[:1] == "[" and value.rstrip().endswith("]"):
        value = _listed(value) or value
    if not isinstance(value, (list, tuple)):
        text = as_text(value)
        return None if text is None else (text,) if text else ()
    found = [as_text(_field(part)) for part in value]
    return None if None in found else tuple(text for text in found if text)


def _field(part: Any) -> Any:
    """The text of an item of a list: itself, or what an object calls its caption."""
    if not isinstance(part, Mapping):
        return part
    return next((part[name] for name in _FIELDS if isinstance(part.get(name), str)), part)


def _listed(cell: str) -> list[Any] | None:
    """The texts of a cell that is a list of nothing else, as a program has printed it."""
    if len(cell) > _MAX_LIST:
        return None
    with suppress(ValueError, RecursionError):
        found = json.loads(cell)
        texts = [_field(part) for part in found if part is not None]
        return texts if all(isinstance(text, str) for text in texts) else None
    texts, at = [], 1
    while match := _ITEM.match(cell, at):
        if match["text"]:
            try:
                texts.append(ast.literal_eval(match["text"].replace("\n", "\\n").replace("\r", "\\r")))
            except (ValueError, SyntaxError):
                return None
        between = _BETWEEN.match(cell, match.end())
        at = between.end() if between else match.end()
    return texts if cell[at:].strip() == "]" else None
