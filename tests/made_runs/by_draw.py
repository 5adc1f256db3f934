"""The responses of a training set to be built, written without a cluster: its run is finished before it begins."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from safechain_ray.cluster.sample_index import SampleSpec
from safechain_ray.commands.build_dataset import draw_for
from safechain_ray.config import BuildConfig, read_config_as
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.record import RunRecord
from safechain_ray.runs.resolve import resolve
from safechain_ray.storage import open_folder
from safechain_ray.testing import sample, verdict
from safechain_ray.types import samples_table

KINDS = ("vanilla_harmful", "vanilla_benign", "adversarial_harmful", "adversarial_benign")
GUARD = "demo-guard"

Response = Callable[[SampleSpec], dict[str, Any]]


def prompt_file(folder: Path, prompts: int = 40) -> Path:
    """Prompts of four kinds."""
    path = folder / "prompts.csv"
    rows = "".join(
        f"p{number},How does one fix roof number {number}?,{KINDS[number % 4]}\n" for number in range(prompts)
    )
    path.write_text(f"id,prompt,kind\n{rows}")
    return path


def build_config(folder: Path, **keys: Any) -> BuildConfig:
    """The demo models on 20 of 40 prompts of four kinds, three responses each; `keys` win."""
    usual = {
        "model": "demo-reasoner",
        "prompts": {"name": str(prompt_file(folder)), "id_column": "id", "kind_column": "kind", "number": 20},
        "samples": 3,
        "judges": [GUARD],
        "output": str(folder / "set"),
    }
    return read_config_as(BuildConfig, None, usual | keys)


def safe(item: SampleSpec) -> dict[str, Any]:
    """Every response is safe and whole."""
    return {}


def answered(config: BuildConfig, response: Response = safe, rows_a_file: int = 16) -> BuildConfig:
    """The config itself, with all responses in its run's folder: safe ones, where `response` says nothing else.

    Its key `unsafe` is the verdict of the guard.
    """
    drawn = draw_for(config)
    run_config = config.run_config(config.output)
    run = resolve(run_config, {drawn.prompts.name: drawn.prompts})
    folder = RunFolder(open_folder(run_config.output or ""))
    RunRecord.opened(folder, run_config, run)
    samples = [_sample(item, response(item)) for item in run.sample_specs]
    for start in range(0, len(samples), rows_a_file):
        folder.samples.write_parquet(f"part-{start:05}.parquet", samples_table(samples[start : start + rows_a_file]))
    return config


def _sample(item: SampleSpec, columns: dict[str, Any]) -> Any:
    unsafe = columns.pop("unsafe", False)
    usual = {
        "model": "demo-reasoner",
        "prompt_id": item.prompt.prompt_id,
        "category": item.prompt.category,
        "prompt": item.prompt.text,
        "sample_index": item.sample_index,
        "thought": f"A roof, they say. Try {item.sample_index}.",
        "answer": f"With slate number {item.sample_index}.",
        "verdicts": (verdict(unsafe, GUARD, score=0.1),),
    }
    return sample(item.setting, **(usual | columns))
