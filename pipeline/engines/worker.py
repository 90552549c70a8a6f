"""What a Spark or Flink worker starts to run Python: `openwit-worker --id=… --provision_endpoint=…`.

Beam's own boot program is a Go binary out of a container; this one is the environment that openwit is installed in.
What a worker needs to know comes from the engine, nothing from the environment of whoever launched the job.
Source: beam_provision_api.proto; the protocol of Beam's PROCESS environment.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile

import grpc
from apache_beam.portability.api import (
    beam_provision_api_pb2,
    beam_provision_api_pb2_grpc,
    endpoints_pb2,
)
from google.protobuf import json_format, text_format

PATIENCE_SECONDS = 60.0


def main() -> None:
    """Ask the engine what to do, then be Beam's Python worker until it says that it is over."""
    parser = argparse.ArgumentParser(prog="openwit-worker", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--id", required=True, help="how the engine calls this worker")
    parser.add_argument("--provision_endpoint", required=True, help="where it says what to do")
    options, _ = parser.parse_known_args()  # the other endpoints are said again by the provision service
    os.environ |= provision(options.id, options.provision_endpoint)
    from apache_beam.runners.worker import sdk_worker_main  # reads its orders from the environment

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # that is how engines end it; what it keeps is removed
    with tempfile.TemporaryDirectory(prefix="openwit-worker-") as own:  # no worker finds what another left
        os.chdir(own)
        tempfile.tempdir = os.environ["TMPDIR"] = own
        sdk_worker_main.main(sys.argv)


def provision(worker: str, endpoint: str) -> dict[str, str]:
    """What the engine says of a job, as Beam's worker wants it said."""
    with grpc.insecure_channel(endpoint) as channel:
        info = (
            beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
            .GetProvisionInfo(
                beam_provision_api_pb2.GetProvisionInfoRequest(),
                metadata=[("worker_id", worker)],
                timeout=PATIENCE_SECONDS,
                wait_for_ready=True,
            )
            .info
        )
    return {
        "WORKER_ID": worker,
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options),
        "LOGGING_API_SERVICE_DESCRIPTOR": _descriptor(info.logging_endpoint),
        "CONTROL_API_SERVICE_DESCRIPTOR": _descriptor(info.control_endpoint),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
    }


def _descriptor(endpoint: endpoints_pb2.ApiServiceDescriptor) -> str:
    return str(text_format.MessageToString(endpoint))


if __name__ == "__main__":
    main()
