"""Finds the engine core process that vLLM runs below an actor of a running command, to kill it."""

from collections.abc import Collection, Mapping
from pathlib import Path

import psutil
import pyarrow.parquet as pq

from tests.processes import marked_processes

MODEL_ACTOR, JUDGE_ACTOR = "MapBatches(Replica", "MapBatches(EngineJudge"
"""How Ray titles the actors that own an engine."""


def engine_core(environment: Mapping[str, str], actor: str, dead: Collection[int] = ()) -> int | None:
    """The process id of the engine core of an actor with this title; None while there is none but `dead` ones."""
    for pid, title in marked_processes(environment).items():
        if "VLLM::EngineCor" not in title or pid in dead:
            continue
        parent = psutil.Process(pid).parent()
        if parent is not None and actor in " ".join(parent.cmdline()):
            return pid
    return None


def committed_rows(run: Path) -> int:
    """Rows in the sample files of a run's folder."""
    return sum(pq.read_metadata(path).num_rows for path in run.glob("samples/*.parquet"))
