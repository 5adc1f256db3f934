"""The series of a run: what they are of the driver's figures, and that nothing is counted twice or lost."""

from collections import Counter

import pytest

from safechain_ray.cluster import metrics_exporter
from safechain_ray.cluster.metrics_exporter import SERIES, MetricsExporter, ascii_label
from safechain_ray.cluster.progress import PoolProgress, Stage
from safechain_ray.cluster.workers.writer import verdict_count

Told = dict[tuple[str, ...], float]
"""By series, run, model and the values of the other labels."""


class Instruments:
    """Stands for Ray's counters and gauges: keeps what they would show, and how often they were told."""

    def __init__(self) -> None:
        self.told: Told = {}
        self.records = 0

    def make(self, name: str, description: str, tag_keys: tuple[str, ...]) -> "Instrument":
        return Instrument(self, name, tag_keys)


class Instrument:
    def __init__(self, all_of_them: Instruments, name: str, tag_keys: tuple[str, ...]) -> None:
        self._all, self._name, self._tag_keys = all_of_them, name, tag_keys

    def set(self, value: float, tags: dict[str, str]) -> None:
        assert tuple(tags) == self._tag_keys
        self._all.records += 1
        self._all.told[self._name, *tags.values()] = value

    def inc(self, value: float, tags: dict[str, str]) -> None:
        assert value > 0
        self.set(self._all.told.get((self._name, *tags.values()), 0.0) + value, tags)


@pytest.fixture
def instruments(monkeypatch: pytest.MonkeyPatch) -> Instruments:
    made = Instruments()
    monkeypatch.setattr(metrics_exporter, "Counter", made.make)
    monkeypatch.setattr(metrics_exporter, "Gauge", made.make)
    return made


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


STAGE = Stage(("model", "guard"), total=100, done_before=10, judges=("guard",))


def pool(ready: int = 1, **counts: int) -> PoolProgress:
    return PoolProgress(ready, Counter(counts))


def test_levels_say_what_each_pool_holds_and_what_waits_before_it(instruments: Instruments):
    progress = {"model": pool(2, rows_in=64, rows_out=40), "guard": pool(rows_in=32, rows_out=20)}
    with MetricsExporter("runs/a", "R1-7B").stage(STAGE) as update:
        update({"rows": 16, "ok": 16}, progress)
        level = {key[0::3] if len(key) > 3 else key[:1]: value for key, value in instruments.told.items()}
    assert level["safechain_rows_in_flight", "model"] == 24
    assert level["safechain_rows_in_flight", "guard"] == 12
    assert level["safechain_rows_waiting", "model"] == 90 - 64
    assert level["safechain_rows_waiting", "guard"] == 40 - 32
    assert level["safechain_rows_waiting", "commit"] == 20 - 16
    assert level["safechain_replicas_ready", "model"] == 2
    assert (level["safechain_stage_rows",], level["safechain_stage_rows_finished",]) == (100, 26)


def test_every_series_bears_the_run_and_the_model(instruments: Instruments):
    with MetricsExporter("runs/a", "R1-7B").stage(STAGE) as update:
        update({"rows": 1, "ok": 1}, {"model": pool(rows_out=1)})
    assert {key[1:3] for key in instruments.told} == {("runs/a", "R1-7B")}
    assert {key[0] for key in instruments.told} <= {each.name for each in SERIES}


