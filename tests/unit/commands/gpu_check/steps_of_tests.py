"""Steps of a GPU check that end in every way a step can, for the tests of what runs them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from safechain_ray.commands.doctor import Finding, Subject
from safechain_ray.commands.gpu_check.check import Scene
from safechain_ray.errors import EngineStartError

SUBJECT = Subject("step")


def ends_well(scene: Scene) -> Iterator[Finding]:
    yield SUBJECT.ok("device", scene.device)
    yield SUBJECT.warning("speed", "slow", "wait")


def crashes(scene: Scene) -> Iterator[Finding]:
    yield SUBJECT.ok("before", "reported")
    print("the last words", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)


def raises(scene: Scene) -> Iterator[Finding]:
    raise EngineStartError("the engine did not start")
    yield


def hangs(scene: Scene) -> Iterator[Finding]:
    """With a child of its own, as an engine's step has one."""
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    (scene.scratch / "sleeper").write_text(str(sleeper.pid))
    yield SUBJECT.ok("before", "reported")
    time.sleep(600)
