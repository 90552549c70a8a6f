"""A process of its own for strangers' pictures: what crashes or hangs a decoder is one picture's reason.

    async with Decoder(options) as decoder:
        stored = await decoder.store(body)

The process is `python -m pipeline.decoding.decoder OPTIONS`. It takes a body at a time on its standard input and
answers on its standard output, each as eight bytes of length and so many bytes; it ends when its input does.
"""

from __future__ import annotations

import asyncio
import resource
import struct
import sys
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

from pipeline.decoding.picture import Options, Picture, Refused, store

SECONDS = 30.0
"""What one picture may take. The largest that is allowed takes 9."""

MEMORY = 6 << 30
"""Bytes of address space that the process may have. The largest picture that is allowed takes 2 GB."""

_LENGTH = struct.Struct(">Q")


class Decoder:
    """Makes stored pictures, one at a time, in a process that is started again when it dies."""

    def __init__(self, options: Options, seconds: float = SECONDS) -> None:
        self._options, self._seconds = options, seconds
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._turn = asyncio.Lock()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def store(self, body: bytes) -> Picture | Refused:
        """`picture.store`; besides its reasons decoder_crashed, if it does so twice, and decoder_timeout."""
        first = await self._store(body)
        crashed = isinstance(first, Refused) and first.reason == "decoder_crashed"
        return await self._store(body) if crashed else first

    async def _store(self, body: bytes) -> Picture | Refused:
        async with self._turn:
            process = self._process = self._process or await self._start()
            try:
                async with asyncio.timeout(self._seconds):
                    return await _ask(process, body)
            except TimeoutError:
                await self._end()
                return Refused("decoder_timeout", f"not decoded after {self._seconds:g} s")
            except (asyncio.IncompleteReadError, ConnectionError):
                await self._end(self._seconds)
                return Refused("decoder_crashed", f"the decoder ended with status {process.returncode}")
            except BaseException:  # else its answer would be taken for the next one's
                await self._end()
                raise

    async def _start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "pipeline.decoding.decoder",
            msgspec.msgpack.encode(self._options).hex(),  # JSON has no infinity
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # decoders print what they think of broken files
            process_group=0,  # out of reach of Ctrl-C, which would make this picture's the decoder's fault
        )

    async def _end(self, wait: float = 0) -> None:
        """Kill the process, unless it ends by itself within `wait` seconds.

        A process that is ending is not killed: before Python 3.13 `kill` would take its status away from asyncio
        (python/cpython#87744).
        """
        process, self._process = self._process, None
        if process is None:
            return
        try:
            async with asyncio.timeout(wait):
                await process.wait()
        except TimeoutError:
            process.kill()
        await process.communicate()


async def _ask(process: asyncio.subprocess.Process, body: bytes) -> Picture | Refused:
    assert process.stdin and process.stdout  # both are pipes
    process.stdin.write(_LENGTH.pack(len(body)) + body)
    await process.stdin.drain()
    (length,) = _LENGTH.unpack(await process.stdout.readexactly(_LENGTH.size))
    return msgspec.msgpack.decode(await process.stdout.readexactly(length), type=Picture | Refused)


def serve(source: BinaryIO, to: BinaryIO, options: Options) -> None:
    """Answer body after body, until there are no more."""
    while head := source.read(_LENGTH.size):
        answer = msgspec.msgpack.encode(store(source.read(*_LENGTH.unpack(head)), options))
        to.write(_LENGTH.pack(len(answer)) + answer)
        to.flush()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    serve(sys.stdin.buffer, sys.stdout.buffer, msgspec.msgpack.decode(bytes.fromhex(sys.argv[1]), type=Options))
