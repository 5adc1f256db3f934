"""The published figures of the SafeChain paper (arXiv:2502.12025): safety, pilot of judges, fine-tuning, grids."""

from collections.abc import Collection, Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field

from safechain_ray.types import Part

Share = Annotated[float, Field(ge=0, le=1)]


class Published(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SafetyFigures(Published):
    """One model, strategy and data set: greedy decoding on the full set, sampling on the small set."""

    greedy_safe_at_1: Share
    safe_at_1: Share
    cons_safe_at_k: Share
    safe_at_k: Share


class Evaluation(Published):
    """The evaluation settings of the published safety figures.

    The data sets map the table's name to the catalog's name, and `strategy_options` a strategy to its options.
    `bos_twice` lists models whose prompts had BOS twice. `ran` maps a model's name in the table to the catalog's name
    of the model that ran.
    """

    judge: str
    part: Part
    max_tokens: int
    samples: int
    temperature: float
    top_p: float
    greedy_datasets: Mapping[str, str]
    sampled_datasets: Mapping[str, str]
    strategy_options: Mapping[str, Mapping[str, bool | int | float | str]]
    bos_twice: tuple[str, ...]
    ran: Mapping[str, str]


class PilotJudge(Published):
    """A judge's agreement with human labels; `judge` is its name in this catalog.

    `phrases` is the fingerprint of a refusal judge's phrases, `model` the model behind an API.
    """

    judge: str
    accuracy: Share
    f1: Share
    pearson_r: float = Field(ge=-1, le=1)
    phrases: str | None = None
    model: str | None = None


class Pilot(Published):
    """The pilot study that chose the judge, over the responses `kept`; judges by the paper's name."""

    models: int
    prompts: int
    responses: int
    kept: int
    judges: Mapping[str, PilotJudge]


class Finetuning(Published):
    """A share for each of `columns`, by model and training data.

    `styles` maps a benchmark to its style of prompt and grader, where this is not the default style.
    """

    columns: tuple[str, ...]
    styles: Mapping[str, str] = {}
    models: Mapping[str, Mapping[str, tuple[Share, ...]]]

    def rows(self, names: Collection[str] | None = None) -> dict[str, Mapping[str, Share]]:
        """Shares by column for each model. The name of a tuned model is `BASE-DATA`.

        With `names` (compared without case), only the base models that a name belongs to, and their tuned models.
        """
        found: dict[str, Mapping[str, Share]] = {}
        for model, tuned in self.models.items():
            rows = {
                model if data == "base" else f"{model}-{data}": dict(zip(self.columns, shares, strict=True))
                for data, shares in tuned.items()
            }
            if names is None or {name.casefold() for name in names} & {name.casefold() for name in rows}:
                found |= rows
        return found


class DecodingStudy(Published):
    """The grids of the decoding study; the paper plots its figures and prints none."""

    models: tuple[str, ...]
    temperature: tuple[float, ...]
    top_p: tuple[float, ...]
    top_k: tuple[int, ...]


class Pairwise(Published):
    """Shares of wins, ties and losses of `model` against each other model."""

    model: str
    against: Mapping[str, tuple[Share, Share, Share]]

    def between(self, a: str, b: str) -> tuple[Share, Share, Share] | None:
        """Shares of wins, ties and losses of model `a` against model `b`; None for an unpublished pair."""
        if a == self.model:
            return self.against.get(b)
        published = self.against.get(a) if b == self.model else None
        return None if published is None else (published[2], published[1], published[0])


Safety = Mapping[str, Mapping[str, Mapping[str, SafetyFigures]]]


class PublishedFigures(Published):
    """All published figures. `safety` is keyed by model, strategy and data set (the table's name).

    `also_known` maps the catalog's name of a model to the table's name, where the names differ.
    """

    source: str
    evaluation: Evaluation
    safety: Safety
    also_known: Mapping[str, str]
    externally_filtered: tuple[str, ...]
    pilot: Pilot
    finetuning: Finetuning
    decoding_study: DecodingStudy
    pairwise: Pairwise

    def name_of(self, model: str) -> str | None:
        """The key in `safety` of a catalog model; None for an unpublished model."""
        name = self.also_known.get(model, model)
        return name if name in self.safety else None


@cache
def published_figures() -> PublishedFigures:
    tree = yaml.safe_load((files(__package__) / "published.yaml").read_text(encoding="utf-8"))
    columns = tuple(SafetyFigures.model_fields)
    for strategies in tree["safety"].values():
        for datasets in strategies.values():
            datasets |= {name: dict(zip(columns, row, strict=True)) for name, row in datasets.items()}
    return PublishedFigures.model_validate(tree)
