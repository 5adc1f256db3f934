"""An evaluation merges its sample files before it counts as finished."""

from collections import Counter
from pathlib import Path

import pytest

from safechain_ray.commands.evaluate import Evaluation, evaluate
from safechain_ray.commands.fine_grained import analyse
from safechain_ray.config import read_config
from safechain_ray.errors import InputError, StorageError
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.progress import RecordingReporter
from safechain_ray.runs.run_manifest import metrics_of
from safechain_ray.storage import Folder
from tests.made_runs.by_config import USUAL, finished_run
from tests.made_runs.stored import read_tree, write_tree


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run with all its samples in small files, whose driver was killed before it was finished."""
    made = finished_run(tmp_path / "run")
    write_tree(made, {key: value for key, value in read_tree(made).items() if not key.startswith("finished")})
    assert len(made.samples.list_files()) > 2
    return made


def resume(run: RunFolder) -> None:
    config = read_config(None, USUAL | {"output": run.folder.path}, ())
    evaluate(config, RecordingReporter(), lambda start: None)  # type: ignore[arg-type,return-value]


def test_a_run_that_is_killed_while_it_merges_files_is_not_finished(run: RunFolder, monkeypatch: pytest.MonkeyPatch):
    def killed(folder: Folder, name: str) -> None:
        raise StorageError("the driver was killed")

    with monkeypatch.context() as dying:
        dying.setattr(Folder, "delete", killed)
        with pytest.raises(StorageError):
            resume(run)
    with pytest.raises(InputError, match="has not ended"):
        analyse(run.folder.path)

    resume(run)
    (name,) = run.samples.list_files(".parquet")
    assert set(Counter(run.samples.read_parquet(name)["sample_id"].to_pylist()).values()) == {1}
    assert analyse(run.folder.path).settings


def test_rows_that_are_not_there_at_the_end_are_errors(run: RunFolder):
    """A file that is quarantined when the run is measured is not generated again: the run must not end with 0."""
    resume(run)
    metrics = metrics_of(run.folder.path)
    first, *others = metrics.settings
    short = metrics.model_copy(update={"settings": (first.model_copy(update={"rows": first.rows - 2}), *others)})
    assert Evaluation(run, short, 0).errors == Evaluation(run, metrics, 0).errors + 2
