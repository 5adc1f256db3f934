"""A run's card: `datasets.load_dataset` reads the samples of a folder that has other Parquet files too."""

from pathlib import Path

import datasets

from safechain_ray.runs.folder import RunFolder
from safechain_ray.storage import open_folder
from safechain_ray.types import VERDICTS_SCHEMA
from tests.made_runs.by_samples import sample, setting, write_run


def test_datasets_reads_the_samples_after_a_judge_was_added(tmp_path: Path):
    output = tmp_path / "run"
    write_run(output, [setting()], [sample(setting(), number) for number in range(3)])
    run = RunFolder(open_folder(str(output)))
    run.verdicts("late").write_parquet("part-0.parquet", VERDICTS_SCHEMA.empty_table())
    run.write_card()
    loaded = datasets.load_dataset(str(output), cache_dir=str(tmp_path / "cache"))
    assert {name: rows.num_rows for name, rows in loaded.items()} == {"train": 3}
