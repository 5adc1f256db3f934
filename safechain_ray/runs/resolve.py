"""From a run config to all that it names: the model, its family, the judges, the prompts, the settings."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from safechain_ray import catalog
from safechain_ray.catalog.entries import ApiEntry, DatasetEntry, Endpoint, EngineNeeds, Family, JudgeEntry, ModelEntry
from safechain_ray.catalog.parallelism import Attention
from safechain_ray.cluster.sample_index import SampleIndex
from safechain_ray.config import DatasetConfig, JudgeConfig, ModelConfig, RunConfig
from safechain_ray.datasets.adhoc import adhoc_entry, is_adhoc, with_subset
from safechain_ray.datasets.loading import PromptSet, load_prompts
from safechain_ray.decoding.base import check_strategy
from safechain_ray.engines.gpus import SHARE_ARGUMENT
from safechain_ray.engines.weights import StoredModel, is_stored, weights_location
from safechain_ray.errors import InputError, UnknownNameError, first_line
from safechain_ray.http_clients import check_proxy
from safechain_ray.judges.base import Vote, builder
from safechain_ray.judges.refusal_match import read_phrases
from safechain_ray.metrics.safety import PromptKinds
from safechain_ray.model_files import CustomCodeError, load_config
from safechain_ray.runs.folder import WEIGHTS
from safechain_ray.runs.identity import ALIKE_APOSTROPHES, READING, decoding_marks, reading_mark, weights_fingerprint
from safechain_ray.runs.resolve_api import (
    SAID_OF_APIS,
    api_model,
    check_limits,
    check_no_api_keys,
    is_api,
)
from safechain_ray.storage import bare_uri, redact
from safechain_ray.types import Part, Setting, short_hash

AnyNeeds = TypeVar("AnyNeeds", bound=EngineNeeds)

SAID_OF_ENTRIES = {"description", "caveat", "licence", "gated", "access"}
"""What the catalog says of a model or a judge that changes no result."""

SAID_OF_ENGINES = {"runs_on_cpu", "parameters", "weights_dtype", "attention"}
"""The same of its engine."""

REFUSED_ARGUMENTS = {
    "tensor_parallel_size": "set tensor_parallel_size of the engine itself",
    "pipeline_parallel_size": "set pipeline_parallel_size of the engine itself",
    "max_model_len": "set context_length of the engine",
    "max_num_seqs": "set resources.max_running",
    "trust_remote_code": "leave it out: only an entry of the catalog may ask for code of a model's folder",
    "data_parallel_size": "set resources.replicas",
    "data_parallel_size_local": "set resources.replicas",
    "prefill_context_parallel_size": "set tensor_parallel_size of the engine itself",
    "nnodes": "set pipeline_parallel_size of the engine itself",
}
"""Arguments of vLLM that `engine_kwargs` must not set, with what to do in their place."""

CONTEXT_WANTED = 32_768
"""Tokens of context for a model that the catalog does not hold, if it has as many."""


@dataclass(frozen=True)
class ResolvedRun:
    """Everything that a run needs to know before an engine starts."""

    model: ModelEntry | ApiEntry
    family: Family
    settings: tuple[Setting, ...]
    prompt_sets: Mapping[str, PromptSet]
    judges: tuple[JudgeEntry, ...]
    parts: tuple[Part, ...]
    votes: tuple[Vote, ...] = ()
    kinds: Mapping[str, PromptKinds] = field(default_factory=dict)

    @property
    def asked(self) -> tuple[tuple[str, Part], ...]:
        """Who gives a verdict on what: every judge, then every vote, on every part."""
        names = [*(judge.name for judge in self.judges), *(vote.name for vote in self.votes)]
        return tuple((name, part) for name in names for part in self.parts)

    @cached_property
    def sample_specs(self) -> SampleIndex:
        return SampleIndex(self.settings, {name: prompts.prompts for name, prompts in self.prompt_sets.items()})

    @property
    def reading_mark(self) -> dict[str, int]:
        """The mark for an identity where thoughts or answers are used. An API's model has the mark in its own fields:
        there the whole response depends on where a thought ends."""
        if self.family.tags is None or isinstance(self.model, ApiEntry):
            return {}
        return reading_mark(self.settings)

    def identity(self) -> dict[str, Any]:
        """What changes the run's results, and nothing else: two runs with the same identity continue each other."""
        identity: dict[str, Any] = {
            "model": _model_identity(self.model),
            "family": self.family.model_dump(exclude={"source"}),
            "settings": [setting.model_dump() for setting in self.settings],
            "prompts": {name: prompts.fingerprint for name, prompts in self.prompt_sets.items()},
            "judges": [judge_identity(judge) for judge in self.judges],
            "parts": list(self.parts),
        }
        if marks := decoding_marks(self.settings):
            identity["decoding"] = marks
        if self.votes:
            identity["votes"] = [asdict(vote) for vote in self.votes]
        if set(self.parts) - {"response"}:
            identity |= self.reading_mark
        return as_stored(identity)

    def short_name(self) -> str:
        """A folder name for a run without `output`."""
        return f"{self.model.name}-{short_hash(json.dumps(self.identity(), sort_keys=True), characters=8)}"


