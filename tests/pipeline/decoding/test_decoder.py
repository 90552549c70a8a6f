"""The decoder's process: the same pictures as without it, and a name for its death."""

import asyncio
import io
import math
import os
import signal
from collections.abc import Awaitable, Callable
from functools import cache

import numpy as np
from PIL import Image

from pipeline.decoding.decoder import Decoder
from pipeline.decoding.picture import Options, Picture, Refused, store


@cache
def picture_of(side: int) -> bytes:
    noise = np.random.default_rng(side).integers(0, 255, (side, side, 3), dtype=np.uint8)
    to = io.BytesIO()
    Image.fromarray(noise).save(to, "PNG", compress_level=0)
    return to.getvalue()


SMALL = picture_of(50)


def large() -> bytes:
    """A picture that takes the decoder a while: 48 MB, made for those who ask for it."""
    return picture_of(4000)


def decoded(
    work: Callable[[Decoder], Awaitable[list[Picture | Refused]]], seconds: float = 30
) -> list[Picture | Refused]:
    async def run() -> list[Picture | Refused]:
        async with Decoder(Options(), seconds) as decoder:
            return await work(decoder)

    return asyncio.run(run())


def test_it_stores_what_store_stores() -> None:
    bodies = [SMALL, b"nothing", picture_of(300), b""]

    async def work(decoder: Decoder) -> list[Picture | Refused]:
        return await asyncio.gather(*map(decoder.store, bodies))

    assert decoded(work) == [store(body, Options()) for body in bodies]


def test_options_arrive_as_they_are() -> None:
    """Infinity too, img2dataset's word for no limit, which JSON cannot say."""
    options = Options(max_aspect_ratio=math.inf, min_image_size=0)
    to = io.BytesIO()
    Image.new("RGB", (1, 1000)).save(to, "PNG")

    async def run() -> Picture | Refused:
        async with Decoder(options) as decoder:
            return await decoder.store(to.getvalue())

    assert asyncio.run(run()) == store(to.getvalue(), options)


def test_a_decoder_that_is_killed_is_started_again() -> None:
    async def work(decoder: Decoder) -> list[Picture | Refused]:
        first = await decoder.store(SMALL)
        assert decoder._process
        task = asyncio.create_task(decoder.store(large()))
        await asyncio.sleep(0)
        os.kill(decoder._process.pid, signal.SIGSEGV)
        return [first, await task, await decoder.store(SMALL)]

    first, killed, after = decoded(work)
    assert killed == store(large(), Options())
    assert first == after == store(SMALL, Options())


def test_a_picture_that_kills_the_decoder_twice_costs_one_picture() -> None:
    async def work(decoder: Decoder) -> list[Picture | Refused]:
        async def kill_twice() -> None:
            killed = set[int]()
            while len(killed) < 2:
                await asyncio.sleep(0.01)
                if decoder._process and decoder._process.pid not in killed:
                    killed.add(decoder._process.pid)
                    os.kill(decoder._process.pid, signal.SIGSEGV)

        killing = asyncio.create_task(kill_twice())
        found = await decoder.store(large())
        await killing
        return [found, await decoder.store(SMALL)]

    found, after = decoded(work)
    assert isinstance(found, Refused) and found.reason == "decoder_crashed" and "-11" in found.detail
    assert after == store(SMALL, Options())


def test_a_picture_that_takes_too_long_costs_one_picture() -> None:
    async def work(decoder: Decoder) -> list[Picture | Refused]:
        first = await decoder.store(SMALL)
        decoder._seconds = 0.01
        slow = await decoder.store(large())
        decoder._seconds = 30
        return [first, slow, await decoder.store(SMALL)]

    first, slow, after = decoded(work)
    assert isinstance(slow, Refused) and slow.reason == "decoder_timeout"
    assert first == after == store(SMALL, Options())
