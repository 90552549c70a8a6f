"""Which of the queries a text holds: all 500,000 at once, by Aho-Corasick over tokens.

A query is found where its tokens stand in the text one after the other (pipeline/text/words.py says what a token is).
So "dog" is in "Dogs? (DOG)" once, "st. louis" in "St.  Louis", and every query in its own text. White space next to
punctuation means nothing: "AT&T" is in "AT & T".
"""

from __future__ import annotations

from collections.abc import Sequence

from ahocorasick_rs import AhoCorasick, Implementation, MatchKind

from core.errors import Failure
from pipeline.text.words import tokens


class Matcher:
    """The queries, ready to be found. 500,000 take some 5 s and 300 MB."""

    def __init__(self, queries: Sequence[str]) -> None:
        """`queries` by id (their index). Failure where one holds nothing that could be found."""
        ids: dict[str, list[int]] = {}  # by canonical form: "Polish" and "polish" share one
        for id_, query in enumerate(queries):
            form = _spaced(query)
            if form == "  ":
                raise Failure(
                    f"query {id_} ({query!r}) holds no character that could be found: take it out of the list"
                )
            ids.setdefault(form, []).append(id_)
        self._of_pattern = list(ids.values())
        self._automaton = AhoCorasick(ids, MatchKind.Standard, False, Implementation.ContiguousNFA)

    def find(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of the queries in each text, ascending; overlapping ones all count ("new york" and "york")."""
        search, ids = self._automaton.find_matches_as_indexes, self._of_pattern
        return [
            sorted({id_ for pattern, _, _ in search(_spaced(text), overlapping=True) for id_ in ids[pattern]})
            for text in texts
        ]


def _spaced(text: str) -> str:
    """Tokens with one space around each: neighbours share it, so both can be found."""
    return f" {' '.join(tokens(text))} "