def as_stored(tree: dict[str, Any]) -> dict[str, Any]:
    """The tree as it comes back from a JSON file."""
    stored: dict[str, Any] = json.loads(json.dumps(tree, default=str))
    return stored


@dataclass(frozen=True, slots=True)
class ResolvedNames:
    """What a config names, before any prompt is loaded. `datasets` goes by the name in the config."""

    model: ModelEntry | ApiEntry
    family: Family
    judges: tuple[JudgeEntry, ...]
    datasets: Mapping[str, DatasetEntry]
    settings: tuple[Setting, ...]


def resolve_names(config: RunConfig) -> ResolvedNames:
    """Look up all that the config names. Raises InputError for whatever can't work together."""
    model = find_model(config.model)
    family = catalog.lookup("model family", catalog.families(), model.family)
    judges = tuple(resolve_judge(judge) for judge in config.judges)
    entries = {dataset.name: dataset_entry(dataset) for dataset in config.datasets}
    names = [entry.name for entry in entries.values()]
    if len(set(names)) < len(names):
        raise InputError(f"Two data sets have the same short name ({', '.join(names)}); rename one of the files.")
    settings = config.expand_settings({name: entry.name for name, entry in entries.items()})
    for setting in settings:
        check_strategy(setting.strategy, family, takes_prefill=not isinstance(model, ApiEntry))
    if isinstance(model, ApiEntry):
        check_limits(model, config.resources)
    check_parts(config.parts, model.name, family)
    return ResolvedNames(model, family, judges, entries, settings)


def prompts_of(config: RunConfig) -> dict[str, PromptSet]:
    """The prompts of each data set by its short name. Raises InputError where one can't be read."""
    entries = ((dataset, dataset_entry(dataset)) for dataset in config.datasets)
    return {
        entry.name: load_prompts(
            entry, limit=dataset.limit, shuffle_seed=dataset.shuffle_seed, on_bad_prompt=config.on_bad_prompt
        )
        for dataset, entry in entries
    }


def resolve(config: RunConfig, prompt_sets: Mapping[str, PromptSet] | None = None) -> ResolvedRun:
    """Look everything up and load the prompts, where they are not given: `prompts_of` a config with these data sets.

    Raises InputError for whatever can't work, before anything starts.
    """
    named = resolve_names(config)
    if prompt_sets is None:
        prompt_sets = prompts_of(config)
    every_judge = tuple(judge.name for judge in named.judges)
    votes = tuple(Vote(vote.name, vote.rule, vote.judges or every_judge) for vote in config.votes)
    kinds = _kinds(config.datasets, named.datasets, prompt_sets)
    return ResolvedRun(named.model, named.family, named.settings, prompt_sets, named.judges, config.parts, votes, kinds)


def find_model(config: ModelConfig) -> ModelEntry | ApiEntry:
    """The model that a config names, run here or behind an API. Raises InputError with the fix."""
    if is_api(config):
        return api_model(config)
    check_no_api_keys(config)
    return resolve_model(config)


def resolve_model(config: ModelConfig) -> ModelEntry:
    """The model that a config names. Raises InputError with the fix.

    The hub id of a catalog model, without a family, names that model.
    """
    overrides = config.engine.overrides()
    by_source = {model.source: model for model in catalog.models().values()}
    entry = catalog.models().get(config.name) or (None if config.family else by_source.get(config.name))
    if entry is not None:
        if config.family is not None:
            overrides["family"] = config.family
        return _with(entry, overrides)
    if "/" not in config.name:
        raise UnknownNameError("model", config.name, [*catalog.models(), *catalog.api_models()])
    if config.family is None:
        raise InputError(
            f"The catalog holds no model {redact(config.name)!r}: say what family it is of with --family "
            f"({', '.join(sorted(catalog.families()))}), so that its thoughts and its prompt are right."
        )
    catalog.lookup("model family", catalog.families(), config.family)  # before the hub is asked
    if is_stored(config.name) and config.engine.revision is not None:
        raise InputError(
            f"engine.revision: {redact(config.name)} is a folder of a store, which has no revisions. Leave it out, and "
            "give each version of the weights a folder of its own."
        )
    return _with(_adhoc_model(config.short_name, config.name, config.family), overrides)


