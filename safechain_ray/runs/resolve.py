"""From a run config to a resolved run: the model, its family, the judges, the prompts, the settings."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from safechain_ray import catalog
from safechain_ray.catalog.entries import ApiEntry, Family, ModelEntry
from safechain_ray.catalog.judge_entries import Endpoint, JudgeEntry, with_policy_text
from safechain_ray.catalog.row_entries import DatasetEntry
from safechain_ray.catalog.sources import NAME
from safechain_ray.cluster.sample_index import SampleIndex
from safechain_ray.config import DatasetConfig, EndpointConfig, JudgeConfig, RunConfig
from safechain_ray.datasets.adhoc import adhoc_entry, is_adhoc, with_subset
from safechain_ray.datasets.loading import PromptSet, load_prompts, refuse_category
from safechain_ray.decoding.base import check_strategy
from safechain_ray.errors import InputError, UnknownNameError
from safechain_ray.http_clients import check_proxy
from safechain_ray.judges.base import Vote, check_code
from safechain_ray.judges.refusal_match import read_phrases
from safechain_ray.metrics.safety import PromptKinds
from safechain_ray.metrics.user_metrics import check_user_metrics
from safechain_ray.runs.identity import ALIKE_APOSTROPHES, decoding_marks, name_of, reading_mark
from safechain_ray.runs.resolve_model import (
    UNMARKED_OF_ENTRIES,
    UNMARKED_OF_FAMILIES,
    check_limits,
    check_weights,
    engine_identity,
    find_model,
    model_identity,
    with_overrides,
)
from safechain_ray.storage import redact
from safechain_ray.types import Part, Setting, short_hash
from safechain_ray.types.model_errors import HUB_ID, explain


@dataclass(frozen=True)
class ResolvedRun:
    """All facts about a run that are known before an engine starts."""

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
        """Pairs of judge or vote and part: every sample should have a verdict for each pair."""
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
        """All that changes the run's results, and nothing else. A run is resumed by a config of the same identity."""
        identity: dict[str, Any] = {
            "model": model_identity(self.model),
            "family": self.family.model_dump(exclude=UNMARKED_OF_FAMILIES),
            "settings": [setting.model_dump() for setting in self.settings],
            "prompts": {name: prompts.fingerprint for name, prompts in self.prompt_sets.items()},
            "judges": [judge_identity(judge) for judge in self.judges],
            "parts": list(self.parts),
        }
        if marks := decoding_marks(self.settings):
            identity["decoding"] = marks
        if code := strategy_code(self.settings):
            identity["strategy_code"] = code
        if self.votes:
            identity["votes"] = [asdict(vote) for vote in self.votes]
        if set(self.parts) - {"response"}:
            identity |= self.reading_mark
        return as_stored(identity)

    def facts(self) -> dict[str, Any]:
        """The facts in run.json about the rows of the run: its data sets, and their number."""
        sets = self.prompt_sets.values()
        return {
            "datasets": {s.name: {"source": s.source, "prompts": len(s.prompts), "hash": s.fingerprint} for s in sets},
            "rows": len(self.sample_specs),
        }

    def short_name(self) -> str:
        """A folder name for a run without `output`."""
        return name_of(self.model.name, self.identity())


def strategy_code(settings: Sequence[Setting]) -> dict[str, str]:
    """The code of the strategies that are of a user's catalog, as `module:name`, by strategy."""
    names = {setting.strategy.name for setting in settings}
    return {name: entry.kind for name, entry in catalog.strategies().items() if name in names}


def as_stored(tree: dict[str, Any]) -> dict[str, Any]:
    """The tree after a round trip through JSON."""
    stored: dict[str, Any] = json.loads(json.dumps(tree, default=str))
    return stored


@dataclass(frozen=True, slots=True)
class ResolvedNames:
    """The entries that a config names, before any prompt is loaded. `datasets` has them by the config's names."""

    model: ModelEntry | ApiEntry
    family: Family
    judges: tuple[JudgeEntry, ...]
    datasets: Mapping[str, DatasetEntry]
    settings: tuple[Setting, ...]


def resolve_names(config: RunConfig) -> ResolvedNames:
    """Look up all names of the config. Raises InputError for entries that can't work together."""
    check_user_metrics()
    model = find_model(config.model)
    family = catalog.family_of(model)
    judges = tuple(resolve_judge(judge) for judge in config.judges)
    entries = {dataset.name: dataset_entry(dataset) for dataset in config.datasets}
    names = [entry.name for entry in entries.values()]
    if len(set(names)) < len(names):
        raise InputError(f"Two data sets have the same short name ({', '.join(names)}). Fix: rename one of the files.")
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
    """Look up all names and load the prompts, unless they are given: `prompts_of` a config with these data sets.

    Raises InputError for a config that can't work, before anything starts.
    """
    named = resolve_names(config)
    if prompt_sets is None:
        prompt_sets = prompts_of(config)
    every_judge = tuple(judge.name for judge in named.judges)
    votes = tuple(Vote(vote.name, vote.rule, vote.judges or every_judge) for vote in config.votes)
    kinds = _kinds(config.datasets, named.datasets, prompt_sets)
    return ResolvedRun(named.model, named.family, named.settings, prompt_sets, named.judges, config.parts, votes, kinds)


