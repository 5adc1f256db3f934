"""The run that is shared: its record, its figures, the verdicts added later, and what an unfinished run lacks."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from safechain_ray.errors import InputError
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.runs.folder import RunFolder, no_run
from safechain_ray.runs.run_file import RunFile
from safechain_ray.runs.run_manifest import RunManifest, measure, metrics_of
from safechain_ray.storage import open_folder

KINDS = {"benchmark": "a benchmark", "judge study": "a judge study", "preferences": "a comparison by a judge"}


@dataclass(frozen=True)
class SharedRun:
    """A run of a model with its figures. `missing` has a sentence for each thing that an unfinished run lacks."""

    folder: RunFolder
    run_file: RunFile
    manifest: RunManifest
    metrics: RunMetrics
    missing: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        return sum(setting.rows for setting in self.metrics.settings)

    def added_verdicts(self, judges: Collection[str]) -> Iterator[pa.Table]:
        """The verdicts of these later judges, without those on parts that are not judged completely."""
        pairs = pa.array([f"{judge}:{part}" for judge, part in self.manifest.added], pa.string())
        for table in self.folder.added_verdicts(judges):
            yield table.filter(pc.is_in(pc.binary_join_element_wise(table["judge"], table["part"], ":"), pairs))


def read_shared_run(uri: str) -> SharedRun:
    """The run in the folder `uri`. The figures of an unfinished run are those of its samples so far.

    Raises:
        InputError: There is no run of a model, or it has no sample yet.

    Example:
        >>> read_shared_run("runs/demo").missing
        ()
    """
    run = RunFolder(open_folder(uri))
    run_file = run.read_run()
    if run_file is None:
        raise no_run(run.folder, "run")
    if run_file.kind != "run" or not run_file.identity.settings:
        what = KINDS.get(run_file.kind, "a run without settings")
        raise InputError(f"{run.folder} holds {what}. Fix: name a run of `evaluate`, `import` or a model of a sweep.")
    manifest = RunManifest.of(run_file)
    if _is_finished(run_file):
        return SharedRun(run, run_file, manifest, metrics_of(run.folder.uri))
    if not run.samples.list_files(".parquet"):
        raise InputError(f"The run in {run.folder} has no samples yet. Fix: rerun its own command to resume.")
    metrics = measure(run, manifest)
    return SharedRun(run, run_file, manifest, metrics, tuple(_missing(metrics)))


def _is_finished(run_file: RunFile) -> bool:
    attempts = len(run_file.own_attempts)
    noted = attempts if run_file.finished_attempts is None else run_file.finished_attempts
    return run_file.finished is not None and noted >= attempts


def _missing(metrics: RunMetrics) -> Iterator[str]:
    """A sentence for each setting and judge with missing rows; one sentence where only the end is not recorded."""
    complete = True
    for setting in metrics.settings:
        if setting.rows < setting.rows_expected:
            complete = False
            yield f"{setting.setting_id}: {setting.rows:,} of {setting.rows_expected:,} samples are there."
        for judge in setting.judges:
            if judge.all_missing > setting.rows_expected - setting.rows:
                complete = False
                yield (
                    f"{setting.setting_id}: {judge.all_missing:,} verdicts of {judge.judge} on the {judge.part} are "
                    "missing."
                )
    if complete:
        yield "All rows are there, but the end of the run is not recorded."
