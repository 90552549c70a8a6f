"""The files of a tar that strangers made, read as a stream, in bounded memory."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Self, cast

from core.errors import Failure
from core.files import open_input, unreadable
from core.stores import is_io_error

MAX_HEADER = 1 << 20  # bytes of a long name or of pax records; tarfile reads them whole
_READ_WHOLE = {
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
}


def bounded(path: str) -> type[tarfile.TarInfo]:
    """What `tarfile.open` is given as `tarinfo`: Failure names the tar where a header is too large to be read whole."""

    class Bounded(tarfile.TarInfo):
        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
            found = super().frombuf(buf, encoding, errors)
            if found.type in _READ_WHOLE and not 0 <= found.size <= MAX_HEADER:
                raise Failure(
                    f"{path} has a header of {found.size:,} bytes before one of its files (a name, or pax records), "
                    f"and at most {MAX_HEADER:,} are read: write the tar again with plain names, or give another"
                )
            return found

    return Bounded


def tar_members(
    path: str, max_bytes: int, wanted: Callable[[str], bool] = lambda name: True
) -> Iterator[tuple[str, bytes]]:
    """The files of a tar, compressed or not, in its order: name, bytes. Failure if it is damaged or one is larger.

    Of a file whose name is not wanted there are no bytes, whatever its size.
    """
    try:
        with open_input(path) as file, tarfile.open(fileobj=file, mode="r|*", tarinfo=bounded(path)) as tar:
            while member := tar.next():
                cast(Any, tar).members = []  # where it would keep the headers of all files, each with its pax records
                if not member.isfile():
                    continue
                if not wanted(member.name):
                    yield member.name, b""
                    continue
                if member.size > max_bytes:
                    raise Failure(
                        f"{member.name} in {path} has {member.size:,} bytes: take out files over {max_bytes:,}"
                    )
                body = tar.extractfile(member)
                assert body is not None  # it is a file
                yield member.name, body.read()
    except Exception as error:
        if is_io_error(error):
            raise unreadable(path, error) from error
        if not isinstance(error, tarfile.TarError | EOFError | OSError | zlib.error):
            raise
        raise Failure(f"{path} is damaged ({error}): restore it, or give another") from error
