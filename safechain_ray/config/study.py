"""Configs of judge studies, of judges added to a finished run, of preference comparisons and of `doctor`."""

from pydantic import Field, model_validator

from safechain_ray.config.base import Config, refuse_repeats
from safechain_ray.config.parts import JudgeConfig, ModelConfig, ResourcesConfig
from safechain_ray.types import Part, VoteRule

PIECE_COUNTS = range(2, 101)
"""Numbers of pieces into which a thought can be divided."""


class StudyConfig(Config):
    """A judge study: labelled responses, and the judges that are held against the labels."""

    data: str = Field(description="catalog name, path, URI or Hugging Face id of the labelled responses")
    config: str | None = Field(None, description="of a hub set or folder: which config; the only one by default")
    split: str | None = Field(None, description="of a hub set or folder: which split; the only one by default")
    prompt_column: str = "prompt"
    response_column: str = "response"
    label_column: str = "label"
    unsafe_labels: tuple[str, ...] = Field((), description="labels that mean unsafe; all others mean safe")
    judges: tuple[JudgeConfig, ...] = Field(min_length=1)
    votes: tuple[VoteRule, ...] = Field((), description="votes over all the judges, two or more")
    output: str | None = Field(None, description="the study's folder: a local path or URI")
    resources: ResourcesConfig = ResourcesConfig()

    @model_validator(mode="after")
    def _no_repeats(self) -> "StudyConfig":
        refuse_repeats(judges=[judge.name for judge in self.judges], votes=list(self.votes))
        if self.votes and len(self.judges) == 1:
            raise ValueError("a vote needs two judges or more; name another one, or leave the vote out")
        return self


class JudgingConfig(Config):
    """Judges for a run that is finished."""

    judges: tuple[JudgeConfig, ...] = Field(min_length=1)
    parts: tuple[Part, ...] = Field(("response",), min_length=1, description="what every judge looks at")
    pieces: int | None = Field(
        None,
        ge=PIECE_COUNTS.start,
        le=PIECE_COUNTS.stop - 1,
        description="instead of parts: thoughts up to 1/N, 2/N ... of their length",
    )
    resources: ResourcesConfig = ResourcesConfig()

    @model_validator(mode="after")
    def _no_repeats(self) -> "JudgingConfig":
        refuse_repeats(judges=[judge.name for judge in self.judges], parts=list(self.parts))
        if self.pieces is not None and "parts" in self.model_fields_set:
            raise ValueError("pieces are pieces of thoughts: leave parts out, or judge them by a command of their own")
        return self


class CheckConfig(Config):
    """A model and judges that `doctor` checks."""

    model: ModelConfig | None = None
    judges: tuple[JudgeConfig, ...] = ()


class PreferenceConfig(Config):
    """A preference judge for two finished runs."""

    judge: JudgeConfig
    part: Part | None = Field(None, description="what is compared; the answer where both models have it apart")
    strategies: tuple[str, ...] = Field((), description="only settings of these; all that both runs have by default")
    output: str | None = Field(None, description="the folder of the preferences: a local path or URI")
    resources: ResourcesConfig = ResourcesConfig()
