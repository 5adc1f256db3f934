"""The admission gate: rows are decoded together, and suspects only with suspects of as many crashes, few at a time."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from safechain_ray.cluster.workers.engine_supervisor import NOT_ISOLATED, AdmissionGate, Isolation


class Visits:
    """Rows that pass one gate; each stays inside for a moment."""

    def __init__(self) -> None:
        self.gate = AdmissionGate()
        self.met: list[frozenset[str]] = []

    async def __call__(self, row: str, isolation: Isolation = NOT_ISOLATED) -> None:
        async with self.gate.admission(row, isolation):
            await asyncio.sleep(0.002)
            self.met.append(self.gate.rows)


def together(*visits: Coroutine[Any, Any, None]) -> None:
    async def run() -> None:
        await asyncio.wait_for(asyncio.gather(*visits), 10)

    asyncio.run(run())


def test_rows_with_nothing_against_them_meet_without_bound():
    visit = Visits()
    together(*(visit(str(number)) for number in range(500)))
    assert len(visit.met[0]) == 500
    assert visit.gate.rows == frozenset()


def test_suspects_meet_in_no_larger_crowd_than_they_may():
    visit = Visits()
    together(*(visit(str(number), Isolation(1, 3)) for number in range(10)))
    assert max(map(len, visit.met)) == 3


def test_suspects_meet_only_those_that_met_as_many_deaths():
    visit = Visits()
    free = [visit(f"free {number}") for number in range(5)]
    once = [visit(f"once {number}", Isolation(1, 3)) for number in range(5)]
    twice = [visit(f"twice {number}", Isolation(2, 1)) for number in range(2)]
    late = [visit(f"free {number}") for number in range(5, 10)]
    together(*free, *once, *twice, *late)
    kinds = [{row.split()[0] for row in rows} for rows in visit.met]
    assert all(len(kind) == 1 for kind in kinds)
    order = [kind.pop() for kind in kinds]
    assert order == ["free"] * 5 + ["twice"] * 2 + ["once"] * 5 + ["free"] * 5


def test_a_row_inside_may_enter_again_though_it_must_be_alone():
    visit = Visits()
    alone = Isolation(2, 1)
    together(visit("a", alone), visit("b", alone), visit("a", alone))
    assert set(visit.met) == {frozenset({"a"}), frozenset({"b"})}


def test_who_is_cancelled_at_the_gate_leaves_no_place_behind():
    gate, alone = AdmissionGate(), Isolation(1, 1)

    async def stay(row: str, until: asyncio.Event) -> None:
        async with gate.admission(row, alone):
            await until.wait()

    async def run() -> None:
        over = asyncio.Event()
        inside, waiting, last = (asyncio.create_task(stay(row, over)) for row in "abc")
        await asyncio.sleep(0)
        waiting.cancel()  # while it waits
        await asyncio.sleep(0)
        over.set()
        await inside
        last.cancel()  # just let in, and not yet aware of it
        await asyncio.gather(waiting, last, return_exceptions=True)
        assert gate.rows == frozenset()
        await asyncio.wait_for(stay("d", over), 10)

    asyncio.run(run())
