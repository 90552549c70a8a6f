"""Dataflow takes the pipelines of every stage, as far as its dry run can tell. Nobody at Google is asked anything."""

from __future__ import annotations

import copy
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.coders.coders import deserialize_coder
from msgspec import structs

import openwit as command
from core.errors import UsageError
from pipeline import engines
from pipeline.engines.dataflow import NEEDED, Dataflow
from pipeline.engines.local import Local
from pipeline.tasks.attempt import Task
from pipeline.tasks.shuffle import ArrowCoder
from tests.documents import block, copy_to, run_block
from tests.running import ROOT, environment
from tests.small import PIPELINE, Small

IMAGE = "europe-docker.pkg.dev/a-project/images/openwit:1"
OPTIONS = {"project": "a-project", "region": "europe-west1", "temp_location": "gs://a-bucket/temp"}
LIMIT = 1_000_000  # bytes; a pipeline carries the names of its tasks, never what they read

GROUP_BY_KEY = "beam:transform:group_by_key:v1"
DETERMINISTIC = {"beam:coder:varint:v1", "beam:coder:bytes:v1", "beam:coder:string_utf8:v1"}
PYTHON_ONLY = "beam:coder:pickled_python:v1"
OF_TASKS = ("Lanes/", "DealLanes/", "Reads/", "DealReads/", "Tasks/")


@pytest.fixture(scope="session")
def dataflow() -> Dataflow:
    """The engine, told not to submit anything. Without its extra: skipped on a laptop, a failure in CI."""
    options: dict[str, str | int | bool] = {**OPTIONS, "sdk_container_image": IMAGE, "dry_run": True}
    try:
        return Dataflow(engines.Config(runner="dataflow", options=options))
    except UsageError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


class DryRun:
    """Hands each pipeline to Dataflow's dry run, then does its work here."""

    name = "dry run"

    def __init__(self, dataflow: Dataflow) -> None:
        self._dataflow, self._local = dataflow, Local(1)

    def run(self, transform: beam.PTransform, lanes: Sequence[tuple[Task, ...]]) -> None:
        self._dataflow.run(copy.deepcopy(transform), lanes)  # once applied, a transform belongs to its pipeline
        self._local.run(transform, lanes)

    def shuffle(self, transform: beam.PTransform, reads: Sequence[Task], tasks: Sequence[Task]) -> None:
        self._dataflow.shuffle(copy.deepcopy(transform), reads, tasks)
        self._local.shuffle(transform, reads, tasks)


def kept(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What Dataflow would be sent from here on: the protos of all pipelines."""
    from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner

    protos: list[Any] = []
    run_pipeline = DataflowRunner.run_pipeline

    def keep(self: Any, *args: Any) -> Any:
        result = run_pipeline(self, *args)
        protos.append(self.proto_pipeline)
        return result

    monkeypatch.setattr(DataflowRunner, "run_pipeline", keep)
    return protos


@pytest.mark.dataflow
@pytest.mark.timeout(600)
def test_the_pipelines_of_every_stage(
    dataflow: Dataflow, small_web: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def opened(_: engines.Config) -> Iterator[DryRun]:
        yield DryRun(dataflow)

    monkeypatch.setattr(engines, "opened", opened)
    for name, value in environment(small_web.env).items():
        monkeypatch.setenv(name, value)
    submitted = kept(monkeypatch)
    for stage in PIPELINE:
        submitted.clear()
        assert command.main([stage, *small_web.words(tmp_path)]) == 0
        assert submitted, f"{stage} ran nothing on the engine"
        for pipeline in submitted:
            assert pipeline.ByteSize() < LIMIT, f"{stage}: {pipeline.ByteSize()} bytes"
            assert [IMAGE.encode() in each.payload for each in pipeline.components.environments.values()] == [True]
            assert wrong(pipeline.components) == [], stage


@pytest.mark.dataflow
@pytest.mark.timeout(600)
def test_the_commands_of_its_page(
    dataflow: Dataflow, small_web: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/dataflow.md has them, but that pip only looks, and that nothing is sent to anybody."""
    install, crawl = block("docs/dataflow.md", 0).splitlines()
    assert "openwit" in run_block(f"{sys.executable} -m {install} --dry-run", copy_to(tmp_path))
    (table,) = re.findall(r"^```toml\n(.*?)^```", (ROOT / "docs" / "dataflow.md").read_text(), re.MULTILINE | re.DOTALL)
    table = table.replace('"gs://bucket/wit"', f'"{tmp_path}/out"')
    sources = f"[crawl]\nwarc = {[str(path) for path in small_web.archives]}\n".replace("'", '"')
    (tmp_path / "recipes" / "mine.toml").write_text(table + sources)
    monkeypatch.chdir(tmp_path)

    @contextmanager
    def opened(config: engines.Config) -> Iterator[DryRun]:
        assert config.options["temp_location"] == "gs://bucket/tmp"
        yield DryRun(Dataflow(structs.replace(config, options={**config.options, "dry_run": True})))

    monkeypatch.setattr(engines, "opened", opened)
    submitted = kept(monkeypatch)
    program, *words = shlex.split(crawl)
    assert program == "openwit" and command.main(words) == 0
    assert submitted


def wrong(parts: Any) -> list[str]:
    """What is encoded otherwise than it should be: keys in more than one way, anything but tasks by pickle."""
    steps = [step for step in parts.transforms.values() if step.spec.urn == GROUP_BY_KEY]
    assert steps, "tasks are dealt to the workers by a shuffle"
    found = []
    for step in steps:
        (rows,) = step.inputs.values()
        key, _ = parts.coders[parts.pcollections[rows].coder_id].component_coder_ids
        if not {coder.urn for coder in coders(parts, key)} <= DETERMINISTIC:
            found.append(f"the keys of {step.unique_name}")
    for pcollection in parts.pcollections.values():
        name = pcollection.unique_name.lstrip("0123456789")
        python = [deserialize_coder(coder.payload) for coder in coders(parts, pcollection.coder_id) if coder.payload]
        if not name.startswith(OF_TASKS) and not all(isinstance(coder, ArrowCoder) for coder in python):
            found.append(name)
    return found


def coders(parts: Any, coder: str) -> list[Any]:
    """The coders that a coder is made of; a payload is one that only Python knows."""
    inner = parts.coders[coder].component_coder_ids
    return [spec for each in inner for spec in coders(parts, each)] if inner else [parts.coders[coder].spec]


# ── what a user can get wrong ──


def said(folder: Path, options: dict[str, str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a stage says on stderr that cannot run on Dataflow."""
    archive, recipe = folder / "empty.warc.gz", folder / "recipe.toml"
    archive.touch()
    inline = ", ".join(f'{key} = "{value}"' for key, value in options.items())
    recipe.write_text(
        f'[run]\nout = "{folder}/out"\n[crawl]\nwarc = ["{archive}"]\n'
        f'[engine]\nrunner = "dataflow"\noptions = {{{inline}}}\n'
    )
    assert command.main(["crawl", "--recipe", str(recipe)]) == 2
    return capsys.readouterr().err


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "apitools", None)  # as if it were not installed
    assert said(tmp_path, OPTIONS, capsys) == (
        "crawl: engine.runner = dataflow needs what is not installed: pip install '.[gcp]', then run again\n"
    )


@pytest.mark.dataflow
@pytest.mark.parametrize("key", NEEDED)
def test_without_an_option(key: str, dataflow: Dataflow, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {name: value for name, value in OPTIONS.items() if name != key}
    assert said(tmp_path, options, capsys) == (
        f"crawl: engine.runner = dataflow needs engine.options.{key}: give them in the recipe\n"
    )
