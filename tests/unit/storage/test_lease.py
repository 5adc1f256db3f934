"""Lease: one driver at a time, expiry after a driver's death, and no writes after a lost lease."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from uuid import uuid4

import pytest

from safechain_ray.errors import OutputLockedError, StorageError
from safechain_ray.storage import Folder, acquire_lease, open_folder
from safechain_ray.storage import lease as module
from safechain_ray.storage.lease import LEASE_FILE, Timing
from tests.s3_server import Store
from tests.waiting import wait_for

pytestmark = pytest.mark.slow  # they wait for real timeouts

QUICK = Timing(lasts=4.0, renew_interval=0.3, confirm_delay=0.5, local_confirm_delay=0.3)
"""A lease that runs out while a test waits; long enough for a machine that is busy."""


@pytest.fixture(params=["disk", "store"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "disk":
        return open_folder(str(tmp_path / "run"))
    store: Store = request.getfixturevalue("store")
    return open_folder(store.uri(f"{uuid4().hex}/run"))


def ignore(sentence: str) -> None: ...


def content(folder: Folder) -> dict[str, object]:
    tree: dict[str, object] = json.loads(folder.read_text(LEASE_FILE))
    return tree


def leave_behind(folder: Folder, **changes: object) -> None:
    """The lease of a driver on another machine that died."""
    with acquire_lease(folder, ignore, QUICK):
        left = content(folder)
    folder.write_text(LEASE_FILE, json.dumps({**left, "machine": "another", "host": "node-7", **changes}))


@contextmanager
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is held in the block is held by another machine."""
    with monkeypatch.context() as patch:
        patch.setattr(module, "_machine", lambda: "another")
        yield


@pytest.mark.slow
def test_a_held_folder_has_a_lease_that_is_renewed_and_goes_with_the_driver(folder: Folder) -> None:
    with acquire_lease(folder, ignore, QUICK) as held:
        first = content(folder)
        assert first["process"] == os.getpid()
        wait_for(lambda: content(folder)["renewed"] != first["renewed"])
        held.write_text("run.json", "{}")
        assert folder.list_files() == ["run.json"]
    assert not folder.exists(LEASE_FILE)


