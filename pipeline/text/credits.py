"""Credits: texts that name who made a picture, not what it shows.

"Photo: Jane Doe" and "Photo: Golden Gate Bridge" have the same form, and a good caption lost costs more than a credit
kept. So after "Photo:" only what nobody would say of a subject makes a credit: an agency, a site, a licence, "via",
"©", a name with a slash and another. A figcaption is the exception: that is where editors put the maker's name, while
the alt of such a picture has the subject's.

"Credit:", "©", "courtesy of" and "Getty Images" do speak of a maker, and yet captions begin with them: such as say what
is where ("© Disney's Mickey Mouse in Orlando") or name a place ("Credit: Golden Gate Bridge"; after "Photo credit:" a
place is a maker, too). What follows the maker may be the subject: "Courtesy of NASA: Mars surface".
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
_ALWAYS = re.compile(  # [1] says that it is a picture's, [2] whose it may be not, [3] or where it is from
    rf"({_LABEL}[ :-]{{0,2}})?(?:©|courtesy of\b( the\b)?|({_CREDIT}(?: ?[:/©]| by\b| [–-] )))"
    r"|(?:photographer|photographe|fotograf(?:in|o)?|fotógrafo) ?:"
    r"|getty images(?=\W*$| ?[^\w\s]| (?:for|via|by|news|sport|entertainment|stock|europe|north america|afp|\d))"
    r"|(?:copyright|\(c\)) ?(?:[:©]|\(c\)|by\b|\d{4}\b)",
    re.IGNORECASE,
)
_LABELLED = re.compile(  # [1] speaks of a maker by itself
    rf"(?:({_LABEL}(?:ed| taken| shot)? ?[:/]? ?(?:by|via|par) |(?:copyright|\(c\)) (?=\S+ ))|{_LABEL} ?[:/|] ?)(.+)",
    re.IGNORECASE,
)
_EVIDENCE = re.compile(
    rf"""(?:^|[/|,;(–—-]\ ?|\b(?:via|by|from|at|on|the)\ )(?:{_MAKER})(?:\.\w{{2,3}})?
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


_PLACE = re.compile(  # a thing that takes no pictures, nor has somebody who does, as museums and cities have
    r"(?:lake|mount|mt\.?) \S+$|\d+ (?-i:[a-z])|.*\b(?:airport|bay|beach|bridge|building|canyon|castle|cathedral|cave"
    r"|cliff|coin|desert|falls|flag|forest|fort|fountain|garden|gate|glacier|harbou?r|island|lake|lighthouse|logo|monument"
    r"|mosque|mountain|palace|park|pier|portrait|poster|river|skyline|square|stadium|stamp|station|statue|street|tower"
    r"|sun(?:rise|set)|temple|valley|volcano|\w*(?:brücke|schloss|turm))s?\b(?:$|[,;(]| of\b| (?-i:[a-z]))",
    re.IGNORECASE,
)
_SCENE = re.compile(r"(?:^| )(?:an? \w|(?:in|on|at|with|near|under|over|behind|beside) (?:the |an? |his |her |[A-Z]))")
_KEEPER = re.compile(  # who gives pictures away, where "courtesy of the" stands alone
    r"\b(?:a(?:gency|rtists?|rchives?|ssociation|uthors?)|bureau|city|club|coll(?:ection|ege)|company|council|county"
    r"|department|estate|famil(?:y|ies)|foundation|galler(?:y|ies)|government|hotel|institut(?:e|ion)|librar(?:y|ies)|ministry"
    r"|museums?|national|office|owners?|photographer|press|royal|school|service|smithsonian|society|state|studio|trust(?:ees)?"
    r"|university|us|u\.s\.|white house|zoo)\b",
    re.IGNORECASE,
)
_THEN = re.compile(r"(?:\w\w: |[^\W\d_]{3}\. (?=[^\Wa-z_]))(\S+ .+)")  # [1] what is said after the maker
_RIGHTS = re.compile(
    r"\b(?:rights|reserved|permission|licen[cs]ed?|reuse|used?|cop(?:y|ies|yright)|photo\w*)\b", re.IGNORECASE
)


def is_credit(text: str, figcaption: bool) -> bool:
    """Whether all of a short text is a credit; `figcaption`: it is the caption of a <figure>."""
    if not _START.match(text):
        return False
    if always := _ALWAYS.match(text):
        return not _shows(text[always.end() :].strip(), always)
    labelled = _LABELLED.fullmatch(text)
    if labelled is None:
        return False
    by, named = labelled[1] is not None, labelled[2]
    if _subject(named):
        return False
    if evidence := _EVIDENCE.search(named):
        if _SCENE.search(named, evidence.end()):
            return False
        named = named[: evidence.start()].rstrip()
        if " " not in named:
            return True  # an agency, or what somebody is called on a site
    elif not by and not figcaption and not _AND_PAPER.fullmatch(named):
        return False
    return _NAMES.fullmatch(named) is not None and (by or not _THING.search(named))


def _shows(named: str, always: re.Match[str]) -> bool:
    """Whether what comes after the words of a credit is no maker, or not only."""
    if _subject(named):
        return True
    if _EVIDENCE.search(named):
        return False
    of_a_picture, the, source = always.groups()
    if not of_a_picture and the and " " in named and not _KEEPER.search(named):
        return True
    if not of_a_picture and source and _PLACE.match(named):
        return True
    return _SCENE.search(named) is not None and not _KEEPER.search(named)


def _subject(named: str) -> bool:
    """Whether a maker is followed by what the picture shows: "NASA/JPL: Mars surface"."""
    said = _THEN.search(named)
    if said is None or _EVIDENCE.search(said[1]) or _RIGHTS.search(said[1]):
        return False
    return _NAMES.fullmatch(said[1]) is None or _THING.search(said[1]) is not None
