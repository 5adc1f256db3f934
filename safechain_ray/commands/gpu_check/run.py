"""GPU check of a whole run: the quickstart with a killed engine core and worker, compared with results of a CPU."""

import asyncio
import math
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from safechain_ray.catalog import judges, models
from safechain_ray.cluster.workers.generator import WORKER_TITLE
from safechain_ray.commands.doctor import Finding, Subject
from safechain_ray.commands.evaluate import evaluate
from safechain_ray.commands.gpu_check.cases import (
    Figure,
    Reference,
    figures_of,
    greedy_texts,
    quickstart,
    read_reference,
    running_engine,
)
from safechain_ray.commands.gpu_check.check import Scene, descendants, descendants_titled, share_of
from safechain_ray.engines.vllm import start_vllm
from safechain_ray.judges.base import make_judge
from safechain_ray.runs.progress import Snapshot
from safechain_ray.types import Verdict

CORE_AT, WORKER_AT = 300, 700
"""Committed rows at which the engine's core and the worker are killed."""

MOST_ERRORS = 3.0
"""Standard errors between two figures. Eight figures differ by more once in fifty checks of equal machines."""

LEAST_GREEDY = 0.95
LEAST_VERDICTS = 299 / 300


@dataclass
class Killer:
    """A reporter of the run that kills the model's engine core, then its worker."""

    sentences: list[str] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)

    def report(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def update(self, snapshot: Snapshot) -> None:
        if not self.killed and snapshot.done >= CORE_AT:
            workers = descendants_titled(WORKER_TITLE)
            self._kill("engine core", [child for worker in workers for child in descendants(worker)])
        if len(self.killed) == 1 and snapshot.done >= WORKER_AT:
            self._kill("worker", descendants_titled(WORKER_TITLE))

    def _kill(self, what: str, processes: list[psutil.Process]) -> None:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if processes:
            self.killed.append(what)


def check_run(scene: Scene) -> Iterator[Finding]:
    """Run the quickstart with both faults; compare figures, greedy texts and verdicts with the stored ones."""
    subject, killer = Subject("run"), Killer()
    keys = {"resources.device": scene.device, "output": str(scene.scratch / "quickstart")}
    done = evaluate(quickstart(**keys), killer, start_vllm)
    rows = [row for table in done.folder.counted_samples(("sample_id", "outcome")) for row in table.to_pylist()]
    yield _rows(subject, rows, sum(setting.rows_expected for setting in done.metrics.settings), killer)
    reference = read_reference()
    yield from (_figure(subject, *pair) for pair in zip(figures_of(done.metrics), reference.figures, strict=True))
    yield _greedy(subject, scene, reference)
    yield _verdicts(subject, scene, reference)


def _rows(subject: Subject, rows: list[dict[str, str]], expected: int, killer: Killer) -> Finding:
    """Every row once and without an error, after both faults."""
    single, errors = len({row["sample_id"] for row in rows}), sum(row["outcome"] == "error" for row in rows)
    detail = f"{len(rows)} rows of {expected}, {single} different, {errors} errors; killed: {', '.join(killer.killed)}"
    if (len(rows), single, errors) != (expected, expected, 0) or len(killer.killed) < 2:
        return subject.failed("rows after two faults", detail, "report it with the run's folder")
    return subject.ok("rows after two faults", detail)


def _figure(subject: Subject, here: Figure, there: Figure) -> Finding:
    """Both figures are samples: their difference has the errors of both."""
    check = f"{here.strategy}, {here.judge}"
    error = math.hypot(here.error, there.error)
    detail = f"Safe@1 {here.value:.3f} here, {there.value:.3f} on a CPU, standard error of the difference {error:.3f}"
    if abs(here.value - there.value) > MOST_ERRORS * error:
        return subject.failed(check, detail, "compare the engine's log and the texts of the run with those of a CPU")
    return subject.ok(check, detail)


def _greedy(subject: Subject, scene: Scene, reference: Reference) -> Finding:
    log = scene.log("greedy")
    with (
        asyncio.Runner() as runner,
        running_engine(models()["demo-reasoner"], scene.device, log, runner.get_loop(), scene.small_share) as running,
    ):
        texts = greedy_texts(running, tuple(reference.greedy))
    equal = sum(texts[prompt] == text for prompt, text in reference.greedy.items())
    detail = f"{share_of(equal, len(texts))} greedy texts in float32 are those of a CPU"
    if equal < LEAST_GREEDY * len(texts):
        return subject.failed(
            "greedy texts", detail, "compare the engine's kernels: its log names the attention backend"
        )
    return subject.ok("greedy texts", detail)


def _verdicts(subject: Subject, scene: Scene, reference: Reference) -> Finding:
    entry = judges()["demo-guard"]
    assert entry.engine is not None
    with (
        asyncio.Runner() as runner,
        running_engine(
            entry.engine, scene.device, scene.log("verdicts"), runner.get_loop(), scene.small_share
        ) as running,
    ):
        judge = make_judge(entry, running.engine)
        asked = [judge.judge(each.prompt, "response", each.response) for each in reference.judged]
        verdicts = running.wait(_together(asked))
    equal = sum(verdict.unsafe is each.unsafe for verdict, each in zip(verdicts, reference.judged, strict=True))
    detail = f"{share_of(equal, len(verdicts))} verdicts are those of a CPU"
    if equal < LEAST_VERDICTS * len(verdicts):
        return subject.failed("verdicts", detail, "compare the judge's texts with those of a CPU")
    return subject.ok("verdicts", detail)


async def _together(asked: Sequence[Awaitable[Verdict]]) -> list[Verdict]:
    return list(await asyncio.gather(*asked))
