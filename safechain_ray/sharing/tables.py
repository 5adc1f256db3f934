"""The figures of a run as tables for programs: one row a setting, judge and part, and one row a category of it."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.report.leaderboard import ENDS, FIGURES, leaderboard_table

OF_SWEEPS = ("status", "error")
"""Columns of a leaderboard that say how the run of a model in a sweep ended."""

CATEGORIES_SCHEMA = pa.schema(
    {
        **dict.fromkeys(("setting_id", "dataset", "strategy", "judge", "part", "category"), pa.string()),
        **dict.fromkeys(("prompts", "missing"), pa.int64()),
        **{f"{name}_{end}": pa.float64() for name in FIGURES for end in ENDS},
    }
)
"""The columns of `tables/categories.parquet`. Figures are shares of 1 over the harmful prompts of the category."""


def metrics_table(metrics: RunMetrics) -> pa.Table:
    """One row a setting, judge and part: the columns of a leaderboard (docs/columns.md)."""
    return leaderboard_table((metrics,)).drop_columns(list(OF_SWEEPS))


def categories_table(metrics: RunMetrics) -> pa.Table:
    """One row a setting, judge, part and category of harmful prompts."""
    return pa.Table.from_pylist(list(_category_rows(metrics)), CATEGORIES_SCHEMA)


def _category_rows(metrics: RunMetrics) -> Iterator[Mapping[str, Any]]:
    for setting in metrics.settings:
        for judge in setting.judges:
            for category, safety in judge.categories.items():
                yield {
                    "setting_id": setting.setting_id,
                    "dataset": setting.dataset,
                    "strategy": setting.strategy,
                    "judge": judge.judge,
                    "part": judge.part,
                    "category": category,
                    "prompts": safety.prompts,
                    "missing": safety.missing,
                    **{f"{name}_{end}": getattr(getattr(safety, name), end) for name in FIGURES for end in ENDS},
                }
