"""What the driver makes of the workers' news: metrics.jsonl, the record, and what a person sees."""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from safechain_ray.cluster.training.events import TRAINING, Began, Logged, News, Phase, Said, Stepped
from safechain_ray.commands.finetune.observer import TrainingObserver, TrainingSnapshot
from safechain_ray.commands.finetune.record import FinetuneRecord
from safechain_ray.errors import StoreSilentError
from safechain_ray.storage import Folder

METRICS = "metrics.jsonl"

WRITE_SECONDS = 5.0
REMOTE_WRITE_SECONDS = 15.0
"""An object store takes a request for each writing, and some bill it."""


class TrainingLog:
    """Hears the news of one try."""

    def __init__(self, folder: Folder, record: FinetuneRecord, observer: TrainingObserver) -> None:
        self._folder = folder
        self._record = record
        self._observer = observer
        self._lines: list[Mapping[str, float]] = []
        self._started = self._began = time.monotonic()
        self._tokens_before = 0.0
        self._written = 0.0
        self._every = WRITE_SECONDS if folder.is_local else REMOTE_WRITE_SECONDS
        self._snapshot = TrainingSnapshot("waiting for the workers")

    def hear(self, news: News) -> None:
        match news:
            case Said(sentence):
                self._observer.say(sentence)
                return
            case Phase(name):
                self._snapshot = replace(self._snapshot, phase=name)
            case Began(step, history):
                self._begin(step, history)
            case Stepped(step, steps):
                self._step(step, steps)
            case Logged(values):
                self._lines.append(values)
                self._log(values)
        self._observer.update(replace(self._snapshot, seconds=time.monotonic() - self._started))

    def close(self) -> None:
        """Write what has not been written; a silent store is not waited for."""
        with suppress(StoreSilentError):
            self._write(self._folder.impatient())

    def _begin(self, step: int, history: tuple[Mapping[str, float], ...]) -> None:
        self._lines = list(history)
        self._began = time.monotonic()
        self._tokens_before = max((line["num_tokens"] for line in history if "num_tokens" in line), default=0.0)
        if step:
            self._observer.say(f"The training goes on after step {step:,}.")
        self._record.began(step)
        self._snapshot = TrainingSnapshot(TRAINING, step=step, resumed_from=step)

    def _step(self, step: int, steps: int) -> None:
        spent = time.monotonic() - self._began
        speed = (step - self._snapshot.resumed_from) / spent
        self._snapshot = replace(self._snapshot, step=step, steps=steps, steps_per_second=speed)

    def _log(self, values: Mapping[str, float]) -> None:
        tokens = values.get("num_tokens")
        speed = self._snapshot.tokens_per_second
        if tokens is not None:
            speed = (tokens - self._tokens_before) / (time.monotonic() - self._began)
        self._snapshot = replace(self._snapshot, logged={**self._snapshot.logged, **values}, tokens_per_second=speed)
        if time.monotonic() - self._written >= self._every and not self._folder.is_silent:
            with suppress(StoreSilentError):
                self._write(self._folder.impatient())

    def _write(self, folder: Folder) -> None:
        folder.write_text(METRICS, "".join(json.dumps(line) + "\n" for line in self._lines))
        self._written = time.monotonic()