def test_sums_are_counted_once_however_often_they_are_told(instruments: Instruments):
    clock = Clock()
    committed = Counter({"rows": 8, "ok": 7, "error": 1, "tokens": 70, verdict_count("guard", "unsafe"): 3})
    progress = {
        "model": pool(tokens=80, rows_out=8, retries=2, engine_restarts=1, requests=10, cost_microdollars=250_000)
    }
    with MetricsExporter("r", "m", clock).stage(STAGE) as update:
        for _ in range(3):
            update(committed, progress)
            clock.now += 5
        committed.update({"rows": 2, "ok": 2, "tokens": 20, verdict_count("guard", "safe"): 2})
    told = instruments.told
    assert told["safechain_committed_rows", "r", "m", "ok"] == 9
    assert told["safechain_committed_rows", "r", "m", "error"] == 1
    assert told["safechain_committed_tokens", "r", "m"] == 90
    assert told["safechain_verdicts", "r", "m", "guard", "unsafe"] == 3
    assert told["safechain_verdicts", "r", "m", "guard", "safe"] == 2
    assert told["safechain_pool_tokens", "r", "m", "model"] == 80
    assert told["safechain_cost_dollars", "r", "m", "model"] == 0.25
    counts = ("safechain_retries", "safechain_engine_restarts", "safechain_requests", "safechain_pool_rows")
    assert [told[name, "r", "m", "model"] for name in counts] == [2, 1, 10, 8]


def test_stages_of_one_run_count_each_pool_once_and_only_the_last_ones_commits(instruments: Instruments):
    run = MetricsExporter("r", "m")
    progress = {"model": pool(rows_in=90, rows_out=90, tokens=900)}
    with run.stage(Stage(("model",), 100, 10, number=1, stages=2)) as update:
        update({"rows": 90, "ok": 90}, progress)
    progress["guard"] = pool(rows_in=90, rows_out=90, tokens=90)
    with run.stage(Stage(("guard",), 100, 10, number=2, stages=2)) as update:
        update({"rows": 90, "ok": 90}, progress)
    assert instruments.told["safechain_pool_tokens", "r", "m", "model"] == 900
    assert instruments.told["safechain_pool_tokens", "r", "m", "guard"] == 90
    assert instruments.told["safechain_committed_rows", "r", "m", "ok"] == 90


def test_a_look_every_half_second_is_recorded_once_a_second(instruments: Instruments):
    clock = Clock()
    with MetricsExporter("r", "m", clock).stage(STAGE) as update:
        update({}, {})
        once = instruments.records
        clock.now = 0.5
        update({}, {})
        assert instruments.records == once
        clock.now = 1.0
        update({}, {})
        assert instruments.records == 2 * once


@pytest.mark.parametrize("error", [None, RuntimeError("the stream broke")])
def test_a_stage_that_ends_leaves_no_rows_in_flight_nor_replicas(instruments: Instruments, error: Exception | None):
    def run() -> None:
        with MetricsExporter("r", "m").stage(STAGE) as update:
            update({"rows": 8, "ok": 8}, {"model": pool(2, rows_in=64, rows_out=9)})
            if error is not None:
                raise error

    if error is None:
        run()
    else:
        with pytest.raises(RuntimeError, match="the stream broke"):
            run()
    gauges = {each.name for each in SERIES if each.kind == "gauge"}
    assert {value for key, value in instruments.told.items() if key[0] in gauges} == {0.0}
    assert instruments.told["safechain_committed_rows", "r", "m", "ok"] == 8


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("/runs/r1-7b", "/runs/r1-7b"),
        ("/runs/modèle 1", "/runs/mod%C3%A8le 1"),
        ("判定", "%E5%88%A4%E5%AE%9A"),
        ("50% é", "50% %C3%A9"),
        ("bad byte \udcff é", "bad byte \\udcff %C3%A9"),
    ],
)
def test_label_values_are_ascii_as_ray_demands(value: str, label: str):
    assert ascii_label(value) == label


def test_names_outside_ascii_reach_the_instruments_encoded(instruments: Instruments):
    with MetricsExporter("/runs/é", "modèle").stage(Stage(("wächter",), total=1, judges=("wächter",))) as update:
        update({"rows": 1, verdict_count("wächter", "safe"): 1}, {"wächter": pool(rows_in=1, rows_out=1)})
    assert instruments.told["safechain_verdicts", "/runs/%C3%A9", "mod%C3%A8le", "w%C3%A4chter", "safe"] == 1
