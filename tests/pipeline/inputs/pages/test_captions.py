"""Which images a caption is about: of figures, and of content systems that mark it by a class."""

from __future__ import annotations

import pytest

from pipeline.inputs.archives.warc import Page
from pipeline.inputs.pages.captions import MAX_CLIMB
from pipeline.inputs.pages.extract import candidates


def texts(body: str) -> list[tuple[str, str, str]]:
    """(file's name or reason, text, text_source) of each row."""
    page = Page("http://a.test/d/page.html", body.encode(), "utf-8", (), 0, None)
    rows = candidates(page)
    return [(row.reason or row.image_url.removeprefix("http://a.test/d/"), row.text, row.text_source) for row in rows]


IMG = "<img src=a.jpg>"
ICON = "<img src=i.png alt=I>"
OWN = ("a.jpg", "C", "figcaption")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        # what stands in a caption is not what it is about
        (f"<figure>{IMG}<figcaption>C {ICON}</figcaption></figure>", [OWN, ("i.png", "I", "alt")]),
        (f"<figure><figcaption><p>C <span>{ICON}</span></p></figcaption>{IMG}", [("i.png", "I", "alt"), OWN]),
        (f"<figure>{IMG}<figcaption>C <img src=i.png></figcaption></figure>", [OWN, ("no_text", "", "")]),
        (f"<figure><video></video><figcaption>C {ICON}</figcaption></figure>", [("i.png", "I", "alt")]),
        (f"<figure><div>{IMG}</div><div><figcaption>C {ICON}</figcaption></div>", [OWN, ("i.png", "I", "alt")]),
        ("<figure><img src=b.jpg><figcaption>D <figure><img src=a.jpg><figcaption>C</figcaption></figure>",
         [("b.jpg", "D C", "figcaption"), OWN]),
        # a caption that is not a child of its figure
        (f"<figure>{IMG}<div><figcaption>C</figcaption></div></figure>", [OWN]),
        (f"<figure><a href=x>{IMG}<div><div><figcaption>C</figcaption></div></div></a></figure>", [OWN]),
        (f"<figure><div><figcaption>C</figcaption></div><div>{IMG}</div></figure>", [OWN]),
        (f"<figure><div><figcaption>B</figcaption></div>{IMG}<figcaption>C</figcaption></figure>", [OWN]),
        (f"<figure>{IMG}<div><figure><figcaption>B</figcaption></figure></div></figure>", [("no_text", "", "")]),
        (f"<figure>{IMG}<div><figure><div><figcaption>B</figcaption></div></figure></div><p><figcaption>C", [OWN]),
        # of several whose each is cannot be told
        (f"<figure><div>{IMG}<figcaption>A</figcaption></div><div><img src=b.jpg><figcaption>B</figcaption></div>",
         [("no_text", "", "")] * 2),
        (f"<figure>{IMG}<figcaption>C</figcaption><figcaption>D</figcaption></figure>", [OWN]),
        (f"<figure>{'<div>' * MAX_CLIMB}<figcaption>C</figcaption>{'</div>' * MAX_CLIMB}{IMG}", [("no_text", "", "")]),
        (f"<figcaption>C</figcaption>{IMG}", [("no_text", "", "")]),
    ],
)  # fmt: skip
def test_captions_of_figures(body: str, expected: list[tuple[str, str, str]]) -> None:
    assert texts(body) == expected


MAGNIFY = "<div class=magnify><a href=/wiki/File:A.jpg title=Enlarge></a></div>"
SYSTEMS = {  # as their pages have them: %s is the image, C its caption
    "WordPress, classic": (
        "<div id=attachment_7 style='width: 310px' class='wp-caption alignleft'><a href=a.jpg>%s</a>"
        "<p id=caption-attachment-7 class=wp-caption-text>C</p></div>",
        "wp-caption-text",
    ),
    "WordPress, in a frame of a theme": (
        "<div class='wp-caption aligncenter'><div class=frame>%s<p class=wp-caption-text>C</p></div></div>",
        "wp-caption-text",
    ),
    "WordPress, a <figure> without a figcaption": (
        "<figure class=wp-caption>%s<p class='wp-caption-text'>C</p></figure>",
        "wp-caption-text",
    ),
    "WordPress's gallery": (
        "<dl class=gallery-item><dt class='gallery-icon landscape'><a href='/a/'>%s</a></dt>"
        "<dd class='wp-caption-text gallery-caption' id=gallery-1-7>C</dd></dl>",
        "wp-caption-text",
    ),
    "MediaWiki": (
        "<div class='thumb tright'><div class=thumbinner style='width:222px;'><a href=/wiki/File:A.jpg class=image>%s"
        f"</a><div class=thumbcaption>{MAGNIFY}C</div></div></div>",
        "thumbcaption",
    ),
    "MediaWiki, several side by side": (
        "<div class='thumb tmulti tright'><div class='thumbinner multiimageinner'><div class=trow><div class=tsingle>"
        "<div class=thumbimage><a href=/wiki/File:A.jpg>%s</a></div><div class=thumbcaption>C</div></div><div "
        "class=tsingle><div class=thumbimage></div><div class=thumbcaption>D</div></div></div></div></div>",
        "thumbcaption",
    ),
    "MediaWiki's gallery": (
        "<ul class='gallery mw-gallery-traditional'><li class=gallerybox style='width: 155px'><div class=thumb><a "
        "href=/wiki/File:A.jpg class=image>%s</a></div><div class=gallerytext><p>C\n</p></div></li>"
        "<li class=gallerybox><div class=thumb></div><div class=gallerytext>D</div></li></ul>",
        "gallerytext",
    ),
    "Blogger": (
        "<table align=center cellpadding=0 cellspacing=0 class=tr-caption-container><tbody><tr><td><a href=a.jpg>%s</a>"
        "</td></tr><tr><td class=tr-caption style='text-align: center;'>C</td></tr></tbody></table>",
        "tr-caption",
    ),
}  # fmt: skip