def _adhoc_model(name: str, source: str, family: str) -> ModelEntry:
    """A model by folder or Hugging Face id; its own config says how long its context is. No weights are read."""
    if is_stored(source):
        stored = StoredModel.at(source)
        weight_bytes = stored.weight_bytes
        with stored.without_weights("config.json") as folder:
            model_config = _model_config(str(folder), source)
    else:
        location = weights_location(source)
        model_config = _model_config(location, source)
        weight_bytes = sum(file.stat().st_size for file in Path(location).glob("*.safetensors"))
    return ModelEntry(
        name=name,
        source=source,
        family=family,
        parameters=weight_bytes / 2 / 1e9,
        context_length=min(getattr(model_config, "max_position_embeddings", CONTEXT_WANTED), CONTEXT_WANTED),
        attention=Attention.of_config(model_config),
        weights_dtype="quantized" if getattr(model_config, "quantization_config", None) else None,
    )


def _model_config(location: str, source: str) -> Any:
    """The model's config as transformers reads it. Raises InputError for one that can't be read, or is code."""
    try:
        return load_config(location)
    except CustomCodeError as error:
        raise CustomCodeError(f"Model {redact(source)}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"The config of model {redact(source)} can't be read: {first_line(error)}") from error


def resolve_judge(config: JudgeConfig) -> JudgeEntry:
    """The judge that a config names. Raises InputError with the fix."""
    entry = catalog.lookup("judge", catalog.judges(), config.name)
    if entry.kind == "preference":
        raise InputError(
            f"judges: {config.name} compares two responses and gives no verdict on one. "
            f"`safechain-ray prefer RUN_A RUN_B --judge {config.name}` asks it; here {_named(entry.kind, of_it=False)}."
        )
    builder(entry.kind)  # an unknown kind is refused before an engine starts
    return _configured(entry, config)


def resolve_preference_judge(config: JudgeConfig) -> JudgeEntry:
    """The same for a judge that compares two responses."""
    entry = catalog.lookup("judge", catalog.judges(), config.name)
    if entry.kind != "preference":
        raise InputError(
            f"judge: {config.name} gives verdicts on one response and compares none. "
            f"`safechain-ray judge RUN --judge {config.name}` asks it; here {_named('preference', of_it=True)}."
        )
    return _configured(entry, config)


def _configured(entry: JudgeEntry, config: JudgeConfig) -> JudgeEntry:
    if entry.engine is None and config.engine.overrides():
        raise InputError(f"judges: {config.name} has no engine to configure.")
    if entry.endpoint is None and config.endpoint.overrides():
        raise InputError(f"judges: {config.name} has no endpoint to configure.")
    if entry.kind != "refusal_match" and config.phrases is not None:
        raise InputError(f"judges: {config.name} takes no phrases; only a judge of kind refusal_match does.")
    if entry.kind == "harmbench" and config.engine.special_tokens == "text":
        raise InputError(
            f"judges: {config.name} has a prompt of its own without a chat template, in which special tokens are not "
            "broken up. Fix: leave engine.special_tokens out."
        )
    if entry.engine is not None:
        return entry.model_copy(update={"engine": _with(entry.engine, config.engine.overrides())})
    if entry.endpoint is not None:
        endpoint = Endpoint.model_validate(entry.endpoint.model_dump() | config.endpoint.overrides())
        endpoint.api_key()
        check_proxy(endpoint.base_url)
        return entry.model_copy(update={"endpoint": endpoint})
    phrases = config.phrases or entry.phrases
    read_phrases(phrases)
    return entry.model_copy(update={"phrases": phrases})


def _named(kind: str, of_it: bool) -> str:
    """The fix: the judges of this kind, or all others."""
    names = [name for name, judge in catalog.judges().items() if (judge.kind == kind) is of_it]
    return f"name one of {', '.join(names)}"


def _model_identity(model: ModelEntry | ApiEntry) -> dict[str, Any]:
    if isinstance(model, ApiEntry):
        return {**model.model_dump(exclude=SAID_OF_ENTRIES | SAID_OF_APIS), "reading": READING}
    return _engine_identity(model)


def _engine_identity(engine: EngineNeeds) -> dict[str, Any]:
    fields = engine.model_dump(exclude=SAID_OF_ENTRIES | SAID_OF_ENGINES)
    fields["source"] = bare_uri(engine.source)  # keys and endpoint change no result
    if engine.chat_template is None:
        del fields["chat_template"]  # runs from before there was this key are still the same runs
    weights = weights_fingerprint(engine.source)
    if weights is not None:
        fields[WEIGHTS] = weights
    return fields


def judge_identity(judge: JudgeEntry) -> dict[str, Any]:
    """What of a judge changes its verdicts."""
    said: dict[str, Any] = dict.fromkeys(SAID_OF_ENTRIES, True) | {"endpoint": {"api_key_env", "max_concurrent"}}
    fields = judge.model_dump(exclude=said)
    if judge.engine is not None:
        fields["engine"] = _engine_identity(judge.engine)
    if judge.kind == "refusal_match":
        fields["phrases"] = f"{short_hash(*read_phrases(judge.phrases))}, {ALIKE_APOSTROPHES}"
    return fields


def dataset_entry(config: DatasetConfig) -> DatasetEntry:
    """The data set that a config names. Raises InputError for one that is unknown."""
    columns = config.model_dump(include={"prompt_column", "id_column", "category_column"}, exclude_none=True)
    if config.name in catalog.datasets():
        entry = catalog.datasets()[config.name].model_copy(update=columns)
    elif is_adhoc(config.name):
        entry = adhoc_entry(config.name, **columns)
    else:
        raise UnknownNameError("data set", config.name, catalog.datasets())
    entry = with_subset(entry, config=config.config, split=config.split)
    if config.benign_categories is None:
        return entry
    # Beside the catalog's: a flag is for every data set of a command. An empty list counts all prompts as harmful.
    benign = (*(entry.benign_categories or ()), *config.benign_categories) if config.benign_categories else ()
    return entry.model_copy(update={"benign_categories": tuple(dict.fromkeys(benign))})


def _kinds(
    datasets: Sequence[DatasetConfig], entries: Mapping[str, DatasetEntry], prompt_sets: Mapping[str, PromptSet]
) -> dict[str, PromptKinds]:
    """Which prompts of each data set, by its short name, are benign.

    A category of the config that no prompt of its data sets has is refused: a misspelt one would count benign prompts
    as harmful. With `limit` prompts of that category may have been left out, so nothing is refused.
    """
    kinds: dict[str, PromptKinds] = {}
    named: dict[str, set[str]] = {}
    for dataset in datasets:
        entry = entries[dataset.name]
        found = Counter(prompt.category for prompt in prompt_sets[entry.name].prompts)
        benign = entry.benign_categories
        kinds[entry.name] = PromptKinds(benign, sum(found[category] for category in dict.fromkeys(benign or ())))
        for category in dataset.benign_categories or ():
            named.setdefault(category, set()).update([category] if dataset.limit else found)
    for category, found_in in named.items():
        if category not in found_in:
            raise UnknownNameError("benign category", category, found_in)
    return kinds


def check_parts(parts: tuple[Part, ...], model: str, family: Family) -> None:
    """Raises InputError where `parts` can't be judged apart: a family without tags has only responses."""
    apart = [part for part in parts if part != "response"]
    if apart and family.tags is None:
        raise InputError(
            f"parts: {' and '.join(apart)} can't be judged apart for {model}: models of family {family.name} "
            "write no thinking tags. Judge the response."
        )


def _with(entry: AnyNeeds, overrides: Mapping[str, Any]) -> AnyNeeds:
    """The entry with the overrides, validated again; `engine_kwargs` are added to the catalog's.

    Raises InputError for `engine_kwargs` that a plan would not know of or that run a model's own code, and for weights
    that are quantized twice.
    """
    fields = entry.model_dump() | dict(overrides) | {"fixed": frozenset(overrides)}
    added = overrides.get("engine_kwargs", {})
    for key, own in REFUSED_ARGUMENTS.items():
        if key in added:
            raise InputError(f"engine_kwargs: {key} is not set there. Fix: {own}.")
    fields["engine_kwargs"] = entry.engine_kwargs | added
    resolved = type(entry).model_validate(fields)
    if resolved.quantization is not None and resolved.is_quantized:
        raise InputError(f"quantization: the weights of {redact(entry.source)} are quantized already. Leave it out.")
    share = resolved.engine_kwargs.get(SHARE_ARGUMENT, 1.0)
    if not isinstance(share, int | float) or not 0 < share <= 1:
        raise InputError(f"engine_kwargs.{SHARE_ARGUMENT}: give a number above 0 and up to 1.")
    return resolved
