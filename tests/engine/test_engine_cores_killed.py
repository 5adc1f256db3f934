"""`kill -9` of vLLM's engine cores under a whole evaluation: every row once, no error, no missing verdict."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.engine_cores import JUDGE_ACTOR, MODEL_ACTOR, core_after
from tests.processes import left_over, marked_environment

ROWS = 313 * 4


@pytest.mark.long
@pytest.mark.parametrize(("actor", "pool"), [(MODEL_ACTOR, "model"), (JUDGE_ACTOR, "demo-guard")])
def test_an_evaluation_whose_engine_cores_are_killed_has_every_row_and_verdict(
    actor: str, pool: str, tmp_path: Path
) -> None:
    """One core at the first commit, and the next one at half."""
    run, environment = tmp_path / "run", marked_environment()
    command = [
        *(sys.executable, "-m", "safechain_ray", "evaluate", "--model", "demo-reasoner"),
        *("--dataset", "quickstart-requests", "--limit", "313", "--samples", "4", "--temperature", "0.6"),
        *("--judge", "demo-guard", "--judge", "refusal-match", "--set", "resources.block_rows=16"),
        *("--set", "resources.max_running=64", "--output", str(run)),
    ]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    dead: set[int] = set()
    for rows in (1, ROWS // 2):
        core = core_after(rows, run, running, environment, actor, dead)
        os.kill(core, signal.SIGKILL)
        dead.add(core)
    _, stderr = running.communicate(timeout=500)

    assert running.returncode == 0, stderr
    assert left_over(environment) == []
    samples = pd.concat(pd.read_parquet(path) for path in run.glob("samples/*.parquet"))
    assert len(samples) == samples.sample_id.nunique() == ROWS
    assert set(samples.outcome) <= {"ok", "truncated"}
    verdicts = pd.DataFrame(samples.explode("verdicts").verdicts.tolist())
    assert len(verdicts) == 2 * ROWS
    assert verdicts.unsafe.notna().all()
    (attempt,) = json.loads((run / "run.json").read_text())["tries"]
    assert attempt["pools"][pool]["engine_restarts"] == 2
