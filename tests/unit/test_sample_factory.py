"""The sample and verdict factories of `safechain_ray.testing`."""

from safechain_ray.testing import sample, verdict
from safechain_ray.types import Sampling, Setting, Verdict, samples_from_table, samples_table

FIVE = Setting(dataset="d", strategy="zerothink", sampling=Sampling(temperature=0.6, top_p=0.9), samples=5)


def test_a_samples_columns_follow_from_its_setting():
    found = sample(FIVE, prompt_id="p7", sample_index=2)
    assert (found.sample_id, found.seed) == (FIVE.sample_id("p7", 2), FIVE.sample_seed("p7", 2))
    assert (found.setting_id, found.dataset, found.strategy) == (FIVE.setting_id, "d", "zerothink")
    assert (found.temperature, found.top_p, found.top_k, found.max_tokens) == (0.6, 0.9, -1, 16_000)


def test_a_named_column_wins_over_the_setting():
    assert sample(FIVE, sample_id="mine", strategy="other").sample_id == "mine"


def test_a_missing_decision_has_an_error():
    assert verdict(None) == Verdict("guard", "response", None, error="unparsable")
    assert verdict(False, "match", "thought", score=0.1) == Verdict("match", "thought", False, 0.1)


def test_a_plain_sample_can_be_stored():
    assert samples_from_table(samples_table([sample()])) == [sample()]
