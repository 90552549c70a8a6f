"""Rows of JSON: lists of objects, objects that have such lists (RedCaps), objects one after the other (JSON lines, jq).

Read in pieces: a table of any size takes the memory of its largest row. (By the standard library and not by ijson,
which refuses the NaN that Python and pandas write for what is missing.)
"""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice
from typing import Any, NamedTuple

from pipeline.inputs.urltables.delimited import lines
from pipeline.inputs.urltables.tablefile import Damaged

MAX_VALUE = 16 << 20  # characters of a row, or of a value beside the rows
_SPACE = re.compile(r"[ \t\r\n\ufeff\x1e]*+")  # \x1e stands before each value of a sequence (RFC 7464)
_AROUND = b" \t\r\x1e"  # a value in its line


def _integer(text: str) -> int | str:
    """An integer; as text where it has more digits than Python converts."""
    try:
        return int(text)
    except ValueError:
        return text


_DECODER, _PATIENT = json.JSONDecoder(), json.JSONDecoder(parse_int=_integer)  # which takes longer


def _decode(text: str, at: int) -> tuple[Any, int]:
    """The value that begins there, and where it ends; ValueError, or RecursionError where it is nested too deep."""
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return _PATIENT.raw_decode(text, at)


class Item(NamedTuple):
    """A value where a row is expected; without one where there is no JSON, for the reason given."""

    value: Any
    place: int  # number of the line, or of the item in its list, from 1
    reason: str = ""
    text: str = ""


