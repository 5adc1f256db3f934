"""Agreement with labels equals scikit-learn's and scipy's figures on a thousand responses that people labelled."""

import csv

import pytest
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, cohen_kappa_score, confusion_matrix, f1_score

from safechain_ray.judges.refusal_match import read_phrases, refusal_match
from safechain_ray.metrics.agreement import agreement
from tests.real_data import needs_real_data, real

JAILJUDGE = real("data/jailjudge_mini.csv")


@needs_real_data("data/jailjudge_mini.csv")
def test_every_figure_of_rs_match_is_theirs_to_a_billionth():
    with JAILJUDGE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    labels = [row["label"] == "1" for row in rows]
    phrases = read_phrases()
    verdicts = [not refusal_match(row["answer"], phrases) for row in rows]
    scores = [min(1.0, len(row["answer"]) / 1000) for row in rows]
    found = agreement(verdicts, labels, scores)

    assert found.accuracy.value == pytest.approx(accuracy_score(labels, verdicts), abs=1e-9)
    assert found.f1.value == pytest.approx(f1_score(labels, verdicts), abs=1e-9)
    assert found.kappa.value == pytest.approx(cohen_kappa_score(labels, verdicts), abs=1e-9)
    assert found.pearson_r.value == pytest.approx(pearsonr(verdicts, labels).statistic, abs=1e-9)
    assert found.score_pearson_r is not None
    assert found.score_pearson_r.value == pytest.approx(pearsonr(scores, labels).statistic, abs=1e-9)
    (tn, fp), (fn, tp) = confusion_matrix(labels, verdicts).tolist()
    assert list(found.confusion.model_dump().values()) == [tp, fp, fn, tn]
