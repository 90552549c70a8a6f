"""Which URL an image has, whatever the script that loads it, and which URLs name no picture at all."""

from __future__ import annotations

import pytest

from pipeline.inputs.archives.warc import Page
from pipeline.inputs.pages.extract import Found, candidates
from pipeline.inputs.pages.placeholders import blank
from pipeline.web.urls import normalise
from tests.pipeline.inputs.pages.layouts import GIF, SYSTEMS, URL
from tests.pipeline.inputs.pages.layouts_plugins import PLUGINS

LAYOUTS = SYSTEMS | PLUGINS


def found(body: str) -> list[Found]:
    return list(candidates(Page(URL, body.encode(), "utf-8", (), 0, None)))


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_picture_of_a_layout_once(name: str) -> None:
    layout = LAYOUTS[name]
    kept = [row for row in found(layout.html) if row.reason is None]
    answer = (normalise(layout.url, URL), "A dog", layout.attribute)
    assert [(row.image_url, row.text, row.image_source) for row in kept] == [answer]


def test_the_layouts_have_their_sources() -> None:
    assert len(LAYOUTS) == len(SYSTEMS) + len(PLUGINS)
    sources = [layout.source for layout in LAYOUTS.values() if layout.source]
    assert len(sources) >= 30
    assert [source for source in sources if not source.startswith("https://")] == []


@pytest.mark.parametrize(
    ("html", "urls"),
    [
        # one grey picture for all, as a script finds it
        ("".join(f"<img src=/img/lgray.png data-src=/p/{n}.jpg alt='A brown dog number {n}'>" for n in range(3)),
         ["/p/0.jpg", "/p/1.jpg", "/p/2.jpg"]),
        ("".join(f"<img src=/img/bg7.jpg data-look=/p/dog{n}.jpg alt='Dog {n}'>" for n in range(2)),
         ["/p/dog0.jpg", "/p/dog1.jpg"]),
        ("".join(f"<img src=/img/bg7.jpg data-a=/p/dog{n}.jpg alt='Dog {n}'>" for n in range(2))
         + "<img src=/img/bg7.jpg alt='Dog 3'>", ["/p/dog0.jpg", "/p/dog1.jpg", "placeholder"]),
        ("".join(f"<picture><source data-srcset=/p/dog{n}.jpg><img src=/img/bg7.jpg alt=A></picture>" for n in "ab"),
         ["/p/doga.jpg", "/p/dogb.jpg"]),
        ("".join(f"<a href=/p/dog{n}.jpg><img src=/img/bg7.jpg alt='Dog {n}'></a>" for n in "ab"), ["placeholder"] * 2),
        ("".join(f"<a href=/shop/{n}><img src=/img/dog.jpg alt='Dog {n}'></a>" for n in "ab"), ["/img/dog.jpg"] * 2),
        # the same picture in several sizes, a logo with one for fine screens, a zoom icon: not shared
        ("<img src=/p/dog.jpg data-look=/p/dog-300x200.jpg alt=A><img src=/p/dog.jpg data-look=/p/dog-600x400.jpg "
         "alt=B>", ["/p/dog.jpg", "/p/dog.jpg"]),
        ("<img src=/l.jpg data-retina=/l2.jpg alt=A><img src=/l.jpg data-retina=/l3.jpg alt=B>", ["/l.jpg", "/l.jpg"]),
        ("<img src=/z.png data-zoom=/p/1.jpg alt=A><img src=/z.png data-zoom=/p/2.jpg alt=B>", ["/z.png", "/z.png"]),
    ],
)  # fmt: skip
def test_a_src_that_several_pictures_share(html: str, urls: list[str]) -> None:
    assert [row.reason or row.image_url for row in found(html)] == [
        url if url == "placeholder" else normalise(url, URL) for url in urls
    ]


@pytest.mark.parametrize(
    "src",
    ["#", "?", "", " ", "about:blank", "{{x}}", "{% src %}", "${src}", "<%= src %>", "[[src]]", "/p/{width}.jpg",
     "/p/%s", "__URL__", "'+url+'", "undefined", "null", "/", "page.html", "./page.html#top", "http://a.test",
     "%7B%7Bx%7D%7D", "/i/{size}/dog.jpg", ".", "./", "$src", "$photo.url", "@Model.Url"],
)  # fmt: skip
def test_a_src_that_names_nothing(src: str) -> None:
    image = f'<img src="{src}" alt=A>'
    assert [row.reason for row in found(image)] == ["no_url"]
    (row,) = found(f'<img src="{src}" alt=A data-photo=/p/dog.jpg>')
    assert (row.image_url, row.image_source) == ("http://a.test/p/dog.jpg", "data-photo")


