"""A data set that no catalog names, or a copy of one that it does: a file or a Hugging Face id that a user gives."""

import re
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from safechain_ray.catalog.entries import DatasetEntry, RowsEntry, TrainingSetEntry
from safechain_ray.datasets.files import file_name, has_known_suffix
from safechain_ray.errors import InputError
from safechain_ray.storage import redact
from safechain_ray.types.strict_numbers import plain_words

NAME_CONFIG = "--name (config in a config file, training_set.config for finetune)"
NAME_SPLIT = "--split (split in a config file, training_set.split for finetune)"
"""How a user names a part of a set. `finetune` has no such flags, only keys of its config."""

AnyRows = TypeVar("AnyRows", bound=RowsEntry)

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def is_adhoc(source: str) -> bool:
    """Whether `source` is a path, a URI or a Hugging Face id (`owner/name`) rather than a name of the catalog."""
    return "/" in source or has_known_suffix(source)


def adhoc_entry(
    source: str,
    *,
    prompt_column: str | None = None,
    id_column: str | None = None,
    category_column: str | None = None,
    config: str | None = None,
    split: str | None = None,
    revision: str | None = None,
) -> DatasetEntry:
    """The entry for a file (local or remote), a folder of the hub's layout, or a Hugging Face id.

    Nothing is read. Without `prompt_column` the column must be called `prompt`: `load_prompts` refuses a set without
    it and names the columns that there are. Without `split` the set must have one split. The entry is called after the
    file or the id. Raises InputError for any other source.
    """
    return DatasetEntry(
        name=_name(source),
        description="given by path or id",
        kind=_kind(source),
        source=source,
        config=config,
        split=split,
        revision=revision,
        prompt_column=prompt_column or "prompt",
        id_column=id_column,
        category_column=category_column,
    )


def adhoc_training_set(source: str, *, split: str | None = None, **columns: str | bool) -> TrainingSetEntry:
    """The entry for a training set in a file, a folder of the hub's layout, or at a Hugging Face id.

    `columns` are fields of `TrainingSetEntry`; without any the layout is detected when the set is read. Nothing is read
    here. Raises InputError for any other source, and for columns that don't make a layout.
    """
    try:
        return TrainingSetEntry.model_validate(
            {
                "name": _name(source),
                "description": "given by path or id",
                "kind": _kind(source),
                "source": source,
                "split": split,
                **columns,
            }
        )
    except ValidationError as error:
        raise InputError(f"{redact(source)}: {'; '.join(map(plain_words, error.errors()))}.") from None


def with_place(entry: AnyRows, *, config: str | None = None, split: str | None = None) -> AnyRows:
    """`entry` with another config or split of its set. Raises InputError for a single file, which has none."""
    named = {field: value for field, value in (("config", config), ("split", split)) if value is not None}
    if named and entry.kind != "huggingface":
        flags = " and ".join({"config": NAME_CONFIG, "split": NAME_SPLIT}[field] for field in named)
        raise InputError(
            f"{redact(entry.source)} is a file, and {flags} chooses a part of a folder or of a set of the Hugging Face "
            "hub. Fix: leave the flag out, or give the folder."
        )
    return entry.model_copy(update=named)


def copy_of(entry: AnyRows, source: str) -> AnyRows:
    """`entry` read from `source`, a file, a folder or another id: its columns and its number of rows still hold."""
    return entry.model_copy(update={"source": source, "kind": _kind(source), "config": None, "revision": None})


def _kind(source: str) -> str:
    if "://" in source or has_known_suffix(source):
        return "file"
    path = Path(source).expanduser()
    if path.is_dir():
        return "huggingface"
    if path.exists():
        return "file"
    if _HUB_ID.fullmatch(source):
        return "huggingface"
    raise InputError(
        f"There is no file {source}, and it is no Hugging Face id (owner/name) and no URI either. "
        "`safechain-ray list datasets` shows the names that are known."
    )


def _name(source: str) -> str:
    """`prompts` for `s3://bucket/prompts.jsonl.gz`, `XSTest` for `Paul/XSTest`; fit for an id and a file name."""
    last = file_name(source.rstrip("/"))
    stem = re.sub(r"(\.\w+)(\.gz)?$", "", last, flags=re.IGNORECASE) if has_known_suffix(source) else last
    return re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "dataset"
