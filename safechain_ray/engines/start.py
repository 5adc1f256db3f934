"""How an engine comes to life: what it needs, on which device, and where its log goes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from safechain_ray.catalog.entries import EngineNeeds
from safechain_ray.types import Engine

Device = Literal["cpu", "cuda"]

RUNNING = 256
"""Requests that an engine decodes at once, where neither the user nor the GPU's memory says another number."""


@dataclass(frozen=True, slots=True)
class EngineStart:
    """One engine to start. `kv_cache_gigabytes` bounds the cache on CPU; a GPU's is what its memory leaves.

    `memory_share` is the engine's part of a GPU that it shares with others; None where its GPUs are its own.

    `batch_invariant` engines of GPUs give a text that does not depend on the requests beside it.
    `on_tokens` gets the number of new tokens, `on_counts` the engine's other counts, `on_note` sentences for the
    driver's screen.
    """

    needs: EngineNeeds
    device: Device
    log_file: Path
    kv_cache_gigabytes: float = 1.0
    max_running: int = RUNNING
    executor: Literal["mp", "ray"] = "mp"
    batch_invariant: bool = False
    memory_share: float | None = None
    on_tokens: Callable[[int], None] = field(default=lambda count: None)
    on_counts: Callable[..., None] = field(default=lambda **counts: None)
    on_note: Callable[[str], None] = field(default=lambda sentence: None)


StartEngine = Callable[[EngineStart], Engine]
"""Starts an engine and returns when it can answer. Raises EngineStartError with the end of the engine's log."""
