"""Estimate of a run or sweep before it starts: rows, tokens, GPU-hours and API cost, under stated assumptions."""

from dataclasses import dataclass

from safechain_ray.catalog.entries import ApiEntry, EngineNeeds
from safechain_ray.catalog.row_entries import DatasetEntry
from safechain_ray.config import DatasetConfig, RunConfig, SweepConfig
from safechain_ray.datasets.loading import load_prompts
from safechain_ray.runs.resolve import ResolvedNames, resolve_names
from safechain_ray.runs.token_rates import TokenRates
from safechain_ray.storage import redact
from safechain_ray.types import Setting


@dataclass(frozen=True, slots=True)
class Assumptions(TokenRates):
    """Assumptions beside the config: lengths of texts, the time of a token, and the start of an engine."""

    prompt_tokens: int = 300
    response_tokens: int = 2_000
    start_minutes: float = 5.0
    """Until an engine answers, with its weights on disk."""

    def sentences(self) -> list[str]:
        return [
            f"Expected: {self.prompt_tokens:,} tokens a prompt and {self.response_tokens:,} a response "
            "(--response-tokens); at most: every response as long as max_tokens allows.",
            f"GPU-hours: on {self.gpu} ({self.peak_tflops:g} TFLOPS dense bfloat16), two operations for each active "
            f"parameter and token, {self.decode_utilisation:.0%} of the peak while decoding, "
            f"{self.prefill_utilisation:.0%} while judging. Each decoded token takes {self.host_microseconds:g} "
            f"microseconds more, and {self.expert_microseconds:g} for each gigabyte of the experts that a token does "
            f"not use. An engine needs {self.start_minutes:g} minutes until it answers. Judges included.",
            "API cost: the catalog's prices, which change; without retries.",
        ]


@dataclass(frozen=True, slots=True)
class SettingSize:
    """One setting's rows: K for every prompt."""

    setting: Setting
    prompts: int

    @property
    def rows(self) -> int:
        return self.prompts * self.setting.samples

    @property
    def max_tokens(self) -> int:
        return self.setting.sampling.max_tokens


@dataclass(frozen=True, slots=True)
class Amount:
    """Under the assumptions, and at most."""

    expected: float
    at_most: float


@dataclass(frozen=True, slots=True)
class RunEstimate:
    """One model of a sweep. `gpus` are those of one replica; `judge_gpus` those of one of each judge.

    `gpu_hours` is None where nothing runs on GPUs, `dollars` for engines of one's own and for an API without prices.
    """

    model: str
    source: str
    is_api: bool
    gpus: int
    judge_gpus: int
    settings: tuple[SettingSize, ...]
    response_tokens: Amount
    gpu_hours: Amount | None
    dollars: Amount | None

    @property
    def rows(self) -> int:
        return sum(setting.rows for setting in self.settings)


def estimate_sweep(config: SweepConfig, assumptions: Assumptions) -> tuple[RunEstimate, ...]:
    """An estimate of each run. Nothing is downloaded where the catalog has the number of prompts of a data set.

    Raises InputError for a config that can't work in any of them.
    """
    return tuple(estimate_run(run, assumptions) for run in config.runs())


def estimate_run(config: RunConfig, assumptions: Assumptions) -> RunEstimate:
    """Raises InputError for names and settings that can't work."""
    named = resolve_names(config)
    settings = _setting_sizes(config, named)
    rows = sum(setting.rows for setting in settings)
    responses = Amount(
        sum(setting.rows * min(assumptions.response_tokens, setting.max_tokens) for setting in settings),
        sum(setting.rows * setting.max_tokens for setting in settings),
    )
    prompts = rows * assumptions.prompt_tokens
    engine = _on_gpus(None if isinstance(named.model, ApiEntry) else named.model)
    judges = [judge for judge in map(_on_gpus, (entry.engine for entry in named.judges)) if judge is not None]
    hours = [_judging_hours(judge, prompts, responses, assumptions, len(config.parts)) for judge in judges]
    if engine is not None:
        hours.append(_generating_hours(engine, responses, assumptions))
    return RunEstimate(
        model=named.model.name,
        source=redact(named.model.source),
        is_api=isinstance(named.model, ApiEntry),
        gpus=0 if engine is None else engine.gpus,
        judge_gpus=sum(judge.gpus for judge in judges),
        settings=settings,
        response_tokens=responses,
        gpu_hours=Amount(sum(each.expected for each in hours), sum(each.at_most for each in hours)) if hours else None,
        dollars=_dollars(named.model, prompts, responses) if isinstance(named.model, ApiEntry) else None,
    )


def _on_gpus(engine: EngineNeeds | None) -> EngineNeeds | None:
    """The engine, unless it is so small that it runs on CPUs."""
    return None if engine is None or engine.runs_on_cpu else engine


def _dollars(model: ApiEntry, prompt_tokens: int, responses: Amount) -> Amount | None:
    if model.prices is None:
        return None
    return Amount(
        model.prices.cost(prompt_tokens, int(responses.expected)),
        model.prices.cost(prompt_tokens, int(responses.at_most)),
    )


def _setting_sizes(config: RunConfig, named: ResolvedNames) -> tuple[SettingSize, ...]:
    prompts = {
        named.datasets[dataset.name].name: _prompt_count(named.datasets[dataset.name], dataset)
        for dataset in config.datasets
    }
    return tuple(SettingSize(setting, prompts[setting.dataset]) for setting in named.settings)


def _prompt_count(entry: DatasetEntry, config: DatasetConfig) -> int:
    rows = entry.rows if entry.rows is not None else len(load_prompts(entry).prompts)
    return min(rows, config.limit or rows)


def _generating_hours(engine: EngineNeeds, responses: Amount, assumptions: Assumptions) -> Amount:
    start, seconds = engine.gpus * assumptions.start_minutes / 60, assumptions.decode_seconds(engine)
    return Amount(start + responses.expected * seconds / 3600, start + responses.at_most * seconds / 3600)


def _judging_hours(
    engine: EngineNeeds, prompts: int, responses: Amount, assumptions: Assumptions, parts: int
) -> Amount:
    """A judge reads prompt and part, and writes next to nothing."""
    start, seconds = engine.gpus * assumptions.start_minutes / 60, assumptions.prefill_seconds(engine)
    return Amount(
        start + parts * (prompts + responses.expected) * seconds / 3600,
        start + parts * (prompts + responses.at_most) * seconds / 3600,
    )
