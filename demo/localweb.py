"""A real web on 127.0.0.1: hosts are folders, and some of them misbehave as asked.

    python -m demo.localweb ROOT [--log FILE] -- COMMAND ...

serves each sub-folder of ROOT as the host of that name, runs COMMAND with OPENWIT_CONNECT_TO=*.test=127.0.0.1:PORT
in its environment, and exits with its status. With --log, FILE gets a line for each request: seconds since 1970,
host, method, path, user agent, status, separated by tabs.
"""

from __future__ import annotations

import argparse
import mimetypes
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread
from typing import NamedTuple, Self
from urllib.parse import unquote

from openwit import run_to_end

LOOPBACK = "127.0.0.1"
CHUNK = 64 * 1024
NEW_TYPES = {".webp": "image/webp", ".avif": "image/avif"}  # which mimetypes learnt in Python 3.13


class Request(NamedTuple):
    """One line of the log."""

    time: float  # seconds since 1970, when it had been read
    host: str
    method: str
    path: str  # with the query
    user_agent: str
    status: int  # 0: it got no answer, or not to its end


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What a host, or one path of it (`host/path`), does instead of serving its folder."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)  # these replace the usual ones of the same name
    body: bytes | None = None  # None: the file, if status is 200
    delay: float = 0.0  # seconds before the answer begins
    endless: bool = False  # the body is repeated, in chunks, for as long as the client takes it …
    pace: float = 0.0  # … with so many seconds before each
    raw: bytes | None = None  # the whole answer, status line and all, after which the connection is closed


class LocalWeb:
    """Serves from a thread while it is entered: `with LocalWeb(root) as web: ... web.port ... web.requests`.

    `sites`: a folder whose sub-folders are hosts, or host -> folder. `behaviours`: by `host` (robots.txt excepted) or
    by `host/path`, which counts more. A host without robots.txt answers 404 for it. `addresses`: pattern of hosts → the
    loopback address that they are at; 127.0.0.1 for all others, and where the machine has no such address (macOS).
    """

    def __init__(
        self,
        sites: Path | Mapping[str, Path],
        behaviours: Mapping[str, Behaviour] | None = None,
        log: Path | None = None,
        addresses: Mapping[str, str] | None = None,
    ) -> None:
        self.requests: list[Request] = []
        self._sites = sites
        self._behaviours = behaviours or {}
        self._log = log
        self._addresses = addresses or {}
        self._lock = Lock()
        self.stopping = Event()

    def __enter__(self) -> Self:
        self._servers = {LOOPBACK: _Server(self, LOOPBACK)}
        for address in set(self._addresses.values()) - {LOOPBACK}:
            with suppress(OSError):
                self._servers[address] = _Server(self, address)
        self.port: int = self._servers[LOOPBACK].server_address[1]
        self._threads = [
            Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
            for server in self._servers.values()
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for server in self._servers.values():
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join()

    @property
    def connect_to(self) -> str:
        """What OPENWIT_CONNECT_TO is set to."""
        there = {pattern: at for pattern, at in self._addresses.items() if at in self._servers} | {"*.test": LOOPBACK}
        return ",".join(f"{pattern}={at}:{self._servers[at].server_address[1]}" for pattern, at in there.items())

    def behaviour(self, host: str, path: str) -> Behaviour | None:
        """How this path of a host misbehaves, if it does."""
        of_host = None if path == "/robots.txt" else self._behaviours.get(host)
        return self._behaviours.get(f"{host}{path}", of_host)

    def file(self, host: str, path: str) -> Path | None:
        """The file that a path (without query) of a host stands for; None if there is none."""
        folder = self._sites.get(host) if isinstance(self._sites, Mapping) else self._sites / host
        if folder is None or not host.strip(".") or "/" in host:
            return None
        file = (folder / unquote(path).lstrip("/")).resolve()
        if file.is_dir():
            file /= "index.html"
        return file if file.is_file() and file.is_relative_to(folder.resolve()) else None

    def note(self, request: Request) -> None:
        """Log a request."""
        with self._lock:
            self.requests.append(request)
            if self._log:
                with self._log.open("a", encoding="utf-8") as log:
                    log.write("\t".join(str(value).replace("\t", " ") for value in request) + "\n")


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def __init__(self, web: LocalWeb, address: str) -> None:
        self.web = web
        super().__init__((address, 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up in the middle are what tests are made of; anything else is printed as usual."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    wbufsize = CHUNK  # head and body leave together …
    disable_nagle_algorithm = True  # … and at once: else a kept connection answers 25 times a second

    def do_GET(self) -> None:
        arrived = time.time()
        web, host = self.server.web, self.headers.get("Host", "").partition(":")[0].lower()
        path = self.path.partition("?")[0]
        behaviour = web.behaviour(host, path) or Behaviour()
        status = 0
        try:
            web.stopping.wait(behaviour.delay)
            if behaviour.raw is not None:
                self.wfile.write(behaviour.raw)
                self.close_connection = True
            else:
                status = self._answer(behaviour, web.file(host, path))
        finally:
            agent = self.headers.get("User-Agent", "")
            web.note(Request(arrived, host, self.command, self.path, agent, status))
        self.wfile.flush()  # only now: who has the whole answer finds its request in the log

    def _answer(self, behaviour: Behaviour, file: Path | None) -> int:
        status, body, kind = behaviour.status, behaviour.body, "text/plain"
        if behaviour.endless:
            body = body or bytes(CHUNK)
        elif body is None and status == 200 and file:
            body = file.read_bytes()
            kind = NEW_TYPES.get(file.suffix) or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        elif body is None:
            status = 404 if status == 200 else status
            body = b"" if status in (204, 304) else b"nothing here\n"
        length = {"Transfer-Encoding": "chunked"} if behaviour.endless else {"Content-Length": str(len(body))}
        headers = {"Content-Type": kind, **length, **behaviour.headers}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if behaviour.endless:
            self._repeat(body, behaviour.pace)
        else:
            self.wfile.write(body)
            self.close_connection |= headers["Content-Length"] != str(len(body))  # it lied
        return status

    def _repeat(self, body: bytes, pace: float) -> None:
        while not self.server.web.stopping.wait(pace):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(body), body))
            self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the log is LocalWeb's."""


def main(arguments: Sequence[str]) -> int:
    """Serve ROOT while COMMAND runs; its exit status, 128 + the signal's number if one ended it."""
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    own, command = arguments[:cut], arguments[cut + 1 :]
    parser = argparse.ArgumentParser(prog="python -m demo.localweb", usage="%(prog)s ROOT [--log FILE] -- COMMAND ...")
    parser.add_argument("root", type=Path, metavar="ROOT", help="a folder whose sub-folders are hosts")
    parser.add_argument("--log", type=Path, metavar="FILE", help="gets a line of tab-separated values a request")
    options = parser.parse_args(own)
    if not command or not options.root.is_dir():
        parser.error("COMMAND is missing" if not command else f"{options.root} is not a folder")
    if options.log:
        options.log.write_text("")
    with LocalWeb(options.root, log=options.log) as web:
        return run_with(command, web.connect_to)


def run_with(command: Sequence[str], connect_to: str) -> int:
    """The exit status of a command, as `openwit.run_to_end` has it; one of openwit's ends when we, and its web, do."""
    return run_to_end(command, {**os.environ, "OPENWIT_CONNECT_TO": connect_to})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
