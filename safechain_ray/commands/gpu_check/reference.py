"""The reference of the GPU check: figures and texts of the demo models on a CPU, stored with the package.

It is made from a run of configs/quickstart.yaml:

    safechain-ray evaluate --config configs/quickstart.yaml --output runs/demo
    python -m safechain_ray.commands.gpu_check.reference runs/demo
"""

import asyncio
import gzip
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safechain_ray.catalog import models
from safechain_ray.commands.gpu_check.cases import GREEDY, RunningEngine, running_engine
from safechain_ray.config import RunConfig, read_config
from safechain_ray.metrics.intervals import Estimate
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.runs.folder import RunFolder, read_metrics
from safechain_ray.storage import open_folder
from safechain_ray.types import Request

FILE = "reference.json.gz"

INTERVAL_ERRORS = 2 * 1.96
"""Standard errors between the ends of a 95% interval."""

GREEDY_TOKENS = 300

QUICKSTART: Mapping[str, Any] = {
    "model": "demo-reasoner",
    "datasets": ["quickstart"],
    "strategies": [
        "default",
        "zerothink",
        "lessthink",
        {"name": "morethink", "max_rounds": 3, "think_budget": 400},
    ],
    "sampling": {"temperature": 0.6, "top_p": 0.95, "max_tokens": 600},
    "samples": 5,
    "judges": ["demo-guard", "refusal-match"],
    "resources.block_rows": 8,
}
"""configs/quickstart.yaml, which is not in an installed package."""


@dataclass(frozen=True, slots=True)
class Figure:
    """Safe@1 of a strategy by a judge, with its standard error."""

    strategy: str
    judge: str
    value: float
    error: float

    @classmethod
    def of(cls, strategy: str, judge: str, estimate: Estimate) -> "Figure":
        """From an estimate with its 95% interval. Raises ValueError for one without."""
        if estimate.value is None or estimate.low is None or estimate.high is None:
            raise ValueError(f"{strategy}, {judge}: no figure")
        return cls(strategy, judge, estimate.value, (estimate.high - estimate.low) / INTERVAL_ERRORS)


@dataclass(frozen=True, slots=True)
class Judged:
    """A stored response with the verdict of the demo guard."""

    prompt: str
    response: str
    unsafe: bool


@dataclass(frozen=True, slots=True)
class Reference:
    """`greedy` has the greedy text of each prompt."""

    figures: tuple[Figure, ...]
    greedy: Mapping[str, str]
    judged: tuple[Judged, ...]


def quickstart(**keys: Any) -> RunConfig:
    """The config of `make demo`, overridden by `keys`."""
    return read_config(None, {**QUICKSTART, **keys}, ())


def read_reference() -> Reference:
    content = json.loads(gzip.decompress((files(__package__) / FILE).read_bytes()))
    return Reference(
        tuple(Figure(**each) for each in content["figures"]),
        content["greedy"],
        tuple(Judged(**each) for each in content["judged"]),
    )


def figures_of(metrics: RunMetrics) -> tuple[Figure, ...]:
    """Safe@1 of each strategy by each judge."""
    return tuple(
        Figure.of(setting.strategy, judge.judge, judge.safe_at_1)
        for setting in metrics.settings
        for judge in setting.judges
    )


def greedy_texts(running: RunningEngine, prompts: tuple[str, ...]) -> dict[str, str]:
    requests = [Request(running.chat(prompt), GREEDY, max_tokens=GREEDY_TOKENS) for prompt in prompts]
    texts = (completion.text for completion in running.complete(*requests))
    return dict(zip(prompts, texts, strict=True))


def _judged(folder: RunFolder) -> Iterator[Judged]:
    """The samples of the default strategy with the guard's verdicts."""
    for table in folder.counted_samples(("strategy", "prompt", "response", "verdicts")):
        for row in table.to_pylist():
            if row["strategy"] == "default":
                (verdict,) = (verdict for verdict in row["verdicts"] if verdict["judge"] == "demo-guard")
                yield Judged(row["prompt"], row["response"], verdict["unsafe"])


def main(run: str) -> None:
    """Write the reference anew from a finished run, and from greedy texts of an engine on this machine's CPU."""
    judged = tuple(_judged(RunFolder(open_folder(run))))
    prompts = tuple(dict.fromkeys(each.prompt for each in judged))
    with TemporaryDirectory() as scratch, asyncio.Runner() as runner:
        log = Path(scratch, "engine.log")
        with running_engine(models()["demo-reasoner"], "cpu", log, runner.get_loop()) as running:
            greedy = greedy_texts(running, prompts)
    content = {
        "figures": [asdict(each) for each in figures_of(read_metrics(run))],
        "greedy": greedy,
        "judged": [asdict(each) for each in judged],
    }
    text = json.dumps(content, ensure_ascii=False, indent=0).encode()
    Path(__file__).with_name(FILE).write_bytes(gzip.compress(text, mtime=0))


if __name__ == "__main__":
    main(*sys.argv[1:])
