"""Consuming a stream: counts add up while it runs, and its end, its failure and a stall are reported."""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from ray.exceptions import RayTaskError

from safechain_ray.cluster.pipeline import Watchdog
from safechain_ray.cluster.progress import PoolProgress
from safechain_ray.cluster.stream_control import StreamControl
from safechain_ray.errors import EngineStartError, StallError
from safechain_ray.runs import attempt as module
from safechain_ray.runs.attempt import consume_stream

Block = Mapping[str, int]


class ProgressTracker:
    """`progress.remote()` gives a value where Ray would give a reference."""

    class progress:  # noqa: N801 - stands for a method of an actor
        @staticmethod
        def remote() -> dict[str, PoolProgress]:
            return {"model": PoolProgress(1, Counter(rows_in=8))}


class Clock:
    """Ten minutes pass between one look and the next."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 600
        return self.now


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_INTERVAL", 0.01)
    monkeypatch.setattr(module.ray, "get", lambda reference, timeout=None: reference)


@pytest.fixture
def shown() -> list[Counter[str]]:
    return []


def run(blocks: Iterator[Block], shown: list[Counter[str]], timeout: float = 1e9) -> Counter[str]:
    def show(committed: Counter[str], progress: Any) -> None:
        shown.append(committed.copy())

    return consume_stream(blocks, ProgressTracker(), Watchdog(("model",), 1, timeout, Clock()), show, StreamControl())


def test_the_counts_of_all_blocks_add_up_and_the_last_look_shows_them_all(shown: list[Counter[str]]):
    blocks = [{"rows": 8, "unsafe": 1}, {"rows": 8, "unsafe": 0}, {"rows": 3, "unsafe": 2}]
    assert run(iter(blocks), shown) == Counter(rows=19, unsafe=3)
    assert shown[-1] == Counter(rows=19, unsafe=3)


def test_a_stream_of_nothing_ends(shown: list[Counter[str]]):
    assert run(iter([]), shown) == Counter()


def test_the_error_at_the_root_of_a_failed_stream_comes_out(shown: list[Counter[str]]):
    def blocks() -> Iterator[Block]:
        yield {"rows": 8}
        raise RayTaskError("map", "Traceback ...", EngineStartError("CUDA out of memory")).as_instanceof_cause()

    with pytest.raises(EngineStartError, match=r"^CUDA out of memory$"):
        run(blocks(), shown)


def test_a_stream_that_stands_still_is_an_error_that_names_the_pool(shown: list[Counter[str]]):
    let_go = threading.Event()

    def blocks() -> Iterator[Block]:
        yield {"rows": 8}
        let_go.wait(10)

    threading.Timer(0.3, let_go.set).start()
    with pytest.raises(StallError, match="'model' holds 8 rows"):
        run(blocks(), shown, timeout=1500)
    assert shown[-1]["rows"] == 8
