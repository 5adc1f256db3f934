"""What a run's metrics are about: its settings, who judged what, and how many prompts there should be."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from safechain_ray import catalog
from safechain_ray.catalog.entries import Entry, Family
from safechain_ray.metrics.counts import Counts, count_table, count_verdicts, merge
from safechain_ray.metrics.summary import RunMetrics, summarise
from safechain_ray.pipelines.runs.run_folder import RunFolder
from safechain_ray.schema import Part, Setting

Asked = tuple[tuple[str, Part], ...]
"""(judge, part) pairs, of each of which every sample should have a verdict."""


@dataclass(frozen=True, slots=True)
class Outline:
    """A run without its rows, as its run.json tells it.

    `fingerprints` are hashes of the prompts by data set; `judge_identities` say how each judge and vote decides.
    """

    model: str
    family: Family
    settings: tuple[Setting, ...]
    expected_prompts: Mapping[str, int]
    fingerprints: Mapping[str, str]
    asked: Asked
    added: Asked
    judge_identities: Mapping[str, Any]
    refusal_judges: tuple[str, ...] = ()

    @classmethod
    def of(cls, run: Mapping[str, Any]) -> "Outline":
        """The outline in the content of a run.json."""
        identity = run["identity"]
        judges = {asked["name"]: asked for asked in (*identity["judges"], *identity.get("votes", ()))}
        added = run.get("added", {})
        judge_identities = {**judges, **{name: judge["identity"] for name, judge in added.items()}}
        return cls(
            model=identity["model"]["name"],
            family=Family.model_validate(identity["family"]),
            settings=tuple(map(Setting.model_validate, identity["settings"])),
            expected_prompts={name: dataset["prompts"] for name, dataset in run["datasets"].items()},
            fingerprints={name: dataset["hash"] for name, dataset in run["datasets"].items()},
            asked=tuple((name, part) for name in judges for part in identity["parts"]),
            added=tuple((name, part) for name, judge in added.items() for part in judge["parts"]),
            judge_identities=judge_identities,
            refusal_judges=tuple(
                name for name, judge in judge_identities.items() if judge.get("kind") == "refusal_match"
            ),
        )

    @property
    def caveats(self) -> tuple[str, ...]:
        """What the catalog wants said of the model and the judges."""
        judges = (catalog.judges().get(judge) for judge, _ in (*self.asked, *self.added))
        models = (catalog.models().get(self.model), catalog.api_models().get(self.model))
        entries: list[Entry | None] = [*models, *judges]
        return tuple(dict.fromkeys(entry.caveat for entry in entries if entry is not None and entry.caveat))


def counted(folder: RunFolder) -> Counts:
    """The counts of all samples in the folder, with the verdicts that were added later."""
    return merge(chain(map(count_table, folder.counted_samples()), map(count_verdicts, folder.added_verdicts())))


def measure(folder: RunFolder, outline: Outline) -> RunMetrics:
    """The metrics over all samples in the folder, with the verdicts that were added later."""
    asked = (*outline.asked, *outline.added)
    metrics = summarise(counted(folder), outline.settings, asked, outline.expected_prompts)
    return metrics.model_copy(update={"model": outline.model, "caveats": outline.caveats})
