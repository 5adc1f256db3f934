"""A training whose driver or worker is killed, or whose disk is full, goes on to the losses of one left alone."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from safechain_ray.storage import Folder, open_folder
from tests.processes import left_over, marked_environment, marked_processes
from tests.s3_server import Store
from tests.small_disk import mounted

pytestmark = pytest.mark.long

CONFIG = Path(__file__).parents[2] / "configs" / "paper" / "finetune_r1_7b.yaml"
LONGER = ("training.epochs=12", "training.save_every=8", "training.evaluate_every=24")
KILLED_AFTER = "step-000016"

TOLERANCE = 1e-5
"""Of a loss, in nats a token: two processes on CPUs in float32."""

PATIENCE_SECONDS = 300.0


def start(output: str, store: Store, *more: str) -> tuple[subprocess.Popen[str], dict[str, str]]:
    environment = {**marked_environment(), **store.environment}
    command = [sys.executable, "-m", "safechain_ray", "finetune", "--config", str(CONFIG), "--profile", "demo"]
    command += [word for each in LONGER for word in ("--set", each)] + ["--json", "--output", output, *more]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    return driver, environment


def finish(driver: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
    stdout, stderr = driver.communicate(timeout=PATIENCE_SECONDS)
    return json.loads(stdout), stderr


def wait_for_checkpoint(folder: Folder, name: str, driver: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (folder / "checkpoints" / name).exists("manifest.json"):
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)


def workers_of(environment: dict[str, str]) -> list[int]:
    return [process for process, title in marked_processes(environment).items() if "RayTrainWorker" in title]


def wait_for_the_end_of(environment: dict[str, str]) -> None:
    """Of the workers, whose driver is gone: two trainings in one scratch folder would be in each other's way."""
    deadline = time.monotonic() + 60
    while workers_of(environment):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def losses(folder: Folder) -> dict[tuple[int, str], float]:
    lines = map(json.loads, folder.read_text("metrics.jsonl").splitlines())
    return {(line["step"], key): line[key] for line in lines for key in ("loss", "eval_loss") if key in line}


@pytest.fixture(scope="module")
def undisturbed(store: Store) -> dict[tuple[int, str], float]:
    driver, _ = start(store.uri("undisturbed"), store)
    record, stderr = finish(driver)
    assert "finished" in record, stderr
    return losses(open_folder(store.uri("undisturbed")))


def check_same(folder: Folder, undisturbed: dict[tuple[int, str], float], record: dict[str, Any]) -> None:
    found = losses(folder)
    assert list(found) == list(undisturbed)
    apart = {place: abs(found[place] - undisturbed[place]) for place in found}
    print(f"losses differ by at most {max(apart.values()):.3g} from those of an undisturbed training")
    assert max(apart.values()) <= TOLERANCE
    last = max(step for step, _ in found)
    assert record["loss"] == found[last, "loss"]
    assert record["evaluation_loss"] == found[last, "eval_loss"]


def test_a_driver_killed_in_the_middle(store: Store, undisturbed: dict[tuple[int, str], float]) -> None:
    folder = open_folder(store.uri("driver-killed"))
    driver, environment = start(folder.uri, store)
    wait_for_checkpoint(folder, KILLED_AFTER, driver)
    driver.kill()
    driver.communicate()
    wait_for_the_end_of(environment)

    driver, _ = start(folder.uri, store)
    record, stderr = finish(driver)

    assert [each["status"] for each in record["tries"]] == ["cut off", "done"], stderr
    assert record["tries"][1]["resumed_from"] >= 16
    assert "The training resumes after step" in stderr
    check_same(folder, undisturbed, record)


def test_a_worker_killed_in_the_middle(store: Store, undisturbed: dict[tuple[int, str], float]) -> None:
    folder = open_folder(store.uri("worker-killed"))
    driver, environment = start(folder.uri, store)
    wait_for_checkpoint(folder, KILLED_AFTER, driver)
    workers = workers_of(environment)
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)
    record, stderr = finish(driver)

    assert [each["status"] for each in record["tries"]] == ["done"], stderr
    assert record["tries"][0]["started_again_from"][0] >= 16
    assert re.search(r"Training worker \d .*start again from the last checkpoint \(1 of at most 3 times\)", stderr)
    assert "Traceback" not in stderr
    check_same(folder, undisturbed, record)


def test_an_interrupted_training_keeps_its_checkpoints_and_says_how_to_go_on(store: Store) -> None:
    folder = open_folder(store.uri("interrupted"))
    driver, environment = start(folder.uri, store)
    wait_for_checkpoint(folder, "step-000008", driver)
    driver.send_signal(signal.SIGTERM)
    _, stderr = driver.communicate(timeout=PATIENCE_SECONDS)
    assert driver.returncode == 130
    assert "To resume, run:" in stderr
    assert "Traceback" not in stderr
    assert json.loads(folder.read_text("finetune.json"))["tries"][-1]["status"] == "interrupted"
    assert left_over(environment) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Less than one checkpoint of the demo reasoner with AdamW's states."""
    with mounted(tmp_path / "small", "12m") as mount:
        yield mount


@pytest.mark.parametrize("what", ["scratch", "output"])
def test_a_full_disk_ends_the_training_with_the_place_and_the_fix(
    what: str, small_disk: Path, tmp_path: Path, store: Store
) -> None:
    place = {"scratch": str(tmp_path / "scratch"), "output": str(tmp_path / "output")} | {what: str(small_disk)}
    driver, environment = start(place["output"], store, "--scratch", place["scratch"])
    stdout, stderr = driver.communicate(timeout=PATIENCE_SECONDS)
    assert driver.returncode == 1, stdout
    assert str(small_disk) in stderr
    assert "space" in stderr
    assert "Traceback" not in stderr
    assert "start again" not in stderr, "no second try fixes it"
    assert left_over(environment) == []
