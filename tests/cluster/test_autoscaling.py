"""GPU nodes come from nothing for a run, and go when it is done: Ray's autoscaler with its provider for one machine."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.dataset as pads
from job_cluster import PATIENCE_SECONDS, job_cluster
from scripted_cli import ANSWERS

HERE = Path(__file__).parent
ONE_GPU = {"one_gpu": {"resources": {"CPU": 4, "GPU": 1, "memory": 8 * 2**30}, "max_workers": 2}}


def test_gpu_nodes_come_for_a_run_and_go_after_it(tmp_path: Path) -> None:
    output = tmp_path / "run"
    with job_cluster(ONE_GPU) as cluster:
        environment = {
            **cluster.environment,
            "RAY_AUTH_TOKEN": cluster.token,
            "PYTHONPATH": f"{HERE}:{HERE.parents[1]}",
            ANSWERS: str(tmp_path / "answers"),
        }
        command = [sys.executable, str(HERE / "scripted_cli.py"), "0.2", "evaluate", "--model", "demo-reasoner"]
        command += ["--dataset", "quickstart", "--judge", "demo-guard", "--device", "cuda", "--output", str(output)]
        command += [
            "--ray-address",
            cluster.address,
            "--set",
            f"resources.autoscaler_config={cluster.autoscaler_config}",
        ]

        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=2 * PATIENCE_SECONDS)

        assert done.returncode == 0, done.stderr
        assert "the autoscaler is asked" in done.stderr
        (one,) = json.loads((output / "run.json").read_text())["tries"]
        assert sum(node["gpus"] for node in one["hardware"]) == 0
        samples = pads.dataset(output / "samples", format="parquet").to_table(["sample_id"])
        assert len(set(samples["sample_id"].to_pylist())) == 60

        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(raylets := [name for name in cluster.processes() if "raylet/raylet" in name]) > 1:
            assert time.monotonic() < deadline, raylets
            time.sleep(0.5)
