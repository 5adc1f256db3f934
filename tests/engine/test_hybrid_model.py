"""A hybrid model, whose chat template has a switch for the thought: thoughts on and off in one run, loaded once."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd

from safechain_ray.engines.weights import weights_location
from tests.processes import marked_environment

OPENED = "'<｜Assistant｜><think>\\n'"
SWITCHED = (
    "'<｜Assistant｜><think>\\n' ~ ('' if enable_thinking is not defined or enable_thinking else '\\n</think>\\n\\n')"
)
"""As the templates of Qwen3.6 and Nemotron 3 do it: the thought is opened, or an empty one is written."""

CATALOG = """
families:
  hybrid:
    tags: {open: "<think>", close: "</think>"}
    no_think: {enable_thinking: false}
    source: the template of the demo model with a switch
models:
  hybrid-model: {source: ./weights, family: hybrid, parameters: 0.0015, context_length: 2048, runs_on_cpu: true}
"""


def hybrid_model(folder: Path) -> Path:
    """A catalog with the demo model whose template has a switch."""
    shutil.copytree(weights_location("package://demo-reasoner"), folder / "weights")
    path = folder / "weights" / "tokenizer_config.json"
    config = json.loads(path.read_text())
    assert config["chat_template"].count(OPENED) == 1
    config["chat_template"] = config["chat_template"].replace(OPENED, SWITCHED)
    path.write_text(json.dumps(config))
    (folder / "catalog.yaml").write_text(CATALOG)
    return folder / "catalog.yaml"


def safechain(catalog: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "safechain_ray", *arguments, "--catalog", str(catalog)],
        env=marked_environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def settings_of(output: Path) -> list[str]:
    """The ids of the setting with thoughts, and of that without."""
    settings = json.loads((output / "metrics.json").read_text())["settings"]
    by_switch = {setting["template_kwargs"]["enable_thinking"]: setting["setting_id"] for setting in settings}
    return [by_switch[True], by_switch[False]]


def test_thoughts_on_and_off_are_two_settings_of_one_run_and_are_compared(tmp_path: Path) -> None:
    catalog, output = hybrid_model(tmp_path), tmp_path / "run"
    switch = "vary.template_kwargs=[{enable_thinking: true}, {enable_thinking: false}]"
    checked = json.loads(safechain(catalog, "doctor", "--model", "hybrid-model", "--json"))["findings"]
    assert [each["status"] for each in checked if each["check"] == "switch"] == ["ok"]
    names = ("--model", "hybrid-model", "--dataset", "quickstart", "--judge", "refusal-match", "--limit", "12")
    safechain(catalog, "evaluate", *names, "--set", switch, "--max-tokens", "200", "-o", str(output), "--no-html")

    rows = pd.concat(map(pd.read_parquet, output.glob("samples/*.parquet")))
    on, off = (rows[rows.setting_id == name] for name in settings_of(output))
    assert (len(on), len(off)) == (12, 12)
    assert set(on.prefill) == {"<think>\n"}
    assert on.thought.str.len().min() > 0
    assert set(off.thought) == {""}
    assert set(off.prefill) == {"<think>\n\n</think>\n\n"}
    (attempt,) = json.loads((output / "run.json").read_text())["tries"]
    assert len(attempt["stages"]) == 1  # one engine for both settings

    baseline = ("--baseline", "default enable_thinking=true", "--json")
    (pair,) = json.loads(safechain(catalog, "compare", str(output), *baseline))["pairs"]
    assert pair["second"]["strategy"]["template_kwargs"] == {"enable_thinking": False}
