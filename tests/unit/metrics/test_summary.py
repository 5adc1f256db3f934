"""The tree of metrics.json, against a recomputation with pandas."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from safechain_ray.errors import InputError
from safechain_ray.metrics.counts import count_samples, count_table, merge
from safechain_ray.metrics.safety import MetricName
from safechain_ray.metrics.summary import RunMetrics, SafetyMetrics, summarise
from safechain_ray.testing import verdict
from safechain_ray.types import Sample, Setting, samples_table
from tests.unit.metrics.sample_rows import FIVE, GREEDY, GUARD, prompt_rows, sample


def random_rows(setting: Setting, prompts: int, missing: float, seed: int) -> list[Sample]:
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(prompts):
        for index in range(setting.samples):
            unsafe = None if rng.random() < missing else bool(rng.random() < 0.3 + 0.05 * (i % 7))
            blocked = unsafe is None and rng.random() < 0.5
            verdicts = () if blocked else (verdict(unsafe), verdict(True, judge="other"))
            outcome = "blocked" if blocked else "ok"
            rows.append(sample(setting, f"p{i}", index, *verdicts, category=f"c{i % 3}", outcome=outcome))
    return rows


def guard_verdicts(rows: list[Sample]) -> pd.DataFrame:
    """prompt_id, category, safe (1, 0 or missing), as a reader of the Parquet files would take them."""
    frame = samples_table(rows).to_pandas()
    exploded = frame.explode("verdicts").dropna(subset="verdicts")
    fields = pd.DataFrame(exploded["verdicts"].tolist(), index=exploded.index)
    guard = fields[(fields["judge"] == "guard") & (fields["part"] == "response")]
    frame["safe"] = 1 - guard["unsafe"].astype("Int64")
    return frame[["prompt_id", "category", "safe"]]


def recomputed(frame: pd.DataFrame, samples: int) -> dict[MetricName, float]:
    by_prompt = frame.groupby("prompt_id")["safe"].agg(["sum", "count"])
    judged = by_prompt[by_prompt["count"] > 0]
    shares = [Fraction(int(safe), int(count)) for safe, count in judged.itertuples(index=False)]
    complete = by_prompt[by_prompt["count"] == samples]
    return {
        "safe_at_1": float(sum(shares) / len(shares)),
        "safe_at_k": (complete["sum"] == samples).mean(),
        "cons_safe_at_k": (complete["sum"] >= samples / 2).mean(),
    }


def values(safety: SafetyMetrics) -> dict[MetricName, float | None]:
    return {name: getattr(safety, name).value for name in ("safe_at_1", "safe_at_k", "cons_safe_at_k")}


@pytest.mark.parametrize("setting", [GREEDY, FIVE], ids=["K=1", "K=5"])
@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize("seed", range(3))
def test_metrics_are_those_of_pandas_to_the_last_digit(setting: Setting, missing: float, seed: int) -> None:
    rows = random_rows(setting, 100, missing, seed)
    (judge,) = summarise(count_samples(rows), [setting], [GUARD]).settings[0].judges
    frame = guard_verdicts(rows)
    assert values(judge) == recomputed(frame, setting.samples)
    assert judge.missing == frame["safe"].isna().sum()
    mean_of_means = frame.groupby("prompt_id")["safe"].mean().mean()
    assert judge.safe_at_1.value == pytest.approx(mean_of_means, rel=4e-16)
    if not missing:
        assert judge.safe_at_1.value == frame["safe"].mean()
    assert list(judge.categories) == ["c0", "c1", "c2"]
    for category, part in frame.groupby("category"):
        assert values(judge.categories[category]) == recomputed(part, setting.samples)
        assert judge.categories[category].prompts == part["prompt_id"].nunique()
        assert judge.categories[category].missing == part["safe"].isna().sum()


def test_a_summary_does_not_depend_on_how_the_rows_arrived() -> None:
    rows = [*random_rows(FIVE, 40, 0.1, 0), *random_rows(GREEDY, 40, 0.1, 1)]
    asked = [GUARD, ("other", "response")]
    whole = summarise(count_samples(rows), [GREEDY, FIVE], asked)
    table = samples_table(rows[::-1])
    parts = [count_table(table.slice(start, 7)) for start in range(0, len(rows), 7)]
    assert summarise(merge(parts), [GREEDY, FIVE], asked) == whole


def test_metrics_json_reads_back_as_it_was() -> None:
    metrics = summarise(count_samples(random_rows(FIVE, 20, 0.2, 0)), [FIVE], [GUARD, ("other", "thought")])
    assert RunMetrics.model_validate_json(metrics.model_dump_json()) == metrics


def test_a_setting_tells_its_outcomes_rates_tokens_and_rounds() -> None:
    rows = [
        *(sample(FIVE, "p1", index, outcome="blocked", category="a") for index in range(5)),
        *(sample(FIVE, "p2", index, outcome="truncated" if index else "error", category="b") for index in range(5)),
    ]
    (setting,) = summarise(count_samples(rows), [FIVE], []).settings
    assert setting.outcomes == {"ok": 0, "truncated": 4, "blocked": 5, "error": 1}
    blocked = setting.outcome_rates["blocked"]
    assert (blocked.value, blocked.n, blocked.method) == (0.5, 2, "bootstrap")
    assert setting.outcome_rates["ok"].method == "wilson"
    assert setting.outcomes_by_category["a"] == {"ok": 0, "truncated": 0, "blocked": 5, "error": 0}
    assert setting.tokens.model_dump() == {"prompt": 30, "thought": 20, "answer": None}
    assert (setting.forced_rounds, setting.seconds, setting.strategy, setting.samples) == (10, 1.0, "default", 5)


def test_a_judge_that_was_asked_and_never_answered_has_missing_verdicts_and_the_widest_bounds() -> None:
    metrics = summarise(count_samples([sample(GREEDY, "p1", outcome="error")]), [GREEDY], [GUARD])
    (judge,) = metrics.settings[0].judges
    assert (judge.missing, judge.prompts, judge.safe_at_1.value) == (1, 1, None)
    assert (judge.safe_at_1.bound_low, judge.safe_at_1.bound_high) == (0, 1)


def test_rows_and_prompts_that_are_not_there_yet_are_expected_and_missing() -> None:
    counts = count_samples(prompt_rows(FIVE, "p1", [False, False, False]))
    (setting,) = summarise(counts, [FIVE], [GUARD]).settings
    assert (setting.rows, setting.rows_expected, setting.judges[0].missing) == (3, 5, 2)
    (setting,) = summarise(counts, [FIVE], [GUARD], expected_prompts={"d": 4}).settings
    assert (setting.prompts, setting.rows_expected, setting.judges[0].missing) == (1, 20, 17)
    assert setting.judges[0].safe_at_1.bound_low == 3 / 20
    (setting,) = summarise(counts, [GREEDY], [GUARD]).settings
    assert (setting.rows, setting.rows_expected, setting.judges[0].safe_at_1.value) == (0, 0, None)


def test_repeated_rows_and_verdicts_are_refused() -> None:
    with pytest.raises(InputError, match="2 rows where K is 1"):
        summarise(count_samples([sample(GREEDY, "p1"), sample(GREEDY, "p1")]), [GREEDY], [GUARD])
    with pytest.raises(InputError, match="2 verdicts of guard on its response where K is 1"):
        summarise(count_samples([sample(GREEDY, "p1", 0, verdict(True), verdict(False))]), [GREEDY], [GUARD])


def test_metrics_from_before_notes_were_counted_still_read() -> None:
    whole = summarise(count_samples(prompt_rows(GREEDY, "p1", [True])), [GREEDY], [GUARD])
    tree = whole.model_dump(mode="json")
    del tree["settings"][0]["judges"][0]["noted"]
    assert RunMetrics.model_validate(tree) == whole
