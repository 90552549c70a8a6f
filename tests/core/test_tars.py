"""Tars of strangers: nothing in them takes more memory than what is asked for."""

from __future__ import annotations

import gzip
import io
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import Failure
from core.tars import MAX_HEADER, tar_members
from pipeline.text import wordnet

LARGE = 300_000_000  # bytes


def header(name: str, kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.USTAR_FORMAT)


def write(path: Path, kind: bytes, size: int = LARGE) -> str:
    """A small compressed tar: a header of that kind with that many bytes, then a file."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header("long", kind, size))
        for at in range(0, -(-size // 512) * 512, 1 << 20):
            file.write(b"a" * min(1 << 20, -(-size // 512) * 512 - at))
        file.write(header("data.noun", tarfile.REGTYPE, 4) + b"body".ljust(512, b"\0") + bytes(1024))
    return str(path)


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], str]:
    folder = tmp_path_factory.mktemp("tars")
    return lambda kind: write(folder / f"{kind.hex()}.tar.gz", kind)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_header_that_is_too_large_is_refused_and_not_read(tars: Callable[[bytes], str], kind: bytes) -> None:
    path = tars(kind)
    tracemalloc.start()
    try:
        with pytest.raises(Failure, match=rf"{path} has a header of 300,000,000 bytes .*: write the tar again"):
            list(tar_members(path, 1000))
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_a_dictionary_in_such_a_tar_is_refused(tars: Callable[[bytes], str]) -> None:
    path = tars(tarfile.XHDTYPE)
    with pytest.raises(Failure, match=rf"{path} has a header of 300,000,000 bytes"):
        list(wordnet.synsets(path))


class Lost(io.BytesIO):
    """A file of a store that goes away after its first bytes."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell():
            raise ConnectionResetError("the store has gone")
        return super().read(size)


def test_a_store_that_goes_away_has_damaged_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.tar.gz", tarfile.REGTYPE, 20 << 20)
    monkeypatch.setattr("core.tars.open_input", lambda path: Lost(Path(path).read_bytes()))
    with pytest.raises(
        Failure, match=rf"{path} cannot be read \(.*the store has gone.* then run the same command again"
    ):
        list(tar_members(path, LARGE))


@pytest.mark.parametrize("body", [b"no tar", b"\x1f\x8b" + bytes(100)])
def test_a_damaged_tar_is_said_to_be(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(body)
    with pytest.raises(Failure, match=r"a\.tar is damaged .*: restore it"):
        list(tar_members(str(tmp_path / "a.tar"), 1000))


def test_long_names_are_read(tmp_path: Path) -> None:
    name = "/".join(["folder"] * 100) + "/a.jpg"
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / "a.tar", "w", format=form) as tar:
            info = tarfile.TarInfo(name)
            info.size = 4
            tar.addfile(info, io.BytesIO(b"body"))
        assert list(tar_members(str(tmp_path / "a.tar"), 1000)) == [(name, b"body")]


def test_the_headers_of_many_files_are_not_kept(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", format=tarfile.PAX_FORMAT, compresslevel=1) as tar:
        for n in range(60):
            info = tarfile.TarInfo(f"{n}.jpg")
            info.pax_headers = {"comment": f"{n}".ljust(MAX_HEADER - 100)}
            tar.addfile(info)
    tracemalloc.start()
    try:
        assert len(list(tar_members(str(tmp_path / "a.tar.gz"), 1000))) == 60
        assert tracemalloc.get_traced_memory()[1] < 30 << 20
    finally:
        tracemalloc.stop()
