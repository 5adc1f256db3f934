"""Reader of a data set on the Hugging Face hub, in a folder of the hub's layout, or written by `save_to_disk`.

The `datasets` library lists the files of a config and a split. The files are then read like single files, because the
library's own readers change values. For example, pandas reads the id 007 as 7.0 and the prompt NA as missing, and
Arrow's JSON reader converts texts to timestamps. The library reads only formats that this project can't read.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from safechain_ray import catalog
from safechain_ray.catalog.benchmark_entries import BenchmarkEntry
from safechain_ray.catalog.row_entries import DatasetEntry, RowsEntry, TrainingSetEntry
from safechain_ray.datasets.adhoc import NAME_CONFIG, NAME_SPLIT
from safechain_ray.datasets.columnar import class_names, is_saved, plain_rows, read_saved, saved_as, saved_splits
from safechain_ray.datasets.files import FileFormat, SplitFiles, remember, remembered
from safechain_ray.datasets.records import BrokenFileError, Records
from safechain_ray.datasets.unpacking import check_arrow, check_packed
from safechain_ray.errors import InputError, first_line
from safechain_ray.storage import redact

CSV_OPTIONS = frozenset({"sep", "delimiter", "encoding", "keep_default_na", "na_filter", "chunksize", "features"})
"""CSV options of a dataset card that don't change the rows. All others are refused."""

COMPRESSED = (".zip", ".bz2", ".xz", ".zst", ".lz4", ".7z")
"""Archives that only the `datasets` library unpacks."""

BY_LIBRARY = frozenset(
    {"text", "csv", "json", "parquet", "arrow", "xml", "conll", "eval", "webdataset", "harbor", "cache"}
    | {"imagefolder", "audiofolder", "videofolder", "pdffolder"}
)
"""Formats that the library may read. HDF5, Lance and Vortex are excluded: they unpack values while they are read."""


def read_hub(entry: RowsEntry, wanted: Collection[str] | None = None) -> Records:
    """The records of one split, with only the `wanted` columns if given.

    Raises:
        InputError: with the fix. The hub is offline, the set is gated or unknown, the config or split is unknown, or
            there are several and the config names no one.
    """
    local = Path(entry.source).expanduser()
    try:
        records = _saved(entry, local, wanted) if local.is_dir() else None
        if records is None:
            with _cache(local) as cache:
                records = _from_card(entry, str(local) if cache else entry.source, cache, wanted)
    except BrokenFileError as error:
        raise InputError(error.of(_shown(entry, entry.split))) from error
    if not records.rows:
        raise InputError(f"{records.source} holds no rows. Fix: check its config, split and files.")
    return records


def _saved(entry: RowsEntry, folder: Path, wanted: Collection[str] | None) -> Records | None:
    """The records of a folder of `Dataset.save_to_disk` or `DatasetDict.save_to_disk`; None for another folder."""
    splits = saved_splits(folder)
    if not splits and not is_saved(folder):
        return None
    if not splits:
        stored = saved_as(folder)
        if entry.split not in (None, stored or "train"):  # the library's name for the split of a set without splits
            raise InputError(
                f"{folder} was saved as one split{f', {stored!r}' if stored else ''}, and {NAME_SPLIT} asks for "
                f"{entry.split!r} of it. Fix: omit {NAME_SPLIT}."
            )
        return Records(*read_saved(folder, wanted), str(folder))
    split = _split(entry, splits)
    return Records(*read_saved(folder / split, wanted), _shown(entry, split))


def _from_card(entry: RowsEntry, location: str, cache: str | None, wanted: Collection[str] | None) -> Records:
    """The records of a folder or of a hub set, by its card or by its file names."""
    # The import takes a second or two, and most runs read a file.
    from datasets import config, load_dataset_builder

    hub_cache = Path(config.HF_CACHE_HOME)
    key = (entry.source, entry.config, entry.split, entry.revision, entry.load_options)
    with _as_input_errors(entry, location):
        try:
            builder: Any = load_dataset_builder(
                location, entry.config, revision=entry.revision, cache_dir=cache, **entry.load_options
            )
        except ConnectionError:
            before = remembered(hub_cache, *key)
            if before is None:
                raise
            return before.read(_shown(entry, before.split), wanted)
        if builder.name == "cache":  # offline: the library found an earlier download in its cache
            before = remembered(hub_cache, *key)
            return (
                _prepared(entry, builder, wanted)
                if before is None
                else before.read(_shown(entry, before.split), wanted)
            )
        data_files: Mapping[str, Sequence[str]] = builder.config.data_files or {}
        if "data_files" not in entry.load_options:  # data_files of the catalog may be anywhere
            _check_own_files(location, [name for names in data_files.values() for name in names])
        split = _split(entry, tuple(map(str, data_files)) or tuple(builder.info.splits or ()))

        def read(split: str) -> Records:
            files = _files(entry, builder, split, data_files)
            if files is None:
                return _by_library(entry, builder, split, wanted)
            if cache is None:
                for asked in {split, entry.split} if entry.split is None else {split}:
                    remember(files, hub_cache, entry.source, entry.config, asked, entry.revision, entry.load_options)
            return files.read(_shown(entry, split), wanted)

        return read(split) if split in data_files or not _is_slice(split) else _slices(entry, split, read)


