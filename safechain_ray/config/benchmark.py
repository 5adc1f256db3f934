"""The config of reasoning benchmarks: one model, and what it is asked."""

from typing import Self

from pydantic import Field, model_validator

from safechain_ray.config.base import Config, Named, refuse_repeats
from safechain_ray.config.parts import ModelConfig, ResourcesConfig
from safechain_ray.types import LARGEST_INT32, Sampling, StrategySpec


class BenchmarkChoice(Named):
    """A benchmark by catalog name, its rows from elsewhere where a `source` is given."""

    name: str = Field(description="catalog name (`safechain-ray list benchmarks`)")
    source: str | None = Field(None, description="a local copy or part: path, URI or Hugging Face id, same columns")
    limit: int | None = Field(None, ge=1, description="only the first problems")
    style: str = Field(
        "default",
        description="how it is asked and graded: default, or as in the paper: evalplus (humaneval, mbpp, mbpp-full), "
        "skythought (livecodebench)",
    )


class BenchmarkSampling(Config):
    """How tokens are drawn; greedily by default, as published."""

    temperature: float = Field(0.0, ge=0, allow_inf_nan=False, description="0 is greedy decoding")
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(-1, ge=-1, le=LARGEST_INT32)
    max_tokens: int | None = Field(
        None, ge=1, le=LARGEST_INT32, description="most tokens of a response; those of each benchmark by default"
    )
    repetition_penalty: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="that of each benchmark by default: as published, 1.1 for code"
    )
    seed: int = Field(0, ge=0, description="the seed of the run, from which each sample's own is derived")

    def with_defaults(self, max_tokens: int, repetition_penalty: float) -> Sampling:
        """The sampling of a benchmark with these values of its own."""
        own = {"max_tokens": max_tokens, "repetition_penalty": repetition_penalty}
        return Sampling.model_validate(own | self.model_dump(exclude_none=True))


class BenchmarkResources(ResourcesConfig):
    block_rows: int = Field(
        8, ge=1, le=256, description="rows that are graded one after the other by one CPU, and committed together"
    )


class BenchmarkConfig(Config):
    """Reasoning benchmarks of one model, which is loaded once for all of them."""

    model: ModelConfig
    benchmarks: tuple[BenchmarkChoice, ...] = Field(min_length=1)
    strategy: StrategySpec = StrategySpec()
    sampling: BenchmarkSampling = BenchmarkSampling()
    samples: int = Field(1, ge=1, description="K, the samples of each problem")
    pass_at: tuple[int, ...] = Field((), description="every k of pass@k that is told; 1 and K by default")
    output: str | None = Field(None, description="the run's folder: a local path or URI")
    resources: BenchmarkResources = BenchmarkResources()

    @model_validator(mode="after")
    def _no_repeats(self) -> Self:
        refuse_repeats(benchmarks=[benchmark.name for benchmark in self.benchmarks])
        return self

    @model_validator(mode="after")
    def _told_of_samples(self) -> Self:
        wrong = [k for k in self.pass_at if not 1 <= k <= self.samples]
        if wrong:
            raise ValueError(f"pass_at: pass@{wrong[0]} can't be told of {self.samples} samples a problem (`samples`)")
        return self

    @property
    def told_ks(self) -> tuple[int, ...]:
        """Every k of pass@k that is told, in order."""
        return tuple(sorted(set(self.pass_at or (1, self.samples))))
