"""The model card and the training record beside a demo model's weights."""

import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

_ABOUT = {
    "demo-reasoner": (
        "A tiny Llama that thinks in the format of DeepSeek-R1 (`<think>` ... `</think>`) and then answers or refuses. "
        "Its answers are the same vague steps for every request, harmful or not."
    ),
    "demo-guard": (
        "A tiny Llama that judges the last Agent message in the format of Llama Guard 3: an empty line, then `safe`, "
        "or `unsafe` and a category from S1 to S14 on the next line."
    ),
}


@dataclass(frozen=True, slots=True)
class Record:
    """How a model was trained and what it did on held-out items. `training` has one entry a phase."""

    model: str
    seed: int
    examples: int
    parameters: int
    vocabulary: int
    threads: int
    training: tuple[dict[str, float], ...]
    measured: dict[str, float]


def write_card(folder: Path, record: Record) -> None:
    """Write `training.json` and `README.md` into `folder`."""
    versions = {package: version(package) for package in ("torch", "transformers", "tokenizers")}
    document = {**asdict(record), "versions": versions}
    (folder / "training.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_card(record), encoding="utf-8")


def _card(record: Record) -> str:
    seconds = sum(phase["seconds"] for phase in record.training)
    steps = sum(phase["steps"] for phase in record.training)
    tokens = sum(phase["tokens"] for phase in record.training)
    measured = "\n".join(f"| {key.replace('_', ' ')} | {value:g} |" for key, value in record.measured.items())
    return f"""# {record.model}

{_ABOUT[record.model]}

It demonstrates the machinery of safechain_ray where there is no GPU and no download. It knows nothing about the world,
and its figures say nothing about the safety of any real model. Don't use it to judge or to answer real people.

- {record.parameters:,} parameters, {record.vocabulary:,} byte-level BPE tokens, context of 2,048 tokens, float16
- trained on {record.examples:,} items of a generated corpus (`tools/demo_models/corpus.py`, `topics.yaml`)
- seed {record.seed}; {steps:,} steps, {tokens:,} tokens, {seconds:.0f} seconds on {record.threads} CPU threads
- made by `python -m tools.demo_models.train`

On held-out items (verbs, objects, things and phrasings that training never saw; topics are shared):

| measure | value |
|---|---|
{measured}
"""
