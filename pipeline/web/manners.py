"""As whom sites are asked, and how politely: the keys of the recipe's [fetch] table that are not about pictures.

fetch's Config is made of them; crawl asks sites in the same manners, and match chooses no more of a domain than they
let it give.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import msgspec

from core.errors import UsageError
from core.recipe import RUNTIME, expand
from pipeline.web.addresses import parse_connect_to
from pipeline.web.client import user_agent

Positive = msgspec.Meta(gt=0, le=10**12)


class Manners(msgspec.Struct, frozen=True, kw_only=True):
    """Of the recipe's [fetch] table, what every stage heeds that asks sites for something."""

    contact: Annotated[str, RUNTIME] = ""  # URL or e-mail address, sent with every request: required
    connect_to: Annotated[str, RUNTIME] = ""  # one's own test web: "*.test=127.0.0.1:8080"
    requests_per_second: Annotated[float, Positive, RUNTIME] = 1.0  # to one registered domain
    domains_at_once: Annotated[int, Positive, RUNTIME] = 64  # that one lane asks side by side, one request to each
    deadline_hours: Annotated[float, Positive, RUNTIME] = 24.0  # with the rate: what a domain can give; visits end then
    timeout: Annotated[float, Positive] = 30.0  # seconds for all requests for one URL
    max_redirects: Annotated[int, msgspec.Meta(ge=0, le=20)] = 5

    def connections(self, recipe: str) -> str:
        """`connect_to`, filled in; UsageError where it is none or `contact` reaches nobody, before anybody is asked."""
        connect_to = expand(self.connect_to, recipe)
        with naming_the_key(recipe):
            user_agent(self.contact)
            parse_connect_to(connect_to)
        return connect_to

    @property
    def images_per_domain(self) -> int:
        """How many images one domain can give: its rate times the deadline."""
        return max(1, int(self.requests_per_second * self.deadline_hours * 3600))


@contextmanager
def naming_the_key(recipe: str) -> Iterator[None]:
    """A UsageError that begins with a key of [fetch] says whose key that is, and where to correct it."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{recipe}: fetch.{error}; correct it in the recipe or with --set") from None
