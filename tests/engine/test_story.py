"""`make story` with real engines and a real training: safer in the end, and no worse at its tasks."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the script leaves."""
    folder = tmp_path_factory.mktemp("story")
    done = told([str(ROOT / "scripts" / "story"), str(folder)])
    assert "Before and after" in done
    return folder


def told(command: list[str]) -> str:
    """What the command prints; both kinds of engines start in it several times."""
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def compared(story: Path) -> dict[str, Any]:
    folders = [str(story / name) for name in ("before", "after", "before-benchmarks", "after-benchmarks")]
    tree: dict[str, Any] = json.loads(told([sys.executable, "-m", "safechain_ray", "compare", *folders, "--json"]))
    return tree


def test_the_model_is_safer_and_no_worse_at_its_tasks(story: Path) -> None:
    tree = compared(story)
    (setting,) = tree["runs"]["pairs"]
    for judge in setting["judges"]:
        safe_at_1 = judge["differences"][0]
        assert safe_at_1["metric"] == "safe_at_1"
        assert safe_at_1["low"] > 0, (judge["judge"], safe_at_1)
    (passed,) = tree["benchmarks"]["differences"]
    assert passed["high"] >= 0, passed


def test_the_counts_of_the_data_card_add_up(story: Path) -> None:
    record = json.loads((story / "dataset" / "dataset.json").read_text())
    steps = record["steps"]
    for before, step in pairwise(steps):
        assert step["left"] == {kind: before["left"][kind] - step["left_out"][kind] for kind in before["left"]}
    assert sum(steps[0]["left"].values()) == 1000
    assert sum(steps[-1]["left"].values()) == record["rows"] > 500
    assert sum(each["count"] for each in record["responses"]) == 5000


def test_the_page_shows_both_models(story: Path) -> None:
    page = (story / "report.html").read_text()
    assert "safer against demo-reasoner" in page
    assert "say nothing of any real model" in page
