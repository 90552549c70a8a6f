"""Credits: texts that name who made a picture, not what it shows.

"Photo: Jane Doe" and "Photo: Golden Gate Bridge" have the same form, and a good caption lost costs more than a credit
kept. So after "Photo:" only what nobody would say of a subject makes a credit: an agency, a site, a licence, "via",
"©", a name with a slash and another. A figcaption is the exception: that is where editors put the maker's name, while
the alt of such a picture has the subject's.
"""

from __future__ import annotations

import re

_LABEL = (
    r"(?:photo(?:graph(?:s|y|ie)?|s)?|images?|pictures?|pics?|foto(?:s|grafie)?|bild(?:er)?|abbildung|imagen|immagine)"
)
_CREDIT = r"(?:credits?|courtesy|source|quelle|nachweis|fuente|fonte|crédits?(?: photos?)?)"
_MAKER = r"""(?:
    agence\ france[- ]presse|afp|alamy|ansa|ap|apa|archiv\w*|associated\ press|bloomberg|corbis|depositphotos|deviantart
    |dpa|dreamstime|efe|epa|facebook|file|flickr|fotolia|freepik|getty|handout|imago|instagram|istock(?:photo)?|keystone
    |library\ of\ congress|nasa|noaa|pexels|picture[- ]alliance|pinterest|pixabay|pa\ (?:images|media|wire)
    |press\ association|privat|reuters|shutterstock|sipa|adobe\ ?stock|tass|twitter|unsplash|usgs
    |wiki(?:media|pedia)(?:\ commons)?|wireimage|xinhua|youtube|zuma|123rf
    |cc0|cc[- ]by\S*|creative\ commons|public\ domain|all\ rights\ reserved)"""
_NAME = r"(?:[^\Wa-z_]\S*+|[^\w\s]\S*+|by|of|for|and|und|et|y|via|de|del|la|le|du|di|da|van|von|der|den|al)"
_NAMES = re.compile(rf"{_NAME}(?:\s{_NAME})*+")

_START = re.compile(r"(?:photo|foto|ima|imm|pic|bild|abb|©|\(c\)|copyr|court|cr[eé]dit|sou|que|fue|fon|getty)", re.I)
_ALWAYS = re.compile(
    rf"(?:{_LABEL}[ :-]{{0,2}})?(?:©|courtesy of\b|{_CREDIT}(?: ?[:/©]| by\b| [–-] ))"
    r"|(?:photographer|photographe|fotograf(?:in|o)?|fotógrafo) ?:|getty images\b"
    r"|(?:copyright|\(c\)) ?(?:[:©]|\(c\)|by\b|\d{4}\b)",
    re.IGNORECASE,
)
_LABELLED = re.compile(  # [1] speaks of a maker by itself
    rf"(?:({_LABEL}(?:ed| taken| shot)? ?[:/]? ?(?:by|via|par) |(?:copyright|\(c\)) (?=\S+ ))|{_LABEL} ?[:/|] ?)(.+)",
    re.IGNORECASE,
)
_EVIDENCE = re.compile(
    rf"""(?:^|[/|,;(–—-]\ ?|\b(?:via|by|from|at|on)\ )(?:{_MAKER})(?:\.\w{{2,3}})?
    (?=\W*$|\ ?[/|,;()–—-]|\ (?:images?|photos?|news|stock|contributor|user|staff|pool|[\d.]+)\b)
    |©|\(c\)|@\w|\b(?:via|courtesy)\b|\bhttps?:|\bwww\.|\w\.(?:com|de|net|org)\b""",
    re.IGNORECASE | re.VERBOSE,
)
_AND_PAPER = re.compile(r"\S+ [^/]+/ ?[^/]+")  # "Jane Doe / The Evening Post"
_THING = re.compile(  # what has a name but takes no pictures
    r"\b(?:airport|bay|beach|bridge|building|canyon|castle|cathedral|cave|church|city|cliff|coin|desert|falls|flag|forest"
    r"|fort|fountain|galler(?:y|ie)|garden|gate|glacier|hall|harbou?r|hotel|house|island|lake|library|lighthouse|logo|map"
    r"|market|memorial|monument|mosque|mount(?:ain)?|museum|palace|park|pier|portrait|poster|river|skyline|square|stadium"
    r"|stamp|station|statue|street|sun(?:rise|set)|temple|theat(?:er|re)|tower|university|valley|view|village|volcano|zoo"
    r"|\w*(?:brücke|burg|dom|fahne|flagge|kirche|platz|schloss|turm|wappen)|blick|ansicht|karte)s?\b"
    r"|\b(?!(?:19|20)\d\d\b)\d",
    re.IGNORECASE,
)


def is_credit(text: str, figcaption: bool) -> bool:
    """Whether all of a short text is a credit; `figcaption`: it is the caption of a <figure>."""
    if not _START.match(text):
        return False
    if _ALWAYS.match(text):
        return True
    labelled = _LABELLED.fullmatch(text)
    if labelled is None:
        return False
    by, named = labelled[1] is not None, labelled[2]
    if evidence := _EVIDENCE.search(named):
        named = named[: evidence.start()].rstrip()
        if " " not in named:
            return True  # an agency, or what somebody is called on a site
    elif not by and not figcaption and not _AND_PAPER.fullmatch(named):
        return False
    return _NAMES.fullmatch(named) is not None and (by or not _THING.search(named))
