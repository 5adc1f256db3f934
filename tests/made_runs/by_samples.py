"""Finished runs in a folder, made of given samples: what a report is made from, without engines."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from safechain_ray import testing
from safechain_ray.metrics.counts import count_samples
from safechain_ray.metrics.summary import RunMetrics, summarise
from safechain_ray.runs.folder import RunFolder
from safechain_ray.storage import open_folder
from safechain_ray.types import Outcome, Part, Sample, Sampling, Setting, samples_table
from tests.made_runs.stored import write_tree

ROWS_A_FILE = 64
CATEGORIES = ("Violence", "Fraud & theft", "Privacy")
WORDS = "Pass the salt, count the boats, fix the roof, read the map and sing of rivers, gardens, winters and bread."


def setting(strategy: str = "default", samples: int = 2, dataset: str = "small", **sampling: Any) -> Setting:
    drawn = {"temperature": 0.6, "top_p": 0.95} | sampling
    return Setting(dataset=dataset, strategy=strategy, sampling=Sampling(**drawn), samples=samples)


def sample(of: Setting, prompt: int, index: int = 0, /, **columns: Any) -> Sample:
    """A finished sample of this setting; `columns` win."""
    usual = {
        "prompt_id": f"prompt-{prompt}",
        "category": CATEGORIES[prompt % len(CATEGORIES)],
        "prompt": f"How does one do number {prompt}?",
        "sample_index": index,
        "thought": f"Thinking of {prompt}.",
        "answer": f"Answer {prompt}-{index}: {WORDS}",
        "verdicts": (testing.verdict(False, score=0.1),),
    }
    return testing.sample(of, **(usual | columns))


def varied(settings: Sequence[Setting], prompts: int) -> list[Sample]:
    """Samples with every outcome, verdict and disagreement, by rules of their numbers; guard and match judge."""
    return [
        _varied(each, prompt, index) for each in settings for prompt in range(prompts) for index in range(each.samples)
    ]


def _varied(of: Setting, prompt: int, index: int) -> Sample:
    number = 7 * prompt + 3 * index + len(of.strategy.name)
    outcomes: dict[int, Outcome] = {3: "truncated", 11: "blocked", 17: "error"}
    outcome = outcomes.get(number % 23, "ok")
    if outcome in ("blocked", "error"):
        lost: dict[str, Any] = {"thought": None, "answer": None, "response": None, "error": "the provider said no"}
        return sample(of, prompt, index, outcome=outcome, finish_reason=None, verdicts=(), **lost)
    verdicts = tuple(
        testing.verdict(None, judge, part, error="it spoke in riddles")
        if (number + place) % 19 == 0
        else testing.verdict((number + place) % every == 0, judge, part, score=0.5, categories=("S1",) if place else ())
        for place, (judge, part, every) in enumerate(_JUDGES)
    )
    return sample(of, prompt, index, outcome=outcome, verdicts=verdicts)


_JUDGES: tuple[tuple[str, Part, int], ...] = (
    ("guard", "response", 3),
    ("match", "response", 4),
    ("guard", "thought", 5),
)
ASKED = tuple((judge, part) for judge, part, _ in _JUDGES)


def write_run(
    folder: Path,
    settings: Sequence[Setting],
    samples: Sequence[Sample],
    asked: Sequence[tuple[str, Part]] = ASKED,
    **run: Any,
) -> RunMetrics:
    """The folder of a finished run of `samples`; `run` goes into its run.json."""
    stored = RunFolder(open_folder(str(folder)))
    for start in range(0, len(samples), ROWS_A_FILE):
        table = samples_table(samples[start : start + ROWS_A_FILE])
        stored.samples.write_parquet(f"part-{start:08}.parquet", table)
    metrics = summarise(count_samples(samples), settings, asked).model_copy(update={"model": "tiny"})
    stored.folder.write_text("metrics.json", metrics.model_dump_json(indent=2))
    write_tree(stored, _record(settings, asked, len(samples)) | run)
    return metrics


def _record(settings: Sequence[Setting], asked: Sequence[tuple[str, Part]], rows: int) -> dict[str, Any]:
    judges = dict.fromkeys(judge for judge, _ in asked)
    return {
        "identity": {
            "model": {"name": "tiny", "source": "org/tiny", "revision": "0123456789abcdef", "dtype": "bfloat16"},
            "family": {"name": "r1", "tags": None, "system_prompt": None},
            "settings": [each.model_dump() for each in settings],
            "judges": [{"name": judge, "kind": "llama_guard"} for judge in judges],
            "parts": list(dict.fromkeys(part for _, part in asked)),
        },
        "config": {"model": {"name": "tiny"}, "samples": settings[0].samples},
        "datasets": {each.dataset: {"source": "small.csv", "prompts": rows, "hash": "0"} for each in settings},
        "rows": rows,
        "safechain_ray": "0.1.0",
        "git_revision": None,
        "tries": [
            {
                "started": "2026-11-21T10:00:00+00:00",
                "ended": "2026-11-21T10:12:30+00:00",
                "status": "done",
                "rows_found": 0,
                "stages": [],
                "hardware": [{"node": "gpu-1", "cpus": 8.0, "gpus": 1, "memory_gigabytes": 64.0}],
                "versions": {"python": "3.11.7", "vllm": "0.32.0"},
                "pools": {"model": {"rows_in": rows, "tokens": 1000}},
            }
        ],
        "finished": "2026-11-21T10:13:00+00:00",
        "tokens": {"prompt": 10, "thought": 20, "answer": 30},
    }


def frame(samples: Sequence[Sample]) -> pd.DataFrame:
    """The samples for pandas, with a column of verdict (safe, unsafe, missing) for each of `ASKED`."""
    table = pd.DataFrame({"setting_id": [each.setting_id for each in samples]})
    for name in ("sample_id", "prompt_id", "category", "outcome", "sample_index", "prompt", "thought", "answer"):
        table[name] = [getattr(each, name) for each in samples]
    for judge, part in ASKED:
        table[f"{judge} {part}"] = [_said(each, judge, part) for each in samples]
    return table


def _said(each: Sample, judge: str, part: str) -> str:
    said = {(verdict.judge, verdict.part): verdict.unsafe for verdict in each.verdicts}.get((judge, part))
    return {True: "unsafe", False: "safe", None: "missing"}[said]
