"""The local web that other tests stand on."""

import http.client
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo.localweb import Behaviour, LocalWeb
from pipeline.web.addresses import parse_connect_to
from tests.running import answer_interrupts, wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def sites(tmp_path: Path) -> Path:
    for name, body in {
        "a.test/index.html": b"<p>home",
        "a.test/img/b c.webp": b"webp",
        "a.test/robots.txt": b"User-agent: *\n",
        "b.test/x.jpg": b"jpeg",
        "secret": b"no host's",
    }.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)
    return tmp_path


def get(connection: http.client.HTTPConnection, host: str, path: str) -> tuple[int, str | None, bytes]:
    connection.request("GET", path, headers={"Host": host, "User-Agent": "me"})
    response = connection.getresponse()
    return response.status, response.getheader("Content-Type"), response.read()


def test_hosts_are_folders(sites: Path) -> None:
    with LocalWeb(sites) as web:
        connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=10)
        assert get(connection, "a.test", "/") == (200, "text/html", b"<p>home")
        assert get(connection, "A.test:80", "/img/b%20c.webp?w=1") == (200, "image/webp", b"webp")
        assert get(connection, "b.test", "/x.jpg") == (200, "image/jpeg", b"jpeg")
        for host, path in (
            ("b.test", "/robots.txt"),
            ("b.test", "/"),
            ("c.test", "/"),
            ("a.test", "/../secret"),
            ("a.test", "/%2e%2e/secret"),
            ("a.test", "/../b.test/x.jpg"),
            ("..", "/secret"),
            (".", "/secret"),
            ("a.test/..", "/secret"),
            ("", "/secret"),
        ):
            assert get(connection, host, path)[0] == 404, (host, path)
        connection.close()
    assert [(r.host, r.path, r.user_agent, r.status) for r in web.requests[:2]] == [
        ("a.test", "/", "me", 200),
        ("a.test", "/img/b%20c.webp?w=1", "me", 200),
    ]


def test_hosts_at_addresses_of_their_own(sites: Path) -> None:
    addresses = {"*.a.test": "127.0.0.2", "b.*": "127.0.0.3", "c.test": "192.0.2.1"}
    with LocalWeb(sites, addresses=addresses) as web:
        where = parse_connect_to(web.connect_to)
        assert list(where) == ["*.a.test", "b.*", "*.test"]  # nobody has the last one: an address for examples
        assert [at for at, _ in where.values()] == ["127.0.0.2", "127.0.0.3", "127.0.0.1"]
        for address, port in where.values():
            connection = http.client.HTTPConnection(address, port, timeout=10)
            assert get(connection, "b.test", "/x.jpg")[0] == 200
            connection.close()
    for address, port in where.values():
        with pytest.raises(ConnectionRefusedError):
            http.client.HTTPConnection(address, port, timeout=10).connect()


def test_a_path_counts_more_than_its_host_and_robots_txt_is_apart(sites: Path) -> None:
    behaviours = {"a.test": Behaviour(status=500), "a.test/img/b": Behaviour(body=b"here")}
    with LocalWeb({"a.test": sites / "a.test"}, behaviours) as web:
        connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=10)
        assert get(connection, "a.test", "/")[0] == 500
        assert get(connection, "a.test", "/img/b")[::2] == (200, b"here")
        assert get(connection, "a.test", "/robots.txt")[::2] == (200, b"User-agent: *\n")
        assert get(connection, "b.test", "/x.jpg")[0] == 404
        connection.close()


def test_a_kept_connection_is_quick(sites: Path) -> None:
    """Nagle's algorithm would hold each answer back for 40 ms."""
    with LocalWeb(sites) as web:
        connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=10)
        begun = time.monotonic()
        for _ in range(100):
            get(connection, "b.test", "/x.jpg")
        assert time.monotonic() - begun < 3
        connection.close()


def test_it_stops_though_a_client_is_being_kept_waiting(sites: Path) -> None:
    with LocalWeb(sites, {"a.test": Behaviour(delay=600)}) as web:
        connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=10)
        connection.request("GET", "/", headers={"Host": "a.test"})
        time.sleep(0.1)
        assert web.requests == []  # it has its answer yet to come
        begun = time.monotonic()
    assert time.monotonic() - begun < 10
    wait_until(lambda: [request.host for request in web.requests] == ["a.test"])
    connection.close()


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "demo.localweb", *arguments]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_the_command(sites: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.tsv"
    ask = """
import http.client, os
to = os.environ["OPENWIT_CONNECT_TO"].removeprefix("*.test=")
connection = http.client.HTTPConnection(to)
connection.request("GET", "/x.jpg", headers={"Host": "b.test", "User-Agent": "a\tb"})
print(to, connection.getresponse().read())
raise SystemExit(3)
"""
    done = run(str(sites), "--log", str(log), "--", sys.executable, "-c", ask)
    assert done.returncode == 3, done.stderr
    assert done.stdout.startswith("127.0.0.1:")
    assert done.stdout.endswith(" b'jpeg'\n")
    ((seconds, *rest),) = (line.split("\t") for line in log.read_text().splitlines())
    assert abs(float(seconds) - time.time()) < 60
    assert rest == ["b.test", "GET", "/x.jpg", "a b", "200"]


@pytest.mark.parametrize("arguments", [["."], ["no-such-folder", "--", "true"], ["--", "true"]])
def test_wrong_use(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "usage: python -m demo.localweb" in done.stderr


def test_the_interrupt_key_ends_both_without_a_trace(sites: Path) -> None:
    wait = """
import time
try:
    print("up", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    raise SystemExit(130)
"""
    arguments = command(str(sites), "--", sys.executable, "-c", wait)
    with subprocess.Popen(
        arguments,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=answer_interrupts,
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (130, "")
