"""Finished runs to share: one of a data set with a licence, one with every outcome, one with a later judge."""

from pathlib import Path
from typing import Any

from safechain_ray import catalog
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.run_file import RunFile
from safechain_ray.runs.run_manifest import RunManifest, measure_and_write
from safechain_ray.storage import open_folder
from safechain_ray.types import Setting
from tests.made_runs import by_config, by_samples, by_verdicts
from tests.made_runs.stored import read_tree, write_tree

DEFAULT = Setting(dataset="strongreject")
UNSAFE = {"p0": [True], "p1": [False], "p2": [None]}
TEXTS = {"p0": "First?", "p1": "Second?", "p2": "Third?"}


def quickstart_run(folder: Path, **keys: Any) -> Path:
    """180 samples of the quickstart set, whose prompts may be published, with verdicts on all parts."""
    by_config.finished_run(folder, **keys)
    return folder


def varied_run(folder: Path, prompts: int = 30) -> Path:
    """Two settings of three and one samples, with every outcome and with missing verdicts, of an unknown data set."""
    settings = [by_samples.setting(samples=3), by_samples.setting("zerothink", samples=1)]
    datasets = {"small": {"source": "small.csv", "prompts": prompts, "hash": "0"}}
    by_samples.write_run(folder, settings, by_samples.varied(settings, prompts), datasets=datasets)
    return folder


def run_with_later_judge(folder: Path, finished: bool = True) -> Path:
    """Three samples of strongreject, judged by `guard`, and later by `second`."""
    by_verdicts.write_run(folder, [(DEFAULT, UNSAFE)], TEXTS, finished=finished)
    set_source(folder, "strongreject", catalog.datasets()["strongreject"].source)
    if finished:
        add_judge(folder, "second")
    return folder


def add_judge(folder: Path, judge: str) -> None:
    """Verdicts of a later judge, and the figures anew."""
    by_verdicts.add_verdicts(folder, judge, DEFAULT, {"p0": [False], "p1": [True], "p2": [True]})
    run = RunFolder(open_folder(str(folder)))
    stored = run.read_run()
    assert isinstance(stored, RunFile)
    measure_and_write(run, RunManifest.of(stored))


def set_source(folder: Path, dataset: str, source: str) -> None:
    """Change the noted source of a data set."""
    run = RunFolder(open_folder(str(folder)))
    tree = read_tree(run)
    tree["datasets"][dataset]["source"] = source
    write_tree(run, tree)
