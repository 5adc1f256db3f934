"""The GPU check: its steps in child processes, the cases that engines are put to, and what a run is compared with."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import psutil
import pytest

from safechain_ray.catalog import models
from safechain_ray.commands.doctor import Finding, Subject
from safechain_ray.commands.gpu_check import cases, run
from safechain_ray.commands.gpu_check.cases import Figure, RunningEngine, quickstart, read_reference
from safechain_ray.commands.gpu_check.check import (
    STEPS,
    Scene,
    Step,
    chosen_steps,
    descendants,
    read_findings,
    run_step,
    title_of,
    write_finding,
)
from safechain_ray.engines.start import EngineStart
from safechain_ray.errors import UnknownNameError
from safechain_ray.testing import Script, ScriptedEngines
from tests.processes import python_path
from tests.unit.commands.gpu_check import steps_of_tests


def findings_of(function: str, scratch: Path, monkeypatch: pytest.MonkeyPatch, seconds: float = 60) -> list[Finding]:
    monkeypatch.setenv("PYTHONPATH", python_path())
    return list(run_step(Step("step", steps_of_tests.__name__, function, seconds), Scene("cpu", scratch)))


def test_a_process_that_has_ended_has_no_title():
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # a zombie: the system keeps it until it is waited for
    zombie = psutil.Process(ended.pid)
    assert zombie.status() == psutil.STATUS_ZOMBIE
    assert title_of(zombie) == ""
    assert descendants(zombie) == []
    ended.wait()
    assert title_of(zombie) == ""
    assert descendants(zombie) == []


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_every_step_names_a_function(step: Step):
    assert callable(getattr(import_module(step.module), step.function))


def test_the_findings_of_a_step_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found = findings_of("ends_well", tmp_path, monkeypatch)
    assert [(finding.check, finding.status, finding.detail) for finding in found] == [
        ("device", "ok", "cpu"),
        ("speed", "warning", "slow"),
    ]


def test_a_crash_is_a_finding_after_those_that_were_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    before, end = findings_of("crashes", tmp_path, monkeypatch)
    assert (before.check, before.status) == ("before", "ok")
    assert (end.status, end.detail) == ("failed", "the step ended with SIGSEGV")
    assert end.fix is not None
    assert "the last words" in end.fix


def test_an_error_of_the_project_is_a_finding_without_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (found,) = findings_of("raises", tmp_path, monkeypatch)
    assert (found.status, found.detail) == ("failed", "the engine did not start")


@pytest.mark.slow
def test_a_step_that_hangs_is_ended_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    before, end = findings_of("hangs", tmp_path, monkeypatch, seconds=10)
    assert before.status == "ok"
    assert (end.check, end.status, end.detail) == ("time", "failed", "not done after 10 s")
    sleeper = int((tmp_path / "sleeper").read_text())
    deadline = time.monotonic() + 20  # on a busy machine the kill is on its way
    while not has_ended(sleeper):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or a zombie that nobody waits for."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def test_a_line_that_was_cut_off_is_no_finding(tmp_path: Path):
    file = tmp_path / "findings"
    whole = Subject("s").ok("check", "detail")
    write_finding(file, whole)
    with file.open("a") as findings:
        findings.write('{"subject": "s", "che')
    assert list(read_findings(file)) == [whole]


def test_steps_are_chosen_by_name_in_their_order():
    assert chosen_steps([]) == STEPS
    assert [step.name for step in chosen_steps(["seeds", "engine"])] == ["engine", "seeds"]
    with pytest.raises(UnknownNameError, match="Did you mean 'speed'"):
        chosen_steps(["sped"])


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


WRONG_ENGINES = {
    "greedy answers repeat": Script(answer=lambda request: f"answer {id(request)}"),
    "a stop string ends the text and is named": Script(answer=lambda request: "no thought"),
    "the token limit is a finish reason": Script(answer=lambda request: "two words"),
    "log probabilities are ranked": Script(
        answer=lambda request: "word", logprobs=lambda request: ({"a": -2.0, "b": -1.0},)
    ),
    "a prompt longer than the context fails alone": Script(answer=lambda request: "word"),
}


@pytest.mark.parametrize("case", WRONG_ENGINES)
def test_an_engine_that_does_otherwise_fails_its_case(case: str, loop: asyncio.AbstractEventLoop, tmp_path: Path):
    needs = models()["demo-reasoner"]
    engine = ScriptedEngines({needs.source: WRONG_ENGINES[case]})(EngineStart(needs, "cpu", tmp_path / "log"))
    with pytest.raises(cases.CaseError):
        cases.CASES[case](RunningEngine(engine, loop))


def test_the_check_runs_the_quickstart_from_any_folder_with_keys_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    config = quickstart(**{"resources.device": "cuda"})
    assert (config.resources.device, config.resources.block_rows) == ("cuda", 8)
    assert len(config.strategies) == 4


def test_the_stored_reference_is_whole():
    reference = read_reference()
    assert len(reference.figures) == 8
    assert len(reference.greedy) == 60
    assert len(reference.judged) == 300
    assert 0 < sum(judged.unsafe for judged in reference.judged) < 300


@pytest.mark.parametrize(("value", "status"), [(0.50, "ok"), (0.62, "ok"), (0.64, "failed"), (0.36, "failed")])
def test_a_figure_may_differ_by_three_standard_errors_of_the_difference(value: float, status: str):
    there = Figure("default", "demo-guard", 0.5, error=0.03)
    found = run._figure(Subject("run"), Figure("default", "demo-guard", value, error=0.03), there)
    assert found.status == status