@pytest.mark.parametrize("system", SYSTEMS)
def test_captions_of_content_systems(system: str) -> None:
    html, source = SYSTEMS[system]
    assert texts(html % IMG) == [("a.jpg", "C", source)]
    assert texts(html % "<img src=a.jpg alt=A title=T>") == [
        ("a.jpg", "A", "alt"),
        ("a.jpg", "T", "title"),
        ("a.jpg", "C", source),
    ]
    around = f"<img src=b.jpg>{html % IMG}<p class=wp-caption-text>E</p><img src=c.jpg>"
    assert texts(around) == [("no_text", "", ""), ("a.jpg", "C", source), ("no_text", "", "")]


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_stands_in_the_caption_of_a_content_system(system: str) -> None:
    html, source = SYSTEMS[system]
    before, _, behind = html.rpartition("C")
    assert texts(f"{before}C {ICON}{behind}" % IMG) == [("a.jpg", "C", source), ("i.png", "I", "alt")]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        # a figcaption is one text, whatever class it has
        (f"<figure class=wp-caption>{IMG}<figcaption class=wp-caption-text>C</figcaption></figure>", [OWN]),
        (f"<div class=wp-caption><figure>{IMG}<figcaption class=wp-caption-text>C</figcaption></figure></div>", [OWN]),
        (f"<div class=wp-caption>{IMG}<figcaption class=wp-caption-text>C</figcaption></div>",
         [("a.jpg", "C", "wp-caption-text")]),
        # both kinds at once
        (f"<figure><div class=wp-caption>{IMG}<p class=wp-caption-text>B</p></div><figcaption>C</figcaption></figure>",
         [OWN, ("a.jpg", "B", "wp-caption-text")]),
        # pictures that share a caption, and captions that share a holder
        (f"<table class=tr-caption-container><tr><td>{IMG}<img src=b.jpg><tr><td class=tr-caption>C</table>",
         [("a.jpg", "C", "tr-caption"), ("b.jpg", "C", "tr-caption")]),
        (f"<div class=thumb><div>{IMG}<p class=thumbcaption>C</div><div><img src=b.jpg><p class=thumbcaption>D</div>",
         [("no_text", "", "")] * 2),
        # classes without their partner, or of another name
        (f"<div class=wp-caption>{IMG}<p class=caption>C</p></div>", [("no_text", "", "")]),
        (f"<div class=post>{IMG}<p class=wp-caption-text>C</p></div>", [("no_text", "", "")]),
        (f"<div class=thumb>{IMG}<p class=tr-caption>C</p></div>", [("no_text", "", "")]),
        (f"<div class=wp-caption-x>{IMG}<p class=wp-caption-text>C</p></div>", [("no_text", "", "")]),
        (f"<div class=wp-caption>{IMG}<p class=wp-caption-text> </p></div>", [("no_text", "", "")]),
        # the text of the link is read where there is no other
        (f"<div class=wp-caption><a href=x title=T>{IMG}</a><p class=wp-caption-text>C</p></div>",
         [("a.jpg", "C", "wp-caption-text")]),
    ],
)  # fmt: skip
def test_captions_by_class(body: str, expected: list[tuple[str, str, str]]) -> None:
    assert texts(body) == expected


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "body",
    [
        "<div class=wp-caption>" + IMG + "<p class=wp-caption-text>x" * 9_000,
        f"<div class=wp-caption>{IMG}<b class=wp-caption-text>x" * 7_000,
        "<figure>" + IMG * 2_000 + "<i><figcaption>x" * 9_000,
        f"<table class=tr-caption-container><td class=tr-caption>x{IMG}" * 5_000,
        "<div class='" + "thumb " * 200_000 + "'>" + f"<p class=thumbcaption>x</p>{IMG}" * 5_000,
    ],
)
def test_captions_of_a_page_cannot_take_long(body: str) -> None:
    assert {reason for reason, _, _ in texts(body)} & {"a.jpg", "no_text", "text_too_long"}
