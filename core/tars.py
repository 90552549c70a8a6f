"""The files of a tar that strangers made, read as a stream."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Iterator

from core.errors import Failure
from core.files import open_input


def tar_members(
    path: str, max_bytes: int, wanted: Callable[[str], bool] = lambda name: True
) -> Iterator[tuple[str, bytes]]:
    """The files of a tar, compressed or not, in its order: name, bytes. Failure if it is damaged or one is larger.

    Of a file whose name is not wanted there are no bytes, whatever its size.
    """
    try:
        with open_input(path) as file, tarfile.open(fileobj=file, mode="r|*") as tar:
            for member in tar:
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
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise Failure(f"{path} is damaged ({error}): restore it, or give another") from error
