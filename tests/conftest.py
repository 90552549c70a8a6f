"""What all tests share: the folder of real data, and a small web cut out of it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from tests.proxy import Proxy
    from tests.small import Small

DATA = Path(os.environ.get("OPENWIT_DATA", Path(__file__).parents[2] / "shared" / "data")).resolve()

SITES = (  # of web/, each with a table of its true pairs
    "18f.gsa",
    "based.cooking",
    "fisica.openstax",
    "gutenberg-18304",
    "gutenberg-30621",
    "photos",
    "sociology.openstax",
    "stamps",
)

LONGEST = ("test_walk.py", "test_survival.py", "test_errors.py", "test_same_bytes.py")  # a minute and more each


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Short names of tests, the same in every process: compressed bytes may hold the time."""
    return argname if isinstance(val, bytes) and len(val) > 16 else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest first, then the files of the whole program: the workers shall end together."""
    items.sort(key=lambda item: (item.path.name not in LONGEST, item.path.parent != Path(__file__).parent))


def absent(message: str) -> NoReturn:
    """Skip what cannot be tested here, a test or a whole module; in CI it fails."""
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message, allow_module_level=True)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real sites, archives and pictures. Absent: skipped on a laptop, a failure in CI."""
    if not (DATA / "SOURCE.txt").exists():
        absent(f"no real data in {DATA}: set OPENWIT_DATA to the folder that holds web/, warc/, queries/ …")
    return DATA


@contextmanager
def made_once(folder: Path) -> Iterator[bool]:
    """Whether a folder that pytest's workers share is still to be made: who comes meanwhile waits for who makes it."""
    with Path(f"{folder}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / "done"
        if done.exists():
            yield False
        else:
            shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
            folder.mkdir()
            yield True
            done.touch()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is one for all of pytest's workers."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def small_web(data: Path, shared: Path) -> Iterator[Small]:
    """The small web and its archives, through which no stage has run."""
    from demo.localweb import LocalWeb
    from tests.small import PAGES, Small, write_archives

    with made_once(shared / "archives") as here:
        if here:
            write_archives(data, shared / "archives")
    archives = [shared / "archives" / f"{site}.warc.gz" for site in PAGES]
    with LocalWeb(data / "web") as web:
        yield Small(shared / "small" / "out", archives, web)


@pytest.fixture(scope="session")
def small(small_web: Small, shared: Path) -> Small:
    """The small web, run through every stage up to the shards, with two workers, undisturbed: to be read, or copied."""
    from tests.small import PIPELINE

    with made_once(shared / "small") as here:
        if here:
            small_web.run(*PIPELINE)
    return small_web


@pytest.fixture(scope="session")
def engines() -> Iterator[None]:
    """The jars of Spark and Flink, as `make engines` puts them there. Without Java: skipped, a failure in CI.

    Java is told to compile little: it lives for one stage, and would be at that for most of it.
    """
    from core.errors import UsageError
    from pipeline.engines import jars
    from tests.clusters import QUICK

    try:
        for engine in jars.ENGINES:
            jars.resolve(engine)
    except UsageError as error:  # no Java, no Maven; what is there and fails is a failure
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_TOOL_OPTIONS", QUICK)
        yield


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The URL of an object store for quick tests."""
    from tests.stores import run_moto

    with run_moto() as url:
        yield url


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real object store; tests that use it are slow."""
    from tests.stores import run_minio

    with run_minio(tmp_path_factory.mktemp("minio")) as url:
        yield url


@pytest.fixture(
    scope="session", params=["moto", pytest.param("minio", marks=[pytest.mark.slow, pytest.mark.timeout(1200)])]
)
def any_store(request: pytest.FixtureRequest) -> Iterator[Proxy]:
    """A proxy in front of each of them."""
    from tests.proxy import Proxy

    with Proxy(request.getfixturevalue(request.param)) as made:
        yield made


@pytest.fixture
def proxy(any_store: Proxy) -> Iterator[Proxy]:
    """The same, told nothing yet; it is `s3://` for this process and for those that it starts."""
    from tests.stores import used

    any_store.behave()
    with used(any_store.url):
        yield any_store


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In this process botocore asks once, where it would ask five times and pause for many seconds."""
    from tests.stores import forget_connections

    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    forget_connections()
    yield
    forget_connections()


# ── a browser ──


@pytest.fixture(scope="module")
def chromium() -> str:
    """The browser. Absent: skipped on a laptop, a failure in CI."""
    found = shutil.which("chromium")
    if found is None:
        absent("no chromium on PATH: install it to see the report as its readers do")
    return found


@pytest.fixture(scope="module")
def endpoint(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Chromium without a window, on a profile of its own; the address of its DevTools."""
    from tests.running import wait_until  # which imports this module

    profile = tmp_path_factory.mktemp("chromium")
    words = [
        "--headless=new",
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
        "--no-first-run",
        "--no-sandbox",
    ]
    words += [
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
    ]
    with subprocess.Popen(
        [chromium, *words, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            said = profile / "DevToolsActivePort"
            wait_until(lambda: said.exists() and said.read_text().count("\n"))
            port, path = said.read_text().splitlines()
            yield f"ws://127.0.0.1:{port}{path}"
        finally:
            process.terminate()
