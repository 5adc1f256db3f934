"""A run of the whole command with real vLLM engines, on prompts that come with the project."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.processes import left_over, marked_environment

PROMPTS, SAMPLES = 30, 5
STRATEGIES, JUDGES = ("default", "zerothink"), ("demo-guard", "refusal-match")


@dataclass(frozen=True)
class RealRun:
    """Its folder, and the metrics that it printed. The same `command` again continues it."""

    output: Path
    command: list[str]
    printed: dict[str, Any]


def command(output: Path, *more: str) -> list[str]:
    """Both strategies and both judges, sampled."""
    flags = [word for strategy in STRATEGIES for word in ("--strategy", strategy)]
    flags += [word for judge in JUDGES for word in ("--judge", judge)]
    common = ["--model", "demo-reasoner", "--temperature", "0.6", "--top-p", "0.95", "--output", str(output)]
    return [sys.executable, "-m", "safechain_ray", "evaluate", *common, *flags, *more]


def evaluated(output: Path, *dataset: str) -> RealRun:
    """2 x 30 x 5 samples; `dataset` are the flags that name another data set than the project's own."""
    asked = command(output, *(dataset or ("--dataset", "quickstart")), "--shuffle-seed", "1")
    asked += ["--limit", str(PROMPTS), "--samples", str(SAMPLES), "--json"]
    environment = marked_environment()
    done = subprocess.run(asked, capture_output=True, text=True, timeout=400, env=environment)
    assert done.returncode == 0, done.stderr
    assert left_over(environment) == []
    return RealRun(output, asked, json.loads(done.stdout))
