"""The header of an Inspect log: task, model, data set, config, figures with standard errors, and token counts."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from math import sqrt
from typing import Any

import pyarrow as pa
from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalLog,
    EvalMetric,
    EvalPlan,
    EvalPlanStep,
    EvalResults,
    EvalScore,
    EvalSpec,
    EvalStats,
    HeadlineMetric,
)
from inspect_ai.model import GenerateConfig

from safechain_ray.metrics.counts import Counts, PromptHistogram, count_table, count_verdicts, merge
from safechain_ray.metrics.safety import PROMPT_VALUES, BenignPrompts, Metric, MetricName, PromptKinds, RefusalSource
from safechain_ray.metrics.summary import SettingMetrics, summarise
from safechain_ray.runs.run_manifest import RunManifest, guard_refusals, refusal_verdicts
from safechain_ray.sharing.inspect_samples import scorer_name, usage_of
from safechain_ray.sharing.published import without_place
from safechain_ray.sharing.run import SharedRun
from safechain_ray.sharing.spool import LogPart
from safechain_ray.types import Setting, short_hash, verdicts_table

OVER_REFUSAL = "over-refusal"

TASK_BYTES = 100
"""Length of the task in the name of a log, in bytes of UTF-8."""


def measured(samples: pa.Table, verdicts: pa.Table, part: LogPart, run: SharedRun) -> tuple[Counts, SettingMetrics]:
    """The counts and figures of the rows of one log, by the functions that measure a run.

    The figures of a whole setting are those of the run. Those of a part are over its own prompts.
    """
    manifest = run.manifest
    counts = merge([count_table(samples), count_verdicts(verdicts), *_refusals(samples, verdicts, manifest)])
    metrics = summarise(
        counts,
        [part.setting],
        (*manifest.asked, *manifest.added),
        manifest.expected_prompts if part.is_whole else None,
        benign=BenignPrompts(manifest.kinds, manifest.refusals, manifest.seeking_refusals),
    )
    return counts, metrics.settings[0]


def _refusals(samples: pa.Table, verdicts: pa.Table, manifest: RunManifest) -> Iterator[Counts]:
    guard = manifest.refusal_guard
    if guard is not None:
        judged = verdicts if guard in manifest.added_judges else verdicts_table(samples.combine_chunks())
        yield count_verdicts(guard_refusals(judged, guard))
    elif manifest.settings_of_rule:
        yield count_verdicts(refusal_verdicts(samples, manifest.settings_of_rule))


def log_header(
    run: SharedRun, record: Mapping[str, Any], part: LogPart, counts: Counts, metrics: SettingMetrics
) -> EvalLog:
    """The log of one part of a run, without its samples. `record` is the published run.json."""
    model = without_place(run.manifest.model)
    results = EvalResults(
        total_samples=metrics.rows,
        completed_samples=metrics.rows - metrics.outcomes["error"],
        scores=list(_scores(metrics, counts, run.manifest.kinds.get(part.setting.dataset, PromptKinds()))),
    )
    if metrics.judges:
        first = metrics.judges[0]
        results.headline = HeadlineMetric(scorer=scorer_name(first.judge, first.part), metric="safe_at_1")
    tokens = metrics.tokens
    return EvalLog(
        status="cancelled" if run.missing else "success",
        eval=_spec(run, record, part, metrics, model),
        plan=_plan(part.setting),
        results=results,
        stats=EvalStats(
            started_at=_started(run).isoformat(),
            completed_at=_ended(run).isoformat(),
            model_usage={model: usage_of(tokens.prompt, tokens.thought, tokens.answer)},
        ),
    )


def log_name(run: SharedRun, part: LogPart) -> str:
    """The file name of a log, as Inspect names logs: time, task and id.

    The task is cut: it may list many options, and a file system allows names of 255 bytes. The id is distinct.
    """
    suffix = "" if part.is_whole else f"-{part.number}-of-{part.parts}"
    time = _ended(run).strftime("%Y-%m-%dT%H-%M-%S+00-00")
    task = "".join(each if each.isalnum() else "-" for each in task_name(part.setting))
    task = task.encode()[:TASK_BYTES].decode(errors="ignore")
    return f"{time}_{task}_{log_id(run, part.setting)}{suffix}.eval"


def log_id(run: SharedRun, setting: Setting) -> str:
    """The id of the logs of a setting of this run. Two runs of one config have different ids."""
    return short_hash(run.run_file.identity.tree, _started(run).isoformat(), setting.setting_id)


def task_name(setting: Setting) -> str:
    """For example `strongreject morethink compat=paper`."""
    return f"{setting.dataset} {setting.strategy.label}"


def reducer_names(samples: int) -> dict[MetricName, str | None]:
    """Inspect's reducer of the K epochs for each metric; none for one epoch, where the metrics are equal."""
    if samples == 1:
        return {"safe_at_1": None}
    return {"safe_at_1": "mean", "cons_safe_at_k": f"at_least_{-(-samples // 2)}", "safe_at_k": f"pass_k_{samples}"}


