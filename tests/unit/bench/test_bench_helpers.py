"""What the benchmarks measure with: medians, prompts, and an engine's notes without its warm-up."""

import asyncio
import csv
from pathlib import Path

from measuring import Spread, write_prompts

from safechain_ray.catalog import models
from safechain_ray.commands.gpu_check.speed import WARM_UP_REQUESTS, TimedEngines, read_marks
from safechain_ray.engines.start import EngineStart
from safechain_ray.testing import Script, ScriptedEngine, ScriptedEngines
from safechain_ray.types import Request, Sampling


def test_a_spread_shows_the_median_and_how_far_the_runs_lie_apart() -> None:
    spread = Spread.of([90.0, 100.0, 130.0])
    assert spread.median == 100
    assert f"{spread:.0f}" == "100 (90 to 130, ±20%)"


def test_prompts_and_their_beginnings_all_differ(tmp_path: Path) -> None:
    with write_prompts(tmp_path / "prompts.csv", 313).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len({row["prompt_id"] for row in rows}) == 313
    assert len({row["prompt"].split()[0] for row in rows}) == 313


def test_an_engine_notes_its_completions_and_not_its_warm_up(tmp_path: Path) -> None:
    needs = models()["demo-reasoner"]
    notes = tmp_path / "notes.txt"
    scripted = ScriptedEngines({needs.source: Script(answer=lambda request: "three little words")})
    seen: list[int] = []
    engine = TimedEngines(scripted, {needs.source: notes})(
        EngineStart(needs, "cpu", tmp_path / "engine.log", on_tokens=seen.append)
    )

    async def ask(times: int) -> None:
        request = Request("a prompt", Sampling(), max_tokens=10)
        await asyncio.gather(*(engine.generate(request) for _ in range(times)))
        await engine.close()

    asyncio.run(ask(5))

    marks = read_marks(notes)
    assert (marks.requests, marks.tokens) == (5, 15)
    assert marks.first_request <= marks.last_completion
    assert len(seen) == WARM_UP_REQUESTS + 5
    assert marks.limits_of_a_step is None


def test_an_engine_notes_how_much_it_schedules_in_a_step(tmp_path: Path) -> None:
    class Scheduling(ScriptedEngine):
        limits_of_a_step = (256, 8192)

    needs = models()["demo-reasoner"]
    start = EngineStart(needs, "cpu", tmp_path / "engine.log")
    engines = TimedEngines(lambda start: Scheduling(Script()), {needs.source: tmp_path / "notes.txt"})

    async def ask() -> None:
        engine = engines(start)
        await engine.generate(Request("a prompt", Sampling(), max_tokens=10))
        await engine.close()

    asyncio.run(ask())
    assert read_marks(tmp_path / "notes.txt").limits_of_a_step == (256, 8192)
