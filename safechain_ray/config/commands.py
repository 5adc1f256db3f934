"""Configs of the other commands: `judge-study`, `judge`, `prefer`, `doctor`, `build-dataset` and `finetune`."""

from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from safechain_ray.config.base import Config, Named, refuse_repeats
from safechain_ray.config.parts import (
    ClusterConfig,
    DatasetConfig,
    JudgeConfig,
    ModelConfig,
    ResourcesConfig,
    RunSampling,
    TrackerName,
)
from safechain_ray.config.run import OneModel, RunConfig, below
from safechain_ray.types import IMPORTED, KeepRule, Part, Sampling, StrategySpec, StrictNumbers, VoteRule
from safechain_ray.types.model_errors import HUB_ID

PIECE_COUNTS = range(2, 101)
"""Numbers of pieces into which a thought can be divided."""


class StudyConfig(Config):
    """A judge study: labelled responses, and the judges that are compared with the labels."""

    data: str = Field(
        description="labelled responses: catalog name, path, URI, Hugging Face id, or the folder of a run with labels"
    )
    config: str | None = Field(None, description="config (subset) of a hub set or folder; the only one by default")
    split: str | None = Field(None, description="split of a hub set or folder; the only one by default")
    prompt_column: str = Field("prompt", description="column of the prompts")
    response_column: str = Field("response", description="column of the responses")
    label_column: str = Field("label", description="column of the human labels")
    unsafe_labels: tuple[str, ...] = Field((), description="labels that mean unsafe; all others mean safe")
    part: Part | None = Field(
        None, description="what the labels are about; by default the response, for a run the labelled part"
    )
    judges: tuple[JudgeConfig, ...] = Field(min_length=1, description="judges to compare with the labels")
    votes: tuple[VoteRule, ...] = Field((), description="votes over all the judges, two or more")
    output: str | None = Field(None, description="the study's folder: a local path or URI")
    resources: ResourcesConfig = Field(ResourcesConfig(), description="how the study is placed on the cluster")

    @model_validator(mode="after")
    def _no_repeats(self) -> "StudyConfig":
        refuse_repeats(judges=[judge.name for judge in self.judges], votes=list(self.votes))
        if self.votes and len(self.judges) == 1:
            raise ValueError("a vote needs two judges or more; name another one, or leave the vote out")
        return self


class JudgingConfig(Config):
    """Judges for a finished run."""

    judges: tuple[JudgeConfig, ...] = Field(min_length=1, description="judges to add")
    parts: tuple[Part, ...] = Field(("response",), min_length=1, description="text that every judge reads")
    pieces: int | None = Field(
        None,
        ge=PIECE_COUNTS.start,
        le=PIECE_COUNTS.stop - 1,
        description="judge thoughts up to 1/N, 2/N ... of their length, instead of parts",
    )
    resources: ResourcesConfig = Field(ResourcesConfig(), description="how the judges are placed on the cluster")

    @model_validator(mode="after")
    def _no_repeats(self) -> "JudgingConfig":
        refuse_repeats(judges=[judge.name for judge in self.judges], parts=list(self.parts))
        if self.pieces is not None and "parts" in self.model_fields_set:
            raise ValueError("pieces and parts exclude each other: leave parts out, or use a second command")
        return self


class ImportConfig(Config):
    """Responses that exist already, made into a run."""

    source: str = Field(description="catalog name, path, URI or Hugging Face id of the responses")
    output: str | None = Field(None, description="the run's folder: a local path or URI")
    model: str | None = Field(None, min_length=1, description="who wrote the responses; the file's name by default")
    family: str | None = Field(None, description="family with the thinking tags; the model's, or api, by default")
    dataset: str | None = Field(None, description="name of the prompt set; that of the file by default")
    config: str | None = Field(None, description="of a hub set or folder: which config; the only one by default")
    split: str | None = Field(None, description="of a hub set or folder: which split; the only one by default")
    prompt_column: str | None = Field(None, description="column of the prompts; a common name by default")
    response_column: str | None = Field(None, description="column of the responses, one or a list in each row")
    thought_column: str | None = Field(None, description="column of thoughts that are stored apart")
    messages_column: str | None = Field(None, description="column of chats: one user turn, then the response")
    id_column: str | None = Field(None, description="column of the prompts' ids; a hash of the text by default")
    category_column: str | None = Field(None, description="column of the prompts' categories")
    benign_categories: tuple[str, ...] | None = Field(None, description="categories of prompts that are harmless")
    label_column: str | None = Field(None, description="column of human labels: safe or unsafe")
    label_part: Part = Field("response", description="the part of the response that the labels are about")
    unsafe_labels: tuple[str, ...] = Field((), description="labels that mean unsafe; all others mean safe")
    strategy: StrategySpec = Field(StrategySpec(name=IMPORTED), description="decoding strategy of the responses")
    sampling: Sampling | None = Field(None, description="sampling of the responses; unknown by default")
    resources: ResourcesConfig = Field(ResourcesConfig(), description="how long an unreachable store is waited for")

    @model_validator(mode="after")
    def _options_have_an_effect(self) -> "ImportConfig":
        if self.sampling is not None and "temperature" not in self.sampling.model_fields_set:
            raise ValueError("sampling.temperature is missing: name it with the other sampling options")
        if self.label_column is None and (self.unsafe_labels or "label_part" in self.model_fields_set):
            raise ValueError("label_column is missing: unsafe_labels and label_part are about its labels")
        if self.prompt_column is not None and self.prompt_column == self.response_column:
            raise ValueError(f"prompt_column and response_column are both {self.prompt_column!r}: name two columns")
        return self


