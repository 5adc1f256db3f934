"""Read a data set of the Hugging Face hub, or a folder that is laid out like one."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from safechain_ray.catalog.entries import RowsEntry
from safechain_ray.datasets.records import Records
from safechain_ray.errors import InputError


def read_hub(entry: RowsEntry, wanted: Collection[str] | None = None) -> Records:
    """The records of one split, with the `wanted` columns where only those are needed.

    Raises InputError with the mend: offline, gated, or no such set, config or split.
    """
    # The import takes a second or two, and most runs read a file.
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError, DatasetsError

    shown = _shown(entry)
    local = Path(entry.source).expanduser()
    with _cache(local) as cache:
        try:
            table = load_dataset(
                str(local) if cache else entry.source,
                entry.config,
                split=entry.split,
                revision=entry.revision,
                cache_dir=cache,
                **entry.load_options,
            )
        except DatasetNotFoundError as error:
            mend = (
                "Check the id; if the set is gated, ask for access on its page and log in (`hf auth login` or HF_TOKEN)"
            )
            raise InputError(f"Can't load {shown}: {_first_line(error)}. {mend}, or {_LOCAL_COPY}") from error
        except ConnectionError as error:
            mend = "Check the network, the proxy and HF_HUB_OFFLINE"
            raise InputError(f"Can't load {shown}: {_first_line(error)}. {mend}, or {_LOCAL_COPY}") from error
        except (DatasetsError, ValueError, OSError) as error:
            raise InputError(
                f"Can't load {shown}: {_first_line(error)}. Check its config, split and revision."
            ) from error
        if len(table) == 0:
            raise InputError(f"{shown} holds no rows.")
        columns = tuple(table.column_names)
        if wanted is not None:
            table = table.select_columns([name for name in columns if name in wanted])
        return Records(columns, table.to_list(), shown)


@contextmanager
def _cache(local: Path) -> Iterator[str | None]:
    """Where `datasets` is to keep what it reads: None is its own cache, which a local folder must not meet.

    There such a folder is known again by its name alone (datasets 5.2): the rows of another one of that name would come
    back, or those that this one had before it was made anew.
    """
    if not local.is_dir():
        yield None
        return
    with TemporaryDirectory(prefix="safechain-ray-rows-") as folder:
        yield folder


_LOCAL_COPY = "give a local copy with --dataset PATH."


def _shown(entry: RowsEntry) -> str:
    details = [f"config {entry.config}"] if entry.config else []
    details.append(f"split {entry.split}")
    if entry.revision:
        details.append(f"revision {entry.revision}")
    return f"{entry.source} ({', '.join(details)})"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
