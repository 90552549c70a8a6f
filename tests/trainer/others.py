"""Tars as others make them, of the pictures in helpers, and a web server that has them."""

from __future__ import annotations

import io
import itertools
import json
import re
import tarfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from tests.trainer.helpers import COLOURS, picture

Member = tuple[str, bytes]
PAIRS = list(itertools.permutations(COLOURS, 2))


def image(number: int) -> bytes:
    """A picture (PNG, whatever it is called)."""
    return picture(*PAIRS[number % len(PAIRS)])


def caption(number: int) -> str:
    """Its caption, which no other number below 132 has."""
    left, right = PAIRS[number % len(PAIRS)]
    return f"{left} and {right}"


def sample(key: str, number: int) -> list[Member]:
    """The three members of a sample as img2dataset writes them."""
    meta = {"caption": caption(number), "url": f"http://colours.test/{number}.jpg", "key": key, "status": "success"}
    text = caption(number).encode()
    return [(f"{key}.jpg", image(number)), (f"{key}.txt", text), (f"{key}.json", json.dumps(meta).encode())]


def write_tar(path: Path, members: Sequence[Member], form: int = tarfile.USTAR_FORMAT) -> Path:
    """A tar of files, in the given order."""
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def img2dataset_folder(folder: Path, shards: int = 3, each: int = 22) -> Path:
    """What img2dataset leaves: 00000.tar, 00000.parquet and 00000_stats.json, keys 000000000 to 000000021 and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        keys = [f"{shard:05}{i:04}" for i in range(each)]
        members = [sample(key, shard * each + i) for i, key in enumerate(keys)]
        write_tar(folder / f"{shard:05}.tar", [*itertools.chain(*members)])
        pq.write_table(pa.table({"key": keys, "status": ["success"] * each}), folder / f"{shard:05}.parquet")
        stats = {"count": each + 5, "successes": each, "failed_to_download": 5, "failed_to_resize": 0}
        (folder / f"{shard:05}_stats.json").write_text(json.dumps(stats))
    return folder


def header_at(path: Path, name: str) -> int:
    """Where in a tar the header of a member begins."""
    with tarfile.open(path) as tar:
        return tar.getmember(name).offset


class Web:
    """What the server has done, and is to do."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.hang_up_after: list[int] = []  # bytes of each of the next answers
        self.ranges = True
        self.asked: list[tuple[str, str]] = []  # path and Range of each request
        self.users: list[str] = []  # Authorization of each that had one


@contextmanager
def web(folder: Path) -> Iterator[Web]:
    """A server on 127.0.0.1 of the files in a folder."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            told.asked.append((self.path, self.headers.get("Range", "")))
            told.users += filter(None, [self.headers.get("Authorization")])
            file = folder / unquote(self.path).lstrip("/")
            if not file.is_file():
                self.send_error(404)
                return
            data = file.read_bytes()
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if told.ranges else None
            start = int(asked[1]) if asked else 0
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(data) - start))
            self.send_header("ETag", '"1"')
            self.end_headers()
            most = told.hang_up_after.pop(0) if told.hang_up_after else len(data)
            self.wfile.write(data[start : start + most])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told = Web(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
