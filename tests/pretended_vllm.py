"""A stand-in for vLLM's modules whose engine starts or fails as a test says: no GPU of this project's CI runs vLLM."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

MODULES = (
    "vllm",
    "vllm.engine",
    "vllm.engine.arg_utils",
    "vllm.usage",
    "vllm.usage.usage_lib",
    "vllm.v1",
    "vllm.v1.engine",
    "vllm.v1.engine.async_llm",
    "vllm.v1.metrics",
    "vllm.v1.metrics.loggers",
)


@dataclass
class PretendedVllm:
    """`failures` are what the log says at the first starts, one each; the starts after them succeed.

    `started` holds the arguments of every start, the engine's own and those of `AsyncLLM.from_engine_args`.
    """

    log_file: Path
    failures: Sequence[str] = ()
    started: list[tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=list)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in MODULES:
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        modules: Any = sys.modules
        modules["vllm.engine.arg_utils"].AsyncEngineArgs = dict
        modules["vllm.usage.usage_lib"].UsageContext = SimpleNamespace(LLM_CLASS="LLM_CLASS")
        modules["vllm.v1.engine.async_llm"].AsyncLLM = self
        modules["vllm.v1.metrics.loggers"].StatLoggerBase = object

    def from_engine_args(self, engine_args: dict[str, Any], **keys: Any) -> Any:
        self.started.append((engine_args, keys))
        if len(self.started) <= len(self.failures):
            with self.log_file.open("a") as log:
                log.write(self.failures[len(self.started) - 1] + "\n")
            raise RuntimeError("Engine core initialization failed. See root cause above. Failed core proc(s): {}")
        tokenizer = SimpleNamespace(chat_template=None, added_tokens_decoder={})
        config = SimpleNamespace(max_model_len=4096)
        return SimpleNamespace(get_tokenizer=lambda: tokenizer, model_config=config, shutdown=lambda: None)
