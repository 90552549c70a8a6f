"""Which images and texts are found in a page, and why the others are not taken."""

from collections import Counter

import pytest

from pipeline.inputs.archives.warc import Page
from pipeline.inputs.pages.extract import REASONS, Found, candidates
from pipeline.inputs.pages.sources import largest
from pipeline.web.urls import normalise

URL = "http://a.test/d/page.html"


def found(body: str, url: str = URL, headers: tuple[tuple[str, str], ...] = ()) -> list[Found]:
    return list(candidates(Page(url, body.encode("utf-8", "surrogatepass"), "utf-8", headers, 0, None)))


def short(rows: list[Found]) -> list[tuple[str, str, str]]:
    """(image_url or reason, text, text_source) of each row."""
    return [(row.reason or row.image_url, row.text, row.text_source) for row in rows]


A = "http://a.test/d/a.jpg"
PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACw="


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<img src=a.jpg alt='A  dog\n runs'>", [(A, "A dog runs", "alt")]),
        ("<img src=a.jpg alt=A title=B>", [(A, "A", "alt"), (A, "B", "title")]),
        ("<img src=a.jpg alt='A b' title=' A  b '>", [(A, "A b", "alt"), ("repeated_on_page", "A b", "title")]),
        ("<img src=a.jpg alt=A><img src=./a.jpg#x alt=A>", [(A, "A", "alt"), ("repeated_on_page", "A", "alt")]),
        ("<img src=a.jpg title=B>", [(A, "B", "title")]),
        ("<img src=a.jpg alt='&amp;&eacute;'>", [(A, "&é", "alt")]),
        ("<image src=a.jpg alt=A>", [(A, "A", "alt")]),
        ("<noscript><img src=a.jpg alt=A></noscript>", [(A, "A", "alt")]),
        ("<template><img src=a.jpg alt=A></template>", []),
        # figures
        ("<figure><img src=a.jpg><figcaption>C <b>D</b></figcaption></figure>", [(A, "C D", "figcaption")]),
        ("<figure><p><img src=a.jpg alt=A></p><figcaption>C", [(A, "A", "alt"), (A, "C", "figcaption")]),
        ("<figure><img src=a.jpg><figcaption>a<p>b</p>J<!-- -->oe<br>c", [(A, "a b Joe c", "figcaption")]),
        ("<figure><img src=a.jpg><figcaption>a<script>b</script>", [(A, "a", "figcaption")]),
        ("<figure><figure><img src=a.jpg></figure><figcaption>C</figcaption></figure>", [("no_text", "", "")]),
        ("<figure><figure><figcaption>D</figcaption></figure><img src=a.jpg><figcaption>C", [(A, "C", "figcaption")]),
        ("<figure><figcaption>C</figcaption></figure><img src=a.jpg>", [("no_text", "", "")]),
        ("<figure>" + "<div>" * 40 + "<img src=a.jpg>" + "</div>" * 40 + "<figcaption>C", [("no_text", "", "")]),
        # nothing to take
        ("<p>no image</p>", []),
        ("<img alt=A>", [("no_url", "", "")]),
        ("<img src='' alt=A>", [("no_url", "", "")]),
        ("<img src=a.jpg alt=' '>", [("no_text", "", "")]),
        (f"<img src='{PIXEL}' alt=A>", [("data_uri", "", "")]),
        ("<img src='javascript:x' alt=A>", [("url_invalid", "", "")]),
        ("<img src='http://[' alt=A>", [("url_invalid", "", "")]),
        (f"<img src='{'x' * 3000}' alt=A>", [("url_invalid", "", "")]),
        (f"<img src=a.jpg alt='{'x' * 10_001}' title=B>", [("text_too_long", "x" * 100, "alt"), (A, "B", "title")]),
    ],
)  # fmt: skip
def test_rows_of_a_page(body: str, expected: list[tuple[str, str, str]]) -> None:
    assert short(found(body)) == expected


