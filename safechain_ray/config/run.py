"""Configs of a run (all settings of one model), of a sweep (a run for each of many models) and of benchmarks."""

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from safechain_ray.config.base import Config, Named, refuse_repeats, validated
from safechain_ray.config.parts import (
    HIGHEST_TEMPERATURE,
    DatasetConfig,
    JudgeConfig,
    ModelConfig,
    ResourcesConfig,
    RunSampling,
    SettingConfig,
    TrackerName,
    VariedValue,
    VariedValues,
    VoteConfig,
)
from safechain_ray.errors import InputError
from safechain_ray.types import LARGEST_INT32, Part, Sampling, Setting, StrategySpec

Varied = Literal[
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "repetition_penalty",
    "template_kwargs",
    "extra_body",
    "reasoning_effort",
]

ARGUMENTS = ("template_kwargs", "extra_body")
"""Keys of `vary` that belong to the strategy of a setting, not to its sampling."""


class OneModel(Config):
    model: ModelConfig = Field(description="the model")


class SomeModels(Config):
    models: tuple[ModelConfig, ...] = Field(min_length=1, description="models; each has its own run")


class SettingsConfig(Config):
    """The settings of a run: data sets x strategies (x sampling points), or an explicit list of settings."""

    datasets: tuple[DatasetConfig, ...] = Field(min_length=1, description="data sets of prompts")
    strategies: tuple[StrategySpec, ...] = Field(
        (StrategySpec(),), min_length=1, description="decoding strategies; each data set is run with each of them"
    )
    sampling: RunSampling = Field(Sampling(), description="sampling parameters")
    samples: int = Field(1, ge=1, description="K, the samples of each prompt")
    vary: Annotated[dict[Varied, tuple[VariedValue, ...]], VariedValues] = Field(
        default_factory=dict,
        description="values of a sampling parameter, of template_kwargs, extra_body or reasoning_effort; one setting "
        "for each value, all other parameters as in `sampling`",
    )
    settings: tuple[SettingConfig, ...] = Field((), description="explicit settings instead of datasets x strategies")
    judges: tuple[JudgeConfig, ...] = Field(min_length=1, description="judges of every sample")
    votes: tuple[VoteConfig, ...] = Field((), description="votes over the judges' verdicts; each is a further verdict")
    parts: tuple[Part, ...] = Field(("response",), min_length=1, description="text that every judge reads")
    on_bad_prompt: Literal["error_row", "refuse"] = Field(
        "error_row", description="an empty or duplicate prompt gives rows with an error, or the run is refused"
    )
    output: str | None = Field(None, description="the run's folder: a local path or URI")
    report_to: tuple[TrackerName, ...] = Field((), description="trackers that receive the progress and the figures")
    resources: ResourcesConfig = Field(ResourcesConfig(), description="how the run is placed on the cluster")

    @model_validator(mode="after")
    def _one_list_of_settings(self) -> Self:
        if self.settings and self.strategies != (StrategySpec(),):
            raise ValueError("settings and strategies exclude each other: every setting names its own strategy")
        if self.settings and self.vary:
            raise ValueError("settings and vary exclude each other: every setting names its own sampling")
        return self

    @model_validator(mode="after")
    def _no_repeats(self) -> Self:
        refuse_repeats(
            datasets=[dataset.name for dataset in self.datasets],
            judges=[judge.name for judge in self.judges],
            votes=[vote.name for vote in self.votes],
            parts=list(self.parts),
            report_to=list(self.report_to),
            strategies=[strategy.model_dump_json() for strategy in self.strategies],
        )
        return self

    @model_validator(mode="after")
    def _votes_over_judges(self) -> Self:
        names = [judge.name for judge in self.judges]
        for index, vote in enumerate(self.votes):
            judges = names if vote.judges is None else vote.judges
            unknown = [judge for judge in judges if judge not in names]
            if unknown:
                raise ValueError(f"votes.{index}.judges: {', '.join(unknown)} is not among judges ({', '.join(names)})")
            if vote.name in names:
                raise ValueError(f"votes.{index}.name: {vote.name} is a judge already; give the vote another name")
            if vote.judges is None and len(names) == 1:
                is_flag = vote.name == f"vote-{vote.rule}"
                place, fix = (f"--vote {vote.rule}", "leave --vote out") if is_flag else (f"votes.{index}", "remove it")
                raise ValueError(f"{place} needs two judges or more; the run has one ({names[0]}): add one, or {fix}")
            if len(set(judges)) < max(2, len(judges)):
                raise ValueError(f"votes.{index} needs two judges or more, each once; it has {', '.join(judges)}")
        return self

    def expand_settings(self, dataset_names: Mapping[str, str]) -> tuple[Setting, ...]:
        """Every setting of the run. `dataset_names` maps `DatasetConfig.name` to the short name used in results.

        Raises InputError for a setting of an unlisted data set and for a repeated setting.
        """
        wanted = self.settings or tuple(
            SettingConfig(
                dataset=dataset.name, strategy=_with_arguments(strategy, point), sampling=_without_arguments(point)
            )
            for dataset in self.datasets
            for strategy in self.strategies
            for point in self._points()
        )
        expanded = []
        for index, setting in enumerate(wanted):
            if setting.dataset not in dataset_names:
                raise InputError(
                    f"settings.{index}.dataset: {setting.dataset!r} is not among datasets "
                    f"({', '.join(dataset_names)}). Fix: name one of them, or add it to datasets."
                )
            fields = {
                "dataset": dataset_names[setting.dataset],
                "strategy": setting.strategy.model_dump(),
                "sampling": self.sampling.model_dump() | setting.sampling,
                "samples": setting.samples or self.samples,
            }
            point = "".join(f", {key} {value}" for key, value in setting.sampling.items())
            place = f"settings.{index}" if self.settings else f"{setting.dataset} with {setting.strategy.name}{point}"
            expanded.append(validated(Setting, fields, place))
        if self.vary:
            # Lists can share a point, for example where each contains its parameter's default.
            return tuple({setting.setting_id: setting for setting in expanded}.values())
        repeated = [name for name, times in Counter(setting.setting_id for setting in expanded).items() if times > 1]
        if repeated:
            raise InputError(
                f"settings: {', '.join(sorted(repeated))} is listed more than once. Fix: remove the repetition."
            )
        return tuple(expanded)

    def _points(self) -> list[dict[str, Any]]:
        return [_point(key, value) for key, values in self.vary.items() for value in values] or [{}]


