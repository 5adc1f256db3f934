"""The judge study by its command, with RS-Match and a real demo-guard, against scikit-learn and scipy."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from processes import left_over, marked_environment
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, cohen_kappa_score, confusion_matrix, f1_score

JAILJUDGE = Path(__file__).parents[3] / "shared" / "data" / "jailjudge_mini.csv"
COLUMNS = ("--prompt-column", "question", "--response-column", "answer")


@pytest.mark.skipif(not JAILJUDGE.exists(), reason="jailjudge_mini.csv is not at hand")
def test_figures_of_a_thousand_labelled_answers_are_theirs_to_a_billionth(tmp_path: Path) -> None:
    environment = marked_environment()
    judges = ("--judge", "demo-guard", "--judge", "refusal-match", "--vote", "any")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "safechain_ray.cli", "judge-study", "--data", str(JAILJUDGE)),
            *(*COLUMNS, *judges, "--json", "--output", str(tmp_path / "study")),
        ],
        capture_output=True,
        text=True,
        timeout=500,
        env=environment,
    )
    # Some answers are longer than the demo guard's context: those verdicts are missing.
    assert done.returncode == 3, done.stderr
    assert left_over(environment) == []

    ours = {rater["name"]: rater["agreement"] for rater in json.loads(done.stdout)["raters"]}
    verdicts, labels = verdicts_of(tmp_path / "study"), pd.read_csv(JAILJUDGE).label
    assert set(ours) == {*verdicts.judge.unique(), "vote-any"}
    for judge, rows in verdicts.groupby("judge"):
        compare(ours[judge], rows.dropna(subset="unsafe"), labels)


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