@pytest.mark.parametrize(
    ("image", "url", "source"),
    [
        ("<img alt=A src=a.jpg srcset='b.jpg 2x'>", "a.jpg", "src"),
        ("<img alt=A src=a.jpg srcset='b.jpg 2x' data-src=c.jpg>", "c.jpg", "data-src"),
        (f"<img alt=A src='{PIXEL}' data-src=c.jpg>", "c.jpg", "data-src"),
        (f"<img alt=A src='{PIXEL.upper()}' data-lazy-src=c.jpg>", "c.jpg", "data-lazy-src"),
        ("<img alt=A src=/i/blank.gif data-original=c.jpg>", "c.jpg", "data-original"),
        ("<img alt=A src=/i/placeholder-300x200.png?v=2 srcset='b.jpg 2x'>", "b.jpg", "srcset"),
        ("<img alt=A src=/i/grey-heron.jpg>", "http://a.test/i/grey-heron.jpg", "src"),
        ("<img alt=A src=/i/blankenburg.jpg srcset='c.jpg 2x'>", "http://a.test/i/blankenburg.jpg", "src"),
        ("<img alt=A src='http://[' data-src=c.jpg>", "c.jpg", "data-src"),
        ("<img alt=A srcset='s.jpg 100w, b.jpg 900w, m.jpg 400w'>", "b.jpg", "srcset"),
        ("<img alt=A data-srcset='s.jpg, b.jpg 2x'>", "b.jpg", "data-srcset"),
        ("<picture><source srcset='p.webp 2x'><img alt=A></picture>", "p.webp", "source srcset"),
        ("<picture><source srcset='p.webp 2x'><img alt=A src=a.jpg></picture>", "a.jpg", "src"),
        (f"<picture><source data-srcset='p.webp'><img alt=A src='{PIXEL}'></picture>", "p.webp", "source srcset"),
        (
            "<picture><source srcset='http://['><source srcset='p.webp'><source srcset='q.webp'><img alt=A>",
            "p.webp",
            "source srcset",
        ),
        ("<picture><source srcset=o.webp><picture><source srcset=p.webp><img alt=A>", "p.webp", "source srcset"),
        ("<picture><source srcset='http://['><img alt=A src=/i/a-blank.gif>", "http://a.test/i/a-blank.gif", "src"),
    ],
)
def test_which_attribute_names_the_image(image: str, url: str, source: str) -> None:
    (row,) = found(image)
    assert (row.image_url, row.image_source) == (normalise(url, URL), source)


@pytest.mark.parametrize(
    ("srcset", "url"),
    [
        ("", ""),
        ("  , ,", ""),
        ("a.jpg", "a.jpg"),
        ("a.jpg 1x, b.jpg 2x", "b.jpg"),
        ("a.jpg 2x, b.jpg 2x", "a.jpg"),
        ("a.jpg 1.5x,b.jpg 0.5x", "a.jpg"),
        ("a.jpg, b.jpg 2x", "b.jpg"),
        ("w_300,h_2/a.jpg 300w, w_600,h_4/a.jpg 600w", "w_600,h_4/a.jpg"),
        ("data:,x 1x, b.jpg 2x", "b.jpg"),
        ("a.jpg 99999999999w, b.jpg 2x", "b.jpg"),
        ("a.jpg 100w 50h, b.jpg 90w", "b.jpg"),
        ("\n a.jpg\n 100w ,\n b.jpg\t200w\n", "b.jpg"),
    ],
)
def test_largest_of_a_srcset(srcset: str, url: str) -> None:
    assert largest(srcset) == url


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("<base href=http://b.test/x/>", "http://b.test/x/a.jpg"),
        ("<base href=../e/>", "http://a.test/e/a.jpg"),
        ("<base target=_top><base href=/first/><base href=/second/>", "http://a.test/first/a.jpg"),
        ("<base href='data:,x'>", "http://a.test/d/a.jpg"),
        ("<base>", "http://a.test/d/a.jpg"),
    ],
)
def test_base(base: str, url: str) -> None:
    assert [row.image_url for row in found(base + "<img src=a.jpg alt=A>")] == [url]


BY = "https://creativecommons.org/licenses/by/4.0/"
SA = "https://creativecommons.org/licenses/by-sa/4.0/"
IMAGE = "<img src=a.jpg alt=A>"
BOTH = f"<a href='{BY}'>CC</a><a href='{SA}'>CC</a>"


