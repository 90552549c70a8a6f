"""Credentials that paths hold, and paths without them: what may stand in names, tables, books and messages.

A path holds them in three ways: as user and password of a URL, in the query of a URL that somebody has signed, and as
the value of an environment variable, which the recipe names (${NAME}). The first two are cut off. The third is shown as
the recipe has it: `remember` is told of each path that was filled in.

A value is not looked for by itself everywhere, or a message would be full of variables as soon as one of them is "1" or
"data": a short one is found where the path before it is the recipe's, and only one that looks like a secret anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote

_URL = re.compile(r"""[a-z][a-z0-9+.-]*://[^\s'"<>`|\\]+""", re.IGNORECASE)
_CHAIN = re.compile(r"::(?=[a-z][a-z0-9+.-]*(?:://|::))", re.IGNORECASE)  # between the URLs of fsspec's zip://a::s3://b
# To the last @ of the host; a password that holds a slash is one since no port does.
_USER = re.compile(r"^[^/?#]*@|^[^/?#@\[\]]*:(?!\d*(?:[/?#]|$))\S*@")
_BEHIND = ".,;:!?)]"  # what in a sentence ends no URL
_SHORT = 8  # characters; what is shorter is no secret by its looks, nor a path that tells a place
_LONG = 16  # from here on it is one whatever it consists of

_ODD = re.compile(r"""[\s'"<>`|\\]""")  # where the URL of a sentence ends, though a path may hold it

_shown: dict[str, str] = {}  # what was filled in, in each of its forms → as the recipe has it
_within: set[str] = set()  # those of them that are found within a longer word, too
_filled_in: re.Pattern[str] | None = None  # finds all of them


def public(path: str) -> str:
    """A path as it may stand in logs, names and tables.

    Without user and password, without the query of http(s) URLs, in each part of a chained URL; what came from the
    environment is ${NAME} again.
    """
    return _without_credentials(_as_written(path))


def public_text(text: str) -> str:
    """A message as it may be printed: each path in it, and what was filled into one, as `public` has them."""
    return _URL.sub(_in_sentence, _as_written(text))


def public_word(word: str) -> str:
    """A word of a command line as it may be written down; what engines are told may hold keys of any name."""
    return public_text(re.sub(r"^((?:--set=)?engine\.(?:conf|options)=).*", r"\1…", word, flags=re.DOTALL))


def remember(pieces: Sequence[tuple[str, str]]) -> None:
    """Have a path of the recipe shown as it is there; `pieces`: as written, as filled in: equal but for variables.

    What stands before any scheme is a place on this machine, or the scheme, and no secret.
    """
    said = real = ""
    for i, (written, value) in enumerate(pieces):
        is_place = not real and "://" not in value
        said += value if is_place else written
        real += value
        if is_place or not value or written == value:
            continue
        if len(value) >= _LONG or (len(value) >= _SHORT and re.search(r"\d", value) and re.search("[A-Za-z]", value)):
            _know(value, written, within=True)
        if _without_credentials(said).endswith(written):  # else it is cut off
            rest = "".join(value for _, value in pieces[i + 1 :])
            _know(real, said, within=bool(re.match(r"[\w*?\[]", rest)))
    if "://" in real and _ODD.search(real):
        _know(real, _without_credentials(said))
    for url in _CHAIN.split(real):
        if user := _USER.match(url.partition("://")[2]):  # libraries take it for a part of the host, or of the bucket
            _know(user.group(), "")


def _without_credentials(path: str) -> str:
    return "::".join(map(_without_credentials_of_one, _CHAIN.split(path)))


def _without_credentials_of_one(url: str) -> str:
    scheme, found, rest = url.partition("://")
    if not found:
        return url
    rest = _USER.sub("", rest)
    rest = re.sub(r"[?#].*", "", rest, flags=re.DOTALL) if scheme.lower() in {"http", "https"} else rest
    return f"{scheme}://{rest}"


def _in_sentence(found: re.Match[str]) -> str:
    """A URL without credentials; "…" is where its query was, for the URL alone may be another than the one meant."""
    url = found.group().rstrip(_BEHIND)
    shown = _without_credentials(url)
    return shown + ("?…" if "?" in url and "?" not in shown else "") + found.group()[len(url) :]


def _as_written(text: str) -> str:
    global _filled_in
    if _filled_in is None:
        longest_first = sorted(_shown, key=lambda form: (-len(form), form))
        _filled_in = re.compile("|".join(map(_whole, longest_first)) or "(?!)")
    return _filled_in.sub(lambda found: _shown[found.group()], text)


def _know(real: str, said: str, within: bool = False) -> None:
    """Libraries print a path with and without its scheme and user, and escaped where a URL has to be."""
    global _filled_in
    forms = {real: said}
    if "://" in real:
        bare = _USER.sub("", real.partition("://")[2])
        scheme, found, rest = said.partition("://")  # a variable may hold the scheme, too
        bare_said = _USER.sub("", rest) if found else said
        forms[f"{real.partition('://')[0]}://{bare}"] = f"{scheme}://{bare_said}" if found else said
        forms[bare] = bare_said
    for form, written in forms.items():
        if form != written and (len(form) >= _SHORT or "/" in form.strip("/") or form.endswith("@")):
            for escaped in (form, quote(form, safe="/:@?&=%+,;$!*'()"), quote(form, safe="/")):
                if escaped not in _shown:
                    _shown[escaped], _filled_in = written, None
                if within and escaped not in _within:
                    _within.add(escaped)
                    _filled_in = None


def _whole(form: str) -> str:
    """A pattern that finds no part of a longer word, unless that may be one."""
    if form in _within:
        return re.escape(form)
    before = r"(?<!\w)" if form[0].isalnum() else ""
    return before + re.escape(form) + (r"(?!\w)" if form[-1].isalnum() else "")
