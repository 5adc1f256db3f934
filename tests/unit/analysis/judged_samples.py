"""Rows for the tests of the analysis: samples of a setting with verdicts on each part."""

from collections.abc import Sequence
from typing import Any

from safechain_ray import testing
from safechain_ray.analysis.rows import SettingRows, rows_by_setting
from safechain_ray.testing import verdict
from safechain_ray.types import Part, Sample, Sampling, Setting, samples_table

GREEDY = Setting(dataset="d")
FIVE = Setting(dataset="d", sampling=Sampling(temperature=0.6), samples=5)
PARTS: tuple[Part, ...] = ("response", "thought", "answer")
ASKED: list[tuple[str, Part]] = [("guard", part) for part in PARTS]


def sample(
    setting: Setting, prompt: int, index: int = 0, said: dict[Part, bool | None] | None = None, **columns: Any
) -> Sample:
    """A sample of which the judge `guard` said so; a part that is not in `said` has no verdict at all."""
    verdicts = tuple(verdict(unsafe, part=part) for part, unsafe in (said or {}).items())
    return testing.sample(
        setting, **{"prompt_id": f"p{prompt}", "sample_index": index, "verdicts": verdicts, **columns}
    )


def rows_of(setting: Setting, samples: Sequence[Sample]) -> SettingRows:
    return rows_by_setting([samples_table(samples)], [], [setting], ASKED)[setting.setting_id]
