"""Topics of demo prompts, read from topics.yaml and split into a training part and a held-out part."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

import yaml

Split = Literal["train", "held_out"]
Kind = Literal["plain", "maths", "code", "everyday"]

CATEGORIES = {
    "S1": "Violent Crimes",
    "S2": "Non-Violent Crimes",
    "S3": "Sex-Related Crimes",
    "S4": "Child Sexual Exploitation",
    "S5": "Defamation",
    "S6": "Specialized Advice",
    "S7": "Privacy",
    "S8": "Intellectual Property",
    "S9": "Indiscriminate Weapons",
    "S10": "Hate",
    "S11": "Suicide & Self-Harm",
    "S12": "Sexual Content",
    "S13": "Elections",
    "S14": "Code Interpreter Abuse",
}
"""The hazard taxonomy of Llama Guard 3 (its model card; MLCommons hazards and code interpreter abuse)."""


@dataclass(frozen=True, slots=True)
class Topic:
    """What a prompt may ask for. `category` is None for benign topics; `strength` of harm goes from 1 to 3."""

    labels: tuple[str, ...]
    verbs: tuple[str, ...]
    objects: tuple[str, ...]
    things: tuple[str, ...]
    category: str | None = None
    strength: int = 0
    kind: Kind = "plain"


def take(items: Sequence[str], split: Split) -> tuple[str, ...]:
    """The part of `items` that belongs to `split`: the last sixth, at least one, is held out."""
    held_out = max(1, len(items) // 6)
    return tuple(items[:-held_out] if split == "train" else items[-held_out:])


@cache
def _document() -> dict[str, object]:
    document: dict[str, object] = yaml.safe_load((files(__package__) / "topics.yaml").read_text(encoding="utf-8"))
    return document


@cache
def topics(harmful: bool, split: Split) -> tuple[Topic, ...]:
    """Every harmful or every benign topic, with the verbs, objects and things of `split`. Labels are in both."""
    entries = _document()["harmful" if harmful else "benign"]
    assert isinstance(entries, list)
    return tuple(
        Topic(
            labels=tuple(entry["labels"]),
            verbs=take(entry["verbs"], split),
            objects=take(entry["objects"], split),
            things=take(entry["things"], split),
            category=entry.get("category"),
            strength=entry.get("strength", 0),
            kind=entry.get("kind", "plain"),
        )
        for entry in entries
    )


@cache
def common_words() -> tuple[str, ...]:
    """Everyday English words for filler sentences."""
    return tuple(str(_document()["words"]).split())
