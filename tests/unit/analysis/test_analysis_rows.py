"""Samples and verdicts from many files become columns, joined on sample_id."""

import numpy as np
import pyarrow as pa

from safechain_ray.analysis.rows import ANALYSED_COLUMNS, MISSING, SAFE, UNSAFE, rows_by_setting
from safechain_ray.testing import verdict
from safechain_ray.types import Sample, samples_table, verdicts_table
from tests.unit.analysis.judged_samples import ASKED, FIVE, GREEDY, sample

NO_THOUGHT = {"thought": None, "thought_tokens": None}


def read(*samples: Sample) -> pa.Table:
    """As a file of samples is read: without the texts."""
    return samples_table(samples).select(ANALYSED_COLUMNS)


def test_verdicts_that_were_added_later_join_their_samples_from_files_in_any_order():
    first, second, third = (sample(FIVE, 0, index, {"response": True}) for index in range(3))
    added = [
        verdicts_table(samples_table([sample(FIVE, 0, 2, {"thought": False}), sample(FIVE, 9, 9, {"thought": True})])),
        verdicts_table(samples_table([sample(FIVE, 0, 0, {"thought": True, "answer": None})])),
    ]
    rows = rows_by_setting([read(second), read(third, first)], added, [FIVE], ASKED)[FIVE.setting_id]
    assert rows.verdicts["guard", "response"].tolist() == [UNSAFE] * 3
    assert rows.verdicts["guard", "thought"].tolist() == [MISSING, SAFE, UNSAFE]
    assert rows.verdicts["guard", "answer"].tolist() == [MISSING] * 3


def test_every_setting_has_its_own_rows_and_judges_their_own_verdicts():
    both = {"verdicts": (verdict(True), verdict(False, "other"))}
    rows = rows_by_setting(
        [read(sample(GREEDY, 0, **both), sample(FIVE, 0, 0, {"response": False}))],
        [],
        [GREEDY, FIVE],
        [*ASKED, ("other", "response")],
    )
    greedy, five = rows[GREEDY.setting_id], rows[FIVE.setting_id]
    assert (len(greedy), greedy.samples, len(five), five.samples) == (1, 1, 1, 5)
    assert greedy.verdicts["guard", "response"].tolist() == [UNSAFE]
    assert greedy.verdicts["other", "response"].tolist() == [SAFE]
    assert five.verdicts["other", "response"].tolist() == [MISSING]


def test_a_sample_without_a_thought_has_no_length_of_it():
    rows = rows_by_setting([read(sample(GREEDY, 0, **NO_THOUGHT), sample(GREEDY, 1))], [], [GREEDY], ASKED)
    tokens = rows[GREEDY.setting_id].tokens
    assert np.isnan(tokens["thought"]).tolist() == [True, False]
    assert tokens["answer"].tolist() == [1, 1]


def test_a_run_without_a_file_has_settings_without_rows():
    rows = rows_by_setting([], [], [GREEDY], ASKED)[GREEDY.setting_id]
    assert len(rows) == 0
    assert rows.verdicts.keys() == set(ASKED)
