"""From a finetune config to its base model with its shape, and to the tokens to train on and to hold out."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safechain_ray import catalog
from safechain_ray.catalog.entries import Family, ModelEntry
from safechain_ray.catalog.model_shapes import ModelShape
from safechain_ray.catalog.row_entries import TrainingSetEntry
from safechain_ray.commands.training_set_folder import as_built, fetched_set, is_stored_set, named_after
from safechain_ray.config import FinetuneConfig, ModelConfig, TrainingSetConfig
from safechain_ray.datasets.adhoc import adhoc_training_set, copy_of, is_adhoc
from safechain_ray.datasets.loading import read_records
from safechain_ray.datasets.training_sets import TrainingSet, training_set_of
from safechain_ray.engines.weights import StoredModel, is_stored, weights_location
from safechain_ray.errors import InputError, UnknownNameError, first_line
from safechain_ray.model_files import CustomCodeError, load_config, load_tokenizer
from safechain_ray.runs.folder import WEIGHTS
from safechain_ray.runs.identity import weights_fingerprint
from safechain_ray.runs.resolve import as_stored
from safechain_ray.runs.resolve_model import is_api, resolve_model
from safechain_ray.storage import bare_uri, redact
from safechain_ray.training.chat import ChatFormat, check_chat_format, check_demonstrations
from safechain_ray.training.checkpoints import tokens_hash, training_identity
from safechain_ray.training.tokens import TokenisedSet, hold_out, tokenise
from safechain_ray.types import short_hash


class UnreadHubError(InputError):
    """The hub did not give a model's or a set's files: no network, no access, or no such id. A plan needs none."""


@dataclass(frozen=True, slots=True)
class BaseModelSpec:
    """The model that is trained: its catalog entry, family and shape."""

    entry: ModelEntry
    family: Family
    shape: ModelShape


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The tokens of a training set to train on, and those held out (None: nothing)."""

    source: TrainingSet
    learnt: TokenisedSet
    held_out: TokenisedSet | None


def resolve_base_model(config: ModelConfig) -> BaseModelSpec:
    """Look the model up, and read its config if the catalog has no shape. Raises InputError."""
    if is_api(config):
        raise InputError(f"{config.name} is behind an API, without weights to train. Fix: name a model with weights.")
    entry = resolve_model(config)
    family = catalog.family_of(entry)
    known = catalog.shapes().get(entry.name)
    return BaseModelSpec(entry, family, known or ModelShape.of_config(entry.name, _config_of(entry)))


def resolve_training_data(config: FinetuneConfig, base: BaseModelSpec) -> TrainingData:
    """Read the demonstrations and tokenise them.

    Raises InputError for a set that can't be read, a template that would train another format, and too few examples.
    """
    return tokenise_set(config, base, read_training_set(config.training_set, base))


def tokenise_set(config: FinetuneConfig, base: BaseModelSpec, source: TrainingSet) -> TrainingData:
    """The tokens of demonstrations. Raises the errors of `resolve_training_data` after reading."""
    with _small_files(base.entry) as location:
        tokenizer = _loaded(load_tokenizer, location, base.entry)
        chat = ChatFormat(tokenizer, base.family, base.entry.chat_template)
        check_chat_format(chat)
        check_demonstrations(chat, source.demonstrations)
        shown, kept_out = hold_out(source.demonstrations, config.training_set.held_out, config.training.seed)
        learnt = tokenise(shown, chat, config.max_length)
        held_out = tokenise(kept_out, chat, config.max_length) if kept_out else None
    if learnt.counts.examples < config.training.sequences_a_step:
        raise InputError(
            f"{source.source} gives {learnt.counts.examples:,} examples, and a step takes "
            f"{config.training.sequences_a_step:,} sequences of one or more examples. "
            "Fix: lower training.sequences_a_step, or give more rows."
        )
    return TrainingData(source, learnt, held_out)


def finetune_identity(config: FinetuneConfig, base: BaseModelSpec, training_data: TrainingData) -> dict[str, Any]:
    """All that changes the weights or the evaluation loss."""
    entry = base.entry
    identity = training_identity(bare_uri(entry.source), entry.revision, training_data.learnt, config.training)
    held_out = None if training_data.held_out is None else tokens_hash(training_data.held_out)
    weights = weights_fingerprint(entry.source)
    known = {} if weights is None else {WEIGHTS: weights}
    return as_stored({**identity, **known, "chat_template": entry.chat_template, "held_out": held_out})


def identity_hash(identity: dict[str, Any]) -> str:
    return short_hash(json.dumps(identity, sort_keys=True))


def training_set_entry(config: TrainingSetConfig) -> TrainingSetEntry:
    """Raises InputError for a set that is unknown, and for columns that make no layout."""
    columns = config.columns()
    if config.name in catalog.training_sets():
        entry = catalog.training_sets()[config.name]
        if columns:
            raise InputError(
                f"training_set: {', '.join(columns)} can't be set for {config.name}, whose columns are in the catalog. "
                "Fix: leave them out, or give your own set by its path or id."
            )
        return entry if config.file is None else copy_of(entry, config.file)
    if not is_adhoc(config.name):
        other = "a file, folder (./NAME), URI or hub id"
        raise UnknownNameError("training set", config.name, catalog.training_sets(), other)
    if config.file is not None:
        raise InputError(
            "training_set.file is a copy of a set of the catalog. Fix: give your file as training_set.name."
        )
    return adhoc_training_set(config.name, **columns)


def read_training_set(config: TrainingSetConfig, base: BaseModelSpec) -> TrainingSet:
    """The demonstrations of a catalog set, a file, a folder, a URI or an id.

    Raises:
        UnreadHubError: The hub did not give the set.
        InputError: Any other fault of the set or its rows.
    """
    if config.name not in catalog.training_sets():
        config = as_built(config)
    if not is_stored_set(config.name):
        return _read(training_set_entry(config), config, base)
    with fetched_set(config) as local:
        return named_after(_read(training_set_entry(local), config, base), config)


def _read(entry: TrainingSetEntry, config: TrainingSetConfig, base: BaseModelSpec) -> TrainingSet:
    try:
        records = read_records(entry)
    except InputError as error:
        if entry.kind == "huggingface" and not Path(entry.source).expanduser().is_dir():
            raise UnreadHubError(str(error)) from error
        raise
    return training_set_of(entry, records, config.on_bad_row, base.family.tags)


def _config_of(entry: ModelEntry) -> Any:
    with _small_files(entry) as location:
        return _loaded(load_config, location, entry)


def _loaded(load: Callable[..., Any], location: str, entry: ModelEntry) -> Any:
    try:
        return load(location, entry.revision, trust_remote_code=entry.trust_remote_code)
    except CustomCodeError as error:
        raise CustomCodeError(f"Model {redact(entry.source)}") from error
    except (OSError, ValueError) as error:
        message = f"Model {redact(entry.source)} can't be read: {first_line(error)}."
        if Path(location).expanduser().is_dir():
            raise InputError(f"{message} Fix: fetch the model's files again.") from error
        raise UnreadHubError(f"{message} Fix: check the model's id, the network and HF_TOKEN.") from error


@contextmanager
def _small_files(entry: ModelEntry) -> Iterator[str]:
    """Where config and tokenizer can be read: the weights of a model in an object store stay there."""
    if is_stored(entry.source):
        with StoredModel.at(entry.source).without_weights() as folder:
            yield str(folder)
    else:
        yield weights_location(entry.source)
