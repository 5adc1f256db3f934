"""The terms of a run's data sets, and which of them do not allow their prompts to be published.

A published file can't be taken back. So prompts are published only if the catalog names a licence and the set is not
gated. A set that the catalog does not know has unknown terms.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from safechain_ray import catalog
from safechain_ray.catalog.row_entries import DatasetEntry
from safechain_ray.datasets.files import shown_package_file
from safechain_ray.runs.run_file import RunFile, StoredDataset
from safechain_ray.storage import redact

UNKNOWN = "unknown"

PART_OF_SET = r"( \((config|split|revision) [^()]+\))?"
"""How a run notes the part of a set of the hub: `org/set (config a, split test)`."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of one data set. `withheld` is the reason not to publish its prompts; empty if they may be."""

    name: str
    prompts: int
    source: str
    licence: str
    withheld: str = ""


def terms_of(run_file: RunFile) -> tuple[Terms, ...]:
    """The terms of each data set of a run, by the catalog of today.

    Example:
        >>> [each.name for each in terms_of(read_shared_run("runs/demo").run_file) if each.withheld]
        []
    """
    known = catalog.datasets()
    return tuple(_terms(name, dataset, known) for name, dataset in run_file.datasets.items())


def _terms(name: str, dataset: StoredDataset, known: Mapping[str, DatasetEntry]) -> Terms:
    entry = known.get(name)
    if entry is None or not _is_source_of(entry, dataset):
        return Terms(name, dataset.prompts, dataset.source, UNKNOWN, "its terms are not in the catalog")
    if entry.gated:
        reason = "it is gated: its owner gives it only to users who accept its conditions"
    elif entry.licence.startswith(UNKNOWN):
        reason = "its licence is unknown"
    else:
        reason = ""
    return Terms(name, dataset.prompts, dataset.source, entry.licence, reason)


def _is_source_of(entry: DatasetEntry, dataset: StoredDataset) -> bool:
    """Whether the run read the set of the entry, and not another file of this name.

    The whole source is compared: a prefix would take `quickstart.csv.mine.jsonl` for a set of the catalog. A set of
    the hub may be followed by the part of it that was read. Records of earlier versions have no source, so the set is
    unknown.
    """
    match entry.kind:
        case "package":
            return dataset.source == shown_package_file(entry.source)
        case "file":
            return dataset.source == redact(entry.source)
        case "huggingface":
            return re.fullmatch(re.escape(entry.source) + PART_OF_SET, dataset.source) is not None
