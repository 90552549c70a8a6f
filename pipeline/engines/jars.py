"""The Java side of Spark and Flink: pinned, resolved once from Maven's registry, every jar's digest checked.

    openwit engines

`spark.pom.xml` and `flink.pom.xml` say which versions; `spark.sha256` and `flink.sha256` say what every jar of them
holds. They are kept in a folder of the user's cache, or in the one that OPENWIT_ENGINES names (workers of a cluster
need it at the same path).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from core.command import exit_now, exit_status
from core.errors import Failure, UsageError

ENGINES = ("spark", "flink")
_PATIENCE_SECONDS = 900


def folder(engine: str) -> Path:
    """Where an engine's jars are, or will be: one folder for each set of pins."""
    pins = hashlib.sha256(_packaged(f"{engine}.pom.xml") + _packaged(f"{engine}.sha256")).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "openwit" / "engines"
    return Path(os.environ.get("OPENWIT_ENGINES") or cache) / f"{engine}-{pins[:12]}"


def class_path(engine: str) -> str:
    """All its jars, as Java wants them said."""
    found = folder(engine)
    if not found.is_dir():
        raise UsageError(f"the jars of {engine} are not in {found}: run make engines (or openwit engines) once")
    return f"{found}/*"


def empty_jar(engine: str) -> str:
    """A jar without anything, to send to workers that have all jars already."""
    return str(folder(engine) / "empty.jar")


def java() -> str:
    """The Java to run; UsageError where there is none."""
    return _program("java", "JAVA_HOME", "a Java runtime of version 11 or 17")


def resolve(engine: str) -> bool:
    """Put an engine's jars into their folder, all of them or none; False if they are there."""
    target = folder(engine)
    if target.is_dir():
        return False
    maven = _program("mvn", "MAVEN_HOME", "Maven 3")
    java()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".tmp-") as work:
        (Path(work) / "pom.xml").write_bytes(_packaged(f"{engine}.pom.xml"))
        jars = Path(work) / "jars"
        _run_maven(maven, engine, Path(work), jars)
        _check(engine, jars)
        with zipfile.ZipFile(jars / "empty.jar", "w"):
            pass
        jars.rename(target)
    return True


def _run_maven(maven: str, engine: str, work: Path, jars: Path) -> None:
    words = [maven, "-q", "-B", "-C", f"-Dmaven.repo.local={work / 'repository'}"]  # -C: wrong checksums are errors
    words += ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
    done = subprocess.run(words, cwd=work, capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=False)
    if done.returncode:
        said = next((line for line in done.stdout.splitlines() if line.startswith("[ERROR]")), done.stderr.strip())
        raise Failure(
            f"Maven could not resolve {engine}: {said[:300]}; see that its registry can be reached, run again"
        )


def _check(engine: str, jars: Path) -> None:
    expected = dict(line.split()[::-1] for line in _packaged(f"{engine}.sha256").decode().splitlines())
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in jars.iterdir()}
    wrong = sorted(name for name in expected | found if expected.get(name) != found.get(name))
    if wrong:
        raise Failure(
            f"{len(wrong)} jars of {engine} are not those of pipeline/engines/{engine}.sha256 ({wrong[0]} …): do not "
            "use them; if a version was changed on purpose, write their digests there"
        )


def _packaged(name: str) -> bytes:
    return files("pipeline.engines").joinpath(name).read_bytes()


def _program(name: str, home: str, what: str) -> str:
    path = shutil.which(name, path=f"{os.environ[home]}/bin") if os.environ.get(home) else None
    path = path or shutil.which(name)
    if not path:
        raise UsageError(f"there is no {name} here, which Spark and Flink need: install {what}, or set {home}")
    return path


def main(argv: Sequence[str] | None = None) -> int:
    """Resolve both engines."""
    parser = argparse.ArgumentParser("openwit engines", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(argv)

    def work() -> None:
        for engine in ENGINES:
            state = "resolved" if resolve(engine) else "nothing to do"
            print(f"engines: {engine}, {state} → {folder(engine)}")

    return exit_status("engines", work, options.debug)


if __name__ == "__main__":
    exit_now(main)
