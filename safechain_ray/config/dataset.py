"""The config of `build-dataset`: prompts, model, judges, and the rule that selects prompts and responses."""

from typing import Any

from pydantic import Field, field_validator, model_validator

from safechain_ray.config.base import Named, refuse_repeats
from safechain_ray.config.parts import DatasetConfig, JudgeConfig, ResourcesConfig
from safechain_ray.config.run import OneModel, RunConfig, below
from safechain_ray.types import KeepRule, Part, Sampling, StrategySpec

DEFAULT_SAMPLING = {"temperature": 0.6, "top_p": 0.95}

HUB_ID = r"^[\w.-]+/[\w.-]+$"


class PromptsConfig(Named):
    """Where the prompts come from, and how many of them are drawn."""

    name: str = Field(description="catalog name, path, URI or Hugging Face id")
    file: str | None = Field(None, description="a copy of the catalog's set, whole or a part, read in its place")
    config: str | None = Field(None, description="of a hub set or folder: which config; the only one by default")
    split: str | None = Field(None, description="of a hub set or folder: which split; the only one by default")
    prompt_column: str | None = None
    id_column: str | None = None
    kind_column: str | None = Field(None, description="column of the kinds, of which equally many are drawn")
    number: int | None = Field(None, ge=1, description="prompts to draw; all of them by default")

    def dataset(self) -> DatasetConfig:
        """The prompts as a data set of a run."""
        return DatasetConfig(
            name=self.name,
            config=self.config,
            split=self.split,
            prompt_column=self.prompt_column,
            id_column=self.id_column,
            category_column=self.kind_column,
        )


class BuildConfig(OneModel):
    """A training set: prompts, K responses to each, judges, and the rule by which prompts and responses are kept."""

    prompts: PromptsConfig
    samples: int = Field(5, ge=1, description="K, the responses to each prompt")
    strategy: StrategySpec = StrategySpec()
    sampling: Sampling = Field(Sampling(**DEFAULT_SAMPLING), description="temperature 0.6 and top_p 0.95 by default")
    judges: tuple[JudgeConfig, ...] = Field(min_length=1, description="a response is safe where all of them say so")
    part: Part = Field("response", description="what every judge looks at")
    rule: KeepRule = Field(
        "all", description="responses that must be safe: all K, more than half, or one, of which the safest is kept"
    )
    seed: int = Field(0, ge=0, description="draws the prompts, the response to keep, and the order of the rows")
    rows: int | None = Field(None, ge=1, description="rows that are wanted; all that are kept by default")
    drop_near_duplicates: bool = Field(False, description="of prompts that are alike draw only one")
    decontaminate: tuple[str, ...] = Field((), description="evaluation sets that no prompt may overlap with")
    similarity: float = Field(0.8, gt=0, le=1, description="Jaccard index from which on two prompts are alike")
    answers_only: bool = Field(False, description="a control: the same rows, without their thoughts")
    run: str | None = Field(None, description="the folder of the responses; `run` in the output by default")
    output: str | None = Field(None, description="the data set's folder: a local path or URI")
    push_to_hub: str | None = Field(None, pattern=HUB_ID, description="owner/name on the Hugging Face hub, private")
    resources: ResourcesConfig = ResourcesConfig()

    @field_validator("sampling", mode="before")
    @classmethod
    def _default_sampling(cls, value: Any) -> Any:
        return DEFAULT_SAMPLING | value if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _no_repeats(self) -> "BuildConfig":
        refuse_repeats(judges=[judge.name for judge in self.judges], decontaminate=list(self.decontaminate))
        return self

    def run_config(self, output: str | None = None) -> RunConfig:
        """The config of the run that generates the responses, in a folder below `output`."""
        folder = None if output is None else self.run or below(output, "run")
        return RunConfig(
            model=self.model,
            datasets=(self.prompts.dataset(),),
            strategies=(self.strategy,),
            sampling=self.sampling,
            samples=self.samples,
            judges=self.judges,
            parts=(self.part,),
            output=folder,
            resources=self.resources,
        )
