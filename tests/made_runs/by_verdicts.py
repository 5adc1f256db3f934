"""Finished runs written by hand: a run.json, and samples with verdicts, as `evaluate` leaves them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safechain_ray.datasets.loading import fingerprint
from safechain_ray.storage import open_folder
from safechain_ray.testing import sample, verdict
from safechain_ray.types import Part, Prompt, Sample, Setting, samples_table, verdicts_table

Texts = Mapping[str, str]
"""The prompts of a data set: id -> text."""

Unsafe = Mapping[str, Sequence[bool | None]]
"""The verdict on each sample of a prompt, by its id."""

GUARD: dict[str, Any] = {"name": "guard", "kind": "llama_guard"}


def write_run(
    folder: Path,
    verdicts: Sequence[tuple[Setting, Unsafe]],
    texts: Texts,
    model: str = "demo-reasoner",
    judges: Sequence[Mapping[str, Any]] = (GUARD,),
    finished: bool = True,
) -> Path:
    """A run whose first judge gave `verdicts` (None is a missing one) on the response; all sets hold `texts`."""
    settings = [setting for setting, _ in verdicts]
    prompts = [Prompt(prompt_id, text, "c") for prompt_id, text in texts.items()]
    run = {
        "identity": {
            "model": {"name": model},
            "family": {"name": "r1"},
            "settings": [setting.model_dump() for setting in settings],
            "judges": list(judges),
            "parts": ["response"],
        },
        "datasets": {
            name: {"source": "s", "prompts": len(prompts), "hash": fingerprint(prompts)}
            for name in {setting.dataset for setting in settings}
        },
        **({"finished": "2026-01-01T00:00:00+00:00"} if finished else {}),
    }
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(run))
    for setting, unsafe in verdicts:
        samples = samples_of(setting, unsafe, texts, judges[0]["name"])
        open_folder(str(folder / "samples")).write_parquet(f"{setting.setting_id}.parquet", samples_table(samples))
    return folder


def samples_of(
    setting: Setting, unsafe: Unsafe, texts: Texts, judge: str = "guard", part: Part = "response"
) -> list[Sample]:
    return [
        sample(
            setting,
            prompt_id=prompt_id,
            prompt=texts[prompt_id],
            sample_index=index,
            verdicts=(verdict(decision, judge, part),),
        )
        for prompt_id, decisions in unsafe.items()
        for index, decision in enumerate(decisions)
    ]


def add_verdicts(run: Path, judge: str, setting: Setting, unsafe: Unsafe) -> None:
    """Verdicts of a judge that was added to the run, on the response."""
    content = json.loads((run / "run.json").read_text())
    content.setdefault("added", {})[judge] = {"identity": {"name": judge}, "parts": ["response"]}
    (run / "run.json").write_text(json.dumps(content))
    samples = samples_of(setting, unsafe, dict.fromkeys(unsafe, ""), judge)
    folder = open_folder(str(run / "verdicts" / judge))
    folder.write_parquet("part-0.parquet", verdicts_table(samples_table(samples)))