def _spec(run: SharedRun, record: Mapping[str, Any], part: LogPart, metrics: SettingMetrics, model: str) -> EvalSpec:
    setting, manifest = part.setting, run.manifest
    dataset = run.run_file.datasets.get(setting.dataset)
    identity = record["identity"]
    facts = {key: identity.get("model", {}).get(key) for key in ("source", "revision", "dtype", "api_model")}
    reducers = [name for name in reducer_names(setting.samples).values() if name is not None]
    whole = {} if part.is_whole else {"part": part.number, "parts": part.parts}
    attempts = record.get("tries", ())
    return EvalSpec(
        eval_id=f"{log_id(run, setting)}{part.number}",
        run_id=short_hash(identity),
        created=_ended(run).isoformat(),
        task=task_name(setting),
        task_id=log_id(run, setting),
        task_args={
            "dataset": setting.dataset,
            "strategy": setting.strategy.model_dump(),
            "sampling": setting.sampling.model_dump(),
            "samples": setting.samples,
        },
        solver=setting.strategy.name,
        solver_args=dict(setting.strategy.options),
        tags=["safechain_ray"],
        dataset=EvalDataset(
            name=setting.dataset,
            location=without_place(dataset.source) if dataset is not None and dataset.source else None,
            samples=len(part.prompt_ids),
            sample_ids=list(part.prompt_ids),
            shuffled=False,
        ),
        model=model,
        model_generate_config=_generation(setting),
        model_args={key: value for key, value in facts.items() if value is not None},
        config=EvalConfig(epochs=setting.samples, epochs_reducer=reducers or None, fail_on_error=False),
        packages={
            "safechain_ray": str(record.get("safechain_ray") or "not recorded"),
            **(dict(attempts[-1].get("versions", {})) if attempts else {}),
        },
        metadata={
            "setting_id": setting.setting_id,
            "judges": _judges(record),
            "family": manifest.family.name,
            "git_revision": record.get("git_revision"),
            "caveats": list(run.metrics.caveats),
            "missing": list(run.missing),
            "config": record.get("config", {}),
            **whole,
        },
    )


def _judges(record: Mapping[str, Any]) -> dict[str, Any]:
    """The identities of the run's own judges, its votes and its later judges, by name."""
    identity = record["identity"]
    own = {each["name"]: each for each in (*(identity.get("judges") or ()), *(identity.get("votes") or ()))}
    return own | {name: judge["identity"] for name, judge in record.get("added", {}).items()}


def _plan(setting: Setting) -> EvalPlan:
    strategy = setting.strategy
    params = {**strategy.options, **strategy.template_kwargs}
    return EvalPlan(
        name="safechain_ray",
        steps=[EvalPlanStep(solver=strategy.name, params=params, params_passed=params)],
        config=_generation(setting),
    )


