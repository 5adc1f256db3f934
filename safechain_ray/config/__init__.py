"""Configs of runs, sweeps, studies, benchmarks, training sets and training, read from YAML files and flags."""

from safechain_ray.config.dataset import BuildConfig, PromptsConfig
from safechain_ray.config.finetune import FinetuneConfig, LoraOptions, TrainingOptions, TrainingSetConfig, WorkersConfig
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
from safechain_ray.config.reading import CONFIG_KINDS, config_kind, json_schema, read_config, read_config_as
from safechain_ray.config.run import (
    BenchmarkChoice,
    BenchmarkConfig,
    BenchmarkSampling,
    RunConfig,
    SettingsConfig,
    SweepConfig,
)
from safechain_ray.config.study import CheckConfig, JudgingConfig, PreferenceConfig, StudyConfig

__all__ = [
    "CONFIG_KINDS",
    "ApiConfig",
    "BenchmarkChoice",
    "BenchmarkConfig",
    "BenchmarkSampling",
    "BuildConfig",
    "CheckConfig",
    "ClusterConfig",
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
    "config_kind",
    "json_schema",
    "read_config",
    "read_config_as",
]
