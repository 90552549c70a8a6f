"""The contact sheet in a real browser: slider, keys and the saved file, from a file and without asking anybody."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dedup.overlap import EvalSet
from dedup.review import read_review
from report import sheet as sheets
from report.sheet import PAIRS, QUALITIES, sheet, small, stem
from tests.browser import Tab, opened
from tests.dedup.made import scene

KEYS, IMAGES = 50, 40
HOSTILE = "</script><img src=x onerror=alert(1)> \u202e & \u2028"
DIGEST = "ab" * 32


def body(picture: Image.Image) -> bytes:
    to = io.BytesIO()
    picture.save(to, "JPEG")
    return to.getvalue()


def id_of(i: int) -> bytes:
    return hashlib.sha256(b"%d" % i).digest()[:16]


def rows() -> list[dict[str, Any]]:
    """2,000 candidates of 50 pictures, at 0 to 60 bits."""
    return [
        {
            "key": f"{i % KEYS:02}.jpg",
            "image_id": id_of(i // KEYS),
            "d64": i * 20 // PAIRS,
            "d256": i * 61 // PAIRS,
            "mirrored": i % 3 == 0,
            "bordered": False,
            "packed": None if i % 2 else False,
            "image_url": "http://a.test/" + HOSTILE if i == 1 else None,
            "caption": HOSTILE if i == 0 else "a dog",
            "verdict": None,
        }
        for i in range(PAIRS)
    ]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sheet")
    (folder / "set").mkdir()
    for i in range(KEYS):
        (folder / "set" / f"{i:02}.jpg").write_bytes(body(scene(i)))
    images = {id_of(i): body(scene(i)) if i else b"broken" for i in range(IMAGES)}
    said = {"pictures": DIGEST, "asked": 60, "threshold": 40}
    html = sheet(EvalSet("a set", str(folder / "set")), said, rows(), images)
    (folder / "leaks.html").write_text(html)
    return folder / "leaks.html"


def counted(threshold: int, judged: dict[int, bool]) -> int:
    """Pictures that count as leaks, by hand."""
    leaks = {row["key"] for i, row in enumerate(rows()) if judged.get(i, row["d256"] <= threshold)}
    return len(leaks)


async def press(tab: Tab, key: str) -> None:
    for kind in ("keyDown", "keyUp"):
        more = {"text": key} if len(key) == 1 and kind == "keyDown" else {}
        await tab.call("Input.dispatchKeyEvent", type=kind, key=key, **more)


async def slide(tab: Tab, to: int) -> None:
    await tab.value(f"(() => {{ slider.value = {to}; slider.dispatchEvent(new Event('input')); }})()")


COUNT = "document.getElementById('count').textContent"


def test_slider_keys_and_what_is_saved(endpoint: str, page: Path, tmp_path: Path) -> None:
    async def judge() -> Tab:
        async with opened(endpoint, 1280, "light") as tab:
            await tab.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
            await tab.open(page.as_uri())
            assert await tab.value("document.querySelectorAll('#pairs > li').length") == PAIRS
            assert (await tab.value(COUNT)).startswith(f"{counted(40, {})} of 60 pictures leaked; 0 of 2000")
            await slide(tab, 0)
            assert (await tab.value(COUNT)).startswith(f"{counted(0, {})} of 60 pictures")
            for key in ("n", "ArrowDown", "y", "ArrowUp", "u", "ArrowRight", "n"):
                await press(tab, key)
            # 0: different; 1 passed over; 2: same, then undone; 3: different
            assert await tab.value("current") == 4
            judged = {0: False, 3: False}
            assert (await tab.value(COUNT)).startswith(f"{counted(0, judged)} of 60 pictures leaked; 2 of 2000 pairs")
            await tab.value("document.querySelectorAll('#pairs > li')[1999].querySelector('button').click()")
            judged |= {1999: True}
            assert (await tab.value(COUNT)).startswith(f"{counted(0, judged)} of 60 pictures leaked; 3 of 2000 pairs")
            await tab.value("document.getElementById('save').click()")
            assert "write your name" in await tab.value("document.getElementById('message').textContent")
            for key in "yn n":  # it has the focus: these are letters of a name, no verdicts
                await press(tab, key)
            assert await tab.value("document.getElementById('reviewer').value") == "yn n"
            await tab.value("document.getElementById('save').click()")
            async with asyncio.timeout(30):
                while not (tmp_path / f"{stem('a set')}.json").exists():
                    await asyncio.sleep(0.05)
            assert await tab.value("restore({...judgement(), verdicts: [...judgement().verdicts, {key: 'gone'}]})") == 1
            assert await tab.value("restore({...judgement(), threshold: 33, verdicts: []})") == 0
            assert (await tab.value(COUNT)).startswith(f"{counted(33, {})} of 60 pictures leaked; 0 of 2000 pairs")
            other = "(() => { try { restore({...judgement(), set: 'b'}); } catch (e) { return e.message; } })()"
            assert await tab.value(other) == "it is of the set b, and this sheet of a set"
            return tab

    tab = asyncio.run(judge())
    assert tab.complaints == []
    assert {url for url in tab.requests if not url.startswith(("data:", "blob:"))} == {page.as_uri()}
    saved = read_review(str(tmp_path / f"{stem('a set')}.json"), "ph256")
    assert (saved.set, saved.pictures, saved.threshold, saved.reviewer) == ("a set", DIGEST, 0, "yn n")
    made = rows()
    assert saved.verdicts == {
        (made[i]["key"], made[i]["image_id"]): verdict
        for i, verdict in ((0, "different"), (3, "different"), (1999, "same"))
    }


LOOK = """(() => {
  const all = selector => [...document.querySelectorAll(selector)];
  return {
    wide: document.documentElement.scrollWidth - innerWidth,
    broken: all('img').filter(i => i.complete && !i.naturalWidth).length, blank: all('.blank').length,
    caption: all('#pairs > li')[0].querySelectorAll('p')[1].textContent,
    pressed: all('[aria-pressed=true]').length, leaks: all('.state').filter(s => s.textContent === 'leak').length,
  };
})()"""


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_and_shows_strangers_texts_as_texts(endpoint: str, page: Path, width: int) -> None:
    async def see() -> tuple[Any, Tab]:
        async with opened(endpoint, width, "dark") as tab:
            await tab.open(page.as_uri())
            return await tab.value(LOOK), tab

    seen, tab = asyncio.run(see())
    assert tab.complaints == [] and seen["wide"] <= 0 and seen["broken"] == 0
    assert seen["blank"] == KEYS and seen["caption"] == HOSTILE and seen["pressed"] == 0
    assert seen["leaks"] == sum(row["d256"] <= 40 for row in rows())


def test_two_thousand_pairs_are_below_20_mb(page: Path) -> None:
    """Of pictures that compress worst: each of both sides is another, and its thumbnail as large as it may be."""
    noise = np.random.default_rng(0).integers(0, 256, (240, 240, 3)).astype(np.uint8)
    largest = len(small(body(Image.fromarray(noise)), "noise"))
    texts = len(page.read_bytes()) - sum(
        len(source) for some in ("pictures", "images") for source in data_of(page)[some].values()
    )
    assert 2 * PAIRS * 4 * sheets.BYTES / 3 + texts + PAIRS * 2 * sheets.TEXT <= 20_000_000
    assert largest <= 4 * sheets.BYTES / 3 + 50 and QUALITIES[-1] == 0


def data_of(page: Path) -> Any:
    html = page.read_text()
    start = html.index('<script id="data" type="application/json">')
    return json.loads(html[html.index(">", start) + 1 : html.index("</script>", start)])