def _generation(setting: Setting) -> GenerateConfig:
    """The sampling. That of imported responses may be unknown."""
    if setting.strategy.options.get("sampling") == "unknown":
        return GenerateConfig()
    sampling = setting.sampling
    return GenerateConfig(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=None if sampling.top_k == -1 else sampling.top_k,
        max_tokens=sampling.max_tokens,
        seed=sampling.seed,
    )


def _scores(metrics: SettingMetrics, counts: Counts, kinds: PromptKinds) -> Iterator[EvalScore]:
    """The figures of each judge and part, one for each reducer of the epochs, then over-refusal."""
    for judge in metrics.judges:
        histogram = _prompts(counts, metrics, (judge.judge, judge.part), kinds, benign=False)
        for name, reducer in reducer_names(metrics.samples).items():
            metric: Metric = getattr(judge, name)
            yield EvalScore(
                name=scorer_name(judge.judge, judge.part),
                scorer=scorer_name(judge.judge, judge.part),
                reducer=reducer,
                scored_samples=metric.n,
                unscored_samples=judge.prompts - metric.n,
                metrics=_metrics(name, metric, standard_error(name, histogram, metrics.samples)),
                metadata={"missing_verdicts": judge.missing, "prompts": "harmful"},
            )
    refusals = metrics.over_refusal
    if refusals is not None:
        histogram = _prompts(counts, metrics, (refusals.judge, refusals.part), kinds, benign=True)
        yield EvalScore(
            name=OVER_REFUSAL,
            scorer=OVER_REFUSAL,
            reducer="mean" if metrics.samples > 1 else None,
            scored_samples=refusals.refused.n,
            unscored_samples=refusals.prompts - refusals.refused.n,
            metrics=_metrics("over_refusal", refusals.refused, standard_error("safe_at_1", histogram, metrics.samples)),
            metadata={"judge": refusals.judge, "missing_responses": refusals.missing, "prompts": "benign"},
        )


def _metrics(name: str, metric: Metric, error: float | None) -> dict[str, EvalMetric]:
    """The figure with its interval and bounds as metadata, and its standard error. Empty where it is undefined."""
    if metric.value is None:
        return {}
    interval = metric.model_dump(exclude={"value"})
    found = {name: EvalMetric(name=name, value=metric.value, metadata=interval)}
    return found if error is None else {**found, "stderr": EvalMetric(name="stderr", value=error)}


def standard_error(name: MetricName, prompts: PromptHistogram, samples: int) -> float | None:
    """The standard error of a mean over prompts: the samples of a prompt are no independent observations.

    None for fewer than two prompts with a value.
    """
    values = [(PROMPT_VALUES[name](safe, unsafe, samples), count) for (safe, unsafe), count in prompts.items()]
    known = [(float(value), count) for value, count in values if value is not None]
    n = sum(count for _, count in known)
    if n < 2:
        return None
    mean = sum(value * count for value, count in known) / n
    return sqrt(sum(count * (value - mean) ** 2 for value, count in known) / (n - 1) / n)


def _prompts(
    counts: Counts, metrics: SettingMetrics, judge: RefusalSource, kinds: PromptKinds, benign: bool
) -> PromptHistogram:
    """Number of benign or harmful prompts by the safe and unsafe verdicts of a judge on a part."""
    found: dict[tuple[int, int], int] = {}
    for category, histogram in counts.verdict_histograms(metrics.setting_id, *judge).items():
        if kinds.is_benign(category) == benign:
            for key, prompts in histogram.items():
                found[key] = found.get(key, 0) + prompts
    return found


def _started(run: SharedRun) -> datetime:
    attempts = run.run_file.attempts
    return attempts[0].started if attempts else _ended(run)


def _ended(run: SharedRun) -> datetime:
    """The end of the run, else its last note. Records of earlier versions have no time of the last note."""
    run_file = run.run_file
    starts = [attempt.started for attempt in run_file.attempts]
    found = run_file.finished or run_file.updated or (starts[-1] if starts else datetime.fromtimestamp(0, UTC))
    return found.astimezone(UTC)
