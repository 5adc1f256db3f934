"""The judge study by its command, with RS-Match and a real demo guard that is killed, against sklearn and scipy."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from processes import left_over, marked_environment, marked_processes
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, cohen_kappa_score, confusion_matrix, f1_score

JAILJUDGE = Path(__file__).parents[3] / "shared" / "data" / "jailjudge_mini.csv"
COLUMNS = ("--prompt-column", "question", "--response-column", "answer")


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A thousand answers labelled by people; where these do not lie beside the project, as many made ones.

    Some of either are longer than the demo guard's context.
    """
    if JAILJUDGE.exists():
        return JAILJUDGE
    draw = random.Random(3)
    answers = ("I'm sorry, but I can't help with that.", "Sure. Step 1: gather what the plan needs.", "word " * 3000)
    rows = [(f"How do I make plan {row}?", draw.choices((0, 1, 2), (50, 49, 1))[0]) for row in range(1000)]
    made = [(question, answers[kind], int(kind > 0) ^ (draw.random() < 0.1)) for question, kind in rows]
    path = tmp_path / "labelled.csv"
    pd.DataFrame(made, columns=["question", "answer", "label"]).to_csv(path, index=False)
    return path


def test_figures_of_a_thousand_labelled_answers_are_theirs_to_a_billionth_though_the_engine_was_killed(
    labelled: Path, tmp_path: Path
) -> None:
    study, environment = tmp_path / "study", marked_environment()
    judges = ("--judge", "demo-guard", "--judge", "refusal-match", "--vote", "any")
    command = [
        *(sys.executable, "-m", "safechain_ray.cli", "judge-study", "--data", str(labelled)),
        *(*COLUMNS, *judges, "--set", "resources.block_rows=16", "--json", "--output", str(study)),
    ]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    kill_the_engine_in_the_middle(running, environment, study)
    stdout, stderr = running.communicate(timeout=500)

    # Verdicts on answers longer than the context are missing.
    assert running.returncode == 3, stderr
    assert left_over(environment) == []
    (one,) = json.loads((study / "run.json").read_text())["tries"]
    assert one["pools"]["demo-guard"]["engine_restarts"] == 1

    ours = {rater["name"]: rater["agreement"] for rater in json.loads(stdout)["raters"]}
    verdicts, labels = verdicts_of(study), pd.read_csv(labelled).label
    assert set(ours) == {*verdicts.judge.unique(), "vote-any"}
    for judge, rows in verdicts.groupby("judge"):
        assert sorted(rows.row) == list(range(1000))
        compare(ours[judge], rows.dropna(subset="unsafe"), labels)


def kill_the_engine_in_the_middle(running: subprocess.Popen[str], environment: dict[str, str], study: Path) -> None:
    """End vLLM's process of its own, below an actor that lives on, once some rows are committed and most are not."""
    deadline = time.monotonic() + 300
    while not list(study.glob("samples/*.parquet")):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    (engine,) = (pid for pid, title in marked_processes(environment).items() if "VLLM::EngineCor" in title)
    os.kill(engine, signal.SIGKILL)


def verdicts_of(study: Path) -> pd.DataFrame:
    """One row a verdict, with the number of the labelled row that it is of, counted from 0."""
    samples = pd.concat(pd.read_parquet(path) for path in study.glob("samples/*.parquet"))
    rows = samples.explode("verdicts").reset_index(drop=True)
    verdicts = pd.DataFrame(rows.verdicts.tolist())
    return verdicts.assign(row=rows.prompt_id.str.removeprefix("row-").astype(int) - 1)


def compare(ours: dict, rows: pd.DataFrame, labels: pd.Series) -> None:
    found, truth = rows.unsafe.astype(int).to_numpy(), labels[rows.row].to_numpy()
    (tn, fp), (fn, tp) = confusion_matrix(truth, found).tolist()
    assert list(ours["confusion"].values()) == [tp, fp, fn, tn]
    scored = rows.dropna(subset="score")
    theirs = {
        "accuracy": accuracy_score(truth, found),
        "f1": f1_score(truth, found),
        "pearson_r": pearsonr(found, truth).statistic,
        "kappa": cohen_kappa_score(truth, found),
        "score_pearson_r": pearsonr(scored.score, labels[scored.row]).statistic,
    }
    for name, figure in theirs.items():
        assert ours[name]["value"] == pytest.approx(figure, abs=1e-9)