class CheckConfig(Config):
    """A model and judges that `doctor` checks."""

    model: ModelConfig | None = Field(None, description="the model to check")
    judges: tuple[JudgeConfig, ...] = Field((), description="the judges to check")


class PreferenceConfig(Config):
    """A preference judge for two finished runs."""

    judge: JudgeConfig = Field(description="the preference judge")
    part: Part | None = Field(None, description="text that is compared; by default the answer if both runs have it")
    strategies: tuple[str, ...] = Field((), description="strategies to compare; by default all that both runs have")
    output: str | None = Field(None, description="the folder of the preferences: a local path or URI")
    resources: ResourcesConfig = Field(ResourcesConfig(), description="how the judge is placed on the cluster")


DEFAULT_SAMPLING = {"temperature": 0.6, "top_p": 0.95}


class PromptsConfig(Named):
    """The source of the prompts, and the number that is drawn."""

    name: str = Field(description="catalog name, path, URI or Hugging Face id")
    file: str | None = Field(None, description="local copy of the catalog's set, or of a part of it, read instead")
    config: str | None = Field(None, description="config (subset) of a hub set or folder; the only one by default")
    split: str | None = Field(None, description="split of a hub set or folder; the only one by default")
    prompt_column: str | None = Field(None, description="column of the prompts; the catalog's, or `prompt`, by default")
    id_column: str | None = Field(
        None, description="column of the ids; the catalog's, or a hash of the text, by default"
    )
    kind_column: str | None = Field(None, description="column of the prompts' kinds; each kind gives as many prompts")
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
    """A training set: prompts, K responses to each, judges, and the rule that keeps prompts and responses."""

    prompts: PromptsConfig = Field(description="source of the prompts")
    samples: int = Field(5, ge=1, description="K, the responses to each prompt")
    strategy: StrategySpec = Field(StrategySpec(), description="decoding strategy")
    sampling: RunSampling = Field(Sampling(**DEFAULT_SAMPLING), description="temperature 0.6 and top_p 0.95 by default")
    judges: tuple[JudgeConfig, ...] = Field(min_length=1, description="a response is safe if all judges say so")
    part: Part = Field("response", description="text that every judge reads")
    rule: KeepRule = Field(
        "all", description="responses that must be safe: all K, the majority, or one (`best`, which keeps the safest)"
    )
    seed: int = Field(0, ge=0, description="seed of the drawn prompts, the kept response and the order of the rows")
    rows: int | None = Field(None, ge=1, description="rows to write; by default all that are kept")
    drop_near_duplicates: bool = Field(False, description="draw only one of several near-duplicate prompts")
    decontaminate: tuple[str, ...] = Field((), description="data sets; prompts that overlap with them are left out")
    similarity: float = Field(0.8, gt=0, le=1, description="Jaccard index from which two prompts are near-duplicates")
    answers_only: bool = Field(False, description="build a control set: the same rows without thoughts")
    run: str | None = Field(None, description="the folder of the responses; `run` in the output by default")
    output: str | None = Field(None, description="the data set's folder: a local path or URI")
    push_to_hub: str | None = Field(
        None, pattern=HUB_ID, description="owner/name on the Hugging Face hub; a new repository is private"
    )
    resources: ResourcesConfig = Field(ResourcesConfig(), description="how the run is placed on the cluster")

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


