"""Every rule with texts that it drops, and captions in many languages that none may drop."""

import json
import re
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.text.rules import RULES, Row, Thresholds, verdict

PHOTO = "https://a.test/photos/dog-on-beach.jpg"
ANY = Thresholds(languages=[])


def row(text: str, image_url: str = PHOTO, lang: str | None = "en", score: float | None = 0.9) -> Row:
    return Row(text=text, image_url=image_url, lang=lang, lang_score=score)


DROPPED = [
    ("too_long", "word " * 201),
    ("is_boilerplate", "image"),
    ("is_boilerplate", "Photo #12"),
    ("is_boilerplate", "Click here to enlarge..."),
    ("is_boilerplate", "[Logo]"),
    ("is_boilerplate", "No image available"),
    ("is_boilerplate", "Hier klicken"),
    ("is_boilerplate", "Agrandir l’image"),
    ("is_boilerplate", "Haz clic aquí"),
    ("is_boilerplate", "Изображение 3"),
    ("is_boilerplate", "图片1"),
    ("is_boilerplate", "アイキャッチ画像"),
    ("is_boilerplate", "자세히 보기"),
    ("is_boilerplate", "चित्र"),
    ("is_a_filename", "beach-2.jpg"),
    ("is_a_filename", "My Holiday 014.JPG"),
    ("is_a_filename", "20160716_113957.JPG"),
    ("is_a_filename", '"c:\\pictures\\dog.png"'),
    ("is_a_filename", "Untitled.png"),
    ("is_a_filename", "My long Holiday in Spain 014.JPG"),
    ("is_a_filename", "98a8e084f2bc4be1.jpg (781x451)"),
    ("is_a_filename", "dog.jpg [12.5 KB]"),
    ("is_a_camera_name", "IMG_1234"),
    ("is_a_camera_name", "SAM_0123"),
    ("is_a_camera_name", "WhatsApp-Image-2022-05-03-at-7.14.15-PM"),
    ("is_a_camera_name", "Zrzut ekranu 2020-10-17 o 18.55.16"),
    ("is_a_camera_name", "Capture d’écran 2020-10-17 à 18.55.16"),
    ("is_a_camera_name", "shutterstock_123456789"),
    ("is_a_camera_name", "AdobeStock 123456789 small"),
    ("is_boilerplate", "Page 12 of 40"),
    ("is_a_camera_name", "DSC01234 (Large)"),
    ("is_a_camera_name", "DSCN0001 copy"),
    ("is_a_camera_name", "FB_IMG_1555512345"),
    ("is_a_camera_name", "MVIMG_20190504_123456"),
    ("is_a_camera_name", "P1010001"),
    ("is_a_camera_name", "Screenshot 2020-01-01 at 10.11.12 AM"),
    ("is_a_camera_name", "WhatsApp Image 2020-05-01 at 10.11.12"),
    ("is_boilerplate", "Picture 1 of 12"),
    ("is_boilerplate", "unnamed (1)"),
    ("is_a_url", "https://a.test/some/page"),
    ("is_a_url", "www.example.org"),
    ("is_a_url", "jane.doe@example.com"),
    ("is_a_url", "example.com/shop - http://a.test"),
    ("is_a_number_or_date", "12/05/2019"),
    ("is_a_number_or_date", "Friday, May 3rd, 2019 at 10:35 pm"),
    ("is_a_number_or_date", "3 janvier 2019"),
    ("is_a_number_or_date", "2019年5月3日"),
    ("is_a_number_or_date", "€ 12.99"),
    ("is_a_number_or_date", "1024 x 768 px"),
    ("is_a_number_or_date", "10 20 30 40"),
    ("is_a_number_or_date", "12/05/2024 10:33"),
    ("is_a_number_or_date", "$12.99"),
    ("is_a_number_or_date", "1,200 руб."),
    ("is_a_number_or_date", "Sept. 11"),
    ("is_a_number_or_date", "3 mars 2019"),
    ("is_camera_settings", "Canon EOS 5D, f/2.8, 1/250 s, ISO 400"),
    ("is_camera_settings", "Exposure: 1/60 sec. Aperture: f/8 Focal length: 50 mm"),
    ("is_camera_settings", "f/8, 1/250"),
    ("is_camera_settings", "NIKON D90 ISO 200 35mm"),
    ("is_a_credit", "Photo: Jane Doe / Flickr"),
    ("is_a_credit", "Photo by John Smith"),
    ("is_a_credit", "Image courtesy of NASA"),
    ("is_a_credit", "© 2019 Example Limited"),
    ("is_a_credit", "Photo credit: the library of congress"),
    ("is_a_credit", "Foto: Max Müller/dpa"),
    ("has_markup", "A dog <br/> on the beach"),
    ("has_markup", '<a href="x">dog on the beach</a>'),
    ("has_markup", "Welcome {{ user.name }} to the beach"),
    ("has_markup", "[caption id=12]A dog on the beach"),
    ("has_markup", "click javascript:open the beach"),
    ("has_markup", "function (a) return the dog"),
    ("has_markup", "body { color: red; margin: none }"),
    ("has_markup", "<script>alert(1)</script> dog"),
    ("has_markup", "<IMG SRC=x> a dog"),
    ("has_markup", 'a dog <a href="http://a.test'),
    ("has_markup", "function f(x) { x } dog"),
    ("has_markup", '{"@type": "Image"} dog'),
    ("has_markup", "{src: 'a.png', alt: x} dog"),
    ("has_markup", ".cls-1{fill:#fff} dog"),
    ("has_markup", "h1 {font-family: Arial, sans-serif}"),
    ("has_markup", "body { color: red"),
    ("has_markup", "var _gaq = _gaq || [] dog"),
    ("has_markup", "a dog; if (x) { var n = 3"),
    ("broken_encoding", "Caf\ufffd at the beach"),
    ("broken_encoding", "CafÃ© at the beach"),
    ("broken_encoding", "the dogâ€™s beach"),
    ("broken_encoding", "a\u0092s beach dog"),
    ("broken_encoding", "781\xc3\x97451 dogs"),
    ("too_short", "dog"),
    ("too_short", "a cat"),
    ("too_few_words", "Schadenfreude"),
    ("too_few_words", "sunset ***"),
    ("too_few_words", "夕日"),
    ("too_few_words", "แมว"),
    ("mostly_symbols", "*** 50% OFF !!! ***"),
    ("mostly_symbols", "★★★★☆ (12) x y"),
    ("mostly_symbols", "A1 B2 C3 D4 - 5"),
    ("mostly_symbols", "50% OFF!"),
    ("mostly_symbols", "#1 | a | 3"),
    ("mostly_symbols", ":-) ;-) x y"),
    ("mostly_symbols", "a-1234-5678-9012 b"),
    ("mostly_symbols", "20287090_10154588415381898 o"),
    ("mostly_symbols", "XK 123456789"),
    ("repetitive", "dog, dog, dog, dog"),
    ("repetitive", "cheap cheap cheap cheap shoes shoes shoes shoes shoes"),
    ("repetitive", "nooooooooooooo way"),
    ("repetitive", "哈哈哈哈哈哈哈哈哈哈哈"),
]


