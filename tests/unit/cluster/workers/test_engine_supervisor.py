"""The engine supervisor: requests survive an engine's crash, and one crash starts one new engine."""

import asyncio
import platform
from collections.abc import Sequence
from typing import Any

import pytest

from safechain_ray.cluster.progress import PoolProgress, ProgressReporter, ProgressTracker
from safechain_ray.cluster.workers.engine_supervisor import EngineSupervisor
from safechain_ray.cluster.workers.inflight_tracker import TrackerClient, current_row
from safechain_ray.engines.start import EngineStart, StartEngine
from safechain_ray.errors import EngineStartError, RowError
from safechain_ray.testing import Script, ScriptedEngine
from safechain_ray.types import Completion, Request, Sampling
from tests.unit.cluster.local_actors import MODEL, NODE, LocalActor, LocalTracker, engines, start_of

ANSWER = Script().answer(Request("any", Sampling(), 1))


class Host:
    """An engine supervisor with a progress tracker that can be read."""

    def __init__(
        self, start_engine: StartEngine, max_deaths: int = 3, inflight_tracker: LocalTracker | None = None
    ) -> None:
        self._tracker = ProgressTracker()
        self._reporter = ProgressReporter(LocalActor(self._tracker), "model")
        tracker_client = TrackerClient(inflight_tracker or LocalTracker(), "model")
        self.host = EngineSupervisor(start_of(MODEL), start_engine, self._reporter, tracker_client, max_deaths)

    def answers(self, *prompts: str, seconds_apart: float = 0.0) -> Sequence[Completion | BaseException]:
        """What the host answers to `prompts`, each a row of its own in one block, that arrive one after the other."""

        async def one(number: int, prompt: str) -> Completion:
            current_row.set(prompt)
            await asyncio.sleep(number * seconds_apart)
            return await self.host.generate(Request(prompt, Sampling(), max_tokens=100))

        async def together() -> Sequence[Completion | BaseException]:
            async with self.host.claim(prompts):
                return await asyncio.gather(*map(one, range(len(prompts)), prompts), return_exceptions=True)

        return asyncio.run(together())

    @property
    def progress(self) -> PoolProgress:
        self._reporter.report()
        return self._tracker.progress()["model"]


class Failing:
    """Starts one engine that dies at its first request, then none."""

    starts = 0

    def __call__(self, start: EngineStart) -> ScriptedEngine:
        self.starts += 1
        if self.starts > 1:
            raise EngineStartError("CUDA out of memory")
        return ScriptedEngine(Script(dies_after=1, seconds=0.01))


def texts(answers: Sequence[Any]) -> set[str]:
    return {answer.text for answer in answers}


def test_a_request_is_answered_and_its_tokens_are_told():
    host = Host(engines())
    assert texts(host.answers("a", "b")) == {ANSWER}
    assert host.progress.ready == 1
    assert host.progress.counts["tokens"] == 2 * len(ANSWER.split())


def test_a_request_under_which_the_engine_dies_is_done_again_on_a_new_one():
    started = engines(dies_after=1)
    host = Host(started)
    assert texts(host.answers("a")) == {ANSWER}
    assert started.started == 2
    assert (host.progress.ready, host.progress.counts["engine_restarts"]) == (1, 1)
    (note,) = host.progress.notes
    assert note.startswith(f"An engine on node {platform.node()} died (")
    assert note.endswith(". A new engine starts there now. Rows to repeat: 1.")


def test_many_requests_in_flight_at_a_death_start_one_new_engine():
    started = engines(dies_after=25, seconds=0.05)
    host = Host(started)
    answers = host.answers(*(f"prompt {number}" for number in range(30)))
    assert texts(answers) == {ANSWER}
    assert started.started == 2
    assert host.progress.counts["engine_restarts"] == 1


def test_requests_that_arrive_while_a_new_engine_starts_wait_for_it():
    """A dead engine is closed before the next one starts, which takes up to minutes with real weights."""
    started = engines(dies_after=1, start_seconds=0.3)
    host = Host(started)
    answers = host.answers(*(f"prompt {number}" for number in range(20)), seconds_apart=0.01)
    assert texts(answers) == {ANSWER}
    assert len(answers) == 20
    assert started.started == 2
    assert host.progress.counts["engine_restarts"] == 1


@pytest.mark.parametrize("max_deaths", [1, 3])
def test_a_request_under_which_so_many_engines_die_is_set_aside_and_the_others_are_not(max_deaths: int):
    started = engines(dies_on=lambda request: request.prompt == "poison")
    host = Host(started, max_deaths)
    (poisoned,) = host.answers("poison")
    assert isinstance(poisoned, RowError)
    assert f"quarantined: {max_deaths} engines died while this row was decoded" in str(poisoned)
    assert texts(host.answers("harmless")) == {ANSWER}
    assert started.started == 1 + max_deaths


@pytest.mark.parametrize(("max_deaths", "deaths"), [(1, 2), (2, 2), (3, 3), (5, 5)])
def test_a_row_that_kills_every_engine_is_found_among_many_in_as_many_deaths(max_deaths: int, deaths: int):
    started = engines(dies_on=lambda request: request.prompt == "poison", seconds=0.005)
    host = Host(started, max_deaths)
    prompts = [f"prompt {number}" for number in range(100)]
    *innocent, poisoned = host.answers(*prompts[:60], *prompts[60:], "poison")
    assert texts(innocent) == {ANSWER}
    assert f"{deaths} engines died while this row was decoded, the last one with no other row in it" in str(poisoned)
    assert host.progress.counts["engine_restarts"] == deaths


def test_two_rows_that_kill_every_engine_are_both_found():
    host = Host(engines(dies_on=lambda request: "poison" in request.prompt, seconds=0.005))
    first, *innocent, second = host.answers("poison 1", *(f"prompt {number}" for number in range(30)), "poison 2")
    assert texts(innocent) == {ANSWER}
    assert {type(first), type(second)} == {RowError}


def test_a_row_whose_requests_come_at_once_is_alone_with_itself():
    """The parts of a response are judged concurrently."""
    host = Host(engines(dies_on=lambda request: request.prompt == "poison", seconds=0.005), max_deaths=2)
    answers = host.answers("poison", "poison", "a")
    assert [type(answer) for answer in answers[:2]] == [RowError, RowError]
    assert texts(answers[2:]) == {ANSWER}


def test_a_row_error_is_no_death():
    started = engines(refuses=lambda request: True)
    (refused,) = Host(started).answers("a")
    assert isinstance(refused, RowError)
    assert started.started == 1


def test_a_first_engine_that_does_not_start_is_told_at_the_first_check():
    host = Host(engines(start_error="CUDA out of memory"))
    assert host.progress.ready == 0
    with pytest.raises(EngineStartError, match="CUDA out of memory"):
        host.host.check()


def test_a_new_engine_that_does_not_start_ends_every_request_after_one_try():
    failing = Failing()
    host = Host(failing)
    host.host.check()
    answers = host.answers("a", "b", "c")
    assert [str(answer) for answer in answers] == ["CUDA out of memory"] * 3
    assert {type(answer) for answer in answers} == {EngineStartError}
    assert failing.starts == 2
    assert host.progress.ready == 0
    with pytest.raises(EngineStartError):
        host.host.check()


def test_rows_that_another_worker_had_begun_are_counted():
    inflight_tracker = LocalTracker()
    inflight_tracker.target.claim("another", NODE, ["model/a", "model/b"])
    host = Host(engines(), inflight_tracker=inflight_tracker)
    assert texts(host.answers("a", "b", "c")) == {ANSWER}
    assert host.progress.counts["rows_again"] == 2
