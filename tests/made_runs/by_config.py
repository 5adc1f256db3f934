"""A finished run in a folder, written without a cluster: for tests of what is done with one afterwards."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from safechain_ray.cluster.sample_index import SampleSpec
from safechain_ray.config import read_config
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.record import RunRecord
from safechain_ray.runs.resolve import resolve
from safechain_ray.runs.run_manifest import measure
from safechain_ray.storage import open_folder
from safechain_ray.testing import sample, verdict
from safechain_ray.types import Part, samples_table

USUAL: dict[str, Any] = {
    "model": "demo-reasoner",
    "datasets": ["quickstart"],
    "sampling": {"temperature": 0.6},
    "samples": 3,
    "judges": ["refusal-match"],
    "parts": ["response", "thought", "answer"],
}
"""The config of `finished_run`, as keys."""

Said = Callable[[SampleSpec, Part], bool | None]


def unsafe_by_index(item: SampleSpec, part: Part) -> bool | None:
    """Thoughts are unsafe but for the first sample of a prompt, answers of the last sample; benign ones never are."""
    if item.prompt.category.startswith("benign"):
        return False
    return item.sample_index > 0 if part == "thought" else item.sample_index == 2


def finished_run(folder: Path, said: Said = unsafe_by_index, **keys: Any) -> RunFolder:
    """Three samples of each prompt of the quickstart set, judged by refusal-match as `said`; `keys` win."""
    config = read_config(None, USUAL | keys, ())
    run = resolve(config)
    finished = RunFolder(open_folder(str(folder)))
    record = RunRecord.opened(finished, config, run)
    rows = [
        sample(
            item.setting,
            prompt_id=item.prompt.prompt_id,
            category=item.prompt.category,
            sample_index=item.sample_index,
            thought_tokens=10 + item.sample_index,
            answer_tokens=20,
            verdicts=tuple(verdict(said(item, part), judge, part) for judge, part in run.asked),
        )
        for item in run.sample_specs
    ]
    for start in range(0, len(rows), 32):
        finished.samples.write_parquet(f"part-{start:03}.parquet", samples_table(rows[start : start + 32]))
    metrics = measure(finished, record.run_manifest)
    finished.folder.write_text("metrics.json", metrics.model_dump_json(indent=2))
    record.measured(metrics.settings)
    return finished
