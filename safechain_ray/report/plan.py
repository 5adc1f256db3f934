"""The plans of a run and of a sweep: settings, pools of each stage, and estimated GPUs, tokens, hours and cost."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from safechain_ray.catalog.entries import ApiEntry
from safechain_ray.cluster.planner import Plan
from safechain_ray.commands.sweep.estimate import Amount, Assumptions, RunEstimate, SettingSize
from safechain_ray.report.document import escape, printable
from safechain_ray.report.labels import setting_label
from safechain_ray.runs.resolve import ResolvedRun

SUMMED_SETTINGS = 6
"""Up to so many settings are added up in words, as the paper's 313 + 60 × 5 + 250 + 50 × 5."""


def plan_summary(run: ResolvedRun, plan: Plan) -> dict[str, Any]:
    """The plan as JSON: rows and tokens at most of each setting, the pools of each stage."""
    settings = [
        {
            "setting_id": setting.setting_id,
            "setting": setting_label(setting),
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
        "rows": len(run.sample_specs),
        "tokens_at_most": sum(setting["tokens_at_most"] for setting in settings),
        "settings": settings,
        "stages": stages,
        "dollars_at_most": _dollars_at_most(run),
        "notes": list(plan.notes),
    }


def render_plan(summary: dict[str, Any], console: Console) -> None:
    settings = Table("setting", "prompts", "rows", "tokens at most", title=f"Plan for {escape(summary['model'])}")
    for setting in summary["settings"]:
        figures = (f"{setting[key]:,}" for key in ("prompts", "rows", "tokens_at_most"))
        settings.add_row(escape(setting["setting"]), *figures)
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


def sweep_summary(estimates: Sequence[RunEstimate], assumptions: Assumptions) -> dict[str, Any]:
    """The estimate as JSON."""
    return {
        "runs": [_run_summary(estimate) for estimate in estimates],
        "rows": sum(estimate.rows for estimate in estimates),
        "response_tokens": asdict(_total([estimate.response_tokens for estimate in estimates])),
        "gpu_hours": asdict(_total([each.gpu_hours for each in estimates if each.gpu_hours is not None])),
        "dollars": asdict(_total([each.dollars for each in estimates if each.dollars is not None])),
        "assumptions": asdict(assumptions),
    }


def _run_summary(estimate: RunEstimate) -> dict[str, Any]:
    settings = [
        {
            "setting_id": size.setting.setting_id,
            "setting": setting_label(size.setting),
            "prompts": size.prompts,
            "samples": size.setting.samples,
            "max_tokens": size.max_tokens,
        }
        for size in estimate.settings
    ]
    return asdict(estimate) | {"settings": settings, "rows": estimate.rows}


def render_sweep_plan(estimates: Sequence[RunEstimate], assumptions: Assumptions, console: Console) -> None:
    """One table of settings for all models that share them, then one table of the models."""
    shown = []
    for estimate in estimates:
        if estimate.settings not in shown:
            shown.append(estimate.settings)
            console.print(_settings_table(estimate))
    console.print(_models_table(estimates))
    for sentence in assumptions.sentences():
        console.print(sentence, highlight=False, markup=False)
    unpriced = [estimate.model for estimate in estimates if estimate.is_api and estimate.dollars is None]
    if unpriced:
        names = printable(", ".join(unpriced))
        console.print(f"No price is known for {names}: set it with model.api.prices.", highlight=False, markup=False)


def _dollars_at_most(run: ResolvedRun) -> float | None:
    """The bill if every response took `max_tokens` and every byte of a prompt were a token; None without a price.

    Retries that a provider bills come on top.
    """
    if not isinstance(run.model, ApiEntry) or run.model.prices is None:
        return None
    prompts = sum(len(item.prompt.text.encode()) for item in run.sample_specs)
    return run.model.prices.cost(prompts, sum(item.setting.sampling.max_tokens for item in run.sample_specs))


def _settings_table(estimate: RunEstimate) -> Table:
    table = Table(title="Settings of each model", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("setting", overflow="fold")
    for name in ("prompts", "K", "samples"):
        table.add_column(name, justify="right")
    for size in estimate.settings:
        figures = (f"{size.prompts:,}", str(size.setting.samples), f"{size.rows:,}")
        table.add_row(Text(setting_label(size.setting)), *figures)
    table.add_section()
    terms = " + ".join(map(_term, estimate.settings)) if len(estimate.settings) <= SUMMED_SETTINGS else "all"
    table.add_row(Text(terms), "", "", f"{estimate.rows:,}")
    return table


def _models_table(estimates: Sequence[RunEstimate]) -> Table:
    table = Table(
        title=f"{len(estimates)} model{'s' if len(estimates) > 1 else ''}", title_justify="left", box=box.SIMPLE_HEAD
    )
    table.add_column("model", no_wrap=True)
    for name in ("samples", "GPUs +\njudge's", "tokens\nat most", "GPU-hours\n(at most)", "API cost $\n(at most)"):
        table.add_column(name, justify="right", no_wrap=True)
    for estimate in estimates:
        table.add_row(
            Text(printable(estimate.model)),
            f"{estimate.rows:,}",
            f"{'API' if estimate.is_api else estimate.gpus} + {estimate.judge_gpus}",
            f"{estimate.response_tokens.at_most:,.0f}",
            _amount(estimate.gpu_hours),
            _amount(estimate.dollars) if estimate.is_api else "",
        )
    table.add_section()
    table.add_row(
        "all",
        f"{sum(estimate.rows for estimate in estimates):,}",
        "",
        f"{sum(estimate.response_tokens.at_most for estimate in estimates):,.0f}",
        _amount(_total([each.gpu_hours for each in estimates if each.gpu_hours is not None])),
        _bill(estimates),
    )
    return table


def _term(size: SettingSize) -> str:
    return f"{size.prompts:,} × {size.setting.samples}" if size.setting.samples > 1 else f"{size.prompts:,}"


def _bill(estimates: Sequence[RunEstimate]) -> str:
    """The cost of all APIs whose prices are known; empty without an API."""
    apis = [estimate.dollars for estimate in estimates if estimate.is_api]
    known = [dollars for dollars in apis if dollars is not None]
    if not known:
        return "unknown" if apis else ""
    return _amount(_total(known)) + ("\n+ unknown" if len(known) < len(apis) else "")


def _amount(amount: Amount | None) -> str:
    return "unknown" if amount is None else f"{amount.expected:,.1f} ({amount.at_most:,.1f})"


def _total(amounts: Sequence[Amount]) -> Amount:
    return Amount(sum(amount.expected for amount in amounts), sum(amount.at_most for amount in amounts))
