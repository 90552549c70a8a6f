"""What a web has besides good pictures with good captions: copies, placeholders, useless texts, images that go wrong.

Each function takes the plan and the pages to put things on, in the order in which they are to be used.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import cycle
from random import Random

from demo import misbehaviour
from demo.captions import caption
from demo.copies import KINDS, copy_of, placeholder
from demo.evaluation import leaking
from demo.pictures import CLASSES, Picture, encode, imagine, paint
from demo.plan import Draft, Plan, body_of, new_url, place, place_picture, show
from demo.scenes import DISTINCT
from demo.truth import Copy, Leak, Planted

PLACEHOLDER_HOSTS = 15

DROPPED = (  # the filter's reason, the text (empty: a caption), the end of the URL (empty: as usual)
    ("is_tracking_pixel", "", "/pixel.gif?site=7"),
    ("is_an_icon", "", "/icons/star.png"),
    ("is_not_a_bitmap", "", "/drawing.svg"),
    ("is_a_filename", "red-triangle-12.jpg", ""),
    ("is_a_filename", "My Holiday 014.JPG", ""),
    ("is_a_camera_name", "DSC_0042", ""),
    ("is_a_camera_name", "IMG_20240512_101010", ""),
    ("is_boilerplate", "image", ""),
    ("is_boilerplate", "Photo #12", ""),
    ("is_boilerplate", "click here to enlarge", ""),
    ("is_a_url", "www.kestrel.test/pictures/red", ""),
    ("is_a_number_or_date", "12 May 2024", ""),
    ("is_camera_settings", "Canon EOS 5D, f/2.8, 1/250 s, ISO 400", ""),
    ("is_a_credit", "Photo: Jane Doe / Kestrel Press", ""),
    ("has_markup", "<script>A red circle</script> on a plain wall", ""),
    ("broken_encoding", "A red circle in front of the cafÃ©", ""),
    ("too_short", "heart", ""),
    ("too_few_words", "Triangles", ""),
    ("mostly_symbols", "=== red === 12/34/56 *** 78 ***", ""),
    ("repetitive", "red red red red red circle red red red red", ""),
    ("language_unsure", "Zxq wvt krrp blorf mrrgle snarp vlimble plof thwirp tworble snorfle drozzle", ""),
    ("too_long", "A red circle is a circle that is red, and there is more to say about it." + " And so on." * 100, ""),
)


def add_copies(plan: Plan, originals: list[tuple[str, Picture]], pages: Iterator[Draft]) -> None:
    """Near-duplicates of pictures (URL, picture), so many of each kind, each with a caption of its own."""
    rng = Random(f"{plan.seed} copies")
    distinct = [(url, picture) for url, picture in originals if picture.scene in DISTINCT]
    for i, (original, picture) in enumerate(rng.sample(distinct, len(KINDS) * plan.size.copies)):
        kind, page = KINDS[i % len(KINDS)], next(pages)
        url = new_url(plan, page.host.pictures, "png" if kind in ("mirrored", "bordered") else "jpg")
        make = partial(_copy, picture, original.rpartition(".")[2], kind, plan.seed)
        place(plan, url, make, Planted(url, picture.thing.name, "copy", "success"))
        plan.truth.copies.append(Copy(original, url, kind))
        show(page, url, caption(picture, "en", 2), rng)


def _copy(picture: Picture, suffix: str, kind: str, seed: int) -> bytes:
    return copy_of(body_of(picture, suffix), kind, Random(f"{seed} {kind} {picture.name}"))


def add_placeholders(plan: Plan, pages: Iterator[Draft]) -> None:
    """One picture under many URLs on many domains, with captions of what should be there."""
    rng = Random(f"{plan.seed} placeholders")
    by_host: dict[str, Draft] = {}
    while len(by_host) < PLACEHOLDER_HOSTS:
        page = next(pages)
        by_host.setdefault(page.host.pictures, page)
    turns = cycle(by_host.values())
    for i in range(plan.size.placeholders):
        page, missing = next(turns), imagine(plan.seed, f"missing {i}", CLASSES[i % len(CLASSES)])
        url = f"http://{page.host.pictures}/img/not-available.png?item={100 + i}"
        place(plan, url, placeholder, Planted(url, "", "placeholder", "success"))
        show(page, url, caption(missing, "en"), rng)


def add_leaks(plan: Plan, pages: Iterator[Draft]) -> None:
    """Evaluation pictures, as they are or encoded again."""
    rng = Random(f"{plan.seed} leaks")
    for i, (name, picture) in enumerate(sorted(leaking(plan.seed, plan.size).items())):
        kind, suffix = (("same bytes", "png"), ("re-encoded", "jpg"))[i % 2]
        page = next(pages)
        url = new_url(plan, page.host.pictures, suffix)
        place(plan, url, partial(body_of, picture, suffix), Planted(url, picture.thing.name, "leak", "success"))
        plan.truth.leaks.append(Leak(name, url, kind))
        show(page, url, caption(picture, "en"), rng)


def add_dropped(plan: Plan, pages: Iterator[Draft]) -> None:
    """Pictures whose only text is one that the filter drops."""
    rng = Random(f"{plan.seed} dropped")
    for i, (reason, text, end) in enumerate(DROPPED):
        page, picture = next(pages), imagine(plan.seed, f"dropped {i}", CLASSES[i % len(CLASSES)])
        if end:
            url = f"http://{page.host.pictures}{end}"
            make = partial(body_of, picture, "png")
            place(plan, url, make, Planted(url, picture.thing.name, "picture", "success"))
        else:
            url = place_picture(plan, picture, page.host.pictures)
        show(page, url, text or caption(picture, "en"), rng, reason)


def add_odd(plan: Plan, pages: Iterator[Draft]) -> None:
    """The images of misbehaviour.py, each with a caption that would be worth keeping."""
    rng = Random(f"{plan.seed} odd")
    for i, odd in enumerate(misbehaviour.ODD):
        picture = imagine(plan.seed, f"odd {i}", CLASSES[7 * i % len(CLASSES)])
        label = picture.thing.name if odd.expected == "success" else ""
        plan.images[odd.url] = Planted(odd.url, label, "odd", odd.expected)
        if odd.file:
            place(plan, odd.url, partial(_odd, picture, odd))
        if there := misbehaviour.MOVED_TO.get(odd.url):
            place(plan, there, partial(body_of, picture, "jpg"))
        show(next(pages), odd.url, caption(picture, "en"), rng)
    for host, robots in misbehaviour.ROBOTS.items():
        place(plan, f"http://{host}/robots.txt", robots.encode)


def _odd(picture: Picture, odd: misbehaviour.Odd) -> bytes:
    assert odd.file is not None
    return odd.file(encode(paint(picture), "jpg"))
