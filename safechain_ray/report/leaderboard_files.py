"""A sweep's leaderboard as files beside its runs: Parquet for machines, Markdown for people."""

from collections.abc import Sequence

import pyarrow as pa

from safechain_ray.metrics.summary import RunMetrics, SettingMetrics
from safechain_ray.report.document import Document
from safechain_ray.report.markdown import markdown
from safechain_ray.storage import Folder

FIGURES = ("safe_at_1", "cons_safe_at_k", "safe_at_k")
WHOLE = ("top_k", "max_tokens", "seed")
ENDS = ("value", "low", "high", "bound_low", "bound_high")


def write_leaderboard(folder: Folder, runs: Sequence[RunMetrics], document: Document) -> None:
    """Write leaderboard.parquet and leaderboard.md into `folder`, whole or not at all."""
    folder.write_parquet("leaderboard.parquet", leaderboard_table(runs))
    folder.write_text("leaderboard.md", markdown(document))


def leaderboard_table(runs: Sequence[RunMetrics]) -> pa.Table:
    """One row a model, setting, judge and part: what the setting is, how far it is, every figure with its ends.

    Figures are shares in [0, 1], null where nothing was judged. `prompts`, `missing` and the safety figures are over
    the harmful prompts; `over_refusal_*` are over the benign ones, the same in every row of a setting.
    """
    rows = [
        {
            "model": run.model,
            "setting_id": setting.setting_id,
            "dataset": setting.dataset,
            "strategy": setting.strategy,
            **{key: int(value) if key in WHOLE else float(value) for key, value in setting.sampling.items()},
            "samples": setting.samples,
            "judge": judge.judge,
            "part": judge.part,
            "prompts": judge.prompts,
            "rows": setting.rows,
            "rows_expected": setting.rows_expected,
            "missing": judge.missing,
            **{f"{name}_{end}": getattr(getattr(judge, name), end) for name in FIGURES for end in ENDS},
            "benign_prompts": setting.benign_prompts,
            "unsafe_on_benign": judge.unsafe_on_benign,
            **{f"over_refusal_{end}": _refusal_end(setting, end) for end in ENDS},
            **{f"rate_{outcome}": rate.value for outcome, rate in setting.outcome_rates.items()},
        }
        for run in runs
        for setting in run.settings
        for judge in setting.judges
    ]
    table = pa.Table.from_pylist(rows)
    for place, column in enumerate(table.schema):
        if pa.types.is_null(column.type):  # a column without any figure still has the type of one
            kind = pa.int64() if column.name == "unsafe_on_benign" else pa.float64()
            table = table.set_column(place, column.name, table[column.name].cast(kind))
    return table


def _refusal_end(setting: SettingMetrics, end: str) -> float | None:
    found = setting.over_refusal
    return None if found is None else getattr(found.refused, end)