@pytest.mark.parametrize(
    ("body", "licence"),
    [
        (IMAGE, None),
        (f"<link rel='LICENSE' href='/terms'>{IMAGE}", "http://a.test/terms"),
        (f"{IMAGE}<a rel='nofollow license' href='{BY}'>CC</a>", BY),
        (f"{IMAGE}<a href='{BY}'>CC</a> <a href='{BY}#again'>CC</a>", BY),
        (f"{IMAGE}<a href='{BY}'>CC</a> <a href='{SA}'>CC</a>", None),
        (f"<figure>{IMAGE}<figcaption><a href='{BY}'>CC</a></figcaption></figure><a href='{SA}'>CC</a>", BY),
        (f"<figure>{IMAGE}</figure><a rel=license href='{SA}'>CC</a><a href='{BY}'>CC</a>", SA),
        (f"<figure>{IMAGE}<a href='{BY}'>CC</a><a href='{SA}'>CC</a></figure>", BY),
        (f"<figure>{IMAGE}<a href='//creativecommons.org/about'>CC</a><a href='{SA}'>CC</a></figure>{BOTH}", None),
        (f"<figure>{IMAGE}<figure><a href='{BY}'>CC</a></figure></figure>{BOTH}", BY),
        (f"{IMAGE}<a href='https://creativecommons.org/about'>CC</a>", None),
        (f"{IMAGE}<a href='https://evil.test/creativecommons.org/licenses/by/'>CC</a>", None),
        (f"{IMAGE}<a rel=license href='javascript:x'>CC</a>", None),
    ],
)
def test_licence(body: str, licence: str | None) -> None:
    assert found(body)[0].licence == licence


@pytest.mark.parametrize(
    ("head", "headers", "opt_out"),
    [
        ("", (), None),
        ("<meta name=robots content='index, follow'>", (), None),
        ("<meta name=Robots content='NoAI, noimageai'>", (), "noai,noimageai"),
        ("<meta name=tdm-reservation content=1>", (), "tdm"),
        ("<meta name=tdm-reservation content=0>", (), None),
        ("<meta name=description content=noai>", (), None),
        ("", (("x-robots-tag", "noindex"), ("tdm-reservation", "1")), "noindex,tdm"),
        ("<meta name=robots content=noai>", (("x-robots-tag", "noai"),), "noai"),
    ],
)
def test_opt_out(head: str, headers: tuple[tuple[str, str], ...], opt_out: str | None) -> None:
    rows = found(f"{head}{IMAGE}<img alt=B>", headers=headers)
    assert {row.opt_out for row in rows} == {opt_out}, "on candidates and on rows not taken"


