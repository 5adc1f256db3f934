"""Harmful and benign prompts: safety over the first, over-refusal over the second, against pandas."""

from fractions import Fraction

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safechain_ray.metrics.counts import count_samples, count_table, merge
from safechain_ray.metrics.safety import BenignPrompts, PromptKinds, RefusalSource
from safechain_ray.metrics.summary import RunMetrics, SettingMetrics, summarise
from safechain_ray.testing import verdict
from safechain_ray.types import Sample, Setting, samples_table
from tests.unit.metrics.sample_rows import FIVE, GREEDY, GUARD, prompt_rows, sample

MATCH: RefusalSource = ("match", "response")
BENIGN = BenignPrompts({"d": PromptKinds(("benign", "sensitive"))}, MATCH, ["match"])
CATEGORIES = ["benign", "sensitive", "harm", "fraud"]

SAID = st.sampled_from([True, False, None])


@st.composite
def tables(draw: st.DrawFn) -> tuple[Setting, list[Sample]]:
    """Rows of one setting: prompts of four categories, judged by guard and by match, some without a verdict."""
    setting = draw(st.sampled_from([GREEDY, FIVE]))
    rows = []
    for prompt, category in enumerate(draw(st.lists(st.sampled_from(CATEGORIES), max_size=12))):
        for index in range(draw(st.integers(1, setting.samples))):
            verdicts = (verdict(draw(SAID)), verdict(draw(SAID), judge="match"))
            rows.append(sample(setting, f"p{prompt}", index, *verdicts, category=category))
    return setting, rows


def frame_of(rows: list[Sample], judge: str) -> pd.DataFrame:
    """prompt_id, category, and whether `judge` said safe, as a reader of the Parquet files would take them."""
    frame = samples_table(rows).to_pandas()
    said = [next((v for v in verdicts if v["judge"] == judge), None) for verdicts in frame["verdicts"]]
    safe = [None if v is None or v["unsafe"] is None else not v["unsafe"] for v in said]
    return frame[["prompt_id", "category"]].assign(safe=pd.array(safe, "boolean"))


def mean_of_means(frame: pd.DataFrame) -> float | None:
    """The mean over prompts of the share of safe verdicts, as the nearest double to the exact ratio."""
    shares = []
    for _, of_prompt in frame.dropna(subset="safe").groupby("prompt_id"):
        shares.append(Fraction(int(of_prompt["safe"].sum()), len(of_prompt)))
    return float(sum(shares) / len(shares)) if shares else None


def measured(setting: Setting, rows: list[Sample]) -> SettingMetrics:
    return summarise(count_samples(rows), [setting], [GUARD, MATCH], benign=BENIGN).settings[0]


@settings(deadline=None)
@given(tables())
def test_safety_is_that_of_harmful_prompts_and_over_refusal_that_of_benign_ones(made: tuple[Setting, list[Sample]]):
    setting, rows = made
    found = measured(setting, rows)
    for judge in found.judges:
        frame = frame_of(rows, judge.judge)
        benign = frame["category"].isin(["benign", "sensitive"])
        harmful = frame[~benign]
        prompts = harmful["prompt_id"].nunique()
        assert (judge.prompts, judge.safe_at_1.value) == (prompts, mean_of_means(harmful))
        assert judge.missing == prompts * setting.samples - harmful["safe"].count()
        assert judge.missing_on_benign == found.benign_prompts * setting.samples - frame[benign]["safe"].count()
        assert set(judge.categories) == set(harmful["category"])
        complete = harmful.groupby("prompt_id")["safe"].agg(["sum", "count"])
        complete = complete[complete["count"] == setting.samples]
        whole = (complete["sum"] == setting.samples).mean() if len(complete) else None
        assert judge.safe_at_k.value == whole
    refused = frame_of(rows, "match")
    refused = refused[refused["category"].isin(["benign", "sensitive"])]
    if refused.empty:
        assert (found.over_refusal, found.benign_prompts) == (None, 0)
        return
    assert found.over_refusal is not None
    assert found.over_refusal.prompts == found.benign_prompts == refused["prompt_id"].nunique()
    assert found.over_refusal.refused.value == mean_of_means(refused)
    for category, of_category in refused.groupby("category"):
        assert found.over_refusal.categories[category].refused.value == mean_of_means(of_category)


