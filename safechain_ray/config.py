"""The config of a run: one pydantic model, read from YAML with overrides, and its JSON schema."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from safechain_ray.errors import InputError
from safechain_ray.schema import PLAIN_URL, Part, Sampling, Setting, StrategySpec, VoteRule

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


class ApiConfig(Config):
    """Overrides of what the catalog says of a model behind an API."""

    prices: dict[str, float] | None = Field(None, description="dollars for a million tokens: {input: 0.5, output: 2}")
    context_length: int | None = Field(None, ge=1)
    max_concurrent: int | None = Field(None, ge=1, description="most requests under way together")
    timeout_seconds: float | None = Field(None, gt=0, description="a request is sent again after so long")
    extra_body: dict[str, Any] | None = Field(None, description="put into every request as it is")
    omits: tuple[str, ...] | None = Field(None, description="sampling parameters that are never sent")

    def overrides(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)


class ModelConfig(Named):
    """A model: a catalog name, a Hugging Face id or folder with its family, or `openai:ID` with its `base_url`."""

    name: str = Field(description="catalog name, Hugging Face id, folder, or openai:ID for the model of an API")
    base_url: str | None = Field(None, description="API: the endpoint, for example http://localhost:8000/v1")
    api_model: str | None = Field(None, description="API: the id by which the provider knows the model")
    api_key_env: str | None = Field(None, description="API: the environment variable that holds the key")
    api: ApiConfig = ApiConfig()
    family: str | None = Field(None, description="needed for models that the catalog does not hold")
    engine: EngineConfig = EngineConfig()


class EndpointConfig(Config):
    """Overrides of what the catalog says of a server."""

    base_url: str | None = Field(None, pattern=PLAIN_URL, description="another server that speaks the same API")
    model: str | None = Field(None, min_length=1)
    api_key_env: str | None = Field(None, description="environment variable that holds the key; empty: none is sent")
    max_concurrent: int | None = Field(None, ge=1, description="requests under way at the same time")

    def overrides(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)


class JudgeConfig(Named):
    """A judge by catalog name."""

    name: str
    phrases: str | None = Field(None, description="refusal-match: a file of refusal phrases, one a line")
    engine: EngineConfig = EngineConfig()
    endpoint: EndpointConfig = EndpointConfig()


class VoteConfig(Config):
    """A vote over judges of the run: one more verdict, shown as a judge of this name."""

    name: str = Field(min_length=1)
    rule: VoteRule = Field("majority", description="unsafe where more than half, any or all of the judges say so")
    judges: tuple[str, ...] | None = Field(None, min_length=2, description="all judges of the run by default")


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
    max_cost: float | None = Field(None, gt=0, description="API: most dollars that one try may spend")
    max_requests: int | None = Field(None, ge=1, description="API: most requests that one try may send, retries too")
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
    votes: tuple[VoteConfig, ...] = Field((), description="one more verdict each, over the judges' verdicts")
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
        _refuse_repeats(
            datasets=[dataset.name for dataset in self.datasets],
            judges=[judge.name for judge in self.judges],
            votes=[vote.name for vote in self.votes],
            parts=list(self.parts),
            strategies=[strategy.model_dump_json() for strategy in self.strategies],
        )
        return self

    @model_validator(mode="after")
    def _votes_over_judges(self) -> "RunConfig":
        names = [judge.name for judge in self.judges]
        for index, vote in enumerate(self.votes):
            judges = names if vote.judges is None else vote.judges
            unknown = [judge for judge in judges if judge not in names]
            if unknown:
                raise ValueError(f"votes.{index}.judges: {', '.join(unknown)} is not among judges ({', '.join(names)})")
            if vote.name in names:
                raise ValueError(f"votes.{index}.name: {vote.name} is a judge already; give the vote another name")
            if len(set(judges)) < max(2, len(judges)):
                raise ValueError(f"votes.{index} needs two judges or more, each once; it has {', '.join(judges)}")
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


class StudyConfig(Config):
    """A judge study: labelled responses, and the judges that are held against the labels."""

    data: str = Field(description="path, URI or Hugging Face id of the labelled responses")
    prompt_column: str = "prompt"
    response_column: str = "response"
    label_column: str = "label"
    unsafe_labels: tuple[str, ...] = Field((), description="labels that say unsafe, where they are no common words")
    judges: tuple[JudgeConfig, ...] = Field(min_length=1)
    votes: tuple[VoteRule, ...] = Field((), description="votes over all the judges, two or more")
    output: str | None = Field(None, description="the study's folder: a local path or URI")
    resources: ResourcesConfig = ResourcesConfig()

    @model_validator(mode="after")
    def _no_repeats(self) -> "StudyConfig":
        _refuse_repeats(judges=[judge.name for judge in self.judges], votes=list(self.votes))
        if self.votes and len(self.judges) == 1:
            raise ValueError("a vote needs two judges or more; name another one, or leave the vote out")
        return self


class JudgingConfig(Config):
    """Judges for a run that is finished."""

    judges: tuple[JudgeConfig, ...] = Field(min_length=1)
    parts: tuple[Part, ...] = Field(("response",), min_length=1, description="what every judge looks at")
    pieces: int | None = Field(
        None, ge=2, le=100, description="instead of parts: thoughts up to 1/N, 2/N ... of their length"
    )
    resources: ResourcesConfig = ResourcesConfig()

    @model_validator(mode="after")
    def _no_repeats(self) -> "JudgingConfig":
        _refuse_repeats(judges=[judge.name for judge in self.judges], parts=list(self.parts))
        if self.pieces is not None and "parts" in self.model_fields_set:
            raise ValueError("pieces are pieces of thoughts: leave parts out, or judge them by a command of their own")
        return self


def read_config(path: Path | None, flags: Mapping[str, Any], assignments: Iterable[str]) -> RunConfig:
    """The YAML file (if any), then the flags, then the `key=value` assignments. Raises InputError with key and file."""
    return _read(RunConfig, path, flags, assignments)


def read_study_config(path: Path | None, flags: Mapping[str, Any], assignments: Iterable[str]) -> StudyConfig:
    """The config of a judge study, read as `read_config` does."""
    return _read(StudyConfig, path, flags, assignments)


def read_judging_config(flags: Mapping[str, Any], assignments: Iterable[str]) -> JudgingConfig:
    """The judges for a finished run, from flags and assignments alone."""
    return _read(JudgingConfig, None, flags, assignments)


def _read(model: type[AnyModel], path: Path | None, flags: Mapping[str, Any], assignments: Iterable[str]) -> AnyModel:
    assignments = tuple(assignments)
    origins = [str(path)] if path is not None else []
    if path is None or flags or assignments:
        origins.append("command line")
    tree = _tree({} if path is None else _read_yaml(path), flags, assignments)
    return _validated(model, tree, " and ".join(origins))


def _tree(tree: dict[str, Any], flags: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """The tree with flags and assignments put into it."""
    for key, value in flags.items():
        _assign(tree, key, value)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise InputError(f"--set {assignment}: write key=value, for example --set sampling.temperature=0.6.")
        _assign(tree, key, _parsed(text, f"--set {assignment}"))
    return tree


def _refuse_repeats(**listed: Sequence[str]) -> None:
    for key, names in listed.items():
        repeated = {name for name in names if names.count(name) > 1}
        if repeated:
            raise ValueError(f"{key} names {', '.join(sorted(repeated))} more than once")


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
