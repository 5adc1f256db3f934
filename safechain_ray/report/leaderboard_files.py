"""A sweep's leaderboard as files beside its runs: Parquet for machines, Markdown for people."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from safechain_ray.commands.sweep.record import SweptModel
from safechain_ray.metrics.counts import OUTCOMES
from safechain_ray.metrics.summary import RunMetrics, SettingMetrics
from safechain_ray.report.document import Document
from safechain_ray.report.markdown import markdown
from safechain_ray.storage import Folder
from safechain_ray.types import Sampling

FIGURES = ("safe_at_1", "cons_safe_at_k", "safe_at_k")
WHOLE = ("top_k", "max_tokens", "seed")
ENDS = ("value", "low", "high", "bound_low", "bound_high")

TEXT, COUNT, SHARE = pa.string(), pa.int64(), pa.float64()
SCHEMA = pa.schema(
    {
        "model": TEXT,
        "status": TEXT,
        "error": TEXT,
        "setting_id": TEXT,
        "dataset": TEXT,
        "strategy": TEXT,
        **{name: COUNT if name in WHOLE else SHARE for name in Sampling.model_fields},
        "samples": COUNT,
        "judge": TEXT,
        "part": TEXT,
        **dict.fromkeys(("prompts", "rows", "rows_expected", "missing"), COUNT),
        **{f"{name}_{end}": SHARE for name in FIGURES for end in ENDS},
        "benign_prompts": COUNT,
        "unsafe_on_benign": COUNT,
        **{f"over_refusal_{end}": SHARE for end in ENDS},
        **{f"rate_{outcome}": SHARE for outcome in OUTCOMES},
    }
)


def write_leaderboard(
    folder: Folder, runs: Sequence[RunMetrics], models: Sequence[SweptModel], document: Document
) -> None:
    """Write leaderboard.parquet and leaderboard.md into `folder`, whole or not at all."""
    folder.write_parquet("leaderboard.parquet", leaderboard_table(runs, models))
    folder.write_text("leaderboard.md", markdown(document))


def leaderboard_table(runs: Sequence[RunMetrics], models: Sequence[SweptModel] = ()) -> pa.Table:
    """One row per model, setting, judge and part, with every figure and its ends; one row per model without results.

    `status` and `error` are those of the model in sweep.json. Figures are shares in [0, 1], null where nothing was
    judged. `prompts`, `missing` and the safety figures cover the harmful prompts; `over_refusal_*` cover the benign
    ones and are the same in every row of a setting.
    """
    swept = {model.model: {"status": model.status, "error": model.error} for model in models}
    with_rows = {run.model for run in runs if any(setting.judges for setting in run.settings)}
    empty = [{"model": name, **found} for name, found in swept.items() if name not in with_rows]
    filled = [{**row, **swept.get(run.model, {})} for run in runs for row in _rows(run)]
    return pa.Table.from_pylist(empty + filled, SCHEMA)


def _rows(run: RunMetrics) -> Iterator[Mapping[str, Any]]:
    for setting in run.settings:
        for judge in setting.judges:
            yield {
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


def _refusal_end(setting: SettingMetrics, end: str) -> float | None:
    found = setting.over_refusal
    return None if found is None else getattr(found.refused, end)
