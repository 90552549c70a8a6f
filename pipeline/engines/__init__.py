"""Where tasks run: the recipe's [engine] table says on which engine, and no stage can tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Literal, Protocol

import apache_beam as beam
import msgspec

from pipeline.tasks.attempt import Task


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The recipe's [engine] table. None of it decides on what a stage writes."""

    runner: Literal["local", "spark", "flink", "dataflow"] = "local"
    workers: Annotated[int, msgspec.Meta(ge=0)] = 0  # processes that work side by side; 0 = one a core of this machine
    lease_seconds: Annotated[float, msgspec.Meta(gt=0)] = 60.0  # of silence before another worker takes a lane over
    # of Spark and Flink; without a master and a job server both run inside this machine
    master: str = ""  # of a cluster: spark://host:7077, or host:8081, where Flink's REST listens
    job_server: str = ""  # host:port of a Beam job server that runs already
    worker_command: str = ""  # where the workers find openwit-worker; "" = where it is here
    conf: Mapping[str, str] = {}  # properties of Spark, or of Flink's configuration
    # Beam's own pipeline options; for Dataflow project, region, temp_location, sdk_container_image …
    options: Mapping[str, str | int | bool] = {}


class Engine(Protocol):
    """What a stage asks of an engine."""

    @property
    def name(self) -> str:
        """As the recipe calls it."""

    def run(self, transform: beam.PTransform, lanes: Sequence[tuple[Task, ...]]) -> None:
        """Run a transform over lanes of tasks."""

    def shuffle(self, transform: beam.PTransform, reads: Sequence[Task], tasks: Sequence[Task]) -> None:
        """Run one pipeline that shuffles what `reads` name to `tasks`: the transform gets both in a dict."""


@contextmanager
def opened(config: Config) -> Iterator[Engine]:
    """The engine of a recipe, and whatever it started, until the block ends."""
    match config.runner:
        case "local":
            from pipeline.engines.local import Local

            yield Local(config.workers)
        case "spark" | "flink":
            from pipeline.engines.portable import Portable

            with Portable(config) as engine:
                yield engine
        case "dataflow":
            from pipeline.engines.dataflow import Dataflow

            yield Dataflow(config)
