"""The config of a run: one pydantic model, read from YAML with overrides, and its JSON schema."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from safechain_ray.errors import InputError
from safechain_ray.schema import Part, Sampling, Setting, StrategySpec

AnyModel = TypeVar("AnyModel", bound=BaseModel)


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Named(Config):
    """A part of the config that its name alone is short for: `model: R1-7B` is `model: {name: R1-7B}`."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The short form too."""
        return {"anyOf": [{"type": "string"}, handler(core_schema)]}


class DatasetConfig(Named):
    """A data set: a catalog name, a local or remote file, or a Hugging Face id."""

    name: str = Field(description="catalog name, path, URI or Hugging Face id")
    prompt_column: str | None = None
    id_column: str | None = None
    category_column: str | None = None
    limit: int | None = Field(None, ge=1, description="only the first prompts, after shuffling")
    shuffle_seed: int | None = None


class EngineConfig(Config):
    """Overrides of what the catalog says of an engine."""

    revision: str | None = None
    dtype: str | None = None
    context_length: int | None = Field(None, ge=1)
    tensor_parallel_size: int | None = Field(None, ge=1)
    pipeline_parallel_size: int | None = Field(None, ge=1)
    engine_kwargs: dict[str, Any] | None = Field(None, description="keyword arguments of vLLM's engine")

    def overrides(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)


class ModelConfig(Named):
    """A model: a catalog name, or a Hugging Face id or folder with its family."""

    name: str = Field(description="catalog name, Hugging Face id or folder")
    family: str | None = Field(None, description="needed for models that the catalog does not hold")
    engine: EngineConfig = EngineConfig()


class JudgeConfig(Named):
    """A judge by catalog name."""

    name: str
    phrases: str | None = Field(None, description="refusal-match: a file of refusal phrases, one a line")
    engine: EngineConfig = EngineConfig()


class SettingConfig(Config):
    """One setting; what it leaves out is taken from the run's `sampling` and `samples`."""

    dataset: str
    strategy: StrategySpec = StrategySpec()
    samples: int | None = Field(None, ge=1)
    sampling: dict[str, float | int] = Field(default_factory=dict, description="overrides of the run's sampling")


