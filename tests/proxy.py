"""A proxy in front of an object store that behaves as stores do on a bad day, or as lesser stores do every day.

    with Proxy("http://127.0.0.1:9000") as proxy, used(proxy.url):
        proxy.answer(503, "SlowDown", times=3)
        …
        assert proxy.requests["PUT"] == 4

It forwards requests of S3 as they are, but for what it was told; what it was told holds for all who use it. Kinds of
requests: GET, HEAD, PUT, DELETE, LIST, BULK (deletion of many), POST; CREATE is a PUT that must find nothing there.
"""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.stores import KEYS

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect"}
_SIGNED_ANEW = {"authorization", "host", "if-none-match", "x-amz-content-sha256", "x-amz-date"}


@dataclass
class _Fault:
    """What happens to the next `times` requests of a kind, instead of what should."""

    kind: str
    times: int
    status: int = 0  # answered with this and not forwarded
    code: str = ""
    read: int = -1  # bytes of the body, after which the connection ends; not forwarded
    is_lost: bool = False  # forwarded, and the connection ends without an answer


class Proxy:
    """Entered it serves on `url`; attributes may be set at any time."""

    delay = 0.0  # seconds before each request is forwarded
    list_lag = 0.0  # seconds: how long an object must have been there to be listed
    listed_until = float("inf")  # moment of time.monotonic(): what appeared later is not listed
    ignores_conditions = False  # If-None-Match is overlooked
    hides_condition = False  # a 412 does not say which condition failed

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.requests: Counter[str] = Counter()
        self.paths: list[tuple[str, str]] = []  # (kind, path with its query) of each request, in order
        self._faults: list[_Fault] = []
        self._appeared: dict[str, float] = {}  # path → when an object was first put there
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    # ── what it may be told ──

    def answer(self, status: int, code: str, times: int = 1, kind: str = "CREATE") -> None:
        """The next requests of a kind are answered with an error of S3, and the store does not see them."""
        self._faults.append(_Fault(kind, times, status=status, code=code))

    def cut_uploads(self, after: int, times: int = 1, kind: str = "PUT") -> None:
        """The connection ends when so many bytes of a body have come."""
        self._faults.append(_Fault(kind, times, read=after))

    def lose_answers(self, times: int = 1, kind: str = "PUT") -> None:
        """The store does what it was asked, and nobody hears of it."""
        self._faults.append(_Fault(kind, times, is_lost=True))

    def behave(self) -> None:
        """Nothing of what it was told counts any longer."""
        for name in ("delay", "list_lag", "listed_until", "ignores_conditions", "hides_condition"):
            self.__dict__.pop(name, None)
        self._faults.clear()
        self.forget()

    def forget(self) -> None:
        """What requests there were."""
        with self._lock:
            self.requests.clear()
            self.paths.clear()

    # ── for the handlers ──

    def seen(self, kind: str, is_conditional: bool, path: str) -> _Fault | None:
        """Count a request; what shall happen to it."""
        with self._lock:
            self.requests[kind] += 1
            self.paths.append((kind, path))
            kinds = {kind, "CREATE"} if is_conditional else {kind}
            for fault in self._faults:
                if fault.kind in kinds and fault.times:
                    fault.times -= 1
                    return fault
        return None

    def remember(self, kind: str, path: str, body: bytes) -> None:
        """An object was put, or some were deleted."""
        gone = [path] if kind == "DELETE" else []
        if kind == "BULK":
            gone = [f"{path.rstrip('/')}/{unquote(key)}" for key in re.findall(r"<Key>(.*?)</Key>", body.decode())]
        with self._lock:
            if kind == "PUT":
                self._appeared.setdefault(path, time.monotonic())
            for name in gone:
                self._appeared.pop(name, None)

    def as_it_was(self, bucket: str, listing: bytes) -> bytes:
        """A listing without the objects that are too new."""
        horizon = min(time.monotonic() - self.list_lag, self.listed_until)
        with self._lock:
            hidden = {path for path, moment in self._appeared.items() if moment > horizon}

        def kept(entry: re.Match[bytes]) -> bytes:
            key = unquote(entry[1].decode())
            return b"" if f"/{bucket}/{key}" in hidden else entry[0]

        return re.sub(rb"<Contents>\s*<Key>(.*?)</Key>.*?</Contents>", kept, listing, flags=re.DOTALL)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    proxy: Proxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed in the middle is nobody's error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True  # else each answer waits 40 ms for the client's acknowledgement
    server: _Server
    _upstream: http.client.HTTPConnection | None = None

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def handle_expect_100(self) -> bool:
        said = super().handle_expect_100()
        self.wfile.flush()  # the client waits for it before it sends the body
        return said

    def do_GET(self) -> None:
        proxy, kind = self.server.proxy, self._kind()
        is_conditional = "If-None-Match" in self.headers and kind == "PUT"
        fault = proxy.seen(kind, is_conditional, self.path)
        body = self._body(fault)
        if body is None:
            return self._hang_up()
        time.sleep(proxy.delay)
        if fault and fault.status:
            return self._answer(fault.status, {"Content-Type": "application/xml"}, _error(fault.code))
        status, headers, data = self._forward(body, is_conditional and proxy.ignores_conditions)
        path = unquote(urlsplit(self.path).path)
        if status < 300:
            proxy.remember(kind, path, body)
        if fault and fault.is_lost:
            return self._hang_up()
        if kind == "LIST":
            data = proxy.as_it_was(path.strip("/"), data)
        if status == 412 and proxy.hides_condition:
            data = re.sub(rb"<Condition>.*?</Condition>", b"", data)
        return self._answer(status, headers, data)

    do_HEAD = do_PUT = do_DELETE = do_POST = do_GET  # noqa: N815

    def finish(self) -> None:
        super().finish()
        if self._upstream:
            self._upstream.close()

    def _kind(self) -> str:
        parts = urlsplit(self.path)
        if self.command == "GET" and "/" not in parts.path.strip("/"):
            return "LIST"
        return "BULK" if self.command == "POST" and parts.query.startswith("delete") else self.command

    def _body(self, fault: _Fault | None) -> bytes | None:
        """The whole of it, or None where it shall not come to its end."""
        assert "Transfer-Encoding" not in self.headers, "botocore has never sent this over http"
        length = int(self.headers.get("Content-Length") or 0)
        if fault and fault.read >= 0:
            self.rfile.read(min(fault.read, length))
            return None
        return self.rfile.read(length)

    def _forward(self, body: bytes, without_condition: bool) -> tuple[int, dict[str, str], bytes]:
        if self._upstream is None:
            self._upstream = http.client.HTTPConnection(urlsplit(self.server.proxy.upstream).netloc, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        if without_condition:
            headers = self._signed_anew(headers, body)
        self._upstream.request(self.command, self.path, body or None, headers)
        answer = self._upstream.getresponse()
        kept = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP}
        return answer.status, kept, answer.read()

    def _signed_anew(self, headers: dict[str, str], body: bytes) -> dict[str, str]:
        """The same request without its condition: it was signed with it."""
        kept = {name: value for name, value in headers.items() if name.lower() not in _SIGNED_ANEW}
        request = AWSRequest(self.command, self.server.proxy.upstream + self.path, kept, body)
        credentials = Credentials(KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"])
        S3SigV4Auth(credentials, "s3", KEYS["AWS_DEFAULT_REGION"]).add_auth(request)
        return dict(request.headers.items())

    def _answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() != "content-length" or self.command == "HEAD":
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else data)
        self.wfile.flush()

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def _error(code: str) -> bytes:
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>as planned</Message></Error>'.encode()
