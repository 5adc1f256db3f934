"""Two finished runs to be compared by preference, written without a cluster."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from safechain_ray.catalog import families
from safechain_ray.storage import open_folder
from safechain_ray.testing import sample
from safechain_ray.types import Sample, Setting, samples_table

SETTING = Setting(dataset="quickstart")

Answers = Mapping[str, Sequence[str | None]]
"""By prompt_id, the answers to it; None is a sample that ended with an error."""


def finished_run(
    folder: Path,
    answers: Answers | Sequence[tuple[Setting, Answers]],
    model: str = "demo-reasoner",
    family: str = "demo",
    prompts: Mapping[str, str] | None = None,
) -> Path:
    """A run with these answers in each setting (`SETTING` where none is named), two samples a file.

    A prompt asks "How <prompt_id>?" unless `prompts` says otherwise; its category is the first letter of its id.
    """
    by_setting = [(SETTING, answers)] if isinstance(answers, Mapping) else answers
    identity = {
        "model": {"name": model},
        "family": families()[family].model_dump(),
        "settings": [setting.model_dump() for setting, _ in by_setting],
        "judges": [],
        "parts": ["response"],
    }
    datasets = {setting.dataset: {"prompts": len(each), "hash": "h"} for setting, each in by_setting}
    run = {"identity": identity, "datasets": datasets, "finished": "2026-01-01T00:00:00+00:00"}
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(run))
    tagged = families()[family].tags is not None
    samples = [
        _sample(setting, prompt_id, index, answer, tagged, (prompts or {}).get(prompt_id, f"How {prompt_id}?"))
        for setting, each in by_setting
        for prompt_id, texts in each.items()
        for index, answer in enumerate(texts)
    ]
    stored = open_folder(str(folder / "samples"))
    for start in range(0, len(samples), 2):
        stored.write_parquet(f"part-{start:04}.parquet", samples_table(samples[start : start + 2]))
    return folder


def _sample(setting: Setting, prompt_id: str, index: int, answer: str | None, tagged: bool, prompt: str) -> Sample:
    nothing = dict.fromkeys(("thought", "answer", "response", "thought_tokens", "answer_tokens"))
    found = sample(
        setting,
        prompt_id=prompt_id,
        category=prompt_id[0],
        prompt=prompt,
        sample_index=index,
        thought="Hm." if tagged else None,
        answer=answer if tagged else None,
        response=f"<think>\nHm.\n</think>\n\n{answer}" if tagged else answer,
    )
    return found if answer is not None else replace(found, **nothing, outcome="error")
