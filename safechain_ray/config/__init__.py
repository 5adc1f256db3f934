"""What a user asks for: configs of runs, sweeps, studies, benchmarks, training sets and training; YAML and flags."""

from safechain_ray.config.benchmark import BenchmarkChoice, BenchmarkConfig, BenchmarkSampling
from safechain_ray.config.dataset import BuildConfig, PromptsConfig
from safechain_ray.config.finetune import FinetuneConfig, TrainingSetConfig, WorkersConfig
from safechain_ray.config.parts import (
    ApiConfig,
    ClusterConfig,
    DatasetConfig,
    EndpointConfig,
    EngineConfig,
    JudgeConfig,
    ModelConfig,
    ResourcesConfig,
    SettingConfig,
    VoteConfig,
)
from safechain_ray.config.reading import (
    ConfigKind,
    holds_sweep,
    holds_training,
    json_schema,
    read_benchmark_config,
    read_build_config,
    read_check_config,
    read_config,
    read_finetune_config,
    read_judging_config,
    read_preference_config,
    read_study_config,
    read_sweep_config,
)
from safechain_ray.config.run import RunConfig, SettingsConfig, SweepConfig
from safechain_ray.config.study import CheckConfig, JudgingConfig, PreferenceConfig, StudyConfig
from safechain_ray.config.training import LoraOptions, TrainingOptions

__all__ = [
    "ApiConfig",
    "BenchmarkChoice",
    "BenchmarkConfig",
    "BenchmarkSampling",
    "BuildConfig",
    "CheckConfig",
    "ClusterConfig",
    "ConfigKind",
    "DatasetConfig",
    "EndpointConfig",
    "EngineConfig",
    "FinetuneConfig",
    "JudgeConfig",
    "JudgingConfig",
    "LoraOptions",
    "ModelConfig",
    "PreferenceConfig",
    "PromptsConfig",
    "ResourcesConfig",
    "RunConfig",
    "SettingConfig",
    "SettingsConfig",
    "StudyConfig",
    "SweepConfig",
    "TrainingOptions",
    "TrainingSetConfig",
    "VoteConfig",
    "WorkersConfig",
    "holds_sweep",
    "holds_training",
    "json_schema",
    "read_benchmark_config",
    "read_build_config",
    "read_check_config",
    "read_config",
    "read_finetune_config",
    "read_judging_config",
    "read_preference_config",
    "read_study_config",
    "read_sweep_config",
]
