"""Lists of keys to leave out of a pack: a key a line, as `openwit decontaminate` writes them, or as other tools do.

A key is an image_id: 32 hex digits, the name of a sample in its tar. Accepted is what spreadsheets and shells make of
such a list: byte order marks, UTF-16, CRLF, quotes, capitals, empty lines, a sample's file name (KEY.jpg), a line
"key", "image_id" or "__key__" above them. Lines that begin with # are comments. Anything else in a line is an error.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from core.errors import Failure
from core.files import read_bytes
from core.texts import marked_encoding

_KEY = re.compile(r"[0-9a-f]{32}")
_HEADERS = {"key", "image_id", "__key__"}


def read_keys(path: str) -> set[bytes]:
    """The ids that a list names. Failure names the line that is none; a list without any is one that drops nothing."""
    data = read_bytes(path)
    try:
        text = data.decode(marked_encoding(data))
    except UnicodeDecodeError as error:
        raise Failure(f"{path} is no list of keys ({error}): write one as UTF-8 text, 32 hex digits a line") from None
    found: set[bytes] = set()
    first = True
    for number, line in enumerate(text.splitlines(), start=1):
        word = line.strip().strip("\"'").strip()
        if not word or word.startswith("#"):
            continue
        key = PurePosixPath(word.lower()).name.split(".")[0]
        if _KEY.fullmatch(key):
            found.add(bytes.fromhex(key))
        elif not (first and word.lower() in _HEADERS):
            raise Failure(
                f"{path}, line {number} is no key ({word[:60]!r}): give the 32 hex digits of an image_id, and nothing "
                "else in the line"
            )
        first = False
    return found