def judge_entry(config: JudgeConfig) -> JudgeEntry:
    """The entry of a judge without overrides, by its name or the hub id of its weights, or as the config defines it.

    Raises InputError for an unknown name, a wrong definition, and one that has the name of a judge of the catalog.
    """
    known = catalog.judges()
    if config.definition is None:
        name = config.name if config.name in known else catalog.of_hub_id("judges", config.name)
        return catalog.lookup("judge", known, name or config.name)
    if NAME.fullmatch(config.name) is None:
        raise InputError(
            f"judges: {config.name[:40]!r} is no name for a judge. Fix: use letters, digits, blanks and . _ + -, with "
            "a letter or digit first."
        )
    if config.name in known:
        raise InputError(
            f"judges: {config.name} is a judge of the catalog, and the config defines another one. "
            "Fix: give the new judge another name."
        )
    try:
        return JudgeEntry.model_validate({**config.definition, "name": config.name})
    except ValidationError as error:
        problems = explain(error, JudgeEntry, of="a judge")
        raise InputError(f"judges: {config.name} is wrong. Fix: correct each key below.\n{problems}") from None


def resolve_judge(config: JudgeConfig) -> JudgeEntry:
    """The judge that a config names. Raises InputError with the fix."""
    entry = judge_entry(config)
    if entry.kind == "preference":
        raise InputError(
            f"judges: {config.name} compares two responses and gives no verdict on one. Fix: use it with "
            f"`safechain-ray prefer RUN_A RUN_B --judge {config.name}`, or {_named(entry.kind, of_it=False)}."
        )
    check_code(entry)  # before an engine starts
    return _configured(entry, config)


def resolve_preference_judge(config: JudgeConfig) -> JudgeEntry:
    """The same for a judge that compares two responses."""
    entry = judge_entry(config)
    if entry.kind != "preference":
        raise InputError(
            f"judge: {config.name} gives verdicts on one response and compares none. Fix: use it with "
            f"`safechain-ray judge RUN --judge {config.name}`, or {_named('preference', of_it=True)}."
        )
    return _configured(entry, config)


def _configured(entry: JudgeEntry, config: JudgeConfig) -> JudgeEntry:
    if entry.engine is None and config.engine.overrides():
        raise InputError(f"judges: {config.name} has no engine to configure. Fix: leave out its engine.")
    if entry.endpoint is None and config.endpoint.overrides():
        raise InputError(f"judges: {config.name} has no endpoint to configure. Fix: leave out its endpoint.")
    if entry.kind != "refusal_match" and config.phrases is not None:
        raise InputError(
            f"judges: {config.name} takes no phrases; only a judge of kind refusal_match does. Fix: leave out phrases."
        )
    if entry.is_raw and config.engine.special_tokens == "text":
        raise InputError(
            f"judges: {config.name} has a prompt of its own without a chat template, in which special tokens are not "
            "broken up. Fix: leave engine.special_tokens out."
        )
    entry = _with_data(entry, config)
    if entry.engine is not None:
        engine = with_overrides(entry.engine, config.engine.overrides())
        check_weights(engine.source)
        return entry.model_copy(update={"engine": engine})
    if entry.endpoint is not None:
        endpoint = _endpoint(entry.endpoint, config.endpoint)
        endpoint.api_key(f"{'judge' if entry.kind == 'preference' else 'judges.N'}.endpoint.api_key_env")
        check_proxy(endpoint.base_url)
        return entry.model_copy(update={"endpoint": endpoint})
    entry = entry.model_copy(update={"phrases": config.phrases or entry.phrases})
    catalog.check_path(entry, "phrases")
    read_phrases(entry.phrases, catalog.named_by(entry, "phrases") or "judges.N.phrases")
    return entry


def _with_data(entry: JudgeEntry, config: JudgeConfig) -> JudgeEntry:
    """The entry with the config's reading and policy."""
    if config.reading is not None:
        if entry.reading is None:
            raise InputError(
                f"judges: {config.name} has one reading, as none of its labels is controversial. "
                "Fix: leave reading out."
            )
        entry = entry.model_copy(update={"reading": config.reading})
    if config.policy_file is not None:
        if entry.policy is None and entry.policy_file is None:
            raise InputError(f"judges: {config.name} has no policy to replace. Fix: leave policy_file out.")
        entry = entry.model_copy(update={"policy": None, "policy_file": config.policy_file})
    catalog.check_path(entry, "policy_file")
    return with_policy_text(entry, catalog.named_by(entry, "policy_file") or "judges.N.policy_file")


