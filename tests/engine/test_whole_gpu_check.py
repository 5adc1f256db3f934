"""The whole GPU check on the installed device, with real engines: on a CPU it tries the check itself."""

import json
import subprocess
import sys

import pytest

from safechain_ray.commands.gpu_check.check import STEPS
from tests.installed_device import INSTALLED_DEVICE

pytestmark = pytest.mark.long


@pytest.mark.timeout(1800)
def test_every_step_of_the_check_reports_and_none_fails() -> None:
    command = [sys.executable, "-m", "safechain_ray", "doctor", "--gpu-check", "--device", INSTALLED_DEVICE, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1700)
    report = json.loads(done.stdout)
    failed = [finding for finding in report["findings"] if finding["status"] == "failed"]
    assert failed == []
    assert done.returncode == 0
    by_step = {finding["subject"] for finding in report["findings"]}
    assert by_step == {step.name for step in STEPS}