def test_a_second_driver_is_refused_and_told_who_holds_it_since_when_and_until_when(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    with ExitStack() as others:
        with elsewhere(monkeypatch):
            others.enter_context(acquire_lease(folder, ignore, QUICK))
        with pytest.raises(OutputLockedError) as refusal, acquire_lease(folder, said.append, QUICK):
            pass
        assert content(folder)["machine"] == "another"
    for words in (f"process {os.getpid()} on ", "since 20", "expires at 20", "give another run another --output"):
        assert words in str(refusal.value)
    assert "If it does not renew its lease for 4 seconds" in said[0]


def test_a_process_of_this_machine_that_is_gone_is_not_waited_for(folder: Folder) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    leave_behind(folder, machine=module._machine(), process=gone.pid, lasts=1000.0)
    said: list[str] = []
    with acquire_lease(folder, said.append, QUICK):
        assert said == []


@pytest.mark.slow
def test_a_driver_of_another_machine_that_is_not_heard_of_is_waited_for_and_replaced(folder: Folder) -> None:
    leave_behind(folder, lasts=1.5)
    said: list[str] = []
    began = time.monotonic()
    with acquire_lease(folder, said.append, QUICK):
        assert time.monotonic() - began >= 1.5
        assert content(folder)["process"] == os.getpid()
    assert "node-7" in said[0]


@pytest.mark.parametrize("damaged", ["", "[1]", '{"token": "x"}'])
def test_a_lease_that_can_not_be_read_runs_out_too(damaged: str, tmp_path: Path) -> None:
    folder = open_folder(str(tmp_path))
    folder.write_text(LEASE_FILE, damaged)
    with acquire_lease(folder, ignore, replace(QUICK, lasts=0.5)) as held:
        held.write_text("run.json", "{}")


def test_of_many_drivers_that_start_together_one_gets_the_folder(folder: Folder) -> None:
    together, over = Barrier(4, timeout=60), Barrier(4, timeout=60)

    def drive(number: int) -> str:
        together.wait()
        try:
            with acquire_lease(folder, ignore, QUICK):
                over.wait()
                return "held"
        except OutputLockedError:
            over.wait()
            return "refused"

    with ThreadPoolExecutor(4) as drivers:
        assert sorted(drivers.map(drive, range(4))) == ["held", "refused", "refused", "refused"]


def test_a_driver_that_was_replaced_writes_nothing_more(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    with acquire_lease(folder, ignore, QUICK) as held:
        other = json.dumps({**content(folder), "token": "another", "host": "node-8"})

        def the_other_renews() -> bool:
            """Again and again: a renewal of the first one that was under way may come after."""
            folder.write_text(LEASE_FILE, other)
            return refused(held)

        wait_for(the_other_renews, 60)
        with pytest.raises(OutputLockedError, match=r"has lost .* on node-8") as loss:
            (held / "samples").write_text("part", "x")
        assert "It writes nothing more" in str(loss.value)
    assert folder.list_files() == []
    assert content(folder)["token"] == "another"


def test_a_driver_that_was_paused_asks_before_it_writes(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a pause of the whole process: the first to wake is not the thread that renews."""
    with acquire_lease(folder, ignore, replace(QUICK, renew_interval=1000.0, lasts=0.5)) as held:
        held.write_text("before", "x")
        time.sleep(0.6)
        held.write_text("still its own", "x")
        folder.write_text(LEASE_FILE, json.dumps({**content(folder), "token": "another"}))
        time.sleep(0.6)
        with pytest.raises(OutputLockedError):
            held.write_text("after", "x")
    assert folder.list_files() == ["before", "still its own"]


def test_a_lease_that_was_deleted_is_lost(folder: Folder) -> None:
    def is_missed() -> bool:
        folder.delete(LEASE_FILE)  # again: a renewal that was under way wrote it anew
        return refused(held)

    with acquire_lease(folder, ignore, QUICK) as held:
        wait_for(is_missed)
        with pytest.raises(OutputLockedError, match="the lease is gone"):
            held.write_text("a", "x")


def test_a_write_that_waits_for_its_store_asks_again_before_it_is_carried_out(store: Store) -> None:
    folder = open_folder(store.uri(f"{uuid4().hex}/run"))
    behind_the_fault = Folder(store.direct(), folder.path, folder.uri)
    with acquire_lease(folder, ignore, replace(QUICK, lasts=1.0)) as held, ThreadPoolExecutor(1) as writer:
        store.proxy.mode = "unavailable"
        writing = writer.submit(held.write_text, "run.json", "{}")
        wait_for(lambda: held.is_unavailable)
        behind_the_fault.write_text(LEASE_FILE, json.dumps({**content(behind_the_fault), "token": "another"}))
        time.sleep(1.0)
        store.proxy.mode = "passes"
        with pytest.raises(OutputLockedError):
            writing.result()
    assert folder.list_files() == []


@pytest.mark.slow
def test_an_outage_of_the_store_longer_than_a_lease_costs_nobody_the_folder(store: Store) -> None:
    """It is told after three seconds."""
    said: list[str] = []
    folder = open_folder(store.uri(f"{uuid4().hex}/run")).with_retry(60, said.append)
    with acquire_lease(folder, ignore, replace(QUICK, lasts=1.0)) as held:
        store.proxy.mode = "unavailable"
        wait_for(lambda: held.is_unavailable)
        wait_for(lambda: len(said) == 1)
        store.proxy.mode = "passes"
        held.write_text("run.json", "{}")
        assert not held.is_unavailable
    assert "has not answered" in said[0]


def refused(held: Folder) -> bool:
    assert held.guard is not None
    try:
        held.guard()
    except StorageError:
        return False
    except OutputLockedError:
        return True
    return False