def _endpoint(known: Endpoint, config: EndpointConfig) -> Endpoint:
    """The endpoint with the config's overrides. Another URL is another provider, which gets no key of the catalog's."""
    given = config.overrides()
    if given.get("base_url", known.base_url) != known.base_url:
        given = {"api_key_env": ""} | given
    return Endpoint.model_validate(known.model_dump() | given)


def _named(kind: str, of_it: bool) -> str:
    """The fix: the judges of this kind, or all others."""
    names = [name for name, judge in catalog.judges().items() if (judge.kind == kind) is of_it]
    return f"name one of {', '.join(names)}"


def judge_identity(judge: JudgeEntry) -> dict[str, Any]:
    """The fields of a judge that change its verdicts."""
    unmarked: dict[str, Any] = dict.fromkeys(UNMARKED_OF_ENTRIES, True) | {
        "endpoint": {"api_key_env", "max_concurrent"}
    }
    fields = judge.model_dump(exclude=unmarked)
    if judge.engine is not None:
        fields["engine"] = engine_identity(judge.engine)
    if judge.kind == "refusal_match":
        fields["phrases"] = f"{short_hash(*read_phrases(judge.phrases))}, {ALIKE_APOSTROPHES}"
    return fields


def dataset_entry(config: DatasetConfig) -> DatasetEntry:
    """The data set that a config names. Raises InputError for one that is unknown."""
    columns = config.model_dump(include={"prompt_column", "id_column", "category_column"}, exclude_none=True)
    known = catalog.datasets()
    is_hub_id = re.fullmatch(HUB_ID, config.name) is not None
    of_hub_id = catalog.of_hub_id("datasets", config.name) if is_hub_id and config.name not in known else None
    if config.name in known or of_hub_id is not None:
        entry = known[of_hub_id or config.name].model_copy(update=columns)
    elif is_adhoc(config.name):
        entry = adhoc_entry(config.name, **columns)
    else:
        raise UnknownNameError("data set", config.name, known, "a file, folder (./NAME), URI or hub id")
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

    A category of the config or of a user's catalog that no prompt of its data sets has is refused: a misspelt one
    would count benign prompts as harmful. Prompts that `limit` left out count too.
    """
    kinds: dict[str, PromptKinds] = {}
    named: dict[str, set[str]] = {}
    unread: dict[str, dict[str, Sequence[str]]] = {}
    for dataset in datasets:
        entry = entries[dataset.name]
        found = Counter(prompt.category for prompt in prompt_sets[entry.name].prompts)
        benign = entry.benign_categories
        kinds[entry.name] = PromptKinds(benign, sum(found[category] for category in dict.fromkeys(benign or ())))
        _check_benign_of_entry(dataset, entry, prompt_sets[entry.name])
        for category in dataset.benign_categories or ():
            known = named.setdefault(category, set())
            if entry.category_column is None:
                unread.setdefault(category, {})[redact(entry.source)] = prompt_sets[entry.name].columns
            else:
                known.update(prompt_sets[entry.name].categories)
    for category, known in named.items():
        refuse_category(category, known, unread.get(category, {}))
    return kinds


def _check_benign_of_entry(dataset: DatasetConfig, entry: DatasetEntry, prompts: PromptSet) -> None:
    """Raises InputError for a benign category of a user's catalog entry that no prompt of its rows has.

    A config with another subset or category column reads other categories than the entry names.
    """
    of_catalog = dataset.name in catalog.datasets() or catalog.of_hub_id("datasets", dataset.name) == entry.name
    reads_others = dataset.config or dataset.split or dataset.category_column or dataset.benign_categories == ()
    if reads_others or not of_catalog or not catalog.is_from_outside("datasets", entry.name):
        return
    unread = {redact(entry.source): prompts.columns} if entry.category_column is None else {}
    for category in catalog.datasets()[entry.name].benign_categories or ():
        place = catalog.place_of("datasets", entry.name, "benign_categories")
        refuse_category(category, () if unread else prompts.categories, unread, f"{entry.name} ({place})")


def check_parts(parts: tuple[Part, ...], model: str, family: Family) -> None:
    """Raises InputError where `parts` can't be judged apart: a family without tags has only responses."""
    apart = [part for part in parts if part != "response"]
    if apart and family.tags is None:
        raise InputError(
            f"parts: {' and '.join(apart)} can't be judged apart for {model}: models of family {family.name} "
            "write no thinking tags. Fix: judge the response."
        )
