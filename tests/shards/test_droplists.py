"""Lists of keys: what tools make of them is read, and what is no key is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import Failure
from shards.droplists import read_keys

A, B = "0f" * 16, "a1" * 16
BOTH = {bytes.fromhex(A), bytes.fromhex(B)}


@pytest.mark.parametrize(
    "data",
    [
        f"{A}\n{B}\n".encode(),
        f"# a comment\n\n{A}\n{B}\n{A}".encode(),
        f"\ufeffkey\r\n{A}\r\n{B.upper()}\r\n".encode(),
        f"image_id\n{A}\n{B}\n".encode("utf-16"),
        f'"__key__"\n"{A}"\n\'{B}\'\n'.encode(),
        f"  {A}.jpg \n./00001/{B}.json\n".encode(),
    ],
)
def test_two_keys(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "drop.txt"
    path.write_bytes(data)
    assert read_keys(str(path)) == BOTH


def test_none_is_none(tmp_path: Path) -> None:
    path = tmp_path / "drop.txt"
    path.write_bytes(b"# nothing leaked\n")
    assert read_keys(str(path)) == set()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (f"{A}\n{B[:-1]}\n".encode(), "line 2 is no key ('a1"),
        (f"{A}\nkey\n".encode(), "line 2 is no key ('key')"),
        (f"{A},0.3\n".encode(), "line 1 is no key"),
        (b"http://a.test/1.jpg\n", "line 1 is no key ('http://a.test/1.jpg')"),
        (b"\xff\xd8\xff\xe0", "is no list of keys"),
    ],
)
def test_what_is_no_key_is_named(data: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "drop.txt"
    path.write_bytes(data)
    with pytest.raises(Failure, match=r"drop\.txt") as error:
        read_keys(str(path))
    assert says in str(error.value)
