"""A real vLLM server of the demo reasoner that speaks OpenAI's API, on a CPU."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safechain_ray.catalog import models
from safechain_ray.engines.start import EngineStart
from safechain_ray.engines.vllm_environment import KernelSources, engine_environment
from safechain_ray.engines.weights import weights_location
from tests.engine.running_engine import SHARE_OF_A_GPU
from tests.free_ports import free_ports
from tests.installed_device import INSTALLED_DEVICE

MODEL = models()["demo-reasoner"]
RUNNING = 32
SECONDS_TO_START = 180


@contextmanager
def vllm_server(log_file: Path) -> Iterator[str]:
    """Its endpoint, as soon as it answers."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *_arguments(port)]
    start = EngineStart(MODEL, INSTALLED_DEVICE, log_file)
    environment = {**os.environ, **engine_environment(start, os.environ, KernelSources.here())}
    with log_file.open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        _wait_until_it_answers(f"http://127.0.0.1:{port}/health", server, log_file)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(30)


def _arguments(port: int) -> list[str]:
    # As `engines.vllm.device_arguments` has them: on a CPU no prompt may be prefilled in pieces.
    return [
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--model", weights_location(MODEL.source), "--served-model-name", "demo-reasoner"),
        *("--dtype", MODEL.dtype, "--max-model-len", str(MODEL.context_length), "--max-num-seqs", str(RUNNING)),
        *("--enforce-eager", "--no-enable-chunked-prefill", "--max-num-batched-tokens", "2048"),
        *("--distributed-executor-backend", "uni", "--disable-log-stats"),
        *(("--gpu-memory-utilization", str(SHARE_OF_A_GPU)) if INSTALLED_DEVICE == "cuda" else ()),
    ]


def _wait_until_it_answers(url: str, server: subprocess.Popen[bytes], log_file: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except (urllib.error.URLError, OSError):
            assert server.poll() is None, log_file.read_text()[-3000:]
            assert time.monotonic() < deadline, log_file.read_text()[-3000:]
            time.sleep(0.5)
