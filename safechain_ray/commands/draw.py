"""The prompts of a training set: read, kept apart from evaluation sets and from each other, drawn."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from safechain_ray import catalog
from safechain_ray.catalog.entries import DatasetEntry
from safechain_ray.config import BuildConfig, DatasetConfig, PromptsConfig
from safechain_ray.curation.draw import NOT_DRAWN, UNUSABLE, Draw, Objection, draw_prompts, no_objection
from safechain_ray.curation.overlap import NEAR_DUPLICATE, Overlap, reason_of
from safechain_ray.datasets.adhoc import copy_of, with_place
from safechain_ray.datasets.loading import COLUMN_FLAGS, PromptSet, fingerprint, load_prompts
from safechain_ray.errors import InputError
from safechain_ray.runs.resolve import dataset_entry
from safechain_ray.storage import redact

FLAGS = COLUMN_FLAGS | {
    "category_column": "--kind-column (prompts.kind_column in a config file); without one no kinds are balanced"
}


@dataclass(frozen=True)
class DrawnPrompts:
    """The prompts that are asked, and how they were drawn."""

    entry: DatasetEntry
    prompts: PromptSet
    draw: Draw
    evaluation: Mapping[str, str]
    """The fingerprint of each evaluation set that they don't overlap with, by its name."""
    config: BuildConfig

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What changes the draw, but for the prompts that there are."""
        config = self.config
        identity: dict[str, Any] = {"number": config.prompts.number, "seed": config.seed}
        if config.drop_near_duplicates or config.decontaminate:
            identity["similarity"] = config.similarity
            identity["drop_near_duplicates"] = config.drop_near_duplicates
            identity["decontaminate"] = dict(self.evaluation)
        return identity

    def left_out(self) -> Iterator[tuple[str, Mapping[str, int]]]:
        """Why prompts were not drawn, in the order in which it was asked, with how many of each kind."""
        reasons = [UNUSABLE, *map(reason_of, self.evaluation)]
        if self.config.drop_near_duplicates:
            reasons.append(NEAR_DUPLICATE)
        return ((reason, self.draw.left_out.get(reason, {})) for reason in (*reasons, NOT_DRAWN))


def draw_for(config: BuildConfig) -> DrawnPrompts:
    """Read the prompts and draw. Raises InputError for what can't be read, and where no prompt is left."""
    entry = _entry(config.prompts)
    evaluation = _evaluation_sets(config.decontaminate)
    everything = load_prompts(entry, flags=FLAGS)
    objection: Objection = no_objection
    if config.drop_near_duplicates or evaluation:
        texts = {name: [prompt.text for prompt in each.prompts] for name, each in evaluation.items()}
        objection = Overlap(config.similarity, config.drop_near_duplicates, texts)
    drawn = draw_prompts(everything.prompts, config.prompts.number, config.seed, objection)
    if not drawn.prompts:
        why = ", ".join(f"{sum(counts.values()):,} {reason}" for reason, counts in drawn.left_out.items() if counts)
        raise InputError(f"{everything.source} has no prompt to ask: {why}. Check its columns, and --decontaminate.")
    asked = PromptSet(entry.name, drawn.prompts, everything.source, fingerprint(drawn.prompts))
    return DrawnPrompts(entry, asked, drawn, {name: each.fingerprint for name, each in evaluation.items()}, config)


def _entry(prompts: PromptsConfig) -> DatasetEntry:
    entry = dataset_entry(prompts.dataset())
    if prompts.file is None:
        return entry
    if prompts.name not in catalog.datasets():
        raise InputError(
            f"prompts.file is a copy of a set of the catalog, and {redact(prompts.name)} is none. Give the file itself "
            "with --prompts."
        )
    copy = with_place(copy_of(entry, prompts.file), config=prompts.config, split=prompts.split)
    return copy.model_copy(update={"rows": None})


def _evaluation_sets(names: Sequence[str]) -> dict[str, PromptSet]:
    entries = [dataset_entry(DatasetConfig(name=name)) for name in names]
    short = [entry.name for entry in entries]
    if len(set(short)) < len(short):
        raise InputError(f"decontaminate: two sets have the same short name ({', '.join(short)}); rename a file.")
    return {entry.name: load_prompts(entry) for entry in entries}
