"""A web whose hosts misbehave, each in its way, and what a guest makes of each."""

import gzip
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from demo.localweb import Behaviour
from pipeline.web.client import Limits

BODY = b"\xff\xd8\xff" + bytes(range(256)) * 16
LIMITS = Limits(max_bytes=100_000)


@contextmanager
def answering(*answers: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that gives these answers, a connection each, and ends: connect_to for it, the requests as they came."""
    heads: list[bytes] = []

    def serve() -> None:
        for answer in answers:
            connection, _ = server.accept()
            with connection:
                heads.append(connection.recv(10_000))
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"*.test=127.0.0.1:{server.getsockname()[1]}", heads
        thread.join()


def location(url: str, status: int = 302) -> Behaviour:
    return Behaviour(status=status, headers={"Location": url})


BEHAVIOURS = {
    "good.test": Behaviour(body=BODY),
    "exact.test": Behaviour(body=bytes(LIMITS.max_bytes)),
    "gzip.test": Behaviour(body=gzip.compress(BODY), headers={"Content-Encoding": "gzip"}),
    "html.test": Behaviour(body=b"<html>", headers={"Content-Type": "image/jpeg"}),
    # answers that are no picture
    **{f"{status}.test": Behaviour(status=status, body=b"") for status in (204, 206, 304, 403, 404, 410, 418, 451)},
    **{f"{status}.test": Behaviour(status=status, body=b"busy") for status in (500, 503, 599)},
    "429.test": Behaviour(status=429, headers={"Retry-After": "7"}),
    "nowhere.test": Behaviour(status=302),
    "empty.test": Behaviour(body=b""),
    "noai.test": Behaviour(body=BODY, headers={"X-Robots-Tag": "noindex, noai"}),
    "otherbot.test": Behaviour(body=BODY, headers={"X-Robots-Tag": "otherbot: noai"}),
    "tdm.test": Behaviour(body=BODY, headers={"tdm-reservation": "1"}),
    # bodies
    "endless.test": Behaviour(endless=True),
    "over.test": Behaviour(body=bytes(LIMITS.max_bytes + 1)),
    "huge.test": Behaviour(body=BODY, headers={"Content-Length": "99999999999"}),
    "bomb.test": Behaviour(body=gzip.compress(bytes(10**8)), headers={"Content-Encoding": "gzip"}),
    "short.test": Behaviour(body=BODY, headers={"Content-Length": "99999"}),
    "cutchunk.test": Behaviour(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nab"),
    "notgzip.test": Behaviour(body=BODY, headers={"Content-Encoding": "gzip"}),
    # no HTTP
    "closes.test": Behaviour(raw=b""),
    "garbage.test": Behaviour(raw=b"\x00\x01\x02\r\n\r\n"),
    "halfhead.test": Behaviour(raw=b"HTTP/1.1 200 OK\r\nContent-"),
    "longhead.test": Behaviour(raw=b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000 + b"\r\n\r\n"),
    "manyheads.test": Behaviour(raw=b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 200 + b"\r\n"),
    "negative.test": Behaviour(raw=b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"),
    "rich.test": Behaviour(body=BODY, headers={"X": "x" * 12_000}),
    # redirects
    "moved.test": location("http://good.test/b.jpg#top", 301),
    "relative.test": location("/there.jpg"),
    "relative.test/there.jpg": Behaviour(body=BODY),
    "hop5.test": location("http://hop4.test/", 307),
    **{f"hop{i}.test": location(f"http://hop{i - 1}.test/", 308) for i in (4, 3, 2)},
    "hop1.test": location("http://good.test/", 303),
    "loop.test": location("/again"),
    "tofile.test": location("file:///etc/passwd"),
    "touser.test": location("http://user:secret@good.test/"),
    "tolocal.test": location("http://127.0.0.1:9/"),
    "tomapped.test": location("http://[::ffff:127.0.0.1]:9/"),
    "tometadata.test": location("http://169.254.169.254/latest/meta-data/"),
    "toclosed.test": location("http://closed.test/"),
    "tounreachable.test": location("http://robots500.test/"),
    # robots.txt
    "closed.test/robots.txt": Behaviour(body=b"User-agent: *\nDisallow: /\n"),
    "forus.test/robots.txt": Behaviour(body=b"User-agent: openwit\nDisallow: /img/\n"),
    "forothers.test": Behaviour(body=BODY),
    "forothers.test/robots.txt": Behaviour(body=b"User-agent: otherbot\nDisallow: /\n"),
    "robots403.test": Behaviour(body=BODY),
    "robots403.test/robots.txt": Behaviour(status=403),
    "robots429.test/robots.txt": Behaviour(status=429),
    "robots500.test/robots.txt": Behaviour(status=500),
    "robotscloses.test/robots.txt": Behaviour(raw=b""),
    "robotsshort.test/robots.txt": Behaviour(body=b"User-agent: *\n", headers={"Content-Length": "999"}),
    "robotsmoved.test/robots.txt": location("http://closed.test/robots.txt"),
    "robotsloop.test/robots.txt": location("/robots.txt"),
    "robotsendless.test/robots.txt": Behaviour(
        endless=True, body=b"User-agent: *\nDisallow: /\n" + b"#" * 50_000 + b"\n"
    ),
}
# host -> (reason, attempts)
EXPECTED = {
    "good": ("", 1),
    "exact": ("", 1),
    "gzip": ("", 1),
    "html": ("", 1),  # the type that a server states decides nothing
    "otherbot": ("", 1),
    "rich": ("", 1),
    "204": ("http_error", 1),
    "206": ("http_error", 1),
    "304": ("http_error", 1),
    "403": ("http_403", 1),
    "404": ("http_404", 1),
    "410": ("http_410", 1),
    "418": ("http_4xx", 1),
    "451": ("http_4xx", 1),
    "429": ("http_429", 1),
    "500": ("http_5xx", 1),
    "503": ("http_5xx", 1),
    "599": ("http_5xx", 1),
    "nowhere": ("http_error", 1),
    "empty": ("empty_body", 1),
    "noai": ("opted_out", 1),
    "tdm": ("opted_out", 1),
    "endless": ("too_many_bytes", 1),
    "over": ("too_many_bytes", 1),
    "huge": ("too_many_bytes", 1),
    "bomb": ("too_many_bytes", 1),
    "short": ("truncated_body", 1),
    "cutchunk": ("truncated_body", 1),
    "notgzip": ("bad_encoding", 1),
    "closes": ("http_error", 1),
    "garbage": ("http_error", 1),
    "halfhead": ("http_error", 1),
    "longhead": ("http_error", 1),
    "manyheads": ("http_error", 1),
    "negative": ("http_error", 1),
    "moved": ("", 2),
    "relative": ("", 2),
    "hop4": ("", 5),
    "hop5": ("", 6),
    "loop": ("too_many_redirects", 6),
    "tofile": ("url_invalid", 1),
    "touser": ("url_invalid", 1),
    "tolocal": ("address_forbidden", 1),
    "tomapped": ("address_forbidden", 1),
    "tometadata": ("address_forbidden", 1),
    "toclosed": ("robots_disallowed", 1),
    "tounreachable": ("robots_unreachable", 1),
    "closed": ("robots_disallowed", 0),
    "forus": ("robots_disallowed", 0),
    "forothers": ("", 1),
    "robots403": ("", 1),
    "robots429": ("robots_unreachable", 0),
    "robots500": ("robots_unreachable", 0),
    "robotscloses": ("robots_unreachable", 0),
    "robotsshort": ("robots_unreachable", 0),
    "robotsmoved": ("robots_disallowed", 0),
    "robotsloop": ("robots_unreachable", 0),
    "robotsendless": ("robots_disallowed", 0),
}
