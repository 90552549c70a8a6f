"""Where the archive of a site is while the site is visited."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

from core.errors import Failure


class TemporaryArchive:
    """A temporary file that an archive is written to and read from. Failure where the disk does not take it.

    That is said here, and not around the visit, which writes elsewhere too: its lease and its parts, to the output.
    """

    def __init__(self, domain: str) -> None:
        self._domain = domain
        with self._said():
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)

    def write(self, data: bytes) -> int:
        with self._said():
            return self._file.write(data)

    def seek(self, offset: int) -> int:
        with self._said():
            return self._file.seek(offset)  # what was not written yet is, first

    def read(self, size: int = -1, /) -> bytes:
        with self._said():
            return self._file.read(size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # of what is thrown away
            self._file.close()

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            folder = tempfile.tempdir or "a temporary file"  # None where every folder refused
            raise Failure(
                f"cannot write the pages of {self._domain} to {folder} ({error}): free some disk, or set TMPDIR to a "
                "folder with more room"
            ) from error
