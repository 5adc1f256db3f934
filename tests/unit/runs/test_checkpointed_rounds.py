"""Finished rounds in the run's folder: what one driver leaves there, the next one goes on from."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from safechain_ray.cluster.workers.inflight_tracker import Ledger
from safechain_ray.runs import attempt
from safechain_ray.runs.attempt import FILE, KeptRounds, forget_rounds
from safechain_ray.storage import Folder, open_folder

CHAIN = {"text": "Round 0 of 7.", "spent": 12, "rounds": 1, "prompt_tokens": None, "closed": False}


class LocalLedger:
    """The actor, called at once."""

    def __init__(self) -> None:
        self.ledger = Ledger(frozenset)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.ledger, name)
        return type("Method", (), {"remote": staticmethod(method)})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setattr(attempt.ray, "get", lambda result, timeout: result)
    monkeypatch.setattr(attempt, "NOTE_SECONDS", 0.0)
    return open_folder(str(tmp_path))


def with_a_chain(name: str = "model/a") -> LocalLedger:
    ledger = LocalLedger()
    ledger.ledger.restore({name: CHAIN})
    return ledger


def test_the_next_driver_finds_what_the_last_one_noted(folder: Folder):
    KeptRounds(folder, with_a_chain()).note()
    after = LocalLedger()
    KeptRounds(folder, after).restore()
    assert after.ledger.take("w", "n", ["model/a", "model/b"]).kept == {"model/a": CHAIN}


def test_a_run_without_rounds_has_no_such_file(folder: Folder):
    rounds = KeptRounds(folder, LocalLedger())
    rounds.restore()
    rounds.note()
    assert folder.list_files() == []
    forget_rounds(folder)


def test_rounds_of_rows_that_were_done_since_go_from_the_file(folder: Folder):
    KeptRounds(folder, with_a_chain()).note()
    ledger = LocalLedger()
    rounds = KeptRounds(folder, ledger)
    rounds.restore()
    ledger.ledger.take("w", "n", ["model/a"])
    ledger.ledger.finish("w", ["model/a"])
    rounds.note()
    assert folder.read_text(FILE) == "{}"


@pytest.mark.parametrize("torn", ["", "{", '{"model/a": ["a list"]}', '{"model/a": {"text": {}}}'])
def test_a_file_that_does_not_read_is_as_good_as_none(folder: Folder, torn: str):
    folder.write_text(FILE, torn)
    ledger = LocalLedger()
    KeptRounds(folder, ledger).restore()
    assert ledger.ledger.longest_kept(math.inf) == {}


def test_of_more_than_a_store_should_be_sent_every_half_minute_the_longest_are_written(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(attempt, "MOST_CHARACTERS", 1000)
    ledger = LocalLedger()
    ledger.ledger.restore({f"model/{size}": CHAIN | {"text": "x" * size} for size in (100, 500, 400, 20)})
    KeptRounds(folder, ledger).note()
    assert list(json.loads(folder.read_text(FILE))) == ["model/500", "model/400"]


def test_a_complete_run_has_nothing_left_of_it(folder: Folder):
    KeptRounds(folder, with_a_chain()).note()
    forget_rounds(folder)
    assert not folder.exists("progress")