def _point(key: str, value: VariedValue) -> dict[str, Any]:
    """A value of `vary`. The effort is an argument of the chat template; an API has a key for it in its requests."""
    return {"template_kwargs": {key: value}} if key == "reasoning_effort" else {key: value}


def _with_arguments(strategy: StrategySpec, point: Mapping[str, Any]) -> StrategySpec:
    """The strategy with the arguments of a point, validated. Raises InputError for a reserved name."""
    given = {key: getattr(strategy, key) | point[key] for key in ARGUMENTS if key in point}
    return validated(StrategySpec, strategy.model_dump() | given, "vary") if given else strategy


def _without_arguments(point: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in point.items() if key not in ARGUMENTS}


class RunConfig(SettingsConfig, OneModel):
    """All settings of one model."""


class SweepConfig(SettingsConfig, SomeModels):
    """The same settings of many models, each in a run of its own below `output`."""

    output: str = Field(description="the sweep's folder: a local path or URI")

    @model_validator(mode="after")
    def _a_folder_each(self) -> Self:
        refuse_repeats(models=[model.short_name for model in self.models])
        return self

    def runs(self) -> tuple[RunConfig, ...]:
        """The config of each model's run, with its own folder."""
        common = {name: getattr(self, name) for name in SettingsConfig.model_fields}
        return tuple(
            RunConfig(**common | {"model": model, "output": below(self.output, model.short_name)})
            for model in self.models
        )


