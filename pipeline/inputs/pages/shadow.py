"""Declarative shadow DOM: a <template shadowrootmode=open> is shown where it stands, any other <template> is not.

Source: https://html.spec.whatwg.org/#attr-template-shadowrootmode. The parser knows no shadow trees, and what stands in
a template is out of its document. So the start tag gets another name, one that means nothing; its end is where the
element ends that holds it, at the latest: a </template> without its start is passed over.
"""

from __future__ import annotations

import re

SHOWN = "template[shadowrootmode]"
"""What stands in a page whose shadow trees are to be opened, as a selector."""

_TEMPLATE = re.compile(r"<(/?)template(?=[\t\n\f\r />])([^>]*+)", re.IGNORECASE | re.ASCII)
_OPENED = re.compile(r"[\t\n\f\r /]shadowrootmode\s*+=\s*+[\"']?(?:open|closed)(?![\w-])", re.IGNORECASE | re.ASCII)


def opened(html: str) -> str:
    """The page with its shadow trees as a part of it, as browsers show it."""
    hidden = 0  # templates that are open and not shown: what is in them is not shown either
    open_ones: list[bool] = []

    def renamed(tag: re.Match[str]) -> str:
        nonlocal hidden
        if tag[1]:
            hidden -= bool(open_ones) and not open_ones.pop()
            return tag[0]
        shown = _OPENED.search(tag[2]) is not None
        open_ones.append(shown)
        hidden += not shown
        return f"<shadow-root{tag[2]}" if shown and not hidden else tag[0]

    return _TEMPLATE.sub(renamed, html)
