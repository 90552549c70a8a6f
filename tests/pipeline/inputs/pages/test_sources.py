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


ELSEWHERE = ("iframe", "embed", "player", "ajax", "map", "modal", "audio", "video")


@pytest.mark.parametrize(
    "other",
    ["data-hover=/p/2.jpg", "data-alt-src=/p/2.jpg", "data-zoom-image=/p/2.jpg", "data-back=/p/2.jpg",
     "data-avatar=/p/2.jpg", "data-icon=/p/2.png", "data-href=/p/2.jpg", "data-fallback-src=/p/2.jpg",
     "data-lowsrc=/p/2.jpg", "lowsrc=/p/2.jpg", "data-src=/p/blank.gif", "data-src={{x}}", "data-src=#",
     "data-src=/dogs/", "data-src=/dogs.html", "data-lazy=true", "data-lazy-src=1", "data-original=640",
     f"data-src={GIF}", "data-src=page.html", "data-lazy-sizes='(max-width: 9px) 9px'", "data-title=dog.jpg",
     "data-name='/p/2.jpg'", "onerror=this.src='/p/2.jpg'", "data-thumb=/p/2.jpg", "data-look=/p/2.jpg",
     "data-video-src=/p/2.mp4", "data-src='http://['", "data-large-file=/p/2.jpg",
     # what opens in a frame, a player or a window, and URLs that may be anything
     *(f"data-{word}-src=//b.test/load/7" for word in [*ELSEWHERE, "frame", "popup", "content", "remote", "anything"]),
     *(f"data-{word}-src=/p/2.jpg" for word in ELSEWHERE),
     "data-src=https://www.youtube.com/embed/x", "data-lazy-src=//player.vimeo.com/video/7?h=9",
     "data-src='https://www.google.com/maps/embed?pb=!1m18'", "data-src='//maps.b.test/maps?q=a&output=embed'",
     "data-original=https://open.spotify.com/embed/track/7", "data-src=//b.test/dogs/7", "data-lazy=/p/view?id=7",
     "data-src='https://www.facebook.com/plugins/video.php?href=x&width=500'", "data-lazyload=//images.b.test/embed/7",
     # templates that nobody filled
     "data-src=/p/dog_{width}x{height}.jpg", "data-src=/p/{width}/{quality}.jpg", "data-srcset='/p/{w}.jpg 1x'",
     "data-look=/p/{width}.jpg", "data-src='/p/${width}.jpg'", "data-src=/p/{{width}}.jpg", "data-src=/p/{.width}.jpg"],
)  # fmt: skip
def test_what_does_not_win_over_a_good_src(other: str) -> None:
    (row,) = found(f"<img src=/p/1.jpg {other} alt=A>")
    assert (row.image_url, row.image_source) == ("http://a.test/p/1.jpg", "src")


@pytest.mark.parametrize("src", [GIF, "/i/blank.gif", "#", "/p/dog_20x20.jpg", "/i/7"])
@pytest.mark.parametrize(
    "lazy",
    ["data-src=//b.test/dogs/7", "data-lazy-src=/p/view?id=7", "zoomfile=forum.php?mod=attachment&amp;aid=Nw",
     "data-src=https://static1.b.test/static/5a/t/", "data-anything-src=//b.test/dogs/7"],
)  # fmt: skip
def test_a_url_without_extension_wins_over_what_is_no_picture_for_sure(src: str, lazy: str) -> None:
    (row,) = found(f"<img src='{src}' {lazy} alt=A>")
    assert row.image_source == lazy.partition("=")[0]


@pytest.mark.parametrize(
    "url",
    ["https://images.unsplash.com/photo-15?w=800", "https://cdn.b.test/7", "//b.test/image/upload/w_800/dog",
     "//b.test/media/dog/800x600", "/dog?wx_fmt=jpeg", "//b.test/i/7?auto=format"],
)  # fmt: skip
def test_a_service_of_pictures_in_an_attribute_that_is_known(url: str) -> None:
    (row,) = found(f"<img src=/small/dog.jpg data-src='{url}' alt=A>")
    assert row.image_url == normalise(url, URL)
    (row,) = found(f"<img src=/small/dog.jpg data-anything-src='{url}' alt=A>")
    assert row.image_source == "src"
    (row,) = found(f"<img src=/small/dog.jpg data-srcset='{url} 800w' alt=A>")
    assert row.image_source == "data-srcset"


def test_a_url_without_extension_where_several_images_share_a_src() -> None:
    rows = found("".join(f"<img src=/img/bg7.jpg data-src=//b.test/dogs/{n} alt='Dog {n}'>" for n in range(2)))
    assert [row.image_url for row in rows] == ["http://b.test/dogs/0", "http://b.test/dogs/1"]


def test_a_player_is_no_picture_even_if_it_is_alone() -> None:
    (row,) = found("<img src=/i/blank.gif data-src=https://www.youtube.com/embed/x alt=A>")
    assert row.reason == "placeholder"
    (row,) = found("<img src=/i/blank.gif data-src=https://img.youtube.com/vi/x/0.jpg alt=A>")
    assert row.image_url == "https://img.youtube.com/vi/x/0.jpg"


@pytest.mark.parametrize("preview", ["/p/dog_50x.jpg", "/p/dog_10x10.jpg", "/p/dog_20x.jpg?v=1", "/p/dog.jpg?w=40"])
@pytest.mark.parametrize(
    "template",
    ["data-src=/p/dog_{width}x{height}.jpg", "data-srcset=/p/dog_{size}.jpg", "data-src='{{ dog }}'",
     "data-lazy-src=/p/{width}/{quality}"],
)  # fmt: skip
def test_a_preview_that_a_template_was_to_replace(preview: str, template: str) -> None:
    assert [row.reason for row in found(f"<img src='{preview}' {template} alt=A>")] == ["placeholder"]
    source = f"<picture><source {template.replace('-src=', '-srcset=')}><img src='{preview}' alt=A></picture>"
    assert [row.reason for row in found(source)] == ["placeholder"]
    (row,) = found(f"<img src='{preview}' data-anything=/{{x}} alt=A>")
    assert (row.reason, row.image_source) == (None, "src"), "a small picture that nothing replaces is one"


@pytest.mark.parametrize(
    ("body", "source"),
    [
        ("<a href=/u/dog.jpg><img src=/u/tiny.jpg class=preview alt=A></a>", "src"),
        ("<a href=/u/dog.jpg class=progressive><img src=/u/tiny.jpg class=preview alt=A></a>", "src"),
        ("<a href=/u/dog.jpg class='progressive replace'><img src=/u/icon.png alt=A></a>", "src"),
        ("<a href='#' class='progressive replace'><img src=/u/tiny.jpg class=preview alt=A></a>", "src"),
        ("<a href=/i/blank.gif class='progressive replace'><img src=/u/tiny.jpg class=preview alt=A></a>", "src"),
        ("<p data-href=/u/dog.jpg class='replace progressive'><img src=/u/tiny.jpg class=preview alt=A></p>",
         "link href"),
    ],
)  # fmt: skip
def test_a_preview_whose_link_leads_to_the_picture(body: str, source: str) -> None:
    assert [row.image_source for row in found(body)] == [source]


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
