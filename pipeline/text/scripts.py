"""Which letters the languages of lid.176 are written in, as Unicode names them; a language that is not here: Latin."""

from __future__ import annotations

LATIN = "LATIN"

_LANGUAGES = {
    LATIN: "az ku kk ms sh sr tg tt uz",  # those that have another as well
    "CYRILLIC": "av az ba be bg bxr ce cv kk krc kv ky lez mhr mk mn mrj myv os ru rue sah sh sr tg tt tyv ug uk"
    " uz xal",
    "ARABIC": "ar arz az azb ckb fa kk ku ky lrc ms mzn pa pnb ps sd tg ug ur uz",
    "GREEK": "el",
    "HEBREW": "he yi",
    "CJK": "ja ko wuu yue zh",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "HANGUL": "ko",
    "BOPOMOFO": "zh",
    "THAI": "th",
    "LAO": "lo",
    "KHMER": "km",
    "MYANMAR": "my",
    "DEVANAGARI": "bh dty gom hi mai mr ne new sa",
    "BENGALI": "as bn bpy",
    "TAMIL": "ta",
    "TELUGU": "te",
    "KANNADA": "kn",
    "MALAYALAM": "ml",
    "GUJARATI": "gu",
    "GURMUKHI": "pa",
    "ORIYA": "or",
    "SINHALA": "si",
    "ETHIOPIC": "am",
    "GEORGIAN": "ka xmf",
    "ARMENIAN": "hy",
    "TIBETAN": "bo",
    "THAANA": "dv",
}

SCRIPTS: dict[str, frozenset[str]] = {
    language: frozenset(script for script, languages in _LANGUAGES.items() if language in languages.split())
    for language in " ".join(_LANGUAGES.values()).split()
}
"""The scripts of each language that has another than Latin."""
