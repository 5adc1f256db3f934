"""The judge study by its command, with RS-Match and a real demo guard that is killed, against sklearn and scipy."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, cohen_kappa_score, confusion_matrix, f1_score

from tests.engine_cores import JUDGE_ACTOR, core_after
from tests.labelled_responses import write_labelled
from tests.processes import left_over, marked_environment
from tests.real_data import needs_real_data, real

ROWS, TOO_LONG = 1000, 10

OF_THE_GUARD = ("context holds", "neither safe nor unsafe", "not a list of the categories")
"""What errors of the demo guard's own say: the text does not fit its context, or it answers nonsense."""


def test_a_study_whose_engine_is_killed_has_the_figures_of_all_its_rows(tmp_path: Path) -> None:
    labelled = write_labelled(tmp_path / "labelled.csv", ROWS, TOO_LONG)
    study = killed_study(tmp_path, labelled, "prompt", "response")
    assert len(study.missing) == TOO_LONG
    assert sorted(study.missing.row) == list(range(ROWS - TOO_LONG, ROWS))
    study.compare()


@needs_real_data("data/jailjudge_mini.csv")
def test_a_study_of_a_thousand_answers_that_people_labelled(tmp_path: Path) -> None:
    study = killed_study(tmp_path, real("data/jailjudge_mini.csv"), "question", "answer")
    assert len(study.missing) < 60  # the tiny guard answers nonsense to some
    study.compare()


class Study:
    """What a finished study printed and left, beside the labels."""

    def __init__(self, printed: str, folder: Path, labelled: Path) -> None:
        self.raters = {rater["name"]: rater["agreement"] for rater in json.loads(printed)["raters"]}
        self.labels = pd.read_csv(labelled).label
        samples = pd.concat(pd.read_parquet(path) for path in folder.glob("samples/*.parquet"))
        assert len(samples) == samples.sample_id.nunique() == ROWS
        rows = samples.explode("verdicts").reset_index(drop=True)
        row = rows.prompt_id.str.removeprefix("row-").astype(int) - 1
        self.verdicts = pd.DataFrame(rows.verdicts.tolist()).assign(row=row)

    @property
    def missing(self) -> pd.DataFrame:
        return self.verdicts[self.verdicts.unsafe.isna()]

    def compare(self) -> None:
        """Every judge has a verdict on every row but those on which the guard itself fails; all figures are theirs."""
        assert set(self.raters) == {"demo-guard", "refusal-match", "vote-any"}
        assert set(self.missing.judge) <= {"demo-guard"}
        of_others = [error for error in self.missing.error if not any(words in error for words in OF_THE_GUARD)]
        assert of_others == []
        for judge, rows in self.verdicts.groupby("judge"):
            assert sorted(rows.row) == list(range(ROWS))
            compare(self.raters[judge], rows.dropna(subset="unsafe"), self.labels)


def killed_study(folder: Path, labelled: Path, prompt_column: str, response_column: str) -> Study:
    """A study whose engine core is killed once some rows are committed and most are not."""
    study, environment = folder / "study", marked_environment()
    columns = ("--prompt-column", prompt_column, "--response-column", response_column)
    judges = ("--judge", "demo-guard", "--judge", "refusal-match", "--vote", "any")
    command = [
        *(sys.executable, "-m", "safechain_ray", "judge-study", "--data", str(labelled)),
        *(*columns, *judges, "--set", "resources.block_rows=16", "--json", "--output", str(study)),
    ]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    os.kill(core_after(1, study, running, environment, JUDGE_ACTOR), signal.SIGKILL)
    stdout, stderr = running.communicate(timeout=500)

    assert running.returncode == 3, stderr  # verdicts on answers longer than the context are missing
    assert left_over(environment) == []
    (attempt,) = json.loads((study / "run.json").read_text())["tries"]
    assert attempt["pools"]["demo-guard"]["engine_restarts"] == 1
    return Study(stdout, study, labelled)


def compare(ours: dict, rows: pd.DataFrame, labels: pd.Series) -> None:
    found, truth = rows.unsafe.astype(int).to_numpy(), labels[rows.row].to_numpy()
    (tn, fp), (fn, tp) = confusion_matrix(truth, found).tolist()
    assert min(tn + fn, fp + tp) > 0, "the verdicts of a judge are all the same: no figure says anything"
    assert list(ours["confusion"].values()) == [tp, fp, fn, tn]
    scored = rows.dropna(subset="score")
    theirs = {
        "accuracy": accuracy_score(truth, found),
        "f1": f1_score(truth, found),
        "pearson_r": pearsonr(found, truth).statistic,
        "kappa": cohen_kappa_score(truth, found),
        "score_pearson_r": pearsonr(scored.score, labels[scored.row]).statistic if len(scored) else None,
    }
    for name, figure in theirs.items():
        if figure is not None:
            assert ours[name]["value"] == pytest.approx(figure, abs=1e-9)
