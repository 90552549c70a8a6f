"""What stands in braces in a URL, filled as the scripts of lazy loading fill it."""

from __future__ import annotations

import pytest

from pipeline.inputs.pages.templates import filled


@pytest.mark.parametrize(
    ("value", "attributes", "expected"),
    [
        # the width
        ("/{width}.jpg", {}, "/1944.jpg"),
        ("/{ Width }.jpg", {}, "/1944.jpg"),
        ("/%7Bwidth%7D.jpg", {}, "/1944.jpg"),
        ("/_{width}x.jpg?w={width}", {"data-widths": "[320, 640]"}, "/_640x.jpg?w=640"),
        ("/{width}.jpg", {"data-widths": "[540, 2048, 4472]"}, "/2048.jpg"),
        ("/{width}.jpg", {"data-widths": "[3000, 4472]"}, "/3000.jpg"),
        ("/{width}.jpg", {"data-widths": "auto"}, "/1944.jpg"),
        ("/{width}.jpg", {"data-width": "900"}, "/900.jpg"),
        ("/{width}.jpg", {"data-width": "100%"}, "/1944.jpg"),
        ("/dog{.width}.jpg", {"data-cmp-widths": "320,1200"}, "/dog.1200.jpg"),
        ("/dog{.width}.jpg", {}, "/dog{.width}.jpg"),
        # the height
        ("/{width}x{height}.jpg", {"data-aspectratio": "1.5"}, "/1944x1296.jpg"),
        ("/{width}x{height}.jpg", {"data-aspectratio": "3/2", "data-widths": "[300]"}, "/300x200.jpg"),
        ("/{width}x{height}.jpg", {"data-aspect-ratio": "16:9", "data-widths": "[320]"}, "/320x180.jpg"),
        ("/{width}x{height}.jpg", {"data-ratio": "2"}, "/1944x972.jpg"),
        ("/{width}x{height}.jpg", {"data-width": "900", "data-height": "600"}, "/900x600.jpg"),
        ("/{width}x{height}.jpg", {}, "/1944x{height}.jpg"),
        ("/{width}x{height}.jpg", {"data-aspectratio": "0"}, "/1944x{height}.jpg"),
        ("/{width}x{height}.jpg", {"data-aspectratio": "container"}, "/1944x{height}.jpg"),
        # names of one's own
        ("/{width}/{custom}", {"data-custom": "foo"}, "/1944/foo"),
        ("/q_{quality}/{format}.jpg", {"data-quality": "80", "data-format": "full"}, "/q_80/full.jpg"),
        ("/{custom}", {"data-custom": "true"}, "/{custom}"),
        ("/{custom}", {"data-custom": "{width}"}, "/{custom}"),
        ("/{custom}", {"data-custom": "a b"}, "/{custom}"),
        ("/{custom}", {"data-custom": None}, "/{custom}"),
        ("/{custom}", {"custom": "foo"}, "/{custom}"),
        # the templates of others
        ("/{{width}}.jpg", {"data-widths": "[320]"}, "/{{width}}.jpg"),
        ("/${width}.jpg", {"data-widths": "[320]"}, "/${width}.jpg"),
        ("/#{width}.jpg", {"data-widths": "[320]"}, "/#{width}.jpg"),
        ("/width.jpg", {"data-widths": "[320]"}, "/width.jpg"),
    ],
)
def test_filled(value: str, attributes: dict[str, str | None], expected: str) -> None:
    assert filled(value, attributes, by_default=True) == expected


def test_without_a_script_the_element_has_to_say_with_what() -> None:
    assert filled("/{width}.jpg", {}) == "/{width}.jpg"
    assert filled("/{width}x{height}.jpg", {"data-aspectratio": "2"}) == "/{width}x{height}.jpg"
    assert filled("/{width}.jpg", {"data-widths": "[320]"}) == "/320.jpg"


@pytest.mark.parametrize(
    "value",
    ["{" * 1_000_000, "{width" * 100_000, "{a}" * 300_000, "%7b" * 300_000, "{" + " " * 9_900, "{a" + "a" * 9_900],
)
def test_a_value_made_to_hurt_stays_as_it_is(value: str) -> None:
    assert filled(value, {"data-a": "x" * 1_000_000, "data-widths": "9," * 500_000}, by_default=True) == value
