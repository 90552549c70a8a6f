"""A server on 127.0.0.1 as if it stood far away: each answer arrives so many seconds later.

    with far_away("http://127.0.0.1:9000", 0.03) as url:
        …

The bytes pass through a process of its own, which reads nothing of them: what is measured is the client and the way.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

_BYTES = 1 << 16  # that are passed on at once


@contextmanager
def far_away(url: str, seconds: float) -> Iterator[str]:
    """The URL of the same server, the way to it and back `seconds` long."""
    words = [sys.executable, "-m", "tests.latency", urlsplit(url).netloc, f"{seconds}"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def _serve(upstream: str, seconds: float) -> None:
    """Print the port, then pass connections on until the process ends."""
    host, _, port = upstream.partition(":")

    async def connected(here: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        there, on = await asyncio.open_connection(host, int(port))
        await asyncio.gather(_pass_on(here, on, 0.0), _pass_on(there, back, seconds))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter, seconds: float) -> None:
    """What comes from one end to the other, in its order, and then the end of the connection."""
    loop, under_way = asyncio.get_running_loop(), asyncio.Queue[tuple[float, bytes]]()

    async def arrive() -> None:
        while True:
            at, data = await under_way.get()
            await asyncio.sleep(at - loop.time())
            if not data:
                break
            target.write(data)
        target.close()

    async def depart() -> None:
        data = b"?"
        while data:
            try:
                data = await source.read(_BYTES)
            except ConnectionError:  # a client that ended at once: the other side is told in its turn
                data = b""
            under_way.put_nowait((loop.time() + seconds, data))

    await asyncio.gather(depart(), arrive())


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], float(sys.argv[2])))
