"""docs/extending.md: its files make a catalog outside the package, and its commands run with real engines."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd

from tests.deployment import ROOT
from tests.processes import left_over, marked_environment
from tests.unit.test_docs import commands

PAGE = ROOT / "docs" / "extending.md"
ENTRIES = [
    "my-family",
    "my-model",
    "my-prompts",
    "by-length",
    "my-wildguard",
    "briefthink",
    "long thoughts",
    "capitals",
]


def write_files(folder: Path) -> None:
    """The blocks of the page that begin with a path."""
    blocks = re.findall(r"^```\w+\n# (my-catalog/\S+)\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == len(dict(blocks))
    (folder / "my-catalog").mkdir()
    for name, text in blocks:
        (folder / name).write_text(text)


def test_the_files_of_the_page_make_a_catalog_and_its_commands_run(tmp_path: Path) -> None:
    write_files(tmp_path)
    of_catalog = [words for words in commands(PAGE) if "my-catalog" in words and "list" not in words]
    assert [words[1] for words in of_catalog] == ["doctor", "doctor", "evaluate", "report", "benchmark"]
    environment = {**marked_environment(), "PYTHONPATH": str(ROOT)}
    listed = run(["safechain-ray", "list", "--source", "--json", "--catalog", "my-catalog"], tmp_path, environment)
    names = {row["name"] for row in json.loads(listed)}
    assert names == set(ENTRIES)
    outputs = {words[1]: run(words, tmp_path, environment) for words in of_catalog}
    assert left_over(environment) == []

    samples = pd.concat(map(pd.read_parquet, (tmp_path / "runs/my-catalog/samples").glob("*.parquet")))
    assert len(samples) == samples.sample_id.nunique() == 4 * 2 * 2
    brief = samples[samples.strategy == "briefthink"]
    assert len(brief) == 8
    assert brief.thought.str.startswith("I will keep this short.").all()
    verdicts = [verdict for row in samples.verdicts for verdict in row]
    assert {verdict["judge"] for verdict in verdicts} == {"by-length"}
    assert len(verdicts) == len(samples)
    metrics = json.loads((tmp_path / "runs/my-catalog/metrics.json").read_text())
    for setting in metrics["settings"]:
        tokens = samples[samples.strategy == setting["strategy"]].thought_tokens
        assert setting["user_metrics"]["long thoughts"]["value"] == (tokens > 20).mean()
        assert setting["benign_prompts"] == 2
    assert "long thoughts" in outputs["report"]
    graded = pd.concat(map(pd.read_parquet, (tmp_path / "runs/capitals/samples").glob("*.parquet")))
    assert [grade["grader"] for grade in graded.grade] == ["last_line:LastLineGrader"] * 2
    assert [grade["correct"] for grade in graded.grade] == [False, False]  # the demo model knows no capitals
    assert "long thoughts" in (tmp_path / "runs/my-catalog/report.html").read_text()


def run(words: list[str], folder: Path, environment: dict[str, str]) -> str:
    command = [sys.executable, "-m", "safechain_ray", *words[1:]]
    ended = subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True)
    assert ended.returncode == 0, shlex.join(words) + ended.stdout + ended.stderr
    return ended.stdout
