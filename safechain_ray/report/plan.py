"""A plan as a table: the settings with their rows, the stages with their pools."""

from typing import Any

from rich.console import Console
from rich.table import Table

from safechain_ray.catalog.api_entries import ApiEntry
from safechain_ray.cluster.planner import Plan
from safechain_ray.report.escape import escape, printable
from safechain_ray.runs.resolve import ResolvedRun


def plan_summary(run: ResolvedRun, plan: Plan) -> dict[str, Any]:
    """The plan as JSON: rows and tokens at most of each setting, the pools of each stage."""
    settings = [
        {
            "setting_id": setting.setting_id,
            "prompts": (prompts := len(run.prompt_sets[setting.dataset].prompts)),
            "rows": (rows := prompts * setting.samples),
            "tokens_at_most": rows * setting.sampling.max_tokens,
        }
        for setting in run.settings
    ]
    stages = [
        [
            {
                "pool": pool.needs.pool,
                "engine": pool.needs.engine,
                "device": pool.needs.device,
                "replicas": pool.replicas,
                "gpus": pool.needs.gpus * pool.replicas,
                "memory_gigabytes": round(pool.needs.memory * pool.replicas, 1),
                **({} if pool.needs.fit is None else pool.needs.fit.facts),
            }
            for pool in stage
        ]
        for stage in plan.stages
    ]
    return {
        "model": run.model.name,
        "judges": [judge.name for judge in run.judges],
        "votes": {vote.name: f"{vote.rule} of {', '.join(vote.judges)}" for vote in run.votes},
        "rows": len(run.worklist),
        "tokens_at_most": sum(setting["tokens_at_most"] for setting in settings),
        "settings": settings,
        "stages": stages,
        "dollars_at_most": _dollars_at_most(run),
        "notes": list(plan.notes),
    }


def _dollars_at_most(run: ResolvedRun) -> float | None:
    """The bill if every response took `max_tokens` and every byte of a prompt were a token; None without a price.

    Retries that a provider bills come on top.
    """
    if not isinstance(run.model, ApiEntry) or run.model.prices is None:
        return None
    prompts = sum(len(item.prompt.text.encode()) for item in run.worklist)
    return run.model.prices.cost(prompts, sum(item.setting.sampling.max_tokens for item in run.worklist))


def render_plan(summary: dict[str, Any], console: Console) -> None:
    settings = Table("setting", "prompts", "rows", "tokens at most", title=f"Plan for {escape(summary['model'])}")
    for setting in summary["settings"]:
        figures = (f"{setting[key]:,}" for key in ("prompts", "rows", "tokens_at_most"))
        settings.add_row(escape(setting["setting_id"]), *figures)
    settings.add_section()
    settings.add_row("all", "", f"{summary['rows']:,}", f"{summary['tokens_at_most']:,}")
    console.print(settings)
    if summary["dollars_at_most"] is not None:
        dollars = f"${summary['dollars_at_most']:,.2f}"
        console.print(f"The API costs {dollars} at most, at the catalog's prices and without retries.", highlight=False)
    pools = Table("stage", "pool", "engine", "device", "replicas", "GPUs", "RAM GB")
    for number, stage in enumerate(summary["stages"], start=1):
        for pool in stage:
            keys = ("pool", "engine", "device", "replicas", "gpus", "memory_gigabytes")
            pools.add_row(str(number), *(escape(str(pool[key])) for key in keys))
    console.print(pools)
    for name, vote in summary["votes"].items():
        console.print(printable(f"Vote {name}: {vote}"), highlight=False, markup=False)
    for note in summary["notes"]:
        console.print(note, highlight=False, markup=False)
