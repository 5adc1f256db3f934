"""A run counts its own samples alone: rows of another run in its folder are no work done."""

from pathlib import Path

from safechain_ray.commands.evaluate import open_run
from safechain_ray.config import read_config
from safechain_ray.runs.progress import RecordingReporter
from safechain_ray.runs.resolve import resolve
from tests.made_runs.by_config import finished_run

KEYS = {"model": "demo-reasoner", "sampling": {"temperature": 0.6}, "judges": ["refusal-match"]}


def test_samples_of_another_run_do_not_make_a_run_finished(tmp_path: Path):
    limited = {"datasets": [{"name": "quickstart", "limit": 4}], "parts": ["response"], "samples": 2}
    own = finished_run(tmp_path / "own", **limited)
    other = finished_run(tmp_path / "other", **(limited | {"datasets": [{"name": "quickstart", "limit": 20}]}))
    (name,) = own.samples.list_files(".parquet")
    own.samples.delete(name)
    for file in other.samples.list_files(".parquet"):
        table = other.samples.read_parquet(file)
        own.samples.write_parquet(f"copied-{file}", table.slice(4))

    config = read_config(None, KEYS | limited | {"output": str(tmp_path / "own")}, ())
    with open_run(config, resolve(config), RecordingReporter()) as opened:
        assert 0 < opened.left <= 8
        assert opened.completed + opened.left == 8
    kept = [row for file in own.samples.list_files(".parquet") for row in own.samples.read_parquet(file).to_pylist()]
    assert len(kept) == opened.completed
