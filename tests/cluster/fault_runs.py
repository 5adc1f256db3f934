"""Evaluations on a cluster whose nodes have one (logical) GPU each, and what befalls these nodes on the way."""

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.cloudpickle import register_pickle_by_value
from ray.cluster_utils import Cluster
from ray.core.generated.autoscaler_pb2 import DrainNodeReason

from safechain_ray.runs.progress import Snapshot
from safechain_ray.testing import Script
from safechain_ray.types import Request
from tests.cluster.scripted_runs import Runner
from tests.lean_ray import LEAN

SPOT_NOTICE_SECONDS = 120

SEE_DEATHS_SOON = {"health_check_period_ms": 1000}
"""Ray takes a node for dead when five checks in a row got no answer; by default one is made every three seconds."""

register_pickle_by_value(sys.modules[__name__])  # the nodes can't import it


class GpuCluster:
    """A head without GPUs, where the driver runs, and GPU nodes that come and go."""

    def __init__(self) -> None:
        self._cluster = Cluster(
            initialize_head=True, head_node_args={**LEAN, "num_cpus": 6, "_system_config": SEE_DEATHS_SOON}
        )
        self.address = self._cluster.address
        self.gpu_nodes: list[Any] = []

    def with_gpus(self, count: int) -> "GpuCluster":
        """This cluster with so many fresh GPU nodes, whatever became of earlier ones."""
        while self.gpu_nodes:
            self.kill(self.gpu_nodes[0])
        for _ in range(count):
            self.add()
        return self

    def add(self) -> Any:
        self.gpu_nodes.append(self._cluster.add_node(num_cpus=3, num_gpus=1))
        return self.gpu_nodes[-1]

    def kill(self, node: Any) -> None:
        """The node is gone from one moment to the next."""
        self.gpu_nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)

    def notify(self, node: Any) -> None:
        """A spot notice: the node has two minutes to live."""
        deadline = int((time.time() + SPOT_NOTICE_SECONDS) * 1000)
        reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        accepted, why_not = ray._raylet.GcsClient(address=self.address).drain_node(
            node.node_id, reason, "spot notice", deadline
        )
        assert accepted, why_not

    def shutdown(self) -> None:
        self._cluster.shutdown()


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer that an engine gave: when (time.time()), on which node, to which prompt text."""

    seconds: float
    node: str
    prompt: str


class FaultRuns:
    """Greedy evaluations of numbered prompts by scripted engines that note each answer."""

    def __init__(self, cluster: GpuCluster, folder: Path) -> None:
        self.cluster = cluster
        self.run = Runner(cluster.address, folder / "run")
        self._folder = folder
        self.committed = 0
        self.notes = folder / "answers.jsonl"
        self.notes.touch()

    def script(self, seconds: float = 0.3, answer: Callable[[Request], str] | None = None, **changes: Any) -> Script:
        """Gives each `answer` after `seconds`, and notes it."""
        return Script(**{"answer": noted(self.notes, answer or long_answer), "seconds": seconds, **changes})

    def config(self, prompts: int, **flags: Any) -> dict[str, Any]:
        file = self._folder / f"{prompts}.csv"
        file.write_text("prompt\n" + "".join(f"Number {number} asks how\n" for number in range(prompts)))
        usual = {"samples": 1, "sampling.temperature": 0, "judges": ["refusal-match"], "datasets": [str(file)]}
        small = {"resources.max_running": 16, "resources.stall_timeout_minutes": 4}
        return {**usual, **small, **flags}

    def answers(self) -> list[Answer]:
        return answers_in(self.notes)

    def when(self, *steps: tuple[int, Callable[[], object]]) -> None:
        """Do each step, in this order, once so many rows are committed; again if it returns False."""
        left = list(steps)

        def on_update(snapshot: Snapshot) -> None:
            self.committed = snapshot.committed.get("rows", 0)
            if left and self.committed >= left[0][0] and left[0][1]() is not False:
                left.pop(0)

        self.run.on_update = on_update

    def results(self) -> dict[str, dict[str, Any]]:
        """What each sample came to, by its id, but for how long it took. Every sample stands once."""
        rows = self.run.rows
        results = {row["sample_id"]: {**row, "seconds": None} for row in rows}
        assert len(results) == len(rows)
        return results

    def metrics(self) -> list[dict[str, Any]]:
        """The figures of each setting, but for how long it took."""
        metrics = json.loads((self.run.output / "metrics.json").read_text())
        return [{**setting, "seconds": None} for setting in metrics["settings"]]

    def again(self) -> int:
        """How many answers were given more than once."""
        answers = self.answers()
        return len(answers) - len({answer.prompt for answer in answers})


def noted(notes: Path, answer: Callable[[Request], str]) -> Callable[[Request], str]:
    """`answer`, with a line of JSON in `notes` for each one given, appended by a single write of the process."""

    def answer_and_note(request: Request) -> str:
        text = answer(request)
        line = json.dumps([time.time(), ray.get_runtime_context().get_node_id(), request.prompt]) + "\n"
        file = os.open(notes, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)
        return text

    return answer_and_note


def answers_in(notes: Path) -> list[Answer]:
    """The answers of whole lines: another process may be at its line, or have been killed in it."""
    answers = []
    for line in notes.read_text().splitlines():
        with suppress(json.JSONDecodeError):
            answers.append(Answer(*json.loads(line)))
    return answers


def long_answer(request: Request) -> str:
    """A block of these is too large to travel with a message: it lives on its node. Every third is a refusal."""
    sentence = "I can't help with that. " if number_of(request) % 3 == 0 else "Sure, this is how. "
    return "Thinking.</think>\n\n" + 1_000 * sentence


def round_or_answer(request: Request) -> str:
    """One more round of thinking while it is thought; then the answer."""
    if request.stop:
        return f"Round {request.prompt.count('Round')} of {number_of(request)}.\n</think>"
    return long_answer(request).partition("</think>")[2]


def number_of(request: Request) -> int:
    """The number of the prompt that a request holds."""
    return number_in(request.prompt)


def number_in(text: str) -> int:
    return int(text.partition("Number ")[2].split()[0])


def kill_process() -> None:
    os.kill(os.getpid(), 9)
