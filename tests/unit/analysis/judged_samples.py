"""Rows for the tests of the analysis: samples of a setting with what a judge says of each part."""

from collections.abc import Sequence
from typing import Any

from safechain_ray.analysis.rows import SettingRows, rows_by_setting
from safechain_ray.types import Part, Sample, Sampling, Setting, Verdict, samples_table
from tests.rows import row

GREEDY = Setting(dataset="d")
FIVE = Setting(dataset="d", sampling=Sampling(temperature=0.6), samples=5)
PARTS: tuple[Part, ...] = ("response", "thought", "answer")
ASKED: list[tuple[str, Part]] = [("guard", part) for part in PARTS]


def verdict(part: Part, unsafe: bool | None, judge: str = "guard") -> Verdict:
    return Verdict(judge, part, unsafe, error=None if unsafe is not None else "unparsable")


def sample(
    setting: Setting, prompt: int, index: int = 0, said: dict[Part, bool | None] | None = None, **columns: Any
) -> Sample:
    """A sample of which the judge `guard` said so; a part that is not in `said` has no verdict at all."""
    usual = {
        "sample_id": setting.sample_id(f"p{prompt}", index),
        "setting_id": setting.setting_id,
        "prompt_id": f"p{prompt}",
        "sample_index": index,
        "verdicts": tuple(verdict(part, unsafe) for part, unsafe in (said or {}).items()),
    }
    return row(**{**usual, **columns})


def rows_of(setting: Setting, samples: Sequence[Sample]) -> SettingRows:
    return rows_by_setting([samples_table(samples)], [], [setting], ASKED)[setting.setting_id]
