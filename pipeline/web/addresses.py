"""The address guard: what the web may make us connect to is public addresses, and nothing else.

Names are judged after DNS by the resolver, in the very answer that the connection then uses, so that a second look-up
cannot change it. aiohttp asks no resolver about a host that is an address already: `is_forbidden_literal` judges
those.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from aiohttp.abc import AbstractResolver, ResolveResult

from core.errors import UsageError
from pipeline.web.urls import is_address

DNS_THREADS = 64
"""Look-ups in flight: getaddrinfo blocks a thread, for seconds where a name server does not answer."""

ConnectTo = Mapping[str, tuple[str, int]]
"""Where the user's own test web lives: pattern of host names (`*.test`) -> (address, port)."""

# Own lists, because ipaddress.is_global changed its mind between patch releases of Python.
# Source: IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890), RFC 1112, RFC 3056, RFC 6052, RFC 9637.
_NOT_PUBLIC_V4 = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT; 100.100.100.200 is Alibaba's metadata service
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's metadata and wire server, though the block is public
        "169.254.0.0/16",  # link-local; 169.254.169.254 is everybody else's metadata service
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # IETF protocols
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays, withdrawn
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    IPv6Network(block)
    for block in (
        "2001::/23",  # IETF protocols: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
    )
)
# IPv6 addresses that hold an IPv4 one: (prefix, bits to the right of it)
_EMBEDDING = (
    (IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64: all that a resolver gives in an IPv6-only network
    (IPv6Network("2002::/16"), 80),  # 6to4
)


class AddressForbidden(Exception):
    """A host leads to an address that is not public."""


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether anyone on the internet may be meant by it: no private, local, shared, reserved or metadata address."""
    if isinstance(address, IPv4Address):
        return not any(address in block for block in _NOT_PUBLIC_V4)
    for prefix, right in _EMBEDDING:
        if address in prefix:
            return is_public(IPv4Address(int(address) >> right & 0xFFFFFFFF))
    return address in _GLOBAL_UNICAST and not any(address in block for block in _NOT_PUBLIC_V6)


def is_forbidden_literal(host: str) -> bool:
    """Whether a URL's host (as `host_of` gives it) is itself an address, and not a public one."""
    return is_address(host) and not is_public(ip_address(host))


def parse_connect_to(text: str) -> ConnectTo:
    """`"*.test=127.0.0.1:8080,photos.example=127.0.0.2:80"` -> the map; an empty text is an empty map."""
    targets: dict[str, tuple[str, int]] = {}
    for item in filter(None, (item.strip() for item in text.split(","))):
        pattern, _, target = item.partition("=")
        address, _, port = target.rpartition(":")
        address = address.strip("[]")
        port_is_right = port.isdecimal() and 0 < int(port) < 2**16
        if not pattern or is_address(pattern) or not is_address(address) or not port_is_right:
            raise UsageError(f"connect_to: {item!r} is not HOST-PATTERN=ADDRESS:PORT, as in *.test=127.0.0.1:8080")
        targets[pattern.lower()] = (address, int(port))
    return targets


class GuardedResolver(AbstractResolver):
    """aiohttp's resolver: the system's, less the addresses that are not public; `connect_to` hosts go where it says."""

    def __init__(self, connect_to: ConnectTo) -> None:
        self._connect_to = connect_to
        self._threads = ThreadPoolExecutor(DNS_THREADS, thread_name_prefix="dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The public addresses of a name. Raises AddressForbidden if it has none but others, OSError if it has none."""
        for pattern, target in self._connect_to.items():
            if fnmatchcase(host, pattern):
                return [_result(host, *target)]
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, _look_up, host, family)
        public = [address for address in found if is_public(ip_address(address))]
        if not public:
            raise AddressForbidden(f"{host} is at {', '.join(found)}, which is not public")
        return [_result(host, address, port) for address in public]

    async def close(self) -> None:
        """Let go of the threads; those that wait for a name server end when it answers."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, family: socket.AddressFamily) -> list[str]:
    try:
        infos = socket.getaddrinfo(host, None, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except UnicodeError as error:  # a label that is empty or longer than 63: no name
        raise socket.gaierror(socket.EAI_NONAME, str(error)) from error
    return [str(sockaddr[0]) for *_, sockaddr in infos]


def _result(host: str, address: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=flags)
