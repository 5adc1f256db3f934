"""The training set of `make story`, real engines, its driver killed twice: the rows of an undisturbed build."""

import json
import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.processes import left_over, marked_environment

pytestmark = [pytest.mark.long, pytest.mark.timeout(3000)]

CONFIG = Path(__file__).parents[2] / "configs" / "story" / "dataset.yaml"
K = 5


def start(output: Path, prompts: int, environment: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "safechain_ray", "build-dataset", "--config", str(CONFIG)]
    command += ["--number", str(prompts), "--output", str(output)]
    environment = {key: value for key, value in environment.items() if key != "RAY_ADDRESS"}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)


def finish(build: subprocess.Popen[str]) -> None:
    _, stderr = build.communicate(timeout=1500)
    assert build.returncode == 0, stderr[-4000:]


def kill_at(build: subprocess.Popen[str], output: Path, rows: int) -> int:
    """Kill -9 once so many rows are committed; gives how many are."""
    deadline = time.monotonic() + 900
    while committed(output) < rows:
        assert build.poll() is None, build.communicate()
        assert time.monotonic() < deadline, f"only {committed(output)} of {rows} rows"
        time.sleep(0.1)
    build.kill()
    build.communicate()
    return committed(output)


def committed(output: Path) -> int:
    return len(sample_ids(output))


def sample_ids(output: Path) -> list[str]:
    files = [path for path in output.glob("run/samples/*.parquet") if not path.name.startswith((".", "_"))]
    return [sample_id for path in files for sample_id in pq.read_table(path, columns=["sample_id"])[0].to_pylist()]


def rows(output: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(output.glob("data/*.parquet")) for row in pq.read_table(path).to_pylist()]


def record(output: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((output / "dataset.json").read_text())
    return content


@pytest.mark.parametrize("prompts", [1000])
def test_a_build_of_real_engines_killed_twice_ends_with_the_rows_of_one_that_was_not(
    tmp_path: Path, prompts: int
) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    finish(start(undisturbed, prompts, dict(os.environ)))

    environment = marked_environment()
    for share in (0.3, 0.66):
        found = kill_at(start(killed, prompts, environment), killed, int(prompts * K * share))
        assert found < prompts * K
        assert not (killed / "data").exists()
    finish(start(killed, prompts, environment))
    assert left_over(environment) == []

    assert len(sample_ids(killed)) == len(set(sample_ids(killed))) == prompts * K
    assert rows(killed) == rows(undisturbed)
    once, again = record(undisturbed), record(killed)
    assert (again["steps"], again["responses"]) == (once["steps"], once["responses"])
    for before, step in pairwise(again["steps"]):
        assert step["left"] == {kind: before["left"][kind] - step["left_out"][kind] for kind in before["left"]}
    assert sum(again["steps"][-1]["left"].values()) == again["rows"] == len(rows(killed)) > prompts // 2
    assert sum(each["count"] for each in again["responses"]) == prompts * K