L = "<a href=/x title='T t' aria-label=B>"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        # the link around an image that says nothing itself
        ("<a href=/x>A brown  dog <b>runs</b><img src=a.jpg></a>", [(A, "A brown dog runs", "link")]),
        ("<a href=/x><img src=a.jpg alt=''><h3>A dog</h3><p>It runs</p></a>", [(A, "A dog It runs", "link")]),
        (f"{L}<img src=a.jpg>C</a>", [(A, "T t", "link title"), (A, "B", "link aria-label"), (A, "C", "link")]),
        (f"{L}<img src=a.jpg alt=A>C</a>", [(A, "A", "alt")]),
        (f"{L}<img src=a.jpg title=A>C</a>", [(A, "A", "title")]),
        (f"{L}<img src=a.jpg aria-label=A>C</a>", [(A, "A", "aria-label")]),
        ("<figure><a href=/x title=T><img src=a.jpg></a><figcaption>C", [(A, "C", "figcaption")]),
        ("<a href=/x><img src=b.jpg alt=Other><img src=a.jpg></a>",
         [("http://a.test/d/b.jpg", "Other", "alt"), ("no_text", "", "")]),
        ("<a href=/x><script>s</script><img src=a.jpg></a>", [("no_text", "", "")]),
        ("<a name=x>Not a link<img src=a.jpg></a>", [("no_text", "", "")]),
        ("<a href=/x>Before</a><img src=a.jpg>", [("no_text", "", "")]),
        ("<a href=/x>" + "<b>" * 40 + "<img src=a.jpg>C</a>", [("no_text", "", "")]),
        (f"<a href=/x>{'x' * 10_001}<img src=a.jpg></a>", [("text_too_long", "x" * 100, "link")]),
        # the page's own image
        ("<meta property=og:image content=a.jpg><meta property=og:image:alt content=' A  dog'>",
         [(A, "A dog", "og:image:alt")]),
        ("<meta property=og:image content=b.jpg><meta property=og:image content=a.jpg>"
         "<meta property=og:image:width content=9><meta property=og:image:alt content=B>", [(A, "B", "og:image:alt")]),
        ("<meta property=og:image:alt content=B><meta property=og:image content=a.jpg>", [(A, "B", "og:image:alt")]),
        ("<meta property=og:image content=a.jpg><meta property=og:image:secure_url content=s.jpg>"
         "<meta property=og:image:alt content=B>", [(A, "B", "og:image:alt")]),
        ("<meta name=twitter:image content=a.jpg><meta name=twitter:image:alt content=B>",
         [(A, "B", "twitter:image:alt")]),
        ("<meta property=og:image content=a.jpg><meta name=twitter:image:alt content=B>",
         [(A, "B", "twitter:image:alt")]),
        ("<meta property=og:image content=a.jpg><meta property=og:image:alt content=A><img src=a.jpg alt=A>",
         [(A, "A", "alt"), ("repeated_on_page", "A", "og:image:alt")]),
        ("<meta property=og:image content=a.jpg>", []),
        ("<meta property=og:image:alt content=A>", []),
        ("<meta property=og:image content='http://['><meta property=og:image:alt content=A>",
         [("url_invalid", "", "")]),
        ("<meta property=og:image content=/i/blank.gif><meta property=og:image:alt content=A>",
         [("placeholder", "", "")]),
        # the parts of a map, for the picture that it divides
        ("<img src=a.jpg usemap='#m' alt=A><map name=m><area alt=' The  tail'><area alt=''><area alt=Nose></map>",
         [(A, "A", "alt"), (A, "The tail", "area alt"), (A, "Nose", "area alt")]),
        ("<img src=a.jpg usemap='#n' alt=A><map name=m><area alt=Tail></map>", [(A, "A", "alt")]),
        ("<map name=m><area alt=Tail></map>", []),
        # other elements
        ("<input type=IMAGE src=a.jpg alt=A><input type=text alt=B src=b.jpg>", [(A, "A", "alt")]),
        ("<amp-img src=a.jpg alt=A title=T></amp-img>", [(A, "A", "alt"), (A, "T", "title")]),
        ("<amp-anim srcset='b.jpg 1x, a.jpg 2x' alt=A></amp-anim>", [(A, "A", "alt")]),
        ("<amp-img placeholder src=a.jpg alt=A></amp-img>", [("placeholder", "", "")]),
        ("<svg><image href=a.jpg><title>T</title><desc>D</desc></image></svg>",
         [(A, "T", "svg title"), (A, "D", "svg desc")]),
        ("<svg><title>T</title><image xlink:href=a.jpg /></svg>", [(A, "T", "svg title")]),
        ("<object data=a.jpg type=image/jpeg>A <b>dog</b></object>", [(A, "A dog", "object")]),
        ("<object data=a.jpg>A dog</object>", [(A, "A dog", "object")]),
        ("<object data=a.pdf type=application/pdf>A dog</object><object data=a.swf>B</object>", []),
        ("<video poster=a.jpg title=A></video>", []),
    ],
)  # fmt: skip
def test_texts_around_images_and_other_elements(body: str, expected: list[tuple[str, str, str]]) -> None:
    assert short(found(body)) == expected


def test_what_named_the_image_of_other_elements() -> None:
    head = "<meta property=og:image content=o.jpg><meta property=og:image:alt content=O>"
    svg = "<svg><image href=s.jpg><title>S</title></image></svg>"
    body = f"<input type=image src=i.jpg alt=I>{svg}<object data=d.jpg>D</object>"
    assert [(row.text, row.image_source) for row in found(head + body)] == [
        ("I", "src"),
        ("S", "href"),
        ("D", "data"),
        ("O", "og:image"),
    ]


@pytest.mark.parametrize(
    ("body", "headers", "lang"),
    [
        (IMAGE, (), None),
        (f"<html lang=EN-gb>{IMAGE}", (), "en-gb"),
        (f"<html lang=en><body><div lang=' de '><p>{IMAGE}", (), "de"),
        (f"<html lang=en><body><p xml:lang=fr>{IMAGE}", (), "fr"),
        ("<html lang=en><img lang=es src=a.jpg alt=A>", (), "es"),
        (f"<html lang=''>{IMAGE}", (), None),
        (f"<html lang=en><meta http-equiv=Content-Language content=de>{IMAGE}", (), "en"),
        (f"<meta http-equiv=Content-Language content=de-AT>{IMAGE}", (("content-language", "fr"),), "de-at"),
        (IMAGE, (("content-language", "en, fr"),), "en, fr"),
        (f"<html lang='{'x' * 99}'>{IMAGE}", (), "x" * 35),
        (f"<html lang=de>{'<div>' * 100}{IMAGE}", (), "de"),
        ("<html lang=de><meta property=og:image content=a.jpg><meta property=og:image:alt content=A>", (), "de"),
        ("<html lang=de><img alt=A>", (), "de"),
    ],
)
def test_language_that_the_page_declares(body: str, headers: tuple[tuple[str, str], ...], lang: str | None) -> None:
    assert [row.page_lang for row in found(body, headers=headers)] == [lang]


