"""The files of a published run, made one at a time in a local folder: no run has to fit in memory or on this disk."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from safechain_ray.runs.run_file import RUN_FILE
from safechain_ray.sharing.card import CARD, Card, card_text
from safechain_ray.sharing.published import Cleaner, mapped_texts, published_run, without_place
from safechain_ray.sharing.rows import Contents, of_file_size, published_samples, published_verdicts
from safechain_ray.sharing.run import SharedRun
from safechain_ray.sharing.tables import categories_table, metrics_table
from safechain_ray.sharing.terms import Terms
from safechain_ray.storage import open_folder
from safechain_ray.types import SAMPLES_SCHEMA

OWN_FOLDERS = ("samples/", "verdicts/", "tables/")
"""Folders of a published run."""

OWN_FILE = re.compile(
    r"(samples|verdicts/[^/]+)/part-[0-9]{5,}\.parquet|tables/(metrics|categories)\.parquet|"
    r"metrics\.json|run\.json|README\.md"
)
"""The names of published files. A file of such a name that the run no longer has is of an earlier push, and is deleted.
All other files are the user's."""


@dataclass(frozen=True, slots=True)
class SharedFile:
    """A file under its `name` in the published tree. The receiver may move or delete the local `path`."""

    name: str
    path: Path


def shared_files(
    run: SharedRun,
    name: str,
    contents: Contents,
    terms: tuple[Terms, ...],
    workspace: Path,
    added: Mapping[str, Any],
) -> Iterator[SharedFile]:
    """The files of the published tree, in `workspace`. `name` is what `load_dataset` takes.

    `added` has the keys that a user added to the front matter of an earlier card. The first file is run.json, which
    marks the tree as a push: a push to a folder that is interrupted can be repeated.

    The next file is made when it is requested, so that a receiver who deletes each file needs the disk of one.
    """
    cleaner = Cleaner.of(run.run_file)
    local = open_folder(str(workspace))
    record = published_run(run.run_file, cleaner)
    local.write_text(RUN_FILE, _json(record))
    yield SharedFile(RUN_FILE, workspace / RUN_FILE)
    for path, table in _tables(run, contents, cleaner):
        local.write_parquet(path, table)
        yield SharedFile(path, workspace / path)
    metrics = mapped_texts(run.metrics.model_dump(mode="json"), lambda text: cleaner.text(without_place(text)))
    card = card_text(Card(name, run, contents, terms, record, added))
    for path, text in (("metrics.json", _json(metrics)), (CARD, cleaner.text(card))):
        local.write_text(path, text)
        yield SharedFile(path, workspace / path)


def _tables(run: SharedRun, contents: Contents, cleaner: Cleaner) -> Iterator[tuple[str, pa.Table]]:
    if contents.include != "figures":
        samples = run.folder.counted_samples(SAMPLES_SCHEMA.names)
        for number, table in enumerate(of_file_size(samples)):
            yield f"samples/part-{number:05}.parquet", published_samples(table, contents, cleaner)
        for judge in sorted(run.manifest.added_judges):
            for number, table in enumerate(of_file_size(run.added_verdicts([judge]))):
                yield f"verdicts/{judge}/part-{number:05}.parquet", published_verdicts(table, contents, cleaner)
    yield "tables/metrics.parquet", metrics_table(run.metrics)
    yield "tables/categories.parquet", categories_table(run.metrics)


def _json(tree: Any) -> str:
    return json.dumps(tree, indent=2) + "\n"


def is_own(name: str) -> bool:
    """Whether a file of this name in a published tree is one of `shared_files`, of this or an earlier push."""
    return OWN_FILE.fullmatch(name) is not None
