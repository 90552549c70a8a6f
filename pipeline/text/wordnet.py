"""WordNet's synsets, out of its own database files (man 5 wndb): a folder, a zip or tar archive, or Debian's package.

The files are data.noun, data.verb, data.adj and data.adv of WordNet 3.0 or 3.1, wherever they lie in the archive.
"""

from __future__ import annotations

import io
import lzma
import re
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from core.errors import Failure, UsageError
from core.files import read_bytes
from core.tars import bounded

FILES = ("data.adj", "data.adv", "data.noun", "data.verb")
_AR_MAGIC = b"!<arch>\n"


class Synset(NamedTuple):
    """One meaning and the words for it."""

    part_of_speech: str  # n | v | a | s (satellite adjective) | r
    lemmas: tuple[str, ...]  # as WordNet orders them, case kept, spaces for "_"


def synsets(path: str) -> Iterator[Synset]:
    """All synsets, in the order of FILES and of each file (117,659 in WordNet 3.0).

    `path` is a local folder, or an archive wherever fsspec reads it. UsageError if it does not hold the four files,
    Failure if one of them is damaged.
    """
    found = dict(_files(path))
    missing = [name for name in FILES if name not in found]
    if missing:
        raise UsageError(f"{path} holds no {', '.join(missing)}: give WordNet's dict folder, its archive or its .deb")
    for name in FILES:
        for number, line in enumerate(found[name].decode("utf-8", "replace").splitlines(), 1):
            if line.startswith("  "):  # the licence
                continue
            try:
                yield _synset(line)
            except ValueError:
                raise Failure(f"{path}: line {number} of {name} is no synset: get WordNet's files again") from None


def _synset(line: str) -> Synset:
    """`offset file_number pos word_count(hex) (word lex_id)… …`; adjectives may end in a marker such as (a)."""
    _, _, part_of_speech, count, *rest = line.split(" ")
    words = rest[0 : 2 * int(count, 16) : 2]
    if len(words) != int(count, 16):
        raise ValueError(line)
    return Synset(part_of_speech, tuple(re.sub(r"\((?:a|p|ip)\)$", "", word).replace("_", " ") for word in words))


def _files(path: str) -> Iterator[tuple[str, bytes]]:
    """(name, content) of those of FILES that a folder or an archive holds."""
    if Path(path).is_dir():
        for file in sorted(Path(path).rglob("data.*")):
            if file.name in FILES:
                yield file.name, file.read_bytes()
        return
    data = read_bytes(path)
    if not zipfile.is_zipfile(io.BytesIO(data)):
        yield from _files_in_tar(_data_of_deb(data, path) if data.startswith(_AR_MAGIC) else data, path)
        return
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for member in archive.namelist():
            if PurePosixPath(member).name in FILES:
                yield PurePosixPath(member).name, archive.read(member)


def _files_in_tar(data: bytes, path: str) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(fileobj=io.BytesIO(data), tarinfo=bounded(path)) as archive:
            for member in archive:
                file = archive.extractfile(member) if PurePosixPath(member.name).name in FILES else None
                if file:
                    yield PurePosixPath(member.name).name, file.read()
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise UsageError(f"{path} cannot be read as an archive ({error}): give a folder with its files") from error


def _data_of_deb(data: bytes, path: str) -> bytes:
    """The member data.tar.* of a Debian package, which is an ar archive: 60-byte headers, members at even offsets."""
    at = len(_AR_MAGIC)
    while len(header := data[at : at + 60]) == 60:
        name, size = header[:16].decode("ascii", "replace").strip(" /"), int(header[48:58])
        if name.startswith("data.tar"):
            return data[at + 60 : at + 60 + size]
        at += 60 + size + size % 2
    raise UsageError(f"{path} is a package without data: give a folder with WordNet's files")