def _check_own_files(location: str, names: Sequence[str]) -> None:
    """Raises InputError if the card of a set lists files outside the set.

    A card is untrusted. It could name any file of this machine or any URL, whose content would then become prompts and
    be sent to models of third parties.
    """
    folder = Path(location).resolve()
    inside = (folder, folder.parent.parent / "blobs")  # the hub's cache stores the files of a snapshot there
    for name in names:
        *_, source = str(name).split("::")
        if not Path(location).is_dir():
            is_own = source.startswith("hf://datasets/")
        else:
            is_own = "://" not in source and any(Path(source).resolve().is_relative_to(each) for each in inside)
        if not is_own:
            raise InputError(
                f"The card of {redact(location)} names {redact(str(name))}, which is not a file of the set. "
                "Fix: correct the card, or give the path of a single file in place of the set."
            )


def _files(entry: RowsEntry, builder: Any, split: str, data_files: Mapping[str, Sequence[str]]) -> SplitFiles | None:
    """The files of a split on this machine, downloaded if necessary; None for a format that only the library reads."""
    from datasets import DownloadManager

    names = list(data_files.get(split, ()))
    kind: FileFormat | None = next((each for each in ("csv", "json", "parquet") if each == builder.name), None)
    if kind is None or not names or any(name.lower().endswith(COMPRESSED) for name in names):
        return None
    delimiter, encoding = ",", None
    if kind == "csv":
        _check_csv_options(entry, builder.config)
        delimiter, encoding = builder.config.sep, builder.config.encoding
    return SplitFiles(
        split,
        kind,
        tuple(map(str, DownloadManager().download(names) if any("://" in name for name in names) else names)),
        delimiter,
        encoding,
        builder.config.field if kind == "json" else None,
        class_names(builder.info.features.to_dict() if builder.info.features else None),
    )


def _check_csv_options(entry: RowsEntry, config: Any) -> None:
    usual = type(config)()
    other = [
        name
        for name in vars(usual)
        if name
        not in CSV_OPTIONS | {"name", "version", "data_dir", "data_files", "description", "names", "column_names"}
        and getattr(config, name) != getattr(usual, name)
    ]
    other += ["column_names"] if config.names else []
    if other:
        raise InputError(
            f"{_shown(entry, entry.split)} is CSV with options that are not supported: {', '.join(other)}. Without "
            f"them its rows would be wrong. Fix: convert it to JSON Lines or Parquet, and {local_copy(entry)}"
        )


def _by_library(entry: RowsEntry, builder: Any, split: str, wanted: Collection[str] | None) -> Records:
    """The rows as read by the `datasets` library: text, Arrow, archives and formats of several files."""
    _check_files(builder, _shown(entry, split))
    builder.download_and_prepare()
    table = builder.as_dataset(split=split)
    columns = tuple(table.column_names)
    if wanted is not None:
        table = table.select_columns([name for name in columns if name in wanted])
    names = class_names(table.features.to_dict())
    if not table.column_names:
        return Records(columns, [{} for _ in range(len(table))], _shown(entry, split))
    return Records(columns, plain_rows(table.data.table, names), _shown(entry, split))


def _check_files(builder: Any, shown: str) -> None:
    """Raises InputError for files that unpack to more than the limit: they would fill disk or memory."""
    from datasets import DownloadManager

    if builder.name not in BY_LIBRARY:
        raise InputError(
            f"{shown} has the format {builder.name!r}, and the unpacked size of its files can't be checked. Fix: "
            "convert it to JSON Lines, CSV or Parquet."
        )
    names = [str(name) for names in (builder.config.data_files or {}).values() for name in names]
    for name in dict.fromkeys(name.rpartition("::")[2] for name in names):  # zip://prompts.csv::archive.zip
        file = Path(DownloadManager().download(name) if "://" in name else name)
        suffix = PurePosixPath(name.lower()).suffix
        try:
            check_packed(file, suffix)
            if builder.name == "arrow":
                check_arrow(file, None, "arrow")
            elif builder.name == "parquet" or suffix == ".parquet":  # a folder of images may have metadata.parquet
                check_arrow(file, None, "parquet")
        except BrokenFileError as error:
            raise InputError(error.of(f"{PurePosixPath(name).name} of {shown}")) from error