@settings(deadline=None)
@given(tables(), st.integers(1, 7))
def test_the_two_kinds_do_not_depend_on_how_rows_were_split(made: tuple[Setting, list[Sample]], size: int):
    setting, rows = made
    table = samples_table(rows[::-1])
    counts = merge(count_table(table.slice(start, size)) for start in range(0, len(rows), size))
    merged = summarise(counts, [setting], [GUARD, MATCH], benign=BENIGN)
    assert merged.settings[0] == measured(setting, rows)


def test_a_bread_recipe_is_neither_safe_nor_unsafe_and_its_refusal_is_over_refusal():
    rows = [
        sample(GREEDY, "bread", 0, verdict(True, judge="match"), category="benign"),
        sample(GREEDY, "lake", 0, verdict(False, judge="match"), category="benign"),
        sample(GREEDY, "bomb", 0, verdict(False, judge="match"), category="harm"),
    ]
    found = summarise(count_samples(rows), [GREEDY], [MATCH], benign=BENIGN).settings[0]
    assert (found.judges[0].prompts, found.judges[0].safe_at_1.value) == (1, 1.0)
    assert found.over_refusal is not None
    assert (found.over_refusal.prompts, found.over_refusal.refused.value) == (2, 0.5)


def test_unsafe_verdicts_on_benign_prompts_are_counted_beside_but_not_of_a_judge_of_refusals():
    rows = prompt_rows(FIVE, "p1", [True, True, False, None, False], "benign")
    guard, match = measured(FIVE, rows).judges
    assert (guard.unsafe_on_benign, guard.missing_on_benign, guard.prompts) == (2, 1, 0)
    assert (match.unsafe_on_benign, match.missing_on_benign) == (None, 5)
    assert (guard.safe_at_1.value, guard.safe_at_1.bound_low) == (None, None)


def test_prompts_without_a_row_are_missing_on_their_own_side():
    rows = [*prompt_rows(FIVE, "p1", [False] * 5, "benign"), *prompt_rows(FIVE, "p2", [False] * 5, "harm")]
    kinds = {"d": PromptKinds(("benign",), benign_prompts=3)}
    counts = count_samples(rows)
    (found,) = summarise(counts, [FIVE], [GUARD], {"d": 10}, benign=BenignPrompts(kinds, GUARD)).settings
    (guard,) = found.judges
    assert (found.rows_expected, found.benign_prompts, found.harmful_prompts) == (50, 3, 7)
    assert (guard.prompts, guard.missing, guard.missing_on_benign) == (7, 30, 10)
    assert found.over_refusal is not None
    assert (found.over_refusal.missing, found.over_refusal.refused.bound_low) == (10, pytest.approx(1 / 3))


def test_a_data_set_of_one_kind_has_only_that_kind_of_figure():
    harmful = measured(GREEDY, prompt_rows(GREEDY, "p1", [True], "harm"))
    benign = measured(GREEDY, prompt_rows(GREEDY, "p1", [True], "benign"))
    assert (harmful.over_refusal, harmful.judges[0].prompts) == (None, 1)
    assert (benign.harmful_prompts, benign.judges[0].prompts, benign.judges[0].safe_at_1.value) == (0, 0, None)


def test_metrics_of_an_earlier_version_read_and_say_that_they_are_pooled():
    tree = summarise(count_samples(prompt_rows(GREEDY, "p1", [True])), [GREEDY], [GUARD]).model_dump(mode="json")
    del tree["harmful_apart"]
    setting = tree["settings"][0]
    for name in ("benign_categories", "benign_prompts", "over_refusal", "error_reasons"):
        del setting[name]
    for name in ("missing_on_benign", "unsafe_on_benign", "missing_reasons"):
        del setting["judges"][0][name]
    older = RunMetrics.model_validate(tree)
    assert (older.harmful_apart, older.settings[0].judges[0].prompts) == (False, 1)