@pytest.mark.parametrize(("reason", "text"), DROPPED)
def test_dropped(reason: str, text: str) -> None:
    assert verdict(row(text), ANY) == reason


URLS = [
    ("is_tracking_pixel", "https://a.test/img/1x1.gif"),
    ("is_tracking_pixel", "https://a.test/Spacer.GIF"),
    ("is_tracking_pixel", "https://a.test/img/transparent.png"),
    ("is_tracking_pixel", "https://a.test/1x1-transparent.gif"),
    ("is_tracking_pixel", "https://a.test/pixel_transparent2.gif?x"),
    ("is_tracking_pixel", "https://a.test/img_spacer.gif"),
    ("is_tracking_pixel", "https://a.test/counter.php"),
    ("is_tracking_pixel", "https://pixel.a.test/?x=1"),
    ("is_tracking_pixel", "https://www.facebook.com/tr?id=1&noscript=1"),
    ("is_tracking_pixel", "https://ad.doubleclick.net/x"),
    ("is_tracking_pixel", "https://a.test/stats/piwik.php?idsite=1"),
    ("is_an_icon", "https://a.test/icons/dog.png"),
    ("is_an_icon", "https://a.test/favicon-32.png"),
    ("is_an_icon", "https://a.test/wp-includes/images/smilies/x.gif"),
    ("is_an_icon", "https://secure.gravatar.com/avatar/0123?s=48"),
    ("is_an_icon", "https://a.test/dog-16x16.png"),
    ("is_an_icon", "https://a.test/dog-32x32.jpg"),
    ("is_an_icon", "https://a.test/sprites/dog.png"),
    ("is_an_icon", "https://a.test/emoji/1f600.png?v=1"),
    ("is_not_a_bitmap", "https://a.test/dog.svg"),
    ("is_not_a_bitmap", "https://a.test/dog.SVG?v=2"),
    ("is_not_a_bitmap", "https://a.test/film.mp4"),
    (None, "https://a.test/religious-icon-of-nicholas.jpg"),
    (None, "https://a.test/lexicon/dog.jpg"),
    (None, "https://a.test/google-pixel.jpg"),
    (None, "https://a.test/spar_quer_transparent.png"),
    (None, "https://a.test/tea_transparent_1.png"),
    (None, "https://a.test/a/transparent-vase.png"),
    (None, "https://a.test/car/wheel-spacer.png"),
    (None, "https://a.test/domino-blank.gif"),
    (None, "https://a.test/water-clear.png"),
    (None, "https://a.test/phones/pixel-7.png"),
    (None, "https://a.test/geiger-counter.gif"),
    (None, "https://a.test/kitchen/counter.jpg"),
    (None, "https://stats.a.test/players/dog.jpg"),
    (None, "https://a.test/icons/saint-nicholas.jpg"),
    (None, "https://a.test/drinks/sprite-can.jpg"),
    (None, "https://a.test/bullets/9mm.jpeg?w=600"),
    (None, "https://a.test/emoji/pillow.jpg"),
    (None, "https://a.test/poster-16x20.jpg"),
    (None, "https://a.test/tile-12x24.png"),
    (None, "https://a.test/canvas-12x12.jpg"),
    (None, "https://a.test/dog-1032x320.jpg"),
    (None, "https://a.test/dog.svg?w=600&format=png"),
    (None, "https://a.test/thumb.php?src=film.mp4"),
    (None, "https://a.test/blank-canvas.jpg"),
    (None, "https://a.test/dog-1024x768.jpg"),
    (None, "https://a.test/116x16/dog.jpg"),
    (None, "https://a.test/flags/germany.png"),
    (None, "https://a.test/dog.svg.png"),
    (None, "https://track-and-field.test/dog.jpg"),
]