def test_caps_have_names() -> None:
    assert Counter(row.reason for row in found("".join(f"<img src={n} alt=A>" for n in range(2_003)))) == {
        None: 2_000,
        "too_many_images": 3,
    }
    assert short(found(IMAGE + "<b>" * 40_000 + IMAGE))[1:] == [("too_many_tags", "", "")]
    flood = "<i " + " ".join(f"a{n}='>'" for n in range(5_000)) + ">"
    assert short(found(IMAGE + flood + IMAGE))[1:] == [("too_many_attributes", "", "")]
    assert short(found(IMAGE + flood.replace("'>'", "'<i>'") + IMAGE))[1:] == [("too_many_attributes", "", "")]


def test_captions_within_captions_are_read_until_it_is_too_much() -> None:
    nested = "<figure><img src=a.jpg alt=A><figcaption>x" * 1_500
    rows = found(nested + "<i>x</i>" * 10_000)
    assert Counter(row.text for row in rows if row.text_source == "alt") == {"A": 1_500}
    captions = [row for row in rows if row.text_source == "figcaption"]
    assert {row.reason for row in captions} == {"text_too_long"} and len(captions) == 1_500
    assert {len(row.text) for row in captions} == {0, 100}, "some were read as far as it takes"
    (row,) = found("<figure><img src=a.jpg><figcaption>" + " <b> y </b> " * 5_000)
    assert row.text == " ".join(["y"] * 5_000), "one caption is read whole"


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "body",
    [
        "<ul><li>" * 100_000,
        "<img " + " ".join(f"a{n}=1" for n in range(200_000)),
        "<img alt=A srcset='" + "a ( " * 200_000 + "'>",
        "<img alt=A srcset='" + ", " * 200_000 + "'>",
        "<figure><figcaption>" + "x <b>y</b>" * 5_000 + "</figcaption>" + "<img src=a>" * 5_000,
        "<figure><img src=a><figcaption>x</figcaption>" * 9_000,
        "<a href=x>" + "x" * 1_000_000 + "<img src=a>" * 2_000,
        "<a href=x title='" + "x" * 1_000_000 + "'>" + "<img src=a>" * 2_000,
        "<svg>" + "<g/>" * 20_000 + "<image href=a>" * 2_000,
        "<img src=a usemap=#m>" * 2_000 + "<map name=m>" + "<area alt=x>" * 20_000,
        "<object data=a type=image/png>" * 2_000 + "x" * 1_000_000,
        "<meta property=og:image content=a><meta property=og:image:alt content=b>" * 14_000,
        "<div>" * 9_000 + "<img src=a alt=A>" * 2_000,
        "<img src=a data-x='" + "[" * 1_000_000 + "'>",
        "<img src=# data-x='" + "{width}" * 100_000 + "' data-widths='" + "1," * 100_000 + "'>",
        "".join(f"<img src=a data-x{n}='/{n}.jpg'>" for n in range(20_000)),
        "<img src=# data-x='" + " 1w" * 300_000 + "'>",
        "<img src=# data-x='" + "url(" * 300_000 + ".jpg'>",
        "<img src=# alt=x>" * 2_000 + "<noscript>" + "<img src=b alt=x>" * 2_000,
        "".join(f"<img alt=x src=/{'a' * 2_000}{n}.gif>" for n in range(2_000)),
        "".join(f"<img alt=x src=/{'-1x' * 650}{n}>" for n in range(2_000)),
        "<img alt=A src='" + "/lazy" * 100_000 + "'>",
        "<meta name=robots content='" + "noai," * 100_000 + "'>",
        "<base href='" + "/" * 500_000 + "'>" + IMAGE,
        "<!--" * 100_000,
        "\0" * 500_000,
    ],
)
def test_a_page_cannot_take_long(body: str) -> None:
    assert {row.reason for row in found(body)} <= {None, *REASONS}
