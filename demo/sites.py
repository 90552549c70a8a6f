"""The pages: which pictures each host shows, in which captions, and how one comes from page to page."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import cycle, pairwise
from random import Random

from PIL import Image, ImageDraw

from demo import extras, misbehaviour
from demo.captions import LANGUAGES, caption
from demo.hosts import HOSTS, LICENSED, MARKED, PRIVATE, SITEMAPS, TITLES, WORDS, Host
from demo.layouts import PageOf, Shown, render
from demo.pictures import CLASSES, COLOURS, Picture, encode, imagine
from demo.plan import Draft, Plan, Size, finish, place, place_picture
from demo.truth import NOT_PLANNED, Planted, Text

ON_A_PAGE = {"gallery": (7, 12), "blog": (4, 6), "shop": (6, 10), "magazine": (6, 9), "old": (6, 8)}
PAGES = 3  # that each host has at the least
UNLINKED = 2  # last pages of the hosts in SITEMAPS, which only the sitemap names


def plan_web(seed: int, size: Size) -> Plan:
    """All of it."""
    plan = Plan(seed, size)
    pictures: dict[str, Picture] = {}  # by URL, in English
    by_host = {host: list[Draft]() for host in HOSTS}
    for language in LANGUAGES:
        hosts = [host for host in HOSTS if host.language == language]
        for draft in _deal(plan, hosts, pictures):
            by_host[draft.host].append(draft)
    for number, (host, drafts) in enumerate(by_host.items()):
        plan.drafts.append(_front(plan, host, drafts, number))
        plan.drafts += drafts
        _special(plan, host, plan.drafts[-len(drafts) - 1], drafts)
    _hosts_that_nobody_may_visit(plan)

    pages = [draft for drafts in by_host.values() for draft in drafts if draft.host.language == "en"]
    Random(f"{seed} extras").shuffle(pages)
    turns = cycle(pages)
    extras.add_odd(plan, turns)
    extras.add_dropped(plan, turns)
    extras.add_leaks(plan, turns)
    extras.add_copies(plan, list(pictures.items()), turns)
    extras.add_placeholders(plan, turns)
    for draft in plan.drafts:
        place(plan, _file(draft.url), partial(_html, draft))
    _furniture(plan)
    finish(plan)
    return plan


def _deal(plan: Plan, hosts: list[Host], pictures: dict[str, Picture]) -> Iterator[Draft]:
    """The pictures of a language on pages of its hosts in turn; `pictures` gets the English ones."""
    language = hosts[0].language
    each = plan.size.english if language == "en" else plan.size.foreign
    names = [(thing, f"{thing.name} {language} {i}") for thing in CLASSES for i in range(each)]
    rng = Random(f"{plan.seed} pages {language}")
    rng.shuffle(names)
    left = [imagine(plan.seed, name, thing) for thing, name in names]
    count = dict.fromkeys(hosts, 0)
    most = max(1, len(left) // (PAGES * len(hosts)))  # a small web has small pages, not fewer
    for host in cycle(hosts):
        if not left:
            break
        count[host] += 1
        draft = Draft(host, _url(host, count[host]), TITLES[language][host.layout].format(count[host]))
        on_it = min(most, len(left), rng.randint(*ON_A_PAGE[host.layout]))
        for picture in [left.pop() for _ in range(on_it)]:
            url = place_picture(plan, picture, host.pictures)
            draft.shown.append(_said(host.layout, url, picture, language, rng))
            if language == "en":
                pictures[url] = picture
        yield draft


def _url(host: Host, number: int) -> str:
    name = {"blog": f"walk-{number}.html", "magazine": f"{number}/", "old": f"page{number}.htm"}
    return f"http://{host.name}{host.folder}{name.get(host.layout, f'{number}.html')}"


def _file(url: str) -> str:
    return f"{url}index.html" if url.endswith("/") else url


def _said(layout: str, url: str, picture: Picture, language: str, rng: Random) -> Shown:
    """What a page of that layout says of a picture."""
    text = caption(picture, language)
    match layout:
        case "gallery":
            other = caption(picture, language, 1)
            return Shown(url, alt=text, figcaption=other if other != text else "")
        case "old":
            return Shown(url, title=text)
        case "shop" if rng.random() < 0.2:
            other = caption(picture, language, 1)
            return Shown(url, alt=text, title=other if other != text else "")
        case _:
            return Shown(url, alt=text)


def _front(plan: Plan, host: Host, drafts: list[Draft], number: int) -> Draft:
    """The front page of a host, from which all its pages can be reached, and some neighbours; links between them."""
    words = WORDS[host.language]
    front = Draft(host, f"http://{host.name}/", host.name.removesuffix(".test").title(), found_by="seed")
    front.shown += drafts[0].shown[:2]  # once more, with the same texts
    linked = drafts[:-UNLINKED] if host.name in SITEMAPS else drafts
    for draft in drafts[len(linked) :]:
        draft.found_by = "sitemap"
    front.links |= {draft.title: draft.url for draft in (linked if host.all_linked else linked[:1])}
    for before, after in pairwise(linked):
        before.links[words.following] = after.url
        after.links[words.before] = before.url
    for neighbour in (1, 5):
        name = HOSTS[(number + neighbour) % len(HOSTS)].name
        front.links[name] = f"http://{name}/"
    if host.name in LICENSED:
        for draft in drafts:
            draft.head = f'<link rel="license" href="{LICENSED[host.name]}">\n'
    return front


def _special(plan: Plan, host: Host, front: Draft, drafts: list[Draft]) -> None:
    """Pages that robots.txt forbids, pages with marks against use, and a sitemap, where the host has them."""
    root = f"http://{host.name}"
    if host.name in PRIVATE:
        place(plan, f"{root}/robots.txt", "User-agent: *\nDisallow: /private/\n".encode)
        sketches = Draft(host, f"{root}/private/sketches.html", "Sketches", expected="robots_disallowed")
        _show_new(plan, sketches, 3, "/private/")
        front.links["Sketches (private)"] = sketches.url
        plan.drafts.append(sketches)
    if host.name in MARKED:
        head, marks = MARKED[host.name]
        originals = Draft(host, f"{root}/originals.html", "Originals", head=head, opt_out=marks)
        _show_new(plan, originals, 4, "/originals/")
        originals.shown.append(drafts[0].shown[-1])  # which an unmarked page shows as well
        front.links["Originals, not for machines"] = originals.url
        plan.drafts.append(originals)
    if host.name in SITEMAPS:
        place(plan, f"{root}/robots.txt", f"User-agent: *\nAllow: /\n\nSitemap: {root}/sitemap.xml\n".encode)
        plan.truth.sitemaps.append(f"{root}/sitemap.xml")
        urls = "".join(f"<url><loc>{draft.url}</loc></url>\n" for draft in drafts)
        sitemap = f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="{SITEMAP}">\n{urls}</urlset>\n'
        place(plan, f"{root}/sitemap.xml", sitemap.encode)


SITEMAP = "http://www.sitemaps.org/schemas/sitemap/0.9"


def _hosts_that_nobody_may_visit(plan: Plan) -> None:
    """Front pages with pictures on the hosts whose robots.txt forbids all or cannot be had; others link there."""
    reasons = {misbehaviour.FORBIDDEN: "robots_disallowed", misbehaviour.UNREACHABLE: "robots_unreachable"}
    for name, reason in reasons.items():
        host = Host(name, "gallery", "en", name, "/", all_linked=True)
        front = Draft(host, f"http://{name}/", "Nobody is here", found_by="seed", expected=reason)
        _show_new(plan, front, 2, "/inside/")
        for other in plan.drafts[:: len(plan.drafts) // 3]:
            other.links[name] = front.url
        plan.drafts.append(front)


def _show_new(plan: Plan, draft: Draft, number: int, folder: str) -> None:
    """Pictures that no other page shows."""
    rng = Random(f"{plan.seed} new {draft.url}")
    for i in range(number):
        picture = imagine(plan.seed, f"{draft.url} {i}", rng.choice(CLASSES))
        url = place_picture(plan, picture, draft.host.name, folder)
        draft.shown.append(_said(draft.host.layout, url, picture, "en", rng))


def _html(draft: Draft) -> bytes:
    host = draft.host
    page = PageOf(draft.url, draft.title, WORDS[host.language], draft.shown, draft.links, draft.head, host.charset)
    return render(host.layout, page, host.language)


def _furniture(plan: Plan) -> None:
    """The logo and the icon that every page of a host has, with the texts that such things have."""
    for number, host in enumerate(dict.fromkeys(draft.host for draft in plan.drafts)):
        colour = tuple(COLOURS.values())[number % len(COLOURS)]
        for name, side in (("logo.png", 48), ("icons/mail.png", 16)):
            url = f"http://{host.name}/img/{name}"
            place(plan, url, partial(_badge, colour, side), Planted(url, "", "furniture", NOT_PLANNED))
    for draft in plan.drafts:
        if draft.expected == "crawled":
            logo, icon = (f"http://{draft.host.name}/img/{name}" for name in ("logo.png", "icons/mail.png"))
            plan.truth.texts.append(Text(logo, draft.url, "logo", "alt", "is_boilerplate"))
            plan.truth.texts.append(Text(icon, draft.url, WORDS[draft.host.language].about, "alt", "is_an_icon"))


def _badge(colour: tuple[int, int, int], side: int) -> bytes:
    image = Image.new("RGB", (side, side), colour)
    ImageDraw.Draw(image).ellipse((side // 5, side // 5, side * 4 // 5, side * 4 // 5), "white")
    return encode(image, "png")