@pytest.mark.parametrize(("reason", "url"), URLS)
def test_addresses(reason: str | None, url: str) -> None:
    assert verdict(row("A dog runs along the beach", url), ANY) == reason


LANGUAGES = [
    ("language_not_wanted", "de", 0.99, ["en"]),
    ("language_not_wanted", None, None, ["en"]),
    ("language_unsure", "en", 0.1245, ["en"]),
    ("language_unsure", "en", None, ["en"]),
    (None, "en", 0.25, ["en"]),
    (None, "de", 0.99, ["en", "de"]),
    (None, "de", 0.05, []),
]


@pytest.mark.parametrize(("reason", "lang", "score", "languages"), LANGUAGES)
def test_languages(reason: str | None, lang: str | None, score: float | None, languages: list[str]) -> None:
    assert verdict(row("A dog runs along the beach", PHOTO, lang, score), Thresholds(languages=languages)) == reason


def test_the_tables_cover_every_rule() -> None:
    tested = {reason for reason, _ in DROPPED} | {reason for reason, _ in URLS} | {reason for reason, *_ in LANGUAGES}
    assert tested - {None} == set(RULES)


KEPT = """
Krabi Airport (2007-02-551) | 1977 Dodge W200 | VW T1 1967 | BMW R1200 | Boeing 747-8F | Bf 109 E-4 | Me 262
T-34/85 tank | USS Nimitz (CVN-68) | PH-BVA 777-306 | N7 6DX | M-AB 1234 | KA 01 AB 1234 | Apollo 11 | NGC 1300
RU 486 | BWV 1052 | H2O + CO2 | C6H12O6 + 6 O2 | Escherichia coli O157:H7 | R2-D2 & C-3PO | Se7en (1995)
U2 (1987) | A-ha (1985) | 2001: A Space Odyssey | 9½ Weeks (1986) | German poet (1724-1803)
Vincent van Gogh (1853–1890) | AUT vs. ALB 2016-03-26 (004) | Bayern 3:1 BVB | 50 Cent | $100 bill
€2 coin (2002) | １００えん | 東京タワー 2019-05-03 | I ♥ NY | Sand 12 | Sammy 123 | Scanner 2000 | Signal 12
Mars 2020 | May 68 poster | September 11 attacks | Red-crowned crane at the lake.jpg
Ayn Rand quote, American Adventure, Epcot Center, Walt Disney World.jpg | Canon EOS R5 with lens
Canon EF 50mm f/1.8 STM | Sony Alpha 7 camera with 50 mm lens | Fujifilm Instax Mini 9 camera
Tiger I 1/35 88mm | Amazon.com logo | WordPress.com-Logo on a wall | New York, New York | Bora Bora
Boutros Boutros-Ghali | Tora! Tora! Tora! | Zimbabwe 100000000000000 dollars
CITY DIRECTORY. 251 -------------------- FORREST & MAPLES | <Parasite> poster | <Swan Lake> ballet
normal body function (e.g., vitamins or minerals) | sine function (blue) and its derivative
C# code: var x = 5 on a screen | Set {a: 1, b: 2} diagram | A Python dict {name: Bob, age: 5} on a slide
the set {x: x > 0} on a line | Venn diagram of {a, b} | Gene {HOX: 1}
Shoes; color: blue; size: 42 | Map [B] of the town | भूरा भालू 2007-02-11
"""