def below(output: str, name: str) -> str:
    """The path or URI of the folder `name` below `output`. A URI's query stays at the end."""
    head, mark, query = output.partition("?") if "://" in output else (output, "", "")
    return f"{head.rstrip('/')}/{name}{mark}{query}"


class BenchmarkChoice(Named):
    """A benchmark by catalog name. Its rows are read from `source` if that is set."""

    name: str = Field(description="catalog name (`safechain-ray list benchmarks`)")
    source: str | None = Field(None, description="path, URI or Hugging Face id of a copy or part with the same columns")
    limit: int | None = Field(None, ge=1, description="problems to take, the first ones; all by default")
    style: str = Field(
        "default",
        description="prompt and grader: default, or those of the paper: evalplus (humaneval, mbpp, mbpp-full), "
        "skythought (livecodebench)",
    )


class BenchmarkSampling(Config):
    """Sampling parameters. Greedy decoding by default, as published."""

    temperature: float = Field(
        0.0, ge=0, le=HIGHEST_TEMPERATURE, allow_inf_nan=False, description="0 is greedy decoding"
    )
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus sampling: the share of the probability that is kept")
    top_k: int = Field(-1, ge=-1, le=LARGEST_INT32, description="tokens to sample from; -1 for all")
    max_tokens: int | None = Field(
        None, ge=1, le=LARGEST_INT32, description="most tokens of a response; by default each benchmark's own"
    )
    repetition_penalty: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="repetition penalty; by default each benchmark's own, as published (1.1 for code)",
    )
    seed: int = Field(0, ge=0, description="seed of the run; each sample's seed is derived from it")

    def with_defaults(self, max_tokens: int, repetition_penalty: float) -> Sampling:
        """The sampling of a benchmark, whose own values fill in what is not set."""
        own = {"max_tokens": max_tokens, "repetition_penalty": repetition_penalty}
        return Sampling.model_validate(own | self.model_dump(exclude_none=True))


class BenchmarkResources(ResourcesConfig):
    block_rows: int = Field(
        8, ge=1, le=256, description="rows that one CPU grades in sequence, and that are committed together"
    )


class BenchmarkConfig(Config):
    """Reasoning benchmarks of one model, which is loaded once for all of them."""

    model: ModelConfig = Field(description="the model")
    benchmarks: tuple[BenchmarkChoice, ...] = Field(min_length=1, description="benchmarks to run")
    strategy: StrategySpec = Field(StrategySpec(), description="decoding strategy")
    sampling: BenchmarkSampling = Field(BenchmarkSampling(), description="sampling parameters")
    samples: int = Field(1, ge=1, description="K, the samples of each problem")
    pass_at: tuple[int, ...] = Field((), description="values of k of pass@k; 1 and K by default")
    output: str | None = Field(None, description="the run's folder: a local path or URI")
    report_to: tuple[TrackerName, ...] = Field((), description="trackers that receive the progress and the figures")
    resources: BenchmarkResources = Field(BenchmarkResources(), description="how the run is placed on the cluster")

    @model_validator(mode="after")
    def _no_repeats(self) -> Self:
        refuse_repeats(benchmarks=[benchmark.name for benchmark in self.benchmarks], report_to=list(self.report_to))
        return self

    @model_validator(mode="after")
    def _ks_within_samples(self) -> Self:
        wrong = [k for k in self.pass_at if not 1 <= k <= self.samples]
        if wrong:
            raise ValueError(
                f"pass_at: pass@{wrong[0]} can't be computed from {self.samples} samples a problem (`samples`)"
            )
        return self

    @property
    def reported_ks(self) -> tuple[int, ...]:
        """Every k of pass@k that is reported, ascending."""
        return tuple(sorted(set(self.pass_at or (1, self.samples))))