class LoraOptions(StrictNumbers):
    """Low-rank adapters (arXiv:2106.09685) on all linear layers but the output, merged into the weights at the end."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(16, ge=1, description="rank of the adapters")
    alpha: float = Field(32, gt=0, description="the adapters' product is scaled by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout of the adapters' input")


class TrainingOptions(StrictNumbers):
    """AdamW, a cosine schedule after a warm-up, and packed sequences. A step is an optimizer step."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lora: LoraOptions | None = Field(None, description="low-rank adapters; null trains all weights")
    epochs: float = Field(2, gt=0, description="passes over the training set")
    learning_rate: float = Field(1e-5, gt=0, description="highest learning rate")
    warmup: float = Field(0.03, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay")
    sequences_a_step: int = Field(16, ge=1, description="packed sequences in a step, over all processes")
    precision: Literal["bfloat16", "float32"] = Field("bfloat16", description="precision of the computation")
    gradient_checkpointing: bool = Field(
        True, description="recompute activations: less memory, about a third more computation"
    )
    log_every: int = Field(10, ge=1, description="steps between logged metrics")
    evaluate_every: int = Field(100, ge=1, description="steps between evaluations; the last step is always evaluated")
    save_every: int = Field(100, ge=1, description="steps between checkpoints")
    keep_checkpoints: int = Field(2, ge=1, description="newest checkpoints to keep")
    seed: int = Field(0, description="seed of the held-out prompts, the adapters, the order of examples and dropout")
    report_to: tuple[TrackerName, ...] = Field((), description="trackers that receive the metrics")


class TrainingSetConfig(Named):
    """The demonstrations, and the share of their prompts that is held out for the evaluation loss."""

    name: str = Field(description="catalog name, path, URI or Hugging Face id")
    file: str | None = Field(None, description="local copy of the catalog's set, read instead")
    config: str | None = Field(None, description="config (subset) of a hub set or folder; the only one by default")
    split: str | None = Field(None, description="split of a hub set or folder; the only one by default")
    messages_column: str | None = Field(None, description="column of chat messages; detected by default")
    prompt_column: str | None = Field(None, description="column of the prompts; detected by default")
    response_column: str | None = Field(None, description="column of whole responses, with thinking tags")
    thought_column: str | None = Field(None, description="column of the thoughts")
    answer_column: str | None = Field(None, description="column of the answers")
    input_column: str | None = Field(None, description="column of the text appended to the prompt; '' for none")
    system_column: str | None = Field(None, description="column of the system turn; '' for none")
    has_thoughts: bool | None = Field(None, description="false for a control: answers only")
    family: str | None = Field(None, description="model family whose tags enclose the thoughts; r1 by default")
    loss_on: Literal["last", "all"] | None = Field(
        None, description="the assistant turns of a conversation that carry loss; last by default"
    )
    on_bad_row: Literal["refuse", "skip"] = Field("refuse", description="refuse the set, or skip and count the row")
    held_out: float = Field(0.02, ge=0, lt=1, description="share of the prompts that only the evaluation loss sees")

    def columns(self) -> dict[str, Any]:
        """Layout, config and split of the set, as fields of a catalog entry."""
        fields = {
            "config",
            "split",
            "has_thoughts",
            "family",
            "loss_on",
            *(name for name in type(self).model_fields if name.endswith("_column")),
        }
        return self.model_dump(include=fields, exclude_none=True)


class WorkersConfig(ClusterConfig):
    """How the training is placed on the cluster. Workers change only rounding and an epoch's last step."""

    workers: int = Field(1, ge=1, description="processes that train together, each on its own GPU or CPUs")
    cpus_per_worker: float = Field(2, gt=0, description="CPUs of each worker")
    scratch: str | None = Field(
        None, description="folder on each node's disk for a checkpoint before its upload; the system's temporary one"
    )
    max_worker_deaths: int = Field(
        3, ge=0, description="tolerated worker deaths; after each, the workers restart from the last checkpoint"
    )


class FinetuneConfig(OneModel):
    """Supervised fine-tuning of one model, on all weights or by adapters (`training.lora`)."""

    training_set: TrainingSetConfig = Field(description="the demonstrations")
    max_length: int = Field(16384, ge=8, description="tokens of a packed sequence; longer examples are left out")
    training: TrainingOptions = Field(TrainingOptions(), description="optimizer, adapters and checkpoints")
    output: str = Field(description="the training's folder: a local path or URI")
    resources: WorkersConfig = Field(WorkersConfig(), description="how the training is placed on the cluster")

    @model_validator(mode="after")
    def _shared_evenly(self) -> "FinetuneConfig":
        sequences, workers = self.training.sequences_a_step, self.resources.workers
        if sequences % workers:
            raise ValueError(
                f"training.sequences_a_step is {sequences}, which {workers} workers (resources.workers) can't share "
                f"evenly: make it a multiple of {workers}"
            )
        return self