@pytest.mark.parametrize("text", [text.strip() for text in re.split(r"[|\n]", KEPT.strip())])
def test_names_with_numbers_and_other_captions_are_kept(text: str) -> None:
    assert verdict(row(text), ANY) is None


@pytest.mark.parametrize(
    "text",
    [
        "A dog runs along the beach",
        "Golden Gate Bridge",
        "Two dogs, 2019",
        "iPhone 12 Pro Max 128GB",
        "Route 66 in Arizona at night (1984)",
        "Salt &amp; Pepper shakers",
        "Photo of a dog on the beach",
        "Photo: a dog runs along the beach",
        "Picture 12: the Eiffel tower at night",
        "Image by the window of an old house",
        "Sunset over the lake. Canon EOS 5D, f/8, ISO 100",
        "A Canon camera with its 50 mm lens on a wooden table",
        "The logo of Nike on a shoe box",
        "Source of the Danube in Donaueschingen",
        "Flash flood in May",
        "Row, row, row your boat",
        "The cat and the dog and the bird",
        "3D model of a house",
        "Scan of a map from 1890",
        "Amazon.com headquarters in Seattle",
        "St. Louis, Mo.: the arch",
        "Price < $5 and size > 3",
        "Dr. Who, U.S.A.",
        "Ein Hund läuft am Strand entlang",
        "L’été à la plage, Châtelet, Île-de-France",
        "SÃO PAULO à noite",
        "Una mujer camina en la nieve de mayo",
        "Собака бежит по пляжу",
        "Σκύλος στην παραλία",
        "كلب يركض على الشاطئ",
        "כלב רץ על החוף",
        "एक कुत्ता समुद्र तट पर दौड़ता है",
        "தமிழ் நாட்டு கோயில்",
        "一只狗在沙滩上奔跑",
        "海滩日落",
        "浜辺を走る犬",
        "ซูเปอร์มาร์เก็ต",
        "สุนัขวิ่งบนชายหาด",
        "해변을 달리는 개",
        "깃털 모자",
        "con chó chạy trên bãi biển",
        "ძაღლი გარბის პლაჟზე",
        "Շունը վազում է լողափով",
    ],
)
def test_good_captions_pass(text: str) -> None:
    assert verdict(row(text), ANY) is None


