"""Labelled responses of a run: samples with verdicts of the judge `human`, as an import with labels writes them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from safechain_ray.commands.import_responses import HUMAN
from safechain_ray.config import StudyConfig
from safechain_ray.datasets.files import has_known_suffix
from safechain_ray.datasets.labelled import LabelledResponse, LabelledSet
from safechain_ray.errors import InputError
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.run_file import RUN_FILE
from safechain_ray.storage import open_folder, redact
from safechain_ray.types import Part

COLUMNS = ("prompt", "response", "thought", "answer", "verdicts")

OF_FILES = ("prompt_column", "response_column", "label_column", "unsafe_labels", "config", "split")
"""Keys of a study about the columns of a file, which a run does not take."""


def is_run(source: str) -> bool:
    """Whether `source` is the folder of a run, local or in a store."""
    if has_known_suffix(source):
        return False
    if "://" in source:
        return open_folder(source).exists(RUN_FILE)
    return Path(source).expanduser().joinpath(RUN_FILE).is_file()


def refuse_missing_folder(source: str) -> None:
    """Raise InputError for a missing folder beside runs: `runs/mistyped` would be asked of the hub, as OWNER/NAME."""
    path = Path(source).expanduser()
    if "://" in source or "/" not in source or path.exists():
        return
    if any(path.parent.glob(f"*/{RUN_FILE}")):
        raise InputError(f"There is no file or folder {source}. Fix: check the path.")


def load_labelled_run(config: StudyConfig) -> LabelledSet:
    """The samples of the run `config.data` whose `config.part` people have labelled, in the order of the files.

    `config.part` of None takes the part that the labels are about. Samples without a label are left out.

    Raises:
        InputError: the run has no labels, or none of this part; or the config names columns of a file.
    """
    if given := [key for key in OF_FILES if key in config.model_fields_set]:
        raise InputError(
            f"{redact(config.data)} is a run, whose columns and labels are known. Fix: leave out {', '.join(given)}."
        )
    folder = RunFolder(open_folder(config.data))
    labels: list[_Label] = []
    rows = 0
    for table in folder.counted_samples(COLUMNS):
        rows += table.num_rows
        labels += _labels(table)
    parts = sorted({label.part for label in labels})
    if not labels:
        raise InputError(
            f"{redact(config.data)} has no labels of people. Fix: import the responses with --label-column and the "
            "right --label-part, or name a file of labelled responses."
        )
    part = config.part or parts[0]
    found = [label for label in labels if label.part == part]
    if not found:
        raise InputError(
            f"The labels of {redact(config.data)} are about the {' and the '.join(parts)}, not the {part}. "
            f"Fix: name it with --part {parts[0]}."
        )
    name = config.data.rstrip("/").rpartition("/")[2] or "run"
    responses = (LabelledResponse(row, each.prompt, each.text, each.unsafe) for row, each in enumerate(found, start=1))
    return LabelledSet(name, redact(str(folder.folder)), tuple(responses), part, left_out=rows - len(found))


@dataclass(frozen=True, slots=True)
class _Label:
    part: Part
    prompt: str
    text: str
    unsafe: bool


def _labels(table: pa.Table) -> Iterator[_Label]:
    for row in table.to_pylist():
        for verdict in row["verdicts"]:
            text = row[verdict["part"]]
            if verdict["judge"] == HUMAN and verdict["unsafe"] is not None and text is not None:
                yield _Label(verdict["part"], row["prompt"], text, verdict["unsafe"])