@pytest.mark.parametrize("src", [GIF, "/i/blank.gif", "/img/lgray.png", "#"])
@pytest.mark.parametrize(
    "name",
    ["data-lsrc", "data-gt-lazy-src", "data-swap", "data-img-url", "data-td-src-property", "data-pagespeed-lazy-src",
     "data-src", "data-lazy", "data-image", "data-full", "data-origin", "data-actualsrc", "lazy-src", "real-src",
     "_src", "nitro-lazy-src", "data-anything"],
)  # fmt: skip
def test_an_attribute_of_any_name(src: str, name: str) -> None:
    (row,) = found(f"<img src='{src}' {name}='/p/dog.jpg?v=2' alt=A>")
    assert (row.image_url, row.image_source) == ("http://a.test/p/dog.jpg?v=2", name)


@pytest.mark.parametrize(
    "other",
    ["data-hover=/p/2.jpg", "data-alt-src=/p/2.jpg", "data-zoom-image=/p/2.jpg", "data-back=/p/2.jpg",
     "data-avatar=/p/2.jpg", "data-icon=/p/2.png", "data-href=/p/2.jpg", "data-fallback-src=/p/2.jpg",
     "data-lowsrc=/p/2.jpg", "lowsrc=/p/2.jpg", "data-src=/p/blank.gif", "data-src={{x}}", "data-src=#",
     "data-src=/dogs/", "data-src=/dogs.html", "data-lazy=true", "data-lazy-src=1", "data-original=640",
     f"data-src={GIF}", "data-src=page.html", "data-lazy-sizes='(max-width: 9px) 9px'", "data-title=dog.jpg",
     "data-name='/p/2.jpg'", "onerror=this.src='/p/2.jpg'", "data-thumb=/p/2.jpg", "data-look=/p/2.jpg",
     "data-video-src=/p/2.mp4", "data-src='http://['", "data-large-file=/p/2.jpg"],
)  # fmt: skip
def test_what_does_not_win_over_a_good_src(other: str) -> None:
    (row,) = found(f"<img src=/p/1.jpg {other} alt=A>")
    assert (row.image_url, row.image_source) == ("http://a.test/p/1.jpg", "src")


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ("src=/i/blank.gif", "placeholder"),
        ("src=/i/blank.gif data-hover=/p/2.jpg", "placeholder"),
        ("src=/i/blank.gif data-caption=dog.jpg data-name='my dog.jpg'", "placeholder"),
        (f"src='{GIF}' data-src='{GIF}'", "data_uri"),
        ("src=/i/spacer.gif data-src='{{x}}'", "placeholder"),
        ("data-src='{{x}}'", "no_url"),
        ("src=https://placehold.co/600x400", "placeholder"),
        ("src='/_ipx/q_50&amp;blur_3&amp;s_10x10/dog.jpg' data-nuxt-img=''", "placeholder"),  # Nuxt's preview
        ("src='/i/blank.gif' data-sources='" + "[" * 100_000 + ".jpg'", "placeholder"),
        ("src='/i/blank.gif' data-sources='{\"a\": " + "9" * 9_000 + ', "b.jpg": 1}\'', "placeholder"),
    ],
)
def test_an_image_without_a_picture(attributes: str, reason: str) -> None:
    assert [row.reason for row in found(f"<img {attributes} alt=A>")] == [reason]


@pytest.mark.parametrize(
    ("verdict", "names"),
    [
        ("yes", "blank.gif lgray.png spacer.gif loading.gif transparent.png grey.gif 1x1.png 1x1.trans.gif b.gif x.gif"
                " placeholder-300x200.png lazy_placeholder.gif noImage.jpg no-image.png missing-image.svg 16x9.png"
                " placeholder.webp ajax-loader.gif dog.jpg?q=20&w=40 dog.jpg?w=400&blur=50 dog-lqip.jpg shim.gif"),
        ("perhaps", "pixel.gif dog-20x15.jpg dog.jpg?w=40 dog_20x20.jpg spar_quer_transparent.png grey-heron.jpg"
                    " lazy.jpg grey.jpg loading.jpg"),
        ("no", "dog.jpg blankenburg.jpg 88x31.png dog@2x.png dog_2x.png dog_16x9.jpg default.jpg black-dog.png"
               " motion-blur.jpg skeleton.jpg dog-300x200.jpg dog.jpg?w=400&q=20 x.jpg dog.jpg?blur=0 image?id=3"),
    ],
)  # fmt: skip
def test_blank(verdict: str, names: str) -> None:
    assert [(name, blank(f"http://a.test/p/{name}")) for name in names.split()] == [
        (name, verdict) for name in names.split()
    ]
