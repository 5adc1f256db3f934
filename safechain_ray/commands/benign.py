"""Add benign categories to a finished run, for data sets whose benign categories neither config nor catalog names."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from safechain_ray.config import ResourcesConfig
from safechain_ray.errors import InputError, UnknownNameError
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.output import lock_output
from safechain_ray.runs.progress import RecordingReporter
from safechain_ray.runs.record import RunRecord
from safechain_ray.runs.run_manifest import measure_and_write
from safechain_ray.storage import open_folder


def name_benign(run: str, categories: Sequence[str]) -> RunMetrics:
    """Record `categories` as benign in the run.json of a finished run, and rewrite its metrics.json.

    Nothing is generated or judged again.

    Raises:
        InputError: No finished run in the folder, a category that none of its prompts has, or another running driver.
    """
    folder = RunFolder(open_folder(run))
    run_manifest = RunRecord.of_finished(folder).run_manifest  # a folder without a run is not locked
    prompts = _prompts_by_category(folder)
    if unknown := prompts.keys() - run_manifest.kinds.keys():
        raise InputError(
            f"{folder.folder} has samples of data set {min(unknown)!r}, which its run.json does not name. Fix: run the "
            "run's own command again: it quarantines samples of other runs."
        )
    known = {category for found in prompts.values() for category in found}
    for category in categories:
        if category not in known:
            raise UnknownNameError("category", category, known)
    with lock_output(run, ResourcesConfig(), RecordingReporter()) as locked:
        record = RunRecord.of_finished(locked)
        added = {
            name: {category: found[category] for category in categories if category in found}
            for name, found in prompts.items()
        }
        record.add_benign(added)
        return measure_and_write(locked, record.run_manifest)


def _prompts_by_category(folder: RunFolder) -> dict[str, Counter[str]]:
    """By data set, how many prompts each category has."""
    columns = ["dataset", "prompt_id", "category"]
    prompts = {
        prompt
        for table in folder.counted_samples(columns)
        for prompt in zip(*(table[name].to_pylist() for name in columns), strict=True)
    }
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for dataset, _, category in prompts:
        found[dataset][category] += 1
    return found