class ResourcesConfig(Config):
    """How the run is laid on the cluster; none of it changes results."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="cpu insists on CPUs for any model")
    replicas: int | None = Field(None, ge=1, description="engine replicas of the model; as many as fit by default")
    judge_replicas: int | None = Field(None, ge=1, description="engine replicas of each judge; 1 by default")
    gpu_memory: int = Field(
        80,
        ge=1,
        description="gigabytes of each GPU; chooses the catalog's parallel sizes for an engine that sets none itself",
    )
    max_running: int = Field(256, ge=1, description="requests that one replica decodes at a time")
    cpu_kv_cache_gigabytes: float = Field(1.0, gt=0, description="KV cache of an engine on CPU")
    block_rows: int = Field(32, ge=1, le=256, description="rows that travel, are retried and are committed together")
    max_engine_deaths: int = Field(3, ge=1, description="a sample in flight at so many engine deaths becomes an error")
    stall_timeout_minutes: float = Field(30, gt=0, description="no progress for so long ends the run with an error")
    ray_address: str | None = Field(None, description="a running cluster to join; else RAY_ADDRESS, else a local Ray")


class RunConfig(Config):
    """All settings of one model: data sets x strategies, or an explicit list of settings."""

    model: ModelConfig
    datasets: tuple[DatasetConfig, ...] = Field(min_length=1)
    strategies: tuple[StrategySpec, ...] = Field((StrategySpec(),), min_length=1)
    sampling: Sampling = Sampling()
    samples: int = Field(1, ge=1, description="K, the samples of each prompt")
    settings: tuple[SettingConfig, ...] = Field((), description="explicit settings instead of datasets x strategies")
    judges: tuple[JudgeConfig, ...] = Field(min_length=1)
    parts: tuple[Part, ...] = Field(("response",), min_length=1, description="what every judge looks at")
    on_bad_prompt: Literal["error_row", "refuse"] = Field(
        "error_row", description="an empty or duplicate prompt becomes rows with an error, or is refused at once"
    )
    output: str | None = Field(None, description="the run's folder: a local path or URI")
    resources: ResourcesConfig = ResourcesConfig()

    @model_validator(mode="after")
    def _one_list_of_strategies(self) -> "RunConfig":
        if self.settings and self.strategies != (StrategySpec(),):
            raise ValueError("settings and strategies exclude each other: every setting names its own strategy")
        return self

    @model_validator(mode="after")
    def _no_repeats(self) -> "RunConfig":
        listed: tuple[tuple[str, list[str]], ...] = (
            ("datasets", [dataset.name for dataset in self.datasets]),
            ("judges", [judge.name for judge in self.judges]),
            ("parts", [str(part) for part in self.parts]),
            ("strategies", [strategy.model_dump_json() for strategy in self.strategies]),
        )
        for key, names in listed:
            repeated = {name for name in names if names.count(name) > 1}
            if repeated:
                raise ValueError(f"{key} names {', '.join(sorted(repeated))} more than once")
        return self

    def expand_settings(self, dataset_names: Mapping[str, str]) -> tuple[Setting, ...]:
        """Every setting of the run. `dataset_names` maps `DatasetConfig.name` to the short name used in results.

        Raises InputError for a setting of an unlisted data set and for one that stands twice.
        """
        wanted = self.settings or tuple(
            SettingConfig(dataset=dataset.name, strategy=strategy)
            for dataset in self.datasets
            for strategy in self.strategies
        )
        expanded = []
        for index, setting in enumerate(wanted):
            if setting.dataset not in dataset_names:
                raise InputError(
                    f"settings.{index}.dataset: {setting.dataset!r} is not among datasets ({', '.join(dataset_names)})."
                )
            fields = {
                "dataset": dataset_names[setting.dataset],
                "strategy": setting.strategy.model_dump(),
                "sampling": self.sampling.model_dump() | setting.sampling,
                "samples": setting.samples or self.samples,
            }
            place = f"settings.{index}" if self.settings else f"{setting.dataset} with {setting.strategy.name}"
            expanded.append(_validated(Setting, fields, place))
        repeated = {setting.setting_id for setting in expanded if expanded.count(setting) > 1}
        if repeated:
            raise InputError(f"settings: {', '.join(sorted(repeated))} stands more than once.")
        return tuple(expanded)


def read_config(path: Path | None, flags: Mapping[str, Any], assignments: Iterable[str]) -> RunConfig:
    """The YAML file (if any), then the flags, then the `key=value` assignments. Raises InputError with key and file."""
    assignments = tuple(assignments)
    origins = [str(path)] if path is not None else []
    if path is None or flags or assignments:
        origins.append("command line")
    tree = {} if path is None else _read_yaml(path)
    for key, value in flags.items():
        _assign(tree, key, value)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise InputError(f"--set {assignment}: write key=value, for example --set sampling.temperature=0.6.")
        _assign(tree, key, _parsed(text, f"--set {assignment}"))
    return _validated(RunConfig, tree, " and ".join(origins))


def json_schema() -> dict[str, Any]:
    """The JSON schema of a run config, for editors."""
    return RunConfig.model_json_schema()


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"No config file at {path}.")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Config file {path} can't be read as UTF-8 text: {error}") from error
    tree = _parsed(text, str(path))
    if not isinstance(tree, dict):
        found = "nothing" if tree is None else type(tree).__name__
        raise InputError(f"{path}: expected keys and values at the top, found {found}.")
    return tree


def _parsed(text: str, origin: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{origin} is not valid YAML: {error}") from error


def _assign(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set `a.b.0.c` in a tree of mappings and lists.

    Where a mapping is needed a name becomes `{name: ...}`, and a key without a value an empty mapping.
    """
    *parents, last = key.split(".")
    node: Any = tree
    for parent in parents:
        step: Any = int(parent) if isinstance(node, list) and parent.isdecimal() else parent
        try:
            child = node.setdefault(step, {}) if isinstance(node, dict) else node[step]
            if child is None or isinstance(child, str):
                child = {} if child is None else {"name": child}
                node[step] = child
        except (IndexError, TypeError) as error:
            raise InputError(f"--set {key}: there is no {parent!r} to set.") from error
        node = child
    if isinstance(node, list):
        if not last.isdecimal() or int(last) >= len(node):
            raise InputError(f"--set {key}: the list has no item {last!r}; it has {len(node)}, counted from 0.")
        node[int(last)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise InputError(f"--set {key}: {parents[-1]!r} holds a value, not keys.")


def _validated(model: type[AnyModel], tree: Mapping[str, Any], origin: str) -> AnyModel:
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        problems = [
            f"  {'.'.join(str(step) for step in problem['loc']) or 'config'}: {_plain(problem)}"
            for problem in error.errors()
        ]
        raise InputError(f"{origin}: wrong config\n" + "\n".join(problems)) from error


def _plain(problem: Any) -> str:
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "missing":
        return "is missing"
    if problem["type"] == "extra_forbidden":
        return "is no key of the config"
    if problem["type"] == "value_error":
        return message
    return f"{message} (found {problem['input']!r})"