class _Text:
    """A JSON text that is read on as it is looked at."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks, self._decoder = iter(chunks), codecs.getincrementaldecoder("utf-8")("replace")
        self._text, self._at, self._ended = "", 0, False

    def _more(self, n: int) -> bool:
        """At least n characters more, if there are any."""
        pieces, size = [self._text[self._at :]], 0
        while size < n and not self._ended:
            data = next(self._chunks, b"")
            self._ended = not data
            pieces.append(self._decoder.decode(data, final=self._ended))
            size += len(pieces[-1])
        self._text, self._at = "".join(pieces), 0
        return size > 0

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            match = _SPACE.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more(1):
                return ""

    def ahead(self) -> str:
        """Some of what comes next."""
        return self._text[self._at : self._at + 1000]

    def take(self, signs: str) -> str:
        """That character, which has to be one of these."""
        sign = self.peek()
        if not sign or sign not in signs:
            raise Damaged(ValueError(f"{sign or 'the end'!r} where one of {signs!r} should be"))
        self._at += 1
        return sign

    def value(self) -> Any:
        """The next value, whole. Each try reads twice what the one before had, so that all cost but twice the last."""
        self.peek()
        while True:
            try:
                found, end = _decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                waiting = len(self._text) - self._at
                if waiting > MAX_VALUE or isinstance(error, RecursionError) or not self._more(max(waiting, 1 << 16)):
                    raise Damaged(error) from error
                continue
            # A number, true or false may go on in what was not read yet.
            if end < len(self._text) or not self._more(1 << 16):
                self._at = end
                return found


def items(chunks: Iterable[bytes], of: Collection[str] = ()) -> Iterator[Item]:
    """The values of the lists that the text is, or that its objects have under some keys; Damaged where it breaks."""
    text = _Text(chunks)
    while text.peek():
        if of:
            for key in _keys(text):
                if key in of:
                    yield from _list(text)
                else:
                    _skip(text)
        else:
            yield from _list(text)


def items_within(chunks: Iterable[bytes], key: str, has: Callable[[Any], bool]) -> Iterator[Item]:
    """The values of the lists that the objects of a list have under a key, if the first of them is as it should be."""
    text = _Text(chunks)
    text.take("[")
    number = 1
    while text.peek() == "{":
        for found in _keys(text):
            if found != key or text.peek() != "[":
                _skip(text)
                continue
            some = _list(text)
            first = next(some, None)
            if first is not None and has(first.value):
                for item in chain([first], some):
                    yield Item(item.value, number)
                    number += 1
            else:
                deque(some, 0)
        if text.take(",]") == "]":
            return


def beginning(chunks: Iterable[bytes]) -> str:
    """The first characters of a text."""
    text = _Text(chunks)
    text.peek()
    return text.ahead()


def in_sequence(chunks: Iterable[bytes]) -> Iterator[Item]:
    """The values of a text that has one after the other, on any number of lines; Damaged where it breaks."""
    text, number = _Text(chunks), 1
    while text.peek():
        yield Item(text.value(), number)
        number += 1
        if text.peek() == ",":
            text.take(",")


def lists(chunks: Iterable[bytes]) -> Iterator[tuple[str, Any]]:
    """Of a text of objects: each key whose value is a list, with the first item of it (None where empty)."""
    text = _Text(chunks)
    while text.peek():
        for key in _keys(text):
            if text.peek() == "[":
                some = _list(text)
                yield key, next(some, Item(None, 0)).value
                deque(some, 0)
            else:
                text.value()


def first_object(chunks: Iterable[bytes]) -> tuple[list[str], bool]:
    """The keys of plain values of the object that a text begins with, and whether another object follows.

    Up to any damage: it is met again where the rows are read.
    """
    text, names = _Text(chunks), list[str]()
    with suppress(Damaged):
        for key in _keys(text):
            if text.peek() not in "[{":
                names.append(key)
            _skip(text)
        if text.peek() == ",":
            text.take(",")
        return names, text.peek() == "{"
    return names, False


def in_lines(chunks: Iterable[bytes], notes: Counter[str]) -> Iterator[Item]:
    """A value a line; blank lines are counted in `notes`."""
    for number, line in enumerate(lines(chunks), 1):
        if line is None:
            yield Item(None, number, "line_too_long")
        elif not (line := line.strip(_AROUND)):
            notes["blank_lines"] += 1
        else:
            text = line.removesuffix(b",").rstrip(_AROUND).decode("utf-8", "replace")  # a comma: of a list's lines
            try:
                value, end = _decode(text, 0)
            except (ValueError, RecursionError):
                end = -1
            yield Item(value, number) if end == len(text) else Item(None, number, "not_json", text[:1000])


def goes_on(chunks: Iterable[bytes]) -> bool:
    """Whether the first line of a text is no value but the beginning of one, which its second line goes on with."""
    first, second = [*islice((line for line in lines(chunks) if line is None or line.strip(_AROUND)), 2), b"", b""][:2]
    if first is None or second is None:
        return first is not None
    return _breaks_off(first) is True and _breaks_off(first + b"\n" + second) is not False


def _breaks_off(data: bytes) -> bool | None:
    """Whether JSON is wrong for nothing but its end; None where nothing is wrong."""
    text = data.strip(_AROUND).decode("utf-8", "replace")
    try:
        _decode(text, 0)
    except json.JSONDecodeError as error:
        return error.pos >= len(text)
    except RecursionError:
        return False
    return None


def _skip(text: _Text) -> None:
    if text.peek() == "[":
        deque(_list(text), 0)
    else:
        text.value()


def _list(text: _Text) -> Iterator[Item]:
    text.take("[")
    if text.peek() == "]":
        text.take("]")
        return
    number = 1
    while True:
        if text.peek() == "]":
            raise Damaged(ValueError("a comma stands before the end of a list, which JSON does not know: take it away"))
        yield Item(text.value(), number)
        number += 1
        if text.take(",]") == "]":
            return


def _keys(text: _Text) -> Iterator[str]:
    """The keys of an object, each with its value still to be taken."""
    text.take("{")
    if text.peek() == "}":
        return
    while True:
        if text.peek() == "}":
            raise Damaged(
                ValueError("a comma stands before the end of an object, which JSON does not know: take it away")
            )
        if text.peek() != '"':
            raise Damaged(ValueError("an object without a key"))
        key = text.value()
        text.take(":")
        yield key
        if text.take(",}") == "}":
            return
