"""The report in a real browser: it asks nobody, complains of nothing, fits a phone and a desk, in light and in dark."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from report import render
from tests.browser import Tab, opened
from tests.report.finished import finish_all, finish_overlap, finish_sets, recipe_in

WIDTHS = (390, 1280)  # pixels: a phone, a desk
SCHEMES = ("light", "dark")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of everything, with hostile texts in it."""
    recipe = recipe_in(tmp_path_factory.mktemp("report"))
    finish_all(recipe)
    finish_sets(recipe)
    finish_overlap(recipe, [{"key": "0.png"}, {"key": "1.png", "verdict": "same"}], {"a": {"reviewer": "R"}, "b": {}})
    assert render.main(["--recipe", recipe.path]) == 0
    return Path(recipe.out) / "report.html"


def look(endpoint: str, url: str, expression: str, width: int = 1280, scheme: str = "light") -> tuple[Any, Tab]:
    """Open a page; the value of an expression there, and the tab with what it noted."""

    async def see() -> tuple[Any, Tab]:
        async with opened(endpoint, width, scheme) as tab:
            await tab.open(url)
            return await tab.value(expression), tab

    return asyncio.run(see())


SEEN = """(() => {
  const luminance = (element, property) => {
    const [r, g, b] = getComputedStyle(element)[property].match(/[\\d.]+/g).slice(0, 3)
      .map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = luminance(document.body, 'backgroundColor');
  const contrast = (element, property) => {
    const [low, high] = [paper, luminance(element, property)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const all = selector => [...document.querySelectorAll(selector)];
  return {
    paper, wide: document.documentElement.scrollWidth - innerWidth,
    broken: all('img').filter(image => !image.complete || !image.naturalWidth).length, images: all('img').length,
    text: Math.min(...all('h1, h2, p, td, small, summary, li, figcaption').map(e => contrast(e, 'color'))),
    plots: Math.min(...all('.plot svg text').map(e => contrast(e, 'fill'))), texts: all('.plot svg text').length,
  };
})()"""


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_and_can_be_read_and_asks_nobody(endpoint: str, page: Path, width: int, scheme: str) -> None:
    seen, tab = look(endpoint, page.as_uri(), SEEN, width, scheme)
    assert tab.complaints == []
    assert {url for url in tab.requests if not url.startswith("data:")} == {page.as_uri()}
    assert seen["wide"] <= 0
    assert seen["images"] > 10 and seen["broken"] == 0
    assert (seen["paper"] > 0.8) if scheme == "light" else (seen["paper"] < 0.05)
    assert seen["text"] >= 4.5  # what WCAG 2 asks of contrast (1.4.3)
    assert seen["texts"] > 10 and seen["plots"] >= 4.5


@pytest.mark.parametrize("width", WIDTHS)
def test_a_number_of_the_funnel_leads_to_what_is_behind_it(endpoint: str, page: Path, width: int) -> None:
    """A link into a closed reason opens it and goes there, without a script."""
    name = "filter-pairs-is_a_script"
    there = f"""(() => {{
      const inside = document.getElementById('{name}'), box = inside.getBoundingClientRect();
      return [inside.closest('details').open, box.height > 50 && box.top >= 0 && box.top < innerHeight];
    }})()"""

    async def follow() -> tuple[Any, Any]:
        async with opened(endpoint, width, "light") as tab:
            await tab.open(page.as_uri())
            before = await tab.value(there)
            await tab.value(
                f"document.querySelector('.funnel a[href=\"#{name}\"]').dispatchEvent("
                "new MouseEvent('click', {bubbles: true, cancelable: true}))"
            )
            async with asyncio.timeout(30):
                while (after := await tab.value(there)) != [True, True]:
                    await asyncio.sleep(0.02)
            return before, after

    assert asyncio.run(follow()) == ([False, False], [True, True])


@pytest.mark.parametrize("width", WIDTHS)
def test_numbers_behind_figures_and_sets_fit_when_they_are_opened(endpoint: str, page: Path, width: int) -> None:
    opening = "document.querySelectorAll('.data, #leaks details').forEach(one => one.open = true)"
    seen, tab = look(endpoint, page.as_uri(), f"({opening}, {SEEN})", width)
    assert tab.complaints == [] and {url for url in tab.requests if not url.startswith("data:")} == {page.as_uri()}
    assert seen["wide"] <= 0 and seen["text"] >= 4.5
    html = page.read_text(encoding="utf-8")
    assert html.count('<details class="data">') == 6  # figures 5 to 8, under shift, what leaked
    assert all(f'<section id="{part}">' in html for part in ("shift", "leaks"))


def test_trouble_would_be_seen(endpoint: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<!doctype html><h1>h</h1><p style='width: 3000px; color: #ddd'>wide and pale</p>"
        "<svg class=plot><text>t</text></svg><img src='http://127.0.0.1:9/none.png'><script>nothing()</script>"
    )
    seen, tab = look(endpoint, bad.as_uri(), SEEN.replace(".plot svg", "svg.plot"))
    assert seen["wide"] > 1000 and seen["broken"] == 1 and seen["text"] < 2
    assert "http://127.0.0.1:9/none.png" in tab.requests
    assert any("nothing is not defined" in complaint for complaint in tab.complaints)
