"""Checkpoints of unfinished rounds in the folder of a run, from which the next driver resumes."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from safechain_ray.cluster.workers.inflight_tracker import InFlightTracker
from safechain_ray.runs import attempt
from safechain_ray.runs.attempt import FILE, CheckpointedRounds, delete_checkpoints
from safechain_ray.storage import Folder, open_folder

CHAIN = {"text": "Round 0 of 7.", "spent": 12, "rounds": 1, "prompt_tokens": None, "closed": False}


class LocalLedger:
    """The actor, called at once."""

    def __init__(self) -> None:
        self.inflight_tracker = InFlightTracker(frozenset)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inflight_tracker, name)
        return type("Method", (), {"remote": staticmethod(method)})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setattr(attempt.ray, "get", lambda result, timeout: result)
    monkeypatch.setattr(attempt, "NOTE_SECONDS", 0.0)
    return open_folder(str(tmp_path))


def with_a_chain(name: str = "model/a") -> LocalLedger:
    inflight_tracker = LocalLedger()
    inflight_tracker.inflight_tracker.restore({name: CHAIN})
    return inflight_tracker


def test_the_next_driver_finds_what_the_last_one_noted(folder: Folder):
    CheckpointedRounds(folder, with_a_chain()).note()
    after = LocalLedger()
    CheckpointedRounds(folder, after).restore()
    assert after.inflight_tracker.claim("w", "n", ["model/a", "model/b"]).checkpoints == {"model/a": CHAIN}


def test_a_run_without_rounds_has_no_such_file(folder: Folder):
    rounds = CheckpointedRounds(folder, LocalLedger())
    rounds.restore()
    rounds.note()
    assert folder.list_files() == []
    delete_checkpoints(folder)


def test_rounds_of_rows_that_were_done_since_go_from_the_file(folder: Folder):
    CheckpointedRounds(folder, with_a_chain()).note()
    inflight_tracker = LocalLedger()
    rounds = CheckpointedRounds(folder, inflight_tracker)
    rounds.restore()
    inflight_tracker.inflight_tracker.claim("w", "n", ["model/a"])
    inflight_tracker.inflight_tracker.finish("w", ["model/a"])
    rounds.note()
    assert folder.read_text(FILE) == "{}"


@pytest.mark.parametrize("torn", ["", "{", '{"model/a": ["a list"]}', '{"model/a": {"text": {}}}'])
def test_a_file_that_does_not_read_is_as_good_as_none(folder: Folder, torn: str):
    folder.write_text(FILE, torn)
    inflight_tracker = LocalLedger()
    CheckpointedRounds(folder, inflight_tracker).restore()
    assert inflight_tracker.inflight_tracker.longest_checkpoints(math.inf) == {}


def test_of_more_than_a_store_should_be_sent_every_half_minute_the_longest_are_written(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(attempt, "MOST_CHARACTERS", 1000)
    inflight_tracker = LocalLedger()
    inflight_tracker.inflight_tracker.restore(
        {f"model/{size}": CHAIN | {"text": "x" * size} for size in (100, 500, 400, 20)}
    )
    CheckpointedRounds(folder, inflight_tracker).note()
    assert list(json.loads(folder.read_text(FILE))) == ["model/500", "model/400"]


def test_a_complete_run_has_nothing_left_of_it(folder: Folder):
    CheckpointedRounds(folder, with_a_chain()).note()
    delete_checkpoints(folder)
    assert not folder.exists("progress")
