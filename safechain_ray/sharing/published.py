"""What leaves the machine: run.json without hosts, folders, endpoints and cost, and texts without known secrets.

Guarantees:
1. A published run.json is still a record of the same run: `report`, `compare` and `load_run` read a copy of it.
2. The values of the secret variables (`SECRET_VARIABLES`, each `api_key_env` of the run) and the hub's token are in no
   published text, whole or in pieces of 24 characters.

Known trade-off: a text may describe the machine in words that are not recognised, for example in an error of an engine.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
from huggingface_hub import get_token

from safechain_ray.commands.training_set_folder import published_record
from safechain_ray.runs.run_file import RunFile
from safechain_ray.storage.uris import SECRET_VARIABLES, redact
from safechain_ray.types.known_secrets import KnownSecrets

KEY_VARIABLE = "api_key_env"

PUBLISHED = "published"
"""The key that marks the run.json of a push. A push replaces no other run."""

KEPT_OF_ATTEMPTS = ("started", "ended", "command", "rows_found", "versions")

PLACE = re.compile(r"(?:~(?:[A-Za-z_][\w.-]*)?/|/|\.{1,2}/|(?i:file|s3|gs|gcs|az|abfss?|hf)://)\S")
"""The start of a local path or of a URI of a store: it names people, machines and buckets."""


@dataclass(frozen=True)
class Cleaner:
    """Removes known secrets from published texts."""

    values: tuple[str, ...]

    @classmethod
    def of(cls, run_file: RunFile) -> "Cleaner":
        """The cleaner of the secrets that this environment has for the run."""
        tree = json.loads(run_file.to_json())
        names = dict.fromkeys((*SECRET_VARIABLES, *_values_of(tree, KEY_VARIABLE)))
        return cls(tuple(filter(None, (get_token(), *map(os.environ.get, names)))))

    @cached_property
    def _known(self) -> KnownSecrets:
        return KnownSecrets.of(*self.values)

    def text(self, text: str) -> str:
        return self._known.removed_from(text)

    def column(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """A column of texts without the secrets. Each distinct text is cleaned once."""
        return changed_texts(column, self.text) if self.values else column


def changed_texts(column: pa.ChunkedArray, change: Callable[[str], str]) -> pa.ChunkedArray:
    """A column of texts with `change` applied to each distinct text that is not null."""
    encoded = column.combine_chunks().dictionary_encode()
    texts = pa.array([None if text is None else change(text) for text in encoded.dictionary.to_pylist()], pa.string())
    return pa.chunked_array([texts.take(encoded.indices)], pa.string())


def without_place(text: str) -> str:
    """The last part of a local path or of a URI of a store, without secrets and query; any other text as it is.

    Example:
        >>> without_place("/home/me/prompts.csv"), without_place("org/set")
        ('prompts.csv', 'org/set')
    """
    return redact(text).rstrip("/").rpartition("/")[2] if PLACE.match(text) else text


def published_run(run_file: RunFile, cleaner: Cleaner) -> dict[str, Any]:
    """The content of the published run.json: a record of the same run, without what names the machine."""
    stored = json.loads(run_file.to_json())
    tree = published_record(stored | {"config": stored.get("config", {})})
    tree.pop("cost_dollars", None)
    tree["tries"] = [_attempt(attempt) for attempt in tree.get("tries", ())]
    cleaned: dict[str, Any] = mapped_texts(tree, lambda text: cleaner.text(without_place(text)))
    return {**cleaned, PUBLISHED: True}


def is_published(run_file: RunFile) -> bool:
    """Whether the run.json was written by a push."""
    return (run_file.model_extra or {}).get(PUBLISHED) is True


def _attempt(attempt: Mapping[str, Any]) -> dict[str, Any]:
    """An attempt without pools, cost and the names of nodes. The reason of a failure may name folders and hosts."""
    kept = {key: attempt[key] for key in KEPT_OF_ATTEMPTS if key in attempt}
    nodes = enumerate(attempt.get("hardware", ()), 1)
    hardware = [{**node, "node": f"node-{number}"} for number, node in nodes]
    return {**kept, "status": attempt["status"].partition(":")[0], "hardware": hardware}


def mapped_texts(tree: Any, change: Callable[[str], str]) -> Any:
    """The JSON tree with `change` applied to every text, but not to keys."""
    if isinstance(tree, dict):
        return {key: mapped_texts(value, change) for key, value in tree.items()}
    if isinstance(tree, list):
        return [mapped_texts(value, change) for value in tree]
    return change(tree) if isinstance(tree, str) else tree


def _values_of(tree: Any, key: str) -> Iterator[str]:
    """The texts under `key` at any depth."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            if name == key and isinstance(value, str):
                yield value
            else:
                yield from _values_of(value, key)
    elif isinstance(tree, list):
        for value in tree:
            yield from _values_of(value, key)
