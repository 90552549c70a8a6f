"""Object stores on 127.0.0.1: moto, quick and lenient; MinIO, a real one; and a proxy that misbehaves as others do.

The fixtures `moto`, `minio` and `proxy` (in front of each of them, tests/proxy.py) are in conftest.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest

MINIO = "v0.0.0-20260212201848-7aac2a2c5b7c"  # as Go's module proxy names the release
_PATIENCE_SECONDS = 900  # for building it: two minutes on two cores, most of it downloading
KEYS = {
    "AWS_ACCESS_KEY_ID": "openwit",
    "AWS_SECRET_ACCESS_KEY": "openwit-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}

_connected_to: list[str] = []  # the endpoint that s3fs' clients in this process were made for


def environment(endpoint: str) -> dict[str, str]:
    """What a process must find in its environment to use the store at this URL."""
    return {**KEYS, "AWS_ENDPOINT_URL": endpoint}


@contextmanager
def used(endpoint: str) -> Iterator[Mapping[str, str]]:
    """While the block runs `s3://` is this store, for this process and for those that it starts."""
    values = environment(endpoint)
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    if _connected_to != [endpoint]:  # making a client takes a second
        forget_connections()
        _connected_to[:] = [endpoint]
    try:
        yield values
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def forget_connections() -> None:
    """s3fs keeps what it was made for, whatever the environment says later."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def new_bucket() -> str:
    """The name of a bucket that nobody has used, in the store that is used."""
    name = f"wit-{uuid.uuid4().hex[:12]}"
    fsspec.filesystem("s3").mkdir(name)
    return name


# ── stores ────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def run_moto() -> Iterator[str]:
    """The URL of a store that is a thread of this process. It verifies no signature."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line a request
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def run_minio(data: Path) -> Iterator[str]:
    """The URL of a MinIO that keeps its objects below `data`. Skips the test where there is no Go to build it."""
    program, port = minio_program(), _free_port()
    words = [str(program), "server", "--quiet", "--address", f"127.0.0.1:{port}", str(data)]
    settings = {
        "MINIO_ROOT_USER": KEYS["AWS_ACCESS_KEY_ID"],
        "MINIO_ROOT_PASSWORD": KEYS["AWS_SECRET_ACCESS_KEY"],
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
        "HOME": str(data),
    }
    log = data.with_name(f"{data.name}.log")
    with log.open("wb") as said:
        process = subprocess.Popen(words, env={**os.environ, **settings}, stdout=said, stderr=subprocess.STDOUT)
    try:
        _wait_until_it_answers(f"http://127.0.0.1:{port}/minio/health/ready", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def minio_program() -> Path:
    """MinIO's program, built once and kept in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "openwit" / "tests"
    program = cache / f"minio-{MINIO}"
    if not program.exists():
        go = shutil.which("go")
        if go is None:
            pytest.skip("there is no Go to build MinIO with: install Go 1.24 or later")
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".tmp-") as folder:
            done = subprocess.run(
                [go, "install", f"github.com/minio/minio@{MINIO}"],
                env={**os.environ, "GOBIN": folder},
                capture_output=True,
                text=True,
                timeout=_PATIENCE_SECONDS,
                check=False,
            )
            assert done.returncode == 0, f"MinIO could not be built:\n{done.stderr[-2000:]}"
            (Path(folder) / "minio").replace(program)
    return program


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while True:
        assert process.poll() is None and time.monotonic() < end, f"MinIO did not start:\n{log.read_text()[-2000:]}"
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.05)
