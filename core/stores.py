"""Object stores: small files that only one of many can create there, and what a store's errors mean.

Libraries of stores (s3fs, gcsfs, adlfs …) ask again by themselves for a while, and have exceptions of their own. So an
error is judged by the HTTP status that came with it, and "it exists already" may be the answer to a second request of
which the first succeeded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from core.errors import Failure, describe

_PATIENCE_SECONDS = 30.0  # for a store that answers "later" or not at all; its library was patient before
_LONGEST_PAUSE = 2.0  # seconds
_SMALL = 64 << 10  # bytes
_LATER = {408, 409, 425, 429}  # HTTP: too slow, another's request is under way, too early, too many; beside 5xx
_NO_ANSWER = {"TimeoutError", "ConnectionError", "HTTPClientError", "ClientConnectionError", "ClientPayloadError"}


def store_of(path: str) -> str:
    """The scheme and the bucket of a path, to name a store in a message: s3://bucket."""
    scheme, is_url, rest = path.partition("://")
    if not is_url:
        return "the disk"
    return f"{scheme}://{rest.partition('/')[0].rpartition('@')[2]}"


def not_exclusive(path: str) -> Failure:
    """What to say of a store on which two can create the same file."""
    return Failure(
        f"{store_of(path)} lets a file be created twice, so that two runs could not be kept apart: use a store that "
        "honours If-None-Match, or move the recipe's run.out to a disk that all workers share"
    )


def create_object(fs: Any, inner: str, path: str, data: bytes) -> bool:
    """Create a file on a store; False if there is another's. `data`: what nobody else would write under this name."""
    end = time.monotonic() + _PATIENCE_SECONDS
    pause = 0.05
    while True:
        try:
            return _create_once(fs, inner, data)
        except Exception as error:
            if _status(error) == 501:
                raise not_exclusive(path) from error
            if not may_pass(error):
                raise
            if time.monotonic() + pause >= end:
                raise Failure(
                    f"{store_of(path)} did not create {path} within {_PATIENCE_SECONDS:.0f} seconds "
                    f"({describe(error)}): see that the store is up and not overloaded, then run again"
                ) from error
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _create_once(fs: Any, inner: str, data: bytes) -> bool:
    try:
        fs.pipe_file(inner, data, mode="create")
        return True
    except Exception as error:
        if not isinstance(error, FileExistsError) and _status(error) != 412:
            raise
    return read_small(fs, inner, len(data) + 1) == data  # ours, if an answer to an earlier try was lost


def read_small(fs: Any, inner: str, most: int = _SMALL) -> bytes | None:
    """The first bytes of a file, by one request; None where there is no such file. Files of disks are read as well."""
    try:
        return bytes(fs.cat_file(inner, start=0, end=most))  # without an end s3fs asks for the size before it reads
    except FileNotFoundError:
        return None
    except OSError as error:
        if _status(error) == 416:  # no such range: it is empty
            return b""
        raise


def may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed a little later: the store was busy, broken or not to be reached."""
    status = _status(error)
    if status:
        return status in _LATER or (status >= 500 and status != 501)
    return any(kind.__name__ in _NO_ANSWER for kind in type(error).__mro__)


def is_io_error(error: BaseException) -> bool:
    """Whether a disk or a store did not give the bytes. Else they are damaged: a library that cannot decode what it was
    given raises an OSError, too, but one without a number.
    """
    return may_pass(error) or (isinstance(error, OSError) and error.errno is not None)


def _status(error: BaseException) -> int:
    """The HTTP status that an exception came of; 0 if it came of none."""
    for some in _causes(error):
        response = getattr(some, "response", None)  # botocore's
        if isinstance(response, dict):
            return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        for name in ("status_code", "status", "code"):  # azure's, aiohttp's, gcsfs'
            value = getattr(some, name, None)
            if isinstance(value, int) and 100 <= value < 600:
                return value
    return 0


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
