"""docs/python.md and notebooks/quickstart.ipynb: their code runs as it is written, with real engines."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
from nbclient import NotebookClient

from tests.deployment import ROOT
from tests.processes import left_over, marked_environment

PAGE = ROOT / "docs" / "python.md"
NOTEBOOK = ROOT / "notebooks" / "quickstart.ipynb"


def test_the_code_of_the_page_runs_from_top_to_bottom(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 5

    script = tmp_path / "page.py"
    script.write_text("".join(blocks))
    environment = {**marked_environment(), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert left_over(environment) == []
    assert "48/48 rows (100%)" in done.stderr
    assert "Traceback" not in done.stderr
    assert "zerothink demo-guard" in done.stdout
    samples = pd.read_parquet(tmp_path / "runs/notebook/samples")
    assert len(samples) == samples.sample_id.nunique() == 48
    assert "48 48" in done.stdout  # verdicts of demo-guard, samples
    assert "refusal-match" in done.stdout


def test_the_notebook_runs_and_shows_progress_and_tables(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "the notebook is kept without outputs"
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    pages = ["".join(output["data"].get("text/html", "")) for output in outputs if "data" in output]
    assert any("<pre>" in page and "24/24 rows" in page for page in pages), "no progress was drawn"
    assert any("<table" in page and "Safe@1" in page for page in pages)
    assert not [output for output in outputs if output["output_type"] == "stream" and output["name"] == "stderr"]
    assert len(pd.read_parquet(tmp_path / "runs/notebook/samples")) == 24
