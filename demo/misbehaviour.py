"""What goes wrong on a web: images that cannot be had, each with the reason that the fetch must give for it.

`ODD` are the images, by URL; `BEHAVIOURS` is how LocalWeb has to serve their hosts. Pages all over the web show them.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from PIL import Image

from demo.localweb import Behaviour

FORBIDDEN = "forbidden.heron.test"  # its robots.txt forbids everything
UNREACHABLE = "unreachable.grebe.test"  # its robots.txt is an error of the server
GUARDED = (FORBIDDEN, UNREACHABLE)
SECONDS = 20.0  # that the slow host takes; LocalWeb does not wait for it at its end


class Odd(NamedTuple):
    """An image that is not served as it should be."""

    host: str
    path: str
    expected: str  # success | a reason of the fetch
    file: Callable[[bytes], bytes] | None = None  # what lies there, of the bytes of a good JPEG; None: nothing
    behaviour: Behaviour | None = None  # how it is served

    @property
    def url(self) -> str:
        """As pages name it."""
        return f"http://{self.host}{self.path}"


def _same(jpeg: bytes) -> bytes:
    return jpeg


def _half(jpeg: bytes) -> bytes:
    return jpeg[: len(jpeg) // 2]


def _as(format_: str) -> Callable[[bytes], bytes]:
    def convert(jpeg: bytes) -> bytes:
        to = io.BytesIO()
        Image.open(io.BytesIO(jpeg)).save(to, format_)
        return to.getvalue()

    return convert


def _page(_: bytes) -> bytes:
    return b"<!DOCTYPE html>\n<title>Sign in</title>\n<p>Please sign in to see this picture.\n"


def _noise(_: bytes) -> bytes:
    return Random("noise").randbytes(3000)


def _bomb(_: bytes) -> bytes:
    """A PNG of 400 million black pixels: 48 KB, 50 MB when unpacked, 1.2 GB as RGB."""
    side = 20_000
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)  # width, height, 1 bit, grey
    rows = zlib.compress(bytes(side * (1 + side // 8)), 9)
    chunks = ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _to(location: str) -> Behaviour:
    return Behaviour(status=302, headers={"Location": location})


_BUSY = Behaviour(status=429, headers={"Retry-After": "1"})
_LONGER = Behaviour(headers={"Content-Length": "300000"})
_MOVED = "moved.ruff.test"
_LIES = "lies.curlew.test"

ODD: tuple[Odd, ...] = (
    # errors, by their numbers
    Odd("missing.avocet.test", "/pictures/a.jpg", "http_404"),
    Odd("missing.avocet.test", "/pictures/b.jpg", "http_410", None, Behaviour(status=410)),
    Odd("missing.avocet.test", "/pictures/c.jpg", "http_403", None, Behaviour(status=403)),
    Odd("missing.avocet.test", "/pictures/d.jpg", "http_4xx", None, Behaviour(status=451)),
    Odd("missing.avocet.test", "/pictures/e.jpg", "http_5xx", None, Behaviour(status=500)),
    Odd("missing.avocet.test", "/pictures/f.jpg", "empty_body", None, Behaviour(body=b"")),
    Odd("missing.avocet.test", "/pictures/g.jpg", "http_error", None, Behaviour(raw=b"It works!\r\n\r\n")),
    # too many requests
    Odd("busy.knot.test", "/one.jpg", "http_429", _same, _BUSY),
    Odd("busy.knot.test", "/two.jpg", "http_429", _same, _BUSY),
    Odd("busy.knot.test", "/three.jpg", "success", _same),
    # without end
    Odd("slow.dunlin.test", "/slow.jpg", "timeout_total", _same, Behaviour(delay=SECONDS)),
    Odd("drops.snipe.test", "/drop.jpg", "timeout_total", None, Behaviour(endless=True, body=b"drop", pace=0.25)),
    Odd("endless.plover.test", "/one.jpg", "too_many_bytes", None, Behaviour(endless=True)),
    Odd("endless.plover.test", "/two.png", "too_many_bytes", None, Behaviour(endless=True)),
    # not what they say
    Odd(_LIES, "/longer.jpg", "truncated_body", _same, _LONGER),
    Odd(_LIES, "/longer.png", "truncated_body", _as("PNG"), _LONGER),
    Odd(_LIES, "/packed.jpg", "bad_encoding", _same, Behaviour(headers={"Content-Encoding": "gzip"})),
    Odd(_LIES, "/page.jpg", "not_an_image", _page),
    Odd(_LIES, "/page2.jpg", "not_an_image", _page),
    Odd(_LIES, "/noise.jpg", "not_an_image", _noise),
    Odd(_LIES, "/half.jpg", "truncated_image", _half),
    Odd(_LIES, "/half.webp", "truncated_image", lambda jpeg: _half(_as("WEBP")(jpeg))),
    Odd(_LIES, "/bomb.png", "too_many_pixels", _bomb),
    Odd(_LIES, "/really-a-png.jpg", "success", _as("PNG")),
    Odd(_LIES, "/really-a-webp.jpg", "success", _as("WEBP")),
    Odd(_LIES, "/no-type.jpg", "success", _same, Behaviour(headers={"Content-Type": "application/octet-stream"})),
    # elsewhere
    Odd(_MOVED, "/here.jpg", "success", None, _to("/new/here.jpg")),
    Odd(_MOVED, "/round.jpg", "too_many_redirects", None, _to("/and-round.jpg")),
    Odd(_MOVED, "/and-round.jpg", "too_many_redirects", None, _to("/round.jpg")),
    Odd(_MOVED, "/metadata.jpg", "address_forbidden", None, _to("http://169.254.169.254/latest/meta-data/")),
    Odd(_MOVED, "/router.jpg", "address_forbidden", None, _to("http://192.168.0.1/camera.jpg")),
    Odd(_MOVED, "/to-heron.jpg", "robots_disallowed", None, _to(f"http://{FORBIDDEN}/art/0.jpg")),
    Odd(_MOVED, "/mail.jpg", "url_invalid", None, _to("mailto:ruff@moved.ruff.test")),
    Odd("127.0.0.1", "/printer/page.jpg", "address_forbidden"),
    Odd("10.0.0.7", "/camera.jpg", "address_forbidden"),
    # not for us
    *(Odd(FORBIDDEN, f"/art/{i}.jpg", "robots_disallowed", _same) for i in range(3)),
    *(Odd(UNREACHABLE, f"/art/{i}.jpg", "robots_unreachable", _same) for i in range(2)),
    *(
        Odd("noai.godwit.test", f"/{path}.jpg", expected, _same, Behaviour(headers={name: value}))
        for path, expected, name, value in (
            ("noai", "opted_out", "X-Robots-Tag", "noai"),
            ("noimageai", "opted_out", "X-Robots-Tag", "noimageai, noai"),
            ("tdm", "opted_out", "TDM-Reservation", "1"),
            ("other", "success", "X-Robots-Tag", "otherbot: noai"),  # addressed to somebody else
        )
    ),
)

MOVED_TO = {f"http://{_MOVED}/here.jpg": f"http://{_MOVED}/new/here.jpg"}  # where its picture is
ROBOTS = {FORBIDDEN: "User-agent: *\nDisallow: /\n"}
BEHAVIOURS: dict[str, Behaviour] = {
    f"{UNREACHABLE}/robots.txt": Behaviour(status=503),
    **{f"{odd.host}{odd.path}": odd.behaviour for odd in ODD if odd.behaviour},
}