def test_thresholds_decide() -> None:
    dog = row("dog")
    assert verdict(dog, Thresholds()) == "too_short"
    assert verdict(dog, Thresholds(min_chars=0)) == "too_few_words"
    assert verdict(dog, Thresholds(min_chars=0, min_words=0)) is None
    assert verdict(row("A dog runs"), Thresholds(max_chars=9)) == "too_long"
    assert verdict(row("A1 B2 C3 D4 - 5"), Thresholds(min_letter_share=0.2)) is None
    assert verdict(row("dog dog dog cat"), Thresholds(min_distinct_words=0.6)) == "repetitive"


def test_rules_are_asked_in_the_order_given_and_none_lets_all_pass() -> None:
    icon = row("dog", "https://a.test/icons/dog.svg")
    assert verdict(icon, Thresholds(rules=["is_not_a_bitmap", "is_an_icon"])) == "is_not_a_bitmap"
    assert verdict(icon, Thresholds(rules=["is_an_icon", "is_not_a_bitmap"])) == "is_an_icon"
    assert verdict(icon, Thresholds(rules=[])) is None


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"rules": ["too_shrot"]}, "no rule 'too_shrot'"),
        ({"min_words": -1}, "min_words"),
        ({"min_lang_score": 1.5}, "min_lang_score"),
        ({"languages": "en"}, "languages"),
    ],
)
def test_impossible_thresholds_are_refused(table: dict[str, object], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(table, Thresholds)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        "Photo by" + " ....A" * 15 + " a",
        "Photo by" + " AAAAA" * 15 + " a",
        "Photo courtesy of" + " of" * 27 + "f",
        "IMG_1" + " at 1 " * 1_600 + "!",
        "+1.1" * 2_500,
        "1 " * 5_000,
        "a.b" + "-@" * 148,
        "a.b" + "@a-a." * 59,
        "<a a=" * 2_000,
        "[caption " * 1_111,
    ],
)
def test_no_rule_tries_all_ways_to_read_a_text(text: str) -> None:
    """That would be a thousand million, of less than 100 characters."""
    for name, rule in RULES.items():
        began = time.process_time()
        rule(row(text, f"http://a.test/{text}"[:2_083]), ANY)
        assert time.process_time() - began < 1, name


def test_every_rule_says_why() -> None:
    assert all(rule.__doc__ for rule in RULES.values())


@given(st.text(max_size=80), st.text(max_size=30))
def test_any_text_has_a_verdict(text: str, url: str) -> None:
    for name, rule in RULES.items():
        assert rule(row(" ".join(text.split()), url), ANY) in (True, False), name


def test_no_text_takes_long(data: Path) -> None:
    """A text may have 10,000 characters, on which no rule may spend quadratic time: that would be a minute here."""
    hostile = json.loads((data / "hostile" / "blns" / "blns.json").read_text())
    pieces = [
        "a",
        "1",
        "<a",
        "[img",
        "a@",
        "photo 1 am ",
        "1/",
        "var ",
        "/track",
        "http://",
        "image by A ",
        "é",
        "{;",
        "(\u200d",
        "犬",
        "ĀĂ ",
    ]
    started = time.process_time()
    for text in [*hostile, *((piece * 10_000)[:10_000] for piece in pieces)]:
        for rule in RULES.values():
            rule(row(text, text[:2_083]), ANY)
    assert time.process_time() - started < 5