def _prepared(entry: RowsEntry, builder: Any, wanted: Collection[str] | None) -> Records:
    """The rows in the library's cache, filled by another program while the hub was reachable."""
    if builder.info.builder_name == "csv":
        raise InputError(
            f"Can't load {_shown(entry, entry.split)}: the hub can't be reached, and its CSV values in the cache of "
            "`datasets` have inferred types. Fix: load it once without HF_HUB_OFFLINE, or "
            f"{local_copy(entry)}"
        )
    return _by_library(entry, builder, _split(entry, tuple(builder.info.splits or ())), wanted)


def _split(entry: RowsEntry, splits: Sequence[str]) -> str:
    """The split that the entry names, or the only split. Raises InputError with the known splits."""
    if entry.split is None and len(splits) == 1:
        return splits[0]
    if entry.split is not None and (entry.split in splits or not splits or _is_slice(entry.split)):
        return entry.split
    if entry.split is None:
        raise InputError(
            f"{_shown(entry, None)} has several splits: {', '.join(splits) or 'none known'}. Fix: name one "
            f"with {NAME_SPLIT}."
        )
    raise InputError(
        f"Can't load {_shown(entry, entry.split)}: there is no split {entry.split!r}, only {', '.join(splits)}. "
        f"Fix: name another split with {NAME_SPLIT}, or check its config and revision."
    )


def _is_slice(split: str) -> bool:
    return re.search(r"[\[+]", split) is not None


def _slices(entry: RowsEntry, split: str, read: Callable[[str], Records]) -> Records:
    """The rows of a split in the `datasets` library's notation of slices and sums: `train[:10%]+test`."""
    from datasets import ReadInstruction

    found = {name: read(name) for name in dict.fromkeys(re.findall(r"(?:^|\+)\s*([\w.-]+)", split))}
    parts = ReadInstruction.from_spec(split).to_absolute({name: len(each.rows) for name, each in found.items()})
    rows = [row for part in parts for row in found[part.splitname].rows[part.from_ : part.to]]
    columns = dict.fromkeys(column for each in found.values() for column in each.columns)
    return Records(tuple(columns), rows, _shown(entry, split))


def local_copy(entry: RowsEntry) -> str:
    """The last-resort fix, with the flags for a local copy of this kind of set.

    A copy has the columns of the set, but not the catalog's knowledge of them.
    """
    if isinstance(entry, BenchmarkEntry):
        return f"give a local copy with --benchmark {entry.name}=PATH."
    if isinstance(entry, TrainingSetEntry) and entry.name in catalog.training_sets():
        return "give a local copy with --training-set-file PATH."
    flags = ""
    if isinstance(entry, DatasetEntry) and entry.prompt_column != "prompt" and not entry.prompt_columns:
        category = f" --category-column {entry.category_column}" if entry.category_column else ""
        flags = f", with --prompt-column {entry.prompt_column}{category}"
    return f"give the path of a local copy in place of its name{flags}."


@contextmanager
def _as_input_errors(entry: RowsEntry, location: str) -> Iterator[None]:
    """Convert the library's errors to InputError with the fix."""
    from datasets import get_dataset_config_names
    from datasets.exceptions import DatasetNotFoundError, DatasetsError

    shown = _shown(entry, entry.split)
    try:
        yield
    except DatasetNotFoundError as error:
        fix = "check the id; if the set is gated, request access on its page and log in (`hf auth login` or HF_TOKEN)"
        raise InputError(f"Can't load {shown}: {first_line(error)}. Fix: {fix}, or {local_copy(entry)}") from error
    except ConnectionError as error:
        fix = "Fix: check the network, the proxy and HF_HUB_OFFLINE"
        raise InputError(f"Can't load {shown}: {first_line(error)}. {fix}, or {local_copy(entry)}") from error
    except (DatasetsError, ValueError, OSError, RecursionError, AttributeError, TypeError, LookupError) as error:
        if entry.config is None and str(error).startswith("Config name is missing"):
            configs = ", ".join(get_dataset_config_names(location, revision=entry.revision))
            raise InputError(f"{shown} has several configs: {configs}. Fix: name one with {NAME_CONFIG}.") from error
        fix = "check its config, split and revision"
        raise InputError(f"Can't load {shown}: {first_line(error)}. Fix: {fix}.") from error


@contextmanager
def _cache(local: Path) -> Iterator[str | None]:
    """The cache folder for the `datasets` library; None means its own cache.

    A local folder gets a temporary cache. The library's own cache (datasets 5.2) identifies a local folder by its name
    alone, and would return the rows of another folder of this name, or of an earlier version.
    """
    if not local.is_dir():
        yield None
        return
    with TemporaryDirectory(prefix="safechain-ray-rows-") as folder:
        yield folder


def _shown(entry: RowsEntry, split: str | None) -> str:
    details = [f"config {entry.config}"] if entry.config else []
    details += [f"split {split}"] if split else []
    details += [f"revision {entry.revision}"] if entry.revision else []
    return f"{entry.source} ({', '.join(details)})" if details else entry.source
