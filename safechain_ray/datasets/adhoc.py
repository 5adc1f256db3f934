"""Catalog entries for ad-hoc data sets: a file, a folder, a URI or a Hugging Face id given by the user."""

import re
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from safechain_ray.catalog.row_entries import DatasetEntry, RowsEntry, TrainingSetEntry
from safechain_ray.datasets.files import file_name, has_known_suffix
from safechain_ray.errors import InputError
from safechain_ray.storage import redact, refuse_mistyped
from safechain_ray.types.strict_numbers import plain_words

NAME_CONFIG = "--name (config in a config file, training_set.config for finetune)"
NAME_SPLIT = "--split (split in a config file, training_set.split for finetune)"
"""Where a user sets the config and split of a set. `finetune` has no such flags, only config keys."""

AnyRows = TypeVar("AnyRows", bound=RowsEntry)

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def is_adhoc(source: str) -> bool:
    """Whether `source` is a path, a URI or a Hugging Face id (`owner/name`) rather than a catalog name.

    An existing file is a path also without a known suffix: reading it then reports its format.
    """
    return "/" in source or has_known_suffix(source) or Path(source).expanduser().is_file()


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
    """The entry for a file (local or remote), a folder of the hub's layout, or a Hugging Face id. Nothing is read.

    Without `prompt_column` the column is `prompt`; `load_prompts` refuses a set without it and lists the set's columns.
    Without `split` the set must have one split. The entry is named after the file or the id.

    Raises:
        InputError: `source` is none of these.
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
    """The entry for a training set in a file, a folder of the hub's layout, or at a Hugging Face id. Nothing is read.

    `columns` are fields of `TrainingSetEntry`. Without any the layout is detected when the set is read.

    Raises:
        InputError: `source` is none of these, or the columns don't make a layout.
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
        problems = "; ".join(map(plain_words, error.errors()))
        raise InputError(f"{redact(source)}: {problems}. Fix: correct the columns in training_set.") from None


def with_subset(entry: AnyRows, *, config: str | None = None, split: str | None = None) -> AnyRows:
    """`entry` with another config or split of its set. Raises InputError for a single file, which has neither."""
    named = {field: value for field, value in (("config", config), ("split", split)) if value is not None}
    if named and entry.kind != "huggingface":
        flags = " and ".join({"config": NAME_CONFIG, "split": NAME_SPLIT}[field] for field in named)
        raise InputError(
            f"{redact(entry.source)} is a file, and {flags} chooses a part of a folder or of a set of the Hugging Face "
            "hub. Fix: omit the flag, or give the folder."
        )
    return entry.model_copy(update=named)


def copy_of(entry: AnyRows, source: str) -> AnyRows:
    """`entry` read from another `source` (a file, a folder or an id), with the same columns and expected row count."""
    return entry.model_copy(update={"source": source, "kind": _kind(source), "config": None, "revision": None})


def _kind(source: str) -> str:
    refuse_mistyped(source)
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
        f"There is no file {source}, and it is neither a Hugging Face id (owner/name) nor a URI. "
        "Fix: check the path or the name; `safechain-ray list datasets` and `list responses` show the known names."
    )


def _name(source: str) -> str:
    """`prompts` for `s3://bucket/prompts.jsonl.gz`, `XSTest` for `Paul/XSTest`; valid as an id and as a file name."""
    last = file_name(source.rstrip("/"))
    stem = re.sub(r"(\.\w+)(\.gz)?$", "", last, flags=re.IGNORECASE) if has_known_suffix(source) else last
    return re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "dataset"
