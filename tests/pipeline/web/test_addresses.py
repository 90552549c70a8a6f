"""The address guard: which addresses are public, and what the resolver lets through."""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UsageError
from pipeline.web.addresses import (
    AddressForbidden,
    GuardedResolver,
    is_forbidden_literal,
    is_public,
    parse_connect_to,
)

PUBLIC = (
    "1.1.1.1 8.8.8.8 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255 172.15.255.255 172.32.0.0"
    " 192.0.1.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255"
    " 2606:4700::1111 2a00:1450:4001::1 2400::1 ::ffff:8.8.8.8 64:ff9b::808:808 2002:808:808::1"
)
FORBIDDEN = (
    "0.0.0.0 0.255.255.255 10.0.0.1 10.255.255.255 100.64.0.0 100.100.100.200 100.127.255.255 127.0.0.1 127.255.255.255"
    " 168.63.129.16 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.192 192.0.2.1 192.88.99.1 192.168.1.1"
    " 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255"
    " :: ::1 ::127.0.0.1 fe80::1 fe80::1%1 fec0::1 fc00::1 fd00:ec2::254 ff02::1 100::1 2001::1 2001:db8::1 3fff::1"
    " 4000::1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:10.0.0.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe"
    " 64:ff9b:1::808:808 2002:7f00:1::1 2002:a00:1::1 2002:c0a8:101::"
)
MALFORMED = (
    "*.test *.test= *.test=127.0.0.1 *.test=127.0.0.1: =127.0.0.1:80 *.test=localhost:80 *.test=127.0.0.1:0"
    " *.test=127.0.0.1:65536 *.test=127.0.0.1:-1 127.0.0.1=127.0.0.1:80"
)


@pytest.mark.parametrize("address", PUBLIC.split())
def test_public(address: str) -> None:
    assert is_public(ip_address(address))
    assert not is_forbidden_literal(address)


@pytest.mark.parametrize("address", FORBIDDEN.split())
def test_forbidden(address: str) -> None:
    assert not is_public(ip_address(address))
    assert is_forbidden_literal(address)


@given(st.ip_addresses(v=4))
def test_an_address_inside_another_is_judged_as_itself(address: IPv4Address) -> None:
    mapped, nat64, six_to_four = (
        f"::ffff:{address}",
        f"64:ff9b::{address}",
        IPv6Address(0x2002 << 112 | int(address) << 80),
    )
    assert {is_public(ip_address(outer)) for outer in (mapped, nat64, six_to_four)} == {is_public(address)}


def test_a_name_is_not_a_literal() -> None:
    assert not is_forbidden_literal("localhost")  # it is the resolver's to judge


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("*.test=127.0.0.1:8080", {"*.test": ("127.0.0.1", 8080)}),
        ("A.Test=127.0.0.2:1, *.b.test=[::1]:2,", {"a.test": ("127.0.0.2", 1), "*.b.test": ("::1", 2)}),
    ],
)
def test_parse_connect_to(text: str, expected: object) -> None:
    assert parse_connect_to(text) == expected


@pytest.mark.parametrize("text", MALFORMED.split())
def test_parse_connect_to_refuses(text: str) -> None:
    with pytest.raises(UsageError, match="HOST-PATTERN=ADDRESS:PORT"):
        parse_connect_to(text)


def resolve(host: str, connect_to: str = "") -> list[tuple[str, int]]:
    async def answer() -> list[tuple[str, int]]:
        resolver = GuardedResolver(parse_connect_to(connect_to))
        try:
            return [(found["host"], found["port"]) for found in await resolver.resolve(host, 443)]
        finally:
            await resolver.close()

    return asyncio.run(answer())


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, Sequence[str]]:
    """The name system: what each name stands for."""
    known: dict[str, Sequence[str]] = {}

    def getaddrinfo(host: str, port: object, *_: object, **__: object) -> list[tuple[object, ...]]:
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "unknown name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


def test_the_resolver_gives_public_addresses(names: dict[str, Sequence[str]]) -> None:
    names["a.example"] = ["8.8.8.8", "127.0.0.1", "2606:4700::1111", "::1"]
    assert resolve("a.example") == [("8.8.8.8", 443), ("2606:4700::1111", 443)]


def test_the_resolver_refuses_what_is_not(names: dict[str, Sequence[str]]) -> None:
    names["metadata.example"] = ["169.254.169.254", "fd00:ec2::254"]
    with pytest.raises(AddressForbidden, match=r"metadata\.example is at 169\.254\.169\.254, fd00:ec2::254"):
        resolve("metadata.example")


def test_an_unknown_name_is_an_os_error(names: dict[str, Sequence[str]]) -> None:
    with pytest.raises(OSError, match="unknown name"):
        resolve("unknown.example")


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..example"])
def test_what_cannot_be_a_name_is_an_os_error(host: str) -> None:
    """Python's own encoder of names refuses it before the system is asked."""
    with pytest.raises(OSError, match="label"):
        resolve(host)


def test_only_the_hosts_of_the_map_are_exempt(names: dict[str, Sequence[str]]) -> None:
    names["test"] = names["a.test.example"] = ["127.0.0.1"]
    to = "*.test=127.0.0.1:8080"
    assert resolve("a.test", to) == resolve("b.a.test", to) == [("127.0.0.1", 8080)]
    for host in ("test", "a.test.example"):
        with pytest.raises(AddressForbidden):
            resolve(host, to)
