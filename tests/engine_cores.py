"""Finds the engine core process that vLLM runs below an actor of a running command, to kill it."""

import subprocess
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

import psutil
import pyarrow.parquet as pq

from safechain_ray.cluster.workers.generator import WORKER_TITLE
from safechain_ray.commands.gpu_check.check import title_of
from tests.processes import marked_processes

MODEL_ACTOR, JUDGE_ACTOR = WORKER_TITLE, "MapBatches(EngineJudge"
"""How Ray titles the actors that own an engine."""


def engine_core(environment: Mapping[str, str], actor: str, dead: Collection[int] = ()) -> int | None:
    """The process id of the engine core of an actor with this title; None while there is none but `dead` ones."""
    for pid, title in marked_processes(environment).items():
        if "VLLM::EngineCor" not in title or pid in dead:
            continue
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(pid).parent()
            if parent is not None and actor in title_of(parent):
                return pid
    return None


def core_after(
    rows: int,
    run: Path,
    running: subprocess.Popen[str],
    environment: Mapping[str, str],
    actor: str,
    dead: Collection[int] = (),
) -> int:
    """The engine core of an actor of a running command, as soon as the run has committed so many rows."""
    deadline = time.monotonic() + 300
    while committed_rows(run) < rows or (core := engine_core(environment, actor, dead)) is None:
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return core


def committed_rows(run: Path) -> int:
    """Rows in the sample files of a run's folder."""
    return sum(pq.read_metadata(path).num_rows for path in run.glob("samples/*.parquet"))
